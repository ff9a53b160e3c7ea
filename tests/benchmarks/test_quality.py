"""`./run bench quality` on small files: the splits, the baseline's known answers, and the command itself."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import mean_metrics
from benchmarks.quality_baseline import EaseWithTransitions
from benchmarks.quality_data import DataFormError, Split, given_split, leave_one_out
from benchmarks.quality_fit import fit
from training import ranking_metrics

ROOT = Path(__file__).parents[2]


def histories(split: Split) -> list[list[str]]:
    """Histories of the training examples, as item ids."""
    likes, ids = split.examples.histories, split.examples.item_ids
    return [ids[likes.items[a:b]].tolist() for a, b in zip(likes.indptr, likes.indptr[1:], strict=False)]


def targets(split: Split) -> dict[str, list[str]]:
    users, items, targets = split.holdout.user_ids.tolist(), split.holdout.item_ids, split.holdout.targets
    return {
        user: items[targets.indices[targets.indptr[n] : targets.indptr[n + 1]]].tolist() for n, user in enumerate(users)
    }


def test_the_last_item_is_the_test_and_the_one_before_it_validation(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("1 9 8 7 6\n2 5 9\n")
    splits = leave_one_out(tmp_path / "all.txt")
    assert (targets(splits.validation), targets(splits.test)) == ({"1": ["7"]}, {"1": ["6"]})
    assert histories(splits.validation) == [["9", "8"], ["5", "9"]]
    assert histories(splits.test) == [["9", "8", "7"], ["5", "9"]]


def test_one_event_per_line_and_gzip_give_the_same_splits(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("1 9\n1 8\n2 5\n1 7\n2 9\n1 6\n")
    with gzip.open(tmp_path / "all.txt.gz", "wt") as file:
        file.write("2 5 9\n1 9 8 7 6\n")
    one, other = leave_one_out(tmp_path / "lines.txt"), leave_one_out(tmp_path / "all.txt")
    for a, b in ((one.validation, other.validation), (one.test, other.test)):
        assert (histories(a), targets(a)) == (histories(b), targets(b))


def test_validation_is_drawn_from_train_and_the_models_of_the_test_train_on_all_of_train(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("".join(f"{u} {' '.join(str(u + i) for i in range(20))}\n" for u in range(5)))
    later = {"0": [str(i) for i in range(100, 115)], "3": [str(i) for i in range(120, 130)]}
    (tmp_path / "test.txt").write_text("".join(f"{user} {' '.join(items)}\n" for user, items in later.items()))
    splits, again = given_split(tmp_path), given_split(tmp_path)
    assert targets(splits.test) == later
    drawn = targets(splits.validation)
    assert drawn == targets(again.validation)
    fifth = 4  # of 20, as the test is a fifth of all
    assert {user: len(items) for user, items in drawn.items()} == {str(user): fifth for user in range(5)}
    for user in range(5):
        known, all_of_it = histories(splits.validation)[user], {str(user + i) for i in range(20)}
        assert set(known) | set(drawn[str(user)]) == set(histories(splits.test)[user]) == all_of_it
        assert not set(known) & set(drawn[str(user)])


def test_a_missing_file_is_an_error_that_names_the_expected_files(tmp_path: Path) -> None:
    with pytest.raises(DataFormError, match=r"train\.txt\.gz; --data is a folder"):
        given_split(tmp_path)


def test_the_baseline_ranks_by_co_occurrence_or_by_transition(tmp_path: Path) -> None:
    """Users who like x and y always like a, and mostly b; right after y mostly comes b."""
    lines = [f"{n} x a y b t" for n in range(30)] + [f"{n} x y a t" for n in range(30, 40)] + ["q x y t"]
    (tmp_path / "all.txt").write_text("\n".join(lines))
    splits = leave_one_out(tmp_path / "all.txt")
    holdout, baseline = splits.test.holdout, EaseWithTransitions(splits.test.examples, regularisation=1.0)
    user = holdout.user_ids.tolist().index("q")
    by_ease, by_transition = (
        holdout.item_ids[baseline.lists(holdout, weight, 2)[user]].tolist() for weight in (0.0, 100.0)
    )
    assert (by_ease, by_transition) == (["a", "b"], ["b", "a"])


def bench(*arguments: str) -> dict[str, Any]:
    """The last line of the command."""
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    last: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
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
def test_the_sequence_model_trained_on_two_ranks_learns_the_circle(more: dict[str, int], tmp_path: Path) -> None:
    circles(tmp_path / "circles.txt")
    params = {"factors": 16, "length": 10, "epochs": 30, "batch": 10, "learning_rate": 0.01, "horizon": 1, **more}
    split = leave_one_out(tmp_path / "circles.txt").validation
    model = fit("sequence", params, split.examples, 2, tmp_path / "fit")
    assert mean_metrics(ranking_metrics.ranked_lists(model, split.holdout, 1), split.holdout)["hr@1"] > 0.9
