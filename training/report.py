"""The comparison of gate 2 -> rows of ops.model_verdicts, a description of each version in MLflow, and a page there."""

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from models import registry
from models.registry import RegisteredVersion
from nightloom.contracts import MODEL_VERDICTS
from nightloom.lake import now
from nightloom.night.context import Night
from nightloom.settings import ModelGate
from training import registration, report_page
from training.ranking_metrics import METRICS
from training.refit import Refit
from training.scorecard import ALL, SEGMENTS, Scorecard
from training.verdict import Comparison, Verdict, outcome

Row = dict[str, Any]


def write(
    night: Night, comparison: Comparison, verdict: Verdict,
    challengers: Mapping[str, RegisteredVersion], champion: RegisteredVersion | None, promoted: str | None,
    refit: Refit | None,
) -> None:  # fmt: skip
    """Write a row and a description for every challenger, and one MLflow run with the comparison."""
    judged_at = now()
    rows = [
        _verdict_row(night, comparison, verdict, model, champion)
        | {"outcome": outcome(verdict, version, promoted), "judged_at": judged_at}
        for version, model in challengers.items()
    ]
    night.lake.append(MODEL_VERDICTS, rows)
    night.record_write(MODEL_VERDICTS)
    for row in rows:
        description = f"Gate 2, night of {night.date}: {row['outcome']}. {row['why']}"
        if refit and row["version"] == refit.judged:
            description += f". {refit}"
        registration.describe(night.settings, row["version"], description)
    _log_run(night, comparison, verdict, challengers, champion, promoted, refit)


def _verdict_row(
    night: Night, comparison: Comparison, verdict: Verdict, model: RegisteredVersion, champion: RegisteredVersion | None
) -> Row:
    rules, card = night.settings.gates.model, comparison.challengers[model.version]
    gain = verdict.gains[model.version][ALL] if verdict.gains else None
    return {
        "run_id": night.run_id, "night": night.date, "version": model.version, "model": model.name,
        "champion": champion.version if champion else None, "why": verdict.reason(model.version),
        "metric": f"{rules.metric}@{rules.k}", "users": len(comparison.evaluation.holdout.user_ids),
        "score": card.mean(rules.metric), "popularity_score": comparison.popularity.mean(rules.metric),
        "champion_score": comparison.champion.mean(rules.metric) if comparison.champion else None,
        "gain_low": gain.low if gain else None, "gain_high": gain.high if gain else None,
        "segments": _segment_means(card, rules),
    }  # fmt: skip


def _segment_means(card: Scorecard, rules: ModelGate) -> list[tuple[str, float]]:
    """(segment, mean) pairs, Arrow's form of a map; without empty segments."""
    means = [(segment, card.mean(rules.metric, segment)) for segment in SEGMENTS]
    return [(segment, mean) for segment, mean in means if not math.isnan(mean)]


def _log_run(
    night: Night, comparison: Comparison, verdict: Verdict,
    challengers: Mapping[str, RegisteredVersion], champion: RegisteredVersion | None, promoted: str | None,
    refit: Refit | None,
) -> None:  # fmt: skip
    """Log the means as metrics, comparison.json for programs, and comparison.html for people."""
    cards = {f"{challengers[version].name} v{version}": card for version, card in comparison.challengers.items()}
    if champion is not None and comparison.champion is not None:
        cards[f"champion {champion.name} v{champion.version}"] = comparison.champion
    cards["floor popularity"] = comparison.popularity
    client, rows = registry.client(night.settings), metric_rows(cards)
    import mlflow

    tags = {"gate": "model", "night": str(night.date), "run_id": night.run_id, "promoted": promoted or "nobody"}
    with mlflow.start_run(
        experiment_id=registration.experiment_id(night.settings), run_name=f"gate 2 {night.date}", tags=tags
    ) as run:
        client.log_batch(run.info.run_id, metrics=_mlflow_metrics(rows))
        checks = {version: [vars(check) for check in checks] for version, checks in verdict.by_version.items()}
        mlflow.log_dict(json.loads(json.dumps({"models": rows, "checks": checks})), "comparison.json")
        page = report_page.page(night, comparison, verdict, cards, challengers, champion, promoted, refit)
        mlflow.log_text(page, "comparison.html")


def metric_rows(cards: Mapping[str, Scorecard]) -> list[Row]:
    """One row per model and segment: users, each metric's mean, and for all users the beyond-accuracy metrics."""
    return [
        {
            "model": name, "segment": segment,
            "users": sum(not math.isnan(value) for value in card.per_user["ndcg"][segment]),
            **_without_nan({metric: card.mean(metric, segment) for metric in METRICS}),
            **_without_nan(card.beyond_accuracy if segment == ALL else {}),
        }
        for name, card in cards.items() for segment in SEGMENTS
    ]  # fmt: skip


def _without_nan(values: dict[str, float]) -> dict[str, float]:
    """Without the means of empty segments: neither JSON nor MLflow's metrics can hold nan."""
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _mlflow_metrics(rows: list[Row]) -> list[Any]:
    from mlflow.entities import Metric

    milliseconds = int(time.time() * 1000)
    return [
        Metric(f"{row['model']}/{row['segment']}/{name}", value, milliseconds, 0)
        for row in rows for name, value in row.items() if isinstance(value, float)
    ]  # fmt: skip
