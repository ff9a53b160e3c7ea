"""Quarantine: mend the rule or the row, replay, and each row lands once, as if it had come right."""

import json
import re
import shlex
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyspark.sql import SparkSession

from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, ITEM_DAYS, QUARANTINE_ROWS, REOPENINGS, USERS
from nightloom.quarantine import records as module
from nightloom.quarantine.commands import QuarantineError, quarantine
from nightloom.settings import CONFIG_VARIABLE
from spark_jobs import gold_histories, gold_item_days, silver_interactions, silver_users
from tests.spark_jobs.small_project import NEXT, READ, TOML, D, Project, event, project

MENDED = TOML.replace('event = "view"', 'event = "teleport"')
PAGE = Path(__file__).parents[2] / "docs" / "quarantine.md"
READ_NEXT = READ + timedelta(days=1)
STAGES = (silver_interactions.main, gold_histories.main, gold_item_days.main)


def ask(at: Project, *words: str) -> Result:
    environment = {CONFIG_VARIABLE: str(at.settings.root / "nightloom.toml")}
    return CliRunner().invoke(quarantine, words, env=environment, catch_exceptions=False)


def shown(at: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ask(at, "show", "--json").output.splitlines()]


def test_a_thousand_rows_land_once_after_the_rule_was_mended_and_quarantine_says_so(
    spark: SparkSession, tmp_path: Path
) -> None:
    at = project(tmp_path, spark)
    at.ingest(
        *(event(n, event="teleport", user_id=f"u{n % 7}") for n in range(1000)), event(1000), event(1001, value=9)
    )
    at.ingest(event(2000, at="2024-03-02T12:00:00Z"), file="b", night=NEXT, ingested_at=READ_NEXT)
    at.run(*STAGES)
    assert Counter(row["reason"] for row in at.rows(QUARANTINE_ROWS)) == {"unknown_event": 1000, "impossible_value": 1}

    at = project(tmp_path, spark, MENDED)
    assert "1,000 rows went in again" in ask(at, "replay", "--reason", "unknown_event", "--why", "now declared").output
    assert Counter(row["became"] for row in shown(at)) == {"replayed: the next night takes it": 1000, "waiting": 1}
    for _ in range(2):
        at.run(*STAGES, day=NEXT)
    landed = at.rows(INTERACTIONS)
    assert len(landed) == len({row["event_id"] for row in landed}) == 1002
    assert Counter(row["became"] for row in shown(at)) == {"landed in silver.interactions": 1000, "waiting": 1}
    assert sum(row["events"] for row in at.rows(ITEM_DAYS) if row["day"] == D) == 1001
    (reopened,) = (row for row in at.rows(REOPENINGS) if row["table"] == ITEM_DAYS.full_name)
    assert (reopened["period"], reopened["rows"]) == (D, 1000)
    assert reopened["why"] == "silver.interactions: 1,000 replayed from quarantine"

    again = ask_error(at, "replay", "--reason", "unknown_event")
    assert "no waiting row fits" in again
    in_order = project(tmp_path / "in-order", spark, MENDED)
    in_order.ingest(*(event(n, event="teleport", user_id=f"u{n % 7}") for n in range(1000)), event(1000))
    in_order.ingest(event(2000, at="2024-03-02T12:00:00Z"), file="b", night=NEXT, ingested_at=READ_NEXT)
    in_order.run(*STAGES)
    assert at.rows(ITEM_DAYS) == in_order.rows(ITEM_DAYS)


def ask_error(at: Project, *words: str) -> str:
    with pytest.raises(QuarantineError) as error:
        ask(at, *words)
    return str(error.value)


