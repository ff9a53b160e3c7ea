"""Run records, ops.reopenings, gold at two versions -> how rebuilt lists differ from the published, night by night.

Published: what the night's last successful publish read. Rebuilt: what its last backfill wrote. Both are read at
their own table version, so that neither later nights nor later backfills change the answer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from rich.table import Table as Grid

from nightloom.contracts import ITEM_DAYS, ITEMS, POPULAR, RECOMMENDATIONS, REOPENINGS, Table
from nightloom.errors import MissingTableError
from nightloom.lake import Lake
from nightloom.lake.recommendations import check_files, nightly_lists
from nightloom.literals import sql_text
from nightloom.night import stages
from nightloom.night.records import OK, StageRun, stage_runs
from nightloom.settings import Settings
from nightloom.terminal import iso, screen

COMPARED = (stages.PUBLISH, stages.RECOMMENDATIONS, stages.POPULAR)

LISTS = """
SELECT count(*) FILTER (WHERE t.user_id = n.user_id) AS users,
       count(*) FILTER (WHERE t.items = n.items) AS same,
       count(*) FILTER (WHERE n.user_id IS NULL) AS only_published,
       count(*) FILTER (WHERE t.user_id IS NULL) AS only_rebuilt,
       sum(coalesce(array_length(array_intersect(array_slice(t.items, 1, {k}), array_slice(n.items, 1, {k}))), 0))
           FILTER (WHERE t.user_id = n.user_id) AS common,
       sum(array_length(array_slice(t.items, 1, {k}))) FILTER (WHERE t.user_id = n.user_id) AS listed
FROM ({then}) t FULL OUTER JOIN ({now}) n ON t.user_id = n.user_id"""

SEGMENTS = """
SELECT count(*) AS other
FROM (SELECT * FROM then WHERE night = DATE '{night}') t
FULL OUTER JOIN (SELECT * FROM now WHERE night = DATE '{night}') n ON t.segment = n.segment
WHERE t.segment IS NULL OR n.segment IS NULL OR t.items != n.items"""


@dataclass(frozen=True)
class Difference:
    """One night, published and rebuilt. Counts are of users."""

    night: date
    verdict: str
    """same, other, or why there is nothing to compare."""
    users: int = 0
    """Users with a list in both."""
    same: int = 0
    only_published: int = 0
    only_rebuilt: int = 0
    overlap: float | None = None
    """Share of the published first k items that are also in the rebuilt first k, over users with both lists."""
    popular_differs: bool = False
    """Whether the list for unknown users differs."""
    because: dict[str, str] = field(default_factory=dict)
    """What changed between the two (model, config, code, catalogue, late data), whether or not the lists did."""
    versions: dict[str, list[int]] = field(default_factory=dict)
    """Table -> its version published, its version rebuilt."""


def compare(settings: Settings, nights: Sequence[date]) -> list[Difference]:
    """Each night's difference, in order."""
    lake = Lake(settings.place("lake"))
    runs = stage_runs(lake, *COMPARED, statuses=OK, first=min(nights), last=max(nights))
    return [
        _compare_night(lake, night, [run for run in runs if run.night == night], settings.slate.k) for night in nights
    ]


def _compare_night(lake: Lake, night: date, runs: list[StageRun], k: int) -> Difference:
    publishes, scorings, populars = ([run for run in runs if run.stage == stage.name] for stage in COMPARED)
    if not publishes:
        return Difference(night, "was never published")
    published = publishes[-1]
    scored = [run for run in scorings if run.started_at < published.started_at]
    rebuilt, popular = (_last_backfilled(runs_of, published) for runs_of in (scorings, populars))
    if not scored or rebuilt is None or popular is None:
        return Difference(night, "was not rebuilt since it was published")
    versions = {
        table.full_name: [published.reads[table.full_name], run.writes[table.full_name]]
        for table, run in ((RECOMMENDATIONS, rebuilt), (POPULAR, popular))
    }
    try:
        for table in (RECOMMENDATIONS, POPULAR):
            for version in versions[table.full_name]:
                check_files(lake, table, night, version)
        then, now = versions[RECOMMENDATIONS.full_name]
        both = {
            "then": nightly_lists(lake, night, then, source="then"),
            "now": nightly_lists(lake, night, now, source="now"),
        }
        lists = _query(lake, LISTS.format(k=k, **both), RECOMMENDATIONS, versions)
        segments = _query(lake, SEGMENTS.format(night=night), POPULAR, versions)
    except MissingTableError as error:
        return Difference(night, str(error), versions=versions)
    return _difference(night, lists, segments["other"], _causes(lake, scored[-1], rebuilt), versions)


