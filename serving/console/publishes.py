"""The console's publishes: every push with its state; what can be rolled back, pinned and unpinned."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.console.layout import show
from serving.stores import versions
from serving.stores.fallback import FallbackReader
from serving.stores.pushes import PINNED, SERVABLE, PushState, version_name


def publishes_page(request: Request) -> Response:
    """Every recorded push, the newest first; a store that does not answer is an error that says so."""
    lists: FallbackReader = request.app.state.lists
    pushes = versions.list_pushes(lists.store)[::-1]
    current = versions.current_version(lists.store)
    backups = [push.version for push in pushes if push.state == PushState.BACKUP and push.version < (current or 0)]
    return show(
        request, "publishes.html", "Publishes", pushes=pushes, pinned=lists.store.read_note(PINNED),
        current=None if current is None else version_name(current),
        backup=version_name(backups[0]) if backups else None, servable=SERVABLE, location=lists.store.location,
    )  # fmt: skip
