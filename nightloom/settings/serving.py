"""[serving]: addresses of the API and the console, where a server without any key may listen, CORS and the log."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator
from typing_extensions import TypeAliasType

from nightloom.section import Section

OFF, SHARED = "off", "shared"


def _known_address(text: str) -> str:
    if text in (OFF, SHARED):
        return text
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):(\d{1,5})", text)
    if found is None or not 1 <= int(found[2]) <= 65_535:
        raise ValueError(f"found '{text}', expected HOST:PORT, such as 127.0.0.1:8001, '{SHARED}' or '{OFF}'")
    return text


ListenAddress = TypeAliasType("ListenAddress", Annotated[str, AfterValidator(_known_address)])
"""HOST:PORT, `shared` or `off`."""


class Serving(Section):
    """The API and the console of `nightloom serve`. See [access](access.md)."""

    public: Literal["shared", "off"] = "shared"
    """Lists, items, status and incoming events: `shared` answers them at --host and --port, `off` does not."""
    personal: ListenAddress = "shared"
    """Explanations of the API, for the scope `personal`: `shared` with the public routes, `off`, or an address of
    their own, `HOST:PORT`."""
    console: ListenAddress = "shared"
    """The console, and `/v1/admin` of the API: `shared` with the public routes, `off`, or an address of its own,
    `HOST:PORT`."""
    metrics: ListenAddress = "shared"
    """`/metrics`, for Prometheus: `shared` is each address of the server, where other machines need a key with the
    scope `metrics`; `off`; or an address of its own, `HOST:PORT`, where nobody needs a key."""
    without_keys: Literal["loopback", "anywhere"] = "loopback"
    """Where a server may listen while no key exists, and answer everybody. `loopback` is this machine alone.
    `anywhere` is for a network that only trusted programs reach, such as containers behind a port of this machine."""
    cors_origins: tuple[str, ...] = ()
    """Origins of the web pages whose scripts may call the API, such as `https://shop.example`; `*` is any page. None by
    default: an app's own server calls the API."""
    live: bool = False
    """Whether a user with events since the night is scored again when they ask, by the model of the published version.
    A night publishes what that takes from its next push on: [live lists](live.md)."""
    access_log: bool = False
    """Whether each request is a line of the log. Requests that fail with 5xx always are."""

    @model_validator(mode="after")
    def _addresses_differ(self) -> Self:
        ports = [text.rpartition(":")[2] for text in (self.personal, self.console, self.metrics) if ":" in text]
        if len(set(ports)) < len(ports):
            twice = next(port for port in ports if ports.count(port) > 1)
            raise ValueError(f"two groups of routes have port {twice}; addresses of their own differ by port")
        if self.public == OFF and SHARED in (self.personal, self.console):
            raise ValueError(
                "public is 'off', so there is no address to share; personal and console are each 'off' or HOST:PORT"
            )
        if self.public == self.personal == self.console == OFF:
            raise ValueError("public, personal and console are all 'off', so there is nothing to serve")
        return self
