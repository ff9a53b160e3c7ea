"""The serverless function with a real ALS model: called as AWS Lambda calls it, and over HTTP."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from models import registry
from nightloom.lake import Lake
from nightloom.local.airflow_server import free_port
from nightloom.night import stages
from nightloom.night.run import run_stage
from nightloom.places import place_at
from serving import function, function_export
from serving.function import RequestError
from serving.history import read_history
from serving.slate_preview import build_preview
from tests.minio import minio
from tests.serving.conftest import ITEM_IDS, D, Project
from training import registration, train

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
ROOT = Path(__file__).parents[2]
RULES = """
[[slate.filters]]
name = "no_four"
when = "item_id <> '4'"

[[slate.pins]]
name = "hero"
item = "12"
place = 2
"""
HEAVY = ("mlflow", "pyspark", "torch", "airflow", "great_expectations")
DIRECT = f"""import sys, json
from serving.function import handler
print(json.dumps(handler(json.loads(sys.argv[1]), None)))
print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"""


@dataclass(frozen=True)
class Exported:
    """A project with a champion, and its export."""

    project: Project
    place: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the function's process has: the export's place, and no project."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTLOOM_")}
        return own | {function.VARIABLE: str(self.place), "PYTHONPATH": str(ROOT)}

    def request(self, user: str, **changes: Any) -> dict[str, Any]:
        """What an app sends that knows all that the lake knows of a user."""
        history = read_history(Lake(self.project.root / "data" / "lake"), str(D), user)
        events = [{"item_id": one["item_id"], "event": "rating", "at": one["at"].isoformat()} for one in history]
        return {"user": user, "events": events} | changes


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    root = tmp_path_factory.mktemp("shop")
    (root / "nightloom.toml").write_text(config(), encoding="utf8")
    project = Project(root)
    project.plant_items(unavailable=("7",))
    likes = {f"u{number}": ITEM_IDS[:number] for number in range(1, 12)}
    project.plant_histories(likes=likes | {"old": ["12"]})
    argv = ["--date", "1998-05-21", "--config", str(root / "nightloom.toml")]
    run_stage(stages.TRAIN, train.main, options=train.OPTIONS, argv=argv)
    registration.set_alias(project.settings, registry.CHAMPION, "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLOOM_CONFIG", str(root / "nightloom.toml"))
        done = CliRunner().invoke(function_export.function_command, [str(root / "function")], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        patch.setenv(function.VARIABLE, str(root / "function"))
        patch.setattr(function, "INSTANCE", function.Instance())
        yield Exported(project, root / "function")


def config() -> str:
    from tests.serving.conftest import CONFIG

    model = 'name = "als"\nparams = { factors = 4, sweeps = 3 }'
    return CONFIG.replace('name = "popularity"', model).replace("[store]", f"{RULES}\n[store]")


def items(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


@pytest.mark.parametrize("user", ["u1", "u5", "old"])
def test_the_list_is_the_one_that_a_night_would_make_by_the_same_rules(exported: Exported, user: str) -> None:
    expected = build_preview(exported.project.settings, user, D).after
    answer = function.handler(exported.request(user), None)
    assert [(item["item_id"], item["title"]) for item in answer["items"]] == [
        (line.item_id, line.title) for line in expected
    ]
    assert [item["score"] for item in answer["items"]] == pytest.approx([line.score for line in expected], rel=1e-5)
    assert (answer["model"], answer["model_version"], answer["night"]) == ("als", "1", str(D))


def test_the_latest_event_counts_at_once(exported: Exported) -> None:
    request = exported.request("u2")
    first = items(function.handler(request, None))
    liked = {"item_id": first[0], "event": "rating", "at": f"{D}T23:00:00Z"}
    then = items(function.handler(request | {"events": [*request["events"], liked]}, None))
    assert first[0] not in then
    assert "7" not in then  # it is not available
    assert "4" not in then  # a rule hides it


def test_an_unknown_user_gets_a_full_list_and_an_app_may_exclude_items(exported: Exported) -> None:
    full = function.handler({"user": "nobody", "k": 4}, None)
    assert len(full["items"]) == 4
    less = function.handler({"user": "nobody", "k": 3, "exclude": items(full)[:1]}, None)
    assert items(less) == items(full)[1:]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": 0}, "expected a whole number from 1 to 4"),
        ({"events": [{"item_id": "1", "event": "purchase", "at": "2024-02-05T10:00:00Z"}]}, "expected one of rating"),
        ({"events": [{"item_id": "1", "event": "rating", "at": "yesterday"}]}, r"events\.0\.at"),
        ({"users": "u1"}, "users"),
    ],
)
def test_a_wrong_request_is_named(exported: Exported, change: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        function.handler({"user": "u1"} | change, None)
    gateway = {"requestContext": {}, "body": json.dumps({"user": "u1"} | change)}
    answer = function.handler(gateway, None)
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["error"]["code"] == "bad_request"


def test_behind_a_gateway_the_body_is_the_request_also_in_base64(exported: Exported) -> None:
    request = exported.request("u3")
    expected = function.handler(request, None)
    text = json.dumps(request)
    for event in (
        {"body": text, "isBase64Encoded": False},
        {"body": base64.b64encode(text.encode()).decode(), "isBase64Encoded": True},
    ):
        answer = function.handler({"version": "2.0", "requestContext": {"http": {"method": "POST"}}} | event, None)
        assert answer["statusCode"] == 200
        assert json.loads(answer["body"]) == expected


def test_a_new_process_answers_with_nothing_but_the_export_and_loads_no_trainer(
    exported: Exported, tmp_path: Path
) -> None:
    request = json.dumps(exported.request("u5"))
    command = [sys.executable, "-c", DIRECT, request]
    done = subprocess.run(
        command, cwd=tmp_path, env=exported.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answer, heavy = map(json.loads, done.stdout.splitlines())
    assert answer == function.handler(json.loads(request), None)
    assert heavy == []


def test_over_http_it_answers_the_same_well_under_a_second_when_warm(exported: Exported, tmp_path: Path) -> None:
    port = free_port(0)
    command = [sys.executable, "-m", "uvicorn", "serving.function:app", "--port", str(port), "--log-level", "warning"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=exported.environment, stdout=log, stderr=log)
    try:
        request = exported.request("u5")
        assert post(port, request, 60) == (200, function.handler(request, None))
        begun = time.monotonic()
        assert post(port, request)[0] == 200
        assert time.monotonic() - begun < 1
        assert post(port, request | {"k": 99})[0] == 400
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as health:
            assert json.load(health)["model_version"] == "1"
    finally:
        server.terminate()
        server.wait(30)


def post(port: int, request: dict[str, Any], patience: float = 0) -> tuple[int, dict[str, Any]]:
    """Status and JSON of POST /v1/score; a server that starts has so many seconds to listen."""
    deadline = time.monotonic() + patience
    while True:
        try:
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/score", json.dumps(request).encode())
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_a_newer_export_replaces_the_older_one_in_a_running_instance(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "RECHECK_SECONDS", -1.0)
    before = function.INSTANCE.function().name
    time.sleep(1.1)  # an export is named by its second
    names = [function_export.export(exported.project.settings, exported.place, keep=1)]
    assert function.INSTANCE.function().name == names[0] != before
    assert sorted(each.name for each in exported.place.iterdir()) == sorted([function.CURRENT, *names])


@pytest.mark.slow
@pytest.mark.xdist_group("minio")
def test_an_export_may_be_in_object_storage(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = function.handler(exported.request("u5"), None)
    with minio(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        place = f"{server.make_bucket('shop')}/function"
        function_export.export(exported.project.settings, place_at(place))
        monkeypatch.setenv(function.VARIABLE, place)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr(function, "INSTANCE", function.Instance())
        assert function.handler(exported.request("u5"), None) == expected
