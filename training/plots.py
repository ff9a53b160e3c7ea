"""The pictures of gate 2's page, as SVG to stand in HTML: intervals by segment, learning curves, a histogram."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from nightloom.pages.pictures import COLOURS, finish, new_figure, svg
from training.bootstrap_intervals import Interval
from training.ranking_metrics import F64

Curve = Sequence[tuple[int, float]]


def by_segment(found: Mapping[str, Mapping[str, Interval]], what: str, *, zero: bool = False) -> Markup:
    """A point and its interval for each model and segment; `found` is model -> segment -> interval."""
    segments = list(next(iter(found.values())))
    figure = new_figure(8, 0.6 + 0.17 * len(segments) * (len(found) + 1.5))
    axes = figure.subplots()
    for number, (model, intervals) in enumerate(found.items()):
        places = [row + 0.8 * (number + 0.5) / len(found) - 0.4 for row in range(len(segments))]
        means = [intervals[segment].mean for segment in segments]
        ends = [
            [intervals[segment].mean - intervals[segment].low for segment in segments],
            [intervals[segment].high - intervals[segment].mean for segment in segments],
        ]
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(means, places, xerr=ends, fmt="o", ms=4, lw=1.4, capsize=2, color=colour, label=model)
    if zero:
        axes.axvline(0, color="#888", lw=1)
    axes.set_yticks(range(len(segments)), segments)
    axes.invert_yaxis()
    finish(axes, what)
    figure.legend(loc="outside right upper", frameon=False)
    return svg(figure)


def curves(found: Mapping[str, Mapping[str, Curve]]) -> Markup:
    """A small picture for each model and figure that its training reported epoch by epoch."""
    each = [(f"{model}: {figure}", curve) for model, figures in found.items() for figure, curve in figures.items()]
    across = min(3, len(each))
    down = -(-len(each) // across)
    figure = new_figure(3.2 * across, 2.3 * down)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (title, curve) in zip(grid, each, strict=False):
        axes.plot([step for step, _ in curve], [value for _, value in curve], color=COLOURS[0], marker=".", lw=1.4)
        axes.set_title(title, fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True)
        finish(axes, "epoch")
    for axes in grid[len(each) :]:
        axes.set_axis_off()
    return svg(figure)


def shares(values_T: F64, what: str, places: int) -> Markup:
    """How many users have which share, 0 to 1 in steps of 1 / places."""
    figure = new_figure(5, 2.3)
    axes = figure.subplots()
    steps = min(places, 20)
    edges = [(step - 0.5) / steps for step in range(steps + 2)]
    axes.hist(values_T, bins=edges, color=COLOURS[0], rwidth=0.85)
    axes.set_ylabel("users")
    finish(axes, what)
    return svg(figure)
