"""Two tastes, and words that tell them: what is new, user or item, is ranked rightly by its words alone."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from models.base import F32, Examples, Histories
from models.features import Features
from models.two_tower import TwoTower
from nightloom.contracts import INTERACTIONS, ITEMS, USERS
from tests.training.small import MakeProject, event, night_of
from tests.training.test_words import item, user
from training import distributed, fit, trainers
from training.trainers.row_adagrad import RowAdagrad

PEOPLE, EACH, CUT = 60, 10, 1_000_000_000
PARAMS = {"factors": 8, "epochs": 20, "batch": 60, "negatives": 10, "buckets": 1 << 10, "rate": 0.1}
IDS = np.array([f"{taste}{n}" for taste in "ab" for n in range(EACH)] + ["cold-a", "cold-b"])
"""Ten items that users of taste a like, ten of b, and one of each that nobody liked."""


def taste_of(item_id: str) -> str:
    return item_id.removeprefix("cold-")[0]


def tastes() -> Examples:
    """User n likes five items of taste n % 2; every item and every user has a word for the taste, and one that says
    nothing."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(PEOPLE), 5)
    liked = np.concatenate([EACH * (n % 2) + rng.permutation(EACH)[:5] for n in range(PEOPLE)]).astype(np.int32)
    times = CUT - rng.integers(1, 10_000, len(rows))
    histories = Histories.from_events(PEOPLE, rows, liked, np.ones(len(rows), np.float32), times)
    traits = Features.from_lists([[f"likes={'ab'[n % 2]}", f"zip={n % 7}"] for n in range(PEOPLE)])
    items = Features.from_lists([[f"category={taste_of(one)}", f"year={n % 3}"] for n, one in enumerate(IDS.tolist())])
    return Examples(IDS, replace(histories, traits=traits), CUT, seed=1, items=items)


def fitted(known: Examples, **more: float) -> TwoTower:
    model = trainers.fit("two_tower", known, PARAMS | more)
    assert isinstance(model, TwoTower)
    return model


@pytest.fixture(scope="module")
def model() -> TwoTower:
    return fitted(tastes())


def scores(model: TwoTower, histories: Histories) -> F32:
    return np.asarray(model.encode(histories) @ model.items_ID.T + model.bias_I, np.float32)


def newcomer(model: TwoTower, items: list[str], words: list[str]) -> Histories:
    return Histories.from_lists(model.item_ids, [items], [[1.0] * len(items)], [range(len(items))], [words])


def test_of_two_cold_items_the_one_of_the_users_taste_ranks_higher_for_every_user(model: TwoTower) -> None:
    cold_a, cold_b = scores(model, tastes().histories)[:, -2:].T
    assert ((cold_a > cold_b) == (np.arange(PEOPLE) % 2 == 0)).all()


def test_a_cold_item_of_the_users_taste_ranks_above_known_items_of_the_other(model: TwoTower) -> None:
    found = scores(model, newcomer(model, ["a0", "a1", "a2"], []))[0]
    assert found[IDS == "cold-a"] > found[EACH : 2 * EACH].max()


@pytest.mark.parametrize("taste", ["a", "b"])
def test_a_cold_user_gets_what_their_words_foretell(model: TwoTower, taste: str) -> None:
    best = np.argsort(-scores(model, newcomer(model, [], [f"likes={taste}", "zip=3"]))[0])[:EACH]
    assert {taste_of(one) for one in IDS[best].tolist()} == {taste}


def test_what_a_user_likes_counts_more_than_a_word_that_says_nothing(model: TwoTower) -> None:
    plain, odd = (scores(model, newcomer(model, ["b0", "b1"], words))[0] for words in ([], ["zip=5", "never heard of"]))
    assert [taste_of(IDS[found[:-2].argmax()]) for found in (plain, odd)] == ["b", "b"]


