"""A person with a browser: Chromium walks the operator's seven ways through the console of a real server.

Each page on the way is asked for faults by axe, and fits a phone's screen.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, ViewportSize, sync_playwright

from benchmarks.fault_load import running_api
from models import registry
from nightloom.contracts import QUARANTINE_ROWS
from serving.access.keys import Scope, add_key, make_key
from serving.stores import overlay, versions
from tests.serving.conftest import CONFIG, Project
from tests.serving.console_shop import (
    BAD_RECORD,
    HOSTILE,
    MENDED_RECORD,
    NEXT,
    THIRD,
    plant_bad_record,
    plant_models,
    record_stages,
)
from tests.serving.test_explain import trained_and_published

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # what MLflow and SQLAlchemy say of themselves
CHROMIUM = shutil.which("chromium")
PHONE, DESK = ViewportSize(width=390, height=844), ViewportSize(width=1280, height=900)
PAGES = ("", "/nights", f"/nights/{THIRD}", "/models", "/users?id=u0", "/items?q=film", "/items?id=3", "/publishes",
         "/data", "/data/quarantine", "/actions")  # fmt: skip
SERIOUS = ("serious", "critical")
PAGE_MS = 120_000
COMMAND_MS = 180_000
"""The longest time of an action that is a command."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two published nights, a third one that stopped at a gate; a real model; a record in quarantine."""
    project = Project(tmp_path_factory.mktemp("walk"))
    (project.root / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    trained_and_published(project)
    project.plant_lists(NEXT, {"u0": ["4", "3", "5", "8"]}, only=["u0"], model_version="1")
    project.plant_popular(NEXT)
    project.judge(NEXT, override="test: the lists are short")
    project.publish(NEXT)
    record_stages(project, THIRD)
    project.plant_lists(THIRD, {"u0": ["1"]}, only=["u0"], model_version="1")
    with pytest.raises(SystemExit):
        project.judge(THIRD)
    plant_models(project, HOSTILE)
    plant_bad_record(project, json.dumps(BAD_RECORD), "event is 'ratnig', expected a declared one")
    return project


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Browser]:
    """Chromium. It starts after the server, since Playwright has a running event loop, and so nobody else has one."""
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium on this machine: apt-get install chromium")
    switches = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=switches)
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(shop: Project) -> Iterator[str]:
    key = make_key("ann", [Scope.ADMIN, Scope.PERSONAL], 1e4, 10_000)
    add_key(shop.root / "data" / "access", key.key)
    (shop.root / "key").write_text(key.text, encoding="ascii")
    with running_api(shop.root / "nightloom.toml", log=shop.root / "api.log") as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def page(browser: Browser, shop: Project, address: str) -> Page:
    """A browser's page in which ann has signed in."""
    opened = browser.new_page(viewport=DESK)
    opened.set_default_timeout(PAGE_MS)
    opened.goto(f"{address}/console")
    opened.get_by_label("Key").fill((shop.root / "key").read_text(encoding="ascii"))
    go(opened, opened.get_by_role("button", name="Sign in"))
    assert opened.url == f"{address}/console"
    return opened


def go(page: Page, target: Locator) -> None:
    """Click on what leads to another page, and wait for that."""
    with page.expect_navigation():
        target.click()


def look(page: Page) -> str:
    """The text of the page, which axe finds no serious fault in."""
    found = Axe().run(page).response["violations"]
    faults = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS]
    assert faults == []
    return page.locator("main").inner_text()


def do(page: Page, name: str, why: str, button: str) -> None:
    """Open an action, give the reason, and confirm."""
    action = page.locator("details.act").filter(has=page.get_by_text(name, exact=True)).first
    action.locator("summary").click()
    action.get_by_label("Reason").fill(why)
    go(page, action.get_by_role("button", name=button))


def test_is_it_fresh_and_why_was_the_last_night_red(page: Page) -> None:
    text = look(page)
    assert "Serving the night of 22 April 1998" in text
    assert "nights late" in text
    go(page, page.get_by_role("link", name="What to do"))
    text = look(page)
    assert "Night of 23 April 1998 closed" in text
    assert "coverage" in text


def test_why_does_this_user_see_this(page: Page) -> None:
    page.get_by_label("User id").first.fill("u0")
    go(page, page.get_by_role("button", name="Look up"))
    assert "list by model version 1" in look(page)
    go(page, page.get_by_role("link", name='Why Film "3" <é>'))
    text = look(page)
    assert "als version 1" in text
    assert "What weighs most" in text


def test_a_rollback(page: Page, shop: Project) -> None:
    go(page, page.get_by_role("link", name="Publishes"))
    do(page, "Roll back v000002", "wrong prices", "Roll back to v000001")
    assert "v000002 is ROLLED_BACK; v000001 is served." in look(page)
    assert versions.current_version(shop.store) == 1
    assert versions.read_push(shop.store, 2).note == "ann: wrong prices"


def test_an_item_is_blocked(page: Page, shop: Project, address: str) -> None:
    go(page, page.get_by_role("link", name="Items"))
    page.get_by_label("Title or id").fill('film "3"')
    go(page, page.get_by_role("button", name="Search"))
    look(page)
    go(page, page.get_by_role("link", name='Film "3" <é>'))
    do(page, "Block it", HOSTILE.replace("\u202e", ""), "Block")
    assert "<script>alert(1)</script>" in look(page)
    assert list(overlay.read(shop.store).blocked) == ["3"]


def test_a_record_in_quarantine_is_mended_and_replayed(page: Page, shop: Project) -> None:
    go(page, page.get_by_role("link", name="Data", exact=True))
    go(page, page.get_by_role("link", name="Look, mend, replay"))
    look(page)
    action = page.locator("details.act").filter(has=page.get_by_text("Mend it", exact=True))
    action.locator("summary").click()
    action.get_by_label("Record").fill(json.dumps(MENDED_RECORD))
    action.get_by_label("Reason").fill("a slip of the sender")
    go(page, action.get_by_role("button", name="Replay the mended record"))
    page.get_by_text("1 rows went in again, 1 of them mended").first.wait_for(timeout=COMMAND_MS)
    look(page)
    row_id = hashlib.sha256(json.dumps(BAD_RECORD).encode()).hexdigest()
    (row,) = shop.night().lake.rows(QUARANTINE_ROWS, f"row_id = '{row_id}'").to_pylist()
    assert (row["state"], row["decided_by"]) == ("replayed", "ann: a slip of the sender")


def test_a_model_is_promoted(page: Page, shop: Project) -> None:
    go(page, page.get_by_role("link", name="Models", exact=True))
    look(page)
    do(page, "Promote 1", "it was better", "Promote version 1")
    page.get_by_text("version 1 (als) is champion").first.wait_for(timeout=COMMAND_MS)
    champion = registry.champion(shop.settings)
    assert champion is not None
    assert champion.version == "1"
    go(page, page.get_by_role("link", name="Models", exact=True))
    assert "promoted by ann: it was better" in look(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone_and_has_no_serious_fault(path: str, scheme: str, page: Page, address: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    try:
        for size in (DESK, PHONE):
            page.set_viewport_size(size)
            page.goto(f"{address}/console{path}")
            look(page)
            for summary in page.locator("details.act summary").all()[:3]:
                summary.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            if folder := os.environ.get("NIGHTLOOM_PICTURES"):
                name = f"{path.strip('/').replace('/', '-').partition('?')[0] or 'now'}-{scheme}-{size['width']}.png"
                page.screenshot(path=Path(folder) / name, full_page=True)
    finally:
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(DESK)
