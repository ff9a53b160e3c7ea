"""A lake with one table of films, and the command line over it."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nightloom.cli import nightloom
from nightloom.contracts import ITEMS
from nightloom.lake import Lake

NOON = datetime(1998, 4, 21, 12, tzinfo=UTC)
Run = Callable[..., str]


def item(number: int, **given: Any) -> dict[str, Any]:
    fixed = {
        "categories": ["drama", "war"], "attributes": [("year", "1995")], "available": True, "updated_at": NOON,
        "row_id": "r", "night": date(1998, 4, 21),
    }  # fmt: skip
    return {"item_id": str(number), "title": f"Film {number}"} | fixed | given


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Two films in version 2 of silver.items, a third since version 3: the first two made the table."""
    shutil.copy(Path(__file__).parents[3] / "nightloom.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    lake = Lake(tmp_path / "data" / "lake")
    lake.append(ITEMS, [item(1), item(2, title='Café, "noir"')])
    time.sleep(0.02)  # Delta keeps time in milliseconds, and one test asks for a moment in between
    lake.append(ITEMS, [item(3)])
    return lake


@pytest.fixture
def run(lake: Lake) -> Run:
    """Run a command of nightloom -> its output; its errors are raised."""

    def invoke(*words: str) -> str:
        result = CliRunner().invoke(nightloom, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return invoke
