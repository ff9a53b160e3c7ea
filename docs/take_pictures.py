"""A running console -> docs/images/console.png and console-phone.png, for README.md and docs/console.md.

By hand, with Chromium: `./run serve`, then .venv/bin/python docs/take_pictures.py http://127.0.0.1:8000 [KEY].
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
SIZE, PHONE = (1280, 860), (390, 844)
SWITCHES = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def main(address: str, key: str | None = None) -> None:
    """Take a picture of the first page, and one of it on a phone in the dark."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        if key is not None:
            page.goto(f"{address}/sign-in")
            page.get_by_label("Key").fill(key)
            page.get_by_role("button", name="Sign in").click()
        page.goto(f"{address}/console")
        page.screenshot(path=IMAGES / "console.png")
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        page.goto(f"{address}/console")
        page.screenshot(path=IMAGES / "console-phone.png")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])