def _last_backfilled(runs: list[StageRun], published: StageRun) -> StageRun | None:
    return next((run for run in reversed(runs) if run.backfilled and run.started_at > published.started_at), None)


def _query(lake: Lake, sql: str, table: Table, versions: dict[str, list[int]]) -> dict[str, Any]:
    """The one row of a query over both versions of a table."""
    then, now = (lake.open(table, version) for version in versions[table.full_name])
    row: dict[str, Any] = lake.query(sql, ("then", then), ("now", now)).to_pylist()[0]
    return row


def _difference(
    night: date, lists: dict[str, Any], segments: int, causes: dict[str, str], versions: dict[str, list[int]]
) -> Difference:
    """Rows of the two answers -> the night's difference."""
    alike = lists["same"] == lists["users"] and not (lists["only_published"] or lists["only_rebuilt"] or segments)
    return Difference(
        night,
        "same" if alike else "other",
        **{name: int(lists[name]) for name in ("users", "same", "only_published", "only_rebuilt")},
        overlap=float(lists["common"] / lists["listed"]) if lists["listed"] else None,
        popular_differs=segments > 0,
        because=causes,
        versions=versions,
    )


def _causes(lake: Lake, scored: StageRun, rebuilt: StageRun) -> dict[str, str]:
    """What changed between two scorings of a night: name -> from, to."""
    pairs = {
        "model": [run.tags["model_version"] for run in (scored, rebuilt)],
        "config": [run.config for run in (scored, rebuilt)],
        "code": [run.code for run in (scored, rebuilt)],
        "catalogue": [f"{ITEMS.full_name}@{run.reads[ITEMS.full_name]}" for run in (scored, rebuilt)],
    }
    found = {name: f"{then} -> {now}" for name, (then, now) in pairs.items() if then != now}
    late = _late_data(lake, scored.night, scored.started_at, rebuilt.started_at)
    return found | ({"late data": late} if late else {})


def _late_data(lake: Lake, night: date, after: datetime, before: datetime) -> str:
    """Rows and days up to the night that were reopened between two moments; empty when there are none."""
    if not lake.exists(REOPENINGS):
        return ""
    where = f"\"table\" = {sql_text(ITEM_DAYS.full_name)} AND period <= DATE '{night}'"
    rows = lake.rows(REOPENINGS, where, ("period", "rows", "reopened_at")).to_pylist()
    between = [row for row in rows if after < row["reopened_at"] < before]
    days = {row["period"] for row in between}
    return f"{sum(row['rows'] for row in between):,} rows on {len(days)} days" if days else ""


def print_differences(found: Sequence[Difference], as_json: bool) -> None:
    """A table, or one JSON array, on stdout."""
    if as_json:
        sys.stdout.write(json.dumps([asdict(each) for each in found], default=iso, indent=1) + "\n")
        return
    grid = Grid("night", "lists", "users", "same", "only then", "only now", "overlap", "for strangers", "what changed")
    for each in found:
        if each.verdict in ("same", "other"):
            grid.add_row(*_cells(each))
        else:
            grid.add_row(str(each.night), each.verdict)
    screen().print(grid)


def _cells(each: Difference) -> list[str]:
    counts = (each.users, each.same, each.only_published, each.only_rebuilt)
    overlap = "" if each.overlap is None else f"{each.overlap:.1%}"
    why = "; ".join(f"{name} {what}" for name, what in each.because.items())
    return [
        str(each.night), each.verdict, *(f"{count:,}" for count in counts), overlap,
        "other" if each.popular_differs else "same",
        why or ("nothing that is recorded" if each.verdict == "other" else ""),
    ]  # fmt: skip
