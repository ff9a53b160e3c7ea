"""The bytes that a night's lists will take in a store, predicted before the push, and whether they fit."""

from __future__ import annotations

from collections.abc import Mapping

from nightloom.settings import Settings
from serving.stores import versions
from serving.stores.base import RowSizes, Store
from serving.stores.pushes import FailureReason, PushError, PushState

GB = 1_000_000_000


def bytes_by_version(store: Store) -> dict[int, int]:
    """Version -> bytes, for every version that has rows: served, retained for a rollback, or rolled back."""
    with_rows = (PushState.CURRENT, PushState.BACKUP, PushState.ROLLED_BACK)
    return {
        push.version: store.version_bytes(push.version)
        for push in versions.list_pushes(store)
        if push.state in with_rows
    }


def check_quota(settings: Settings, store: Store, sizes: Mapping[str, RowSizes]) -> int:
    """The predicted bytes of a new version. Raises PushError when the quota, or the store, has no room for them."""
    needed, free, quota = store.predict_bytes(sizes), store.free_bytes(), settings.store.quota_gb
    if free is not None and needed > free:
        raise PushError(
            FailureReason.QUOTA,
            f"the new version needs about {needed:,} bytes, {store.location} has {free:,} free; free some, or lower "
            "slate.stored or store.keep",
        )
    if quota is not None and (kept := sum(bytes_by_version(store).values())) + needed > quota * GB:
        raise PushError(
            FailureReason.QUOTA,
            f"the new version needs about {needed:,} bytes, and the versions in {store.location} take {kept:,}: more "
            f"than store.quota_gb = {quota:g}; raise it, or lower slate.stored or store.keep",
        )
    return needed
