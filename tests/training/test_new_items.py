"""Between trainings the serving model takes new items: registered, served, explained, and never compared."""

from datetime import timedelta

import numpy as np
import pytest

from models import registry
from models.base import Histories, item_index
from models.recommend import scores
from models.registry import EXTENSION_OF, REFIT_OF
from nightloom.contracts import INTERACTIONS
from nightloom.night.context import Night, NothingToDo
from nightloom.settings import Settings
from tests.training.small_project import DAY, LAST, MakeProject, Row, Track, event, night_of
from tests.training.test_refit import make, pytestmark, run_training, serving
from training import train
from training.new_items import unknown_share

__all__ = ["pytestmark"]
NEXT = LAST + timedelta(days=1)
EASE = """
[[models]]
name = "ease"
"""


def likes_of_new_items(users: range) -> list[Row]:
    """A day after the training: users of each taste like an item that came on that day."""
    return [event(f"u{user:02}", f"{'ab'[user % 2]}-later", -0.5) | {"night": NEXT} for user in users]


def skipped(settings: Settings, night: Night | None = None) -> tuple[Night, str]:
    """A night's training that is not due -> its night, and what it says."""
    night = night or night_of(settings, NEXT, when="first", model=None)
    with pytest.raises(NothingToDo) as nothing:
        train.main(night)
    return night, str(nothing.value)


def test_new_items_reach_those_whose_like_liked_them_without_a_training(project: MakeProject, tracked: Track) -> None:
    settings = make(project, tracked)
    gate = run_training(settings)
    before = serving(settings)
    gate.lake.append(INTERACTIONS, likes_of_new_items(range(10)))
    night, words = skipped(settings)
    after = serving(settings)
    assert words.endswith(
        f"version {after.version} serves: version {before.version} (als) with 2 new items; "
        "6.7% of the last 7 days' likes were of items that it did not know"
    )
    assert night.tags == {"model_version": after.version, "refit_of": before.tags[REFIT_OF]}
    assert (after.tags[EXTENSION_OF], after.tags[REFIT_OF]) == (before.version, before.tags[REFIT_OF])
    assert after.tags["night"] == str(NEXT)
    champion = registry.champion(settings)
    assert champion is not None
    assert champion.version == before.tags[REFIT_OF]
    others = [[f"{'ab'[user % 2]}{(user + item) % 9}" for item in range(6)] for user in range(10, 20)]
    ones, times = [[1.0] * 6 for _ in others], [[int(DAY.timestamp()) + n for n in range(6)] for _ in others]
    histories = Histories.from_lists(after.model.item_ids, others, ones, times)
    new = item_index(np.array(["a-later", "b-later"]), after.model.item_ids)
    by_taste = scores(after.model, histories)[:, new]
    assert (by_taste.argmax(axis=1) == [user % 2 for user in range(10, 20)]).all()


def test_a_second_try_of_a_night_finds_its_version_and_a_training_replaces_it(
    project: MakeProject, tracked: Track
) -> None:
    settings = make(project, tracked)
    gate = run_training(settings)
    gate.lake.append(INTERACTIONS, likes_of_new_items(range(10)))
    skipped(settings)
    extension = serving(settings)
    _, words = skipped(settings)
    assert "serves" not in words
    assert serving(settings).version == extension.version
    run_training(settings, night_of(settings, NEXT, override=None))
    trained = serving(settings)
    assert EXTENSION_OF not in trained.tags
    assert {"a-later", "b-later"} <= set(trained.model.item_ids.tolist())


def test_few_likes_of_unknown_items_wait_and_an_older_night_changes_nothing(
    project: MakeProject, tracked: Track
) -> None:
    settings = make(project, tracked, training="max_unknown_share = 0.05")
    gate = run_training(settings)
    before = serving(settings)
    gate.lake.append(INTERACTIONS, likes_of_new_items(range(1)))
    night, _ = skipped(settings)
    assert unknown_share(night, before.model.item_ids) == pytest.approx(1 / 141)
    gate.lake.append(INTERACTIONS, likes_of_new_items(range(1, 11)))
    skipped(settings, night_of(settings, LAST - timedelta(days=1), when="first", model=None))
    assert serving(settings).version == before.version
    skipped(settings)
    assert serving(settings).version != before.version


def test_a_model_that_takes_no_new_items_goes_on_serving_and_says_so(
    project: MakeProject, tracked: Track, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make(project, tracked, EASE)
    gate = run_training(settings)
    before = serving(settings)
    gate.lake.append(INTERACTIONS, likes_of_new_items(range(10)))
    night, _ = skipped(settings)
    assert serving(settings).version == before.version
    assert night.tags == {}
    words = capsys.readouterr().out
    assert "ease takes no new items; 6.7% of the last 7 days' likes wait for the next training" in words


def test_without_a_refit_the_judged_version_serves(project: MakeProject, tracked: Track) -> None:
    settings = make(project, tracked)
    gate = run_training(settings)
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"refit": False})})
    gate.lake.append(INTERACTIONS, likes_of_new_items(range(10)))
    before = serving(settings)
    skipped(settings)
    assert serving(settings).version == before.version
