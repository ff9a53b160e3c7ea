"""A night's gold.recommendations, gold.popular, gold.similar_items, and silver.items -> a new version, then a flip.

Only table versions that gate 3 judged are published, and only while the night's rows have not changed since.
Lists equal to those that are served make no new version. Tags: published_version, model_version, push.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nightloom.contracts import HISTORIES, ITEMS, POPULAR, RECOMMENDATIONS, SIMILAR_ITEMS, USERS, Table
from nightloom.errors import ExitCode, StoreError
from nightloom.lake import now
from nightloom.lake.recommendations import files_of_night
from nightloom.night import records, stages
from nightloom.night.context import Night
from nightloom.night.records import OK
from nightloom.night.revision import code_revision
from nightloom.night.run import run_stage
from serving import canary, loader
from serving.loader import LoadSummary
from serving.quota import check_quota
from serving.store_rows import BATCH_ROWS, StoreRows
from serving.stores import Store, open_store, versions
from serving.stores.base import KINDS
from serving.stores.pushes import NO_MODEL, FailureReason, PinnedError, Push, PushError, PushState, version_name

INPUTS = (RECOMMENDATIONS, POPULAR, SIMILAR_ITEMS, ITEMS)
OF_LIVE_LISTS = (HISTORIES, USERS)
"""What serving.live publishes, too."""
SECONDS_BETWEEN_LINES = 2.0


def main(night: Night) -> None:
    """Publish the night's lists as a new version."""
    try:
        store = open_store(night.settings)
        with store.exclusive_lock():
            for line in versions.recover(store):
                print(f"{night.stage}: {line}", file=sys.stderr)
            versions.require_unpinned(store)
            served = versions.served_push(store)
            _require_newer(night, served)
            _push_or_fail(night, store, _begin_push(night, store), served)
            versions.prune(store, night.settings.store.keep)
            _prune_live_files(night, store)
    except PushError as error:
        night.tags["push"] = f"{PushState.FAILED}: {error.reason}"
        raise


def _push_or_fail(night: Night, store: Store, push: Push, served: Push | None) -> None:
    """Push, and record why where that fails. Raises PushError; PinnedError where a version was pinned meanwhile."""
    try:
        _push(night, store, push, served)
    except PinnedError:
        raise
    except StoreError as error:
        failure = error if isinstance(error, PushError) else PushError(FailureReason.STORE, str(error))
        try:
            versions.fail_push(store, push, failure.reason, str(failure))
        except StoreError as unrecorded:
            raise PushError(failure.reason, f"{failure}; the store has no record of it ({unrecorded})") from None
        versions.prune(store, night.settings.store.keep)
        raise failure from None


def _begin_push(night: Night, store: Store) -> Push:
    """The new version, or the one that a killed push of the same rows was loading."""
    try:
        pinned = _judged_inputs(night)
    except PushError as error:
        push = versions.begin_push(store, str(night.date), night.run_id)
        versions.fail_push(store, push, error.reason, str(error))
        raise
    source = {"inputs": pinned, "config": night.settings.digest, "code": code_revision()}
    moment = f"{now():%Y-%m-%dT%H:%M:%SZ}"
    return versions.begin_push(store, str(night.date), night.run_id, source=source, moment=moment)


def _push(night: Night, store: Store, push: Push, served: Push | None) -> None:
    scratch = night.settings.place("scratch")
    rows, pinned = StoreRows(night.lake, night.date, push.facts["source"]["inputs"], scratch), dict(night.reads)
    kinds = [kind for kind in KINDS if kind != "histories" or night.settings.serving.live]
    predicted = check_quota(night.settings, store, {kind: rows.sizes(kind) for kind in kinds})
    _require_unchanged(night, pinned)
    rate = night.settings.store.rows_per_second
    at_a_time = BATCH_ROWS if rate is None else min(BATCH_ROWS, rate)
    batches = {kind: rows.batches(kind, push.version, push.facts["moment"], at_a_time) for kind in kinds}
    loaded = loader.load(store, push.version, batches, rate, _progress(night, push))
    night.counts |= loaded.counts
    same = served if served is not None and loaded.checksum == served.facts.get("checksum") else None
    damage = None if same is None else _find_damage(store, same, scratch)
    if damage is not None:
        print(f"{night.stage}: the served version is damaged and is replaced: {damage}", file=sys.stderr)
    elif same is not None:
        versions.delete_version(store, push)
        print(f"{night.stage}: the lists equal those of {version_name(same.version)}, which stays; nothing new")
        night.tags |= _tags_of(same.facts, "same lists")
        return
    facts = _push_facts(night, push, rows, loaded)
    if night.settings.serving.live:
        from serving.live.files import write_live_files  # MLflow and numba: only where they are needed

        facts |= write_live_files(night, push.version, facts["model_version"])
    size = {"bytes": store.version_bytes(push.version), "predicted_bytes": predicted}
    push = versions.set_state(store, push, PushState.LOADED, **facts, **size)
    loader.verify(store, push.version, loaded, scratch)
    push = versions.set_state(store, push, PushState.VERIFIED)
    canary.run_canary(store, push, night.settings.store.canary)
    _require_unchanged(night, pinned)
    push = versions.flip(store, push)
    if same is not None and damage is not None:
        versions.fail_push(store, versions.read_push(store, same.version), FailureReason.CHECKSUM, damage)
    night.tags |= _tags_of(push.facts, push.state)


