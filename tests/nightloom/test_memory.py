"""The memory of a project's processes together: children, and what runs on after its parent has ended."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nightloom import settings as settings_module
from nightloom.local import memory
from nightloom.settings import CONFIG_VARIABLE, Settings

MIB = 2**20
HOLD = "import time; block = bytearray(b'x' * 64 * 2**20); print('ready', flush=True); time.sleep(30)"


@pytest.fixture
def settings() -> Settings:
    return settings_module.load(Path(__file__).parents[2] / "nightloom.toml")


@pytest.mark.parametrize("inherited", [True, False], ids=["by its environment", "by its parent"])
def test_a_process_of_the_project_counts(settings: Settings, inherited: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != CONFIG_VARIABLE}
    environment |= {CONFIG_VARIABLE: str(settings.file)} if inherited else {}
    before = memory.project_memory(settings)
    with subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        grown = memory.project_memory(settings) - before
        process.kill()
    assert 64 * MIB < grown < 128 * MIB


def test_the_peak_stays_when_the_memory_is_gone(settings: Settings) -> None:
    before = memory.project_memory(settings)
    with memory.peak_memory(settings, 0.05) as peak:
        block = bytearray(b"x" * 64 * MIB)
        time.sleep(0.5)
        del block
    assert peak.bytes - before > 60 * MIB
