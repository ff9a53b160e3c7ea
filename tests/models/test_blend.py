"""The blend: what its members and its segments give to scores and contributions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import models
from models.base import Histories
from models.blend import Blend
from models.recommend import recommend, scores
from tests.models.checkerboard import EXAMPLES, fitted, trained
from tests.models.checkerboard import ITEMS as SQUARES
from tests.models.members import ITEMS, members, strangers


def test_the_contributions_to_a_blend_are_its_members_by_weight_and_scale() -> None:
    model, one = trained("blend"), EXAMPLES.histories.of(np.array([3]))
    assert isinstance(model, Blend)
    cold = Histories.from_lists(model.item_ids, [[]], [[]], [[]])
    moved = [scores(member, one)[0] - scores(member, cold)[0] for member in model.members]
    scales = [scores(member, one).std() for member in model.members]
    right = sum(w * by / scale for w, by, scale in zip(model.weights_M, moved, scales, strict=True))
    found = [model.contributions(one, item).sum() for item in range(SQUARES)]
    np.testing.assert_allclose(found, right, atol=1e-4)


def test_a_blend_refuses_models_that_nobody_wrote_and_parameters_of_no_member() -> None:
    with pytest.raises(ValueError, match=r"no member can be 'magic'.*als"):
        fitted("blend", EXAMPLES, members="graph, magic")
    with pytest.raises(ValueError, match=r"als\.factor: unknown hyper-parameter; als has .*Did you mean 'factors'\?"):
        fitted("blend", EXAMPLES, **{"members": "als", "als.factor": 3})
    with pytest.raises(ValueError, match=r"'als.factors' belongs to no member; the members are graph"):
        fitted("blend", EXAMPLES, **{"members": "graph", "als.factors": 3})


def test_a_blend_gives_a_user_without_history_what_their_segment_likes(tmp_path: Path) -> None:
    params = {"members": "als, item_to_item", "held_out_days": 0, "segments.prior": 1.0}
    model, plain = (fitted("blend", members(), **params, segments=segments) for segments in (True, False))
    assert isinstance(model, Blend)
    assert isinstance(plain, Blend)
    assert plain.segments is None
    jena, nobody = strangers(["city=Jena"]), strangers([])
    np.testing.assert_array_equal(scores(plain, jena), scores(plain, nobody))
    np.testing.assert_allclose(scores(model, nobody), scores(plain, nobody), atol=1e-5)
    best = recommend(model, jena, ITEMS)[0][0]
    assert (best[: ITEMS // 2] % 2 == 0).all(), best
    # As far as they move what is popular, on the scale that the members have.
    popular = fitted("segments", members(), prior=1.0)
    moved = (scores(popular, jena) - scores(popular, nobody)) / scores(popular, nobody).std()
    np.testing.assert_allclose(scores(model, jena) - scores(model, nobody), moved, atol=1e-5)
    model.save(tmp_path)
    np.testing.assert_allclose(scores(models.load(tmp_path), jena), scores(model, jena), atol=1e-6)


def test_a_blend_of_users_without_words_has_no_segments(tmp_path: Path) -> None:
    known = members()
    model = fitted("blend", replace(known, histories=replace(known.histories, user_features=None)), held_out_days=0)
    assert isinstance(model, Blend)
    assert model.segments is None
    model.save(tmp_path)
    assert not (tmp_path / "segments").exists()
    assert scores(models.load(tmp_path), strangers(["city=Jena"])).shape == (1, ITEMS)


def test_segments_cannot_be_a_member_they_are_added_by_themselves() -> None:
    with pytest.raises(ValueError, match="no member can be 'segments'"):
        fitted("blend", members(), members="als, segments")
