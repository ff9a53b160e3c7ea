"""The night's lists against the version served now: overlap, scores, how many there are -> checks for gate 3."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.psi import critical_psi, psi
from serving.stores import open_store, versions
from serving.stores.base import DamagedError
from serving.stores.pushes import version_name
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
        FROM pages JOIN served USING (user_id, model_version) WHERE len(was) > 0 AND len(first) > 0 ORDER BY user_id"""
    )
    found = db.table("compared").to_arrow_table()
    shared, now, then = (np.asarray(found[name].to_numpy(), np.float64) for name in ("shared", "now", "before"))
    return shared, now, then


def _take(night: Night, db: duckdb.DuckDBPyConnection) -> Snapshot:
    """Make the table `served`: user_id, model_version, was (its first page), before (that page's mean score)."""
    k, snapshot = night.settings.slate.k, Reader(open_store(night.settings)).current()
    db.register("_served", pa.RecordBatchReader.from_batches(SERVED, _values(snapshot)))
    db.execute(
        f"""CREATE TEMP TABLE served AS
        SELECT row.user AS user_id, row.model_version AS model_version, row.items[1:{k}] AS was,
        list_avg(row.scores[1:{k}]) AS before FROM (SELECT from_json(value, '{SERVED_SHAPE}') AS row FROM _served)"""
    )
    return snapshot


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
    (found,) = db.sql("SELECT (SELECT count(*) FROM pages), (SELECT count(*) FROM served)").fetchall()
    words = f"{found[0]:,} lists, {version_name(snapshot.version)} has {found[1]:,}"
    return Check(
        "rows_loss", found[0] >= (1 - most) * found[1], words, f"at most {most} fewer", _severity(night, "rows_loss")
    )


def _severity(night: Night, check: str) -> str:
    return "stop" if check in night.settings.gates.slate.stop_on else "warn"
