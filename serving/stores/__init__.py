"""Serving stores: a file for each of STORE_KINDS; `versions` keeps push records and the pointer for all of them."""

from __future__ import annotations

import importlib
from typing import cast

from nightloom.places import scheme_of
from nightloom.settings import Settings
from nightloom.settings.store import STORE_KINDS
from serving.stores.base import Store

OBJECTS = "serving.stores.objects:ObjectsStore"
"""The class of a store of kind `files` at an address."""


def store_class(kind: str, place: str = "") -> type[Store]:
    path = OBJECTS if kind == "files" and scheme_of(place) else STORE_KINDS[kind].path
    module, name = path.split(":")
    return cast("type[Store]", getattr(importlib.import_module(module), name))


def open_store(settings: Settings, reading: bool = False) -> Store:
    """The store that the settings name; see Store.__init__()."""
    place = settings.places.store_url or str(settings.place("store"))
    return store_class(settings.store.kind, place)(place, settings.project.name, reading)


__all__ = ["STORE_KINDS", "Store", "open_store", "store_class"]
