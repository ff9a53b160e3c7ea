"""The pages made from the code are current, and every setting and table is explained in them."""

import importlib.util
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from nightloom.contracts import TABLES
from nightloom.settings import Section

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PATH = re.compile(
    r"`((?:nightloom|models|spark_jobs|training|expectations|serving|dags|benchmarks|tests|docs)/[\w./]*)`"
)
WRITTEN_BY_THE_READER = {
    "spark_jobs/gold_streaks.py",
    "expectations/suites/gold_streaks.py",
    "models/next_item.py",
    "nightloom/slate/rules/demotion.py",
}
"""Files of the examples in docs/authoring.md."""


@pytest.fixture(scope="module")
def generate() -> Any:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["models.md", "settings.md", "slate.md", "tables.md"])
def test_a_page_made_from_the_code_is_current(page: str, generate: Any) -> None:
    made, kept = generate.PAGES[page](), (DOCS / page).read_text(encoding="utf8")
    assert made == kept, "run .venv/bin/python docs/generate.py"


def sections(model: type[BaseModel] = Section) -> Iterator[type[BaseModel]]:
    for each in model.__subclasses__():
        yield each
        yield from sections(each)


def test_every_key_has_a_meaning_and_a_place_on_the_page() -> None:
    page = (DOCS / "settings.md").read_text(encoding="utf8")
    keys = [(each.__name__, key, field) for each in sections() for key, field in each.model_fields.items()]
    for section, key, field in keys:
        inner = any(part in str(field.annotation) for part in ("Gate", "Rule"))
        assert inner or field.description, f"{section}.{key} has no docstring"
        assert f"`{key}`" in page or f"{key}]" in page, f"{section}.{key} is not on the page"


def test_every_table_and_column_is_on_the_page() -> None:
    page = (DOCS / "tables.md").read_text(encoding="utf8")
    for table in TABLES:
        assert f"### {table.full_name}\n" in page
        assert all(column.comment in page for column in table.columns)


def test_the_picture_of_the_architecture_is_current() -> None:
    made = runpy.run_path(str(DOCS / "draw_architecture.py"))["picture"]()
    assert made == (DOCS / "images" / "architecture.svg").read_text(encoding="utf8"), "run docs/draw_architecture.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = set(PATH.findall(page.read_text(encoding="utf8"))) - WRITTEN_BY_THE_READER
    examples = {name for name in named if re.search(r"[A-Z]{4}", name)}  # models/NAME.py
    assert [name for name in sorted(named - examples) if not (ROOT / name).exists()] == []


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf8"))
    targets = [((page.parent / file) if file else page, anchor) for file, anchor in links]
    assert [str(target) for target, _ in targets if not target.exists()] == []
    assert [f"{target.name}#{anchor}" for target, anchor in targets if anchor and anchor not in anchors(target)] == []
