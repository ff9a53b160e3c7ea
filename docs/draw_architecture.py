"""The sources' own imports and the list of stages -> docs/images/architecture.svg: rooms, stages and tables.

By hand: .venv/bin/python docs/draw_architecture.py
A room is a top-level package or a package of nightloom/. A line leads from a room up to each room that uses it; a use
that follows from two shorter ones is left out. tests/test_docs.py compares the picture with what comes out here;
tests/test_first_night.py compares what the list of stages says of tables with what a real night reads and writes.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path
from statistics import mean
from textwrap import wrap
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

import grimp  # noqa: E402
from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: E402

from nightloom.contracts import TABLES  # noqa: E402
from nightloom.night.stages import GATES, NIGHT  # noqa: E402

PACKAGES = ("benchmarks", "serving", "training", "expectations", "spark_jobs", "models", "nightloom")
FILLS = {
    "nightloom": "#e8f1fd", "models": "#fff7e0", "training": "#fff7e0", "spark_jobs": "#f7ebe0", "serving": "#e9f6ee",
    "expectations": "#fdeceb", "benchmarks": "#ffffff",
}  # fmt: skip
RED, BLACK = "#b4472f", "#1d2733"
WIDTH, BOX_WIDTH, BOX_HEIGHT, FLOOR = 1240, 190, 76, 116
"""Of the picture and of a room's box, and from one floor to the next, in pixels."""
LEFT, HEAD, ROW, COLUMN = 230, 220, 21, 62
"""Width of the tables' names, height of the stages' names, from one table and one stage to the next, in pixels."""


def rooms(graph: grimp.ImportGraph) -> dict[str, set[str]]:
    """Room -> the rooms that it uses."""
    inside = {each for each in graph.find_children("nightloom") if graph.find_children(each)}
    names = {*PACKAGES} - {"nightloom"} | inside

    def uses(importer: str, imported: str) -> bool:
        return graph.direct_import_exists(importer=importer, imported=imported, as_packages=True)

    return {room: {used for used in names - {room} if uses(room, used)} for room in names}


def direct(uses: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Room -> the uses that do not follow from two shorter ones."""

    def below(room: str) -> set[str]:
        return uses[room].union(*(below(used) for used in uses[room]))

    return {
        room: {used for used in mine if not any(used in below(other) for other in mine)} for room, mine in uses.items()
    }


def places(uses: Mapping[str, Iterable[str]]) -> dict[str, tuple[int, int]]:
    """Room -> the middle of its box and its upper edge: one floor above the highest room that it uses."""
    floor: dict[str, int] = {}
    for room in TopologicalSorter(uses).static_order():
        floor[room] = max((floor[used] + 1 for used in uses[room]), default=0)
    found: dict[str, tuple[int, int]] = {}
    for level in range(max(floor.values()) + 1):
        # Above what they use, so that few lines cross.
        names = sorted(room for room in floor if floor[room] == level)
        names.sort(key=lambda room: mean([found[used][0] for used in uses[room]] or [WIDTH // 2]))
        for number, room in enumerate(names):
            x = (2 * number + 1) * WIDTH // (2 * len(names))
            found[room] = (x, (max(floor.values()) - level) * FLOOR + 30)
    return found


def route(at: Mapping[str, tuple[int, int]], used: str, room: str, lane: int) -> list[tuple[int, int]]:
    """Points of the line from a room up to one that uses it: between the boxes of the floors that it passes."""
    (x, y), (end_x, end_y) = at[used], at[room]
    end_y += BOX_HEIGHT
    points = [(x, y)]
    for level in sorted({other for _, other in at.values() if end_y < other < y}, reverse=True):
        middles = sorted(x for x, other in at.values() if other == level)
        gaps = [14, *((left + right) // 2 for left, right in pairwise(middles)), WIDTH - 14]
        straight = x + (end_x - x) * (y - level) / (y - end_y)
        gap = min(gaps, key=lambda each: abs(each - straight)) + 3 * lane
        points += [(gap, level + BOX_HEIGHT), (gap, level)]
    return [*points, (end_x, end_y)]


def summary(room: str) -> str:
    """The first sentence of a package's docstring."""
    text = ast.get_docstring(ast.parse((ROOT / room.replace(".", "/") / "__init__.py").read_text(encoding="utf8")))
    return (text or "").split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".").replace("`", "")


def draw_rooms() -> tuple[dict[str, Any], int]:
    """What the template draws of the rooms, and where they end."""
    uses = direct(rooms(grimp.build_graph(*PACKAGES, cache_dir=None)))
    at = places(uses)
    edges = [(used, room) for room, some in sorted(uses.items()) for used in sorted(some)]
    lines = [route(at, used, room, number % 5 - 2) for number, (used, room) in enumerate(edges)]
    boxes = [
        {
            "name": room.replace(".", "/"), "x": x, "y": y, "fill": FILLS[room.split(".")[0]],
            "text": wrap(summary(room), 34)[:4],
        }
        for room, (x, y) in sorted(at.items())
    ]  # fmt: skip
    return {"lines": lines, "boxes": boxes}, max(y for _, y in at.values()) + BOX_HEIGHT


def draw_tables(top: int) -> dict[str, Any]:
    """What the template draws of the tables, a row each, and of the stages, a column each."""
    columns = [stage for stage in NIGHT if stage.reads or stage.writes]
    used = {name for stage in columns for name in (*stage.reads, *stage.writes)}
    y = {table.full_name: top + number * ROW for number, table in enumerate(t for t in TABLES if t.full_name in used)}
    stages = [
        {
            "name": stage.name, "x": LEFT + number * COLUMN + COLUMN // 2, "colour": RED if stage in GATES else BLACK,
            "dots": sorted((y[name], name in stage.writes) for name in {*stage.reads, *stage.writes}),
        }
        for number, stage in enumerate(columns)
    ]  # fmt: skip
    return {
        "tables": [{"name": name, "y": at} for name, at in y.items()], "stages": stages, "top": top, "left": LEFT,
        "right": LEFT + len(columns) * COLUMN, "height": max(y.values()) + 50,
    }  # fmt: skip


def picture() -> str:
    """The whole SVG."""
    upper, end = draw_rooms()
    environment = Environment(loader=FileSystemLoader(DOCS), autoescape=True, undefined=StrictUndefined)
    sizes = {"width": WIDTH, "box_width": BOX_WIDTH, "box_height": BOX_HEIGHT}
    return environment.get_template("architecture.svg.j2").render(upper | draw_tables(end + HEAD) | sizes)


if __name__ == "__main__":
    file = DOCS / "images" / "architecture.svg"
    file.write_text(picture(), encoding="utf8")
    print(f"wrote {file}")
