"""ACCESS/keys.json: the API's keys. Of a key it holds digests alone, from which nobody can make the key again.

One file and not the serving store: keys outlive every published version and a store that is emptied, each kind of store
has them alike, and a server that cannot reach its store still knows who asks.

A key is `nightloom_ID_SECRET`. The secret has 256 random bits, so a plain SHA-256 keeps it: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from nightloom.errors import ConcurrentRunError, NightloomError, printable
from nightloom.places import Place, lock, replacement
from nightloom.section import join_names
from nightloom.values import now

FILE = "keys.json"
PREFIX = "nightloom"
STORED = ConfigDict(extra="forbid", frozen=True)
READ_SECONDS = 5.0
"""How long object storage may take to give the file."""


class AccessError(NightloomError):
    """The keys cannot be read or changed as asked."""


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    """Lists, similar and popular items, items, status."""
    EVENTS = "events"
    """Send events."""
    PERSONAL = "personal"
    """Histories of users and explanations."""
    ADMIN = "admin"
    """The console, and blocks by the API."""
    METRICS = "metrics"
    """/metrics from another machine, where it has no address of its own."""


class Key(BaseModel):
    """A key as the file keeps it."""

    model_config = STORED
    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=80)
    """Who has it; a key and its successors have one name."""
    scopes: frozenset[Scope] = Field(min_length=1)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the whole key."""
    session_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of what the console's sessions carry instead of the key."""
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    per_second: float = Field(gt=0)
    """Requests a second in the long run."""
    burst: int = Field(ge=1)
    """Requests at one moment."""

    def state(self, at: datetime) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= at else "active"


class NewKey(NamedTuple):
    """A key that was just made."""

    key: Key
    text: str
    """The key itself: this is the only place where it exists."""


class KeyRing(BaseModel):
    """All keys, in the order in which they were made."""

    model_config = STORED
    keys: tuple[Key, ...] = ()

    @cached_property
    def _by_id(self) -> dict[str, Key]:
        return {key.id: key for key in self.keys}

    @cached_property
    def positions(self) -> dict[str, int]:
        """Id -> position in the file."""
        return {key.id: number for number, key in enumerate(self.keys)}

    def verify(self, text: str, at: datetime) -> Key | None:
        """The active key that is this text. A wrong key takes as long as a right one."""
        key = self._by_id.get(text.split("_", 2)[1] if text.count("_") >= 2 else "")
        known = hmac.compare_digest(sha256(text), key.digest if key else sha256(""))
        return key if key and known and key.state(at) == "active" else None

    def verify_session(self, id: str, token: str, at: datetime) -> Key | None:
        """The active key with which a session was begun."""
        key = self._by_id.get(id)
        known = hmac.compare_digest(sha256(token), key.session_digest if key else sha256(""))
        return key if key and known and key.state(at) == "active" else None


def sha256(text: str) -> str:
    """Hexadecimal digest of a text."""
    return hashlib.sha256(text.encode("utf8", "surrogateescape")).hexdigest()


def session_token(text: str) -> str:
    """What a session carries instead of the key: it opens the console alone, and nobody can make the key from it."""
    return hmac.new(text.encode("utf8", "surrogateescape"), b"console session", hashlib.sha256).hexdigest()


def make_key(
    name: str, scopes: Iterable[Scope], per_second: float, burst: int, expires_at: datetime | None = None
) -> NewKey:
    """A new key, which is not in the file yet."""
    id = secrets.token_hex(6)
    text = f"{PREFIX}_{id}_{secrets.token_urlsafe(32)}"
    key = Key(
        id=id, name=name, scopes=frozenset(scopes), digest=sha256(text), session_digest=sha256(session_token(text)),
        created_at=now(), expires_at=expires_at, per_second=per_second, burst=burst,
    )  # fmt: skip
    return NewKey(key, text)


