"""Gate 1's checks of the files that a night read: bronze rows of the night, grouped by file -> checks.

The last record of a file has the reader's summary of the file (`file_summary`); `lines` of all its records must add up
to the lines that the summary counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nightloom.contracts import BRONZE, Table
from nightloom.literals import one_of, sql_text
from nightloom.night.context import Night
from nightloom.night.records import Check

EXAMPLES = 3


@dataclass(frozen=True)
class File:
    """A file as bronze has it."""

    file: str
    records: int
    held: int
    """Lines that its records hold."""
    spanning: int
    """Records that hold more than one line."""
    longest: int
    """Lines of the record that holds most."""
    note: str | None
    """Why it could not be read to its end."""
    summary: dict[str, Any]
    """Empty where its last record is not there."""

    @property
    def lines(self) -> int:
        return int(self.summary.get("lines", -1))


def file_checks(night: Night) -> Iterator[Check]:
    """The checks of each source of files that brought rows this night."""
    for source in night.settings.sources:
        table = BRONZE[source.kind]
        if source.format != "kafka" and night.lake.exists(table):
            files = _files(night, table, source.name)
            if files:
                yield _lines_in_records(source.name, _whole_files(night, table, files), len(files))
                yield from _warnings(source.name, files)


def _files(night: Night, table: Table, source: str) -> list[File]:
    """The files of a source that the night read."""
    # A record that was replayed from quarantine has no lines and no summary.
    rows = _query(
        night,
        table,
        f"""SELECT file, count(lines) AS records, coalesce(sum(lines), 0) AS held, coalesce(max(lines), 0) AS longest,
                   count(CASE WHEN lines > 1 THEN 1 END) AS spanning, max(file_summary) AS summary,
                   max(CASE WHEN lines IS NULL THEN problem END) AS note
            FROM t WHERE night = DATE '{night.date}' AND source = {sql_text(source)}
                     AND (lines IS NOT NULL OR file_summary IS NOT NULL)
            GROUP BY file, file_modified_at ORDER BY file""",
    )
    return [File(**row | {"summary": json.loads(row["summary"] or "{}")}) for row in rows]


def _whole_files(night: Night, table: Table, files: Sequence[File]) -> list[File]:
    """Those of which every line landed this night. Of a file of events that has grown only the new records land."""
    if table == BRONZE["events"]:
        unknown = [file.file for file in files if not file.summary]
        where = f"{one_of('file', unknown)} AND night < DATE '{night.date}'" if unknown else "false"
        known = {row["file"] for row in _query(night, table, f"SELECT DISTINCT file FROM t WHERE {where}")}
        known |= {name for name, states in Counter(file.file for file in files).items() if states > 1}
        return [file for file in files if not file.summary.get("again") and (file.summary or file.file not in known)]
    return list(files)


def _query(night: Night, table: Table, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = night.lake.query(sql, ("t", night.lake.open(table, night.pin(table)))).to_pylist()
    return rows


def _lines_in_records(source: str, files: Sequence[File], read: int) -> Check:
    """The check that the records hold every line of their files, each line once."""
    lines, records, spanning = (sum(getattr(file, name) for file in files) for name in ("lines", "records", "spanning"))
    observed = f"{lines:,} lines of {len(files):,} files in {records:,} records"
    if spanning:
        longest = max(files, key=lambda file: file.longest)
        observed += f"; {spanning:,} hold more than one line, the longest {longest.longest:,} ({longest.file})"
    if grown := read - len(files):
        observed += f"; {grown:,} files that have grown are not counted"
    wrong = [f"{file.file}: {file.held:,} of {_lines(file)} lines" for file in files if file.held != file.lines]
    if wrong:
        observed = _first(wrong)
    return Check(f"lines of {source}", not wrong, observed, "each line of each file in one record")


def _lines(file: File) -> str:
    return f"{file.lines:,}" if file.summary else "an unknown number of"


def _warnings(source: str, files: Sequence[File]) -> Iterator[Check]:
    """A warning for each fault that some files have; the others are used."""
    kinds: tuple[tuple[str, str, Callable[[File], str | None]], ...] = (
        ("unreadable files", "none; a mended file is read again", lambda file: file.note),
        ("fields missing in files", "each declared field, by its name in the header", _missing_fields),
        ("bytes that are no text", "none; set the source's `encoding`", _undecoded),
    )
    for name, expected, text_of in kinds:
        if faulty := [f"{file.file}: {text}" for file in files if (text := text_of(file))]:
            yield Check(f"{name} of {source}", False, _first(faulty), expected, "warn")


def _missing_fields(file: File) -> str | None:
    missing, header = file.summary.get("missing"), file.summary.get("header")
    return f"no {', '.join(missing)}; its header is: {header}" if missing else None


def _undecoded(file: File) -> str | None:
    count = file.summary.get("undecoded")
    return f"in {count:,} of {file.lines:,} lines" if count else None


def _first(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - EXAMPLES:,} more files" if len(texts) > EXAMPLES else ""
    return f"{'; '.join(texts[:EXAMPLES])}{more}"
