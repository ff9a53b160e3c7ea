"""POST /v1/events?source=: one event or many -> 202 when they are durable.

A bad event is named with its index, field, what was found and what is expected; the others are taken.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nightloom.event_journal import Event
from nightloom.section import join_names
from serving.events.contract import EventContract, Problem
from serving.events.intake import Intake
from serving.events.queue import FullError, IntakeError
from serving.metrics.counters import Counters
from serving.web.errors import error_response

MAX_EVENTS = 1_000
RETRY = {"Retry-After": "1"}


class RequestError(Exception):
    """A request of which nothing is taken."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


async def post_events(request: Request) -> Response:
    """Take events.

    One event, or up to 1,000. 202 means that those which are accepted are durable. A bad event is named with its index,
    its field, what was found and what is expected; the others are taken.
    """
    intake: Intake = request.app.state.intake
    try:
        contract = _choose_contract(intake, request.query_params.get("source"))
        _require_json(request)
        given = _parse(await request.body())
    except RequestError as error:
        return error_response(request, error.code, str(error))
    good, problems = _check(contract, given)
    counters: Counters = request.app.state.counters
    if not good:
        counters.count_events(0, len(problems))
        return error_response(request, "bad_events", _describe(*problems[0]), rejected=_listed(problems))
    try:
        await intake.queue.put(good)
        intake.recent.look()  # the next answer knows of them
    except FullError as error:
        return error_response(request, "too_many_events", str(error), RETRY)
    except IntakeError as error:
        return error_response(request, "events_unavailable", str(error), RETRY)
    counters.count_events(len(good), len(problems))
    answer = json.dumps({"accepted": len(good), "rejected": _listed(problems)}, ensure_ascii=False)
    return Response(answer.encode("utf8", "replace"), 202, {"Cache-Control": "no-store"}, "application/json")


def _choose_contract(intake: Intake, name: str | None) -> EventContract:
    known = intake.contracts
    if not known:
        raise RequestError("no_source", "no source takes events here: set api = true in a [[sources]] of events")
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name is None:
        raise RequestError("bad_request", f"source is missing; ask /v1/events?source=, one of {join_names(known)}")
    if name not in known:
        raise RequestError("no_source", f"no source {name[:80]!r} takes events here; found {join_names(known)}")
    return known[name]


def _require_json(request: Request) -> None:
    """A page's script of another site cannot send this type unasked."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError("unsupported_media_type", f"found {kind[:80]!r}, expected application/json")


def _parse(body: bytes) -> list[Any]:
    """The events of a body: an object, or an array of objects."""
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError("bad_request", f"the body is no JSON: {str(error)[:200]}") from None
    events = found if isinstance(found, list) else [found]
    if not 1 <= len(events) <= MAX_EVENTS:
        raise RequestError("bad_request", f"found {len(events):,} events, expected 1 to {MAX_EVENTS:,}")
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
