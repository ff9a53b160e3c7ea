"""quarantine: records that could not be used, with the reason. No record is lost."""

from nightloom.contracts.table import NIGHT, Column, Table, non_empty, required

QUARANTINE_ROWS = Table(
    "quarantine",
    "rows",
    "One row per record that could not be used, with the first reason found and its state.",
    (
        required("row_id", "string", "The record's id in bronze"),
        required("kind", "string", "events, items or users"),
        required("source", "string", "Name of the source in nightloom.toml"),
        required(
            "reason",
            "string",
            "unreadable, missing, type, unknown_event, impossible_value, clock_ahead, too_late, or the name of a rule",
        ),
        required("detail", "string", "What was found and what was expected"),
        required("raw", "string", "The record as it arrived", personal=True),
        required("file", "string", "File that it came from"),
        NIGHT,
        required("state", "string", "waiting, replayed or discarded"),
        Column("replayed_as", "string", "Id in bronze of the record that replaced it"),
        Column("decided_at", "timestamp", "When it was replayed or discarded, UTC"),
        Column("decided_by", "string", "Who decided, and why"),
    ),
    key=("row_id",),
    checks=(
        ("known_state", "state IN ('waiting', 'replayed', 'discarded')"),
        ("known_kind", "kind IN ('events', 'items', 'users')"),
        *non_empty("reason", "detail"),
    ),
    readers=("engineer",),
)
