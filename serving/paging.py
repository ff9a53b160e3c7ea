"""The next page of a list: which version it belongs to, and the place in the list at which it begins.

A page belongs to one version, and places count before exclusions, filters and blocks. So no page repeats an item of an
earlier one, whatever is published, blocked or excluded in between.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

from serving.stores.base import PageExpiredError
from serving.stores.pointer import VersionKey
from serving.stores.pushes import parse_version, version_name

TEXT = re.compile(r"(v\d{1,18})\.([0-9a-f]{16})\.(\d{1,9})\.([0-9a-f]{8})")


@dataclass(frozen=True)
class Page:
    """Where a page begins. Its text is the `next` of the page before."""

    key: VersionKey
    """The version; it has a token."""
    place: int
    """The first place, from 0."""
    list_digest: str
    """Says which list it is: see list_digest()."""

    def __str__(self) -> str:
        return f"{version_name(self.key.version)}.{self.key.token}.{self.place}.{self.list_digest}"

    def require_list(self, digest: str) -> None:
        """Raises PageExpiredError where the list is another one than that of the page before."""
        if digest != self.list_digest:
            raise PageExpiredError("this page belongs to another list, or the store is in trouble; ask for page one")


def parse_page(text: str) -> Page | None:
    """A page from its text; None where the text is none."""
    if (found := TEXT.fullmatch(text)) is None:
        return None
    name, token, place, digest = found.groups()
    version = parse_version(name)
    assert version is not None  # TEXT matches nothing else
    return Page(VersionKey(version, token), int(place), digest)


def list_digest(kind: str, name: str, segments: tuple[str, ...], own_length: int) -> str:
    """Eight hexadecimal digits for a list: its kind, its user or item, and how many items of their own these have."""
    text = "\0".join((kind, name, *segments, str(own_length)))
    return f"{crc32(text.encode('utf8', 'replace')):08x}"
