"""silver: typed, deduplicated, merged."""

from nightloom.contracts.table import NIGHT, Column, Table, non_empty, required

VERSIONS = Column(
    "versions",
    "map<string,string>",
    "Where descriptions are merged by column: column -> time and row id of the description that gave its value, after "
    "`~` and the source's precedence where it has one; `*` of the last whole description; else null",
)

INTERACTIONS = Table(
    "silver",
    "interactions",
    "One row per event id: who did what to which item, when, and with which weight.",
    (
        required("event_id", "string", "The sender's id, or a SHA-256 of the record where the sender has none"),
        required("user_id", "string", "The user", personal=True),
        required("item_id", "string", "The item"),
        required("event", "string", "One of the declared signals"),
        Column("value", "double", "The event's value if it has one, such as a rating or a quantity"),
        required("weight", "double", "How much it says that the user likes the item; 0 means only seen"),
        required("occurred_at", "timestamp", "When, UTC"),
        Column("rescued", "map<string,string>", "Fields of the record that are not declared", personal=True),
        required("row_id", "string", "The record's id in bronze"),
        NIGHT,
    ),
    key=("event_id",),
    order="occurred_at",
    checks=(*non_empty("event_id", "user_id", "item_id", "event"), ("weight_not_negative", "weight >= 0")),
)

ITEMS = Table(
    "silver",
    "items",
    "One row per item that a source has described, with its last description.",
    (
        required("item_id", "string", "The item"),
        required("title", "string", "Name to show; the id where the source has none"),
        required("categories", "array<string>", "Categories, genres, departments"),
        required("attributes", "map<string,string>", "Declared attributes"),
        required("available", "boolean", "False: the item is never listed"),
        Column("unavailable_from", "timestamp", "When it ends to be available, UTC; null: no end is known"),
        required("updated_at", "timestamp", "Time of that description"),
        required("row_id", "string", "The record's id in bronze"),
        VERSIONS,
        Column("source", "string", "Source of that description; null in rows of an earlier Nightloom"),
        Column("arrived", "date", "Night on which that description arrived; null in rows of an earlier Nightloom"),
        NIGHT,
    ),
    key=("item_id",),
    checks=non_empty("item_id", "title"),
)

USERS = Table(
    "silver",
    "users",
    "One row per user that a source has described, with the last description.",
    (
        required("user_id", "string", "The user", personal=True),
        required("attributes", "map<string,string>", "Declared attributes", personal=True),
        required("updated_at", "timestamp", "Time of that description"),
        required("row_id", "string", "The record's id in bronze"),
        VERSIONS,
        NIGHT,
    ),
    key=("user_id",),
    checks=non_empty("user_id"),
)

UNUSED_ROWS = Table(
    "silver",
    "unused_rows",
    "One row per good or skipped bronze record that is in no other silver table, for each night that read it.",
    (
        required("row_id", "string", "The record's id in bronze"),
        required("kind", "string", "events, items or users"),
        required("source", "string", "Name of the source in nightloom.toml"),
        required(
            "outcome",
            "string",
            "duplicate (of an interaction), superseded (by another description) or skipped (by a rule)",
        ),
        required(
            "detail",
            "string",
            "Id of that event, item or user; or the rule's name, also `max_per_user_and_day` of [interactions]",
            personal=True,
        ),
        Column("occurred_at", "timestamp", "When the duplicate says that its event was, UTC"),
        NIGHT,
    ),
    key=("row_id", "night"),
    checks=(
        ("known_outcome", "outcome IN ('duplicate', 'superseded', 'skipped')"),
        ("known_kind", "kind IN ('events', 'items', 'users')"),
        *non_empty("detail"),
    ),
)

SILVER = {"events": INTERACTIONS, "items": ITEMS, "users": USERS}
"""Kind of a source -> the table its cleaned records go to."""
