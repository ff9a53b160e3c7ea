"""What gate 2 saw, as a page in MLflow: every model on the same later days, by segment, and why the verdict is so."""

import json
import math
import time
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from nightloom.manifest import Night
from training import registry
from training.evaluate import Scorecard
from training.examples import LaterDays
from training.registry import Registered

if TYPE_CHECKING:
    from training.model_gate import Contest, Verdict


def write(
    night: Night, contest: "Contest", verdict: "Verdict", later: LaterDays,
    entrants: Mapping[str, Registered], champion: Registered | None,
) -> None:  # fmt: skip
    """One MLflow run: the means as metrics, comparison.json, and comparison.html for a person."""
    cards = {f"{entrants[version].name} v{version}": card for version, card in contest.challengers.items()}
    if champion is not None and contest.champion is not None:
        cards[f"champion {champion.name} v{champion.version}"] = contest.champion
    rows = table({**cards, "floor popularity": contest.popularity}, later)
    asked = registry.client(night.settings)
    import mlflow

    tags = {"gate": "model", "night": str(night.date), "run_id": night.run_id, "promoted": str(verdict.promoted)}
    with mlflow.start_run(
        experiment_id=registry.experiment(night.settings), run_name=f"gate 2 {night.date}", tags=tags
    ) as run:
        asked.log_batch(run.info.run_id, metrics=_metrics(rows))
        told = {"models": rows, "checks": [vars(check) for check in verdict.checks], "users": contest.users}
        mlflow.log_dict(json.loads(json.dumps(told, allow_nan=True)), "comparison.json")
        mlflow.log_text(page(night, rows, verdict), "comparison.html")


def table(cards: Mapping[str, Scorecard], later: LaterDays) -> list[dict[str, Any]]:
    """One row per model and segment: users, coverage and each metric's mean."""
    segments = {"all": None, "warm": later.warm_T, "cold": ~later.warm_T}
    return [
        {
            "model": name, "segment": segment, "users": len(later.user_ids) if chosen is None else int(chosen.sum()),
            **card.means(chosen), "coverage": card.coverage,
        }
        for name, card in cards.items() for segment, chosen in segments.items()
    ]  # fmt: skip


def _metrics(rows: list[dict[str, Any]]) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(f"{row['model']}/{row['segment']}/{name}", float(value), now, 0)
        for row in rows for name, value in row.items()
        if isinstance(value, float) and not math.isnan(value)
    ]  # fmt: skip


def page(night: Night, rows: list[dict[str, Any]], verdict: "Verdict") -> str:
    """The comparison as a plain HTML page."""
    checks = [
        {"check": c.name, "held": "yes" if c.passed else "no", "found": c.observed, "expected": c.expected}
        for c in verdict.checks
    ]
    outcome = f"promoted version {verdict.best}" if verdict.promoted else "nobody was promoted"
    return (
        "<!doctype html><meta charset='utf-8'><style>body{font:15px system-ui;margin:2em}td,th{padding:.2em .8em;"
        "text-align:left;border-bottom:1px solid #ccc}</style>"
        f"<h1>Gate 2, night of {night.date}: {outcome}</h1>{_html(checks)}"
        f"<h2>On the same later days</h2><p>Lists of {night.settings.gates.model.k}, whole catalogue, less "
        f"what was seen.</p>{_html(rows)}"
    )


def _html(rows: list[dict[str, Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    cells = (
        "".join(
            f"<td>{f'{value:.4f}' if isinstance(value, float) else escape(str(value))}</td>" for value in row.values()
        )
        for row in rows
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))
