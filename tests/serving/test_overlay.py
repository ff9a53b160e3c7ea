"""A blocked item, or one out of stock, leaves every answer of every worker within two seconds, and comes back."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner

from benchmarks.fault_load import MAIN, PROJECT, publish, running_api, write_config
from nightloom.errors import StoreError
from serving import commands, overlay_commands
from serving.stores import overlay, store_class
from serving.stores.overlay import MAX_ITEMS, NOTE, Cause
from tests.serving.sample_stores import start_server

if TYPE_CHECKING:
    from tests.serving.conftest import Client, Project

SECONDS = 2.0
WHY = "ann: recalled"
LISTS = ("/v1/users/u1/recommendations", "/v1/users/nobody/recommendations", "/v1/popular", "/v1/items/i5/similar")


@pytest.fixture
def client(project: Project) -> Client:
    project.plant_all().judge()
    project.publish()
    return project.client()


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def refresh(client: Client) -> None:
    """Let the next request look at the overlay at once."""
    client.app.state.lists._overlay_at = 0.0


def test_a_blocked_item_leaves_lists_similar_popular_and_batches_and_comes_back(
    client: Client, project: Project
) -> None:
    assert ids(client.get("/v1/users/u1/recommendations").json()) == ["3", "4", "5"]
    assert overlay.add(project.store, Cause.BLOCKED, ["3", "3", "2"], WHY) == ["3", "2"]
    assert overlay.add(project.store, Cause.OUT_OF_STOCK, ["4"], "shop: sold out") == ["4"]
    refresh(client)
    assert ids(client.get("/v1/users/u1/recommendations").json()) == ["5", "6", "1"]
    assert ids(client.get("/v1/popular?k=4").json()) == ["1"]
    assert ids(client.get("/v1/items/1/similar").json()) == []
    batch = client.request("POST", "/v1/recommendations", json={"users": ["u1", "nobody"]}).json()
    assert [ids(each) for each in batch["lists"]] == [["5", "6", "1"], ["1"]]
    assert client.get("/v1/items/3").json()["available"] is False
    assert client.get("/v1/items/5").json()["available"] is True
    assert overlay.remove(project.store, Cause.BLOCKED, ["3", "4"], "ann: checked") == ["3"]
    refresh(client)
    assert ids(client.get("/v1/users/u1/recommendations").json()) == ["3", "5", "6"]


def test_a_block_between_two_pages_shifts_nothing(client: Client, project: Project) -> None:
    first = client.get("/v1/users/u1/recommendations?k=2").json()
    overlay.add(project.store, Cause.BLOCKED, ["3", "5"], WHY)
    refresh(client)
    second = client.get(f"/v1/users/u1/recommendations?k=2&page={first['next']}").json()
    assert (ids(first), ids(second)) == (["3", "4"], ["6", "1"])


def test_the_etag_changes_with_a_block(client: Client, project: Project) -> None:
    etag = client.get("/v1/popular").headers["etag"]
    overlay.add(project.store, Cause.BLOCKED, ["1"], WHY)
    refresh(client)
    assert client.get("/v1/popular", if_none_match=etag).status_code == 200


def test_a_block_outlives_a_publish_and_a_restart_without_the_store(client: Client, project: Project) -> None:
    overlay.add(project.store, Cause.BLOCKED, ["1"], WHY)
    day = date(1998, 4, 22)
    project.plant_histories(day)
    project.plant_lists(day)
    project.judge(day)
    project.publish(day)
    refresh(client)
    answer = client.get("/v1/popular?k=4").json()
    assert (answer["slate_version"], ids(answer)) == ("v000002", ["2", "3", "4"])
    project.settings.place("store").rename(project.root / "lost")
    answer = project.client().get("/v1/popular?k=4").json()
    assert (answer["stale"], ids(answer)) == (True, ["2", "3", "4"])


def test_a_note_that_cannot_be_understood_changes_nothing(client: Client, project: Project) -> None:
    overlay.add(project.store, Cause.BLOCKED, ["1"], WHY)
    refresh(client)
    assert "1" not in ids(client.get("/v1/popular?k=4").json())
    project.store.write_note(NOTE, "{")
    refresh(client)
    assert "1" not in ids(client.get("/v1/popular?k=4").json())
    with pytest.raises(StoreError, match="the note OVERLAY cannot be read"):
        overlay.add(project.store, Cause.BLOCKED, ["2"], WHY)


def test_each_set_is_bounded(project: Project) -> None:
    many = [str(number) for number in range(MAX_ITEMS)]
    overlay.add(project.store, Cause.BLOCKED, many, WHY)
    with pytest.raises(StoreError, match="10,001 items would be blocked, and 10,000 are the most"):
        overlay.add(project.store, Cause.BLOCKED, ["more"], WHY)
    assert len(overlay.read(project.store).hidden) == MAX_ITEMS
    overlay.add(project.store, Cause.OUT_OF_STOCK, ["more"], WHY)


def test_the_commands_say_what_they_did_and_record_who_and_why(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(project.root / "nightloom.toml"))

    def run(command: Any, *words: str) -> str:
        return CliRunner().invoke(command, words, catch_exceptions=False).output

    assert run(overlay_commands.block) == "No item is blocked.\n"
    assert run(overlay_commands.block, "3", "x", "--why", WHY) == '3 (Film "3" <é>) is blocked\nx is blocked\n'
    assert run(overlay_commands.block, "3", "--why", WHY) == '3 (Film "3" <é>) was blocked already\n'
    assert "3" not in [line.split()[4] for line in run(commands.recommend, "u1").splitlines()[1:4]]
    assert [line.split()[-2:] for line in run(overlay_commands.block).splitlines()[1:]] == [["ann:", "recalled"]] * 2
    assert run(overlay_commands.unblock, "3", "--why", "bob: checked") == '3 (Film "3" <é>) is back\n'
    found = json.loads(run(overlay_commands.block, "--json"))
    assert found["blocked"].keys() == {"x"}
    assert [(each["items"], each["added"], each["why"]) for each in found["changes"]] == [
        (["3", "x"], True, WHY), (["3"], False, "bob: checked"),
    ]  # fmt: skip
    assert run(overlay_commands.stock, "out", "3", "--why", "shop: sold") == '3 (Film "3" <é>) is out of stock\n'
    assert "shop: sold" in run(overlay_commands.stock, "list")
    assert run(overlay_commands.stock, "in", "3", "--why", "shop: new") == '3 (Film "3" <é>) is in stock again\n'


@pytest.mark.parametrize("why", [[], ["--why", "recalled"], ["--why", "ann:"], ["--why", ": recalled"]])
def test_a_block_without_who_and_why_is_refused(project: Project, why: list[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(project.root / "nightloom.toml"))
    done = CliRunner().invoke(overlay_commands.block, ["3", *why])
    assert done.exit_code == 2
    assert "WHO: WHY" in done.output
    assert not overlay.read(project.store).hidden


@pytest.fixture(params=["lmdb", "redis", "postgresql"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str | None, list[int]]]:
    """Configuration, address of the store, ports: of LMDB a server of three workers, otherwise two instances."""
    kind: str = request.param
    with ExitStack() as stack:
        address = None if kind == "lmdb" else stack.enter_context(start_server(kind, tmp_path))
        publish(store_class(kind)(address or str(tmp_path / "data" / "store"), PROJECT), 1)
        config = write_config(tmp_path, kind)
        options = ["--workers", "3"] if kind == "lmdb" else []
        ports = [
            stack.enter_context(running_api(config, address, tmp_path / f"{number}.log", options))[0]
            for number in range(1 if kind == "lmdb" else 2)
        ]
        yield config, address, ports


def ask_new_connection(port: int, path: str) -> list[str]:
    """The items of an answer. Of a server of several workers any may take a new connection."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path)
        return ids(json.loads(connection.getresponse().read()))


