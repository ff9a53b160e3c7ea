"""What gate 2 saw -> rows of ops.model_verdicts, a description of each version in MLflow, and a page there."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from models import registry
from models.registry import Registered
from nightloom.contracts import MODEL_VERDICTS
from nightloom.lake import now
from nightloom.night.context import Night
from nightloom.settings import ModelGate
from training import report_page
from training.ranking_metrics import METRICS
from training.scorecard import ALL, SEGMENTS, Scorecard
from training.verdict import Comparison, Verdict, outcome

Row = dict[str, Any]


def write(
    night: Night, comparison: Comparison, verdict: Verdict,
    challengers: Mapping[str, Registered], champion: Registered | None, promoted: str | None,
) -> None:  # fmt: skip
    """Leave a row and a description for every challenger, and one MLflow run with the comparison."""
    moment = now()
    rows = [
        _row(night, comparison, verdict, one, champion)
        | {"outcome": outcome(verdict, version, promoted), "judged_at": moment}
        for version, one in challengers.items()
    ]
    night.lake.append(MODEL_VERDICTS, rows)
    night.record_write(MODEL_VERDICTS)
    for row in rows:
        said = f"Gate 2, night of {night.date}: {row['outcome']}. {row['why']}"
        registry.describe(night.settings, row["version"], said)
    _page(night, comparison, verdict, challengers, champion, promoted)


def _row(night: Night, comparison: Comparison, verdict: Verdict, one: Registered, champion: Registered | None) -> Row:
    rules, card = night.settings.gates.model, comparison.challengers[one.version]
    gain = verdict.gains[one.version][ALL] if verdict.gains else None
    return {
        "run_id": night.run_id, "night": night.date, "version": one.version, "model": one.name,
        "champion": champion.version if champion else None, "why": verdict.reason(one.version),
        "metric": f"{rules.metric}@{rules.k}", "users": len(comparison.evaluation.holdout.user_ids),
        "score": card.mean(rules.metric), "popularity_score": comparison.popularity.mean(rules.metric),
        "champion_score": comparison.champion.mean(rules.metric) if comparison.champion else None,
        "gain_low": gain.low if gain else None, "gain_high": gain.high if gain else None,
        "segments": _of_segments(card, rules),
    }  # fmt: skip


def _of_segments(card: Scorecard, rules: ModelGate) -> list[tuple[str, float]]:
    """Segment -> mean, as Arrow wants a map; without those that nobody is in."""
    means = [(segment, card.mean(rules.metric, segment)) for segment in SEGMENTS]
    return [(segment, mean) for segment, mean in means if not math.isnan(mean)]


def _page(
    night: Night, comparison: Comparison, verdict: Verdict,
    challengers: Mapping[str, Registered], champion: Registered | None, promoted: str | None,
) -> None:  # fmt: skip
    """The means as metrics, comparison.json, and comparison.html for a person."""
    cards = {f"{challengers[version].name} v{version}": card for version, card in comparison.challengers.items()}
    if champion is not None and comparison.champion is not None:
        cards[f"champion {champion.name} v{champion.version}"] = comparison.champion
    cards["floor popularity"] = comparison.popularity
    asked, rows = registry.client(night.settings), table(cards)
    import mlflow

    tags = {"gate": "model", "night": str(night.date), "run_id": night.run_id, "promoted": promoted or "nobody"}
    with mlflow.start_run(
        experiment_id=registry.experiment(night.settings), run_name=f"gate 2 {night.date}", tags=tags
    ) as run:
        asked.log_batch(run.info.run_id, metrics=_metrics(rows))
        judged = {version: [vars(check) for check in checks] for version, checks in verdict.by_version.items()}
        mlflow.log_dict(json.loads(json.dumps({"models": rows, "checks": judged})), "comparison.json")
        page = report_page.page(night, comparison, verdict, cards, challengers, champion, promoted)
        mlflow.log_text(page, "comparison.html")


def table(cards: Mapping[str, Scorecard]) -> list[Row]:
    """One row per model and segment: users, each metric's mean, and of all users what the lists are like."""
    return [
        {
            "model": name, "segment": segment,
            "users": sum(not math.isnan(value) for value in card.per_user["ndcg"][segment]),
            **_known({metric: card.mean(metric, segment) for metric in METRICS}),
            **_known(card.beyond_accuracy if segment == ALL else {}),
        }
        for name, card in cards.items() for segment in SEGMENTS
    ]  # fmt: skip


def _known(values: dict[str, float]) -> dict[str, float]:
    """Without the means of nobody: neither JSON nor a metric can say them."""
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _metrics(rows: list[Row]) -> list[Any]:
    from mlflow.entities import Metric

    moment = int(time.time() * 1000)
    return [
        Metric(f"{row['model']}/{row['segment']}/{name}", value, moment, 0)
        for row in rows for name, value in row.items() if isinstance(value, float)
    ]  # fmt: skip
