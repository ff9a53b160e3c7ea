"""`./run bench nights` as a command, with the models that train in a moment."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_command_compares_the_models_at_every_cut_and_chooses_on_all_but_the_last() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.nights", "--models", "popularity,als", "--cuts", "3", "--seeds", "1"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    cuts = [line.split() for line in process.stdout.splitlines() if line.startswith("cut ") and "NDCG" in line]
    assert [cut[2] for cut in cuts] == ["popularity", "als"] * 3
    last = json.loads(process.stdout.splitlines()[-1])
    first = {cut[2]: float(cut[4]) for cut in cuts[:2]}
    assert last["chosen"] == max(first, key=lambda name: first[name])
    assert last["all"].keys() == last["later"].keys() == {"popularity", "als"}


def test_an_undeclared_model_is_an_error_that_names_the_declared_ones() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.nights", "--models", "popularity,magic"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert "magic not in" in process.stderr
    assert "declares popularity, als" in process.stderr
