"""Shared by the tests of settings: a small nightloom.toml, and a change in it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nightloom.settings import Settings, load

SMALL = """\
[project]
name = "shop"

[[sources]]
name = "clicks"
kind = "events"
path = "landing"
format = "json"
fields = { u = "string", i = "string", t = "timestamp" }

[sources.columns]
user_id = "u"
item_id = "i"
event = "'click'"
occurred_at = "t"

[[signals]]
event = "click"

[[models]]
name = "popularity"
"""
MART = """
[[marts]]
name = "busy"
grain = "One row per day."
key = ["day"]
period = "day"
columns = { day = "date", events = { type = "bigint", comment = "How many" } }
sql = '''
SELECT to_date(occurred_at) AS day, count(*) AS events FROM silver.interactions GROUP BY 1'''
"""
Change = Callable[[str, str], Settings]


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NIGHTLOOM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def change(tmp_path: Path, no_variables: None) -> Change:
    """Load SMALL after one replacement in it; an empty text to find means: add at the end."""

    def loaded(find: str, put: str) -> Settings:
        assert find in SMALL
        file = tmp_path / "nightloom.toml"
        file.write_text(SMALL.replace(find, put, 1) if find else SMALL + put)
        return load(file)

    return loaded
