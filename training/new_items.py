"""Between trainings the serving model takes the items that are new, without another training.

It does so on the night on which more than `training.max_unknown_share` of the last week's likes are of items that it
does not know. All likes up to the night give the new items their numbers (models.base.ExtendableModel). The result is a
version of its own, a refit of the same judged version, and it serves. Everybody is scored by it, as by any other new
version; until the next one, lists of few changed users stay equal to those of a full refresh.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pyarrow as pa

import models
from models import registry
from models.base import ExtendableModel, Strings
from models.registry import EXTENSION_OF, REFIT_OF, RegisteredVersion
from nightloom.contracts import INTERACTIONS
from nightloom.errors import DataError
from nightloom.night.context import Night
from nightloom.places import filled_folder, remove_tree
from nightloom.settings import ModelSpec
from training import launch, record, registration
from training.dataset import before_condition, count_rows_before
from training.fit import FittedModel, Task, examples_for

DAYS = 7
"""Likes of the last so many days are looked at."""


@dataclass(frozen=True)
class Extension:
    """A registered version with new items."""

    version: str
    base: str
    """The version that took them."""
    judged: str
    name: str
    new_items: int
    unknown_share: float
    """Of the last days' likes, before."""

    def __str__(self) -> str:
        return (
            f"version {self.version} serves: version {self.base} ({self.name}) with {self.new_items:,} new items; "
            f"{self.unknown_share:.1%} of the last {DAYS} days' likes were of items that it did not know"
        )


def add_new_items(night: Night) -> Extension | None:
    """Extend the serving version where enough likes are of items that it does not know, and tag the night with it."""
    rules, serving = night.settings.training, registry.serving_version(night.settings)
    if serving is None or not rules.refit or serving.tags["night"] >= str(night.date):
        return None  # that version knows this night already
    share = unknown_share(night, serving.model.item_ids)
    if share <= rules.max_unknown_share:
        return None
    try:
        extension = _extend(night, serving, share)
    except DataError as error:
        print(f"{night.stage}: {error}; {share:.1%} of the last {DAYS} days' likes wait for the next training")
        return None
    night.tags |= {"model_version": extension.version, REFIT_OF: extension.judged}
    return extension


def unknown_share(night: Night, known: Strings) -> float:
    """Share of the last days' likes that are of other items than the known ones; 0 without likes."""
    since = night.end - timedelta(days=DAYS)
    where = f"{before_condition(night.end)} AND NOT {before_condition(since)} AND weight > 0 GROUP BY item_id"
    found = night.lake.rows(INTERACTIONS, where, ["item_id", "count(*) AS likes"], night.pin(INTERACTIONS))
    items, likes = np.array(found["item_id"].to_pylist(), np.str_), found["likes"].cast(pa.int64()).to_numpy()
    return float(likes[~np.isin(items, known)].sum() / max(likes.sum(), 1))


def _extend(night: Night, serving: RegisteredVersion, share: float) -> Extension:
    """Raises DataError where the model takes no new items."""
    started, model = time.monotonic(), serving.model
    if not isinstance(model, ExtendableModel):
        raise DataError(f"{serving.name} takes no new items")
    version, spec = night.pin(INTERACTIONS), ModelSpec(name=serving.name)
    task = Task(night.lake, version, night.end, night.settings.training.seed, earlier=serving.folder)
    task = replace(task, features=launch.feature_versions(night, [spec]))
    examples = examples_for(task, spec)
    extended = model.extended(examples)
    folder = launch.training_folder(night, task, spec)
    fitted = FittedModel(
        serving.name, folder, model.params.model_dump(), [], time.monotonic() - started,
        len(examples.histories.items), len(examples.histories), len(examples.item_ids),
    )  # fmt: skip
    with filled_folder(fitted.files) as files:
        extended.save(files)
        models.load(files)  # before it is registered: it must load where it serves
    judged = serving.tags.get(REFIT_OF, serving.version)
    new_items = int((~np.isin(extended.item_ids, model.item_ids)).sum())
    tags = {
        REFIT_OF: judged, EXTENSION_OF: serving.version, "new_items": str(new_items),
        "agreement": serving.tags.get("agreement", "1.0"),
    }  # fmt: skip
    number = record.record(night, task, fitted, count_rows_before(night.lake, version, night.end), tags)
    remove_tree(folder)
    extension = Extension(number, serving.version, judged, serving.name, new_items, share)
    registration.describe(night.settings, number, f"Night of {night.date}: {extension}.")
    return extension
