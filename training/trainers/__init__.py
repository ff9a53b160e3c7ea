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
    definition = models.definition(name)
    given = definition.params(**params)
    trainer = f"{__name__}.{name}"
    owner: Any = import_module(trainer) if find_spec(trainer) else definition.model
    trained: Model = owner.fit(examples, given, report)
    return trained
