"""All existing marts, ours and the project's own: the night's rows -> ops.gates and ops.expectations, Data Docs.

It runs after the publish and nothing waits for it: a failed expectation fails this stage, alerts, and closes no gate.
"""

from __future__ import annotations

from dataclasses import replace

from expectations.validate import validate
from nightloom.errors import DataError
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.run import run_stage
from nightloom.sql.marts import all_marts


def main(night: Night) -> None:
    """Check the marts; the error names each expectation that failed."""
    tables = [mart.table for mart in all_marts(night.settings) if night.lake.exists(mart.table)]
    checks = [replace(check, severity="warn") for check in validate(night, tables)]
    night.counts |= {"checks": len(checks), "failed": sum(not check.passed for check in checks)}
    record_and_enforce(night, stages.MARTS_CHECK, checks)
    if failed := [
        f"{check.name} is {check.observed}, expected {check.expected}" for check in checks if not check.passed
    ]:
        raise DataError("; ".join(failed))


if __name__ == "__main__":
    run_stage(stages.MARTS_CHECK, main)
