"""Whether each record that silver has consumed became something: bronze against silver, row by row.

bronze, silver, quarantine.rows, silver.unused_rows -> checks. A bronze record is accounted for when its row id is in
silver or in quarantine, when a declared rule skipped it, or when it is a named duplicate (or older description) of
something that silver has. Rows that somebody removed from one of these tables are looked for, too.

Only change feeds are read, from the versions that gate 1 reconciled last: ops.gates notes them in one commit with the
checks of an open gate. Looked up in whole tables is only what is not among the changes: the events that an earlier
night brought already, by their time, and what seems to be lost. Rows are compared by a 64-bit hash of their ids, 8
bytes a row: a lost one of ten million hides behind another one in one of 10^12 cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb

from nightloom.contracts import BRONZE, GATES, INTERACTIONS, QUARANTINE_ROWS, SILVER, UNUSED_ROWS, Table
from nightloom.errors import MissingTableError
from nightloom.lake.duck import spilling_duckdb
from nightloom.literals import sql_text
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.records import Check

EXAMPLES = 3
MEMORY = "1GB"
"""DuckDB's; what does not fit spills to the disk."""
CLEANING = {"events": stages.SILVER_INTERACTIONS, "items": stages.SILVER_ITEMS, "users": stages.SILVER_USERS}
"""Kind of a source -> the stage that cleans its records."""
PRESENT = "HAVING max(version) FILTER (came) >= coalesce(max(version) FILTER (NOT came), 0)"
GONE = "HAVING max(version) FILTER (NOT came) > coalesce(max(version) FILTER (came), 0)"
"""Of the changes of one id: the last one leaves it in the table, or takes it away."""


def reconcile(night: Night, kind: str) -> tuple[list[Check], Mapping[Table, int]]:
    """The checks of one kind, and the versions of the tables that are reconciled if the gate is open.

    Nothing where silver has not cleaned a record since it records what became of each.
    """
    if not night.lake.exists(SILVER[kind]) or night.lake.consumed_version(BRONZE[kind], GATES) is None:
        return [], {}
    with spilling_duckdb(night.settings.place("scratch")) as db:
        db.execute(f"SET memory_limit = '{MEMORY}'")
        search = Search(night, kind, db)
        name, command = f"no {kind[:-1]} row lost", f"python -m {CLEANING[kind].name} --date {night.date} --all"
        expected = f"none; `{command}` makes {search.silver.full_name} from bronze again"
        try:
            passed, observed = search.find_lost_rows()
            return [Check(name, passed, observed, expected), *search.not_cleaned()], search.until
        except MissingTableError as error:
            return [Check(name, False, str(error), expected)], search.until


