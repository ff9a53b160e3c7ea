"""POST /v1/events over a real server: each 202 is in a landing file once, whatever is killed; bad events are named."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.fault_load import running_api
from nightloom import event_journal, settings
from nightloom.event_journal import Event, Journal, JournalError, export_journal, journal_file
from tests.serving.event_senders import config_text, event, landed, storm, until

JSON = {"Content-Type": "application/json"}


def project(folder: Path, text: str = "") -> Path:
    """A project's nightloom.toml."""
    config = folder / "nightloom.toml"
    config.write_text(text or config_text(), encoding="utf8")
    return config


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[httpx.Client]:
    with (
        running_api(project(root), log=root / "api.log") as (port, _),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        yield client


def post(client: httpx.Client, content: Any, **headers: str) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return client.post("/v1/events", content=body, headers=JSON | headers)


def test_one_event_and_many_are_durable_before_the_answer_and_reach_the_landing_folder(
    client: httpx.Client, root: Path
) -> None:
    one = post(client, event("one", pos=3, slate="v000001", v=4.5))
    assert (one.status_code, one.json()) == (202, {"accepted": 1, "rejected": []})
    stored = sqlite3.connect(journal_file(settings.load(root / "nightloom.toml")))
    ids = [json.loads(record)["id"] for (record,) in stored.execute("SELECT record FROM events")]
    stored.close()
    assert "one" in ids
    assert post(client, [event("two"), event("three"), event("two")]).json()["accepted"] == 3
    assert post(client, event("one")).status_code == 202  # sent again: no error, and no second record
    export_journal(settings.load(root / "nightloom.toml"))
    assert {id: count for id, count in landed(root / "landing").items() if id in ("one", "two", "three")} == {
        "one": 1, "two": 1, "three": 1,
    }  # fmt: skip


def test_the_server_exports_by_itself(client: httpx.Client, root: Path) -> None:
    post(client, event("by itself"))
    until(lambda: landed(root / "landing")["by itself"] == 1)


def test_a_bad_event_is_named_and_takes_no_other_along(client: httpx.Client, root: Path) -> None:
    answer = post(client, [event("good 1"), event("bad", v="high"), event("good 2", itm="x"), event("good 3")])
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 2,
        "rejected": [
            {"index": 1, "field": "v", "found": '"high"', "expected": "a number (double)"},
            {
                "index": 2, "field": "itm", "found": "an undeclared field",
                "expected": "one of the source's fields e, i, id, pos, slate, t, u, v",
            },
        ],
    }  # fmt: skip
    export_journal(settings.load(root / "nightloom.toml"))
    found = landed(root / "landing")
    assert (found["good 1"], found["good 3"], found["bad"], found["good 2"]) == (1, 1, 0, 0)


