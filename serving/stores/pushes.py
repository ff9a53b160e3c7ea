"""Push records: the states of a push, the reasons for a failure, and the names under which a store keeps them.

A store keeps small texts, its notes: CURRENT (the pointer), LAST (the highest number given so far), PINNED, v000001 (a
push record, JSON) and gone-v000001 (a version that is being deleted).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nightloom.errors import ExitCode, StoreError

POINTER, LAST, PINNED, DELETING = "CURRENT", "LAST", "PINNED", "gone-"
NO_MODEL = "none"
"""The model version of a push that holds popular lists alone: no model was champion."""


class PushState(StrEnum):
    """Where a push stands. STARTED -> LOADED -> VERIFIED -> CURRENT -> BACKUP -> CURRENT ..., or an end."""

    STARTED = "STARTED"
    LOADED = "LOADED"
    VERIFIED = "VERIFIED"
    CURRENT = "CURRENT"
    BACKUP = "BACKUP"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"


UNFINISHED = (PushState.STARTED, PushState.LOADED, PushState.VERIFIED)
SERVABLE = (PushState.CURRENT, PushState.BACKUP)
"""The version that is served, and those that a rollback may serve again."""


UNREADABLE = "UNREADABLE"
"""Instead of a state, where a record is damaged: nothing is done with its version, until another one replaces it."""


class FailureReason(StrEnum):
    """Why a push failed: the complete list."""

    QUOTA = "quota"
    COUNT_MISMATCH = "count_mismatch"
    CHECKSUM = "checksum"
    GATE_CLOSED = "gate_closed"
    CONCURRENT_PUSH = "concurrent_push"
    DATASET_CHANGED = "dataset_changed"
    GUARDRAIL = "guardrail"
    STORE = "store"
    """The store cannot be reached, read or written."""


class PushError(StoreError):
    """A push ended for a known reason. What was served before is still served."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PinnedError(StoreError):
    """A version is pinned: nothing broke, and nothing else becomes current."""

    exit_code = ExitCode.CLOSED


@dataclass(frozen=True)
class Push:
    """One version's record. `state` is text: a state that this code does not know is stored and never acted on."""

    version: int
    state: str
    night: str
    run_id: str
    started_at: str
    changed_at: str
    reason: str | None = None
    note: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """Identifies the content and the run, once the rows are loaded: 16 hexadecimal digits."""
        text = json.dumps([self.facts.get("checksum"), self.run_id, self.started_at])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def concurrent_push(location: str, holder: str) -> PushError:
    """The error of a push that finds another one at work."""
    return PushError(
        FailureReason.CONCURRENT_PUSH, f"{location}: another push is under way ({holder}); wait for it to end"
    )


def version_name(version: int) -> str:
    """A version as people read it, such as v000001; also the name of its record."""
    return f"v{version:06d}"


def parse_version(text: str) -> int | None:
    """The version that a name stands for; None where the text is no version's name."""
    return int(text[1:]) if text[:1] == "v" and text[1:].isdigit() else None
