"""The formats of sources, and the keys of [[sources]] that not every format has."""

from encodings.aliases import aliases

from nightloom.section import suggest_key

EXPLODE = frozenset({"explode", "explode_delimiter"})
OF_FILES = EXPLODE | {"path", "settle_seconds"}
OF_TEXT = OF_FILES | {"encoding"}
KEYS_OF_FORMAT: dict[str, frozenset[str]] = {
    "csv": OF_TEXT | {"header", "delimiter", "quote", "escape", "comment"},
    "json": OF_TEXT,
    "python": OF_TEXT,
    "parquet": OF_FILES,
    "orc": OF_FILES,
    "avro": OF_FILES,
    "kafka": frozenset({"servers", "topic"}),
    "delta": EXPLODE | {"path"},
    "jdbc": EXPLODE | {"url", "table", "cursor_column", "look_back", "partition_column", "num_partitions"},
}
"""Format -> the keys that not every format has."""
NEEDED = ("path", "servers", "topic", "url", "table")
"""The keys without which a format that has them reads nothing."""
TABLES = ("delta", "jdbc")
"""The formats that are tables: their rows are read by declared columns, and have no file."""


def encoding_problem(name: str) -> str | None:
    """What is wrong with an `encoding`; None where it is one of texts."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        known = [alias.replace("_", "-") for alias in aliases]
        return f"'{name}' is not the encoding of a text{suggest_key(name.lower(), known)}"
    return None
