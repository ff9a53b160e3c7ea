"""Delta tables of one lake: create by contract, read as Arrow at a pinned version, append and replace without Spark."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, QueryBuilder, Schema, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import ArrayType, MapType, PrimitiveType

from nightloom.contracts import Column, Table
from nightloom.errors import ConcurrentRunError, DataError, MissingTableError

PRIMITIVES = {
    "string": pa.string(), "bigint": pa.int64(), "int": pa.int32(), "double": pa.float64(), "float": pa.float32(),
    "boolean": pa.bool_(), "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC"),
}  # fmt: skip
"""Spark DDL name -> Arrow type."""
DELTA_NAMES = {"bigint": "long", "int": "integer"}
PROPERTIES = {
    "delta.enableChangeDataFeed": "true",
    # The log is shortened by the maintenance alone: it knows which versions are still needed, a writer does not.
    "delta.enableExpiredLogCleanup": "false",
}
"""Properties of every table."""
CONSTRAINT = "delta.constraints."
UPKEEP = {"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "ADD CONSTRAINT"}
"""Operations in a table's history that raise its version and change no row."""


class Lake:
    """A folder of Delta tables, LAYER/NAME each."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, table: Table) -> str:
        """Where the table is; it need not exist."""
        return str(self.root / table.layer / table.name)

    def exists(self, table: Table) -> bool:
        return DeltaTable.is_deltatable(self.path(table))

    def create(self, table: Table) -> None:
        """Make the table by its contract, or leave it when it is there.

        Made aside and moved into its place: the library takes two commits, and nobody may write between them.
        """
        if self.exists(table):
            return
        place = Path(self.path(table))
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as scratch:
            _make(table, f"{scratch}/table", "error")
            try:
                Path(scratch, "table").rename(place)
            except OSError:
                if not self.exists(table):  # else another process was quicker
                    raise

    def renew(self, table: Table) -> None:
        """Put an empty table, as its contract is now, in the place of the one there, whose earlier versions stay."""
        _make(table, self.path(table), "overwrite")

    def open(self, table: Table, version: int | None = None, as_of: datetime | None = None) -> DeltaTable:
        """The table at a version, at a moment (UTC), or now. Raises MissingTableError."""
        if not self.exists(table):
            raise MissingTableError(
                f"{table.full_name} is not in {self.root} yet; the night that writes it has to run first"
            )
        newest = DeltaTable(self.path(table))
        try:
            opened = newest if version is None else DeltaTable(self.path(table), version=version)
        except (DeltaError, ValueError) as error:
            raise MissingTableError(
                f"{table.full_name} has no version {version} (any more); its newest is {newest.version()}: {error}"
            ) from None
        if as_of is not None:
            # Before the first commit the library gives the oldest version without a word.
            first = datetime.fromtimestamp(min(commit["timestamp"] for commit in newest.history()) / 1000, UTC)
            if as_of < first:
                raise MissingTableError(f"{table.full_name} did not exist at {as_of}; its first version is of {first}")
            opened.load_as_version(as_of)
        return opened

    def version(self, table: Table) -> int:
        """Newest version."""
        return self.open(table).version()

    def same_rows(self, table: Table, earlier: int, later: int) -> bool:
        """Whether two versions hold the same rows for certain: equal, or only upkeep between them."""
        between = [commit for commit in self.commits(table, earlier + 1) if commit["version"] <= later]
        return earlier <= later and all(commit["operation"] in UPKEEP for commit in between)

    def commits(self, table: Table, since: int) -> list[dict[str, Any]]:
        """The table's history from a version on, newest first."""
        newest = self.open(table)  # the library's history of an older version counts from the newest all the same
        return newest.history(newest.version() - since + 1) if since <= newest.version() else []

    def taken(self, table: Table, into: Table) -> int | None:
        """Version of `table` up to which `into` has taken its rows; None before the first time."""
        return self.open(into).transaction_version(taking(table, into)) if self.exists(into) else None

    def query(self, sql: str, *opened: tuple[str, DeltaTable]) -> pa.Table:
        """SQL (DataFusion's) over opened tables by name -> Arrow."""
        return _stream(sql, *opened).read_all()

    def rows(
        self, table: Table, where: str = "true", columns: Sequence[str] = ("*",), version: int | None = None
    ) -> pa.Table:
        """Rows of one table as Arrow: `where` and `columns` are SQL."""
        return self.query(f"SELECT {', '.join(columns)} FROM t WHERE {where}", ("t", self.open(table, version)))

    def stream(self, table: Table, where: str, columns: Sequence[str], version: int) -> pa.RecordBatchReader:
        """The same, a batch of some thousand rows at a time: memory does not grow with the table."""
        return _stream(f"SELECT {', '.join(columns)} FROM t WHERE {where}", ("t", self.open(table, version)))

    def logged(self, table: Table, columns: Sequence[str], version: int) -> set[Any] | None:
        """The distinct values of columns together as tuples, by the log alone; None where it does not say.

        It says them of files that hold one value of each. A text that is too long for it is cut there, the greatest one
        upwards, so that it is never taken for a file's only one.
        """
        files = pa.table(self.open(table, version).get_add_actions(flatten=True)).to_pylist()
        least, greatest = (
            [tuple(file.get(f"{end}.{name}") for name in columns) for file in files] for end in ("min", "max")
        )
        return set(least) if least == greatest and None not in chain.from_iterable(least) else None

    def append(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows, checked against the contract. Makes the table at its first use."""
        self.create(table)
        made = arrow(table, rows)
        with self._checked(table, made):
            write_deltalake(self.path(table), made, mode="append")

    def replace(self, table: Table, rows: pa.Table, where: str, stamp: str) -> None:
        """Put rows (the contract's columns, in any order) in the place of those that meet `where`, in one commit.

        `stamp` is the commit's userMetadata, as Spark calls it. Raises DataError where a row breaks a check, and
        ConcurrentRunError where another run wrote there at the same moment; nothing was written then.
        """
        self.create(table)
        made = rows.select(table.column_names).cast(arrow_schema(table))
        said = CommitProperties(custom_metadata={"userMetadata": stamp})
        try:
            with self._checked(table, made):
                write_deltalake(self.path(table), made, mode="overwrite", predicate=where, commit_properties=said)
        except CommitFailedError:
            raise ConcurrentRunError(f"{table.full_name} was changed by another run at the same moment.") from None

    def update(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the rows with these keys by these rows, in one commit; a key that is not there is left out."""
        same = " AND ".join(f"kept.{key} = came.{key}" for key in table.key)
        made = arrow(table, rows)
        merge = self.open(table).merge(made, same, source_alias="came", target_alias="kept").when_matched_update_all()
        with self._checked(table, made):
            merge.execute()

    @contextmanager
    def _checked(self, table: Table, rows: pa.Table) -> Iterator[None]:
        """Within, `rows` are written: one that breaks a check raises DataError, and nothing was written."""
        try:
            yield
        except DeltaError as error:
            if "failed validation check" not in str(error):
                raise
            raise self._refused(table, rows) from None

    def _refused(self, table: Table, rows: pa.Table) -> DataError:
        """Which check of the table a refused row breaks, and with which values: Delta's own words name neither."""
        with tempfile.TemporaryDirectory() as scratch:
            write_deltalake(scratch, rows)
            for name, condition in table.checks:
                broken = self.query(
                    f"SELECT * FROM t WHERE ({condition}) IS NOT TRUE LIMIT 1", ("t", DeltaTable(scratch))
                )
                if broken.num_rows:
                    return refusal(table, name, broken.to_pylist()[0])
        return DataError(f"{table.full_name}: Delta refused a row that breaks none of the contract's checks")


def _stream(sql: str, *opened: tuple[str, DeltaTable]) -> pa.RecordBatchReader:
    """QueryBuilder and not to_pyarrow_table(): the latter may abort the interpreter at exit, and this one streams."""
    builder = QueryBuilder()
    for name, table in opened:
        builder.register(name, table)
    return pa.RecordBatchReader.from_stream(builder.execute(sql))


def _make(table: Table, path: str, mode: Literal["error", "overwrite"]) -> None:
    made = DeltaTable.create(
        path,
        Schema([_delta_field(column) for column in table.columns]),
        mode=mode,
        partition_by=[table.partition] if table.partition else None,
        name=table.full_name.replace(".", "_"),
        description=table.grain,
        configuration=PROPERTIES,
    )
    if table.checks:  # not in the first commit: the library refuses to make a table with a constraint
        made.alter.add_constraint(dict(table.checks))


def taking(table: Table, into: Table) -> str:
    """Name of the Delta transaction that marks what `into` has taken from `table`."""
    return f"{into.full_name} from {table.full_name}"


def refusal(table: Table, check: str, row: Mapping[str, Any]) -> DataError:
    """The error for a row that breaks a check: the table, the check, and the row's key and the values it is about."""
    condition = dict(table.checks)[check]
    named = [name for name in row if name in table.key or re.search(rf"\b{name}\b", condition)]
    values = ", ".join(f"{name} {row[name]!r}" for name in named)
    return DataError(f"{table.full_name}: a row breaks the check {check} ({condition}): {values}; nothing was written")


def properties(table: Table) -> dict[str, str]:
    """Properties that the table is made with, its checks among them."""
    return PROPERTIES | {f"{CONSTRAINT}{name}": condition for name, condition in table.checks}


def arrow(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows -> Arrow by the contract. Raises DataError when a column is missing, unknown, null or of another type."""
    for row in rows:
        if row.keys() != set(table.column_names):
            found, expected = sorted(row.keys()), sorted(table.column_names)
            raise DataError(f"{table.full_name}: a row has columns {found}, expected {expected}")
    try:
        made = pa.Table.from_pylist(list(rows), schema=arrow_schema(table))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{table.full_name}: a row does not fit the contract: {error}") from None
    if empty := [column.name for column in table.columns if column.required and made[column.name].null_count]:
        raise DataError(f"{table.full_name}: a row has no {', no '.join(empty)}; the contract requires one")
    return made


def arrow_schema(table: Table) -> pa.Schema:
    """The contract as an Arrow schema."""
    return pa.schema([pa.field(c.name, arrow_type(c.type), nullable=not c.required) for c in table.columns])


def arrow_type(ddl: str) -> pa.DataType:
    """`array<string>`, `map<string,bigint>` or a primitive's Spark DDL name -> Arrow type."""
    if nested := re.fullmatch(r"array<(\w+)>", ddl):
        return pa.list_(PRIMITIVES[nested[1]])
    if nested := re.fullmatch(r"map<(\w+),(\w+)>", ddl):
        return pa.map_(PRIMITIVES[nested[1]], PRIMITIVES[nested[2]])
    return PRIMITIVES[ddl]


def _delta_field(column: Column) -> Field:
    return Field(
        column.name, _delta_type(column.type), nullable=not column.required, metadata={"comment": column.comment}
    )


def _delta_type(ddl: str) -> Any:
    if nested := re.fullmatch(r"array<(\w+)>", ddl):
        return ArrayType(_delta_type(nested[1]), contains_null=True)
    if nested := re.fullmatch(r"map<(\w+),(\w+)>", ddl):
        return MapType(_delta_type(nested[1]), _delta_type(nested[2]), value_contains_null=True)
    return PrimitiveType(DELTA_NAMES.get(ddl, ddl))


def now() -> datetime:
    """This moment, UTC, as Delta keeps it (microseconds)."""
    return datetime.now(UTC)


def as_json(value: Any) -> str:
    """One value as JSON, dates in ISO form."""
    return json.dumps(value, default=str, ensure_ascii=False)
