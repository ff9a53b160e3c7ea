"""Pictures as SVG to stand in a page: an empty figure, what all pictures share, and the text of the finished one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from markupsafe import Markup

from nightloom.pages.html import TURNING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f")
"""Okabe and Ito's, told apart by whoever sees colours otherwise."""


def new_figure(width: float, height: float) -> Figure:
    """An empty picture, inches."""
    from matplotlib.figure import Figure  # half a second, and only pages need it

    return Figure(figsize=(width, height), layout="constrained")


def finish(axes: Axes, label: str) -> None:
    """What all pictures share; the label is written below."""
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#ddd", lw=0.5)
    axes.set_axisbelow(True)


def svg(figure: Figure) -> Markup:
    """The picture without what stands before <svg>; the same bytes for the same figures."""
    import matplotlib

    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "nightloom", "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    return Markup(text[text.index("<svg") :].translate(TURNING))
