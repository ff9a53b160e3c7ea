"""docs/table-sources.md, run as it stands, on a warm Spark server and a real PostgreSQL."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.servers import program
from nightloom.contracts import INTERACTIONS, ITEMS, QUARANTINE_ROWS
from nightloom.lake import Lake
from tests.spark_jobs.table_projects import database

PAGE = Path(__file__).parents[2] / "docs" / "table-sources.md"
REST = """
[project]
name = "page"

[[signals]]
event = "visit"

[[signals]]
event = "order"

[[models]]
name = "popularity"
"""


def blocks(language: str) -> list[str]:
    """The page's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf8"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_page_on_tables_does_what_it_says(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with database() as shop:
        toml = (REST + "\n".join(blocks("toml"))).replace("jdbc:postgresql://localhost:5432/shop", shop.url)
        (project / "nightloom.toml").write_text(toml, encoding="utf8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("NIGHTLOOM_", "AIRFLOW"))}
        folders = [str(Path(sys.executable).parent), str(Path(program("initdb")).parent), environment["PATH"]]
        environment |= {
            "PATH": os.pathsep.join(folders),
            "DATABASE": shop.url.removeprefix("jdbc:").replace("//", "//nightloom@"),
        }
        makes, accepts, reads = blocks("sh")
        start = "python -m spark_jobs.session start"
        script = ["sh", "-c", f"set -eu\n{makes}\n{start}\n{reads}\n{accepts}"]
        done = subprocess.run(
            script, cwd=project, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        stop = [sys.executable, "-m", "spark_jobs.session", "stop", "--config", str(project / "nightloom.toml")]
        subprocess.run(stop, check=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "spark_jobs.bronze 2024-03-01: orders 2, products 1, visits 3" in done.stdout
    assert "visits 0" in done.stdout  # the loss that was accepted is none
    lake = Lake(project / "data/lake")
    assert [row["reason"] for row in lake.rows(QUARANTINE_ROWS).to_pylist()] == ["missing"]
    assert sorted(lake.rows(INTERACTIONS)["event"].to_pylist()) == ["order", "visit", "visit", "visit"]
    assert not lake.exists(ITEMS)
