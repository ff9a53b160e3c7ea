"""The order of the packages, and that no arrow runs against it; read from the sources' own imports."""

import ast
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import grimp
import pytest

from nightloom.night import stages

ROOT = Path(__file__).parents[1]
LAYERS = """
    benchmarks
    serving
    training expectations
    spark_jobs
    models
    nightloom.cli
    nightloom.local
    nightloom.sql nightloom.quarantine nightloom.samples nightloom.backup nightloom.cost nightloom.stage
    nightloom.event_journal
    nightloom.night
    nightloom.lake
    nightloom.settings
    nightloom.slate nightloom.airflow
    nightloom.contracts
    nightloom.section nightloom.arguments nightloom.terminal nightloom.literals nightloom.places
    nightloom.pages nightloom.psi nightloom.topk
    nightloom.signals nightloom.errors
"""
"""Each line may import the lines below it; names on one line do not import each other."""
PACKAGES = sorted({name.split(".")[0] for name in LAYERS.split()})
LIBRARIES = {
    "airflow": (),
    "pyspark": ("spark_jobs",),
    "great_expectations": ("expectations",),
    "torch": ("models", "training", "nightloom.topk"),
    "horovod": ("training.distributed",),
}
"""A large library -> the only places that may import it. dags/ imports airflow and is no package."""
LIGHT = ("nightloom.night", "nightloom.airflow", "nightloom.errors")
"""What a DAG file may import of ours; tests/dags/test_policy.py looks at what that imports."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None, include_external_packages=True)


def reversed_arrows(graph: grimp.ImportGraph) -> list[str]:
    """`importer -> imported` of each chain of imports that runs up."""
    layers = [grimp.Layer(*line.split(), independent=True) for line in LAYERS.strip().splitlines()]
    found = graph.find_illegal_dependencies_for_layers(layers=layers)
    return sorted(
        " -> ".join([min(route.heads), *route.middle, min(route.tails)]) for one in found for route in one.routes
    )


def circle(arrows: Iterable[tuple[str, str]]) -> list[str]:
    """The names along one circle of arrows (importer, imported); empty where there is none."""
    imports: dict[str, set[str]] = {}
    for importer, imported in arrows:
        imports.setdefault(importer, set()).add(imported)
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def arrows(graph: grimp.ImportGraph) -> list[tuple[str, str]]:
    """(importer, imported) of our own modules."""
    ours = {module for module in graph.modules if module.split(".")[0] in PACKAGES}
    return [(one, other) for one in ours for other in graph.find_modules_directly_imported_by(one) & ours]


def rooms(graph: grimp.ImportGraph) -> list[tuple[str, str]]:
    """The same between rooms: a package that has no packages inside counts as one."""

    def room(module: str) -> str:
        package = module if graph.find_children(module) else module.rpartition(".")[0]
        inner = any(graph.find_children(child) for child in graph.find_children(package)) if package else True
        return module if inner else package

    return [pair for each in arrows(graph) if len(set(pair := (room(each[0]), room(each[1])))) == 2]


def test_every_arrow_points_down(graph: grimp.ImportGraph) -> None:
    assert reversed_arrows(graph) == []


def test_stages_of_different_packages_meet_at_tables(graph: grimp.ImportGraph) -> None:
    users = {stage.name: graph.find_modules_that_directly_import(stage.name) for stage in stages.ALL}
    own = {name: name.split(".")[0] for name in users}
    assert [
        (user, name)
        for name, some in users.items()
        for user in some
        if user.split(".")[0] not in (own[name], "benchmarks")
    ] == []


def test_every_module_has_a_layer(graph: grimp.ImportGraph) -> None:
    named = {*LAYERS.split(), "nightloom"}
    tops = {".".join(module.split(".")[: 2 if module.startswith("nightloom.") else 1]) for module, _ in arrows(graph)}
    assert tops - named == set()


def test_no_circle_of_modules_or_of_packages(graph: grimp.ImportGraph) -> None:
    assert circle(arrows(graph)) == []
    assert circle(rooms(graph)) == []


@pytest.mark.parametrize(("lower", "upper"), list(pairwise(reversed(LAYERS.split()))))
def test_this_test_fails_when_an_arrow_is_reversed(graph: grimp.ImportGraph, lower: str, upper: str) -> None:
    graph.add_import(importer=lower, imported=upper)
    assert f"{lower} -> {upper}" in reversed_arrows(graph)
    graph.remove_import(importer=lower, imported=upper)


def test_this_test_fails_when_two_modules_import_each_other(graph: grimp.ImportGraph) -> None:
    importer, imported = next(pair for pair in sorted(arrows(graph)) if pair[0].startswith("serving.stores."))
    assert {importer, imported} <= {*circle([*arrows(graph), (imported, importer)])}


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_large_library_stays_where_it_belongs(graph: grimp.ImportGraph, library: str) -> None:
    users = graph.find_modules_that_directly_import(library) if library in graph.modules else set()
    places = LIBRARIES[library]
    strangers = [user for user in users if not any(user == place or user.startswith(f"{place}.") for place in places)]
    assert [user for user in strangers if not user.startswith("benchmarks")] == []


def test_dags_import_nothing_heavy_of_ours() -> None:
    for file in sorted((ROOT / "dags").glob("*.py")):
        assert file.stem not in PACKAGES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
            modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            ours = [module for module in modules if module.split(".")[0] in PACKAGES]
            assert [module for module in ours if not module.startswith(LIGHT)] == []


def test_each_file_says_what_it_is_and_none_is_called_utils() -> None:
    for package in (*PACKAGES, "dags"):
        for file in sorted((ROOT / package).rglob("*.py")):
            assert {file.stem, file.parent.name}.isdisjoint({"utils", "common", "core", "helpers", "misc"}), file
            assert ast.get_docstring(ast.parse(file.read_text(encoding="utf8"))), file.relative_to(ROOT)
