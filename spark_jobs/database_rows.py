"""The rows of a database's table that are new or changed since a read, by JDBC; JDBC's errors -> ours.

A read begins at the greatest value of the cursor column that the read before saw, less `look_back`. Rows at that value
come again, and bronze_tables.py leaves out those that bronze has: two rows may have one value, and one of them may be
committed later. Without a cursor column a read brings the whole table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DateType, NumericType, TimestampNTZType, TimestampType

from nightloom.errors import DataError, NightloomError, printable
from nightloom.lake import now
from nightloom.literals import spark_name
from nightloom.settings import Source
from nightloom.settings.databases import credential_variables, credentials, database_of
from spark_jobs.context import SparkNight
from spark_jobs.table_reads import EVER, MODIFIED, NewRows, Read, Reads, check_columns

FETCH_ROWS = 10_000
"""PostgreSQL's and MySQL's drivers hold a whole answer in memory otherwise."""
SEVERAL_CLOCKS = timedelta(days=1)
"""Bound for how far the clocks of this machine and of Spark's may differ."""
REFUSED = {
    r"authentication failed|no password was provided|Access denied for user|Login failed": (
        "the database refuses user or password"
    ),
    r"relation .* does not exist|permission denied for|Invalid object name|Table '.*' doesn't exist|command denied": (
        "the database has no such table for this user; mend `table`, or give the user SELECT on it"
    ),
    r"Unknown database|database .* does not exist|Cannot open database": "the database is not there; mend `url`",
    r"ClassNotFoundException|No suitable driver": (
        "Spark has no driver for it; `./run setup` puts it there, and a warm server has to start again"
    ),
    r"Partition column type should be": (
        "a read is split by a number, a date or a time with a zone; name such a column as `partition_column`"
    ),
    r"FAILED_JDBC.CONNECTION": "the database does not answer; start it, or mend `url`",
}
"""What Spark or a driver says -> what is wrong; the first that fits."""
WORDS = re.compile(r"(?:\b\w*(?:SQL|Communications)\w*Exception: |was caused by the query [^\n]*?\. )([^\n]+)")
"""The driver's own words."""
Value = Decimal | datetime


class DatabaseError(NightloomError):
    """A source's database does not answer, refuses the user, or lacks the table."""


def new_rows(night: SparkNight, source: Source, reads: Reads) -> NewRows | None:
    """The rows since the last read. Raises DataError for a column that is missing, or that cannot be a cursor."""
    table, began = f"{source.url} {source.table}", now()
    rows = _read(night, source, dbtable=str(source.table))
    check_columns(source, [*source.fields, *filter(None, [source.partition_column])], rows.columns)
    columns = {name.lower(): name for name in rows.columns}
    if source.cursor_column is None:
        return NewRows(_fields(_in_partitions(night, source, rows, columns), source, began), table, str(began))
    column = columns[source.cursor_column.lower()]
    type = _cursor_type(source, rows, column)
    newest, without = _newest(night, source, column)
    if newest is None and not without:
        return None
    table += f" {column} {type.simpleString()}"  # of another type a position says nothing
    last = reads.last_of(table)
    zone = ZoneInfo(source.time_zone or "UTC") if isinstance(type, TimestampNTZType) else UTC
    lower = _less(_end(last, zone), source.look_back) if last and last.until else None
    rows = _in_partitions(night, source, rows, columns, lower, newest)
    again = EVER if reads.notes else None
    if lower is not None:
        since = F.col(spark_name(column)) >= F.lit(str(lower)).cast(type)
        rows = rows.where(since | F.col(spark_name(column)).isNull() if without else since)
        ahead = isinstance(newest, datetime) and newest > _clock(began, zone)
        again = EVER if without or ahead else _first_repeated(reads, table, lower)
    return NewRows(_fields(rows, source, began), table, "" if newest is None else str(newest), again)


def _end(read: Read, zone: tzinfo) -> Value:
    """The value up to which a read saw the rows. A time in its future says nothing about the rows before it."""
    value = _value(read.until)
    return min(value, _clock(read.at, zone)) if isinstance(value, datetime) else value


def _clock(moment: datetime, zone: tzinfo) -> datetime:
    """What a clock in a zone shows: the times of a cursor column have no zone here."""
    return moment.astimezone(zone).replace(tzinfo=None)


