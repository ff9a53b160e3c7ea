"""The version that readers get, and the store's versions, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from nightloom.airflow import Airflow
from nightloom.errors import StoreError
from nightloom.values import now
from serving.freshness import freshness
from serving.metrics.exposition import Family, Labels, Sample
from serving.stores.base import NothingPublishedError
from serving.stores.fallback import FallbackReader
from serving.stores.pushes import Push, PushState, version_name
from serving.stores.reader import Snapshot


async def served_families(lists: FallbackReader, airflow: Airflow) -> list[Family]:
    """What this worker serves. It waits for a store no longer than an answer to a reader does."""
    try:
        snapshot, stale = lists.state()
        pushes = await lists.ask(lambda of, _: of.pushes())
    except NothingPublishedError:
        return [_store_up(True)]
    except StoreError:  # this process has never read a version
        return [_store_up(False)]
    return [_store_up(not stale), *_version(snapshot, airflow), *_versions(pushes)]


def _store_up(up: bool) -> Family:
    return _gauge("nightloom_store_up", "1 while the serving store can be read, 0 while answers are stale.", float(up))


def _version(snapshot: Snapshot, airflow: Airflow) -> Iterator[Family]:
    meta = snapshot.meta
    yield _gauge(
        "nightloom_served_info", "The served version, the night whose lists it has, and the model that scored them.", 1,
        {"version": version_name(snapshot.version), "night": meta["night"], "model_version": meta["model_version"]},
    )  # fmt: skip
    yield _gauge("nightloom_served_version", "The number of the served version.", snapshot.version)
    for what, text in (("published", "published"), ("generated", "scored")):
        yield _gauge(
            f"nightloom_served_{what}_timestamp_seconds", f"When the served version was {text}, Unix time.",
            datetime.fromisoformat(meta[f"{what}_at"]).timestamp(),
        )  # fmt: skip
    if (late := freshness(airflow, meta, now()).nights_late) is not None:
        yield _gauge(
            "nightloom_nights_late", "By how many nights the served lists are late; 0 while they are fresh.", late
        )
    rows = [Sample(count, {"kind": kind}) for kind, count in meta["counts"].items()]
    yield Family("nightloom_served_rows", "gauge", "Rows of the served version by kind; of users: lists.", rows)
    if "bytes" in meta:
        yield _gauge("nightloom_served_bytes", "Size of the served version in the store.", meta["bytes"])


def _versions(pushes: list[Push]) -> Iterator[Family]:
    counts = Counter(push.state for push in pushes)
    states = [Sample(counts[state], {"state": state}) for state in PushState]
    yield Family("nightloom_store_versions", "gauge", "Recorded pushes by state.", states)


def _gauge(name: str, text: str, value: float, labels: Labels | None = None) -> Family:
    return Family(name, "gauge", text, [Sample(value, labels or {})])
