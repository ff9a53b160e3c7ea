"""The night's lists against the version served now: overlap, scores, how many there are -> checks for gate 3.

What is served was published from files of gold.recommendations, which Delta never changes, and its publish compared
the store with them. A list that stands in a file of both nights is the same list, so only the others are read. Where
the served files are gone, the store's own rows are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nightloom.contracts import RECOMMENDATIONS
from nightloom.errors import MissingTableError
from nightloom.lake.duck import read_parquet
from nightloom.lake.recommendations import check_files, files_of_night, nightly_lists
from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.psi import critical_psi, psi
from serving.stores import open_store, versions
from serving.stores.base import DamagedError
from serving.stores.pushes import Push, version_name
from serving.stores.reader import Reader, Snapshot

SERVED_BATCH = 10_000
"""Served lists handed to DuckDB at a time."""
SERVED_SHAPE = '{"user":"VARCHAR","model_version":"VARCHAR","items":["VARCHAR"],"scores":["DOUBLE"]}'
SERVED = pa.schema([("value", pa.string())])
BINS = 10
Pairs = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def served_checks(night: Night, db: duckdb.DuckDBPyConnection) -> list[Check]:
    """Overlap, score drift and row count; all passed where nothing is served yet, or what is served is damaged."""
    gate = night.settings.gates.slate
    if versions.current_version(open_store(night.settings)) is None:
        return [
            Check("overlap", True, "nothing is served yet", f"at least {gate.min_overlap}", _overlap_severity(night))
        ]
    try:
        snapshot = _take(night, db)
    except DamagedError as error:  # the publish of this night ends that
        return [Check("overlap", True, f"what is served is damaged: {error}", f"at least {gate.min_overlap}", "warn")]
    shared, now, then = pairs(db)
    return [*_overlap(night, shared, snapshot), *_drift(night, now, then), _rows(night, db, snapshot)]


def popular_only_check(night: Night) -> Check:
    """A night without a champion has the popular lists alone: the first nights, and no night after them.

    It warns; where personal lists are served, it closes the gate and they stay.
    """
    push = versions.served_push(open_store(night.settings))
    served = push.facts["counts"]["users"] if push is not None and "counts" in push.facts else 0
    observed = "no model is champion: popular lists alone"
    if not served:
        return Check("lists", False, observed, "a champion; the model gate says what is missing for one", "warn")
    expected = f"a champion, since {served:,} personal lists are served; `nightloom model promote VERSION` makes one"
    return Check("lists", False, observed, expected)


def pairs(db: duckdb.DuckDBPyConnection) -> Pairs:
    """Users whose list comes from the same model: overlap of first pages, mean score now and as served."""
    db.execute(
        """CREATE TEMP TABLE IF NOT EXISTS compared AS
        SELECT CASE WHEN first = was THEN 1 ELSE len(list_intersect(first, was)) / len(was) END AS shared,
        score AS now, before
        FROM pages JOIN served USING (user_id, model_version) WHERE len(was) > 0 AND len(first) > 0
        UNION ALL SELECT 1, score, score FROM unchanged_pages WHERE length > 0
        ORDER BY ALL"""
    )
    found = db.table("compared").to_arrow_table()
    shared, now, then = (np.asarray(found[name].to_numpy(), np.float64) for name in ("shared", "now", "before"))
    return shared, now, then


def _take(night: Night, db: duckdb.DuckDBPyConnection) -> Snapshot:
    """Make the table `served`: user_id, model_version, was (its first page), before (that page's mean score).

    The users whose list is the one that is served are not in it; they are in the view `unchanged_pages`.
    """
    k, snapshot = night.settings.slate.k, Reader(open_store(night.settings)).current()
    lists, changed = _files_of(night, db, snapshot.push) or _rows_of(db, snapshot)
    db.execute(
        f"""CREATE TEMP TABLE served AS SELECT user_id, model_version, items[1:{k}] AS was,
        list_avg(scores[1:{k}]) AS before FROM ({lists}) SEMI JOIN ({changed}) USING (user_id)"""
    )
    db.execute(f"CREATE TEMP VIEW unchanged_pages AS FROM pages ANTI JOIN ({changed}) USING (user_id)")
    return snapshot


def _files_of(night: Night, db: duckdb.DuckDBPyConnection, served: Push) -> tuple[str, str] | None:
    """SELECT of the served lists from the files they were published from, and of the users with another list now.

    None where no user has a list in them, or where they are gone.
    """
    version, lake, of = served.facts.get("inputs", {}).get(RECOMMENDATIONS.full_name), night.lake, RECOMMENDATIONS
    if version is None or not lake.exists(of):
        return None
    day = date.fromisoformat(served.night)
    try:
        check_files(lake, of, day, version)
        then = set(files_of_night(lake, of, day, version))
        now = set(files_of_night(lake, of, night.date, night.pin(of)))
    except MissingTableError:
        return None
    if not then:
        return None
    read_parquet(db, sorted(then), union_by_name=True, hive_partitioning=True).create_view("served_rows")
    lists = nightly_lists(lake, day, version, source="served_rows")
    others = []
    for name, files in (("written_since", now - then), ("replaced_since", then - now)):
        if files:
            read_parquet(db, sorted(files), union_by_name=True, hive_partitioning=True).create_view(name)
            others.append(f"SELECT user_id FROM {name}")
    # A full refresh that both nights share holds a list for users of whom one of the nights has another one.
    return lists, " UNION ".join(others) or "SELECT user_id FROM pages WHERE false"


def _rows_of(db: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> tuple[str, str]:
    """SELECT of the lists that the store holds, and of their users."""
    db.register("_served", pa.RecordBatchReader.from_batches(SERVED, _values(snapshot)))
    db.execute(
        f"""CREATE TEMP TABLE served_rows AS SELECT row.user AS user_id, row.model_version AS model_version,
        row.items AS items, row.scores AS scores FROM (SELECT from_json(value, '{SERVED_SHAPE}') AS row FROM _served)"""
    )
    return "FROM served_rows", "SELECT user_id FROM served_rows UNION ALL SELECT user_id FROM pages"


def _values(snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
    """The served users' values, as they are, in batches."""
    values: list[bytes] = []
    for value in snapshot.values("users"):
        values.append(bytes(value))
        if len(values) == SERVED_BATCH:
            yield pa.record_batch([pa.array(values, pa.string())], schema=SERVED)
            values = []
    yield pa.record_batch([pa.array(values, pa.string())], schema=SERVED)


def _overlap_severity(night: Night) -> str:
    return "stop" if night.settings.gates.slate.min_overlap > 0 else "warn"


def _overlap(night: Night, shared: NDArray[np.float64], snapshot: Snapshot) -> Iterator[Check]:
    """Mean share of the first k that a user with the same model version still has; stops only where settings say so."""
    least, severity = night.settings.gates.slate.min_overlap, _overlap_severity(night)
    if not len(shared):
        yield Check("overlap", True, "no list of the same model version is served", f"at least {least}", severity)
        return
    words = f"{shared.mean():.4f} over {len(shared):,} users against {version_name(snapshot.version)}"
    yield Check("overlap", bool(shared.mean() >= least), words, f"at least {least}", severity)


def _drift(night: Night, now: NDArray[np.float64], then: NDArray[np.float64]) -> Iterator[Check]:
    """Users' mean scores by the tenths of the served ones; what chance does to so few users is no drift."""
    if not len(now):
        return
    most = night.settings.gates.slate.max_score_drift
    edges = np.unique([*np.quantile(then, np.arange(BINS) / BINS), np.nextafter(then.max(), np.inf)])
    bins = (np.searchsorted(edges, each, side="right") for each in (now, then))
    counts = [dict(enumerate(np.bincount(each, minlength=len(edges) + 1).tolist())) for each in bins]
    found, limit = psi(*counts), max(most, critical_psi(len(edges) + 1, len(now), len(then)))
    words = f"{found:.4f}: mean score {now.mean():.4g}, served {then.mean():.4g}, {len(now):,} users"
    yield Check("score_drift", found <= limit, words, f"at most {limit:.4g}", _severity(night, "score_drift"))


def _rows(night: Night, db: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> Check:
    most = night.settings.gates.slate.max_rows_loss
    (found,) = db.sql(
        """SELECT (SELECT count(*) FROM pages),
        (SELECT count(*) FROM served) + (SELECT count(*) FROM unchanged_pages)"""
    ).fetchall()
    words = f"{found[0]:,} lists, {version_name(snapshot.version)} has {found[1]:,}"
    return Check(
        "rows_loss", found[0] >= (1 - most) * found[1], words, f"at most {most} fewer", _severity(night, "rows_loss")
    )


def _severity(night: Night, check: str) -> str:
    return "stop" if check in night.settings.gates.slate.stop_on else "warn"
