"""The page of gate 3, HOME/reports/slate-D.html: the verdict, what the rules did, and the lists in pictures.

No user's id and no user's list is on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from markupsafe import Markup

from nightloom.contracts import SLATE_RULES
from nightloom.night.context import Night
from nightloom.night.records import Check
from nightloom.pages.html import render
from nightloom.pages.pictures import COLOURS, finish, new_figure, svg
from nightloom.places import Place, write_text
from serving.slate_served import pairs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATE = Path(__file__).parent / "templates" / "slate_gate.html"
CATEGORIES = 15
"""Categories shown, the most frequent on first pages."""


def write_page(night: Night, db: duckdb.DuckDBPyConnection, checks: Sequence[Check]) -> Place:
    """`db` is slate_checks.lists_database()'s after slate_checks(). Tag: page. Returns the file."""
    rules = _rules(night)
    page = render(
        TEMPLATE,
        night=night.date,
        verdict=_verdict(night, checks),
        checks=[
            {"check": c.name, "passed": c.passed, "severity": c.severity, "found": c.observed, "expected": c.expected}
            for c in checks
        ],
        rules=[_shown(rule) for rule in rules],
        rules_picture=_bars(rules) if rules else None,
        lists_picture=_pictures(night, db),
        **_against_served(night, db),
    )
    night.tags["page"] = f"reports/slate-{night.date}.html"
    file = night.settings.place("home") / night.tags["page"]
    write_text(file, page)
    return file


def _verdict(night: Night, checks: Sequence[Check]) -> str:
    closed = [check.name for check in checks if not check.passed and check.severity == "stop"]
    if not closed:
        return "open"
    override = getattr(night.arguments, "override", None)
    return f"overridden by {override}" if override else f"closed ({', '.join(closed)})"


def _rules(night: Night) -> list[dict[str, Any]]:
    """Rows of ops.slate_rules: the effect of each rule on the night's lists."""
    if not night.settings.slate.rules or not night.lake.exists(SLATE_RULES):
        return []
    found = night.lake.rows(SLATE_RULES, f"night = DATE '{night.date}'", version=night.pin(SLATE_RULES)).to_pylist()
    newest = max((row["counted_at"] for row in found), default=None)
    return sorted((row for row in found if row["counted_at"] == newest), key=lambda row: row["place"])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "rule": row["rule"], "kind": row["kind"], "items it speaks of": f"{row['items']:,}",
        "lists changed": f"{row['lists']:,}", "brought to first pages": f"{row['entries']:,}",
        "score lost": float(row["score_lost"]), "relevance lost, %": 100 * row["relevance_lost"],
    }  # fmt: skip


def _bars(rows: Sequence[dict[str, Any]]) -> Markup:
    figure = new_figure(9, 0.9 + 0.3 * len(rows))
    names = [row["rule"] for row in rows]
    for axes, what, values in zip(
        figure.subplots(1, 2, sharey=True),
        ("lists changed, %", "relevance lost, %"),
        ([100 * row["lists"] / max(1, row["users"]) for row in rows], [100 * row["relevance_lost"] for row in rows]),
        strict=True,
    ):
        axes.barh(range(len(rows)), values, color=COLOURS[0])
        axes.set_yticks(range(len(rows)), names)
        finish(axes, what)
    figure.axes[0].invert_yaxis()
    return svg(figure)


def _pictures(night: Night, db: duckdb.DuckDBPyConnection) -> Markup:
    """How long the lists are, which share of first pages how many items have, and of which categories they are."""
    figure = new_figure(11, 3.2)
    length, spread, kinds = figure.subplots(1, 3)
    counts = db.sql("SELECT length, count(*) AS lists FROM pages GROUP BY ALL ORDER BY ALL").fetchall()
    length.bar([row[0] for row in counts], [row[1] for row in counts], color=COLOURS[0], width=0.9)
    length.set_xlim(-0.5, night.settings.slate.stored + 0.5)
    length.set_ylabel("lists")
    finish(length, "items in a list")
    on_pages = db.sql("SELECT firsts FROM listed WHERE firsts > 0 ORDER BY firsts DESC").to_arrow_table()
    shown = on_pages["firsts"].to_numpy()
    (items,) = db.sql("SELECT count(*) FROM items WHERE available").fetchall()
    across = np.arange(len(shown) + 1) / max(1, items[0], len(shown))
    spread.plot(100 * across, 100 * np.concatenate([[0], np.cumsum(shown) / max(1, shown.sum())]), color=COLOURS[0])
    spread.set_ylabel("places on first pages, %")
    finish(spread, "items, most shown first, % of the catalogue")
    _categories(kinds, db)
    return svg(figure)


def _categories(axes: Axes, db: duckdb.DuckDBPyConnection) -> None:
    """Shares of first pages and of the available catalogue; an item counts in each of its categories."""
    rows = db.sql(
        f"""WITH kinds AS (SELECT item_id, unnest(categories) AS name FROM items WHERE available),
        shown AS (SELECT name, sum(firsts) AS n FROM listed JOIN kinds ON item = item_id GROUP BY name),
        there AS (SELECT name, count(*) AS n FROM kinds GROUP BY name)
        SELECT name, 100 * coalesce(s.n, 0) / (SELECT sum(n) FROM shown), 100 * t.n / (SELECT sum(n) FROM there)
        FROM there t LEFT JOIN shown s USING (name) ORDER BY 2 DESC NULLS LAST, name LIMIT {CATEGORIES}"""
    ).fetchall()
    places = np.arange(len(rows))
    axes.barh(places - 0.2, [row[1] or 0 for row in rows], height=0.4, color=COLOURS[0], label="first pages")
    axes.barh(places + 0.2, [row[2] for row in rows], height=0.4, color=COLOURS[7], label="catalogue")
    axes.set_yticks(places, [row[0] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8)
    finish(axes, "share of a category, %")


def _against_served(night: Night, db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """How much of first pages stays, and the scores then and now; nothing before the first publish."""
    if not db.sql("SELECT 1 FROM duckdb_tables() WHERE table_name = 'served'").fetchall():
        return {"served": False, "served_picture": None}
    shared, now, then = pairs(db)
    if not len(shared):
        return {"served": True, "served_picture": None}
    figure = new_figure(9, 2.8)
    stays, scores = figure.subplots(1, 2)
    steps = min(night.settings.slate.k, 20)
    stays.hist(100 * shared, bins=100 * (np.arange(steps + 2) - 0.5) / steps, color=COLOURS[0], rwidth=0.85)
    stays.set_ylabel("users")
    finish(stays, "first page that stays, %")
    edges = np.linspace(min(now.min(), then.min()), max(now.max(), then.max()), 31)
    for values, name, colour in ((then, "served", COLOURS[7]), (now, "tonight", COLOURS[0])):
        scores.hist(values, bins=edges, histtype="step", color=colour, label=name, lw=1.5)
    scores.legend(frameon=False)
    finish(scores, "mean score of a first page")
    return {"served": True, "served_picture": svg(figure)}
