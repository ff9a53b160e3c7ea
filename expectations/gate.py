"""Gate 1, on the night's ingested and cleaned data: each table's suite, checks on counts, and no row lost.

bronze.*, silver.*, quarantine.rows -> ops.gates, ops.expectations, Data Docs; exit code 3 when the gate is closed.
"""

from __future__ import annotations

from collections.abc import Iterator

from expectations.landing_files import file_checks
from expectations.night_measures import night_measures
from expectations.reconciliation import reconcile
from expectations.validate import validate
from nightloom.contracts import (
    BRONZE,
    BRONZE_EVENTS,
    INTERACTIONS,
    ITEMS,
    QUARANTINE_ROWS,
    SILVER,
    UNUSED_ROWS,
    Table,
)
from nightloom.lake.full_catalogues import absent_items, is_complete
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.records import Check
from nightloom.night.run import run_stage
from nightloom.settings.interactions import OVER_LIMIT
from spark_jobs.commit_stamps import recent_commits

RESCUED_TAG = "rescued:"
"""Prefix of the tag that names a source's undeclared fields."""


def main(night: Night) -> None:
    """Check the night's data. A failed check stops the night, unless it is a warning."""
    row_checks, reconciled = reconciliation(night)
    checks = [
        *validate(night, checked_tables(night), night_measures(night)),
        *count_checks(night),
        *row_checks,
        *file_checks(night),
        *undeclared_fields(night),
        *skipped_by_limit(night),
        *incomplete_catalogues(night),
    ]
    night.counts |= {"checks": len(checks), "failed": sum(not check.passed for check in checks)}
    record_and_enforce(night, stages.DATA_GATE, checks, reconciled)


def checked_tables(night: Night) -> list[Table]:
    """Tables of the kinds that the project's sources deliver, and quarantine once it has rows."""
    tables = [layer[kind] for layer in (BRONZE, SILVER) for kind in kinds(night)]
    return [*tables, *([QUARANTINE_ROWS] if night.lake.exists(QUARANTINE_ROWS) else [])]


def kinds(night: Night) -> list[str]:
    """The kinds that the project's sources deliver."""
    delivered = {source.kind for source in night.settings.sources}
    return [kind for kind in BRONZE if kind in delivered]


def count_checks(night: Night) -> Iterator[Check]:
    """The gate's own checks, on counts."""
    new_rows = _count(night, BRONZE_EVENTS, _of_night(night))
    yield Check("new event rows", new_rows > 0, f"{new_rows:,}", "at least 1", severity="warn")
    yield _quarantined(night, new_rows)
    least = night.settings.gates.data.min_rows
    usable = _count(night, INTERACTIONS, f"occurred_at < TIMESTAMP '{night.end:%Y-%m-%dT%H:%M:%SZ}'")
    yield Check(f"interactions up to {night.date}", usable >= least, f"{usable:,}", f"at least {least:,}")


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
    # One bad row closes no gate, however few rows a day brings.
    return Check("event rows in quarantine", share <= most or bad == 1, observed, f"at most {most:.1%}, or one row")


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


def reconciliation(night: Night) -> tuple[list[Check], dict[Table, int]]:
    """The checks that no row is lost, and the versions up to which the tables are reconciled."""
    checks: list[Check] = []
    versions: dict[Table, int] = {}
    for kind in kinds(night):
        of_kind, reconciled = reconcile(night, kind)
        checks += of_kind
        versions |= reconciled
    return checks, versions


def undeclared_fields(night: Night) -> Iterator[Check]:
    """A warning for each source whose records had undeclared fields, by the stamps of silver's commits."""
    tables = [SILVER[kind] for kind in kinds(night)]
    stamps = [commit.stamp for table in tables for commit in recent_commits(night.lake, table)]
    tags = [stamp["tags"] for stamp in stamps if stamp.get("night") == night.date.isoformat()]
    for source in night.settings.sources:
        names = [of_commit[tag] for of_commit in tags if (tag := f"{RESCUED_TAG}{source.name}") in of_commit]
        fields = sorted({field for each in names for field in each.split(", ")})
        if fields:
            observed = f"{', '.join(fields)} (kept in the column `rescued`)"
            yield Check(f"undeclared fields of {source.name}", False, observed, "none; or declare them", "warn")


def skipped_by_limit(night: Night) -> Iterator[Check]:
    """A warning where users have more events on a day than count, with the users who have most."""
    limit = night.settings.interactions.max_per_user_and_day
    if limit is None or not night.lake.exists(INTERACTIONS):
        return
    skipped = _count(night, UNUSED_ROWS, f"{_of_night(night)} AND outcome = 'skipped' AND detail = '{OVER_LIMIT}'")
    if skipped:
        users = night.lake.query(
            f"""SELECT DISTINCT user_id FROM t WHERE {_of_night(night)}
                GROUP BY user_id, date_trunc('day', occurred_at) HAVING count(*) >= {limit} ORDER BY user_id LIMIT 3""",
            ("t", night.lake.open(INTERACTIONS, night.pin(INTERACTIONS))),
        )["user_id"].to_pylist()
        named = f", e.g. of {', '.join(users)}" if users else ""
        yield Check(f"events beyond interactions.{OVER_LIMIT}", False, f"{skipped:,} skipped{named}", "none", "warn")


def incomplete_catalogues(night: Night) -> Iterator[Check]:
    """A warning for each full catalogue that lacks so much that nothing ended."""
    for source in night.settings.sources_of("items"):
        if not source.full or not night.lake.exists(ITEMS):
            continue
        absent = absent_items(night.lake, source, night.pin(ITEMS))
        if absent and not is_complete(absent, source):
            words = f"{absent.items:,} items are absent from the {absent.delivered:,} that arrived on {absent.arrived}"
            most = f"at most {source.max_absent:.0%} of them (max_absent); they stay available until it is complete"
            yield Check(f"full catalogue of {source.name}", False, words, most, "warn")


if __name__ == "__main__":
    options = {"--override": {"metavar": "WHO: WHY", "help": "let the night pass a closed gate; kept in ops.gates"}}
    run_stage(stages.DATA_GATE, main, options=options)
