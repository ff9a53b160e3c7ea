"""Schemathesis asks a real server whatever its OpenAPI document allows and forbids: no 5xx, no answer against a schema.

It makes requests from the document alone: the examples, the limits of each parameter, random values, wrong types,
methods that are not there.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.fault_load import running_api
from serving.access.keys import Scope, add_key, make_key
from tests.serving.conftest import CONFIG, D, Project
from tests.serving.test_explain import trained_and_published

EVENTS = """
[[sources]]
name = "clicks"
kind = "events"
path = "landing-clicks"
format = "json"
api = true
fields = { event_id = "string", user_id = "string", item_id = "string", event = "string" }
columns.event_id = "event_id"
columns.user_id = "user_id"
columns.item_id = "item_id"
columns.event = "event"
columns.occurred_at = "_metadata.file_modification_time"

[[signals]]
event = "click"
"""
"""A source that takes the document's example of an event."""
CHECKS = """
[checks.positive_data_acceptance]
enabled = false  # which k, which page and which event are possible, the published version and the sources say

[checks.negative_data_rejection]
expected-statuses = ["4xx"]
"""
EXPLAIN = "/v1/users/{user}/explain"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A published night that knows the document's examples: the user 196, the item 50, an event of theirs."""
    root = tmp_path_factory.mktemp("schemathesis")
    (root / "nightloom.toml").write_text(CONFIG + EVENTS, encoding="utf8")
    project = Project(root)
    project.plant_all()
    project.plant_histories(likes={"196": ["1"]})
    project.plant_lists(D, {"196": ["3", "4", "5", "6"]}, only=["196"])
    project.plant_similar(i50=["3", "4"])
    project.judge()
    project.publish()
    return project


def key(project: Project) -> str:
    """A key with every scope and no limit that matters."""
    made = make_key("all", list(Scope), 1e6, 1_000_000)
    add_key(project.root / "data" / "access", made.key)
    return made.text


@pytest.fixture(scope="module")
def server(project: Project) -> Iterator[httpx.Client]:
    text = key(project)
    with (
        running_api(project.root / "nightloom.toml", log=project.root / "api.log") as (port, _),
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {text}"}, timeout=60
        ) as client,
    ):
        yield client


def requests_of(server: httpx.Client) -> int:
    """How many requests the server has answered."""
    counts = re.findall(r"^nightloom_requests_total\{.*\} (\d+)$", server.get("/metrics").text, re.MULTILINE)
    return sum(map(int, counts))


def schemathesis(server: httpx.Client, folder: Path, *options: str) -> int:
    """Run Schemathesis, which finds no fault -> the number of requests."""
    (folder / "schemathesis.toml").write_text(CHECKS, encoding="utf8")
    before = requests_of(server)
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{server.base_url}/v1/openapi.json", "--no-color",
        "--continue-on-failure", "--warnings=off", "--generation-database=none", "--request-timeout=60",
        "--header", f"Authorization: {server.headers['Authorization']}", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    return requests_of(server) - before


def test_no_request_gets_an_answer_against_the_document(server: httpx.Client, tmp_path: Path) -> None:
    options = ("--max-examples=3", "--seed=1", f"--exclude-path={EXPLAIN}")
    assert schemathesis(server, tmp_path, *options) > 300


@pytest.mark.slow
def test_none_of_10_000_requests_gets_an_answer_against_the_document(server: httpx.Client, tmp_path: Path) -> None:
    assert schemathesis(server, tmp_path, "--max-examples=800", f"--exclude-path={EXPLAIN}") >= 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
def test_no_explanation_is_against_the_document(tmp_path: Path) -> None:
    (tmp_path / "nightloom.toml").write_text(CONFIG, encoding="utf8")
    project = Project(tmp_path)
    trained_and_published(project)
    text = key(project)
    with (
        running_api(tmp_path / "nightloom.toml", log=tmp_path / "api.log") as (port, _),
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {text}"}, timeout=60
        ) as client,
    ):
        assert client.get("/v1/users/u0/explain?item=3", timeout=60).status_code == 200
        assert schemathesis(client, tmp_path, "--max-examples=20", f"--include-path={EXPLAIN}") > 20
