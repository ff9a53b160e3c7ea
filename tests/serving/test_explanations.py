"""The process that explains, asked through a real server: one for all, bounded, and the readers stay as they are."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from benchmarks.fault_load import running_api
from serving import explainer
from serving.explanations import STATE, Explanations, Question
from tests.serving.conftest import CONFIG, Project
from tests.serving.test_explain import trained_and_published

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
ROOT = Path(__file__).parents[2]
EXPLAIN, PAGE, LIST = "/v1/users/u0/explain?item=3", "/console/explain?user=u0&item=3", "/v1/users/u0/recommendations"


@dataclass(frozen=True)
class Server:
    """A running `nightloom serve` of one worker."""

    project: Project
    process: psutil.Process
    port: int

    def get(self, path: str) -> tuple[int, str, str | None]:
        """Status, body, Retry-After."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode(), answer.headers["Retry-After"]
        connection.close()
        return found

    def explainers(self, parent: psutil.Process | None = None) -> list[psutil.Process]:
        """Child processes, of the server if no parent is given, that explain this project; one that has ended is none.

        The tests' own process may have some of other projects, too: whoever asks in it starts one.
        """
        children = (parent or self.process).children()
        running = [each for each in children if each.status() != psutil.STATUS_ZOMBIE]
        config = str(self.project.settings.file)
        return [each for each in running if {"serving.explainer", config} <= set(each.cmdline())]


def wait(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = Project(tmp_path_factory.mktemp("explained"))
    (project.root / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    trained_and_published(project)
    with running_api(project.root / "nightloom.toml") as (port, process):
        server = Server(project, process, port)
        yield server
        helpers = server.explainers()  # none where a test has ended it
    wait(lambda: not any(helper.is_running() for helper in helpers))  # it ends with the last who asked


def test_explanations_take_no_memory_of_the_process_that_serves_lists(server: Server) -> None:
    server.get("/console/users?id=u0")
    before = server.process.memory_info().rss
    code, body, _ = server.get(EXPLAIN)
    assert (code, json.loads(body)["model"]) == (200, "als version 1")
    code, body, _ = server.get(PAGE)
    assert code == 200
    assert "als version 1" in body
    (helper,) = server.explainers()
    assert helper.memory_info().rss > 100 << 20
    assert server.process.memory_info().rss - before < 30 << 20
    assert not any("torch" in mapped.path or "numba" in mapped.path for mapped in server.process.memory_maps())
    assert (server.project.settings.place("home") / STATE).stat().st_mode & 0o77 == 0


def test_an_item_that_is_not_listed_and_a_question_without_one_are_refused(server: Server) -> None:
    code, body, _ = server.get("/v1/users/u0/explain?item=99")
    assert (code, json.loads(body)["error"]["code"]) == (404, "not_listed")
    code, body, _ = server.get("/v1/users/u0/explain")
    assert (code, json.loads(body)["error"]["code"]) == (400, "bad_request")
    code, body, _ = server.get("/console/explain?user=u0&item=99")
    assert code == 404
    assert "item 99 is not in the personal list of user u0" in body


def test_two_questions_wait_at_a_time_others_get_a_503_with_retry_after_and_lists_are_answered(
    server: Server,
) -> None:
    server.get(EXPLAIN)
    (helper,) = server.explainers()
    helper.suspend()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.get, path) for path in (EXPLAIN, PAGE, EXPLAIN, PAGE)]
        try:
            wait(lambda: sum(each.done() for each in asked) == 2)
            refused = [each.result() for each in asked if each.done()]
            assert {(code, retry_after) for code, _, retry_after in refused} == {(503, "2")}
            assert all("2 explanations are under way" in body for _, body, _ in refused)
            assert server.get(LIST)[0] == 200
            assert sum(each.done() for each in asked) == 2
        finally:
            helper.resume()
        assert sorted(each.result()[0] for each in asked) == [200, 200, 503, 503]


def test_two_workers_that_ask_at_once_start_one_process_instead_of_one_that_was_killed(server: Server) -> None:
    server.get(EXPLAIN)
    (helper,) = server.explainers()
    helper.kill()
    question = Question("u0", "3", page=False, asker=os.getpid())
    with ThreadPoolExecutor(2) as pool:
        answers = pool.submit(server.get, EXPLAIN), pool.submit(Explanations(server.project.settings).ask, question)
        assert (answers[0].result()[0], answers[1].result().code) == (200, 200)
    (started,) = [*server.explainers(), *server.explainers(psutil.Process())]
    assert started != helper
    started.kill()  # it would wait for this process


@pytest.mark.parametrize(
    ("option", "reason"), [(["--idle-seconds", "0.1"], "without a question"), (["--max-bytes", "1"], "it uses ")]
)
def test_it_ends_when_idle_and_above_its_memory(server: Server, option: list[str], reason: str) -> None:
    config = str(server.project.root / "nightloom.toml")
    command = [sys.executable, "-m", explainer.__name__, "--config", config, "--asker", str(os.getpid()), *option]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert reason in done.stderr
