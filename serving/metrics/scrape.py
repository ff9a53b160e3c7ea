"""All metrics of a server as one text."""

from __future__ import annotations

from nightloom.airflow import Airflow
from serving.metrics.counters import Counters
from serving.metrics.exposition import render_families
from serving.metrics.kept_stage_runs import KeptStageRuns
from serving.metrics.served import served_families
from serving.stores.fallback import FallbackReader


async def scrape(counters: Counters, lists: FallbackReader, stage_runs: KeptStageRuns, airflow: Airflow) -> str:
    """In Prometheus' text format."""
    served = await served_families(lists, airflow)
    return render_families([*counters.families(), *served]) + await stage_runs.text()
