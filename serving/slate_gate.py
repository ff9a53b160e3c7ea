"""GATE 3, over the whole slate: gold.recommendations of the night, before anybody can read it -> ops.gates, or exit 3.

Reads gold.recommendations, gold.popular, gold.histories, silver.items and the version served now.
"""

from __future__ import annotations

from expectations.validate import validate
from nightloom.manifest import Night, judge, run_stage
from nightloom.tables import HISTORIES, ITEM_DAYS, ITEM_STATS, POPULAR, RECOMMENDATIONS
from serving.slate_checks import slate_checks

PUBLISHED = (HISTORIES, ITEM_DAYS, ITEM_STATS, RECOMMENDATIONS, POPULAR)
"""What goes to readers, and what it is made of."""


def main(night: Night) -> None:
    """GATE 3: judge the night's lists as a whole before they are published."""
    judge(night, "slate", [*slate_checks(night), *validate(night, PUBLISHED)])


if __name__ == "__main__":
    run_stage("serving.slate_gate", main, options={"--override": {"metavar": "WHO: WHY", "help": "let the night pass"}})
