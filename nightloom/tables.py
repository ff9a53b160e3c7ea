"""The contracts: every table once, with grain, columns, key, partition, retention and who reads it.

DDL, column comments, expectations, Arrow checks, the data dictionary and erasure derive from here. Plain text types
(Spark's DDL names), importable without Spark, torch or Airflow.
"""

from dataclasses import dataclass
from typing import Literal

Layer = Literal["bronze", "silver", "gold", "quarantine", "ops"]


@dataclass(frozen=True)
class Column:
    """One column; `type` is Spark DDL, `required` is NOT NULL, `personal` says that it can point to a person."""

    name: str
    type: str
    comment: str
    required: bool = False
    personal: bool = False


@dataclass(frozen=True)
class Table:
    """One table's contract. `key` identifies a row; `partition` is rewritten as a whole by a rerun of its night."""

    layer: Layer
    name: str
    grain: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition: str | None = None
    retention_days: int | None = None
    readers: tuple[str, ...] = ("engineer", "analyst")

    @property
    def full_name(self) -> str:
        """Name in SQL, e.g. `silver.interactions`."""
        return f"{self.layer}.{self.name}"

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def _required(name: str, type: str, comment: str, *, personal: bool = False) -> Column:
    return Column(name, type, comment, required=True, personal=personal)


NIGHT = _required("night", "date", "Logical date of the run that wrote the row")


def _bronze(name: str, what: str) -> Table:
    return Table(
        "bronze",
        name,
        f"One row per record of the {what} files, as it came; nothing is dropped or changed here.",
        (
            _required("row_id", "string", "SHA-256 of source, file and record: the same record of one file has one id"),
            _required("source", "string", "Name of the source in nightloom.toml"),
            _required(
                "raw",
                "string",
                "The record as a JSON object, or the line as it is where it cannot be read",
                personal=True,
            ),
            _required("file", "string", "File it came out of"),
            _required("file_modified_at", "timestamp", "When that file was last written"),
            _required("ingested_at", "timestamp", "When it was read"),
            NIGHT,
        ),
        key=("row_id",),
        readers=("engineer",),
    )


BRONZE_EVENTS = _bronze("events", "event")
BRONZE_ITEMS = _bronze("items", "item")
BRONZE_USERS = _bronze("users", "user")
BRONZE = {"events": BRONZE_EVENTS, "items": BRONZE_ITEMS, "users": BRONZE_USERS}

QUARANTINE_ROWS = Table(
    "quarantine",
    "rows",
    "One row per record that could not be used, with the first reason found.",
    (
        _required("row_id", "string", "The record's id in bronze"),
        _required("kind", "string", "events, items or users"),
        _required("source", "string", "Name of the source in nightloom.toml"),
        _required(
            "reason",
            "string",
            "unreadable, missing, type, unknown_event, impossible_value, clock_ahead, or the name of a declared rule",
        ),
        _required("detail", "string", "What was found and what was expected"),
        _required("raw", "string", "The record as it came", personal=True),
        _required("file", "string", "File it came out of"),
        NIGHT,
    ),
    key=("row_id",),
    readers=("engineer",),
)

INTERACTIONS = Table(
    "silver",
    "interactions",
    "One row per event id: who did what to which item, when, and how strongly.",
    (
        _required("event_id", "string", "The sender's id, or a SHA-256 of the record where the sender gives none"),
        _required("user_id", "string", "Who", personal=True),
        _required("item_id", "string", "Which item"),
        _required("event", "string", "What, one of the declared signals"),
        Column("value", "double", "The event's value if it has one, e.g. a rating or a quantity"),
        _required("weight", "double", "How much it says that the user likes the item; 0 means only seen"),
        _required("occurred_at", "timestamp", "When, UTC"),
        Column("rescued", "map<string,string>", "Fields that came but are not declared", personal=True),
        _required("row_id", "string", "The record's id in bronze"),
        NIGHT,
    ),
    key=("event_id",),
)

ITEMS = Table(
    "silver",
    "items",
    "One row per item that was ever described, as last described.",
    (
        _required("item_id", "string", "The item"),
        _required("title", "string", "Name to show; the id where the source gives none"),
        _required("categories", "array<string>", "Categories, genres, departments"),
        _required("attributes", "map<string,string>", "Declared attributes"),
        _required("available", "boolean", "False: never listed"),
        _required("updated_at", "timestamp", "When it was described so"),
        _required("row_id", "string", "The record's id in bronze"),
        NIGHT,
    ),
    key=("item_id",),
)

USERS = Table(
    "silver",
    "users",
    "One row per user that was ever described, as last described.",
    (
        _required("user_id", "string", "The user", personal=True),
        _required("attributes", "map<string,string>", "Declared attributes", personal=True),
        _required("updated_at", "timestamp", "When it was described so"),
        _required("row_id", "string", "The record's id in bronze"),
        NIGHT,
    ),
    key=("user_id",),
)

