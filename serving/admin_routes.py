"""The admin API: items that are blocked or out of stock, as `nightloom block` and `nightloom stock` change them.

Who did it is the name of the key; the store keeps it with the reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from nightloom.settings import Settings
from serving.access.guard import key_name
from serving.stores import Store, open_store, overlay
from serving.stores.overlay import Cause
from serving.web.caching import uncached_json
from serving.web.endpoints import Endpoint
from serving.web.parameters import HiddenItemsQuery, HiddenItemsRequest, parse_body
from serving.web.schemas import ChangedItemsAnswer, HiddenItemsAnswer

Change = Callable[[Store, Cause, Sequence[str], str], list[str]]
"""overlay.add or overlay.remove."""
Handler = Callable[[Request], Awaitable[Response]]
CHANGE_ERRORS = ("bad_request", "too_many_items", "store_unavailable")


async def get_blocked(request: Request) -> Response:
    """The blocked items with who blocked them, why and when, and the last changes."""
    return await _show(request, Cause.BLOCKED)


async def block(request: Request) -> Response:
    """Block items.

    They leave every answer of every server within two seconds, and stay out until they are unblocked.
    """
    return await _post(request, Cause.BLOCKED)


async def unblock(request: Request) -> Response:
    """Let blocked items back into the lists."""
    return await _delete(request, Cause.BLOCKED)


async def get_out_of_stock(request: Request) -> Response:
    """The items that are out of stock with who said so, why and when, and the last changes."""
    return await _show(request, Cause.OUT_OF_STOCK)


async def take_out_of_stock(request: Request) -> Response:
    """Mark items as out of stock.

    They leave every answer of every server within two seconds, and stay out until they are in stock again.
    """
    return await _post(request, Cause.OUT_OF_STOCK)


async def bring_into_stock(request: Request) -> Response:
    """Let items that are in stock again back into the lists."""
    return await _delete(request, Cause.OUT_OF_STOCK)


async def _show(request: Request, cause: Cause) -> Response:
    settings: Settings = request.app.state.settings
    found = await run_in_threadpool(lambda: overlay.read(open_store(settings, reading=True)))
    items = [{"item_id": item} | asdict(mark) for item, mark in getattr(found, cause).items()]
    changes = [asdict(change) for change in found.changes if change.cause == cause]
    for each in changes:
        del each["cause"]
    return uncached_json({"items": items, "changes": changes[::-1]})


async def _post(request: Request, cause: Cause) -> Response:
    given = parse_body(HiddenItemsRequest, await request.body())
    return await _change(request, overlay.add, cause, given.items, given.why)


async def _delete(request: Request, cause: Cause) -> Response:
    given = HiddenItemsQuery.of_query(request.query_params)
    return await _change(request, overlay.remove, cause, given.item, given.why)


async def _change(request: Request, change: Change, cause: Cause, items: Sequence[str], why: str) -> Response:
    settings: Settings = request.app.state.settings
    author = f"{key_name(request)}: {why.strip()}"
    changed = await run_in_threadpool(lambda: change(open_store(settings), cause, items, author))
    unchanged = [item for item in dict.fromkeys(items) if item not in set(changed)]
    return uncached_json({"changed": changed, "unchanged": unchanged})


def _endpoints(path: str, show: Handler, add: Handler, remove: Handler) -> Iterator[Endpoint]:
    yield Endpoint(path, show, HiddenItemsAnswer, ("store_unavailable",), scope="admin")
    yield Endpoint(
        path, add, ChangedItemsAnswer, CHANGE_ERRORS, body=HiddenItemsRequest, scope="admin", get=False
    )  # fmt: skip
    yield Endpoint(
        path, remove, ChangedItemsAnswer, CHANGE_ERRORS, HiddenItemsQuery, scope="admin", get=False, delete=True
    )  # fmt: skip


ADMIN_ENDPOINTS = (
    *_endpoints("/v1/admin/blocked", get_blocked, block, unblock),
    *_endpoints("/v1/admin/out-of-stock", get_out_of_stock, take_out_of_stock, bring_into_stock),
)