class Search:
    """The search for one kind's lost rows; in DuckDB, `missing` has the hashes of those not accounted for yet."""

    def __init__(self, night: Night, kind: str, db: duckdb.DuckDBPyConnection) -> None:
        self.night, self.kind, self.db = night, kind, db
        self.bronze, self.silver = BRONZE[kind], SILVER[kind]
        into = (self.silver, UNUSED_ROWS)
        self.until = {table: night.pin(table) for table in (*into, QUARANTINE_ROWS)}
        cleaned = [night.lake.consumed_version(self.bronze, table, night.pin(table)) for table in into]
        self.until[self.bronze] = min(version or 0 for version in cleaned)
        self.since = {table: night.lake.consumed_version(table, GATES) or 0 for table in self.until}
        if self.since[self.silver] > self.until[self.silver]:  # silver was removed and made again
            self.since |= {self.bronze: 0, self.silver: 0}

    def find_lost_rows(self) -> tuple[bool, str]:
        """Whether none is lost, and what was found."""
        rows = self._find_rows()
        parts = ", ".join(f"{found:,} {what}" for what, found in self._account().items())
        if not self._missing() or not (examples := self._lost_rows()):
            return True, f"all of {rows:,} rows found: {parts}"
        lost = f"{self._missing():,} of {rows:,} rows are in none of the tables"
        return False, f"{lost}, e.g. {'; '.join(examples)} ({parts})"

    def not_cleaned(self) -> list[Check]:
        """A warning when records came that silver has not cleaned; replayed ones always wait for the next night."""
        newest = self.night.pin(self.bronze)
        self._read(
            "waiting", self.bronze, self.until[self.bronze], newest, where="NOT starts_with(file, 'quarantine/')"
        )
        rows, name = self._count("waiting"), f"{self.kind} that wait for silver"
        return [Check(name, False, f"{rows:,} rows", "none; the next night takes them", "warn")] if rows else []

    def _find_rows(self) -> int:
        """Make `missing` of all rows that have to be somewhere: new ones of bronze, and those removed elsewhere."""
        since, until, kind = self.since, self.until, f"kind = {sql_text(self.kind)}"
        self._read("arrived", self.bronze, since[self.bronze], until[self.bronze])
        self._read("used", self.silver, since[self.silver], until[self.silver], key=self.silver.key[0])
        self._read("bad", QUARANTINE_ROWS, since[QUARANTINE_ROWS], until[QUARANTINE_ROWS], where=kind)
        self._read(
            "unused",
            UNUSED_ROWS,
            since[UNUSED_ROWS],
            until[UNUSED_ROWS],
            where=kind,
            key="detail",
            moment="occurred_at",
            outcome="outcome",
        )
        gone = " UNION ".join(f"SELECT id FROM {name} GROUP BY id {GONE}" for name in ("used", "bad", "unused"))
        self.db.execute(f"CREATE TABLE missing AS SELECT id FROM arrived WHERE came UNION {gone}")
        return self._missing()

    def _read(self, name: str, table: Table, since: int, until: int, *, where: str = "true", **columns: str) -> None:
        """A table's changes between two versions, as a table: id, version, came (or went), key, moment, outcome."""
        needed = [name for name in table.column_names if name in {"row_id", "kind", "file"} | set(columns.values())]
        self.db.register("feed", self.night.lake.changes(table, since, until, needed))
        key, moment, outcome = (columns.get(column, "NULL") for column in ("key", "moment", "outcome"))
        try:
            self.db.execute(
                f"""CREATE TABLE {name} AS
                    SELECT hash(row_id) AS id, _commit_version AS version,
                           _change_type IN ('insert', 'update_postimage') AS came, hash({key}) AS key,
                           CAST({moment} AS TIMESTAMPTZ) AS moment, CAST({outcome} AS TEXT) AS outcome
                    FROM feed WHERE {where}"""
            )
        except duckdb.InvalidInputException as error:
            raise MissingTableError(
                f"the changes of {table.full_name} after version {since} cannot be read: {error}"
            ) from None

    def _account(self) -> dict[str, int]:
        """Take from `missing` what is accounted for -> how many rows for which reason; stops when none is missing."""
        found: dict[str, int] = {}
        for what, rows in self._evidence():
            if not self._missing():
                break
            before = self._missing()
            self.db.execute(f"CREATE OR REPLACE TABLE missing AS SELECT id FROM missing ANTI JOIN ({rows}) USING (id)")
            found[what] = found.get(what, 0) + before - self._missing()
        return found

    def _evidence(self) -> Iterator[tuple[str, str]]:
        """What accounts for rows: (in words, SQL for the ids), the changes first, then the whole tables."""
        in_silver, in_quarantine, skipped = f"in {self.silver.full_name}", "in quarantine", "skipped by rules"
        duplicates = "duplicates" if self.silver == INTERACTIONS else "older descriptions"
        yield in_silver, f"SELECT id FROM used GROUP BY id {PRESENT}"
        yield in_quarantine, f"SELECT id FROM bad GROUP BY id {PRESENT}"
        yield skipped, f"SELECT id FROM unused WHERE outcome = 'skipped' GROUP BY id {PRESENT}"
        self.db.execute(
            f"""CREATE TABLE claims AS
                SELECT id, any_value(key) AS key, any_value(moment) AS moment FROM unused
                WHERE outcome <> 'skipped' GROUP BY id {PRESENT}
                UNION SELECT id, key, NULL FROM used WHERE NOT came"""
        )
        yield duplicates, f"SELECT id FROM claims SEMI JOIN (SELECT key FROM used GROUP BY key {PRESENT}) USING (key)"
        yield from ((duplicates, rows) for rows in self._known_keys())
        yield in_silver, self._whole(self.silver)
        yield in_quarantine, self._whole(QUARANTINE_ROWS, f"kind = {sql_text(self.kind)}")
        whole = self._stream(
            UNUSED_ROWS, f"kind = {sql_text(self.kind)}", ("row_id", "outcome", "detail", "occurred_at")
        )
        self.db.execute(
            f"""CREATE OR REPLACE TABLE claims AS
                SELECT hash(row_id) AS id, hash(detail) AS key, occurred_at AS moment, outcome
                FROM {whole} WHERE hash(row_id) IN (SELECT id FROM missing)"""
        )
        yield skipped, "SELECT id FROM claims WHERE outcome = 'skipped'"
        yield from ((duplicates, rows) for rows in self._known_keys())

    def _known_keys(self) -> Iterator[str]:
        """SQL for the ids of claims whose event, item or user is in silver: near the claims' time, then all."""
        key, claims = self.silver.key[0], "claims SEMI JOIN missing USING (id)"
        first, last = self.db.sql(f"SELECT min(moment), max(moment) FROM {claims}").fetchall()[0]
        near = f"occurred_at BETWEEN TIMESTAMP '{first}' AND TIMESTAMP '{last}'"
        for where in ([near] if first else []) + ["true"]:
            if self._count(claims):
                whole = self._stream(self.silver, where, (key,))
                there = f"SELECT hash({key}) AS key FROM {whole} WHERE hash({key}) IN (SELECT key FROM {claims})"
                yield f"SELECT id FROM claims SEMI JOIN ({there}) USING (key)"

    def _whole(self, table: Table, where: str = "true") -> str:
        """SQL for the missing ids that are in a table, whenever they came."""
        whole = self._stream(table, where, ("row_id",))
        return f"SELECT hash(row_id) AS id FROM {whole} WHERE hash(row_id) IN (SELECT id FROM missing)"

    def _stream(self, table: Table, where: str, columns: tuple[str, ...]) -> str:
        """The name of a view that reads a pinned table once, batch by batch."""
        self.db.register("whole", self.night.lake.stream(table, where, columns, self.night.pin(table)))
        return "whole"

    def _lost_rows(self) -> list[str]:
        """Examples of what is missing and in bronze: an erased record is not lost."""
        whole = self._stream(self.bronze, "true", ("row_id", "file"))
        self.db.execute(
            f"""CREATE OR REPLACE TABLE missing AS
                SELECT hash(row_id) AS id, min(row_id) AS row_id, min(file) AS file
                FROM {whole} WHERE hash(row_id) IN (SELECT id FROM missing) GROUP BY 1"""
        )
        rows = self.db.sql(f"SELECT row_id, file FROM missing ORDER BY file, row_id LIMIT {EXAMPLES}").fetchall()
        return [f"{row_id[:12]} of {file}" for row_id, file in rows]

    def _missing(self) -> int:
        return self._count("missing")

    def _count(self, rows: str) -> int:
        return int(self.db.sql(f"SELECT count(*) FROM {rows}").fetchall()[0][0])
