"""DAGs as [airflow] of nightloom.toml has them run: a golden file of each task's policy, and the night's dates.

NIGHTLOOM_GOLDEN=1 writes the file again; look at the diff.
"""

import os
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nightloom.errors import SettingsError
from nightloom.night.dag_settings import load_dag_settings

GOLDEN = Path(__file__).parent / "golden" / "operated.txt"


def written(dag: str, tasks: dict[str, Any]) -> list[str]:
    """A line for each task."""
    return [
        f"{dag} {name}: {task['retries']} retries after {task['retry_seconds']:g} s, "
        f"limit {task['timeout_seconds']:g} s, pool {task['pool']}, "
        f"queue {task['queue']}, requests {task['requests'] or 'nothing'}"
        for name, task in tasks.items()
    ]


def test_every_task_has_the_policy_that_the_golden_file_shows(operated: dict[str, Any]) -> None:
    assert operated["errors"] == {}
    lines = [line for name, dag in sorted(operated["dags"].items()) for line in written(name, dag["tasks"])]
    if os.environ.get("NIGHTLOOM_GOLDEN") == "1":
        GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf8")
    assert lines == GOLDEN.read_text(encoding="utf8").splitlines()


def test_commands_and_edges_do_not_depend_on_the_policy(operated: dict[str, Any], dags: dict[str, Any]) -> None:
    for name, dag in operated["dags"].items():
        assert dag["commands"] == dags[name]["commands"]
        assert {task: each["after"] for task, each in dag["tasks"].items()} == {
            task: each["after"] for task, each in dags[name]["tasks"].items()
        }


def test_nothing_is_requested_where_no_executor_takes_requests(dags: dict[str, Any]) -> None:
    assert {str(task["requests"]) for dag in dags.values() for task in dag["tasks"].values()} == {"{}"}


def test_only_the_night_has_a_deadline_one_for_each_receiver(operated: dict[str, Any], dags: dict[str, Any]) -> None:
    found = {name: dag["deadlines"] for name, dag in operated["dags"].items() if dag["deadlines"]}
    assert found == {"nightly": [240 * 60] * 4}
    assert not any(dag["deadlines"] for dag in dags.values())


def test_each_day_has_one_night_that_starts_when_the_day_is_over_whatever_the_clocks_do(
    operated: dict[str, Any], dags: dict[str, Any]
) -> None:
    for described in (operated["dags"], dags):
        starts, days = zip(*described["nightly"]["nights"], strict=True)
        nights = [date.fromisoformat(day) for day in days]
        assert [later - earlier for earlier, later in pairwise(nights)] == [timedelta(1)] * 364
        for start, night in zip(starts, nights, strict=True):
            assert datetime.fromisoformat(start).date() == night + timedelta(days=1)  # UTC


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('[airflow]\nnightly = "30 1 * * *"\ntimezone = "Europe/Berlin"', r"line 3: airflow: nightly is .* no night"),
        ('[airflow]\ntimezone = "Europe/Berln"', r"line 4: airflow\.timezone: .*Did you mean 'Europe/Berlin'\?"),
        ("[airflow]\nretrys = 2", r"line 4: airflow\.retrys: unknown key; .*Did you mean 'retries'\?"),
        ("[airflow\n", r"nightloom\.toml is not valid TOML: .*line 3"),
        ('[[airflow.stages]]\nname = "training.trian"', r"line 4: .*no stage .*Did you mean 'training\.train'\?"),
    ],
)
def test_a_dag_file_names_a_mistake_as_every_command_does(
    section: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nightloom.toml"
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(file))
    with pytest.raises(SettingsError, match="is not there"):
        load_dag_settings()
    file.write_text(f'[project]\nname = "a"\n{section}', encoding="utf8")
    with pytest.raises(SettingsError, match=message):
        load_dag_settings()
