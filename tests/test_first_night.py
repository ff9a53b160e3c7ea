"""End to end, through the real Airflow: four nights of a small shop.

Night 1 with a garbage file and impossible rows; night 2; night 2 again; night 3 with half of its rows bad.
The complete one, MovieLens 100K by the real scheduler, is test_demo.py.
"""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, QUARANTINE_ROWS, STAGES
from nightloom.local.dags_test import DatabaseRuns
from nightloom.night import stages
from nightloom.night.records import stage_runs
from tests.first_night import SMALL, Api, Project, days_arrive, event, leave, serving

FIRST, SECOND, THIRD = date(2024, 2, 4), date(2024, 2, 5), date(2024, 2, 6)
GARBAGE = ["{]", "\x00\x01 not JSON at all", '{"event_id": "g3", "user_id": '] + ["%PDF-1.4 garbage"] * 4
IMPOSSIBLE = {
    "impossible_value": event("bad-1", FIRST, event="rating", value=9.0),
    "unknown_event": event("bad-2", FIRST, event="teleport"),
    "missing": event("bad-3", FIRST, user_id=None),
    "type": event("bad-4", FIRST, at="last night"),
    "clock_ahead": event("bad-5", FIRST, at="2098-01-01T00:00:00Z"),
}
"""Reason -> a line that must end in quarantine with it."""


@dataclass(frozen=True)
class After:
    """What is there after a night."""

    code: int
    out: str
    err: str
    content: dict[str, list[str]]
    lists: dict[str, Any]
    served: dict[str, Any]


def after(project: Project, night: date, api: Api) -> After:
    """Run a night, then look: into the tables, and through an API that was there all the time."""
    done = project.nightloom("night", "--date", str(night))
    lists = {user: api.get(f"/v1/users/{user}/recommendations") for user in ("u1", "u2", "nobody")}
    return After(done.returncode, done.stdout, done.stderr, project.content(), lists, api.get("/v1/status"))


@dataclass(frozen=True)
class Story:
    project: Project
    first: After
    second: After
    again: After
    third: After


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    project = Project.create(tmp_path_factory.mktemp("shop"), SMALL)
    made, landing = project.root / "made", project.root / "landing"
    sample = ("--users", "150", "--items", "80", "--days", "37", "--seed", "11", "--events", "6000")
    assert project.nightloom("sample", "synthetic", *sample, "--to", str(made)).returncode == 0
    days_arrive(made, landing, FIRST)
    (landing / "events" / "garbage.jsonl").write_text("\n".join(GARBAGE), encoding="utf8")
    leave(landing / "events" / "impossible.jsonl.gz", list(IMPOSSIBLE.values()))
    with serving(project) as api:
        first = after(project, FIRST, api)
        days_arrive(made, landing, SECOND)
        second, again = after(project, SECOND, api), after(project, SECOND, api)
        lines = [event(f"t{n}", THIRD, event="view" if n % 2 else "teleport") for n in range(400)]
        leave(landing / "events" / f"{THIRD}.jsonl.gz", lines)
        return Story(project, first, second, again, after(project, THIRD, api))


def rows(texts: list[str]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in texts]


def test_the_first_night_publishes_a_full_list_for_a_user_and_for_a_stranger(story: Story) -> None:
    assert story.first.code == 0, story.first.err
    assert story.first.served["version"] == 1
    for user, source in (("u1", "personal"), ("u2", "personal"), ("nobody", "popular")):
        items = [item["item_id"] for item in story.first.lists[user]["items"]]
        assert story.first.lists[user]["source"] == source
        assert len(set(items)) == len(items) == 10, user


def test_a_list_holds_nothing_that_its_user_has_seen(story: Story) -> None:
    seen = {(row["user_id"], row["item_id"]) for row in rows(story.first.content[INTERACTIONS.full_name])}
    for user in ("u1", "u2"):
        assert not seen & {(user, item["item_id"]) for item in story.first.lists[user]["items"]}