def test_where_no_event_is_good_the_answer_is_an_error(client: httpx.Client) -> None:
    answer = post(client, [event("bad", e="ratng"), 7])
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "event 0: field e: found \"ratng\", expected a declared event: rating. Did you mean 'rating'?"
    )
    assert [problem["index"] for problem in answer.json()["rejected"]] == [0, 1]


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", {}, 400, "bad_request"),
        (b"{", {}, 400, "bad_request"),
        (b"[]", {}, 400, "bad_request"),
        (b"[" * 100_000, {}, 400, "bad_request"),
        (b'{"id": NaN}', {}, 400, "bad_request"),
        (b'{"id": ' + b"9" * 5000 + b"}", {}, 400, "bad_request"),
        (b"\xff\xfe", {}, 400, "bad_request"),
        (b"[" + b",".join([b"{}"] * 1001) + b"]", {}, 400, "bad_request"),
        (b" " * ((1 << 20) + 1), {}, 413, "body_too_large"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"Origin": "https://evil.example"}, 403, "cross_site"),
        (b"{}", {"Host": "evil.example"}, 403, "wrong_host"),
    ],
)
def test_a_request_of_which_nothing_can_be_taken_says_why(
    client: httpx.Client, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = post(client, content, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_a_source_is_named_where_several_are_fed(client: httpx.Client, tmp_path: Path) -> None:
    assert client.post("/v1/events?source=nobody", json=event("x")).json()["error"]["code"] == "no_source"
    start = config_text().index("[[sources]]")
    second = config_text()[start : config_text().index("[[signals]]")].replace("ratings", "clicks")
    second = second.replace('"landing"', '"landing-clicks"')
    with running_api(project(tmp_path, config_text() + second), log=tmp_path / "api.log") as (port, _):
        url = f"http://127.0.0.1:{port}/v1/events"
        missing = httpx.post(url, json=event("x"))
        assert missing.json()["error"]["message"] == "source is missing; ask /v1/events?source=, one of clicks, ratings"
        assert httpx.post(f"{url}?source=clicks", json=event("x")).status_code == 202
        assert httpx.post(f"{url}?source=ratings", json=event("x")).status_code == 202  # its own ids
    assert landed(tmp_path / "landing") == landed(tmp_path / "landing-clicks") == {"x": 1}  # at the server's end


def test_without_a_fed_source_the_answer_says_what_to_set(tmp_path: Path) -> None:
    config = project(tmp_path, config_text().replace("api = true\n", ""))
    with running_api(config, log=tmp_path / "api.log") as (port, _):
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/events", json=event("x"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_source")
    assert "set api = true" in answer.json()["error"]["message"]


def test_a_journal_that_cannot_be_written_is_a_503_and_ends_when_it_can(tmp_path: Path) -> None:
    config = project(tmp_path)
    file = journal_file(settings.load(config))
    with running_api(config, log=tmp_path / "api.log") as (port, _):
        url = f"http://127.0.0.1:{port}/v1/events"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.mkdir()
        answer = httpx.post(url, json=event("x"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "events_unavailable")
        assert answer.headers["retry-after"] == "1"
        file.rmdir()
        assert httpx.post(url, json=event("x")).status_code == 202


def test_under_pressure_a_request_is_refused_at_once_and_nothing_that_was_taken_is_lost(tmp_path: Path) -> None:
    config = project(tmp_path)
    with running_api(config, log=tmp_path / "api.log") as (port, _), ThreadPoolExecutor(24) as pool:

        def send(batch: int) -> httpx.Response:
            events = [event(f"{batch}-{number}") for number in range(1_000)]
            return httpx.post(f"http://127.0.0.1:{port}/v1/events", json=events, timeout=60)

        assert send(0).status_code == 202
        with closing(sqlite3.connect(journal_file(settings.load(config)), isolation_level=None)) as busy_disk:
            busy_disk.execute("BEGIN IMMEDIATE")
            waiting = [pool.submit(send, batch) for batch in range(1, 25)]
            refused = [done.result() for done in islice(as_completed(waiting), 4)]
            busy_disk.rollback()
        assert [answer.status_code for answer in refused] == [429] * 4
        assert refused[0].json()["error"]["code"] == "too_many_events"
        assert refused[0].headers["retry-after"] == "1"
        taken = [done.result() for done in waiting]
        assert sorted(answer.status_code for answer in taken) == [202] * 20 + [429] * 4
    assert len(landed(tmp_path / "landing")) == 21_000


def test_each_acknowledged_event_is_in_one_landing_file_though_workers_are_killed(tmp_path: Path) -> None:
    config = project(tmp_path)
    acknowledged = storm(config, count=4_000, batch=20, between=(300, 900))
    assert len(acknowledged) == 4_000
    export_journal(settings.load(config))
    found = landed(tmp_path / "landing")
    assert acknowledged - found.keys() == set()
    assert [id for id, count in found.items() if count > 1] == []


def test_a_body_that_does_not_come_keeps_nobody_waiting(client: httpx.Client) -> None:
    host, port = client.base_url.host, client.base_url.port
    head = (
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    )
    with socket.create_connection((host, port or 0)) as slow:
        slow.sendall(head)
        assert post(client, event("quick")).status_code == 202


def journal(folder: Path, *ids: str) -> Journal:
    opened = Journal(folder / "events.sqlite")
    opened.add(Event("s", id, json.dumps({"id": id})) for id in ids)
    return opened


def test_a_killed_export_is_finished_without_a_second_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = journal(tmp_path, "a", "b")
    write = event_journal._write_file

    def killed_before(place: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    def killed_after(place: Path, content: bytes) -> None:
        write(place, content)
        raise KeyboardInterrupt

    for number, kill in enumerate((killed_before, killed_after)):
        monkeypatch.setattr(event_journal, "_write_file", kill)
        with pytest.raises(KeyboardInterrupt):
            opened.export({"s": tmp_path / "landing"})
        opened.add([Event("s", f"c{number}", json.dumps({"id": f"c{number}"}))])
    monkeypatch.setattr(event_journal, "_write_file", write)
    assert opened.export({"s": tmp_path / "landing"}) == 4
    assert landed(tmp_path / "landing") == {"a": 1, "b": 1, "c0": 1, "c1": 1}
    assert opened.export({"s": tmp_path / "landing"}) == 0
    opened.close()


def test_large_exports_are_several_files_and_old_events_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_journal, "EVENTS_PER_FILE", 3)
    opened = journal(tmp_path, *"abcdefgh")
    opened.export({"s": tmp_path / "landing"})
    assert len(list((tmp_path / "landing").rglob("*.jsonl"))) == 3
    for name in ("KNOWN_SECONDS", "LONGEST_SECONDS"):
        monkeypatch.setattr(event_journal, name, -1)
    opened.add([Event("other", "kept", "{}")])
    opened.export({"s": tmp_path / "landing"})
    (left,) = sqlite3.connect(tmp_path / "events.sqlite").execute("SELECT count(*) FROM events").fetchone()
    assert left == 1  # of a source that was not exported
    opened.add([Event("s", "a", json.dumps({"id": "a"}))])
    opened.export({"s": tmp_path / "landing"})
    assert landed(tmp_path / "landing")["a"] == 2  # forgotten: silver counts it once
    opened.close()


def test_no_unfinished_file_has_a_name_that_bronze_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = journal(tmp_path, "a")

    def no_rename(source: Path, target: Path) -> None:
        raise OSError("killed")

    monkeypatch.setattr(Path, "replace", no_rename)
    with pytest.raises(OSError, match="killed"):
        opened.export({"s": tmp_path / "landing"})
    monkeypatch.undo()
    opened.close()
    assert [file.name[0] for file in (tmp_path / "landing").rglob("*.jsonl")] == ["."]


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "events.sqlite").write_bytes(b"no database at all, but longer than a page's head" * 100)
    with pytest.raises(JournalError, match=r"events\.sqlite: file is not a database"):
        Journal(tmp_path / "events.sqlite")
    assert os.path.getsize(tmp_path / "events.sqlite") > 100
