"""console: pages with data, without data, and after something went wrong."""

from __future__ import annotations

import re
from datetime import date
from html import unescape
from typing import TYPE_CHECKING

import pytest

from expectations.measure import Measure
from expectations.validate import validate
from nightloom.contracts import ITEMS
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import run_stage
from serving import report

if TYPE_CHECKING:
    from tests.serving.conftest import Project

NEXT = date(1998, 4, 22)


def page(project: Project, path: str = "/console", code: int = 200) -> str:
    """A page's text, entities resolved."""
    answer = project.client().get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (code, "text/html; charset=utf-8")
    return unescape(answer.text)


def test_data_quality_and_data_docs_are_pages(project: Project) -> None:
    assert "No gate has checked the data yet." in page(project, "/console/data")
    project.plant_items()
    validate(project.night(), [ITEMS], [Measure(ITEMS, "rows of items", 3.0, "3 rows", 5.0, 9.0)])
    text = page(project, "/console/data")
    assert "rows of items" in text
    assert 'class="mark-of mild" title="1998-04-21"' in text
    assert re.search(r"\d+ others passed every night", text)
    docs = page(project, "/console/data-docs/index.html")
    assert "silver.items" in docs
    assert "no page of Data Docs" in page(project, "/console/data-docs/%2e%2e/secret.html", 404)
    assert "no page of Data Docs" in page(project, "/console/data-docs/suites/silver/items.json", 404)


def test_an_empty_project_says_what_to_do(project: Project) -> None:
    assert "Nothing is published yet" in page(project)
    assert "nothing is published yet; run a night first" in page(project, "/console/users?id=u1", 503)


def test_the_first_page_shows_what_is_served_the_gates_and_the_night(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    text = page(project)
    for words in ("Serving the night of 21 April 1998", "v000001", "Slate gate", "serving.publish", "not asked yet"):
        assert words in text


def test_a_closed_gate_says_why_and_what_is_still_served(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    project.plant_lists(NEXT, only=["u1"])
    with pytest.raises(SystemExit):
        project.judge(NEXT)
    text = page(project)
    assert "The night of 22 April 1998 stopped at a gate." in text
    assert "coverage: found 0.1250 (1 of 8 known users have a list), expected at least 0.99" in text
    assert "Serving the night of 21 April 1998" in text


def test_a_user_page_shows_history_list_and_reasons(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    text = page(project, "/console/users?id=u1")
    assert "2 interactions up to 21 April 1998" in text
    assert 'Film "1" <é>' in text
    assert "/console/explain?user=u1&item=3" in text
    assert "This user has no list" in page(project, "/console/users?id=<script>")


def test_markup_in_an_id_is_shown_and_not_run(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    answer = project.client().get("/console/users?id=<script>alert(1)</script>")
    assert "<script>" not in answer.text


def test_an_item_that_is_not_in_the_list_has_no_reasons(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    why = project.client().explain("u1", "99", page=True)
    assert (why.code, why.response("r1").media_type) == (404, "text/html")
    assert b"item 99 is not in the personal list of user u1" in why.body


def test_a_popular_list_is_explained_too(project: Project) -> None:
    project.plant_all().judge()
    project.publish()
    text = unescape(project.client().explain("nobody", "2", page=True).body.decode())
    assert "the list comes from what everybody likes" in text
    assert "gold.recommendations v" in text.replace("<b>", "")


def test_the_report_is_one_page_without_outside_parts_and_the_console_links_to_it(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.plant_all().judge()
    project.publish()

    def body(night: Night) -> None:
        report.main(night)

    run_stage(stages.REPORT, body, argv=["--date", "1998-04-21", "--config", str(project.root / "nightloom.toml")])
    assert (
        "v000001 serves 8 lists of the night of 1998-04-21 by model version 7; 2 stages took" in capsys.readouterr().out
    )
    text = page(project, "/console/reports/1998-04-21")
    assert 'Film "3" <é>' in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert 'href="/console/reports/1998-04-21"' in page(project, "/console/nights/1998-04-21")
    assert "no report of the night" in page(project, "/console/reports/1998-04-22", 404)
