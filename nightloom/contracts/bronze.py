"""bronze: every record as it arrived, plus its source, file and time."""

from nightloom.contracts.table import NIGHT, Column, Table, non_empty, required


def _bronze(name: str, what: str) -> Table:
    return Table(
        "bronze",
        name,
        f"One row per record of the {what} files, as it arrived: nothing is dropped or changed here.",
        (
            required("row_id", "string", "SHA-256 of source, file and record: the same record of one file has one id"),
            required("source", "string", "Name of the source in nightloom.toml"),
            required(
                "raw",
                "string",
                "The record as a JSON object, or the unchanged line where it cannot be read",
                personal=True,
            ),
            required("file", "string", "File that it came from"),
            required("file_modified_at", "timestamp", "When that file was last written"),
            Column("lines", "int", "Lines of the file that the record holds; null for a message, a note about a file"),
            Column("problem", "string", "Why the record cannot be read; null where it can", personal=True),
            Column(
                "file_summary",
                "string",
                "On the last record of a file, as JSON: its lines, those that are no text, its header, missing fields",
                personal=True,
            ),
            required("ingested_at", "timestamp", "When it was read"),
            NIGHT,
        ),
        key=("row_id",),
        checks=(("row_id_is_a_digest", "character_length(row_id) = 64"), *non_empty("source", "file")),
        readers=("engineer",),
    )


BRONZE_EVENTS = _bronze("events", "event")
BRONZE_ITEMS = _bronze("items", "item")
BRONZE_USERS = _bronze("users", "user")

BRONZE = {"events": BRONZE_EVENTS, "items": BRONZE_ITEMS, "users": BRONZE_USERS}
"""Kind of a source -> the table its records go to."""
