"""Data Docs on disk: a page a suite, nothing fetched from elsewhere, kept over nights, old pages dropped."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from expectations import docs
from expectations.validate import validate
from nightloom import contracts as T
from nightloom.night.context import Night
from nightloom.pages.html import TURNING
from nightloom.places import folder_of

Put = Callable[..., None]
GUARDED = [T.BRONZE_EVENTS, T.INTERACTIONS]


def pages(night: Night, kind: str) -> list[Path]:
    return sorted((folder_of(night.settings.place("docs")) / kind).rglob("*.html"))


def test_each_suite_has_a_page_and_the_index_names_them(night: Night, put: Put) -> None:
    for table in GUARDED:
        put(table, {})
    validate(night, GUARDED)
    assert [page.stem for page in pages(night, "expectations")] == ["events", "interactions"]
    index = (night.settings.place("docs") / "index.html").read_text()
    for table in GUARDED:
        assert index.count(table.full_name) >= 2
    assert "night-1998-04-21" in index


def test_no_page_asks_another_host_for_anything(night: Night, put: Put) -> None:
    put(T.INTERACTIONS, {"value": 9.0})
    validate(night, [T.INTERACTIONS])
    for page in [
        night.settings.place("docs") / "index.html",
        *pages(night, "expectations"),
        *pages(night, "validations"),
    ]:
        text = page.read_text()
        assert "http://" not in text
        assert "https://" not in text
        assert "<script" not in text


def test_a_failed_row_is_on_its_page_and_its_text_is_escaped(night: Night, put: Put) -> None:
    put(T.INTERACTIONS, {"event_id": "<b>e</b>", "event": "<i>click</i>"})
    validate(night, [T.INTERACTIONS])
    (page,) = pages(night, "validations")
    text = page.read_text()
    assert "&lt;i&gt;click" in text
    assert "<i>click" not in text
    assert "fa-times" in text


def test_signs_that_turn_a_text_are_shown_on_every_page(night: Night, put: Put) -> None:
    put(T.INTERACTIONS, {"event": "\u202e<script>\u2066"})
    validate(night, [T.INTERACTIONS])
    assert "\\u202e&lt;script&gt;\\u2066" in pages(night, "validations")[0].read_text()
    for page in (
        night.settings.place("docs") / "index.html",
        *pages(night, "expectations"),
        *pages(night, "validations"),
    ):
        assert [sign for sign in map(chr, TURNING) if sign in page.read_text()] == []


def test_the_next_night_adds_pages_and_keeps_the_old_ones_until_there_are_too_many(
    night: Night, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "RUNS_KEPT", 2)
    put(T.USERS, {})
    for _ in range(3):
        validate(night, [T.USERS])
        night.date += timedelta(days=1)
    kept = [page.parts[-3] for page in pages(night, "validations")]
    assert kept == ["night-1998-04-22", "night-1998-04-23"]
    index = (night.settings.place("docs") / "index.html").read_text()
    assert "night-1998-04-23" in index
    assert "night-1998-04-21" not in index


def test_a_run_on_some_tables_leaves_the_pages_of_the_others(night: Night, put: Put) -> None:
    put(T.USERS, {})
    put(T.POPULAR, {})
    validate(night, [T.USERS])
    validate(night, [T.POPULAR])
    assert [page.stem for page in pages(night, "expectations")] == ["popular", "users"]
    assert len(pages(night, "validations")) == 2