def test_each_bad_row_is_in_quarantine_with_its_reason_and_the_good_ones_went_on(story: Story) -> None:
    bad = rows(story.first.content[QUARANTINE_ROWS.full_name])
    assert sorted(row["reason"] for row in bad if "impossible" in row["file"]) == sorted(IMPOSSIBLE)
    garbage = [row for row in bad if "garbage" in row["file"]]
    assert {row["reason"] for row in garbage} == {"unreadable"}
    assert len(garbage) == len(set(GARBAGE))  # one line, four times in one file: one row
    assert len(bad) == len(garbage) + len(IMPOSSIBLE)
    assert len(story.first.content[INTERACTIONS.full_name]) > 5000


def test_the_next_night_reads_only_the_new_file_and_keeps_the_version_before(story: Story) -> None:
    assert story.second.code == 0, story.second.err
    new = [row for row in rows(story.second.content[BRONZE_EVENTS.full_name]) if row["night"] == str(SECOND)]
    assert {Path(row["file"]).name for row in new} == {f"{SECOND}.jsonl.gz"}
    assert story.second.served["version"] == 2
    assert {push["version"]: push["state"] for push in story.second.served["pushes"]} == {1: "BACKUP", 2: "CURRENT"}


def test_the_champion_of_the_first_night_scores_the_second_without_a_training(story: Story) -> None:
    stages = story.project.lake.rows(STAGES, f"night = DATE '{SECOND}' AND stage = 'training.train'").to_pylist()
    assert {row["status"] for row in stages} == {"skipped"}


def test_a_stage_reads_and_writes_only_the_tables_that_the_list_of_stages_says(story: Story) -> None:
    declared = {stage.name: stage for stage in stages.NIGHT if stage.reads or stage.writes}
    runs = [run for run in stage_runs(story.project.lake) if run.stage in declared]
    assert {run.stage for run in runs} == declared.keys()
    for run in runs:
        read, written = ({name for name in names if not name.startswith("ops.")} for names in (run.reads, run.writes))
        assert read <= {*declared[run.stage].reads, *declared[run.stage].writes}, run.stage
        assert written <= {*declared[run.stage].writes}, run.stage


def test_the_same_night_again_changes_no_row_and_serves_the_same_lists(story: Story) -> None:
    assert story.again.code == 0, story.again.err
    for table, before in story.second.content.items():
        assert story.again.content[table] == before, table
    for user, before in story.second.lists.items():
        assert story.again.lists[user]["items"] == before["items"], user


def test_a_half_bad_day_closes_gate_one_says_why_in_one_line_and_readers_keep_their_lists(story: Story) -> None:
    assert story.third.code == 3
    (line,) = story.third.err.strip().splitlines()
    assert line.startswith("nightloom: expectations.gate: data gate closed for 2024-02-06")
    assert "Nothing new is published" in line
    for user, before in story.again.lists.items():
        assert story.third.lists[user] | {"age_seconds": 0} == before | {"age_seconds": 0}
    assert story.third.served["slate_version"] == story.again.served["slate_version"]


def test_a_night_that_stopped_leaves_no_spark_server_behind_and_one_alert(story: Story) -> None:
    home = story.project.settings.place("airflow")
    assert not (story.project.settings.place("home") / "spark" / "server.json").exists()
    alerts = [json.loads(line) for line in (home / "alerts.jsonl").read_text(encoding="utf8").splitlines()]
    assert [alert["task"] for alert in alerts] == ["expectations.gate"]
    run = DatabaseRuns(home).newest("nightly")
    assert run is not None
    assert DatabaseRuns(home).state("nightly", run) == "failed"


def test_every_stage_of_every_night_is_in_the_manifest_under_airflows_run_id(story: Story) -> None:
    runs = {row["run_id"] for row in story.project.lake.rows(STAGES).to_pylist()}
    assert len(runs) == 4
    assert all(run.startswith("manual__") for run in runs)
