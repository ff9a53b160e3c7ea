"""objects.py: DuckDB's threads read an object through one handle, and each gets the bytes that it asked for."""

from __future__ import annotations

import threading
from pathlib import Path

import duckdb
from obstore.store import LocalStore

from nightloom.places.objects import ParallelFile, ParallelFileSystem

FILES = type("Files", (ParallelFileSystem,), {"protocol": "file"})
ROUNDS = 10


def test_each_thread_has_a_position_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "letters").write_bytes(b"abcdefgh")
    shared = ParallelFile(LocalStore(str(tmp_path)), "letters", 8)
    both, found = threading.Barrier(2), {}

    def read(offset: int) -> None:
        shared.seek(offset)
        both.wait()
        found[offset] = (shared.read(2), shared.tell())

    threads = [threading.Thread(target=read, args=(offset,)) for offset in (1, 5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == {1: (b"bc", 3), 5: (b"fg", 7)}


def test_a_file_is_read_to_its_end_and_no_further(tmp_path: Path) -> None:
    (tmp_path / "letters").write_bytes(b"abcdefgh")
    file = ParallelFile(LocalStore(str(tmp_path)), "letters", 8)
    assert (file.read(3), file.read(), file.read(1)) == (b"abc", b"defgh", b"")
    assert (file.seek(-2, 2), file.read(10)) == (6, b"gh")


def test_duckdb_reads_the_rows_of_a_file_with_many_threads(tmp_path: Path) -> None:
    """With one position for all threads most rounds end in an error, and some give other rows."""
    file = tmp_path / "rows.parquet"
    rows = "SELECT i, hash(i)::VARCHAR AS text FROM range(200000) numbers(i)"
    totals = "SELECT count(*), sum(i), sum(hash(text))"
    duckdb.execute(f"COPY ({rows}) TO '{file}' (ROW_GROUP_SIZE 8000)")
    expected = duckdb.execute(f"{totals} FROM '{file}'").fetchall()
    for _ in range(ROUNDS):
        with duckdb.connect() as db:
            db.execute("SET threads = 8")
            db.register_filesystem(FILES())
            assert db.execute(f"{totals} FROM 'file://{file}'").fetchall() == expected
