"""A guard before each route: the address answers it, the key is known, has the scope, and is within its limit."""

from __future__ import annotations

import ipaddress
import math
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, SimpleUser, UnauthenticatedUser
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from nightloom.settings import Settings
from nightloom.values import now
from serving.access import keys, policy
from serving.access.keys import Key, KeyRing
from serving.access.limits import Limits
from serving.access.policy import Group, Rule
from serving.access.sessions import COOKIE, verify_session
from serving.access.watched_keys import WatchedKeys
from serving.web.errors import error_response
from serving.web.problem import problem_page

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
ANYBODY, EVERYTHING = UnauthenticatedUser(), AuthCredentials(list(keys.Scope))
"""Who asks while there is no key."""
NO_KEY = "no key"
"""Who acts on a project without keys."""
HERE = ("same-origin", "none")
"""What a browser's Sec-Fetch-Site says of a request that no other site caused."""


class Refusal(NamedTuple):
    """Why a request is not answered."""

    status: int
    code: str
    message: str
    headers: dict[str, str]


@dataclass
class Access:
    """What all guards of an app share."""

    settings: Settings
    keys: WatchedKeys
    limits: Limits

    @classmethod
    def from_settings(cls, settings: Settings) -> Access:
        limits = Limits(settings.place("scratch") / "serving" / "limits")
        return cls(settings, WatchedKeys(settings.place("access")), limits)

    def answers(self, group: Group, port: int | None) -> bool:
        """Whether a group's routes are answered at a port."""
        if group is Group.EVERY:
            return True
        serving = self.settings.serving
        own = {
            Group.PERSONAL: serving.personal, Group.CONSOLE: serving.console, Group.ADMIN: serving.console,
            Group.METRICS: serving.metrics,
        }  # fmt: skip
        found = own.get(group, serving.public)
        taken = {text.rpartition(":")[2] for text in own.values() if ":" in text}
        if ":" in found:
            return str(port) == found.rpartition(":")[2]
        if group is Group.METRICS and found == "shared":
            return True
        return found != "off" and str(port) not in taken

    def trusts_address(self, group: Group, host: str) -> bool:
        """Whether those who reach a group at an address of this machine need no key."""
        return group is Group.METRICS and (":" in self.settings.serving.metrics or _names_this_machine_alone(host))

    def guard_routes(self, app: Starlette) -> None:
        """Put a guard before each route of an app. Raises KeyError for a route without a rule."""
        for route in app.routes:
            assert isinstance(route, Route), "policy.RULES is by a route's path"
            route.app = Guard(route.app, policy.RULES[route.path], self)


class Guard:
    """Wraps a route's app."""

    def __init__(self, app: ASGIApp, rule: Rule, access: Access) -> None:
        self._app, self._rule, self._access = app, rule, access
        self._answers = cache(partial(access.answers, rule.group))  # by port: settings do not change

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await self._response(refusal, scope)(scope, receive, send)

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request is not answered. One that is answered takes a token of its key's limit."""
        server = scope.get("server") or ("", None)
        if not self._answers(server[1]):
            return Refusal(404, "not_found", f"{scope['path']} is not answered here", {})
        if self._rule.scope is None or self._access.trusts_address(self._rule.group, server[0]):
            return None
        return self._check(scope)

    def _check(self, scope: Scope) -> Refusal | None:
        """Find out who asks, and put it into the request as `user` and `auth`."""
        ring, needed = self._access.keys.ring, self._rule.scope
        assert needed is not None
        if ring is None:
            return _unknown_keys()
        if self._access.keys.open:
            scope["user"], scope["auth"] = ANYBODY, EVERYTHING
            return self._check_without_keys(scope)
        key, refusal = self._identify(scope, Headers(scope=scope), ring, now())
        if key is None:
            return refusal
        if needed not in key.scopes:
            scopes = ", ".join(sorted(key.scopes))
            return Refusal(403, "wrong_scope", f"the key of {key.name} has the scopes {scopes}; needed: {needed}", {})
        wait = self._access.limits.take(ring.positions[key.id], key.per_second, key.burst, time.monotonic())
        if wait:
            message = f"the key of {key.name} may ask {key.per_second:g} times a second, {key.burst} at one moment"
            return Refusal(429, "too_many_requests", message, {"Retry-After": str(math.ceil(wait))})
        scope["user"], scope["auth"] = SimpleUser(key.name), AuthCredentials(sorted(key.scopes))
        return None

    def _identify(
        self, scope: Scope, headers: Headers, ring: KeyRing, at: datetime
    ) -> tuple[Key | None, Refusal | None]:
        """The key of the header, or of the console's session."""
        given = headers.get("authorization")
        if given is not None:
            kind, _, text = given.partition(" ")
            key = ring.verify(text.strip(), at) if kind.lower() == "bearer" else None
            return key, None if key else _unauthorized("the key is unknown, expired or revoked")
        cookie = session_cookie(headers) if self._rule.group is Group.CONSOLE else None
        if cookie is None or (key := verify_session(ring, cookie, at)) is None:
            return None, _unauthorized("a key is needed: send the header Authorization: Bearer KEY")
        if scope["method"] not in SAFE_METHODS and not is_from_here(headers, proof=True):
            return None, _cross_site()
        return key, None

    def _check_without_keys(self, scope: Scope) -> Refusal | None:
        """While there is no key: other sites in this machine's browser may neither change nor read what is personal."""
        if scope["method"] not in SAFE_METHODS and not is_from_here(Headers(scope=scope), proof=False):
            return _cross_site()
        if self._rule.scope is keys.Scope.READ or self._access.settings.serving.without_keys == "anywhere":
            return None
        if _names_this_machine(Headers(scope=scope).get("host", "")):
            return None
        message = "while no key exists, only this machine is answered, by the name localhost or by an address"
        return Refusal(403, "wrong_host", message, {})

    def _response(self, refusal: Refusal, scope: Scope) -> Response:
        if self._rule.group is not Group.CONSOLE:
            request = HTTPConnection(scope)
            return error_response(request, refusal.code, refusal.message, refusal.headers)
        if refusal.status == 401 and scope["method"] in SAFE_METHODS:
            query = scope["query_string"].decode("latin1")
            asked = quote(scope["path"], safe="/") + (f"?{query}" if query else "")
            return RedirectResponse(f"/sign-in?next={quote(asked, safe='')}", 303)
        return problem_page(self._access.settings, f"{refusal.message}.", refusal.status, refusal.headers)


def key_name(request: HTTPConnection) -> str:
    """The name of the key of a request that its guard let through."""
    return request.user.display_name or NO_KEY


def session_cookie(headers: Headers) -> str | None:
    """The value of the session's cookie."""
    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def is_from_here(headers: Headers, *, proof: bool) -> bool:
    """Whether a request is of no other site's page. With `proof`, a request that does not say so is refused, too."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in HERE:
        return False
    if origin is not None:
        try:
            return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
        except ValueError:
            return False
    return site is not None or not proof


def _names_this_machine(host: str) -> bool:
    """Whether a Host header is localhost or an address: a site's name that leads here is another site's trick."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _names_this_machine_alone(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unauthorized(message: str) -> Refusal:
    return Refusal(401, "unauthorized", message, {"WWW-Authenticate": 'Bearer realm="nightloom"'})


def _cross_site() -> Refusal:
    return Refusal(403, "cross_site", "the request comes from another site's page, which may not act here", {})


def _unknown_keys() -> Refusal:
    return Refusal(
        503, "keys_unavailable", "the keys cannot be read yet; the server's log says why", {"Retry-After": "1"}
    )
