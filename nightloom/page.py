"""A gate's report as one HTML file without anything to fetch: its look, tables of rows, pictures as SVG."""

import io
import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222 }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; margin: .6em 0 } p, li { max-width: 60em }
td, th { padding: .25em .8em .25em 0; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } .no { color: #b00020 } .yes { color: #00703c }
.wide { overflow-x: auto } ol { margin: 0; padding-left: 1.4em }
"""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Okabe and Ito's, told apart by whoever sees colours otherwise."""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole file; `parts` are HTML."""
    head = f"<!doctype html><meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>"
    return head + "".join(parts)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a table; numbers to the right, a check that failed in red."""
    head = "".join(f"<th{_kind(value)}>{escape(name)}</th>" for name, value in rows[0].items())
    body = "".join(
        "<tr>" + "".join(f"<td{_kind(value)}>{_shown(value)}</td>" for value in row.values()) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return f" class='{'yes' if value else 'no'}'"
    return " class='n'" if isinstance(value, float) else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ("-" if math.isnan(value) else f"{value:.4g}") if isinstance(value, float) else escape(str(value))


def figure_of(width: float, height: float) -> "Figure":
    """An empty picture, inches."""
    from matplotlib.figure import Figure  # half a second, and only the page needs it

    return Figure(figsize=(width, height), layout="constrained")


def finish(axes: "Axes", what: str) -> None:
    """What all pictures share; `what` is written below."""
    axes.set_xlabel(what)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ddd", lw=0.5)
    axes.set_axisbelow(True)


def svg(figure: "Figure") -> str:
    """The picture without what stands before <svg>; the same bytes for the same figures."""
    import matplotlib

    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "nightloom", "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]
