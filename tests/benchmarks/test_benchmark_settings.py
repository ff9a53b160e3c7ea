"""The settings that benchmarks write: each is a whole nightloom.toml."""

from pathlib import Path

import pytest

from benchmarks import fault_load, incremental, live_project, publish
from nightloom import settings as settings_module


@pytest.mark.parametrize(
    "text",
    [
        fault_load.CONFIG,
        incremental.CONFIG,
        incremental.CONFIG + incremental.RULES,
        live_project.CONFIG.format(live="true"),
        publish.settings_text("lmdb", 100),
    ],
    ids=["fault_load", "incremental", "incremental with rules", "live_project", "publish"],
)
def test_the_settings_of_a_benchmark_are_valid(text: str, tmp_path: Path) -> None:
    file = tmp_path / "nightloom.toml"
    file.write_text(text, encoding="utf8")
    settings_module.load(file)
