"""`./run bench container_faults`: its parts without Docker; slow, with a real one: nights in which a container dies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.container_faults import FAULTS, KAFKA_SOURCE, Outcome, Reads, table
from nightloom import settings as settings_module
from tests.docker.real_docker import needs_docker

ROOT = Path(__file__).parents[2]


def outcome(name: str | None, night_s: float, content: dict[str, list[str]], tries: dict[str, int]) -> Outcome:
    return Outcome(FAULTS[name] if name else None, "success", night_s, tries, Reads(100), content, 12.0)


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
