"""ops.actions: who did what in the console, why, and what came of it.

The first row is written before the action begins, so nothing happens that nobody signed.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from deltalake.exceptions import DeltaError

from nightloom.contracts import ACTIONS
from nightloom.errors import NightloomError, machine_fault
from nightloom.lake import Lake, now
from nightloom.literals import sql_text

STARTED, DONE, FAILED = "started", "done", "failed"
MAX_OUTCOME = 2000
"""Characters of an outcome that are kept."""


class RecordError(NightloomError):
    """An action cannot be recorded."""


@dataclass(frozen=True)
class LoggedAction:
    """One action as it stands."""

    action_id: str
    action: str
    subject: str
    by: str
    why: str
    host: str
    started_at: datetime
    status: str = STARTED
    ended_at: datetime | None = None
    outcome: str | None = None

    def row(self) -> dict[str, Any]:
        """A row of ops.actions: the begin, or the end where there is one."""
        fields = ("action_id", "action", "subject", "by", "why", "host", "status", "outcome")
        return {name: getattr(self, name) for name in fields} | {"at": self.ended_at or self.started_at}


def begin(lake: Lake, action: str, subject: str, by: str, why: str) -> LoggedAction:
    """Record that an action begins. Raises RecordError."""
    at = now()
    id = f"{at:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    begun = LoggedAction(id, action, subject, by, why, socket.gethostname(), at)
    with _explained("it cannot be recorded, so it was not done"):
        lake.append(ACTIONS, [begun.row()])
    return begun


def end(lake: Lake, begun: LoggedAction, status: str, outcome: str) -> LoggedAction:
    """Record how an action ended, done or failed. Raises RecordError."""
    ended = replace(begun, status=status, outcome=outcome[:MAX_OUTCOME], ended_at=now())
    with _explained(f"it is {status} ({outcome}), and ops.actions does not say so"):
        lake.append(ACTIONS, [ended.row()])
    return ended


def last_actions(lake: Lake, limit: int) -> list[LoggedAction]:
    """The last actions, the newest first."""
    begun = f"SELECT action_id FROM t WHERE status = '{STARTED}' ORDER BY at DESC, action_id DESC LIMIT {limit}"
    return _read(lake, f"action_id IN ({begun})")


def find_action(lake: Lake, action_id: str) -> LoggedAction | None:
    """The action with an id."""
    return next(iter(_read(lake, f"action_id = {sql_text(action_id)}")), None)


def _read(lake: Lake, where: str) -> list[LoggedAction]:
    rows = lake.rows(ACTIONS, f"{where} ORDER BY at").to_pylist() if lake.exists(ACTIONS) else []
    found = dict[str, LoggedAction]()
    for row in rows:
        at, id = row.pop("at"), row["action_id"]
        if row["status"] == STARTED:
            found[id] = LoggedAction(started_at=at, **row)
        elif id in found:
            found[id] = replace(found[id], status=row["status"], outcome=row["outcome"], ended_at=at)
    return list(found.values())[::-1]


@contextmanager
def _explained(consequence: str) -> Iterator[None]:
    """Around a write: raises RecordError for whatever keeps it from being written."""
    try:
        yield
    except (OSError, DeltaError, NightloomError) as error:
        raise RecordError(f"{consequence}: {machine_fault(error) or error}") from None
