"""GATE 3, over the whole slate: gold.recommendations of the night, before it is published -> ops.gates, or exit 3.

Reads gold.recommendations, gold.popular, gold.similar_items, gold.histories, silver.items and the version served now;
with slate rules also silver.users, gold.item_stats, ops.slate_rules. The report is a page: HOME/reports/slate-D.html.
"""

from __future__ import annotations

from expectations.validate import validate
from nightloom.contracts import HISTORIES, ITEM_DAYS, ITEM_STATS, POPULAR, RECOMMENDATIONS, SIMILAR_ITEMS
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.gates import record_and_enforce
from nightloom.night.run import run_stage
from serving import slate_page
from serving.slate_checks import lists_database, slate_checks

PUBLISHED = (HISTORIES, ITEM_DAYS, ITEM_STATS, RECOMMENDATIONS, POPULAR, SIMILAR_ITEMS)
"""Tables that are published, and their inputs."""


def main(night: Night) -> None:
    """GATE 3: judge the night's lists as a whole before they are published."""
    of_tables = validate(night, PUBLISHED)  # before DuckDB takes memory
    with lists_database(night) as db:
        checks = [*slate_checks(night, db), *of_tables]
        file = slate_page.write_page(night, db, checks)
    print(f"{night.stage}: {file}")
    record_and_enforce(night, stages.SLATE_GATE, checks)


if __name__ == "__main__":
    run_stage(stages.SLATE_GATE, main, options={"--override": {"metavar": "WHO: WHY", "help": "let the night pass"}})
