"""Delta tables of one lake: create by contract, read as Arrow at a pinned version, append and replace without Spark."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from nightloom.contracts import Table
from nightloom.errors import ConcurrentRunError, DataError, MissingTableError
from nightloom.lake.evolution import with_present_columns
from nightloom.lake.schemas import PROPERTIES, arrow, arrow_schema, delta_schema
from nightloom.literals import spark_name
from nightloom.places import Place

MAINTENANCE_OPERATIONS = {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "ADD CONSTRAINT", "ADD COLUMN"}
"""Operations in a table's history that raise its version and change no row."""


class Lake:
    """Delta tables in one place, LAYER/NAME each."""

    def __init__(self, root: Place) -> None:
        self.root = root

    def place(self, table: Table) -> Place:
        """Where the table is; it need not exist."""
        return self.root / table.folder

    def path(self, table: Table) -> str:
        """The same as text, for libraries."""
        return str(self.place(table))

    def exists(self, table: Table) -> bool:
        return DeltaTable.is_deltatable(self.path(table))

    def create(self, table: Table) -> None:
        """Create the table by its contract. An existing table stays as it is.

        It is created in a scratch folder and moved into its place: the library takes two commits, and no other process
        may write between them. Object storage cannot move it: there each process that creates it adds missing checks.
        """
        if self.exists(table):
            return
        place = self.place(table)
        if not isinstance(place, Path):
            self._create_in_place(table)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as scratch:
            _create(table, f"{scratch}/table", "error")
            try:
                Path(scratch, "table").rename(place)
            except OSError:
                if not self.exists(table):  # else another process was quicker
                    raise

    def _create_in_place(self, table: Table) -> None:
        try:
            _create(table, self.path(table), "error", with_checks=False)
        except DeltaError:
            if not self.exists(table):  # else another process was quicker
                raise
        while (created := self.open(table)) and (missing := _missing_checks(table, created)):
            with suppress(CommitFailedError):  # another process was quicker, with this change or with rows
                created.alter.add_constraint(missing)

    def reset(self, table: Table) -> None:
        """Replace the table by an empty one of its present contract; its earlier versions stay readable."""
        _create(table, self.path(table), "overwrite")

    def open(self, table: Table, version: int | None = None, as_of: datetime | None = None) -> DeltaTable:
        """The table at a version, at a moment (UTC), or now. Raises MissingTableError."""
        if not self.exists(table):
            raise MissingTableError(
                f"{table.full_name} is not in {self.root} yet; the night that writes it has to run first"
            )
        newest = with_present_columns(table, DeltaTable(self.path(table)))
        try:
            opened = newest if version is None else DeltaTable(self.path(table), version=version)
        except (DeltaError, ValueError) as error:
            raise MissingTableError(
                f"{table.full_name} has no version {version} (any more); its newest is {newest.version()}: {error}"
            ) from None
        if as_of is not None:
            # Before the first commit the library gives the oldest version without a word.
            first = datetime.fromtimestamp(min(commit["timestamp"] for commit in self.commits(table)) / 1000, UTC)
            if as_of < first:
                raise MissingTableError(f"{table.full_name} did not exist at {as_of}; its first version is of {first}")
            opened.load_as_version(as_of)
        return opened

    def version(self, table: Table) -> int:
        """Newest version."""
        return self.open(table).version()

    def same_rows(self, table: Table, earlier: int, later: int) -> bool:
        """Whether two versions hold the same rows for certain: equal, or only maintenance between them."""
        between = [commit for commit in self.commits(table, earlier + 1) if commit["version"] <= later]
        kept = all(commit["operation"] in MAINTENANCE_OPERATIONS for commit in between)
        return kept and len(between) == later - earlier

    def commits(self, table: Table, since: int = 0) -> list[dict[str, Any]]:
        """The table's history from a version on, newest first, as far back as the log has it.

        The library's own history() is empty in a folder with `#` or `?` in its name.
        """
        log, found = self.place(table) / "_delta_log", []
        for version in range(self.version(table), since - 1, -1):
            try:
                actions = (log / f"{version:020}.json").read_text(encoding="utf8").splitlines()
            except FileNotFoundError:
                break
            infos = (entry["commitInfo"] for entry in map(json.loads, actions) if "commitInfo" in entry)
            found.append(next(infos, {"operation": "UNKNOWN"}) | {"version": version})  # a writer may leave it out
        return found

    def last_commit(self, table: Table) -> dict[str, Any]:
        """The newest entry of the table's history."""
        return self.commits(table, self.version(table))[0]

    def consumed_version(self, table: Table, into: Table, version: int | None = None) -> int | None:
        """Version of `table` whose rows `into` has consumed, now or at a `version` of `into`; None before the first."""
        if not self.exists(into):
            return None
        return self.open(into, version).transaction_version(transaction_id(table, into))

    def mark_consumed(self, versions: Mapping[Table, int], into: Table) -> None:
        """Record in `into` up to which version it has consumed other tables; it is created at its first use."""
        self.append(into, [], versions)

    def changes(self, table: Table, since: int, until: int, columns: Sequence[str]) -> pa.RecordBatchReader:
        """The change feed: rows that changed after a version, up to another; `_change_type`, `_commit_version` say how.

        Only files of the commits in between are read. Raises MissingTableError where maintenance by hand removed them.
        """
        names = [*columns, "_change_type", "_commit_version"]
        try:
            feed = self.open(table).load_cdf(since + 1, until, columns=names, allow_out_of_range=since >= until)
        except DeltaError as error:
            raise MissingTableError(
                f"the changes of {table.full_name} after version {since} cannot be read any more: {error}"
            ) from None
        return pa.RecordBatchReader.from_stream(feed)

    def query(self, sql: str, *opened: tuple[str, DeltaTable]) -> pa.Table:
        """SQL (DataFusion's) over opened tables by name -> Arrow."""
        return self.stream_query(sql, *opened).read_all()

    def stream_query(self, sql: str, *opened: tuple[str, DeltaTable]) -> pa.RecordBatchReader:
        """The same, a batch of some thousand rows at a time: memory does not grow with the answer."""
        builder = QueryBuilder()  # the library's to_pyarrow_table() may abort the interpreter at exit
        for name, table in opened:
            builder.register(name, table)
        return pa.RecordBatchReader.from_stream(builder.execute(sql))

    def rows(
        self, table: Table, where: str = "true", columns: Sequence[str] = ("*",), version: int | None = None
    ) -> pa.Table:
        """Rows of one table as Arrow: `where` and `columns` are SQL."""
        return self.query(f"SELECT {', '.join(columns)} FROM t WHERE {where}", ("t", self.open(table, version)))

    def stream(self, table: Table, where: str, columns: Sequence[str], version: int) -> pa.RecordBatchReader:
        """The same, batch by batch: memory does not grow with the table."""
        return self.stream_query(f"SELECT {', '.join(columns)} FROM t WHERE {where}", ("t", self.open(table, version)))

    def files(self, table: Table, version: int | None = None, where: str | None = None) -> list[str]:
        """Paths of the files that hold a version's rows; `where` is SQL over the partition's column.

        Raises DataError where the rows are not the files' rows: some are deleted by a deletion vector.
        """
        opened = self.open(table, version)
        if "deletionVectors" in (opened.protocol().reader_features or ()):
            deleted = pa.table(opened.deletion_vectors()).num_rows
            if deleted:
                name = f"delta.{spark_name(self.path(table))}"
                raise DataError(
                    f"{table.full_name}: {deleted} files have deletion vectors, expected none: DuckDB would read rows "
                    f"that were deleted. Run in Spark: ALTER TABLE {name} SET TBLPROPERTIES "
                    f"('delta.enableDeletionVectors' = 'false'); REORG TABLE {name} APPLY (PURGE)"
                )
        return [unquote(uri) for uri in opened.file_uris(file_pruning_predicate=where)]

    def distinct_in_log(self, table: Table, columns: Sequence[str], version: int) -> set[Any] | None:
        """Distinct values of the columns together, as tuples, from Delta's log alone; None where the log lacks them.

        The log has them where each file holds one value of each column. It cuts long texts, the greatest one upwards,
        so a cut text never passes for the only value of a file.
        """
        files = pa.table(self.open(table, version).get_add_actions(flatten=True)).to_pylist()
        least, greatest = (
            [tuple(file.get(f"{end}.{name}") for name in columns) for file in files] for end in ("min", "max")
        )
        return set(least) if least == greatest and None not in chain.from_iterable(least) else None

    def append(
        self,
        table: Table,
        rows: Sequence[Mapping[str, Any]] | pa.Table | pa.RecordBatchReader,
        consumed: Mapping[Table, int] = MappingProxyType({}),
        stamp: str | None = None,
        transactions: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Append rows, checked against the contract. Creates the table at its first use.

        `consumed` is written in the same commit: up to which versions the rows have consumed other tables. `stamp` is
        the commit's userMetadata, as Spark calls it, and `transactions` are Delta's, application -> version. A reader's
        rows are written batch by batch. Raises ConcurrentRunError where another run wrote the same mark or transaction
        at the same moment; nothing was written then.
        """
        self.create(table)
        opened = self.open(table)
        data = rows if isinstance(rows, pa.Table | pa.RecordBatchReader) else arrow(table, rows)
        marks = [Transaction(transaction_id(source, table), version) for source, version in consumed.items()]
        marks += [Transaction(application, version) for application, version in transactions.items()]
        commit = CommitProperties(custom_metadata={"userMetadata": stamp} if stamp else None, app_transactions=marks)
        try:
            with self._violations_explained(table, data):
                write_deltalake(opened, data, mode="append", commit_properties=commit)
        except CommitFailedError:
            raise ConcurrentRunError(f"{table.full_name} was changed by another run at the same moment.") from None

    def replace(
        self,
        table: Table,
        rows: pa.Table,
        where: str,
        stamp: str,
        transaction: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Replace the rows that meet `where` by these (the contract's columns, in any order), in one commit.

        `stamp` is the commit's userMetadata, as Spark calls it, and `transaction` Delta's (AppId, Version). Raises
        DataError where a row breaks a check, and ConcurrentRunError where another run wrote there at the same moment;
        nothing was written then.
        """
        self.create(table)
        data = rows.select(table.column_names).cast(arrow_schema(table))
        marks = [Transaction(transaction["AppId"], int(transaction["Version"]))] if transaction else []
        commit = CommitProperties(custom_metadata={"userMetadata": stamp}, app_transactions=marks)
        try:
            with self._violations_explained(table, data):
                write_deltalake(self.path(table), data, mode="overwrite", predicate=where, commit_properties=commit)
        except CommitFailedError:
            raise ConcurrentRunError(f"{table.full_name} was changed by another run at the same moment.") from None

    def update(self, table: Table, rows: Sequence[Mapping[str, Any]] | pa.Table) -> None:
        """Write these columns of the rows with these keys, in one commit. Rows with an unknown key are left out."""
        same_key = " AND ".join(f"old.{key} = new.{key}" for key in table.key)
        data = rows if isinstance(rows, pa.Table) else arrow(table, rows)
        merge = self.open(table).merge(data, same_key, source_alias="new", target_alias="old")
        merge = merge.when_matched_update({n: f"new.{n}" for n in data.column_names if n not in table.key})
        with self._violations_explained(table, data):
            merge.execute()

    @contextmanager
    def _violations_explained(self, table: Table, rows: pa.Table | pa.RecordBatchReader) -> Iterator[None]:
        """Around a write of `rows`: a row that breaks a check raises DataError, and nothing was written."""
        try:
            yield
        except DeltaError as error:
            if "failed validation check" not in str(error):
                raise
            if isinstance(rows, pa.RecordBatchReader):  # its rows are gone
                raise DataError(f"{table.full_name}: {error}; nothing was written") from None
            raise self._violation(table, rows) from None

    def _violation(self, table: Table, rows: pa.Table) -> DataError:
        """The first check that a row breaks, with the row's values. Delta's own message names neither."""
        with tempfile.TemporaryDirectory() as scratch:
            write_deltalake(scratch, rows)
            for name, condition in table.checks:
                broken = self.query(
                    f"SELECT * FROM t WHERE ({condition}) IS NOT TRUE LIMIT 1", ("t", DeltaTable(scratch))
                )
                if broken.num_rows:
                    return check_violation(table, name, broken.to_pylist()[0])
        return DataError(f"{table.full_name}: Delta refused a row that breaks none of the contract's checks")


def _missing_checks(table: Table, opened: DeltaTable) -> dict[str, str]:
    found = opened.metadata().configuration
    return {name: condition for name, condition in table.checks if f"delta.constraints.{name}" not in found}


def _create(table: Table, path: str, mode: Literal["error", "overwrite"], with_checks: bool = True) -> None:
    created = DeltaTable.create(
        path,
        delta_schema(table),
        mode=mode,
        partition_by=[table.partition] if table.partition else None,
        name=table.full_name.replace(".", "_"),
        description=table.grain,
        configuration=PROPERTIES,
    )
    if table.checks and with_checks:  # not in the first commit: the library refuses to create a table with a constraint
        created.alter.add_constraint(dict(table.checks))


def transaction_id(table: Table, into: Table) -> str:
    """Id of the Delta transaction that records which version of `table` the table `into` has consumed."""
    return f"{into.full_name} from {table.full_name}"


def check_violation(table: Table, check: str, row: Mapping[str, Any]) -> DataError:
    """The error for a row that breaks a check: the table, the check, and the row's key and the values it is about."""
    condition = dict(table.checks)[check]
    named = [name for name in row if name in table.key or re.search(rf"\b{name}\b", condition)]
    values = ", ".join(f"{name} {row[name]!r}" for name in named)
    return DataError(f"{table.full_name}: a row breaks the check {check} ({condition}): {values}; nothing was written")