def test_a_mended_row_lands_and_one_that_is_still_wrong_comes_back(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest(event(1, value=9), event(2, value=8), event(3), file="a")
    at.run(silver_interactions.main)
    ids = {json.loads(row["raw"])["event_id"]: row["row_id"] for row in at.rows(QUARANTINE_ROWS)}
    ask(at, "replay", "--row", ids["e1"][:10], "--raw", json.dumps(event(1, value=5)))
    file = tmp_path / "mended.jsonl"
    file.write_text(json.dumps({"row_id": ids["e2"], "raw": json.dumps(event(2, value=7))}) + "\n")
    ask(at, "replay", "--from", str(file))
    at.run(silver_interactions.main, day=NEXT)
    assert {row["event_id"]: row["value"] for row in at.rows(INTERACTIONS)} == {"e1": 5.0, "e3": 5.0}
    became = {row["row_id"]: row["became"] for row in shown(at)}
    assert became[ids["e1"]] == "landed in silver.interactions"
    assert became[ids["e2"]] == "in quarantine again: impossible_value"
    assert sorted(became.values())[-1] == "waiting"


def test_what_is_there_already_is_not_there_twice_after_a_replay(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest(event(1, value=9), file="a")
    at.ingest(event(1), file="b")
    at.run(silver_interactions.main)
    (row,) = at.rows(QUARANTINE_ROWS)
    ask(at, "replay", "--everything", "--raw", json.dumps(event(1, value=4)))
    at.run(silver_interactions.main, day=NEXT)
    assert [(each["event_id"], each["value"]) for each in at.rows(INTERACTIONS)] == [("e1", 5.0)]
    assert shown(at)[0]["became"] == "replayed: what it says was there already, or is skipped"
    assert row["state"] == "waiting"


def test_a_replay_that_was_killed_in_the_middle_is_ended_by_the_same_call(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = project(tmp_path, spark)
    at.ingest({"user_id": ""}, "junk", kind="users", file="a")
    at.run(silver_users.main)
    with monkeypatch.context() as patch:
        patch.setattr(module, "record_decision", _killed)
        with pytest.raises(MemoryError):
            ask(at, "replay", "--reason", "missing", "--raw", '{"user_id": "u1"}')
    ask(at, "replay", "--reason", "missing", "--raw", '{"user_id": "u1"}')
    counts = at.run(silver_users.main, day=NEXT)
    assert (counts["read"], [row["user_id"] for row in at.rows(USERS)]) == (1, ["u1"])


def _killed(*_: object, **__: object) -> None:
    raise MemoryError


def test_discarded_rows_stay_and_say_who_and_why(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest("junk", "rubbish", event(1), file="a")
    at.run(silver_interactions.main)
    assert "2 rows discarded" in ask(at, "discard", "--reason", "unreadable", "--why", "a test of the sender").output
    assert {row["became"] for row in shown(at)} == {"discarded"}
    assert all(row["decided_by"].endswith(": a test of the sender") for row in at.rows(QUARANTINE_ROWS))
    (group,) = json.loads(ask(at, "list", "--json").output)
    assert (group["state"], group["rows"], group["first"]) == ("discarded", 2, str(D))
    assert len(at.rows(BRONZE_EVENTS)) == 3


def test_rows_have_to_be_chosen(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    at.ingest("junk", "rubbish", file="a")
    at.run(silver_interactions.main)
    assert "choose rows with" in ask(at, "replay").output
    assert "--raw mends one row, but 2 were chosen" in ask_error(at, "replay", "--everything", "--raw", "{}")
    assert "1,000 rows" not in ask(at, "replay", "--everything", "--dry-run").output
    assert {row["state"] for row in at.rows(QUARANTINE_ROWS)} == {"waiting"}
    assert ask(at, "list", "--night", str(date(2020, 1, 1))).output.count("unreadable") == 0


def test_the_commands_of_the_page_do_what_it_says(spark: SparkSession, tmp_path: Path) -> None:
    at = project(tmp_path, spark)
    bad = event(7, user_id=None), event(8, value=9), event(9, event="teleport")
    at.ingest(event(1), *bad, "junk", file="a")
    at.run(silver_interactions.main)
    at = project(tmp_path, spark, MENDED.replace("valid = [1, 5]", "valid = [1, 10]"))
    for line in commands(PAGE.read_text(encoding="utf8")):
        words = shlex.split(line.removeprefix("./run quarantine ").replace("rows.jsonl", str(tmp_path / "rows.jsonl")))
        result = ask(at, *(words[: words.index(">")] if ">" in words else words))
        assert result.exit_code == 0, (line, result.output)
        if ">" in words:
            Path(words[-1]).write_text(result.output)
        if "replay" in words:
            at.run(silver_interactions.main, day=NEXT)
    became = Counter((row["reason"], row["became"]) for row in shown(at))
    assert became == {
        ("missing", "in quarantine again: unknown_event"): 1,
        ("unknown_event", "waiting"): 1,
        ("impossible_value", "landed in silver.interactions"): 1,
        ("unknown_event", "landed in silver.interactions"): 1,
        ("unreadable", "discarded"): 1,
    }


def commands(page: str) -> list[str]:
    """The quarantine lines of the page's shell blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("./run quarantine ")]
