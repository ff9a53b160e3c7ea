"""A training on two ranks that SIGTERM ends: the row, no rank that goes on, and a checkpoint to go on from."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from nightloom.night.records import stage_runs
from nightloom.settings import CONFIG_VARIABLE
from tests.training.rank_launcher import cyclic_likes, kill, rank_processes, read_output, sequence_section
from tests.training.small_project import LAST, MakeProject, Track, night_of

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves


def test_sigterm_ends_a_training_with_its_ranks_and_the_checkpoint_stays(project: MakeProject, tracked: Track) -> None:
    settings = tracked(project([sequence_section(epochs=2000)], cyclic_likes(users=40)))
    command = [sys.executable, "-m", "training.train", "--date", str(LAST)]
    environment = os.environ | {CONFIG_VARIABLE: str(settings.file), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            read_output(process, until="epoch 3,")
            assert rank_processes(process).keys() == {0, 1}
            below = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 143
        finally:
            kill(process)
    assert [each for each in below if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    (run,) = stage_runs(night_of(settings).lake)
    assert (run.stage, run.status, run.error) == ("training.train", "failed", "terminated by SIGTERM")
    assert list(settings.place("home").glob("training/*/checkpoint*"))
