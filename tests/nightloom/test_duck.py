"""DuckDB's spilled rows: a folder for each connection, removed at its end, also after a kill."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nightloom.lake.duck import spilling_duckdb

SPILL = """
SET memory_limit = '60MB'; SET threads = 1;
CREATE TABLE rows AS SELECT hash(n) AS a, hash(n + 1) AS b, md5(n::VARCHAR) AS c FROM range(1_500_000) numbers(n)
"""
OTHER = f"""
import sys, time
from pathlib import Path
from nightloom.lake.duck import spilling_duckdb
with spilling_duckdb(Path(sys.argv[1])) as db:
    db.execute('''{SPILL}''')
    print("spilled", flush=True)
    time.sleep(600)
"""


@contextmanager
def another_process(scratch: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has spilled rows and sleeps."""
    with subprocess.Popen([sys.executable, "-c", OTHER, str(scratch)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "spilled\n"
            yield process
        finally:
            process.kill()


def spilled(scratch: Path) -> set[Path]:
    """Folders that hold spilled rows."""
    return {file.parent for file in scratch.rglob("*.tmp")}


def test_each_connection_spills_into_its_own_folder_and_a_killed_ones_is_removed(tmp_path: Path) -> None:
    with another_process(tmp_path) as killed:
        killed.kill()
    (left,) = spilled(tmp_path)
    with another_process(tmp_path):
        (alive,) = spilled(tmp_path)
        assert alive != left
        with spilling_duckdb(tmp_path) as db:
            db.execute(SPILL)
            assert len(spilled(tmp_path)) == 2
            assert db.sql("SELECT count(DISTINCT c), sum(a = hash(rowid)) FROM rows").fetchall() == [(1_500_000,) * 2]
        assert spilled(tmp_path) == {alive}