def _prune_live_files(night: Night, store: Store) -> None:
    if night.settings.serving.live:
        from serving.live.files import prune_live_files

        prune_live_files(night.settings, store)


def _find_damage(store: Store, served: Push, scratch: Path) -> str | None:
    """What is wrong with the version that readers get; None where it reads back as it was published."""
    sums = {kind: int(text, 16) for kind, text in served.facts.get("sums", {}).items()}  # none in older records
    try:
        loader.verify(store, served.version, LoadSummary(served.facts["counts"], sums), scratch)
    except StoreError as error:
        return str(error)
    return None


def _tags_of(meta: dict[str, Any], push: str) -> dict[str, str]:
    """What the run's tags say of a push."""
    tags = {"published_version": str(meta["version"]), "push": push, "checksum": meta["checksum"]}
    return tags if meta["model_version"] == NO_MODEL else tags | {"model_version": meta["model_version"]}


def _require_newer(night: Night, served: Push | None) -> None:
    """Raises StoreError where a newer night is served, unless `--force-older` names who wants it and why."""
    forced = night.arguments.force_older
    if served is None or served.night <= str(night.date):
        return
    if not forced:
        raise StoreError(
            f"{version_name(served.version)} serves the night of {served.night}, newer than {night.date}; "
            'nothing published. To publish it anyway: --force-older "WHO: WHY"'
        )
    night.tags["forced_older"] = forced


def _judged_inputs(night: Night) -> dict[str, int]:
    """Table versions that gate 3 judged last, noted as read. Raises PushError when it is closed or was never asked."""
    again = f"run `python -m {stages.SLATE_GATE.name} --date {night.date}`"
    judged = records.gate_results(night.lake, night.date).get(stages.SLATE_GATE.gate)
    if judged is None:
        raise _gate_closed(f"the slate gate has not judged {night.date}; {again} first")
    if judged.state == "closed":
        names = ", ".join(check.name for check in judged.failed)
        raise _gate_closed(f"the slate gate is closed for {night.date} ({names}); nothing new is published")
    own = records.stage_runs(night.lake, stages.SLATE_GATE, statuses=OK, night=night.date, run_id=judged.run_id)
    if not own:
        raise _gate_closed(f"the slate gate's run {judged.run_id} did not end well for {night.date}; {again}")
    for table in (*INPUTS, *(OF_LIVE_LISTS if night.settings.serving.live else ())):
        if night.lake.exists(table):
            night.reads[table.full_name] = own[-1].reads.get(table.full_name, night.lake.version(table))
    return dict(night.reads)


def _gate_closed(message: str) -> PushError:
    error = PushError(FailureReason.GATE_CLOSED, message)
    error.exit_code = ExitCode.CLOSED
    return error


def _require_unchanged(night: Night, pinned: dict[str, int]) -> None:
    """The night's files are still those that were judged. Raises PushError."""
    for table in (RECOMMENDATIONS, POPULAR, SIMILAR_ITEMS):
        judged = pinned.get(table.full_name)
        if judged is not None and _files(night, table, judged) != _files(night, table, night.lake.version(table)):
            raise PushError(
                FailureReason.DATASET_CHANGED,
                f"{table.full_name} of {night.date} was written again since the slate gate judged version {judged}; "
                f"run `python -m {stages.SLATE_GATE.name} --date {night.date}`, then publish",
            )


def _files(night: Night, table: Table, version: int) -> set[str]:
    return set(files_of_night(night.lake, table, night.date, version))


def _push_facts(night: Night, push: Push, rows: StoreRows, loaded: LoadSummary) -> dict[str, Any]:
    """What a reader and an explanation need to know of a version."""
    model_version, generated_at = rows.origin() or (NO_MODEL, push.facts["moment"])
    slate = night.settings.slate
    sums = {kind: f"{total:016x}" for kind, total in loaded.sums.items()}
    return {
        "version": push.version, "night": str(night.date), "run_id": night.run_id, "generated_at": generated_at,
        "published_at": now().isoformat(), "model_version": model_version, "config": night.settings.digest,
        "code": code_revision(), "counts": loaded.counts, "sums": sums, "checksum": loaded.checksum, "k": slate.k,
        "stored": slate.stored, "inputs": dict(night.reads),
    }  # fmt: skip


def _progress(night: Night, push: Push) -> Callable[[str, int], None]:
    """Prints a line every few seconds: rows so far and rows per second."""
    started = last = time.monotonic()

    def report(kind: str, rows: int) -> None:
        nonlocal last
        if (moment := time.monotonic()) - last > SECONDS_BETWEEN_LINES:
            last, name, speed = moment, version_name(push.version), rows / (moment - started)
            print(f"{night.stage}: {name}: {rows:,} {kind}, {speed:,.0f} rows/s", file=sys.stderr)

    return report


if __name__ == "__main__":
    run_stage(
        stages.PUBLISH,
        main,
        options={"--force-older": {"metavar": "WHO: WHY", "help": "replace the lists of a newer night"}},
    )