def read_keys(folder: Place) -> KeyRing:
    """The keys of a folder or address; none where there is no file. Raises AccessError."""
    return parse_keys(folder, read_file(folder))


def read_file(folder: Place) -> bytes | None:
    """The file's content; None where there is no file. Raises AccessError."""
    from obstore.exceptions import BaseError

    if not isinstance(folder, Path):
        from nightloom.places import objects

        folder = objects.address(str(folder), READ_SECONDS)
    try:
        return bytes((folder / FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, BaseError) as error:
        raise AccessError(f"{folder / FILE} cannot be read: {printable(str(error))[:300]}") from None


def parse_keys(folder: Place, content: bytes | None) -> KeyRing:
    """A file's content as keys. Raises AccessError."""
    if content is None:
        return KeyRing()
    try:
        return KeyRing.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        found = printable(f"{where}: {first['msg']}" if where else first["msg"])
        raise AccessError(
            f"{folder / FILE} is no file of keys ({found}); restore it from a backup, or remove it and make new keys"
        ) from None


def change_keys(folder: Place, change: Callable[[KeyRing], KeyRing]) -> None:
    """Replace the keys by changed ones; one command at a time. Raises AccessError and ConcurrentRunError."""
    try:
        with lock.exclusive_lock(folder):
            ring = change(read_keys(folder))
            with replacement(folder / FILE) as file:
                if isinstance(folder, Path):
                    os.fchmod(file.fileno(), 0o600)
                file.write(ring.model_dump_json(indent=1).encode())
                file.flush()
                os.fsync(file.fileno())
    except (lock.HeldError, lock.LostError):
        raise ConcurrentRunError(f"another command changes the keys in {folder} right now; run this again") from None


def add_key(folder: Place, new: Key) -> None:
    """Add a key. Raises AccessError where an active key has its name."""

    def change(ring: KeyRing) -> KeyRing:
        if any(key.name == new.name and key.state(now()) == "active" for key in ring.keys):
            raise AccessError(f"a key called '{new.name}' is active; rotate or revoke it, or choose another name")
        return KeyRing(keys=(*ring.keys, new))

    change_keys(folder, change)


def revoke_key(folder: Place, name: str) -> list[Key]:
    """Revoke the active keys of a name, or the one with this id -> these keys. Raises AccessError."""
    revoked = list[Key]()

    def change(ring: KeyRing) -> KeyRing:
        revoked[:] = find_active(ring, name)
        ended = {key.id: key.model_copy(update={"revoked_at": now()}) for key in revoked}
        return KeyRing(keys=tuple(ended.get(key.id, key) for key in ring.keys))

    change_keys(folder, change)
    return revoked


def rotate_key(folder: Place, name: str, overlap: timedelta) -> NewKey:
    """Add a successor with the same name, scopes and limits; the old key works for `overlap` longer, at most.

    The successor lives as long as the old key was made to live. Raises AccessError.
    """
    made = list[NewKey]()

    def change(ring: KeyRing) -> KeyRing:
        old = max(find_active(ring, name), key=lambda key: key.created_at)
        expires_at = now() + (old.expires_at - old.created_at) if old.expires_at else None
        made.append(make_key(old.name, old.scopes, old.per_second, old.burst, expires_at))
        last = min(now() + overlap, old.expires_at) if old.expires_at else now() + overlap
        ending = old.model_copy(update={"expires_at": last})
        return KeyRing(keys=(*(ending if key.id == old.id else key for key in ring.keys), made[0].key))

    change_keys(folder, change)
    return made[0]


def find_active(ring: KeyRing, name: str) -> list[Key]:
    """The active keys with a name, or with this id. Raises AccessError where there are none."""
    found = [key for key in ring.keys if name in (key.name, key.id) and key.state(now()) == "active"]
    if not found:
        active = join_names({f"'{key.name}'" for key in ring.keys if key.state(now()) == "active"}) or "none"
        raise AccessError(f"no active key is called '{printable(name)}'; active are {active}")
    return found
