"""Gate 1, on the night's ingested and cleaned data: suites of bronze, silver and quarantine, and checks on counts.

bronze.*, silver.*, quarantine.rows, the run records -> ops.gates, ops.expectations, Data Docs; exit code 3 when the
gate is closed.
"""

from __future__ import annotations

from collections.abc import Iterator

from expectations.night_measures import night_measures
from expectations.validate import validate
from nightloom.contracts import (
    BRONZE,
    BRONZE_EVENTS,
    INTERACTIONS,
    QUARANTINE_ROWS,
    SILVER,
    Table,
)
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import OK, Check, stage_runs
from nightloom.night.run import run_stage

RESCUED_TAG = "rescued:"
"""Prefix of the tag that names a source's undeclared fields."""
OUTCOMES = ("inserted", "updated", "duplicates", "quarantined", "skipped")
"""What a bronze event row can become, by the counts of the cleaning stage."""


def main(night: Night) -> None:
    """Check the night's data. A failed check stops the night, unless it is a warning."""
    checks = [
        *validate(night, checked_tables(night), night_measures(night)),
        *count_checks(night),
        *undeclared_fields(night),
    ]
    night.counts |= {"checks": len(checks), "failed": sum(not check.passed for check in checks)}
    record_and_enforce(night, stages.DATA_GATE, checks)


def checked_tables(night: Night) -> list[Table]:
    """Tables of the kinds that the project's sources deliver, and quarantine once it has rows."""
    kinds = {source.kind for source in night.settings.sources}
    tables = [layer[kind] for layer in (BRONZE, SILVER) for kind in layer if kind in kinds]
    return [*tables, *([QUARANTINE_ROWS] if night.lake.exists(QUARANTINE_ROWS) else [])]


def count_checks(night: Night) -> Iterator[Check]:
    """The gate's own checks, on counts."""
    new_rows = _count(night, BRONZE_EVENTS, _of_night(night))
    yield Check("new event rows", new_rows > 0, f"{new_rows:,}", "at least 1", severity="warn")
    yield _quarantined(night, new_rows)
    least = night.settings.gates.data.min_rows
    usable = _count(night, INTERACTIONS, f"occurred_at < TIMESTAMP '{night.end:%Y-%m-%dT%H:%M:%SZ}'")
    yield Check(f"interactions up to {night.date}", usable >= least, f"{usable:,}", f"at least {least:,}")
    yield from _no_row_lost(night)


def _of_night(night: Night) -> str:
    return f"night = DATE '{night.date}'"


def _count(night: Night, table: Table, where: str) -> int:
    if not night.lake.exists(table):
        return 0
    found = night.lake.rows(table, where, ["count(*) AS n"], version=night.pin(table))
    return int(found["n"][0].as_py())


def _quarantined(night: Night, new_rows: int) -> Check:
    """Share of the night's new event rows that are in quarantine, with the most frequent reasons."""
    reasons = _reasons(night)
    bad, most = sum(reasons.values()), night.settings.gates.data.max_quarantined
    share = bad / new_rows if new_rows else 0.0
    top = ", ".join(f"{reason} {rows:,}" for reason, rows in list(reasons.items())[:3])
    observed = f"{share:.1%} ({bad:,} of {new_rows:,} rows{f': {top}' if top else ''})"
    return Check("event rows in quarantine", share <= most, observed, f"at most {most:.1%}")


def _reasons(night: Night) -> dict[str, int]:
    """Reason -> the night's event rows in quarantine for it, most frequent first."""
    if not (night.lake.exists(QUARANTINE_ROWS) and night.lake.exists(BRONZE_EVENTS)):
        return {}
    found = night.lake.query(
        f"""SELECT reason, count(*) AS n FROM q
            WHERE kind = 'events' AND row_id IN (SELECT row_id FROM b WHERE {_of_night(night)})
            GROUP BY reason ORDER BY n DESC, reason""",
        ("q", night.lake.open(QUARANTINE_ROWS, night.pin(QUARANTINE_ROWS))),
        ("b", night.lake.open(BRONZE_EVENTS, night.pin(BRONZE_EVENTS))),
    )
    return dict(zip(found["reason"].to_pylist(), found["n"].to_pylist(), strict=True))


def _no_row_lost(night: Night) -> Iterator[Check]:
    """The cleaning stage's counts account for every bronze row.

    Counted from this night on: a later night's run may have cleaned the rows of a night that is cleaned late.
    """
    runs = stage_runs(night.lake, stages.SILVER_INTERACTIONS, statuses=OK, first=night.date)
    if runs:
        became = {outcome: sum(run.rows.get(outcome, 0) for run in runs) for outcome in OUTCOMES}
        in_bronze = _count(night, BRONZE_EVENTS, f"night >= DATE '{night.date}'")
        total, terms = sum(became.values()), " + ".join(f"{rows:,} {outcome}" for outcome, rows in became.items())
        expected = f"{in_bronze:,} rows of bronze.events"
        yield Check("no event row lost", total >= in_bronze, f"{total:,} = {terms}", expected)


def undeclared_fields(night: Night) -> Iterator[Check]:
    """A warning for each source whose records had undeclared fields, by the tags of the cleaning stages."""
    runs = stage_runs(
        night.lake, *(stage for stage in stages.NIGHT if stage.layer == "silver"), statuses=OK, night=night.date
    )
    for source in night.settings.sources:
        names = [run.tags[tag] for run in runs if (tag := f"{RESCUED_TAG}{source.name}") in run.tags]
        fields = sorted({field for each in names for field in each.split(", ")})
        if fields:
            observed = f"{', '.join(fields)} (kept in the column `rescued`)"
            yield Check(f"undeclared fields of {source.name}", False, observed, "none; or declare them", "warn")


if __name__ == "__main__":
    options = {"--override": {"metavar": "WHO: WHY", "help": "let the night pass a closed gate; kept in ops.gates"}}
    run_stage(stages.DATA_GATE, main, options=options)
