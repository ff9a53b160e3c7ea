"""`./run bench quality` on small files: what is kept apart, the floor's right answers, the command for real."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import measured
from benchmarks.quality_data import DataFormError, Round, given_split, leave_one_out
from benchmarks.quality_fit import fitted
from benchmarks.quality_floor import TogetherAndNext
from training import ranking_metrics

ROOT = Path(__file__).parents[2]


def histories(part: Round) -> list[list[str]]:
    """What is trained on, as item ids."""
    likes, ids = part.examples.histories, part.examples.item_ids
    return [ids[likes.items[a:b]].tolist() for a, b in zip(likes.indptr, likes.indptr[1:], strict=False)]


def targets(part: Round) -> dict[str, list[str]]:
    users, items, wanted = part.judges.user_ids.tolist(), part.judges.item_ids, part.judges.targets
    return {
        user: items[wanted.indices[wanted.indptr[n] : wanted.indptr[n + 1]]].tolist() for n, user in enumerate(users)
    }


def test_the_last_item_is_the_test_and_the_one_before_it_validation(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("1 9 8 7 6\n2 5 9\n")
    rounds = leave_one_out(tmp_path / "all.txt")
    assert (targets(rounds.validation), targets(rounds.test)) == ({"1": ["7"]}, {"1": ["6"]})
    assert histories(rounds.validation) == [["9", "8"], ["5", "9"]]
    assert histories(rounds.test) == [["9", "8", "7"], ["5", "9"]]


def test_a_line_per_event_and_gzip_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("1 9\n1 8\n2 5\n1 7\n2 9\n1 6\n")
    with gzip.open(tmp_path / "all.txt.gz", "wt") as file:
        file.write("2 5 9\n1 9 8 7 6\n")
    one, other = leave_one_out(tmp_path / "lines.txt"), leave_one_out(tmp_path / "all.txt")
    for a, b in ((one.validation, other.validation), (one.test, other.test)):
        assert (histories(a), targets(a)) == (histories(b), targets(b))


def test_validation_is_carved_out_of_train_and_the_test_is_trained_on_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("".join(f"{u} {' '.join(str(u + i) for i in range(20))}\n" for u in range(5)))
    later = {"0": [str(i) for i in range(100, 115)], "3": [str(i) for i in range(120, 130)]}
    (tmp_path / "test.txt").write_text("".join(f"{user} {' '.join(items)}\n" for user, items in later.items()))
    rounds, again = given_split(tmp_path), given_split(tmp_path)
    assert targets(rounds.test) == later
    carved = targets(rounds.validation)
    assert carved == targets(again.validation)
    fifth = 4  # of 20, as the test is a fifth of all
    assert {user: len(items) for user, items in carved.items()} == {str(user): fifth for user in range(5)}
    for user in range(5):
        known, all_of_it = histories(rounds.validation)[user], {str(user + i) for i in range(20)}
        assert set(known) | set(carved[str(user)]) == set(histories(rounds.test)[user]) == all_of_it
        assert not set(known) & set(carved[str(user)])


def test_a_file_that_is_not_there_is_an_error_that_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataFormError, match=r"train\.txt\.gz; --data is a folder"):
        given_split(tmp_path)


def test_the_floor_lists_what_goes_together_and_what_comes_next(tmp_path: Path) -> None:
    """Who likes x and y always likes a, mostly b; right after y mostly comes b."""
    lines = [f"{n} x a y b t" for n in range(30)] + [f"{n} x y a t" for n in range(30, 40)] + ["q x y t"]
    (tmp_path / "all.txt").write_text("\n".join(lines))
    rounds = leave_one_out(tmp_path / "all.txt")
    judges, floor = rounds.test.judges, TogetherAndNext(rounds.test.examples, pull=1.0)
    user = judges.user_ids.tolist().index("q")
    together, following = (judges.item_ids[floor.lists(judges, share, 2)[user]].tolist() for share in (0.0, 100.0))
    assert (together, following) == (["a", "b"], ["b", "a"])


def bench(*arguments: str) -> dict[str, Any]:
    """The last line of the command."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def circles(file: Path) -> None:
    """Each user walks round the same circle of 12 items from a start of their own: the next item is certain."""
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(0, 12, 60), rng.integers(4, 10, 60)
    walks = (
        " ".join(str((start + n) % 12) for n in range(length)) for start, length in zip(starts, lengths, strict=True)
    )
    file.write_text("".join(f"u{user} {walk}\n" for user, walk in enumerate(walks)))


def test_the_command_writes_a_table_and_a_plot_and_ends_with_the_figures(tmp_path: Path) -> None:
    circles(tmp_path / "circles.txt")
    last = bench(
        "--protocol",
        "leave-one-out",
        "--data",
        str(tmp_path / "circles.txt"),
        "--models",
        "popularity",
        "--out",
        str(tmp_path),
    )
    assert last["chosen"] == "popularity"
    assert last["test"].keys() == {"recall@10", "ndcg@10", "mrr@10", "hr@10"}
    assert last["floor"]["ndcg@10"] == 1.0
    assert "popularity" in (tmp_path / "quality-leave-one-out-circles.txt").read_text()
    assert (tmp_path / "quality-leave-one-out-circles.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"negatives": 4}])
def test_the_sequence_model_trained_on_two_ranks_learns_the_way_round(more: dict[str, int], tmp_path: Path) -> None:
    circles(tmp_path / "circles.txt")
    params = {"factors": 16, "length": 10, "epochs": 30, "batch": 10, "rate": 0.01, "horizon": 1, **more}
    part = leave_one_out(tmp_path / "circles.txt").validation
    model = fitted("sequence", params, part.examples, 2, tmp_path / "fit")
    assert measured(ranking_metrics.ranked_lists(model, part.judges, 1), part.judges)["hr@1"] > 0.9
