"""Each layout of docs/formats.md from its raw file to published lists: one night of all drafts, with their few edits.

The drafts stand in one nightloom.toml. Each layout keeps its own users, items and events there: a prefix that the
layout and its descriptions share.
"""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from nightloom.contracts import INTERACTIONS, RECOMMENDATIONS
from spark_jobs.draft.section import toml
from tests.first_night import Project as NightProject
from tests.spark_jobs.small_project import D, Project
from tests.spark_jobs.test_drafts_of_the_gallery import EVENTS_OF, YELP_REVIEWS, drafted, folder_of
from tests.spark_jobs.test_formats_page import outcomes, put_files, sections, silver_rows

REST = """
[project]
name = "gallery"

[[models]]
name = "popularity"

[[models]]
name = "als"

[training]
holdout_days = 1

[gates.data]
max_quarantined = 0.5  # one line in four of the page is a bad one
"""
PREFIXED = ("user_id", "item_id", "event")


def section_of(folder: str, name: str, root: Path) -> dict[str, Any]:
    """The [[sources]] section of a layout in the drafted and edited nightloom.toml, under another name."""
    drafts = tomllib.loads((root / "nightloom.toml").read_text(encoding="utf8"))
    (found,) = [source for source in drafts["sources"] if source["path"] == f"landing/{folder}"]
    prefix = EVENTS_OF.get(folder, folder)
    columns = found["columns"]
    columns |= {each: f"concat('{prefix}|', nullif(trim({columns[each]}), ''))" for each in PREFIXED if each in columns}
    changed: dict[str, Any] = {"name": name, "settle_seconds": 0}
    return {**found, **changed}


def section_text(kind: str, keys: dict[str, Any]) -> str:
    """A section of nightloom.toml, with inline tables."""
    return "\n".join([f"[[{kind}]]", *(f"{key} = {toml(value)}" for key, value in keys.items()), ""])


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> NightProject:
    """The drafts of all layouts as one project, after its night."""
    root = tmp_path_factory.mktemp("gallery")
    put_files(root, sections())
    (root / "landing" / "yelp-reviews").mkdir()
    (root / "landing" / "yelp-reviews" / "review.json").write_text(YELP_REVIEWS, encoding="utf8")
    texts, signals = [REST], dict[str, str]()
    for number, section in enumerate(sections()):
        _, found = drafted(section, root)
        folder = folder_of(section)
        own = section_of(folder, f"layout_{number}", root)
        texts.append(section_text("sources", own))
        if own["kind"] == "events":
            for signal in found:
                given = signal.model_dump(exclude_none=True) | {"event": f"{folder}|{signal.event}"}
                signals[given["event"]] = "\n".join(
                    ["[[signals]]", *(f"{k} = {toml(v)}" for k, v in given.items()), ""]
                )
    text = "\n".join([*texts, *signals.values()])
    at = NightProject.create(root, text)
    done = at.nightloom("night", "--date", str(D), seconds=3_600)
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    return at


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(sections())), ids=[each.title for each in sections()])
def test_each_row_of_a_layout_is_accounted_for_and_its_users_have_lists(number: int, night: NightProject) -> None:
    section, source = sections()[number], night.settings.sources[number]
    at = Project(night.settings, None)  # type: ignore[arg-type]  # only tables are read
    lines, records, found = outcomes(at, source)
    assert (str(lines), str(records)) == section.counts[:2]
    assert sum(found.values()) == records
    good = silver_rows(at, source)
    assert len(good) == len(section.result)
    if source.kind == "events":
        served = {*night.lake.rows(RECOMMENDATIONS, columns=["user_id"])["user_id"].to_pylist()}
        assert {row["user_id"] for row in good} <= served


@pytest.mark.slow
def test_a_list_of_each_layout_is_served(night: NightProject) -> None:
    users = dict[str, str]()
    for user in night.lake.rows(INTERACTIONS, columns=["user_id"])["user_id"].to_pylist():
        users.setdefault(user.partition("|")[0], user)
    assert len(users) >= sum('kind = "events"' in section.toml for section in sections()) - 1
    for user in users.values():
        assert night.read("recommend", user)["items"]
