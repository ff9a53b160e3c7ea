"""docs/events.md and docs/access.md: their commands run as they stand, and answer what the page says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fault_load import MAIN, publish, running_api
from nightloom import event_journal, settings
from serving.stores import store_class
from tests.serving.event_senders import until

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```$(?:\s+^```json\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
"""A block of commands, and the answer that the page shows after it."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The sample's project, with published lists."""
    shutil.copy(ROOT / "nightloom.toml", tmp_path)
    publish(store_class("lmdb")(str(tmp_path / "data" / "store"), "movielens"), 1)
    return tmp_path


def follow(page: str, root: Path, port: int) -> list[tuple[str, str | None]]:
    """Run a page's commands in a project -> (what each block printed, what the page says that it prints)."""
    text = (ROOT / "docs" / page).read_text(encoding="utf8").replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    start = f"set -eu; nightloom() {{ '{sys.executable}' -c '{MAIN}' \"$@\"; }}\n"
    printed = []
    for commands, answer in BLOCK.findall(text):
        script = start + commands.replace("./run ", "nightloom ")
        done = subprocess.run(["sh", "-c", script], cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (commands, done.stderr)
        printed.append((done.stdout, answer or None))
    return printed


def test_the_page_of_events(root: Path) -> None:
    with running_api(root / "nightloom.toml", log=root / "api.log") as (port, _):
        printed = follow("events.md", root, port)
    assert len(printed) == 2
    for found, expected in printed:
        assert json.loads(found) == json.loads(expected or "")
    event_journal.export_journal(settings.load(root / "nightloom.toml"))
    (file,) = (root / "landing" / "events").rglob("*.jsonl")
    assert [json.loads(line)["event_id"] for line in file.read_text(encoding="utf8").splitlines()] == ["a1", "a2"]


def test_the_page_of_access(root: Path) -> None:
    with running_api(root / "nightloom.toml", log=root / "api.log") as (port, _):
        # The block's curl may come before the server knows the key: then it needs none.
        ((printed, _),) = follow("access.md", root, port)
        answer, end = json.JSONDecoder().raw_decode(printed)
        assert answer["user"] == "196"
        assert "shop" in printed[end:]
        until(lambda: "unauthorized" in asked(port))


def asked(port: int) -> str:
    """What the API says without a key."""
    url = f"http://127.0.0.1:{port}/v1/popular"
    return subprocess.run(["curl", "-s", url], capture_output=True, text=True, check=True).stdout
