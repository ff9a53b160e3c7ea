"""Score one user from the events of a request: a serverless function, as AWS Lambda calls it and over plain HTTP.

`nightloom function PLACE` (function_export.py) writes what the function needs: the champion's arrays, the night's
items, the slate rules. An instance reads them once from NIGHTLOOM_FUNCTION (a folder, or an address such as
s3://BUCKET/function), and needs neither lake, MLflow nor store. The list is that of a night for these events: the same
model, the same rules.

Lambda: handler `serving.function.handler`, called directly or through API Gateway or a function URL.
HTTP: `uvicorn serving.function:app`; POST /v1/score, GET /healthz.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nightloom.errors import NightloomError, SettingsError
from nightloom.places import Place, download_folder, place_at
from nightloom.settings.signals import Signal
from serving.scoring_files import Scoring, UserHistory, read_scoring_files, read_titles

VARIABLE = "NIGHTLOOM_FUNCTION"
CURRENT = "current"
RECHECK_SECONDS = 60.0
"""So often an instance looks for a newer export."""


class RequestError(NightloomError):
    """The request cannot be answered; the message is for its sender."""


class Event(BaseModel):
    """What the user did to an item."""

    model_config = ConfigDict(extra="ignore")

    item_id: str
    event: str
    at: AwareDatetime
    value: float | None = None


class ScoreRequest(BaseModel):
    """Who asks for a list."""

    model_config = ConfigDict(extra="forbid")

    user: str
    events: tuple[Event, ...] = ()
    attributes: dict[str, str] = {}
    k: int | None = None
    exclude: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Function:
    """An export in memory."""

    name: str
    scoring: Scoring
    signals: Mapping[str, Signal]
    titles: Mapping[str, str]

    @classmethod
    def load(cls, folder: Path) -> Function:
        """Read an export."""
        scoring = read_scoring_files(folder)
        signals = [Signal.model_validate(each) for each in scoring.about["signals"]]
        return cls(folder.name, scoring, {each.event: each for each in signals}, read_titles(folder))

    @property
    def about(self) -> dict[str, Any]:
        """What an answer says of the export."""
        return {name: self.scoring.about[name] for name in ("model", "model_version", "night")}

    def answer(self, request: ScoreRequest) -> dict[str, Any]:
        """The user's list. Raises RequestError."""
        plan = self.scoring.plan
        k = plan.k if request.k is None else request.k
        if not 1 <= k <= plan.stored:
            raise RequestError(f"k is {k}, expected a whole number from 1 to {plan.stored} (slate.stored)")
        events = sorted(request.events, key=lambda event: (event.at, event.item_id))
        attributes = [f"{name}={value}" for name, value in request.attributes.items()]
        history = UserHistory(
            request.user,
            [event.item_id for event in events],
            [self._weight(event) for event in events],
            [int(event.at.timestamp()) for event in events],
            attributes,
        )
        ids, scores = self.scoring.list_of(history)
        pairs = zip(ids, scores, strict=True)
        listed = [{"item_id": item, "title": self.titles.get(item, item), "score": score} for item, score in pairs]
        items = [each for each in listed if each["item_id"] not in request.exclude][:k]
        return {"user": request.user, "items": items, "source": "function"} | self.about

    def _weight(self, event: Event) -> float:
        """As silver weighs it. Raises RequestError for an event that is not declared, or an impossible value."""
        signal = self.signals.get(event.event)
        if signal is None:
            known = ", ".join(sorted(self.signals))
            raise RequestError(f"event '{event.event}' is not declared in [[signals]], expected one of {known}")
        weight = signal.weigh(event.value)
        if weight is None and signal.valid:
            lowest, highest = signal.valid
            raise RequestError(f"event '{event.event}' has the value {event.value}, expected {lowest:g} to {highest:g}")
        return weight or 0.0


class Instance:
    """The function of this process: the export that PLACE names now."""

    def __init__(self) -> None:
        self._function: Function | None = None
        self._checked_at = 0.0
        self._lock = threading.Lock()

    def function(self) -> Function:
        """The current export. A newer one takes the place of the older within RECHECK_SECONDS."""
        with self._lock:
            if self._function is None or time.monotonic() - self._checked_at > RECHECK_SECONDS:
                place = _place()
                name = _current(place)
                if self._function is None or self._function.name != name:
                    self._function = Function.load(_local(place / name))
                self._checked_at = time.monotonic()
            return self._function


INSTANCE = Instance()


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """AWS Lambda's entry point: a ScoreRequest, alone or in the body of an HTTP event of API Gateway or a function URL.

    Called directly, a wrong request raises RequestError, which Lambda shows as the invocation's error.
    """
    if "requestContext" not in event:
        return INSTANCE.function().answer(parse(event))
    body = event.get("body") or ""
    code, content = respond(base64.b64decode(body) if event.get("isBase64Encoded") else str(body).encode())
    return {"statusCode": code, "headers": {"content-type": "application/json"}, "body": content}


def parse(fields: Any) -> ScoreRequest:
    """The fields of a request. Raises RequestError that names the first wrong one."""
    try:
        return ScoreRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the request"
        raise RequestError(f"{where}: {first['msg']}; expected user, events (item_id, event, at), k") from None


def respond(body: bytes) -> tuple[int, str]:
    """An HTTP body -> status and JSON."""
    try:
        fields = json.loads(body)
    except ValueError:
        return 400, _error("bad_request", "the body is not JSON")
    try:
        return 200, json.dumps(INSTANCE.function().answer(parse(fields)), ensure_ascii=False)
    except RequestError as error:
        return 400, _error("bad_request", str(error))
    except NightloomError as error:
        return 503, _error("not_here", str(error))


async def _score(request: Request) -> Response:
    code, content = await run_in_threadpool(partial(respond, await request.body()))
    return Response(content, code, media_type="application/json")


async def _health(_: Request) -> Response:
    function = await run_in_threadpool(INSTANCE.function)
    exported_at = function.scoring.about["exported_at"]
    state = {"status": "ok", "export": function.name, "exported_at": exported_at} | function.about
    return Response(json.dumps(state), media_type="application/json")


app = Starlette(routes=[Route("/v1/score", _score, methods=["POST"]), Route("/healthz", _health)])
"""Plain HTTP, for containers that are started by request."""


def _error(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False)


def _place() -> Place:
    if not (text := os.environ.get(VARIABLE)):
        raise SettingsError(f"variable {VARIABLE} is not set; expected the place that `nightloom function` wrote to")
    return place_at(text)


def _current(place: Place) -> str:
    try:
        return (place / CURRENT).read_text(encoding="utf8").strip()
    except FileNotFoundError:
        raise SettingsError(f"{place} has no export; `nightloom function {place}` writes one") from None


def _local(place: Place) -> Path:
    """An export in a folder: itself, or fetched once into the machine's temporary folder."""
    if isinstance(place, Path):
        return place
    target = Path(tempfile.gettempdir(), "nightloom-function", place.name)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent))
    download_folder(place, scratch)
    try:
        scratch.rename(target)
    except OSError:  # another process of this machine was faster
        shutil.rmtree(scratch)
    return target
