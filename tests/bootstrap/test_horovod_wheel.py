"""What the set-up says of the Horovod that it built."""

import subprocess
import sys

import pytest

from bootstrap import horovod_wheel


@pytest.mark.parametrize(
    ("nccl", "gpus", "words"),
    [
        (True, 4, "reduces on GPUs (NCCL) and on the CPU"),
        (False, 0, "reduces on the CPU"),
        (False, 1, "reduces on the CPU"),
        (False, 4, "found 4 GPUs and no nvcc; a training uses one GPU, or ranks on the CPU"),
    ],
)
def test_the_summary_names_what_was_built_and_what_several_gpus_need(nccl: bool, gpus: int, words: str) -> None:
    assert words in horovod_wheel.summary(nccl, gpus)
    assert ("install a CUDA toolkit" in horovod_wheel.summary(nccl, gpus)) == (gpus > 1 and not nccl)


def test_the_check_starts_a_rank_and_ends_with_what_the_build_can_do() -> None:
    done = subprocess.run([sys.executable, "-c", horovod_wheel.CHECK], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] in ("ranks 1 NCCL False", "ranks 1 NCCL True")
