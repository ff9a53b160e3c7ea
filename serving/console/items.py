"""The console's items: search by title, and one item: in whose lists it is, what is similar, blocked or in stock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from nightloom.contracts import ITEMS, RECOMMENDATIONS
from nightloom.errors import MissingTableError
from nightloom.lake import Lake
from nightloom.lake.recommendations import nightly_lists
from nightloom.literals import sql_text
from serving import answers
from serving.console.layout import lake_of, show
from serving.console.users import picture
from serving.selection import Selection
from serving.stores.fallback import FallbackReader
from serving.stores.reader import Snapshot

FOUND_SHOWN, USERS_SHOWN, SIMILAR_SHOWN = 50, 20, 10


@dataclass(frozen=True)
class Appearances:
    """The personal lists of a version that have an item."""

    lists: int
    first_pages: int
    users: list[tuple[str, int]]
    """Users and the item's rank, best ranks first; USERS_SHOWN at most."""


def items_page(request: Request) -> Response:
    """Items by a part of their title or by their id; or one item."""
    lists: FallbackReader = request.app.state.lists
    text, item = request.query_params.get("q", "").strip(), request.query_params.get("id", "")
    if item:
        return _item_page(request, item)
    found = search(lake_of(request), text) if text else []
    hidden = lists.overlay
    out = {each: "blocked" for each in hidden.blocked} | {each: "out of stock" for each in hidden.out_of_stock}
    return show(request, "items.html", "Items", text=text, found=found, out=out, overlay=hidden, most=FOUND_SHOWN)


def search(lake: Lake, text: str) -> list[dict[str, Any]]:
    """Items of the catalogue whose title has a text, in any case, or whose id it is."""
    if not lake.exists(ITEMS):
        return []
    where = f"item_id = {sql_text(text)} OR strpos(lower(title), lower({sql_text(text)})) > 0"
    order = f"ORDER BY item_id <> {sql_text(text)}, title, item_id LIMIT {FOUND_SHOWN}"
    return list(lake.rows(ITEMS, f"{where} {order}", ("item_id", "title", "categories", "available")).to_pylist())


def appearances(lake: Lake, meta: dict[str, Any], item: str) -> Appearances | None:
    """Where a version's personal lists have an item; None where its tables are not kept."""
    version = meta["inputs"].get(RECOMMENDATIONS.full_name)
    if version is None:
        return None
    try:
        opened = lake.open(RECOMMENDATIONS, version)
        stored = nightly_lists(lake, date.fromisoformat(meta["night"]), version)
    except MissingTableError:
        return None
    rank = f"array_position(items, {sql_text(item)})"
    ranked = f"SELECT user_id, {rank} AS rank FROM ({stored}) WHERE {rank} IS NOT NULL"
    first_page = f"count(*) FILTER (WHERE rank <= {int(meta['k'])})"
    (counts,) = lake.query(
        f"SELECT count(*) AS lists, {first_page} AS first_pages FROM ({ranked})", ("t", opened)
    ).to_pylist()
    users = lake.query(f"{ranked} ORDER BY rank, user_id LIMIT {USERS_SHOWN}", ("t", opened)).to_pylist()
    return Appearances(counts["lists"], counts["first_pages"], [(row["user_id"], row["rank"]) for row in users])


def _item_page(request: Request, item: str) -> Response:
    lists: FallbackReader = request.app.state.lists

    def read(snapshot: Snapshot, stale: bool) -> dict[str, Any]:
        asked = Selection(min(SIMILAR_SHOWN, snapshot.meta["stored"]), hidden=lists.overlay.hidden)
        similar = json.loads(answers.similar(snapshot, item, asked, stale).body)
        return {"row": snapshot.get("items", item), "similar": similar, "meta": snapshot.meta}

    found = lists.ask_in_thread(read)
    row = found["row"] or {}
    return show(
        request, "item.html", "Items", item=item, title=row.get("title", item), picture=picture(row),
        blocked=lists.overlay.blocked.get(item), out=lists.overlay.out_of_stock.get(item),
        appears=appearances(lake_of(request), found["meta"], item),
        changes=[change for change in lists.overlay.changes if item in change.items][::-1], **found,
    )  # fmt: skip
