"""Serving stores: `versions` keeps the push records and the pointer, one file per kind of store does the rest."""

from __future__ import annotations

import importlib
from typing import cast

from nightloom.settings import Settings
from serving.stores.base import Store

CLASSES = {
    "lmdb": "serving.stores.lmdb:Lmdb",
    "files": "serving.stores.files:Files",
    "redis": "serving.stores.redis:Redis",
    "redis-cluster": "serving.stores.redis_cluster:RedisCluster",
    "postgresql": "serving.stores.postgresql:PostgreSQL",
}
"""store.kind -> module:class, imported when it is asked for: no client library is needed for another's store."""


def store_class(kind: str) -> type[Store]:
    module, name = CLASSES[kind].split(":")
    return cast("type[Store]", getattr(importlib.import_module(module), name))


def store_of(settings: Settings) -> Store:
    """The store that the settings name."""
    made = store_class(settings.store.kind)
    if (address := settings.places.store_url) is not None:
        return made(settings.project.name, address)  # type: ignore[call-arg]  # a server's
    return made(settings.place("store"))  # type: ignore[call-arg]  # a folder's


__all__ = ["CLASSES", "Store", "store_class", "store_of"]
