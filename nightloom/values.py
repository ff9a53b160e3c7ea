"""Values as tables hold them: the present moment, and JSON. Without the lake: a reader of lists needs no Delta."""

import json
from datetime import UTC, datetime
from typing import Any


def now() -> datetime:
    """This moment, UTC, as Delta keeps it (microseconds)."""
    return datetime.now(UTC)


def as_json(value: Any) -> str:
    """One value as JSON, dates in ISO form."""
    return json.dumps(value, default=str, ensure_ascii=False)
