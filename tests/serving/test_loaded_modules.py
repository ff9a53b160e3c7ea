"""What a worker loads: the libraries of the console, of the lake and of models would double its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchmarks.fault_load import PROJECT, publish, running_api, write_config
from nightloom import settings as settings_module
from nightloom.settings import CHECKED_VARIABLE
from serving.stores import store_class

NOT_LOADED = (
    "deltalake", "duckdb", "expectations", "great_expectations", "mlflow", "models", "numba", "pandas", "psycopg",
    "pyspark", "redis", "scipy", "sklearn", "spark_jobs", "sqlglot", "torch", "training",
)  # fmt: skip
LISTS = """
import sys
from pathlib import Path
from starlette.testclient import TestClient
import serving.serve_command
from nightloom import settings
from serving.api import create_app

with TestClient(create_app(settings.load(Path(sys.argv[1])))) as client:
    assert client.get("/v1/users/u1/recommendations").json()["source"] == "personal"
    assert client.get("/v1/popular").status_code == 200
    print(*{name.partition(".")[0] for name in sys.modules}, "nightloom.lake" * ("nightloom.lake" in sys.modules))
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    publish(store_class("lmdb")(str(tmp_path / "data" / "store"), PROJECT), 1)
    return write_config(tmp_path, "lmdb")


def test_lists_need_neither_the_lake_nor_the_console(config: Path) -> None:
    checked = os.environ | {CHECKED_VARIABLE: settings_module.load(config).digest}  # as `nightloom serve` has done
    command = [sys.executable, "-c", LISTS, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=checked)
    loaded = done.stdout.split()
    assert "msgspec" in loaded
    assert [name for name in (*NOT_LOADED, "nightloom.lake") if name in loaded] == []


def test_a_server_loads_the_consoles_libraries_with_its_first_page(config: Path, tmp_path: Path) -> None:
    with running_api(config, log=tmp_path / "api.log", options=("--workers", "2")) as (port, supervisor):

        def mapped(library: str) -> bool:
            """Whether a worker has a file of a library."""
            workers = [each for each in supervisor.children() if "resource_tracker" not in " ".join(each.cmdline())]
            assert len(workers) == 2
            return any(library in each.path for worker in workers for each in worker.memory_maps())

        assert httpx.get(f"http://127.0.0.1:{port}/v1/users/u1/recommendations").status_code == 200
        assert [name for name in NOT_LOADED if mapped(f"/{name}/")] == []
        assert not mapped("_duckdb")
        assert httpx.get(f"http://127.0.0.1:{port}/console/data", timeout=60).status_code == 200
        assert mapped("_duckdb")
