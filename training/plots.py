"""Plots of gate 2's page as inline SVG: intervals by segment, learning curves, a histogram."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from nightloom.pages.pictures import COLOURS, finish, new_figure, svg
from training.bootstrap_intervals import Interval
from training.ranking_metrics import F64

Curve = Sequence[tuple[int, float]]


def interval_plot(models: Mapping[str, Mapping[str, Interval]], label: str, *, zero_line: bool = False) -> Markup:
    """A point with its interval for each model and segment; `models` is model -> segment -> interval."""
    segments = list(next(iter(models.values())))
    figure = new_figure(8, 0.6 + 0.17 * len(segments) * (len(models) + 1.5))
    axes = figure.subplots()
    for number, (model, intervals) in enumerate(models.items()):
        heights = [row + 0.8 * (number + 0.5) / len(models) - 0.4 for row in range(len(segments))]
        means = [intervals[segment].mean for segment in segments]
        ends = [
            [intervals[segment].mean - intervals[segment].low for segment in segments],
            [intervals[segment].high - intervals[segment].mean for segment in segments],
        ]
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(means, heights, xerr=ends, fmt="o", ms=4, lw=1.4, capsize=2, color=colour, label=model)
    if zero_line:
        axes.axvline(0, color="#888", lw=1)
    axes.set_yticks(range(len(segments)), segments)
    axes.invert_yaxis()
    finish(axes, label)
    figure.legend(loc="outside right upper", frameon=False)
    return svg(figure)


def learning_curves(models: Mapping[str, Mapping[str, Curve]]) -> Markup:
    """A small plot for each model and each figure of its epochs; `models` is model -> figure's name -> curve."""
    curves = [(f"{model}: {name}", curve) for model, figures in models.items() for name, curve in figures.items()]
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(3.2 * columns, 2.3 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, curve) in zip(grid, curves, strict=False):
        axes.plot([step for step, _ in curve], [value for _, value in curve], color=COLOURS[0], marker=".", lw=1.4)
        axes.set_title(title, fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True)
        finish(axes, "epoch")
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    return svg(figure)


def share_histogram(values_T: F64, label: str, k: int) -> Markup:
    """Users by share, 0 to 1 in steps of 1 / k (at most 20 steps)."""
    figure = new_figure(5, 2.3)
    axes = figure.subplots()
    steps = min(k, 20)
    edges = [(step - 0.5) / steps for step in range(steps + 2)]
    axes.hist(values_T, bins=edges, color=COLOURS[0], rwidth=0.85)
    axes.set_ylabel("users")
    finish(axes, label)
    return svg(figure)
