"""# Rebuild

What a backfill's nights are made of, and what is the same for all of them: histories and item days brought up to date.
With `from_bronze` it first makes silver anew and whole **from bronze alone**, by the sources, rules and code of now,
and then histories and item days whole from that. What bronze holds is all that ever came; nothing else is asked.

`nightloom backfill` starts it, and then rebuilds the nights, one by one, with `backfill`. It never runs by itself. Each
stage replaces a table, or the days and weeks that changed, in one commit, so readers see the old rows or the new.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG, Param
from policy import POLICY, command, task

from nightloom.night import stages

FROM_BRONZE = Param(False, type="boolean", description="Silver, histories and item days anew and whole from bronze.")

with DAG(
    "rebuild",
    schedule=None,
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    tags=["nightloom", "night"],
    description="What a backfill's nights are made of; on demand all of it from bronze alone.",
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
    gold = [  # silver is skipped where bronze is not asked for
        task(stages.HISTORIES, everything, trigger_rule="none_failed"),
        task(stages.ITEM_DAYS, everything, trigger_rule="none_failed"),
    ]

    from_bronze >> silver
    for table in silver:
        table >> gold
