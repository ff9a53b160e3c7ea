"""How a gate decides: its checks are recorded, and a failed one stops the night."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from nightloom.contracts import GATES, Table
from nightloom.errors import GateClosedError, printable
from nightloom.lake import now
from nightloom.night import records
from nightloom.night.context import Night
from nightloom.night.records import Check, GateResult
from nightloom.night.stages import Stage


def record_and_enforce(
    night: Night, stage: Stage, checks: Sequence[Check], consumed: Mapping[Table, int] = MappingProxyType({})
) -> None:
    """Record a gate's checks. Raises GateClosedError when a check with severity `stop` failed and nobody overrode it.

    `consumed` are the versions of tables that the gate is done with, unless it is closed. The override is
    `--override "WHO: WHY"`, recorded with each check.
    """
    override = getattr(night.arguments, "override", None)
    result = GateResult(stage.gate, night.date, night.run_id, now(), override, tuple(checks))
    records.append_gate(night.lake, result, consumed if result.state != "closed" else {})
    night.record_write(GATES)
    for check in (check for check in checks if not check.passed):
        found = printable(f"{check.name}: found {check.observed}, expected {check.expected}")
        print(f"{result.gate} gate, {check.severity}: {found}", file=sys.stderr)
    if result.state == "closed":
        why = "; ".join(f"{check.name} is {check.observed}, expected {check.expected}" for check in result.failed)
        raise GateClosedError(
            printable(f"{result.gate} gate closed for {night.date}: {why}. Nothing new is published.")
        )
