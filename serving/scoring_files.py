"""The files from which users are scored without a lake or a registry: a model, a night's items and the slate rules.

For the serverless function (serving/function.py), and for live lists (serving/live/).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pyarrow as pa

import models
from models.base import FactorModel, Model
from models.recommend import Search
from nightloom.contracts import ITEM_STATS
from nightloom.lake import Lake
from nightloom.lake.described_items import describe_items
from nightloom.lake.duck import spilling_duckdb
from nightloom.literals import sql_text
from nightloom.settings import Settings
from nightloom.slate.compile import compile_rules
from nightloom.slate.plan import Plan
from nightloom.slate.settings import Slate
from nightloom.topk import topk
from nightloom.topk.few_users import FewUsers
from spark_jobs.slate_scoring import make_slates

if TYPE_CHECKING:
    from models.registry import RegisteredVersion

MODEL, ITEMS, ABOUT = "model", "items.parquet", "about.json"


class UserHistory(NamedTuple):
    """What a user did, oldest first."""

    user: str
    items: Sequence[str]
    weights: Sequence[float]
    """0: seen, not liked."""
    seconds: Sequence[int]
    """Unix seconds."""
    attributes: Sequence[str]
    """NAME=VALUE."""


BATCH = pa.schema([
    ("user_id", pa.string()), ("items", pa.list_(pa.string())), ("weights", pa.list_(pa.float32())),
    ("seconds", pa.list_(pa.int64())), ("attributes", pa.list_(pa.string())),
])  # fmt: skip


@dataclass(frozen=True)
class Scoring:
    """What scores, in memory; the model's arrays are mapped."""

    model: Model
    plan: Plan
    """The slate rules, in the model's item order."""
    about: Mapping[str, Any]
    """model (its name), model_version, night (of the rules), and what the writer added."""

    @cached_property
    def search(self) -> Search:
        """Finds a user's best items where they are, without a copy of them."""
        return FewUsers(self.model.items_ID, self.model.bias_I) if isinstance(self.model, FactorModel) else topk

    def list_of(self, history: UserHistory) -> tuple[list[str], list[float]]:
        """A user's items and scores, as a night of this model and these rules gives them."""
        columns = [[value] for value in history]
        slates = make_slates(
            self.model, self.plan, pa.RecordBatch.from_arrays(list(map(pa.array, columns, BATCH.types)), schema=BATCH),
            self.search,
        )  # fmt: skip
        found = slates.items()[0]
        there = found >= 0
        ids: list[str] = self.plan.ids.take(pa.array(found[there])).to_pylist()
        # The shortest number that is this float32, as the stored lists have it.
        return ids, [float(str(score)) for score in slates.scores()[0][there]]


def write_scoring_files(
    folder: Path,
    settings: Settings,
    version: RegisteredVersion,
    items: int,
    statistics: date,
    rules: date,
    **about: Any,
) -> None:
    """Write a model's version, silver.items at the version `items`, and the slate rules of the date `rules`.

    Rules over numbers of events get those of the night `statistics`.
    """
    lake = Lake(settings.place("lake"))
    stats = lake.version(ITEM_STATS) if lake.exists(ITEM_STATS) else None
    shutil.copytree(version.folder, folder / MODEL)
    said = {"model": version.name, "model_version": version.version, "night": str(rules)} | about
    (folder / ABOUT).write_text(json.dumps(said | {"slate": settings.slate.model_dump(mode="json")}), encoding="utf8")
    with spilling_duckdb(settings.place("scratch")) as db:
        describe_items(db, lake, settings, statistics, items, stats)
        db.execute(f"UPDATE described SET night = DATE '{rules}'")
        db.execute(f"COPY described TO {sql_text(str(folder / ITEMS))} (FORMAT parquet)")


def read_scoring_files(folder: Path) -> Scoring:
    """Read what write_scoring_files() wrote."""
    about = json.loads((folder / ABOUT).read_text(encoding="utf8"))
    model, slate = models.load(folder / MODEL), Slate.model_validate(about.pop("slate"))
    with duckdb.connect() as db:
        db.execute(f"CREATE TEMP TABLE described AS FROM {_rows(folder)} ORDER BY item_id")
        plan = compile_rules(db, slate, date.fromisoformat(about["night"]), lambda *key: ".".join(map(str, key)))
    return Scoring(model, plan.for_items(model.item_ids), about)


def read_titles(folder: Path) -> dict[str, str]:
    """Item -> title; its id where nobody described it."""
    with duckdb.connect() as db:
        return dict(db.execute(f"SELECT item_id, coalesce(title, item_id) FROM {_rows(folder)}").fetchall())


def _rows(folder: Path) -> str:
    return f"read_parquet({sql_text(str(folder / ITEMS))})"