def test_a_cold_user_without_words_gets_what_is_popular(model: TwoTower) -> None:
    np.testing.assert_array_equal(scores(model, newcomer(model, [], []))[0], model.bias_I)
    assert model.bias_I[-2:] == pytest.approx(model.bias_I.min())  # nobody liked these two


def test_contributions_add_up_to_what_the_history_moves(model: TwoTower) -> None:
    histories = Histories.from_lists(IDS, [["a0", "a1", "a0", "b3"]], [[1, 2, 1, 0.5]], [range(4)], [["likes=b"]])
    whole, words = scores(model, histories)[0], scores(model, newcomer(model, [], ["likes=b"]))[0]
    for place in range(len(IDS)):
        assert model.contributions(histories, place).sum() == pytest.approx(whole[place] - words[place], abs=1e-5)


def test_likes_beyond_the_length_are_forgotten() -> None:
    short = fitted(tastes(), epochs=1, length=2)
    longer, last = (short.encode(newcomer(short, items, [])) for items in (["a5", "b0", "b1"], ["b0", "b1"]))
    np.testing.assert_array_equal(longer, last)


def test_the_same_examples_give_the_same_bits(model: TwoTower) -> None:
    again = fitted(tastes())
    np.testing.assert_array_equal(again.items_ID, model.items_ID)
    np.testing.assert_array_equal(again.user_words_WD, model.user_words_WD)


def test_row_adagrad_moves_the_touched_rows_alone_by_their_own_squares() -> None:
    table = torch.nn.Parameter(torch.zeros(1000, 2))
    optimizer = RowAdagrad([table], lr=0.5)
    for gradient in ([3.0, 4.0], [6.0, 8.0]):
        optimizer.zero_grad()
        touched = torch.nn.functional.embedding(torch.tensor([7, 7]), table, sparse=True)
        (touched.sum(dim=0) @ torch.tensor(gradient) / 2).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    first, second = 12.5**0.5, 62.5**0.5  # the root of the squares' mean, summed over the steps
    np.testing.assert_allclose(table[7].detach(), [-0.5 * (3 / first + 6 / second), -0.5 * (4 / first + 8 / second)])
    assert table.detach().abs().sum(dim=1).count_nonzero() == 1
    assert optimizer.state[table]["squares"].shape == (1000,)


SECTION = """
[[models]]
name = "two_tower"
params = { factors = 8, epochs = 12, batch = 60, negatives = 10, buckets = 1024, rate = 0.1 }
"""


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_from_the_lake_on_any_number_of_ranks(ranks: int, project: MakeProject, tmp_path: Path) -> None:
    known = tastes()
    events = zip(known.histories.rows_N.tolist(), IDS[known.histories.items].tolist(), strict=True)
    settings = project([SECTION], [event(f"u{n:02}", one, 3 + n / 100 + k / 1000) for k, (n, one) in enumerate(events)])
    lake = night_of(settings).lake
    lake.append(ITEMS, [item(one, taste_of(one)) for one in IDS.tolist()])
    lake.append(USERS, [user(f"u{n:02}", likes="ab"[n % 2]) for n in range(PEOPLE)])
    command = distributed.command(
        ranks, "training.fit", "--config", str(settings.file), "--date", "2026-03-01", "--model", "two_tower",
        "--version", str(lake.version(INTERACTIONS)), "--items", str(lake.version(ITEMS)),
        "--users", str(lake.version(USERS)), "--folder", str(tmp_path / "out"),
    )  # fmt: skip
    environment = os.environ | distributed.environment(ranks, settings.training)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    model = models.load(fit.read(tmp_path / "out").files)
    assert isinstance(model, TwoTower)
    for taste in "ab":
        found = scores(model, newcomer(model, [], [f"likes={taste}"]))[0]
        other = "b" if taste == "a" else "a"
        assert found[model.item_ids == f"cold-{taste}"] > found[model.item_ids == f"cold-{other}"]
