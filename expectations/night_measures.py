"""A night compared with the nights before it: bronze.*, silver.*, the run records -> measures, all counted in SQL.

The earlier nights are counted in the tables themselves and not taken from earlier results, so a night that ran again,
or whose gate did not run, counts with its present rows. A night is compared once MIN_NIGHTS ran before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date
from statistics import median

from expectations.drift import drift
from expectations.measure import Measure
from expectations.spellings import DESCRIBED, differently_spelled
from nightloom.contracts import BRONZE, INTERACTIONS, Table
from nightloom.night import records, stages
from nightloom.night.context import Night, nights_in

MIN_NIGHTS = 3
EXAMPLES = 3


def night_measures(night: Night) -> list[Measure]:
    """All measures of the night; those without a limit are only recorded."""
    before = nights_before(night)
    return [
        *source_rows(night, before),
        *newest_event_age(night),
        *undescribed_shares(night),
        *differently_spelled(night),
        *drift(night, before if _enough(before) else []),
    ]


def nights_before(night: Night) -> list[date]:
    """The last gates.data.past_nights nights before this one that ingested, oldest first.

    By the rows of bronze; the run records add the nights on which nothing came.
    """
    ingested = set(records.nights(night.lake, stages.BRONZE, statuses=("ok", "skipped"), before=night.date))
    for table in BRONZE.values():
        ingested |= {day for day in nights_in(night, table) if day < night.date}
    return sorted(ingested)[-night.settings.gates.data.past_nights :]


def _enough(before: Sequence[date]) -> bool:
    return len(before) >= MIN_NIGHTS


def source_rows(night: Night, before: Sequence[date]) -> Iterator[Measure]:
    """Records of each source, compared with the median of the same weekday, or of all nights before."""
    for kind, table in BRONZE.items():
        names = [source.name for source in night.settings.sources if source.kind == kind]
        if not names or not night.lake.exists(table):
            continue
        first = min([night.date, *before])
        counted = night.lake.query(
            f"SELECT source, night, count(*) AS n FROM t WHERE night >= DATE '{first}' GROUP BY source, night",
            ("t", night.lake.open(table, night.pin(table))),
        ).to_pylist()
        for name in names:
            counts = {row["night"]: row["n"] for row in counted if row["source"] == name}
            yield _source_rows(night, table, name, counts, before)


def _source_rows(night: Night, table: Table, source: str, counts: dict[date, int], before: Sequence[date]) -> Measure:
    count, name = counts.get(night.date, 0), f"rows of {source}"
    if not _enough(before):
        observed = f"{count:,} rows; no past yet ({len(before)} nights before, {MIN_NIGHTS} are needed)"
        return Measure(table, name, count, observed)
    same_weekday = [day for day in before if day.weekday() == night.date.weekday()]
    days, which = (same_weekday, f"{night.date:%A}s") if _enough(same_weekday) else (before, "nights")
    usual = median(counts.get(day, 0) for day in days)
    observed = f"{count:,} rows; the median of {len(days)} {which} before is {usual:,.0f}"
    if not usual:
        return Measure(table, name, count, observed)  # such a source delivers now and then: any number is usual
    # Small counts vary by chance: a difference of three standard deviations of a count always passes.
    slack = max(night.settings.gates.data.max_rows_change * usual, 3 * math.sqrt(usual))
    return Measure(table, name, count, observed, max(usual - slack, 0.0), usual + slack, severity(night, "rows"))


def newest_event_age(night: Night) -> Iterator[Measure]:
    """Hours from the newest event to the end of the night's day."""
    before_end = f"occurred_at < TIMESTAMP '{night.end:%Y-%m-%dT%H:%M:%SZ}'"
    if not night.lake.exists(INTERACTIONS):
        return
    found = night.lake.rows(INTERACTIONS, before_end, ["max(occurred_at) AS newest"], night.pin(INTERACTIONS))
    newest = found["newest"][0].as_py()
    if newest is not None:
        hours, most = (night.end - newest).total_seconds() / 3600, night.settings.gates.data.max_age_hours
        observed = f"{hours:.1f} hours before the day's end ({newest:%Y-%m-%d %H:%M} UTC)"
        yield Measure(INTERACTIONS, "age of the newest event", hours, observed, None, most, severity(night, "age"))


def undescribed_shares(night: Night) -> Iterator[Measure]:
    """Share of the night's interactions whose item or user no source has described, with the most frequent ones."""
    kinds = {source.kind for source in night.settings.sources}
    for kind, (table, key) in DESCRIBED.items():
        if kind in kinds and night.lake.exists(table) and night.lake.exists(INTERACTIONS):
            yield _undescribed_share(night, table, key, kind)


def _undescribed_share(night: Night, table: Table, key: str, kind: str) -> Measure:
    found = night.lake.query(
        f"""WITH mine AS (SELECT {key} AS id, count(*) AS n FROM t WHERE night = DATE '{night.date}' GROUP BY {key}),
                 unknown AS (SELECT id, n FROM mine LEFT ANTI JOIN d ON mine.id = d.{key})
            SELECT (SELECT sum(n) FROM mine) AS all_of_them, (SELECT sum(n) FROM unknown) AS without, id
            FROM (SELECT 1) LEFT JOIN unknown ON true ORDER BY n DESC, id LIMIT {EXAMPLES}""",
        ("t", night.lake.open(INTERACTIONS, night.pin(INTERACTIONS))),
        ("d", night.lake.open(table, night.pin(table))),
    ).to_pylist()
    count, without = found[0]["all_of_them"] or 0, found[0]["without"] or 0
    share, most = without / count if count else 0.0, night.settings.gates.data.max_undescribed
    examples = f", e.g. {', '.join(row['id'] for row in found)}" if without else ""
    observed = f"{share:.1%} of {count:,} interactions name {kind} that are not in {table.full_name}{examples}"
    name = f"{kind} that nobody described"
    return Measure(INTERACTIONS, name, share, observed, None, most, severity(night, "undescribed"))


def severity(night: Night, what: str) -> str:
    """stop where gates.data.stop_on names it."""
    return "stop" if what in night.settings.gates.data.stop_on else "warn"
