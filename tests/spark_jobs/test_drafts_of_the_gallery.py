"""Each layout of docs/formats.md: `nightloom init` and at most three edited lines give the rows that the page shows."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from nightloom import settings as settings_module
from nightloom.settings import Settings, Signal, Source
from nightloom.settings.sources import DESCRIBED_COLUMNS
from spark_jobs import silver_interactions, silver_items, silver_users
from spark_jobs.column_merge import merge_of_descriptions
from spark_jobs.context import SparkNight
from spark_jobs.draft.preview import judged_rows, sample_files
from spark_jobs.draft.project import draft_project
from spark_jobs.parsing import GOOD
from tests.spark_jobs.small_project import D
from tests.spark_jobs.test_formats_page import Section, put_files, sections, shown

MOST_EDITS = 3
EVENTS_OF = {"movies": "movielens-1m", "users": "movielens-1m", "books": "book-ratings", "yelp": "yelp-reviews"}
"""Folder of descriptions -> folder of the events whose ids they describe. Who has the one has the other."""
YELP_REVIEWS = """{"user_id": "u1", "business_id": "b1", "stars": 5, "date": "2018-07-07 22:09:11"}
{"user_id": "u2", "business_id": "b2", "stars": 2, "date": "2018-07-08 13:01:09"}
"""
EDITS: dict[str, tuple[str, ...]] = {
    "movies": ("""attributes = { year = "regexp_extract(title, '([0-9]{4})[)]$', 1)" }""",),
    "users": ("""attributes = { age = "IF(field_2 < 30, 'under 30', '30 and over')", job = "field_4" }""",),
    "online-retail": ('timestamp_format = "M/d/yyyy H:mm"', 'time_zone = "Europe/London"'),
    "bestellungen": (
        'fields = { Kunde = "string", Artikel = "string", Menge = "double", Preis = "double", Zeit = "timestamp" }',
        'value = "Preis"',
        'time_zone = "Europe/Berlin"',
    ),
    "book-ratings": ("""event = "IF(`Book-Rating` > 0, 'rating', 'view')\"""",),
    "books": ('null_values = ["0"]',),
    "taobao": ("""rules = [{ name = "cart", when = "event = 'cart'", then = "skip" }]""",),
    "retailrocket": ("""rules = [{ name = "cart", when = "event = 'addtocart'", then = "skip" }]""",),
    "mind": ('user_id = "field_2"',),
    "yelp": ('attributes = { noise = "attributes.Noise" }',),
    "lastfm": ('item_id = "field_5"',),
}
"""Folder -> the lines that somebody edits after `nightloom init`."""
PAGE_EVENTS = {"pv": "view", "buy": "purchase", "transaction": "purchase", "clicks": "view", "orders": "purchase"}
"""The draft leaves events the names that the file gives them; the page has others."""


def folder_of(section: Section) -> str:
    found = re.search(r'^path = "landing/(.*)"$', section.toml, re.MULTILINE)
    assert found
    return found[1]


def edit(text: str, line: str) -> str:
    """The file with one line in the place of that of its key; a new key stands below `path`."""
    key = line.split(" = ")[0]
    there = re.search(rf"^{key} = .*$", text, re.MULTILINE)
    if there:
        return text[: there.start()] + line + text[there.end() :]
    return re.sub(r"^path = .*$", lambda path: f"{path[0]}\n{line}", text, count=1, flags=re.MULTILINE)


def drafted(section: Section, root: Path) -> tuple[Source, tuple[Signal, ...]]:
    """The source of a layout as `nightloom init` drafts it, after the edits; what is loaded is a whole project."""
    folder = folder_of(section)
    folders = [folder, *([EVENTS_OF[folder]] if folder in EVENTS_OF else [])]
    files = [file for each in folders for file in sorted((root / "landing" / each).rglob("*.*")) if file.is_file()]
    text = draft_project(files, root).text()
    for line in EDITS.get(folder, ()):
        text = edit(text, line)
    (root / "nightloom.toml").write_text(text, encoding="utf8")
    settings = settings_module.load(root / "nightloom.toml")
    (found,) = [source for source in settings.sources if source.path == f"landing/{folder}"]
    return found, settings.signals


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The drafts of all layouts as one project."""
    root = tmp_path_factory.mktemp("drafts")
    put_files(root, sections())
    (root / "landing" / "yelp-reviews").mkdir()
    (root / "landing" / "yelp-reviews" / "review.json").write_text(YELP_REVIEWS, encoding="utf8")
    found = [drafted(section, root) for section in sections()]
    sources = [source.model_copy(update={"name": f"layout_{number}"}) for number, (source, _) in enumerate(found)]
    events = dict.fromkeys(signal.event for _, signals in found for signal in signals)
    signals = [Signal(event=event) for event in [*events, "view"]]
    settings = settings_module.load(root / "nightloom.toml")
    return settings.model_copy(update={"sources": tuple(sources), "signals": tuple(signals)})


@contextmanager
def rows_of(kind: str, night: SparkNight) -> Iterator[DataFrame]:
    """The rows of silver that the sources of a kind give, with the names of the sources."""
    sources = night.settings.sources_of(kind)
    samples = {source.name: sample_files(source, night.settings)[0] for source in sources}
    with judged_rows(night, kind, samples) as judged:
        good = judged.where(F.col("verdict.outcome") == GOOD)
        if kind == "events":
            yield silver_interactions.interactions(good, night.settings.signals)
        elif kind == "items":
            latest, _ = merge_of_descriptions("item_id", DESCRIBED_COLUMNS, sources)
            yield silver_items.items(good, latest)
        else:
            latest, _ = merge_of_descriptions("user_id", (), sources)
            yield silver_users.users(good, latest)


@pytest.fixture(scope="module")
def rows(project: Settings, spark: SparkSession, quick: None) -> dict[str, list[str]]:
    """Source -> its rows of silver as the page writes them."""
    night = SparkNight(date=D, settings=project, run_id="test", stage="test")
    night.__dict__["spark"] = spark
    found: dict[str, list[str]] = {source.name: [] for source in project.sources}
    for kind in ("events", "items", "users"):
        with rows_of(kind, night) as silver:
            for row in silver.toArrow().to_pylist():
                if "event" in row:
                    row["event"] = PAGE_EVENTS.get(row["event"], row["event"])
                found[row["source"]].append(shown(row, kind))
    return found


def test_no_layout_needs_more_edits() -> None:
    assert {*EDITS} <= {folder_of(section) for section in sections()}
    assert {folder: len(lines) for folder, lines in EDITS.items() if len(lines) > MOST_EDITS} == {}


@pytest.mark.parametrize("number", range(len(sections())), ids=[each.title for each in sections()])
def test_a_drafted_layout_gives_the_rows_of_the_page(number: int, rows: dict[str, list[str]]) -> None:
    assert sorted(rows[f"layout_{number}"]) == sorted(sections()[number].result)
