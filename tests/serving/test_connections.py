"""Connections to a real server: one that stops drops no request, and slow or silent ones slow nobody down."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from benchmarks.fault_load import PROJECT, publish, running_api, write_config
from serving.http_protocol import HEAD_SECONDS
from serving.stores import store_class

PATH = "/v1/users/u1/recommendations"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, psutil.Process, Path]]:
    """Port, process, log."""
    publish(store_class("lmdb")(str(tmp_path / "data" / "store"), PROJECT), 1)
    log = tmp_path / "api.log"
    with running_api(write_config(tmp_path, "lmdb"), log=log) as (port, process):
        yield port, process, log


def ask_until_closed(port: int, stopped: threading.Event, found: list[tuple[int, bool]]) -> None:
    """Ask on one connection until an answer says that it is the last one -> status, and whether it was asked late."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        while True:
            late = stopped.is_set()
            connection.request("GET", PATH)
            answer = connection.getresponse()
            json.loads(answer.read())
            found.append((answer.status, late))
            if answer.headers["connection"] == "close":
                return
            time.sleep(0.01)


def test_a_server_that_stops_answers_every_request_of_its_open_connections(
    server: tuple[int, psutil.Process, Path],
) -> None:
    port, process, log = server
    stopped, found = threading.Event(), [list[tuple[int, bool]]() for _ in range(8)]
    threads = [threading.Thread(target=ask_until_closed, args=(port, stopped, each)) for each in found]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    stopped.set()
    process.terminate()
    for thread in threads:
        thread.join(20)
    assert [len(each) > 1 and {status for status, _ in each} == {200} for each in found] == [True] * 8
    assert any(late for each in found for _, late in each)
    assert process.wait(20) == -signal.SIGTERM
    assert [line for line in log.read_text(encoding="utf8").splitlines() if line.startswith("{")] == []


def test_idle_sockets_and_a_slow_sender_slow_nobody_down(server: tuple[int, psutil.Process, Path]) -> None:
    port, _, _ = server
    with ExitStack() as sockets:
        idle = [sockets.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(200)]
        slow = sockets.enter_context(socket.create_connection(("127.0.0.1", port), timeout=2 * HEAD_SECONDS))
        slow.sendall(b"GET /v1/popular HTTP/1.1\r\nHost: loc")
        seconds = []
        connection = sockets.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)))
        started = time.monotonic()
        while time.monotonic() < started + 2:
            sent = time.monotonic()
            connection.request("GET", PATH)
            assert connection.getresponse().read()
            seconds.append(time.monotonic() - sent)
            time.sleep(0.01)
        assert statistics.median(seconds) < 0.05
        answer = slow.recv(4096)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"application/json" in answer
        assert 0.9 * HEAD_SECONDS < time.monotonic() - started < 3 * HEAD_SECONDS
        idle[0].sendall(b"GET /v1/popular HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle[0].recv(12) == b"HTTP/1.1 200"


def test_the_log_is_json_a_line(server: tuple[int, psutil.Process, Path]) -> None:
    port, _, log = server
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
    lines = [line for line in log.read_text(encoding="utf8").splitlines() if line.startswith("{")]
    assert [json.loads(line)["level"] for line in lines] == ["warning"]
