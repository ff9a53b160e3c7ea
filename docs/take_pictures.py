"""A running console -> docs/images/console.png and the other pictures of README.md and docs/console.md.

By hand, with Chromium: `./run serve`, then .venv/bin/python docs/take_pictures.py http://127.0.0.1:8000 [KEY].
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
PICTURES = {"console": "/console", "console-nights": "/console/nights", "console-publishes": "/console/publishes"}
"""Name of the file -> page."""
SIZE, PHONE = (1280, 860), (390, 844)
SWITCHES = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def main(address: str, key: str | None = None) -> None:
    """Take every picture, and one of the first page on a phone in the dark."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        if key is not None:
            page.goto(f"{address}/sign-in")
            page.get_by_label("Key").fill(key)
            page.get_by_role("button", name="Sign in").click()
        for name, path in PICTURES.items():
            page.goto(address + path)
            page.screenshot(path=IMAGES / f"{name}.png")
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        page.goto(f"{address}/console")
        page.screenshot(path=IMAGES / "console-phone.png")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])
