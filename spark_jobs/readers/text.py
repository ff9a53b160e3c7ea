"""Bytes -> decoded lines, counted. The encoding is that of the byte order mark, else the source's, else UTF-8."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator
from functools import partial
from io import BufferedIOBase, BufferedReader, TextIOWrapper
from typing import BinaryIO, cast

from spark_jobs.readers.compression import DAMAGE_ERRORS, HEAD, READ_AHEAD
from spark_jobs.readers.record import Found, UnreadableFileError

MARK = "\ufffd"
"""Stands for a byte that is no text; the byte's two hexadecimal digits follow, so different bytes stay different."""
CUT = "the damage of its file cut this line"
MARKING = "mark bytes"
ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
"""First bytes -> Python's encoding. UTF-32's first: UTF-16's mark is the beginning of it."""
COLUMNAR = {b"PAR1\x15": "parquet", b"ORC\n": "orc", b"Obj\x01": "avro"}
CONTROL = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1a\x1b"))
MAX_CONTROL = 0.05  # of the first bytes; more of them are no text
MAX_LINE = 1 << 26  # characters; a longer line comes in pieces


def mark_bytes(error: UnicodeError) -> tuple[str, int]:
    """The handler of bytes that cannot be decoded, for `errors=MARKING`."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"{MARK}{byte:02X}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error(MARKING, mark_bytes)


class TextLines:
    """The lines of a stream with their line ends, whatever these are; `found` counts them.

    A damaged stream ends at the damage: `damage` is then its error.
    """

    def __init__(self, stream: BufferedReader, encoding: str | None, found: Found, delimiter: str = ",") -> None:
        head = stream.peek(HEAD)[:HEAD]
        if columnar := next((name for first, name in COLUMNAR.items() if head.startswith(first)), None):
            raise UnreadableFileError(f"it is of the format {columnar}; set the source's `format`")
        own = next((name for mark, name in ORDER_MARKS.items() if head.startswith(mark)), encoding)
        control = len(head) - len(head.translate(None, bytes(set(CONTROL) - {*delimiter.encode()})))
        if not own and control > MAX_CONTROL * len(head):
            raise UnreadableFileError(
                f"it is no text: {control} of its first {len(head)} bytes are control characters; "
                "if it is text of two bytes a character, set the source's `encoding`"
            )
        self._bytes = _UpToDamage(stream)
        self._text = TextIOWrapper(cast("BinaryIO", self._bytes), encoding=own or "utf-8", errors=MARKING, newline="")
        self._waiting: deque[str] = deque()
        self.found = found

    def __iter__(self) -> Iterator[str]:
        """The lines that were not given yet. Whoever looks ahead takes an iterator of their own: one that has come to
        the end gives nothing that is pushed back."""
        found, readline = self.found, partial(self._text.readline, MAX_LINE)
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            for line in iter(readline, ""):
                if not line.isspace():
                    found.lines += 1
                if "\0" in line:  # no text in any encoding, and PostgreSQL cannot store it
                    line = line.replace("\0", f"{MARK}00")
                if MARK in line:
                    found.undecoded += 1
                yield line
                if self._waiting:
                    break
            else:
                return

    def push_back(self, lines: list[str]) -> None:
        """Give lines again, before those that follow."""
        self._waiting.extendleft(reversed(lines))

    @property
    def damage(self) -> Exception | None:
        return self._bytes.damage

    def is_piece(self, line: str) -> bool:
        """Whether this is a part of a longer line, and not its end."""
        return len(line) >= MAX_LINE and not line.endswith(("\n", "\r"))

    def cuts(self, line: str) -> bool:
        """Whether the damage of the stream cut this line."""
        return self.damage is not None and not line.endswith(("\n", "\r"))


class _UpToDamage(BufferedIOBase):
    """A stream that ends where it is damaged. Raises OSError where the machine is at fault and not the file."""

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self.damage: Exception | None = None

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        try:
            return self._stream.read1(READ_AHEAD)
        except DAMAGE_ERRORS as error:
            if is_machine_fault(error):
                raise
            self.damage = error
            return b""


def is_machine_fault(error: BaseException) -> bool:
    """Whether an error is the machine's: an OSError of a decompression library has no number."""
    return getattr(error, "errno", None) is not None and not isinstance(error, FileNotFoundError)
