"""# Retraining

Trains every declared model on one pinned version of `silver.interactions`, then **gate 2 (model)** compares the
challenger with the champion and with popularity on later days. A challenger that wins becomes the champion, which
scores from the next night on; one that does not changes nothing.

`nightly` starts it when `training.due` says so, and does not wait. By hand: trigger it, with `{"date": "YYYY-MM-DD"}`
if it is not today's; two retrainings never run at once.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG
from policy import POLICY, gate, stage

with DAG(
    "retraining",
    schedule=None,
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    tags=["nightloom", "training"],
    description="Train a challenger, and promote it when it is better on later days.",
    doc_md=__doc__,
    **POLICY,
):
    stage("training.train") >> gate("training.model_gate")