def test_a_block_reaches_every_worker_and_instance_within_two_seconds(
    servers: tuple[Path, str | None, list[int]],
) -> None:
    config, address, ports = servers
    place = {} if address is None else {"NIGHTLOOM_PLACES__STORE_URL": address}

    def command(*words: str) -> None:
        line = [sys.executable, "-c", MAIN, "--config", str(config), *words]
        subprocess.run(line, env=os.environ | place, check=True, capture_output=True)

    assert all("i0" in ask_new_connection(port, path) for port in ports for path in LISTS)

    def by_api(method: str, path: str, **given: Any) -> None:
        answer = httpx.request(method, f"http://127.0.0.1:{ports[0]}/v1/admin/{path}", timeout=30, **given)
        assert (answer.status_code, answer.json()["changed"]) == (200, ["i0"])

    ways: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (lambda: command("block", "i0", "--why", WHY), lambda: command("unblock", "i0", "--why", "ann: checked")),
        *(
            (
                partial(by_api, "POST", path, json={"items": ["i0"], "why": "recalled"}),
                partial(by_api, "DELETE", path, params={"item": "i0", "why": "checked"}),
            )
            for path in ("blocked", "out-of-stock")
        ),
    ]
    for hide, bring_back in ways:
        hide()
        time.sleep(SECONDS)
        assert not any("i0" in ask_new_connection(port, path) for _ in range(25) for port in ports for path in LISTS)
        bring_back()
        time.sleep(SECONDS)
        assert all("i0" in ask_new_connection(port, path) for _ in range(25) for port in ports for path in LISTS)
