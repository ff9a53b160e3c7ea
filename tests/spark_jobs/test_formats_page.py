"""docs/formats.md, run as it stands: each file becomes the rows that the page shows, each line accounted for."""

import os
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from expectations.landing_files import file_checks
from nightloom.contracts import BRONZE, INTERACTIONS, ITEMS, QUARANTINE_ROWS, UNUSED_ROWS, USERS
from nightloom.settings import Source
from spark_jobs import bronze, silver_interactions, silver_items, silver_users
from tests.spark_jobs.small_project import Project, Row, project

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COUNTS = re.compile(r"\*\*(\d+) lines, (\d+) records:\*\* (.*)")
SILVER = {"events": INTERACTIONS, "items": ITEMS, "users": USERS}
FILE_TIME = datetime(2024, 2, 29, 23, 59, 59, 0, UTC)
FILE_NS = int(FILE_TIME.timestamp()) * 10**9


@dataclass(frozen=True)
class Section:
    """A layout of the page: what it shows, and what it says comes out."""

    title: str
    toml: str
    python: str
    files: dict[str, str]
    result: list[str]
    counts: tuple[str, ...]


def sections() -> list[Section]:
    """The page's layouts; the first text is what the rest of nightloom.toml looks like."""
    found = []
    for text in PAGE.read_text(encoding="utf8").split("\n## ")[1:]:
        blocks = FENCE.findall(text)
        (toml,), counts = [body for kind, _, body in blocks if kind == "toml"], COUNTS.search(text)
        assert counts, text.split("\n")[0]
        files = {name: body for kind, name, body in blocks if kind == "text" and name != "result"}
        (result,) = [body for kind, name, body in blocks if name == "result"]
        python = "".join(body for kind, _, body in blocks if kind == "python")
        found.append(Section(text.split("\n")[0], toml, python, files, result.splitlines(), counts.groups()))
    return found


def put_files(root: Path, layouts: list[Section]) -> None:
    """Put the page's files into a project's landing folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for section in layouts:
            source = tomllib.loads(section.toml)["sources"][0]
            Path(source["path"]).mkdir(parents=True, exist_ok=True)
            for name, text in section.files.items():
                Path(name).write_bytes(text.encode(source.get("encoding", "utf-8")))
            exec(compile(section.python, section.title, "exec"), {})
    for file in (root / "landing").rglob("*.*"):
        os.utime(file, ns=(FILE_NS, FILE_NS))


@pytest.fixture(scope="module")
def gallery(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """All layouts of the page in one project, after the night up to silver."""
    head = FENCE.search(PAGE.read_text(encoding="utf8"))
    assert head
    tables = "\n".join(each.toml.replace('kind = "', 'settle_seconds = 0\nkind = "', 1) for each in sections())
    at = project(tmp_path_factory.mktemp("gallery"), spark, f"{head[3]}\n{tables}")
    put_files(at.settings.root, sections())
    at.run(bronze.main, silver_interactions.main, silver_items.main, silver_users.main)
    return at


def outcomes(at: Project, source: Source) -> tuple[int, int, Counter[str]]:
    """Lines and records of a source in bronze, and what became of each record."""
    landed = [row for row in at.rows(BRONZE[source.kind]) if row["source"] == source.name]
    found = Counter[str]()
    tables = {source.kind: SILVER[source.kind], "in quarantine": QUARANTINE_ROWS, "skipped": UNUSED_ROWS}
    by_id = {name: {row["row_id"]: row for row in at.rows(table)} for name, table in tables.items()}
    for row in landed:
        (name,) = [name for name, rows in by_id.items() if row["row_id"] in rows]
        row = by_id[name][row["row_id"]]
        reason = row.get("reason") or (row["detail"] if name == "skipped" else None)
        found[f"{name} (`{reason}`)" if reason else name] += 1
    return sum(row["lines"] or 0 for row in landed), len(landed), found


@pytest.mark.parametrize("number", range(len(sections())), ids=[each.title for each in sections()])
def test_a_layout_gives_what_the_page_says(number: int, gallery: Project) -> None:
    section, source = sections()[number], gallery.settings.sources[number]
    lines, records, found = outcomes(gallery, source)
    counts = Counter({name: int(count) for count, name in re.findall(r"(\d+) ([^,]+)", section.counts[2])})
    assert (lines, records, found) == (int(section.counts[0]), int(section.counts[1]), counts)
    assert sorted(shown(row, source.kind) for row in silver_rows(gallery, source)) == sorted(section.result)


def silver_rows(at: Project, source: Source) -> list[Row]:
    own = {row["row_id"] for row in at.rows(BRONZE[source.kind]) if row["source"] == source.name}
    return [row for row in at.rows(SILVER[source.kind]) if row["row_id"] in own]


def shown(row: Row, kind: str) -> str:
    """A row of silver as the page writes it."""
    attributes = ", ".join(f"{name}={value or ''}" for name, value in sorted(row.get("attributes") or ()))
    values: dict[str, list[Any]] = {
        "events": [row.get(name) for name in ("user_id", "item_id", "event", "value")] + [moment(row)],
        "items": [row.get("item_id"), row.get("title"), ", ".join(row.get("categories") or ()), attributes],
        "users": [row.get("user_id"), attributes],
    }
    texts = ["" if value is None else str(value) for value in values[kind]]
    return re.sub(r" +", " ", " | ".join(texts)).strip()


def moment(row: Row) -> str:
    after = row["occurred_at"] - FILE_TIME if "occurred_at" in row else None
    if after is not None and timedelta(0) <= after < timedelta(seconds=1):
        return "the file's time" + (f" + {after.microseconds} us" if after else "")
    return re.sub(r"(\.\d*?)0+$", r"\1", str(row.get("occurred_at")).removesuffix("+00:00"))


def test_gate_1_finds_every_line_of_the_gallery_in_a_record(gallery: Project) -> None:
    checks = [check for check in file_checks(gallery.night()) if check.name.startswith("lines of")]
    assert len(checks) == len(sections())
    assert [check.observed for check in checks if not check.passed] == []
