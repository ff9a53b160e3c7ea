"""The kinds of slate rule, one file each: a file that is added here is a kind, and no other file names it."""

from importlib import import_module
from pkgutil import iter_modules

from nightloom.slate.rule import SlateRule


def find_kinds() -> tuple[type[SlateRule], ...]:
    """The class of each file in this folder, in the order in which the kinds apply."""
    kinds = [_class_of(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return tuple(sorted(kinds, key=lambda kind: (kind.order, kind.kind())))


def _class_of(module: str) -> type[SlateRule]:
    """The one kind of rule that a file defines."""
    classes = [
        each
        for each in vars(import_module(module)).values()
        if isinstance(each, type) and issubclass(each, SlateRule) and each.__module__ == module
    ]
    if len(classes) != 1:
        raise TypeError(
            f"{module} defines {len(classes)} subclasses of SlateRule; a kind of rule is one file, one class"
        )
    return classes[0]
