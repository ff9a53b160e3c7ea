"""The seam to Horovod, and the only file that knows it: who am I among the ranks, add up, commit, launch.

Under one of Horovod's launchers group() gives the ranks; without, a group of one. A training script is the same lines
either way: docs/ranks.md shows them. `python -m training.distributed` is the launcher inside a Spark cluster.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nightloom.settings import Settings, Training, load

if TYPE_CHECKING:
    import torch  # whoever only launches ranks need not wait for it

F64 = NDArray[np.float64]
T = TypeVar("T")


class Group:
    """The processes that train one model together; this one is alone. Every rank makes the same calls in one order."""

    rank, size = 0, 1
    """rank: 0 .. size - 1; rank 0 writes and reports."""
    local_rank = 0
    """Rank on this machine: which of its GPUs to use."""
    folder: Path | None = None
    """Where the model in training keeps its commits; without one it starts from its first epoch."""
    compression = "none"
    """Of gradients on their way: none or fp16."""
    _seed = 0

    def optimizer(self, optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimizer, stepping by the mean of all ranks' gradients.

        Sparse gradients (an Embedding with sparse=True) stay sparse: ranks exchange the rows that they touched.
        """
        return optimizer

    def share_weights(self, model: torch.nn.Module) -> None:
        """Give every rank the weights of rank 0."""

    def sum(self, values: F64) -> F64:
        """Sum over the ranks, element by element."""
        return values

    def mean(self, value: float) -> float:
        """Mean over the ranks."""
        return float(self.sum(np.array([value], np.float64))[0]) / self.size

    def resume(self, model: torch.nn.Module, *optimizers: torch.optim.Optimizer) -> int:
        """Put every rank where the last commit was, else give it rank 0's weights; returns the epochs that are done.

        To be called when torch is seeded and everything is on its device.
        """
        import torch

        from training import checkpoints

        self._seed = torch.initial_seed()
        last = self._of_root(checkpoints.read(self.folder) if self.folder and not self.rank else None)
        if last:
            checkpoints.restore(last, model, optimizers)
        else:
            self.share_weights(model)
        done = last["epochs"] if last else 0
        checkpoints.reseed(self._seed, done, self.rank)
        return int(done)

    def commit(self, epochs: int, model: torch.nn.Module, *optimizers: torch.optim.Optimizer) -> None:
        """So many epochs are done: what comes now can be lost, this can not. New ranks join here."""
        from training import checkpoints

        if self.folder and self.rank == 0:
            checkpoints.write(self.folder, epochs, model, optimizers)
        checkpoints.reseed(self._seed, epochs, self.rank)

    def run(self, attempt: Callable[[], T]) -> T:
        """attempt(); again, from the last commit and with the ranks there are then, whenever one was lost or came."""
        return attempt()

    def _of_root(self, value: Any) -> Any:
        """Rank 0's value."""
        return value


