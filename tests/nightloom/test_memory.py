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

BLOCK = 512 * 2**20
"""Far larger than what a library shared with other processes adds and takes away as these start and end."""
WAIT = "import time; print('ready', flush=True); time.sleep(30)"


@pytest.fixture
def settings() -> Settings:
    return settings_module.load(Path(__file__).parents[2] / "nightloom.toml")


@pytest.mark.parametrize("inherited", [True, False], ids=["by its environment", "by its parent"])
def test_a_process_of_the_project_counts(settings: Settings, inherited: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != CONFIG_VARIABLE}
    environment |= {CONFIG_VARIABLE: str(settings.file)} if inherited else {}
    with subprocess.Popen([sys.executable, "-c", WAIT], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        counted = {each.pid for each in memory.project_processes(settings)}
        process.kill()
    assert {os.getpid(), process.pid} <= counted


def test_the_peak_stays_when_the_memory_is_gone(settings: Settings) -> None:
    before = memory.project_memory(settings)
    with memory.peak_memory(settings, 0.05) as peak:
        block = bytearray(b"x") * BLOCK
        time.sleep(1.5)
        del block
    assert peak.bytes - before > BLOCK / 2
    assert memory.project_memory(settings) - before < BLOCK / 2
