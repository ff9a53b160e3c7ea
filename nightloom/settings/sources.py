"""[[sources]]: where records come from, and how their fields become our columns."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from nightloom.section import Section, listed, nearest_key

SOURCE_COLUMNS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "events": (frozenset({"user_id", "item_id", "event", "occurred_at"}), frozenset({"event_id", "value"})),
    "items": (frozenset({"item_id"}), frozenset({"title", "categories", "available", "updated_at"})),
    "users": (frozenset({"user_id"}), frozenset({"updated_at"})),
}
"""Kind of a source -> columns it must and may give."""


class RowRule(Section):
    """A condition under which a row of a source is not used."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Reason written to quarantine, or name under which skipped rows are counted."""
    when: str
    """Spark SQL condition over the source's fields, e.g. "InvoiceNo LIKE 'C%'"."""
    then: Literal["quarantine", "skip"]
    """`quarantine` keeps the row with the reason, to replay; `skip` leaves it in bronze and counts it."""


class Source(Section):
    """Records of one shape, files in one folder or a Kafka topic, and how their fields become our columns."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Unique; part of the ingest checkpoint's path, so do not rename it."""
    kind: Literal["events", "items", "users"]
    """What one row is."""
    format: Literal["json", "csv", "parquet", "kafka"]
    """`json` is one object a line; csv needs a header line; gzip and zstd are seen by the file's name (.gz, .zst).
    `kafka`: each message is a JSON object."""
    path: Path | None = None
    """Landing folder of a source of files; every file in it is read once, and again when it has grown. Names that start
    with `.` or `_`, or end like an unfinished file's (.tmp, .part), are left alone."""
    settle_seconds: float = Field(2, ge=0)
    """A file that changed within this time is waited for once, and left for the next run if it goes on changing."""
    servers: str | None = None
    """Kafka: brokers to ask first, `HOST:PORT`, several with commas between."""
    topic: str | None = None
    """Kafka: the topic, read from its oldest message on, each message once."""
    fields: dict[str, str]
    """Field in the records = Spark SQL type. A value that does not fit sends its row to quarantine; a field that is not
    listed here goes to the rescued column."""
    columns: dict[str, str]
    """Our column = Spark SQL expression over the fields. Events need user_id, item_id, event, occurred_at (event_id and
    value if there are any); items need item_id (title, categories, available); users need user_id."""
    attributes: dict[str, str] = Field({})
    """Further attribute of an item or a user = Spark SQL expression over the fields."""
    rules: tuple[RowRule, ...] = ()
    """Rows that are not used, and where they end."""

    @model_validator(mode="after")
    def _keys_of_the_format(self) -> Self:
        files, kafka = {"path", "settle_seconds"}, {"servers", "topic"}
        own, others = (kafka, files) if self.format == "kafka" else (files, kafka)
        if missing := [name for name in own if getattr(self, name) is None]:
            raise ValueError(f"format is '{self.format}', so it needs {listed(missing)}")
        if strange := self.model_fields_set & others:
            raise ValueError(f"format is '{self.format}', which has no {listed(strange)}; it has {listed(own)}")
        return self

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        required, optional = SOURCE_COLUMNS[self.kind]
        for name in self.columns:
            if name not in required | optional:
                known = required | optional
                raise ValueError(f"columns has '{name}'; {self.kind} have {listed(known)}{nearest_key(name, known)}")
        if missing := required - self.columns.keys():
            raise ValueError(f"columns lacks {listed(missing)}; a source of {self.kind} must say how it is made")
        return self
