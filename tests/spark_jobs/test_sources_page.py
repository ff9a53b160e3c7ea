"""docs/sources.md, run as it stands, on a warm Spark server and a real broker."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from nightloom.contracts import INTERACTIONS, QUARANTINE_ROWS
from nightloom.lake import Lake
from tests.spark_jobs.kafka_broker import broker

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
REST = """
[project]
name = "page"

[[signals]]
event = "click"

[[models]]
name = "popularity"
"""


def blocks(language: str) -> str:
    """The page's fenced blocks of one language, one after the other."""
    text = PAGE.read_text(encoding="utf8")
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))


def message(id: str, **changed: str) -> str:
    return json.dumps({"id": id, "who": "cat", "what": "chair", "at": "2024-03-01T11:00:00Z"} | changed)


def test_the_page_on_sources_does_what_it_says(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with broker(tmp_path / "broker") as running:
        running.topic("clicks")
        running.send("clicks", [message("e1"), message("e3"), message("e4", who="")])
        toml = (REST + blocks("toml")).replace("localhost:9092", running.servers)
        (project / "nightloom.toml").write_text(toml, encoding="utf8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("NIGHTLOOM_", "AIRFLOW"))}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        script = ["sh", "-c", f"set -eu\n{blocks('sh')}"]
        done = subprocess.run(
            script, cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        stop = [sys.executable, "-m", "spark_jobs.session", "stop", "--config", str(project / "nightloom.toml")]
        subprocess.run(stop, check=True, capture_output=True)  # where the page's own stop was not reached
    assert done.returncode == 0, done.stdout + done.stderr
    assert "spark_jobs.bronze 2024-03-01: clicks 2, properties 2, stream 3" in done.stdout
    lake = Lake(project / "data/lake")
    assert {(row["file"], row["reason"]) for row in lake.rows(QUARANTINE_ROWS).to_pylist()} == {
        ("landing/clicks/monday.jsonl", "type"),
        ("kafka:clicks/0/2", "missing"),
    }
    assert sorted(lake.rows(INTERACTIONS)["event_id"].to_pylist()) == ["e1", "e3"]
