"""The sockets of `nightloom serve`: --host and --port, and what [serving] binds to addresses of its own."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import ExitStack

from nightloom.errors import NightloomError, printable
from nightloom.settings import Settings
from serving.access.keys import AccessError, read_keys

SHARED = "shared"


class ServeError(NightloomError):
    """The server did not start, or cannot listen where it was told to."""


def open_sockets(settings: Settings, host: str, port: int) -> list[socket.socket]:
    """A socket for each address, the shared one first. Raises ServeError.

    Without any key, an address that other machines reach is an error, unless serving.without_keys allows it.
    """
    serving = settings.serving
    parts = [text.rpartition(":") for text in (serving.personal, serving.console, serving.metrics) if ":" in text]
    own = [(name.strip("[]"), int(number)) for name, _, number in parts]
    shared = [(host, port)] if SHARED in (serving.public, serving.personal, serving.console) else []
    with ExitStack() as opened:
        sockets = [opened.enter_context(_open_socket(*address)) for address in [*shared, *own]]
        if serving.without_keys == "loopback":
            _require_keys(settings, [each for each in sockets if not _is_loopback(each)])
        opened.pop_all()
    return sockets


def describe_addresses(settings: Settings, sockets: list[socket.socket]) -> list[str]:
    """A line for each address, and one for a server without keys."""
    lines = []
    for each in sockets:
        host, port = each.getsockname()[:2]
        lines.append(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
    return [f"{' '.join(lines)}  (Ctrl-C stops)", *_describe_keys(settings)]


def _describe_keys(settings: Settings) -> list[str]:
    try:
        if read_keys(settings.place("access")).keys:
            return []
    except AccessError as error:
        return [f"{error}; requests are answered once it can"]
    if settings.serving.without_keys == "anywhere":
        return ["There is no key: everybody who reaches these addresses is answered (serving.without_keys)."]
    return ["There is no key: only this machine is answered. `nightloom keys create` makes one, which is then needed."]


def _require_keys(settings: Settings, reachable: list[socket.socket]) -> None:
    """Raises ServeError where other machines reach a socket and there is no key."""
    if not reachable:
        return
    try:
        keys = read_keys(settings.place("access")).keys
    except AccessError:
        return  # the workers answer with 503 until they have read the keys
    if not keys:
        host, port = reachable[0].getsockname()[:2]
        raise ServeError(
            f"other machines reach {host}:{port}, and there is no key in {settings.place('access')}; make one with "
            "`nightloom keys create NAME --scope read`, or listen on 127.0.0.1; in a network that only trusted "
            'programs reach, set serving.without_keys = "anywhere"'
        )


def _is_loopback(each: socket.socket) -> bool:
    return ipaddress.ip_address(each.getsockname()[0]).is_loopback


def _open_socket(host: str, port: int) -> socket.socket:
    """A bound socket. Raises ServeError where nobody can listen at an address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.set_inheritable(True)
        except OSError:
            opened.close()
            raise
        return opened
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ServeError(
            f"nobody can listen at {printable(host)}:{port}: {why}; choose others with --host and --port"
        ) from None
