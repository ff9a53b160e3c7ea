"""The refit: gate 2's winner never saw the days that judged it, so it is trained again on all days up to the night.

The refit has the judged version's hyper-parameters, and what it learnt from likes that it held out. It is a version of
its own, whose tag REFIT_OF names the judged one. It serves; the judged one goes on being compared, since a version that
saw the holdout cannot be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import models
from models import registry
from models.base import I32, Histories, Model, Strings, item_index
from models.recommend import recommend
from models.registry import EXTENSION_OF, REFIT_OF, RegisteredVersion
from nightloom.contracts import INTERACTIONS
from nightloom.errors import DataError, NightloomError
from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.night.revision import code_revision
from nightloom.places import local_copy, remove_tree
from nightloom.settings import ModelSpec
from training import fit, launch, record, registration
from training.beyond_accuracy import overlap
from training.dataset import count_rows_before
from training.fit import Task

USERS = 1000
"""Users whose lists are compared, at most."""


@dataclass(frozen=True)
class Refit:
    """A registered refit."""

    version: str
    judged: str
    name: str
    agreement: float
    """Mean share of a list's items, of those that both versions know, on which both agree."""
    new_items: int
    """Items that the judged version does not know."""

    def __str__(self) -> str:
        return (
            f"Version {self.version} serves: the refit of version {self.judged} ({self.name}) on all days up to the "
            f"night; it knows {self.new_items:,} items more, and {self.agreement:.0%} of each list is the same"
        )


def refit_winner(night: Night, winner: RegisteredVersion | None) -> tuple[Refit | None, list[Check]]:
    """The refit of the version that gate 2 chose, and a check that warns where there is none.

    Then an earlier refit serves, or the judged version.
    """
    if winner is None or not night.settings.training.refit:
        return None, []
    expected = f"at least {night.settings.training.min_refit_agreement} of each list shared with the judged version"
    try:
        found = _known(night, winner) or _refit(night, winner)
    except NightloomError as error:
        serving = registry.newest_refit(night.settings, winner.version) or winner
        return None, [Check("refit", False, f"{error}; version {serving.version} serves", expected, "warn")]
    return found, [Check("refit", True, str(found), expected, "warn")]


def _known(night: Night, judged: RegisteredVersion) -> Refit | None:
    """A refit of a later night, or the one that an earlier run of this gate made of the same rows by the same code."""
    found = registry.newest_refit(night.settings, judged.version)
    if found is None:
        return None
    now = {"night": str(night.date), "table_version": str(night.pin(INTERACTIONS)), "code": code_revision()}
    same = all(found.tags[name] == value for name, value in now.items()) and EXTENSION_OF not in found.tags
    if not same and found.tags["night"] <= str(night.date):
        return None
    agreement, new_items = float(found.tags["agreement"]), int(found.tags["new_items"])
    return Refit(found.version, judged.version, judged.name, agreement, new_items)


def _refit(night: Night, judged: RegisteredVersion) -> Refit:
    """Train a judged version again on all days up to the night, check it, and register it.

    Raises DataError where it does not agree with the judged version, or the data are too few; TrainingError.
    """
    spec = ModelSpec(name=judged.name)  # it has its hyper-parameters
    version = night.pin(INTERACTIONS)
    task = Task(night.lake, version, night.end, night.settings.training.seed, earlier=judged.folder)
    task = replace(task, features=launch.feature_versions(night, [spec]))
    folder = launch.training_folder(night, task, spec)
    fitted = launch.train(night, task, spec, folder)
    with local_copy(fitted.files) as files:
        model = models.load(files)
    agreement = _agreement(judged.model, model, task, spec, night.settings.gates.model.k)
    if agreement < night.settings.training.min_refit_agreement:
        raise DataError(f"the refit of version {judged.version} ({judged.name}) shares {agreement:.2f} of its lists")
    new_items = len(np.setdiff1d(model.item_ids, judged.model.item_ids))
    tags = {REFIT_OF: judged.version, "agreement": str(agreement), "new_items": str(new_items)}
    number = record.record(night, task, fitted, count_rows_before(night.lake, version, night.end), tags)
    remove_tree(folder)
    found = Refit(number, judged.version, judged.name, agreement, new_items)
    registration.describe(night.settings, number, f"Night of {night.date}. {found}.")
    return found


def _agreement(judged: Model, refitted: Model, task: Task, spec: ModelSpec, k: int) -> float:
    """Mean overlap of both versions' lists, of items and events of items that both know; 1 where nobody has any."""
    examples = fit.examples_for(task, spec)
    rows = np.unique(np.linspace(0, len(examples.histories) - 1, USERS).astype(np.int64))
    known = np.intersect1d(judged.item_ids, refitted.item_ids)
    histories = examples.histories.of(rows).reindexed(item_index(examples.item_ids, known))
    shared_T = overlap(*(_lists(model, known, histories, k) for model in (judged, refitted)))
    return float(shared_T.mean())


def _lists(model: Model, known: Strings, histories: Histories, k: int) -> I32:
    """T x K: the best unseen ones of the known items, as indices into `known`, the item order of `histories`."""
    index = item_index(known, model.item_ids)
    own = histories.reindexed(index)
    allowed_I = np.zeros(len(model.item_ids), np.bool_)
    allowed_I[index] = True
    ids_TK, _ = recommend(model, own, k, seen=own.matrix(len(model.item_ids)) > 0, allowed_I=allowed_I)
    back = np.full(len(model.item_ids) + 1, -1, np.int32)  # id -1 reads its last place
    back[index] = np.arange(len(known))
    lists: I32 = back[ids_TK]
    return lists
