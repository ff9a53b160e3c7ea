"""# Rebuild

Brings histories and item days up to date, which all nights of a backfill share. With `from_bronze` it first rebuilds
all of silver **from bronze alone**, by the present sources, rules and code, and then all histories and item days from
silver. Bronze holds every record that ever came, so no other input is needed.

`nightloom backfill` starts it, and then rebuilds the nights, one by one, with `backfill`. It never runs by itself. Each
stage replaces a table, or the changed days and weeks, in one commit: readers see either the old rows or the new ones.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, Param
from policy import POLICY, command, task

from nightloom.night import stages

FROM_BRONZE = Param(False, type="boolean", description="Rebuild all of silver, histories and item days from bronze.")

with DAG(
    "rebuild",
    schedule=None,
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    tags=["nightloom", "night"],
    description="Bring the tables below a backfill's nights up to date; on demand rebuild them from bronze.",
    doc_md=__doc__,
    **POLICY | {"params": POLICY["params"] | {"from_bronze": FROM_BRONZE}},
):
    from_bronze = command("{{ 'true' if params.from_bronze else 'exit 99' }}", "from_bronze")
    silver = [
        task(stages.SILVER_ITEMS, "--all"),
        task(stages.SILVER_USERS, "--all"),
        task(stages.SILVER_INTERACTIONS, "--all"),
    ]
    everything = "{{ '--all' if params.from_bronze else '' }}"
    gold = [  # silver is skipped without from_bronze
        task(stages.HISTORIES, everything, trigger_rule="none_failed"),
        task(stages.ITEM_DAYS, everything, trigger_rule="none_failed"),
    ]

    from_bronze >> silver
    for table in silver:
        table >> gold
