"""Who may import whom, read from the source itself: stages meet at tables, not at imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("nightloom", "models", "spark_jobs", "training", "expectations", "serving", "dags")
ALLOWED: dict[str, dict[str, tuple[str, ...]]] = {
    "nightloom": {},
    "models": {"": ("nightloom",)},
    "spark_jobs": {"": ("nightloom", "models")},
    "training": {"": ("nightloom", "models"), "distributed.py": ("spark_jobs.session",)},
    "expectations": {"": ("nightloom", "spark_jobs.session")},
    "serving": {
        "": ("nightloom", "models"),
        "slate_gate.py": ("expectations.validate",),
        "replay.py": ("spark_jobs.slate_scoring",),
        "quality.py": ("expectations.trends",),
    },
    "dags": {"": ("nightloom",)},
}
"""Package -> file in it ("" for each) -> what of the other packages it may import."""
HEAVY = ("airflow", "pyspark", "torch", "horovod", "mlflow", "great_expectations")
BRINGS = {
    "nightloom": (),
    "spark_jobs": ("pyspark", "mlflow"),
    "models": ("torch", "mlflow"),
    "training": ("torch", "horovod", "mlflow"),
    "expectations": ("great_expectations",),
    "serving": ("mlflow",),
    "dags": ("airflow",),
}
"""Package -> the large libraries that are its own business."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports anywhere in it, `from a.b import c` as a.b.c."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}, line {node.lineno}: imports are absolute here"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def within(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in allowed)


EACH_FILE = pytest.mark.parametrize(
    ("package", "file"),
    [pytest.param(package, file, id=str(file.relative_to(ROOT))) for package in PACKAGES for file in sources(package)],
)


@EACH_FILE
def test_a_file_imports_of_our_packages_only_what_its_layer_may(package: str, file: Path) -> None:
    rules = ALLOWED[package]
    allowed = (package, *rules.get("", ()), *rules.get(file.name, ()))
    if package == "dags":  # Airflow puts the folder itself on the path: its files import each other by their bare names
        allowed = rules[""]
    others = [module for module in imports(file) if module.split(".")[0] in PACKAGES]
    assert [module for module in others if not within(module, allowed)] == []


@EACH_FILE
def test_a_file_imports_no_large_library_that_is_another_layers_business(package: str, file: Path) -> None:
    foreign = tuple(library for library in HEAVY if library not in BRINGS[package])
    assert [module for module in imports(file) if within(module, foreign)] == []


def test_only_the_seam_imports_horovod() -> None:
    found = [
        file for package in PACKAGES for file in sources(package) if any(m.startswith("horovod") for m in imports(file))
    ]
    assert found == [ROOT / "training" / "distributed.py"]


def test_each_package_says_what_it_is_and_none_is_called_utils() -> None:
    for package in PACKAGES:
        for file in sources(package):
            assert file.stem not in {"utils", "common", "core", "helpers", "misc"}, file
            assert ast.get_docstring(ast.parse(file.read_text(encoding="utf8"))), (
                f"{file.relative_to(ROOT)} has no docstring"
            )


def test_no_dag_file_carries_the_name_of_a_package() -> None:
    assert not {file.stem for file in sources("dags")} & set(PACKAGES)
