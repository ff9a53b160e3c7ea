"""How many bytes a night's lists will take in a store, told before they are pushed; whether there is room for them."""

from __future__ import annotations

from collections.abc import Mapping

from nightloom.settings import Settings
from serving.stores import versions
from serving.stores.base import Shape, Store
from serving.stores.versions import PushError, Reason

GB = 1_000_000_000


def kept_bytes(store: Store) -> dict[int, int]:
    """Version -> bytes, of every version that has its rows: served, kept for a rollback, or rolled back from."""
    with_rows = (versions.State.CURRENT, versions.State.BACKUP, versions.State.ROLLED_BACK)
    return {push.version: store.size(push.version) for push in versions.pushes(store) if push.state in with_rows}


def within_quota(settings: Settings, store: Store, shapes: Mapping[str, Shape]) -> int:
    """Predicted bytes of a new version. Raises PushError when the quota, or the store, has no room for them."""
    needed, free, quota = store.predicted(shapes), store.free(), settings.store.quota_gb
    if free is not None and needed > free:
        raise PushError(
            Reason.QUOTA,
            f"the new version needs about {needed:,} bytes, {store.where} has {free:,} free; free some, or lower "
            "slate.stored or store.keep",
        )
    if quota is not None and (kept := sum(kept_bytes(store).values())) + needed > quota * GB:
        raise PushError(
            Reason.QUOTA,
            f"the new version needs about {needed:,} bytes beside {kept:,} of those kept in {store.where}, more than "
            f"store.quota_gb = {quota:g}; raise it, or lower slate.stored or store.keep",
        )
    return needed
