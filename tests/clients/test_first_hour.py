"""docs/first-hour.md, run as it stands: a key, a server, a web page that shows lists, impressions and clicks back."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nightloom_client
import psutil
import pytest

from benchmarks.fault_load import MAIN, PROJECT, publish, running_api
from benchmarks.servers import free_port, wait_until_ready
from serving.stores import store_class
from tests.serving.event_senders import config_text

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHELL = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
SECONDS = 60
PUSHED = "v000001"


def block(kind: str) -> str:
    """The one block of a language."""
    (found,) = (text for each, text in BLOCKS if each == kind)
    return str(found)


def shell(root: Path, line: str, **environment: str) -> str:
    """What a command of the page prints; `./run` is the same as `nightloom`."""
    command = line.replace("./run ", f'{sys.executable} -c "{MAIN}" ')
    done = subprocess.run(
        ["bash", "-euc", command], cwd=root, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Hour:
    """The project, the page's address, and the server of the API."""

    root: Path
    page: str
    api: psutil.Process

    def landed(self) -> list[dict[str, Any]]:
        """Events in the landing folder, by the page's own command."""
        (line,) = (line for line in SHELL if line.startswith("cat "))
        files = [*self.root.glob("landing/feedback/api-*/*.jsonl")]
        return [json.loads(each) for each in shell(self.root, line).splitlines()] if files else []


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hour]:
    root = tmp_path_factory.mktemp("hour")
    (root / "nightloom.toml").write_text(f"{config_text()}\n{block('toml')}", encoding="utf8")
    publish(store_class("lmdb")(str(root / "data" / "store"), PROJECT), 1)
    (root / "shop.py").write_text(block("python"), encoding="utf8")
    (make_key,) = (line for line in SHELL if line.startswith("KEY="))
    key = shell(root, f"{make_key}\necho $KEY")
    with running_api(root / "nightloom.toml", log=root / "api.log") as (port, process):
        (ask,) = (line for line in SHELL if line.startswith("curl "))
        answer = json.loads(shell(root, ask.replace(":8000", f":{port}").replace("/196/", "/u1/"), KEY=key))
        assert (answer["source"], len(answer["items"])) == ("personal", 3)
        (start,) = (line for line in SHELL if line.endswith("shop.py"))
        assert start == "NIGHTLOOM_KEY=$KEY python3 shop.py"
        shop_port = free_port()
        environment = os.environ | {
            "NIGHTLOOM_KEY": key, "NIGHTLOOM_URL": f"http://127.0.0.1:{port}", "SHOP_PORT": str(shop_port),
            "PYTHONPATH": str(Path(nightloom_client.__file__).parents[1]),
        }  # fmt: skip
        with (root / "shop.log").open("wb") as log:
            shop = subprocess.Popen([sys.executable, "shop.py"], cwd=root, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{shop_port}"
            wait_until_ready(lambda: httpx_ready(address), shop)
            yield Hour(root, address, process)
        finally:
            shop.terminate()
            shop.wait(SECONDS)


def httpx_ready(address: str) -> None:
    """Raises OSError until the page's server listens."""
    try:
        httpx.get(address, timeout=30)
    except httpx.ConnectError as error:
        raise OSError(str(error)) from None


def links(page: str) -> list[tuple[str, str]]:
    """Item and title of each link."""
    return [
        (html.unescape(item), html.unescape(title)) for item, title in re.findall(r'data-item="(.*?)">(.*?)<', page)
    ]


def until(condition: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_page_shows_lists_and_what_it_sends_is_in_the_landing_folder(hour: Hour) -> None:
    expected = [(f"i{number}", f"1 i{number}") for number in range(5)]
    until(lambda: links(httpx.get(f"{hour.page}/?user=u1", timeout=30).text) == expected)  # a busy machine: fallback
    page = httpx.get(f"{hour.page}/?user=u1", timeout=30).text
    assert 'data-user="u1"' in page
    assert f'data-slate="{PUSHED}"' in page
    sent: list[dict[str, Any]] = [
        {"id": f"{kind}-{n}", "kind": kind, "item": item, "position": n, "user": "u1", "slate_version": PUSHED}
        for kind, shown in (("impression", links(page)), ("click", links(page)[:1]))
        for n, (item, _) in enumerate(shown)
    ]
    for _ in range(2):  # the second time as after a lost answer
        answer = httpx.post(f"{hour.page}/feedback", json=sent, timeout=30)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 6})
    until(lambda: len(hour.landed()) >= 6)
    assert sorted(each["id"] for each in hour.landed()) == sorted(each["id"] for each in sent)
    assert {each["slate_version"] for each in hour.landed()} == {PUSHED}


def test_a_users_text_is_text(hour: Hour) -> None:
    page = httpx.get(f"{hour.page}/", params={"user": '"><script>alert(1)</script>'}, timeout=30).text
    assert "<script>alert" not in page
    assert len(links(page)) == 5  # the popular list


@pytest.mark.slow
def test_a_browser_sends_the_impressions(hour: Hour) -> None:
    if not (chromium := shutil.which("chromium")):
        pytest.skip("found no chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    command = [chromium, *options, "--virtual-time-budget=20000", f"{hour.page}/?user=u2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert 'data-sent="yes"' in done.stdout, done.stderr
    until(lambda: [each["position"] for each in hour.landed() if each["user"] == "u2"] == [0, 1, 2, 3, 4])


def test_while_the_server_is_away_the_page_shows_the_fallback_list(hour: Hour) -> None:
    hour.api.terminate()
    hour.api.wait(SECONDS)
    page = httpx.get(f"{hour.page}/?user=u1", timeout=60).text
    assert links(page)[0] == ("50", "Star Wars (1977)")
    assert httpx.post(f"{hour.page}/feedback", json=[], timeout=60).status_code == 503
