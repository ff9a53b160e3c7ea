"""Training a model by its name: training/trainers/NAME.py where there is one, else the model's own fit().

A model in closed form fits itself. One that learns in many steps, or from an evaluation, has its training loop here.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import models
from models.base import Examples, Model, Report, no_report


def fit(name: str, examples: Examples, params: Mapping[str, Any], report: Report = no_report) -> Model:
    """Raises pydantic's ValidationError where `params` has a name or value that the model does not know."""
    trained: Model = _owner(name).fit(examples, models.definition(name).params(**params), report)
    return trained


def refit(earlier: Model, examples: Examples, report: Report = no_report) -> Model:
    """Train a model again on more examples, with its hyper-parameters.

    A trainer with a refit() of its own keeps more of it: its weights, or what it learnt from likes that it held out.
    """
    owner = _owner(earlier.name)
    if not hasattr(owner, "refit"):
        return fit(earlier.name, examples, earlier.params.model_dump(), report)
    trained: Model = owner.refit(earlier, examples, report)
    return trained


def _owner(name: str) -> Any:
    """The trainer's module, or the class of a model that fits itself."""
    trainer = f"{__name__}.{name}"
    return import_module(trainer) if find_spec(trainer) else models.definition(name).model
