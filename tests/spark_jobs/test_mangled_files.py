"""300 mangled files in one night: each line is good, or in quarantine with a true reason, and no stage ends."""

from collections import Counter
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from expectations.landing_files import file_checks
from nightloom.contracts import BRONZE_EVENTS, INTERACTIONS, QUARANTINE_ROWS
from spark_jobs import bronze, silver_interactions
from tests.spark_jobs.mangled_files import GENERATORS, GOOD, mangled_files
from tests.spark_jobs.small_project import EVENTS_ONLY, project

SEED = 20240301


@pytest.mark.usefixtures("quick")
def test_every_line_of_300_mangled_files_is_good_or_in_quarantine(spark: SparkSession, tmp_path: Path) -> None:
    head, source = EVENTS_ONLY[: EVENTS_ONLY.index("[[signals]]")].split("[[sources]]")
    source = source.replace('at = "timestamp"', 'at = "timestamp"\ntitle = "string"')
    sources = [
        source.replace('"ratings"', f'"{format}"').replace("landing/events", format).replace('"json"', f'"{format}"')
        for format in GENERATORS
    ]
    toml = "[[sources]]".join([head, *sources]) + EVENTS_ONLY[EVENTS_ONLY.index("[[signals]]") :]
    at = project(tmp_path / "p", spark, toml)
    files = {f"{format}/{file.name}": file for format in GENERATORS for file in mangled_files(format, 100, SEED)}
    assert len(files) == 300
    for name, file in files.items():
        (at.settings.root / name).write_bytes(file.content)
    at.run(bronze.main, silver_interactions.main)

    landed = at.rows(BRONZE_EVENTS, "row_id", "file", "lines")
    held = Counter[str]()
    for row in landed:
        held[row["file"]] += row["lines"] or 0
    expected = {name: file.lines for name, file in files.items() if file.lines is not None}
    assert {name: held[name] for name in expected} == expected

    interactions = {row["event_id"]: row for row in at.rows(INTERACTIONS, "event_id", "row_id", "user_id")}
    quarantine = at.rows(QUARANTINE_ROWS, "row_id", "reason", "detail", "raw")
    became = Counter([row["row_id"] for row in [*interactions.values(), *quarantine]])
    assert set(became) == {row["row_id"] for row in landed}
    assert set(became.values()) == {1}
    reasons = {line.id: [r for r in quarantine if line.id in r["raw"]] for f in files.values() for line in f.records}
    wrong = []
    for name, file in files.items():
        for line in file.records:
            found = {row["reason"] for row in reasons[line.id]} or (
                {"good"} if line.id in interactions else {"nowhere"}
            )
            if line.outcomes and not found <= line.outcomes:
                wrong.append((name, line.id, found, line.outcomes, [row["detail"] for row in reasons[line.id]][:1]))
            if found == GOOD and line.outcomes:
                assert interactions[line.id]["user_id"] == f"u-{line.id}"
    assert wrong == []
    lines = [check for check in file_checks(at.night()) if check.name.startswith("lines of")]
    assert len(lines) == 3
    assert all(check.passed for check in lines)
