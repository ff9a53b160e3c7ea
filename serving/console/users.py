"""The console's users: one user's history, list of any version, and why each item."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from nightloom.errors import StoreError, UnknownUserError
from serving import answers
from serving.console.layout import lake_of, show
from serving.explanations import Explanations
from serving.history import read_history
from serving.selection import Selection
from serving.stores.fallback import FallbackReader
from serving.stores.pointer import key_of
from serving.stores.pushes import SERVABLE, parse_version, version_name
from serving.stores.reader import Snapshot
from serving.web.problem import problem_page

HISTORY_SHOWN = 40
PICTURES = ("image", "image_url", "picture", "picture_url", "poster", "cover", "thumbnail")
"""Attributes of items that may have the address of a picture."""
Answer = TypeVar("Answer")


def picture(item: dict[str, Any]) -> str | None:
    """The address of an item's picture, where the catalogue has one."""
    attributes = item.get("attributes") or {}
    found = [str(attributes[name]) for name in PICTURES if attributes.get(name)]
    return next((address for address in found if address.startswith("https://")), None)


def users_page(request: Request) -> Response:
    """One user: history with titles and weights, list with scores and links to the explanations."""
    lists: FallbackReader = request.app.state.lists
    user, version = request.query_params.get("id", ""), request.query_params.get("version", "")
    if not user:
        return show(request, "user_search.html", "Users")
    meta = lists.ask_in_thread(lambda snapshot, _: snapshot.meta, user)
    history = read_history(lake_of(request), meta["night"], user)
    newest = history[::-1][:HISTORY_SHOWN]

    def read(snapshot: Snapshot, stale: bool) -> dict[str, Any]:
        asked = Selection(snapshot.meta["stored"], hidden=lists.overlay.hidden)
        answer = json.loads(answers.recommendations(snapshot, user, asked, stale).body)
        items = [item["item_id"] for item in answer["items"]]
        described = dict(zip(items, snapshot.get_many("items", items), strict=True))
        titles = snapshot.titles([event["item_id"] for event in newest])
        popular = answer["source"] != "personal" and not stale
        return {
            "empty": popular and snapshot.get("users", user) is not None,
            "answer": answer, "items": {item: row or {} for item, row in described.items()}, "meta": snapshot.meta,
            "history": [event | {"title": title} for event, title in zip(newest, titles, strict=True)],
        }  # fmt: skip

    found = ask(lists, version, read, user)
    return show(
        request, "users.html", "Users", user=user, events=len(history), k=found["meta"]["k"], trouble=lists.trouble,
        pictures={item: picture(row) for item, row in found["items"].items()}, versions=_retained(lists),
        shown=version_name(found["meta"]["version"]), current=version_name(meta["version"]), **found,
    )  # fmt: skip


def ask(lists: FallbackReader, version: str, question: Callable[[Snapshot, bool], Answer], user: str) -> Answer:
    """The answer of a retained version, or of the one that the user gets where none is named."""
    if not version:
        return lists.ask_in_thread(question, user)
    pushes = lists.ask_in_thread(lambda snapshot, _: snapshot.pushes())
    push = next((push for push in pushes if push.version == parse_version(version)), None)
    if push is None:
        raise UnknownUserError(f"no version {version[:40]!r}; the page of publishes shows those there are")
    return question(lists.reader.retained(key_of(push)), False)


def _retained(lists: FallbackReader) -> list[str]:
    """The versions whose lists can be shown, the newest first."""
    try:
        pushes = lists.ask_in_thread(lambda snapshot, _: snapshot.pushes())
    except StoreError:
        return []
    return [version_name(push.version) for push in pushes if push.state in SERVABLE]


async def explanation_page(request: Request) -> Response:
    """Why one user is shown one item; by the process of the explanations, as in the API."""
    explanations: Explanations = request.app.state.explanations
    query = request.query_params
    if not query.get("item"):
        message = "The address names no item; follow a link of a user's page."
        return problem_page(request.app.state.settings, message, 400)
    return await explanations.respond(request, query.get("user", ""), query.get("item", ""), page=True)
