"""The marts' check after the publish: ours by their suites, the project's by contract; it fails and closes nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from deltalake import write_deltalake

from expectations import marts
from nightloom import contracts as T
from nightloom.errors import DataError
from nightloom.lake import arrow
from nightloom.night.context import Night
from nightloom.settings import load
from nightloom.sql.marts import all_tables

OWN = """
[[marts]]
name = "films"
grain = "One row per film."
key = ["item_id"]
columns = { item_id = "string", score = "double" }
sql = "SELECT item_id, 1.0D AS score FROM silver.items"
"""


@pytest.fixture
def own(night: Night) -> Night:
    """A night of the sample project with a mart of its own."""
    file = night.settings.file
    file.write_text(file.read_text() + OWN)
    return replace(night, settings=load(file))


def test_sound_marts_pass_and_are_written_down(own: Night, put: Callable[..., None]) -> None:
    put(T.DAILY_ACTIVITY, {})
    own.lake.append(all_tables(own.settings)[-1], [{"item_id": "1", "score": 2.0}, {"item_id": "2", "score": None}])
    marts.main(own)
    gates = own.lake.rows(T.GATES).to_pylist()
    assert [(row["gate"], row["check"], row["passed"]) for row in gates] == [
        ("marts", "gold.daily_activity as declared", True), ("marts", "gold.films as declared", True),
    ]  # fmt: skip


def test_a_key_twice_in_a_mart_fails_the_stage_with_its_name(own: Night) -> None:
    films = all_tables(own.settings)[-1]
    rows = [{"item_id": "1", "score": 2.0}, {"item_id": "1", "score": 3.0}]
    write_deltalake(own.lake.path(films), arrow(films, rows))
    with pytest.raises(DataError, match=r"gold\.films: .*rows_with_this_key.* is 2 of 2 rows, e\.g\. item_id 1"):
        marts.main(own)
