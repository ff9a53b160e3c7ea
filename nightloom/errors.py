"""Every error a person may meet, with one parent. A message says what was found, what was expected, what to do."""

import re
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended; each code has one meaning, for commands and stages alike."""

    DONE = 0
    """It did what was asked."""
    FAILED = 1
    """Something broke. The message says what, and what to do."""
    WRONG = 2
    """nightloom.toml, a variable or an argument is wrong; nothing was done."""
    CLOSED = 3
    """A gate closed, or a version is pinned: nothing broke, and yesterday's lists stay."""
    UNDECIDED = 4
    """`nightloom init` wrote a draft that asks what no file says; no night can run before that is answered."""
    SKIPPED = 99
    """There is nothing to do. Airflow marks the task skipped."""
    INTERRUPTED = 130
    """Ctrl-C ended it."""
    TERMINATED = 143
    """SIGTERM ended it."""


class NightloomError(Exception):
    """Parent of all: shown as one line, without a traceback."""

    exit_code: int = ExitCode.FAILED


class SettingsError(NightloomError):
    """`nightloom.toml` or an environment variable says something that cannot be used."""

    exit_code = ExitCode.WRONG


class MissingTableError(NightloomError):
    """A table, or the version of it that was asked for, is not in the lake."""


class DataError(NightloomError):
    """Data that a stage was given breaks its table's contract as a whole (single rows go to quarantine instead)."""


class ConcurrentRunError(NightloomError):
    """Another run changed the same table at the same moment, so this one's work was not written; it can start again."""


class StoreError(NightloomError):
    """The serving store cannot do what was asked: no version is current, a push broke, two pushes at once."""


class UnknownUserError(NightloomError):
    """A person asked for a user or item that nobody knows; readers of the API get a fallback list instead."""


class GateClosedError(NightloomError):
    """A gate closed: the night stops here and yesterday's lists stay."""

    exit_code = ExitCode.CLOSED


def printable(text: str) -> str:
    """A text as part of one line: line ends and signs that nobody sees as Python writes them."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


MACHINE_FAULTS = {
    r"No space left on device|os error 28\b|Disk quota exceeded|disk is full|MDB_MAP_FULL": "the disk is full",
    r"Read-only file system|os error 30\b|readonly database": "the file system is read-only",
    r"File too large|os error 27\b": "a file may not grow",
    r"Permission denied|os error 13\b": "a file may not be read or written",
    r"NoSuchBucket|bucket does not exist": "a bucket is not there",
    r"InvalidAccessKeyId|SignatureDoesNotMatch|Access ?Denied|ExpiredToken|AuthorizationFailure": (
        "object storage refuses access"
    ),
    r"error sending request|Unable to execute HTTP request|Connect to .* failed": "object storage does not answer",
}
"""What a library says of the machine, or of object storage -> what is wrong."""


def machine_fault(error: BaseException) -> str | None:
    """One line for an error of the machine, by whatever library it came; None for any other error."""
    each: BaseException | None = error
    while each is not None:
        text = re.sub(r"\x1b\[\d*m|↳", "", str(each))  # how delta-rs decorates a chain of errors
        for pattern, fault in MACHINE_FAULTS.items():
            if lines := [line.strip() for line in text.splitlines() if re.search(pattern, line)]:
                return f"{fault}: {printable(lines[0])[:300]}; mend that and run it again, nothing is lost"
        each = each.__cause__ or each.__context__
    return None
