"""[[sources]]: where records come from, and how their fields become our columns."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from nightloom.section import Section, join_names, suggest_key
from nightloom.settings.databases import credential_variables, url_problem
from nightloom.settings.formats import KEYS_OF_FORMAT, NEEDED, OF_FILES, TABLES, encoding_problem
from nightloom.settings.ids import Ids
from nightloom.settings.places import Address
from nightloom.settings.row_rules import RowRule
from nightloom.settings.times import time_zone_problem, timestamp_format_problem

SOURCE_COLUMNS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "events": (frozenset({"user_id", "item_id", "event", "occurred_at"}), frozenset({"event_id", "value"})),
    "items": (
        frozenset({"item_id"}),
        frozenset({"title", "categories", "available", "unavailable_from", "updated_at"}),
    ),
    "users": (frozenset({"user_id"}), frozenset({"updated_at"})),
}
"""Kind of a source -> columns it must and may give."""
DESCRIBED_COLUMNS = ("title", "categories", "available", "unavailable_from")
"""What a source says of an item, besides its attributes."""

NOT_OF_THE_API = frozenset({"explode", "null_values", "decimal_comma", "timestamp_format", "time_zone"})
METADATA = frozenset({"file_path", "file_name", "file_modification_time", "row_index"})
"""What expressions may name of a record's file, as `_metadata.file_path`."""


