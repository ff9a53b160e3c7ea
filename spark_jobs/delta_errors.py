"""Delta's errors of a write -> errors that name the table and the fault.

A row that breaks the contract: DataError with the check and the values. A conflict with another run:
ConcurrentRunError; run_stage starts the stage again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # it brings no types
from pyspark.errors import PySparkException

from nightloom.contracts import Table
from nightloom.errors import ConcurrentRunError, DataError

CHECK = re.compile(r"CHECK constraint (\w+) .*? violated by row with values:((?:\n - .*)*)", re.DOTALL)
CONFLICT = re.compile(r"DELTA_CONCURRENT|Concurrent\w+Exception|\w+ChangedException|ALREADY_EXISTS")
NOT_NULL = re.compile(r"NOT NULL constraint violated for column: ([\w.]+)")
INTERNAL_CLASS = re.compile(
    r"org\.apache\.spark\.sql\.catalyst\S+"
)  # Spark's name for a list or a map, instead of what is in it


@contextmanager
def translate_delta_errors(table: Table) -> Iterator[None]:
    """For writes to `table`: a write that Delta refuses raises DataError or ConcurrentRunError and writes nothing."""
    try:
        yield
    except (PySparkException, Py4JError) as error:
        if contract_error := _contract_error(table, str(error)):
            raise contract_error from None
        if CONFLICT.search(str(error)):
            raise ConcurrentRunError(f"{table.full_name} was changed by another run at the same moment.") from None
        raise


def _contract_error(table: Table, message: str) -> DataError | None:
    if broken := CHECK.search(message):
        values = ", ".join(line.removeprefix(" - ").replace(" : ", " ") for line in broken[2].splitlines() if line)
        condition = dict(table.checks).get(broken[1], "not in the contract any more")
        shown = INTERNAL_CLASS.sub("[...]", values)
        return DataError(
            f"{table.full_name}: a row breaks the check {broken[1]} ({condition}): {shown}; nothing was written"
        )
    if missing := NOT_NULL.search(message):
        return DataError(
            f"{table.full_name}: a row has no {missing[1]}; the contract requires one; nothing was written"
        )
    return None
