"""The list of stages is the only place that names them, and the records' tables have one reader."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightloom.night import stages

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "bootstrap", "nightloom", "models", "spark_jobs", "training", "expectations", "serving", "dags", "benchmarks",
    "docs",
)  # fmt: skip
SOURCES = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
LIST = ROOT / "nightloom" / "night" / "stages.py"
NAMES = re.compile("|".join(rf"\b{re.escape(stage.name)}\b(?!\.)" for stage in stages.ALL))


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Texts that are statements of their own: docstrings and the words below an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def literals(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string literal that is no docstring, the parts of f-strings too."""
    tree = ast.parse(file.read_text(encoding="utf8"))
    words = set(docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in words:
            yield node.lineno, node.value


def own_file(name: str) -> Path:
    return ROOT / f"{name.replace('.', '/')}.py"


def named(files: list[Path]) -> list[str]:
    """Where a stage's name is a literal outside its own file."""
    return [
        f"{file.relative_to(ROOT)}, line {line}: {name}"
        for file in files
        for line, text in literals(file)
        for name in NAMES.findall(text)
        if own_file(name) != file
    ]


def test_no_stage_name_is_a_literal_outside_its_own_file_and_the_list() -> None:
    assert named([file for file in SOURCES if file != LIST]) == []


def test_the_search_finds_a_name_that_stands_in_the_middle_of_a_text(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        '"""By hand: python -m serving.publish."""\nfail(f"run `python -m serving.publish --date {d}` again")\n'
    )
    assert next((line, NAMES.findall(text)) for line, text in literals(file)) == (2, ["serving.publish"])


def test_only_the_night_reads_and_writes_the_tables_of_its_records() -> None:
    apart = (ROOT / "nightloom" / "night", ROOT / "nightloom" / "contracts")
    files = [file for file in SOURCES if not any(file.is_relative_to(folder) for folder in apart)]
    found = [file for file in files if re.search(r"ops\.stages|STAGES", file.read_text(encoding="utf8"))]
    assert [str(file.relative_to(ROOT)) for file in found] == []


@pytest.mark.parametrize("stage", stages.ALL, ids=lambda stage: stage.name)
def test_each_stage_is_a_file_that_ends_with_its_own_run(stage: stages.Stage) -> None:
    tree = ast.parse(own_file(stage.name).read_text(encoding="utf8"))
    constant = next(name for name, value in vars(stages).items() if value is stage)
    last = ast.unparse(tree.body[-1])
    assert last.startswith("if __name__ == '__main__':")
    assert f"run_stage(stages.{constant}, main" in last


def test_every_constant_of_the_list_is_in_it_once() -> None:
    constants = [value for value in vars(stages).values() if isinstance(value, stages.Stage)]
    assert sorted(constants, key=stages.ALL.index) == list(stages.ALL)
    assert len({stage.name for stage in stages.ALL}) == len(stages.ALL)


def test_every_gate_has_a_name_of_its_own() -> None:
    gates = [stage.gate for stage in stages.ALL if stage.gate]
    assert len(set(gates)) == len(gates)
    assert {stage.gate for stage in stages.GATES} < set(gates)


def test_the_page_of_the_night_has_the_list_in_its_order_with_its_words() -> None:
    page = (ROOT / "docs" / "night.md").read_text(encoding="utf8")
    rows = [row.strip("|").split(" | ") for row in page.splitlines() if row.startswith("| `")]
    assert [(cells[0].strip(" `"), cells[-1].strip()) for cells in rows] == [
        (stage.name, stage.summary) for stage in stages.NIGHT
    ]
    for stage, (_, reads, writes, _) in zip(stages.NIGHT, rows, strict=True):
        if stage.reads or stage.writes:
            assert set(tables_in(reads)) <= set(stage.reads), stage.name
            assert set(tables_in(writes)) == set(stage.writes), stage.name


def tables_in(cell: str) -> list[str]:
    """Tables that a cell of the page names, those of the layer `ops` aside."""
    return re.findall(r"`((?:bronze|silver|gold|quarantine)\.\w+)`", cell)
