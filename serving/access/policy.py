"""Each route's group, which an address may answer or not, and the scope that it asks for.

A route that is not here has no place in the app: guard_routes() raises KeyError.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from serving.access.keys import Scope


class Group(StrEnum):
    """Routes that are bound to an address together; the keys of [serving]."""

    EVERY = "every"
    """Answered at each address."""
    PUBLIC = "public"
    PERSONAL = "personal"
    CONSOLE = "console"
    ADMIN = "admin"
    """What operators do by the API. It is answered where the console is."""
    METRICS = "metrics"


class Rule(NamedTuple):
    """What a route asks for."""

    group: Group
    scope: Scope | None
    """None: no key is needed."""


READ = Rule(Group.PUBLIC, Scope.READ)
ADMIN_API = Rule(Group.ADMIN, Scope.ADMIN)
OPERATE = Rule(Group.CONSOLE, Scope.ADMIN)
LOOK_UP = Rule(Group.CONSOLE, Scope.PERSONAL)
MOVED = Rule(Group.CONSOLE, None)
"""An earlier address: it leads to the present one, which asks for the key."""

RULES: dict[str, Rule] = {
    "/healthz": Rule(Group.EVERY, None),
    "/metrics": Rule(Group.METRICS, Scope.METRICS),
    "/v1/users/{user:path}/recommendations": READ,
    "/v1/recommendations": READ,
    "/v1/popular": READ,
    "/v1/items/{item:path}/similar": READ,
    "/v1/items/{item:path}": READ,
    "/v1/status": READ,
    "/v1/events": Rule(Group.PUBLIC, Scope.EVENTS),
    "/v1/openapi.json": Rule(Group.PUBLIC, None),
    "/v1/admin/blocked": ADMIN_API,
    "/v1/admin/out-of-stock": ADMIN_API,
    "/v1/users/{user:path}/explain": Rule(Group.PERSONAL, Scope.PERSONAL),
    "/sign-in": Rule(Group.CONSOLE, None),
    "/sign-out": Rule(Group.CONSOLE, None),
    "/console": OPERATE,
    "/console/nights": OPERATE,
    "/console/nights/{night}": OPERATE,
    "/console/nights/{night}/log": OPERATE,
    "/console/reports/{name}": OPERATE,
    "/console/models": OPERATE,
    "/console/users": LOOK_UP,
    "/console/explain": LOOK_UP,
    "/console/items": OPERATE,
    "/console/publishes": OPERATE,
    "/console/data": OPERATE,
    "/console/data/quarantine": OPERATE,
    "/console/data-docs/{page:path}": OPERATE,
    "/console/actions": OPERATE,
    "/console/actions/{name}": OPERATE,
    "/": MOVED,
    "/user": MOVED,
    "/explain": MOVED,
    "/reports/{name}": MOVED,
    "/quality": MOVED,
    "/data-docs/{page:path}": MOVED,
}
"""A route's path, as the app declares it -> its rule."""
