"""What an operator can do in the console. Each action calls what the command of the same name calls.

What changes the serving store is done at once. What needs the lake, MLflow or Airflow is the command itself, as a
process of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nightloom.errors import NightloomError
from nightloom.night import stages
from nightloom.settings import Settings
from serving.access.guard import key_name
from serving.console import action_log, processes
from serving.console.layout import lake_of
from serving.stores import open_store, overlay, versions
from serving.stores.overlay import Cause
from serving.stores.pushes import parse_version, version_name
from serving.web.problem import problem_page

MAX_WHY, MAX_FIELDS = 500, 20
log = logging.getLogger(__name__)


class FormError(NightloomError):
    """A form lacks a field, or a field cannot be used."""


@dataclass(frozen=True)
class Form:
    """What an operator asks for."""

    settings: Settings
    by: str
    """Name of the key."""
    why: str
    fields: Mapping[str, str]

    @property
    def author(self) -> str:
        """WHO: WHY, as commands take it."""
        return f"{self.by}: {self.why}"

    def field(self, name: str) -> str:
        """Raises FormError where it is missing or empty."""
        if not (found := self.fields.get(name, "")):
            raise FormError(f"the form has no {name}; go back and send it again")
        return found

    def version(self) -> int:
        """The version that the form is about. Raises FormError."""
        if (number := parse_version(self.field("version"))) is None:
            raise FormError(f"found the version {self.field('version')[:40]!r}, expected one such as v000007")
        return number


@dataclass(frozen=True)
class Action:
    """One thing that an operator can do: `perform` does it and says what came of it, or `command` is run."""

    page: Callable[[Form], str]
    """Where the operator looks next, unless a command is run: that has a page of its own."""
    subject: Callable[[Form], str]
    perform: Callable[[Form], str] | None = None
    command: Callable[[Form, Path], list[str]] | None = None
    """Words of `nightloom`, given a path for a file that they read."""


async def act(request: Request) -> Response:
    """Record what an operator wants, do it, and lead to the page that shows it."""
    settings: Settings = request.app.state.settings
    name = request.path_params["name"]
    if (action := ACTIONS.get(name)) is None:
        return problem_page(settings, f"There is no action {name[:40]!r}.", 404)
    try:
        form = parse_form(await request.body(), settings, key_name(request))
        subject = action.subject(form)
    except FormError as error:
        return problem_page(settings, f"Nothing was done: {error}.", 400)
    return await run_in_threadpool(_do, request, name, action, form, subject)


def parse_form(body: bytes, settings: Settings, by: str) -> Form:
    """The fields of a form that was sent as application/x-www-form-urlencoded. Raises FormError."""
    try:
        found = parse_qs(body.decode("utf8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise FormError(f"the form cannot be read ({error})") from None
    fields = {name: values[-1].replace("\r\n", "\n") for name, values in found.items()}
    why = fields.pop("why", "").strip()
    if not why or len(why) > MAX_WHY or not why.isprintable():
        raise FormError(f"found {len(why)} characters as the reason, expected a line of 1 to {MAX_WHY}")
    return Form(settings, by, why, fields)


def _do(request: Request, name: str, action: Action, form: Form, subject: str) -> Response:
    try:
        begun = action_log.begin(lake_of(request), name, subject, form.by, form.why)
    except action_log.RecordError as error:
        return problem_page(form.settings, f"{name}: {error}. The same command at a terminal does it.", 503)
    log.info("console action", extra={"fields": {"action": name, "action_id": begun.action_id, "by": form.by}})
    if action.command is not None:
        words = action.command(form, processes.input_file(form.settings, begun))
        processes.start(form.settings, begun, words)
        return RedirectResponse(f"/console/actions/{begun.action_id}", 303)
    assert action.perform is not None
    try:
        outcome = action.perform(form)
    except NightloomError as error:
        action_log.end(lake_of(request), begun, action_log.FAILED, str(error))
        return problem_page(form.settings, f"Nothing was done: {error}", 409, back=action.page(form))
    except Exception as error:
        action_log.end(lake_of(request), begun, action_log.FAILED, f"{type(error).__name__}: {error}")
        raise
    action_log.end(lake_of(request), begun, action_log.DONE, outcome)
    page = action.page(form)
    return RedirectResponse(f"{page}{'&' if '?' in page else '?'}done={begun.action_id}", 303)


def _roll_back(form: Form) -> str:
    bad, served = versions.rollback(open_store(form.settings), form.author, expected=form.version())
    return f"{version_name(bad)} is ROLLED_BACK; {version_name(served)} is served."


def _pin(form: Form) -> str:
    override = form.author if form.fields.get("override") else None
    push = versions.pin(open_store(form.settings), form.version(), form.author, override)
    return f"{version_name(push.version)} is served, the night of {push.night}, and stays until it is unpinned."


def _unpin(form: Form) -> str:
    versions.unpin(open_store(form.settings))
    return "Nothing is pinned; the next push becomes current."


def _hide(cause: Cause, done: str, nothing: str) -> Callable[[Form], str]:
    def perform(form: Form) -> str:
        item = form.field("item")
        moved = overlay.add(open_store(form.settings), cause, [item], form.author)
        return f"{item} {done if moved else nothing}."

    return perform


def _bring_back(cause: Cause, done: str, nothing: str) -> Callable[[Form], str]:
    def perform(form: Form) -> str:
        item = form.field("item")
        moved = overlay.remove(open_store(form.settings), cause, [item], form.author)
        return f"{item} {done if moved else nothing}."

    return perform


def _signed(form: Form) -> list[str]:
    return [f"--by={form.by}", f"--why={form.why}"]


def _promote(form: Form, file: Path) -> list[str]:
    return ["model", "promote", *_signed(form), "--", form.field("version")]


def _demote(form: Form, file: Path) -> list[str]:
    return ["model", "demote", *_signed(form)]


def _replay(form: Form, file: Path) -> list[str]:
    """Mended records of a form go through a file: an argument is 128 KiB at most."""
    command = ["quarantine", "replay", *_signed(form)]
    if "raw" not in form.fields:
        return [*command, *_chosen(form)]
    row = {"row_id": form.field("row"), "raw": form.field("raw").removesuffix("\n")}
    file.write_text(json.dumps(row) + "\n", encoding="utf8")
    return [*command, f"--from={file}"]


def _discard(form: Form, file: Path) -> list[str]:
    return ["quarantine", "discard", *_signed(form), *_chosen(form)]


def _chosen(form: Form) -> list[str]:
    """Options that choose rows: one row, or those of a source and a reason."""
    if "row" in form.fields:
        return [f"--row={form.field('row')}"]
    return [f"--source={form.field('source')}", f"--reason={form.field('reason')}"]


def _rows(form: Form) -> str:
    if "row" in form.fields:
        return f"record {form.field('row')[:12]}"
    return f"records of {form.field('source')}, {form.field('reason')}"


def _night(form: Form) -> str:
    """Raises FormError for what is no date."""
    try:
        return str(date.fromisoformat(form.field("night")))
    except ValueError as error:
        raise FormError(f"found the night {form.field('night')[:40]!r}, expected a date: {error}") from None


def _run_night(form: Form, file: Path) -> list[str]:
    return ["night", f"--date={_night(form)}"]


def _override(form: Form, file: Path) -> list[str]:
    return ["night", f"--date={_night(form)}", "--override", _gate(form), form.author]


def _gate(form: Form) -> str:
    if (gate := form.field("gate")) not in (names := [stage.gate for stage in stages.GATES]):
        raise FormError(f"found the gate {gate[:40]!r}, expected one of {', '.join(names)}")
    return gate


def _item_page(form: Form) -> str:
    return f"/console/items?id={quote(form.field('item'), safe='')}"


def _of_versions(perform: Callable[[Form], str]) -> Action:
    return Action(lambda form: "/console/publishes", lambda form: version_name(form.version()), perform)


def _of_items(perform: Callable[[Form], str]) -> Action:
    return Action(_item_page, lambda form: form.field("item"), perform)


def _of_records(command: Callable[[Form, Path], list[str]]) -> Action:
    return Action(lambda form: "/console/data/quarantine", _rows, command=command)


ACTIONS = {
    "rollback": _of_versions(_roll_back),
    "pin": _of_versions(_pin),
    "unpin": _of_versions(_unpin),
    "block": _of_items(_hide(Cause.BLOCKED, "is blocked", "was blocked already")),
    "unblock": _of_items(_bring_back(Cause.BLOCKED, "is back", "was not blocked")),
    "stock-out": _of_items(_hide(Cause.OUT_OF_STOCK, "is out of stock", "was out of stock already")),
    "stock-in": _of_items(_bring_back(Cause.OUT_OF_STOCK, "is in stock again", "was not out of stock")),
    "promote": Action(lambda form: "/console/models", lambda form: form.field("version"), command=_promote),
    "demote": Action(lambda form: "/console/models", lambda form: form.field("version"), command=_demote),
    "replay": _of_records(_replay),
    "discard": _of_records(_discard),
    "night": Action(lambda form: f"/console/nights/{_night(form)}", _night, command=_run_night),
    "override": Action(
        lambda form: f"/console/nights/{_night(form)}", lambda form: f"{_gate(form)} gate of {_night(form)}",
        command=_override,
    ),
}  # fmt: skip
"""Name in the path and in ops.actions -> what it does."""
