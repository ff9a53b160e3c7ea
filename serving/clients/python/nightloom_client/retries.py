"""When a request is sent again: after no answer and after 429, 502, 503 and 504, with full jitter, until a deadline.

Every call may be sent twice: reads change nothing, and an event counts once by its id.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from nightloom_client.calls import Answer
from nightloom_client.errors import UnreachableError

AGAIN = (429, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and how long."""

    timeout: float = 1.0
    """Seconds until a try counts as failed."""
    deadline: float = 3.0
    """Seconds of all tries and waits together."""
    tries: int = 3
    wait: float = 0.1
    """The longest wait before the second try, in seconds; it doubles for each further one. A random part of it is
    waited, so that many clients do not come back together. Retry-After of an answer is the least."""

    def steps(self) -> Generator[Send | Wait, Answer | Exception | None, Answer]:
        """What a client does: each Send is answered with the answer, or with the error that came in its place.

        Returns the last answer, whatever its status. Raises UnreachableError where the last try had none.
        """
        ends = time.monotonic() + self.deadline
        for number in range(1, self.tries + 1):
            came = yield Send(max(0.001, min(self.timeout, ends - time.monotonic())))
            assert came is not None
            if isinstance(came, Answer) and came.status not in AGAIN:
                return came
            pause = self._pause(number, came)
            if number == self.tries or time.monotonic() + pause >= ends:
                break
            yield Wait(pause)
        if isinstance(came, Answer):
            return came
        raise UnreachableError(f"no answer after {number} tries: {type(came).__name__}: {came}") from came

    def _pause(self, number: int, came: Answer | Exception) -> float:
        jitter = random.uniform(0, self.wait * 2 ** (number - 1))
        asked = _retry_after(came.headers.get("retry-after", "")) if isinstance(came, Answer) else 0.0
        return asked + jitter


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request, and wait for its answer at most so long."""

    timeout: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so long."""

    seconds: float


def _retry_after(text: str) -> float:
    """Seconds; the header has them, or a date."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
