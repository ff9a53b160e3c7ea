"""POST /v1/events?source=: one event or many -> 202 when they are durable.

A bad event is named with its index, field, what was found and what is expected; the others are taken.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from nightloom.event_journal import Event
from nightloom.section import join_names
from serving.events.contract import EventContract, Problem
from serving.events.intake import Intake
from serving.events.queue import FullError, IntakeError

MAX_BYTES = 1 << 20
MAX_EVENTS = 1_000
BODY_SECONDS = 15.0
"""For a body to come."""
RETRY_SECONDS = "1"


class RequestError(Exception):
    """A request of which nothing is taken."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def routes() -> list[Route]:
    """The route of events."""
    return [Route("/v1/events", post_events, methods=["POST"])]


async def post_events(request: Request) -> Response:
    """Take events."""
    intake: Intake = request.app.state.intake
    try:
        contract = _choose_contract(intake, request.query_params.get("source"))
        given = _parse(await _read_body(request))
    except RequestError as error:
        return _error(error.status, error.code, str(error))
    good, problems = _check(contract, given)
    if not good:
        return _error(400, "bad_events", _describe(*problems[0]), problems)
    try:
        await intake.queue.put(good)
    except FullError as error:
        return _error(429, "too_many_events", str(error), retry=True)
    except IntakeError as error:
        return _error(503, "events_unavailable", str(error), retry=True)
    return _json(202, {"accepted": len(good), "rejected": _listed(problems)})


def _choose_contract(intake: Intake, name: str | None) -> EventContract:
    known = intake.contracts
    if not known:
        raise RequestError(404, "no_source", "no source takes events here: set api = true in a [[sources]] of events")
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name is None:
        raise RequestError(400, "bad_request", f"source is missing; ask /v1/events?source=, one of {join_names(known)}")
    if name not in known:
        raise RequestError(404, "no_source", f"no source {name[:80]!r} takes events here; found {join_names(known)}")
    return known[name]


async def _read_body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(415, "unsupported_media_type", f"found {kind[:80]!r}, expected application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BYTES:
                    raise RequestError(
                        413, "too_large", f"the body is longer than {MAX_BYTES:,} bytes; send fewer events"
                    )
    except TimeoutError:
        raise RequestError(408, "timeout", f"the body did not come in {BODY_SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise RequestError(400, "bad_request", "the client has gone") from None
    return bytes(body)


def _parse(body: bytes) -> list[Any]:
    """The events of a body: an object, or an array of objects."""
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "bad_request", f"the body is no JSON: {str(error)[:200]}") from None
    events = found if isinstance(found, list) else [found]
    if not 1 <= len(events) <= MAX_EVENTS:
        raise RequestError(400, "bad_request", f"found {len(events):,} events, expected 1 to {MAX_EVENTS:,}")
    return events


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _check(contract: EventContract, given: list[Any]) -> tuple[list[Event], list[tuple[int, Problem]]]:
    """Good events, and (index, problem) of the others."""
    good, problems = list[Event](), list[tuple[int, Problem]]()
    for index, event in enumerate(given):
        found = contract.read(event)
        if isinstance(found, Event):
            good.append(found)
        else:
            problems.append((index, found))
    return good, problems


def _describe(index: int, problem: Problem) -> str:
    return f"event {index}: {problem}"


def _listed(problems: list[tuple[int, Problem]]) -> list[dict[str, object]]:
    return [{"index": index, **problem._asdict()} for index, problem in problems]


def _error(
    status: int, code: str, message: str, problems: list[tuple[int, Problem]] | None = None, retry: bool = False
) -> Response:
    content: dict[str, object] = {"error": {"code": code, "message": message}}
    if problems is not None:
        content["rejected"] = _listed(problems)
    return _json(status, content, {"Retry-After": RETRY_SECONDS} if retry else None)


def _json(status: int, content: object, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False).encode("utf8", "replace")
    return Response(body, status, headers, "application/json")