HISTORIES = Table(
    "gold",
    "histories",
    "One row per night and user with any interaction up to that night: all of them, oldest first.",
    (
        NIGHT,
        _required("user_id", "string", "The user", personal=True),
        _required("items", "array<string>", "Items touched, one entry per interaction, oldest first", personal=True),
        _required("weights", "array<float>", "Weight of each, same order; 0 means only seen"),
        _required("at", "array<timestamp>", "Time of each, same order"),
        _required("event_ids", "array<string>", "Event id of each, same order"),
    ),
    key=("night", "user_id"),
    partition="night",
    retention_days=30,
)

ITEM_STATS = Table(
    "gold",
    "item_stats",
    "One row per night and item with any interaction up to that night.",
    (
        NIGHT,
        _required("item_id", "string", "The item"),
        _required("events_1d", "bigint", "Interactions on the night's date"),
        _required("events_7d", "bigint", "Interactions in the 7 days that end with it"),
        _required("events_28d", "bigint", "Interactions in the 28 days that end with it"),
        _required("events", "bigint", "Interactions ever"),
        _required("users", "bigint", "Distinct users ever"),
        _required("popularity", "double", "Sum of weights, halved every slate.popular_half_life_days"),
        _required("first_at", "timestamp", "First interaction"),
        _required("last_at", "timestamp", "Last interaction"),
    ),
    key=("night", "item_id"),
    partition="night",
    retention_days=90,
)

RECOMMENDATIONS = Table(
    "gold",
    "recommendations",
    "One row per night and user: the list to publish, best first.",
    (
        NIGHT,
        _required("user_id", "string", "The user", personal=True),
        _required("items", "array<string>", "Items, best first; none seen before, all available", personal=True),
        _required("scores", "array<float>", "Score of each, same order; comparable within one list only"),
        _required("model_version", "string", "Version of the registered model that scored it"),
        _required("generated_at", "timestamp", "When it was scored"),
    ),
    key=("night", "user_id"),
    partition="night",
    retention_days=30,
)

POPULAR = Table(
    "gold",
    "popular",
    "One row per night and segment: the list for whoever has none of their own. Segment `all` is everybody.",
    (
        NIGHT,
        _required("segment", "string", "`all`, or attribute=value of the users it is made from"),
        _required("items", "array<string>", "Items, best first; all available"),
        _required("scores", "array<float>", "Popularity of each, same order"),
    ),
    key=("night", "segment"),
    partition="night",
    retention_days=90,
)

STAGES = Table(
    "ops",
    "stages",
    "The run manifest: one row per run of a stage, written by the stage's frame and never by hand.",
    (
        _required("run_id", "string", "Airflow's run id, or hand-... when a person ran the stage"),
        NIGHT,
        _required("stage", "string", "Name of the stage, as in its command"),
        _required("status", "string", "ok, skipped (nothing to do), closed (a gate) or failed"),
        _required("started_at", "timestamp", "Start of the work, UTC"),
        _required("seconds", "double", "Wall-clock seconds of the work, interpreter start included"),
        _required("reads", "map<string,bigint>", "Table -> version read"),
        _required("writes", "map<string,bigint>", "Table -> version written"),
        _required("rows", "map<string,bigint>", "What was counted -> rows"),
        _required("facts", "map<string,string>", "What else is worth knowing: model version, push, digest"),
        _required("code", "string", "Code revision"),
        _required("config", "string", "Digest of nightloom.toml, places left out"),
        Column("error", "string", "Why it did not end well"),
    ),
    key=("run_id", "stage", "started_at"),
    retention_days=400,
)

GATES = Table(
    "ops",
    "gates",
    "One row per check of a gate, each time the gate was asked.",
    (
        _required("run_id", "string", "As in ops.stages"),
        NIGHT,
        _required("gate", "string", "data, model or slate"),
        _required("check", "string", "What was checked"),
        _required("passed", "boolean", "Whether it held"),
        _required("severity", "string", "stop: the gate closes; warn: it is said and the night goes on"),
        _required("observed", "string", "What was found"),
        _required("expected", "string", "What was expected"),
        _required("checked_at", "timestamp", "When, UTC"),
        Column("override", "string", "Who let the night pass all the same, and why"),
    ),
    key=("run_id", "gate", "check", "checked_at"),
    retention_days=400,
)

TABLES: tuple[Table, ...] = (
    BRONZE_EVENTS, BRONZE_ITEMS, BRONZE_USERS, QUARANTINE_ROWS, INTERACTIONS, ITEMS, USERS,
    HISTORIES, ITEM_STATS, RECOMMENDATIONS, POPULAR, STAGES, GATES,
)  # fmt: skip


def table(full_name: str) -> Table:
    """Contract by its SQL name. Raises KeyError."""
    return {each.full_name: each for each in TABLES}[full_name]