class Source(Section):
    """Records of one shape, from files in a folder, a Kafka topic or a table, and how their fields become our
    columns."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Unique; part of the ingest checkpoint's path, so do not rename it."""
    kind: Literal["events", "items", "users"]
    """What one row is."""
    format: Literal["json", "python", "csv", "parquet", "orc", "avro", "kafka", "delta", "jdbc"]
    """`csv` is text with a delimiter between fields; `json` is one object a line, or an array of objects; `python` is
    one Python dict a line, such as `{'a': None}`. Packed files (gzip, bzip2, xz, zstd, lz4, zip) are unpacked, whatever
    their names. `kafka`: each message is a JSON object. `delta` is a Delta table, and `jdbc` a table of a database: see
    [Tables as sources](table-sources.md)."""
    path: Address | None = None
    """Landing folder or address (s3://, gs://, abfss://) of a source of files; every file in it is read once, and again
    when it has grown. Names that start with `.` or `_`, or end like an unfinished file's (.tmp, .part), are ignored.
    delta: the table's folder or address."""
    settle_seconds: float = Field(2, ge=0)
    """Ingest waits once for a file that changed within this time, and leaves it to the next run if it still changes."""
    header: bool = True
    """csv: whether the first line of each file names its columns. Without a header the columns are `fields`, in their
    order."""
    encoding: str | None = None
    """csv, JSON and python: encoding of files without a byte order mark, by Spark's names, e.g. "ISO-8859-1",
    "windows-1252", "UTF-16LE"; UTF-8 if it is not given."""
    delimiter: str = Field(",", min_length=1)
    """csv: what stands between two fields; it may have several characters, e.g. "\\t", ";", "::"."""
    quote: str = Field('"', max_length=1)
    """csv: what stands around a field that holds the delimiter or a line break; a doubled one within is one of them.
    Empty: quotes are ordinary characters."""
    escape: str | None = Field(None, min_length=1, max_length=1)
    """csv: the character before a quote, a delimiter or itself that stands for that character alone, e.g. "\\\\"."""
    comment: str | None = Field(None, min_length=1)
    """csv: how lines begin that are no records, e.g. "#"."""
    explode: str | None = None
    """The field that holds many events, as an array or as text; `a.b` is field `b` of `a`. Each element becomes a
    record of its own, with the element in place of the array and all other fields of its record."""
    explode_delimiter: str | None = Field(None, min_length=1)
    """What stands between the elements of `explode` where it is text; without it the text is a JSON or Python list.
    Where it equals `delimiter` and there is no header, the last field takes the rest of the line."""
    null_values: tuple[str, ...] = ()
    """Texts that stand for a missing value in any field, e.g. ["NULL", "\\\\N", "-"]. An empty csv field is always
    missing."""
    decimal_comma: bool = False
    """Whether numbers are written as 1.234,56: a comma before the decimals, points or spaces between thousands."""
    servers: str | None = Field(None, pattern=r"^\s*[^\s,]+:\d+\s*(,\s*[^\s,]+:\d+\s*)*$")
    """Kafka: bootstrap brokers, `HOST:PORT`, with commas between them."""
    topic: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,249}$")
    """Kafka: the topic; it is read from its oldest message on, each message once."""
    url: str | None = None
    """jdbc: the database's address, e.g. "jdbc:postgresql://HOST:5432/shop", or one of mysql or sqlserver. User and
    password are the variables NIGHTLOOM_SOURCE_NAME_USER and NIGHTLOOM_SOURCE_NAME_PASSWORD, with the source's name in
    capitals; in the file they are an error."""
    table: str | None = Field(None, pattern=r"\S")
    """jdbc: the table or view as SQL names it, e.g. "shop.orders"."""
    cursor_column: str | None = None
    """jdbc: a field that grows with each new or changed row, such as the time of the change or a number from a
    sequence; a read begins where the one before ended. Items and users without it are read whole; events need it."""
    look_back: float = Field(0, ge=0)
    """jdbc: how far a read begins before the end of the one before, in seconds for a time, else in units of
    `cursor_column`. Longer than the longest transaction: a row that is committed late has an older value."""
    partition_column: str | None = None
    """jdbc: the numeric, date or time column whose range is split for `num_partitions`; default `cursor_column`."""
    num_partitions: int = Field(1, ge=1)
    """jdbc: how many connections read at the same time."""
    api: bool = False
    """Whether events also come in by [POST /v1/events](events.md). For events in JSON files or in a Kafka topic;
    `columns.event_id` has to be a field."""
    timestamp_format: str | None = None
    """How the fields of type timestamp are written: `seconds`, `milliseconds`, `microseconds` or `nanoseconds` since
    1970, or a pattern of Spark, e.g. "d.M.yyyy H:mm"; a pattern without hours is a day. Without it: as
    2024-03-01T10:00:00, with or without an offset such as Z or +01:00."""
    time_zone: str | None = None
    """Where fields of type timestamp have no offset: the time zone of their clock, e.g. "Europe/Berlin"; UTC if it is
    not given. A day without a time stays that day."""
    fields: dict[str, str]
    """Field in the records = Spark SQL type. A value of another type sends its row to quarantine; a field that is not
    listed here goes to the rescued column."""
    columns: dict[str, str]
    """Our column = Spark SQL expression over the fields. Events need user_id, item_id, event and occurred_at, and may
    have event_id and value. Items need item_id, and may have title, categories, available, unavailable_from and
    updated_at. Users need user_id, and may have updated_at. Expressions may also name what Spark calls `_metadata` of
    a record's file: `_metadata.file_path`, `.file_name`, `.file_modification_time`, and `.row_index`, the record's
    place in it."""
    attributes: dict[str, str] = Field({})
    """Further attribute of an item or a user = Spark SQL expression over the fields."""
    ids: Ids = Ids()
    """How the ids of users and items are spelled; without a key they stay as they come."""
    merge: Literal["row", "columns"] = "row"
    """Of items and users: `row` takes the latest description whole; `columns` takes the latest value that is not null
    of each column and attribute, for records that say one thing each."""
    full: bool = False
    """Of items in files: each delivery is the whole catalogue, so what it lacks is not available any more until a later
    one has it. All files of one night are one delivery."""
    max_absent: float = Field(0.5, ge=0, le=1)
    """With `full`: of a delivery that lacks a greater share of the catalogue nothing ends, and gate 1 warns: it may be
    incomplete."""
    precedence: dict[str, int] = Field({})
    """Of items and users with `merge = "columns"`: column or attribute = a number from 0 to 999; 0 where it is not
    named. Of the values that several sources give, the one of the greatest number counts, and of one number the
    latest."""
    rules: tuple[RowRule, ...] = ()
    """Rows that are not used, and what happens to them."""

    @model_validator(mode="after")
    def _keys_of_the_format(self) -> Self:
        own = KEYS_OF_FORMAT[self.format]
        if missing := [name for name in NEEDED if name in own and getattr(self, name) is None]:
            raise ValueError(f"format is '{self.format}', so it needs {join_names(missing)}")
        if strange := self.model_fields_set & (frozenset().union(*KEYS_OF_FORMAT.values()) - own):
            raise ValueError(f"format is '{self.format}', which has no {join_names(strange)}; it has {join_names(own)}")
        return self

    @model_validator(mode="after")
    def _of_a_database(self) -> Self:
        if self.format != "jdbc":
            return self
        if problem := url_problem(self.url or ""):
            names = " and ".join(credential_variables(self.name).values())
            raise ValueError(f"{problem}; user and password are the variables {names}")
        if self.cursor_column is None and (self.kind == "events" or self.look_back):
            why = "kind is 'events'" if self.kind == "events" else "look_back is set"
            raise ValueError(f"{why}, so it needs cursor_column, a field that grows with each new row")
        if self.cursor_column and self.cursor_column not in self.fields:
            known = suggest_key(self.cursor_column, self.fields)
            raise ValueError(
                f"cursor_column is '{self.cursor_column}'; the fields are {join_names(self.fields)}{known}"
            )
        if self.num_partitions > 1 and not (self.partition_column or self.cursor_column):
            raise ValueError(f"num_partitions is {self.num_partitions}, so it needs partition_column, a numeric column")
        return self

    @model_validator(mode="after")
    def _fed_by_the_api(self) -> Self:
        if not self.api:
            return self
        if self.kind != "events" or self.format not in ("json", "kafka"):
            raise ValueError(
                f"api is true, kind is '{self.kind}' and format '{self.format}'; the API takes events for a source of "
                "kind 'events' whose format is 'json' or 'kafka'"
            )
        if self.encoding is not None:
            raise ValueError(f"api is true and encoding is '{self.encoding}'; the API writes UTF-8, so take it out")
        if strange := self.model_fields_set & NOT_OF_THE_API:
            raise ValueError(
                f"api is true, so {join_names(strange)} cannot be set: the API takes one event a record, numbers as "
                "JSON has them, and times such as 2024-03-01T10:00:00Z"
            )
        if self.columns.get("event_id", "").strip("` ").lower() not in map(str.lower, self.fields):
            raise ValueError("api is true, so columns.event_id has to be a field: by it a repeated event counts once")
        return self

    @model_validator(mode="after")
    def _signs_differ(self) -> Self:
        signs = {name: getattr(self, name) or "" for name in ("delimiter", "quote", "escape", "comment")}
        if broken := [name for name, sign in signs.items() if {*sign} & {"\r", "\n"}]:
            raise ValueError(f"{join_names(broken)} holds a line break, which ends a line of every file")
        if {*self.delimiter} & {self.quote, self.escape}:
            raise ValueError(f"delimiter {self.delimiter!r} holds the quote or the escape; they must differ")
        return self

    @model_validator(mode="after")
    def _known_explode(self) -> Self:
        if self.explode and self.explode.partition(".")[0] not in self.fields:
            known = suggest_key(self.explode, self.fields)
            raise ValueError(f"explode names '{self.explode}'; the fields are {join_names(self.fields)}{known}")
        if self.explode_delimiter and not self.explode:
            raise ValueError("explode_delimiter needs explode, the field whose text it splits")
        return self

    @property
    def is_of_files(self) -> bool:
        """Whether its records stand in landing files."""
        return KEYS_OF_FORMAT[self.format] >= OF_FILES

    @property
    def is_table(self) -> bool:
        """Whether its records are rows of a table."""
        return self.format in TABLES

    @property
    def has_row_index(self) -> bool:
        """Whether an expression names the place of a record in its file, so that the reader must number records."""
        sql = [*self.columns.values(), *self.attributes.values(), *(rule.when for rule in self.rules)]
        return any("row_index" in metadata_names(each) for each in sql)

    @property
    def has_file_times(self) -> bool:
        """Whether events get the time of their file."""
        return "file_modification_time" in metadata_names(self.columns.get("occurred_at", ""))

    @property
    def takes_rest(self) -> bool:
        """csv: whether the last field is the rest of its line."""
        last = not self.header and [self.explode] == [*self.fields][-1:]
        return self.format == "csv" and last and self.explode_delimiter == self.delimiter

    @field_validator("timestamp_format")
    @classmethod
    def _known_format(cls, text: str | None) -> str | None:
        if text is not None and (problem := timestamp_format_problem(text)):
            raise ValueError(problem)
        return text

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        if name is not None and (problem := time_zone_problem(name)):
            raise ValueError(problem)
        return name

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str | None) -> str | None:
        if name is not None and (problem := encoding_problem(name)):
            raise ValueError(problem)
        return name

    @model_validator(mode="after")
    def _merge_of_descriptions(self) -> Self:
        if self.kind == "events" and "merge" in self.model_fields_set:
            raise ValueError(
                "kind is 'events', which has no merge; it is for items and users, and an event counts once"
            )
        return self

    @model_validator(mode="after")
    def _full_catalogue(self) -> Self:
        if self.full and not (self.kind == "items" and self.is_of_files and self.merge == "row"):
            raise ValueError("full is true; that is for items in files, with merge = 'row'")
        if self.full and "updated_at" in self.columns:
            raise ValueError("full is true, so leave columns.updated_at out: a catalogue is as new as its file")
        return self

    @model_validator(mode="after")
    def _known_precedence(self) -> Self:
        if self.precedence and self.merge != "columns":
            raise ValueError("precedence needs merge = 'columns': with 'row' the latest description counts whole")
        known = {*self.attributes, *(self.columns.keys() & {*DESCRIBED_COLUMNS})}
        for name, rank in self.precedence.items():
            if name not in known:
                near = suggest_key(name, known)
                raise ValueError(f"precedence names '{name}'; this source gives {join_names(known)}{near}")
            if not 0 <= rank <= 999:
                raise ValueError(f"precedence of {name} is {rank}; expected a number from 0 to 999")
        return self

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        required, optional = SOURCE_COLUMNS[self.kind]
        for name in self.columns:
            if name not in required | optional:
                known = required | optional
                raise ValueError(
                    f"columns has '{name}'; {self.kind} have {join_names(known)}{suggest_key(name, known)}"
                )
        if missing := required - self.columns.keys():
            raise ValueError(f"columns lacks {join_names(missing)}; a source of {self.kind} must say how it is made")
        return self


def metadata_names(sql: str) -> set[str]:
    """What an expression names of a record's file."""
    return set(re.findall(r"\b_metadata\s*\.\s*`?(\w+)", sql))