class Horovod(Group):
    """The ranks that a Horovod launcher started."""

    def __init__(self) -> None:
        import horovod.torch as hvd  # type: ignore[import-untyped]  # lazily: a group of one does without it

        hvd.init()
        self._hvd = hvd
        self._state = hvd.elastic.TorchState()  # empty: what counts is in the commits
        self._elastic = os.environ.get("HOROVOD_ELASTIC") == "1"
        self._look()

    def _look(self) -> None:
        hvd = self._hvd
        self.rank, self.size, self.local_rank = hvd.rank(), hvd.size(), hvd.local_rank()

    def optimizer(self, optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> torch.optim.Optimizer:
        known = self._hvd.Compression

        class Half(known.fp16):  # type: ignore[misc, name-defined]
            @staticmethod
            def decompress(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
                """Sparse gradients come back as they went, without a dtype, which Horovod's own does not expect."""
                return tensor if dtype is None else known.fp16.decompress(tensor, dtype)

        compression = {"none": known.none, "fp16": Half}[self.compression]
        wrapped: torch.optim.Optimizer = self._hvd.DistributedOptimizer(
            optimizer, named_parameters=model.named_parameters(), compression=compression
        )
        return wrapped

    def share_weights(self, model: torch.nn.Module) -> None:
        self._hvd.broadcast_parameters(model.state_dict(), root_rank=0)

    def sum(self, values: F64) -> F64:
        import torch

        # Named: Horovod's own names count calls, and a rank that came later has made fewer.
        summed = self._hvd.allreduce(torch.from_numpy(values), op=self._hvd.Sum, name="sum")
        return np.asarray(summed.numpy(), np.float64)

    def commit(self, epochs: int, model: torch.nn.Module, *optimizers: torch.optim.Optimizer) -> None:
        super().commit(epochs, model, *optimizers)
        if self._elastic:
            self._state.commit()  # ends the attempt when ranks came

    def run(self, attempt: Callable[[], T]) -> T:
        @self._hvd.elastic.run  # type: ignore[untyped-decorator]
        def again(state: Any) -> T:
            self._look()
            return attempt()

        return again(self._state) if self._elastic else attempt()

    def _of_root(self, value: Any) -> Any:
        return self._hvd.broadcast_object(value, root_rank=0, name="of root")


@cache
def group() -> Group:
    """The ranks this process is one of."""
    return Horovod() if "HOROVOD_RANK" in os.environ else Group()


def ranks_of(training: Training) -> int:
    """As many as the settings say, else as there are places on the hosts, else as default_ranks()."""
    return training.ranks or sum(int(host.rsplit(":", 1)[1]) for host in training.hosts) or default_ranks()


def default_ranks() -> int:
    """As many as there are GPUs that this process may use, else 2."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        gpus = len([device for device in chosen.split(",") if device])
    elif shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
        gpus = listed.stdout.count("GPU ")
    else:
        gpus = 0
    return gpus or 2


def command(ranks: int, *module_and_arguments: str, settings: Settings | None = None) -> list[str]:
    """`python -m ...` on so many ranks, as the settings say: in a Spark cluster, on hosts, or on this machine.

    Without a launcher for one rank of this machine that is not elastic.
    """
    training, python = settings.training if settings else Training(), [sys.executable, "-m"]
    if settings and training.launcher == "spark":
        told = ["--config", str(settings.file), "--ranks", str(ranks)]
        return [*python, "training.distributed", *told, *module_and_arguments]
    if ranks == 1 and not training.hosts and not training.min_ranks:
        return [*python, *module_and_arguments]
    horovodrun = [str(Path(sys.executable).with_name("horovodrun")), "-np", str(ranks), "--gloo"]
    hosts = training.hosts
    if training.min_ranks:
        # A host that lost a rank is left alone for a while, so that one machine must look like two.
        hosts = hosts or (f"localhost:{-(-ranks // 2)}", f"127.0.0.1:{max(ranks // 2, 1)}")
        horovodrun += ["--min-np", str(training.min_ranks), "--max-np", str(ranks), *PATIENCE]
    return [*horovodrun, *(["-H", ",".join(hosts)] if hosts else []), *python, *module_and_arguments]


PATIENCE = ("--blacklist-cooldown-range", "2", "60", "--reset-limit", "20")
"""Seconds until a host that lost a rank is tried again, at first and at most; losses and arrivals that are enough."""


def environment(ranks: int, training: Training) -> dict[str, str]:
    """Variables for the launcher, which hands them to its ranks."""
    busiest = max((int(host.rsplit(":", 1)[1]) for host in training.hosts), default=ranks)
    return {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // busiest)),
        "HOROVOD_FUSION_THRESHOLD": str(training.fusion_mb << 20),
        # Ranks wait for one that only now starts, which imports torch first; Horovod's 30 s are few for that.
        "HOROVOD_GLOO_TIMEOUT_SECONDS": "300",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }


def main() -> None:
    """Run a module's main() with arguments on so many ranks, each a task of the Spark cluster of places.spark."""
    import horovod.spark  # type: ignore[import-untyped]

    from spark_jobs.session import session

    parser = argparse.ArgumentParser(prog="python -m training.distributed", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    handed = {name: value for name, value in os.environ.items() if name.startswith(HANDED)}
    with session(load(given.config)):
        horovod.spark.run(called, (given.module, given.arguments), num_proc=given.ranks, env=handed, verbose=0)


HANDED = ("NIGHTLOOM_", "HOROVOD_", "OMP_", "PYTHONPATH")
"""Beginnings of the variables that go along into a Spark cluster."""


def called(module: str, arguments: list[str]) -> None:
    """What a rank in a Spark cluster does."""
    import_module(module).main(arguments)


if __name__ == "__main__":
    main()
