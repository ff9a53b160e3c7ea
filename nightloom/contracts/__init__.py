"""The contracts: every table once, with grain, columns, key, partition, retention and who reads it.

A file per layer. DDL, column comments, expectations, Arrow checks, the data dictionary and erasure derive from here.
A new table is a new constant in its layer's file: TABLES finds it.
"""

# ruff: noqa: F403, F405  # each constant of a layer's file is exported, so that a new table needs no second entry here

from nightloom.contracts import bronze, gold, marts, ops, quarantine, silver
from nightloom.contracts.bronze import *
from nightloom.contracts.gold import *
from nightloom.contracts.marts import *
from nightloom.contracts.ops import *
from nightloom.contracts.quarantine import *
from nightloom.contracts.silver import *
from nightloom.contracts.table import *

TABLES: tuple[Table, ...] = tuple(
    each
    for layer in (bronze, quarantine, silver, gold, marts, ops)
    for each in vars(layer).values()
    if isinstance(each, Table)
)
"""All tables, in the order of the layers' files."""


def find_table(full_name: str) -> Table:
    """The contract of `silver.items` and the like. Raises KeyError."""
    return {each.full_name: each for each in TABLES}[full_name]