def _first_repeated(reads: Reads, table: str, lower: Value) -> datetime:
    """The moment since which bronze has got rows from a value of the cursor on.

    A read that got less far saw all rows that were there, so no read before it brought a row from that value on.
    """
    of_table = [each for each in reads.notes if each.table == table and each.until]
    shorter = [each.at for each in of_table if _is_before(_value(each.until), lower)]
    return max(shorter) - SEVERAL_CLOCKS if shorter else EVER


def _newest(night: SparkNight, source: Source, column: str) -> tuple[Value | None, int]:
    """The greatest value of the cursor column, and the number of rows without one."""
    name = _quoted(source, column)
    sql = f"""SELECT (SELECT max({name}) FROM {source.table}) AS newest,
        (SELECT count(*) FROM {source.table} WHERE {name} IS NULL) AS without"""
    found = _read(night, source, query=sql).toDF("newest", "without")
    newest, without = found.select(F.col("newest").cast("string"), "without").collect()[0]
    return None if newest is None else _value(newest), int(without)


def _in_partitions(
    night: SparkNight,
    source: Source,
    rows: DataFrame,
    columns: Mapping[str, str],
    lower: Value | None = None,
    newest: Value | None = None,
) -> DataFrame:
    """The table's rows, read by several connections where the source says so; each takes a part of a column's range."""
    given = source.partition_column or source.cursor_column
    if source.num_partitions == 1 or given is None:
        return rows
    column, first, last = columns[given.lower()], lower, newest
    if given != source.cursor_column or lower is None:
        name = _quoted(source, column)
        ends = _read(night, source, query=f"SELECT min({name}) AS a, max({name}) AS z FROM {source.table}")
        texts = ends.select(*(F.col(end).cast("string") for end in ends.columns)).collect()[0]
        first, last = (None if text is None else _value(text) for text in texts)
    if first is None or last is None or last < first:  # type: ignore[operator]  # both are of the column's type
        return rows
    # Spark takes whole numbers here; the parts at both ends have no bound.
    bounds = [f"{end:.0f}" if isinstance(end, Decimal) else str(end) for end in (first, last)]
    options = dict(zip(("lowerBound", "upperBound"), bounds, strict=True), partitionColumn=column)
    return _read(night, source, dbtable=str(source.table), numPartitions=str(source.num_partitions), **options)


def _read(night: SparkNight, source: Source, **options: str) -> DataFrame:
    database = database_of(str(source.url))
    options |= {"url": str(source.url), "driver": database.driver, "fetchsize": str(FETCH_ROWS)}
    # A time without a zone stays one: by default Java takes it as a time of its own machine's zone.
    options |= {"preferTimestampNTZ": "true", "useCursorFetch": "true"} | credentials(source.name)
    return night.spark.read.format("jdbc").options(**options).load()


def _fields(rows: DataFrame, source: Source, began: datetime) -> DataFrame:
    modified = F.timestamp_micros(F.lit(int(began.timestamp() * 1e6)))
    return rows.select(*map(spark_name, source.fields), modified.alias(MODIFIED))


def _quoted(source: Source, column: str) -> str:
    quote = database_of(str(source.url)).quote
    return f"{quote}{column.replace(quote, 2 * quote)}{quote}"


def _cursor_type(source: Source, rows: DataFrame, column: str) -> DataType:
    type = rows.schema[column].dataType
    if not isinstance(type, NumericType | DateType | TimestampType | TimestampNTZType):
        raise DataError(
            f"source '{source.name}': cursor_column '{column}' is of type {type.simpleString()}; expected a number, a "
            "date or a time, which grows with each new row"
        )
    return type


def _value(text: str) -> Value:
    """The value of a cursor, of Spark's text."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return datetime.fromisoformat(text)


def _is_before(value: Value, other: Value) -> bool:
    """Whether a value comes before another one; not where the column has another type since."""
    if isinstance(value, datetime):
        return isinstance(other, datetime) and value < other
    return isinstance(other, Decimal) and value < other


def _less(value: Value, look_back: float) -> Value:
    if isinstance(value, datetime):
        return value - timedelta(seconds=look_back)
    return value - Decimal(str(look_back))


def translate_error(source: Source, message: str) -> NightloomError | None:
    """The error of a read with its causes, as one of ours; None where no driver speaks."""
    said = WORDS.findall(message)
    words = f" ({printable(said[-1])[:300]})" if said else ""
    for pattern, what in REFUSED.items():
        if re.search(pattern, message):
            names = " and ".join(credential_variables(source.name).values())
            given = f"; they are the variables {names}" if "password" in what else ""
            return DatabaseError(f"source '{source.name}': {what}{given}{words}")
    return DatabaseError(f"source '{source.name}': the database{words}") if said else None
