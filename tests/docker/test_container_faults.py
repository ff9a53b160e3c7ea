"""`./run bench container_faults`: its parts without Docker; slow, with a real one: nights in which a container dies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.container_faults import FAULTS, KAFKA_SOURCE, Outcome, Reads, table
from benchmarks.lake_content import different_tables
from nightloom import settings as settings_module
from tests.docker.real_docker import needs_docker

ROOT = Path(__file__).parents[2]


def outcome(name: str | None, night_s: float, content: dict[str, list[str]], tries: dict[str, int]) -> Outcome:
    rows = {table: [{"id": each} for each in ids] for table, ids in content.items()}
    return Outcome(FAULTS[name] if name else None, "success", night_s, tries, Reads(100), rows, 12.0)


def test_a_table_that_is_not_as_in_the_undisturbed_night_is_named() -> None:
    undisturbed = outcome(None, 300, {"silver.items": ["a"], "gold.popular": ["b"]}, {})
    same = outcome("minio", 320, {"silver.items": ["a"], "gold.popular": ["b"]}, {"spark_jobs.bronze": 2})
    other = outcome("celery", 420, {"silver.items": ["a", "c"]}, {})
    assert same.figures(undisturbed)["different_tables"] == []
    assert other.figures(undisturbed)["different_tables"] == ["gold.popular", "silver.items"]
    lines = table(undisturbed, {"minio": same, "celery": other}).splitlines()
    assert lines[3].startswith(
        "| MinIO | `spark_jobs.silver_interactions` | 12 s | success, 320 s | spark_jobs.bronze (1) |"
    )
    assert lines[3].endswith("| the same |")
    assert lines[4].endswith("| differ: gold.popular, silver.items |")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"user": "u", "items": ["a", "b", "c"], "scores": [3.00001, 2.0, 1.0]}, True),
        ({"user": "u", "items": ["a", "b", "c"], "scores": [3.1, 2.0, 1.0]}, False),
        ({"user": "u", "items": ["a", "c", "b"], "scores": [3.0, 2.0, 1.0]}, False),
        ({"user": "v", "items": ["a", "b", "c"], "scores": [3.0, 2.0, 1.0]}, False),
        ({"user": "u", "items": ["a", "b"], "scores": [3.0, 2.0]}, False),
        ({"user": "u", "items": ["a", "b", "d"], "scores": [3.0, 2.0, 1.0]}, True),  # d may have the score of c
        ({"user": "u", "items": ["a", "d", "c"], "scores": [3.0, 2.0, 1.0]}, False),
    ],
)
def test_lists_are_equal_but_for_rounding(other: dict[str, object], same: bool) -> None:
    one = {"user": "u", "items": ["a", "b", "c"], "scores": [3.0, 2.0, 1.0]}
    assert different_tables({"lists": [one]}, {"lists": [other]}) == ([] if same else ["lists"])


def test_numbers_are_equal_but_for_rounding_and_rows_have_no_order() -> None:
    rows = [{"item": item, "weight": weight} for item, weight in (("a", 1.0), ("b", 2.0))]
    near = [{"item": item, "weight": weight} for item, weight in (("b", 2.00001), ("a", 1.0))]
    far = [{"item": item, "weight": weight} for item, weight in (("b", 2.1), ("a", 1.0))]
    assert different_tables({"days": rows}, {"days": near}) == []
    assert different_tables({"days": rows}, {"days": far}) == ["days"]


def test_each_fault_hits_a_service_that_docker_starts_again() -> None:
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text(encoding="utf8"))["services"]
    assert {services[fault.service]["restart"] for fault in FAULTS.values()} == {"unless-stopped"}


def test_the_sample_with_kafka_is_a_valid_configuration(tmp_path: Path) -> None:
    file = tmp_path / "nightloom.toml"
    file.write_text((ROOT / "nightloom.toml").read_text(encoding="utf8") + KAFKA_SOURCE, encoding="utf8")
    assert [source.name for source in settings_module.load(file).sources][-1] == "stream"


@pytest.mark.slow
@needs_docker
@pytest.mark.xdist_group("docker")
def test_nights_end_right_and_readers_see_no_error_whatever_container_dies() -> None:
    command = [sys.executable, "-m", "benchmarks.container_faults"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures.keys() == FAULTS.keys()
    for name, each in figures.items():
        assert (name, each["state"], each["read_errors"], each["different_tables"]) == (name, "success", 0, [])
