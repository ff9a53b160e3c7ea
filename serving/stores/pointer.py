"""The pointer: the note that says which version readers get, and during a canary which one a share of them gets.

`v000007 TOKEN`, or `v000007 TOKEN v000008 TOKEN SHARE UNTIL`. The token names the push: once a store was emptied,
another push has the same number. A pointer that was written before there were tokens has none.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from nightloom.errors import StoreError
from nightloom.values import now
from serving.stores.pushes import POINTER, Push, parse_version, version_name

VERSION = r"(v\d+)(?: ([0-9a-f]{16}))?"
TEXT = re.compile(rf"{VERSION}(?: {VERSION} (\S+) (\S+))?")


class VersionKey(NamedTuple):
    """A version by its number and its push."""

    version: int
    token: str | None = None
    """Push.token; None where only the number is known."""

    def __str__(self) -> str:
        return version_name(self.version) + (f" {self.token}" if self.token else "")


@dataclass(frozen=True)
class Pointer:
    """The version that is served, and a canary."""

    served: VersionKey
    canary: VersionKey | None = None
    share: float = 0.0
    """Share of the users that get the canary."""
    until: datetime | None = None
    """When readers end the canary by themselves."""

    def __str__(self) -> str:
        canary = f" {self.canary} {self.share} {self.until:%Y-%m-%dT%H:%M:%SZ}" if self.canary else ""
        return f"{self.served}{canary}"

    def gives_canary(self, user: str) -> bool:
        """Whether a user gets the canary: the same users until its end."""
        if self.canary is None or self.until is None or now() >= self.until:
            return False
        name = f"{version_name(self.canary.version)} {user}"
        return int(hashlib.sha256(name.encode("utf8", "replace")).hexdigest()[:8], 16) / 16**8 < self.share


def key_of(push: Push) -> VersionKey:
    """A push as the pointer names it."""
    return VersionKey(push.version, push.token)


def parse_pointer(text: str, location: str) -> Pointer:
    """A pointer from its text. Raises StoreError where the text is no pointer."""
    found = TEXT.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError
        version, token, canary, canary_token, share, until = found.groups()
        served = VersionKey(_number(version), token)
        if canary is None:
            return Pointer(served)
        return Pointer(served, VersionKey(_number(canary), canary_token), float(share), datetime.fromisoformat(until))
    except ValueError:
        raise StoreError(
            f"{location}: the pointer {POINTER} says {text!r}, expected a version such as v000001; mend it by hand"
        ) from None


def _number(name: str) -> int:
    version = parse_version(name)
    assert version is not None  # VERSION matches nothing else
    return version
