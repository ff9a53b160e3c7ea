"""DuckDB for a night's work on more rows than memory holds."""

from pathlib import Path

import duckdb


def spilling_duckdb(scratch: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB in memory that spills into `scratch` and knows one time zone, UTC; a context manager."""
    connection = duckdb.connect(config={"temp_directory": str(scratch)})
    connection.execute("SET TimeZone = 'UTC'")
    return connection
