"""How a gate decides: its checks are recorded, and a failed one stops the night, unless a person overrides it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from types import MappingProxyType

from nightloom.contracts import GATES, Table
from nightloom.errors import GateClosedError, NightloomError, printable
from nightloom.lake import Lake, now
from nightloom.night import records
from nightloom.night.context import Night
from nightloom.night.records import Check, GateResult
from nightloom.night.stages import Stage


class OverrideError(NightloomError):
    """There is nothing to override: the gate is not closed."""


def override_gate(lake: Lake, gate: str, night: date, author: str) -> GateResult:
    """Record that a person lets a night pass its closed gate, for what the gate found. `author` is "WHO: WHY".

    When the gate is asked again and finds the same, it is open. Raises OverrideError.
    """
    last = records.gate_results(lake, night).get(gate)
    if last is None or last.state != "closed":
        found = "was not asked" if last is None else f"is {last.state}"
        raise OverrideError(f"the {gate} gate {found} for {night}; only a closed gate can be overridden")
    result = replace(last, override=author, checked_at=now())
    records.append_gate(lake, result)
    return result


def standing_override(lake: Lake, result: GateResult) -> str | None:
    """The override of the night's last result of a gate, where that found all that this one finds."""
    last = records.gate_results(lake, result.night).get(result.gate)
    if last is None or last.override is None:
        return None
    known = {(check.name, check.observed) for check in last.failed}
    return last.override if known >= {(check.name, check.observed) for check in result.failed} else None


def record_and_enforce(
    night: Night, stage: Stage, checks: Sequence[Check], consumed: Mapping[Table, int] = MappingProxyType({})
) -> None:
    """Record a gate's checks. Raises GateClosedError when a check with severity `stop` failed and nobody overrode it.

    `consumed` are the versions of tables that the gate is done with, unless it is closed. The override is
    `--override "WHO: WHY"`, recorded with each check; one that was given before stands while the gate finds the same.
    """
    override = getattr(night.arguments, "override", None)
    result = GateResult(stage.gate, night.date, night.run_id, now(), override, tuple(checks))
    if result.state == "closed":
        result = replace(result, override=standing_override(night.lake, result))
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
