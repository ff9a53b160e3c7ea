"""The console's session: a cookie that a key was once given for. It has no state on a server.

ID.END.TOKEN.SIGNATURE: the token is made of the key, and the file of keys has its digest, so who reads the file cannot
begin a session. The signature is made with the key's digest, so who reads the cookie cannot prolong it. A session ends
with its key.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

from serving.access.keys import Key, KeyRing, session_token

COOKIE = "nightloom_session"
LENGTH = timedelta(hours=12)


def begin_session(key: Key, text: str, at: datetime) -> str:
    """A cookie's value for a key's holder; `text` is the key."""
    signed = f"{key.id}.{int((at + LENGTH).timestamp())}.{session_token(text)}"
    return f"{signed}.{_signature(key, signed)}"


def verify_session(ring: KeyRing, cookie: str, at: datetime) -> Key | None:
    """The key of a session that has not ended."""
    signed, _, signature = cookie.rpartition(".")
    parts = signed.split(".")
    if len(parts) != 3 or not cookie.isascii() or not (parts[1].isdigit() and len(parts[1]) < 12):
        return None
    key = ring.verify_session(parts[0], parts[2], at)
    if key is None or not hmac.compare_digest(signature, _signature(key, signed)):
        return None
    return key if datetime.fromtimestamp(int(parts[1]), UTC) > at else None


def _signature(key: Key, signed: str) -> str:
    return hmac.new(bytes.fromhex(key.digest), signed.encode(), hashlib.sha256).hexdigest()
