"""Data-parallel training by Horovod: the process group, checkpoints and launchers. No other module imports Horovod.

group() gives the ranks that one of Horovod's launchers started, or a group of one process without a launcher. A
training script has the same lines either way; docs/ranks.md shows them. `python -m training.distributed` is the
launcher inside a Spark cluster.
"""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nightloom.errors import NightloomError
from nightloom.places import Place
from nightloom.settings import Settings, Training, load
from training import devices, reachable_hosts

if TYPE_CHECKING:
    import torch  # a process that only launches ranks need not wait for it

F64 = NDArray[np.float64]
T = TypeVar("T")


class AddressError(NightloomError):
    """Ranks of other machines cannot reach this one."""


class Group:
    """The processes that train one model together; this class is the group of one process.

    Every rank must make the same calls in the same order.
    """

    rank, size = 0, 1
    """rank: 0 .. size - 1; rank 0 writes and reports."""
    local_rank = 0
    """Rank on this machine, the index of the GPU to use."""
    reduces_on_gpus = True
    """Whether gradients on GPUs can be reduced; one process alone has nothing to reduce."""
    folder: Place | None = None
    """Folder of the checkpoints; None: no checkpoints, and the training starts from its first epoch."""
    compression = "none"
    """Compression of gradients between ranks: none or fp16."""
    _seed = 0

    @property
    def device(self) -> torch.device:
        """The device of this rank. Raises DeviceError where the machine has fewer GPUs than ranks."""
        import torch

        return torch.device(devices.device_name(torch.cuda.device_count(), self.local_rank, self.reduces_on_gpus))

    def optimizer(self, optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> torch.optim.Optimizer:
        """The optimizer, whose step takes the mean of all ranks' gradients.

        Sparse gradients (an Embedding with sparse=True) stay sparse: ranks exchange only the rows that have one.
        """
        return optimizer

    def share_weights(self, model: torch.nn.Module) -> None:
        """Give every rank the weights of rank 0."""

    def sum(self, values: F64) -> F64:
        """Sum over the ranks, element by element; any one shape, the same on all ranks."""
        return values

    def mean(self, value: float) -> float:
        """Mean over the ranks."""
        return float(self.sum(np.array([value], np.float64))[0]) / self.size

    def resume(self, model: torch.nn.Module, *optimizers: torch.optim.Optimizer) -> int:
        """Restore the last checkpoint on every rank, or give all ranks rank 0's weights; returns the epochs done.

        Call it when torch is seeded and model and optimizers are on their device.
        """
        import torch

        from training import checkpoints

        self._seed = torch.initial_seed()
        last = self._broadcast_from_root(checkpoints.read(self.folder) if self.folder and not self.rank else None)
        if last:
            checkpoints.restore(last, model, optimizers)
        else:
            self.share_weights(model)
        epochs_done = last["epochs"] if last else 0
        checkpoints.reseed(self._seed, epochs_done, self.rank)
        return int(epochs_done)

    def save_checkpoint(self, epochs: int, model: torch.nn.Module, *optimizers: torch.optim.Optimizer) -> None:
        """Save the state after `epochs` epochs: a lost rank costs only later ones. New ranks join here."""
        from training import checkpoints

        if self.folder and self.rank == 0:
            checkpoints.write(self.folder, epochs, model, optimizers)
        checkpoints.reseed(self._seed, epochs, self.rank)

    def run(self, attempt: Callable[[], T]) -> T:
        """Call attempt(); in an elastic group, call it again whenever a rank was lost or joined.

        attempt() must begin with resume(), so that it goes on from the last checkpoint.
        """
        return attempt()

    def _broadcast_from_root(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        return value


class Horovod(Group):
    """The ranks that a Horovod launcher started."""

    def __init__(self) -> None:
        import horovod.torch as hvd  # type: ignore[import-untyped]  # lazily: a group of one does without it

        check_own_address()
        hvd.init()
        self._hvd = hvd
        self.reduces_on_gpus = bool(hvd.nccl_built())
        self._state = hvd.elastic.TorchState()  # empty: the state is in the checkpoints
        self._elastic = os.environ.get("HOROVOD_ELASTIC") == "1"
        self._read_ranks()

    def _read_ranks(self) -> None:
        hvd = self._hvd
        self.rank, self.size, self.local_rank = hvd.rank(), hvd.size(), hvd.local_rank()

    def optimizer(self, optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> torch.optim.Optimizer:
        compressors = self._hvd.Compression

        class Float16(compressors.fp16):  # type: ignore[misc, name-defined]
            @staticmethod
            def decompress(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
                """A sparse gradient comes back without a dtype, which Horovod's own method does not expect."""
                return tensor if dtype is None else compressors.fp16.decompress(tensor, dtype)

        compression = {"none": compressors.none, "fp16": Float16}[self.compression]
        wrapped: torch.optim.Optimizer = self._hvd.DistributedOptimizer(
            optimizer, named_parameters=model.named_parameters(), compression=compression
        )
        return wrapped

    def share_weights(self, model: torch.nn.Module) -> None:
        self._hvd.broadcast_parameters(model.state_dict(), root_rank=0)

    def sum(self, values: F64) -> F64:
        import torch

        # The default name counts calls, and a rank that joined later has made fewer.
        summed = self._hvd.allreduce(torch.from_numpy(values), op=self._hvd.Sum, name="sum")
        return np.asarray(summed.numpy(), np.float64)

    def save_checkpoint(self, epochs: int, model: torch.nn.Module, *optimizers: torch.optim.Optimizer) -> None:
        super().save_checkpoint(epochs, model, *optimizers)
        if self._elastic:
            self._state.commit()  # ends the attempt if ranks have joined

    def run(self, attempt: Callable[[], T]) -> T:
        @self._hvd.elastic.run  # type: ignore[untyped-decorator]
        def attempt_with_current_ranks(state: Any) -> T:
            self._read_ranks()
            return attempt()

        return attempt_with_current_ranks(self._state) if self._elastic else attempt()

    def _broadcast_from_root(self, value: Any) -> Any:
        return self._hvd.broadcast_object(value, root_rank=0, name="broadcast from root")


def check_own_address() -> None:
    """Raise AddressError where ranks on other machines would be told a loopback address.

    Horovod 0.28 tells them where this machine's own name points, whatever the network interface is.
    """
    several = int(os.environ.get("HOROVOD_CROSS_SIZE", "1")) > 1 and os.environ.get("HOROVOD_GLOO_IFACE") != "lo"
    name = socket.gethostname()
    if several and (address := socket.gethostbyname(name)).startswith("127."):
        raise AddressError(
            f"found {address} for {name}, this machine's own name, which ranks on other machines cannot reach; in "
            f"/etc/hosts, give {name} the machine's address on the network"
        )


@cache
def group() -> Group:
    """The group that this process belongs to."""
    return Horovod() if "HOROVOD_RANK" in os.environ else Group()


def configured_ranks(training: Training) -> int:
    """Number of ranks by the settings: `ranks`, else the sum over `hosts`, else default_ranks()."""
    return training.ranks or sum(int(host.rsplit(":", 1)[1]) for host in training.hosts) or default_ranks()


def default_ranks() -> int:
    """Number of ranks where the settings have none: devices.default_ranks() for this machine."""
    gpus = devices.visible_gpus()
    return devices.default_ranks(gpus, bool(gpus) and reduces_on_gpus())


def describe_devices(ranks: int) -> str:
    """Where the ranks of this machine will train."""
    gpus = devices.visible_gpus()
    return devices.describe(ranks, gpus, bool(gpus) and reduces_on_gpus())


def reduces_on_gpus() -> bool:
    """Whether the installed Horovod was built with NCCL."""
    import horovod.torch as hvd

    return bool(hvd.nccl_built())


def command(ranks: int, *module_and_arguments: str, settings: Settings | None = None) -> list[str]:
    """The command that runs `python -m ...` on `ranks` ranks: in a Spark cluster, on hosts, or on this machine.

    One rank on this machine needs no launcher, unless the training is elastic.
    """
    training, python = settings.training if settings else Training(), [sys.executable, "-m"]
    if settings and training.launcher == "spark":
        options = ["--config", str(settings.file), "--ranks", str(ranks)]
        return [*python, "training.distributed", *options, *module_and_arguments]
    if ranks == 1 and not training.hosts and not training.min_ranks:
        return [*python, *module_and_arguments]
    horovodrun = [str(Path(sys.executable).with_name("horovodrun")), "-np", str(ranks), "--gloo"]
    if training.min_ranks:
        horovodrun += ["--min-np", str(training.min_ranks), "--max-np", str(ranks), *RETRY_OPTIONS]
    if training.hosts:
        horovodrun += ["--ssh-port", str(training.ssh_port)]
    if training.network_interface:
        horovodrun += ["--network-interfaces", training.network_interface]
    return [*horovodrun, *_host_options(ranks, training), *python, *module_and_arguments]


def _host_options(ranks: int, training: Training) -> list[str]:
    """Which hosts have ranks: horovodrun's default is this machine."""
    if training.min_ranks and training.hosts:
        # On a fixed host that is away Horovod starts ranks again and again, and the others wait for them.
        script = [sys.executable, str(Path(reachable_hosts.__file__)), str(training.ssh_port), *training.hosts]
        return ["--host-discovery-script", shlex.join(script)]
    if training.min_ranks:
        # Horovod bars a host that lost a rank for a while, so one machine must look like two.
        return ["-H", f"localhost:{-(-ranks // 2)},127.0.0.1:{max(ranks // 2, 1)}"]
    return ["-H", ",".join(training.hosts)] if training.hosts else []


RETRY_OPTIONS = ("--blacklist-cooldown-range", "2", "60", "--reset-limit", "20")
"""First and longest wait in seconds before a host that lost a rank is tried again; most restarts of the training."""


def environment(ranks: int, training: Training) -> dict[str, str]:
    """Environment variables for the launcher, which passes them to its ranks."""
    busiest = max((int(host.rsplit(":", 1)[1]) for host in training.hosts), default=ranks)
    return {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // busiest)),
        "HOROVOD_FUSION_THRESHOLD": str(training.fusion_mb << 20),
        # Ranks wait for a rank that starts later and first imports torch: that can take longer than the default 30 s.
        "HOROVOD_GLOO_TIMEOUT_SECONDS": "300",
        "HOROVOD_START_TIMEOUT": "300",  # the same for the search for a network interface on all hosts
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }


def main() -> None:
    """Run a module's main() with arguments on --ranks ranks, each a task of the Spark cluster of places.spark."""
    import horovod.spark  # type: ignore[import-untyped]

    from spark_jobs.session import session

    parser = argparse.ArgumentParser(prog="python -m training.distributed", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    forwarded = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED_PREFIXES)}
    settings = load(options.config)
    interface = settings.training.network_interface
    with session(settings):
        horovod.spark.run(
            run_module, (options.module, options.arguments), num_proc=options.ranks, env=forwarded, verbose=0,
            stdout=sys.stdout, stderr=sys.stderr, nics={interface} if interface else None,
        )  # fmt: skip


FORWARDED_PREFIXES = ("NIGHTLOOM_", "HOROVOD_", "OMP_", "NCCL_", "PYTHONPATH", "AWS_", "AZURE_", "GOOGLE_")
"""Environment variables with these prefixes are passed to the Spark cluster: the last three open object storage."""


def run_module(module: str, arguments: list[str]) -> None:
    """Entry point of a rank in a Spark cluster."""
    import_module(module).main(arguments)


if __name__ == "__main__":
    main()
