"""Which devices ranks train on: GPUs where Horovod can reduce gradients there, or where there is just one rank."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import takewhile

from nightloom.errors import NightloomError

RANKS_ON_CPU = 2


class DeviceError(NightloomError):
    """A rank has no device to train on."""


def default_ranks(gpus: int, reduces_on_gpus: bool) -> int:
    """A rank per GPU if Horovod can reduce there, else one rank on one GPU; without a GPU some on the CPU."""
    return (gpus if reduces_on_gpus else 1) if gpus else RANKS_ON_CPU


def device_name(gpus: int, local_rank: int, reduces_on_gpus: bool) -> str:
    """`cuda:I`, the GPU of a rank of this machine, or `cpu`. Raises DeviceError where it has fewer GPUs than ranks."""
    if not gpus or not reduces_on_gpus:
        return "cpu"
    if local_rank >= gpus:
        raise DeviceError(
            f"found {gpus} GPUs for rank {local_rank} of this machine (the first rank is 0), expected one for each; "
            f"lower training.ranks, or this machine's number in training.hosts, to {gpus}"
        )
    return f"cuda:{local_rank}"


def describe(ranks: int, gpus: int, reduces_on_gpus: bool) -> str:
    """Where a training's ranks run, and why not on GPUs that are there."""
    if not gpus:
        return "on the CPU"
    if ranks == 1 or reduces_on_gpus:
        return "on GPUs" if ranks > 1 else "on a GPU"
    return (
        f"on the CPU: Horovod was built without NCCL, so that ranks cannot use the {gpus} GPUs; one rank can use one, "
        "and after `./run setup` with a CUDA toolkit (nvcc) each rank has its own"
    )


def visible_gpus() -> int:
    """Number of GPUs that this process may use."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len(list(takewhile(lambda device: device not in ("", "-1"), visible.split(","))))
    if not shutil.which("nvidia-smi"):
        return 0
    found = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return found.stdout.count("GPU ")
