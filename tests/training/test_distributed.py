"""training/distributed.py on real ranks: two processes that Horovod starts, each of which prints its results."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightloom import settings as settings_module
from nightloom.errors import SettingsError
from nightloom.settings import Training
from tests.training.small_project import TOML
from training import devices, distributed, reachable_hosts

ROWS = 10_000_000
Results = list[dict[str, Any]]


@pytest.fixture(scope="module")
def results() -> Results:
    """The results of tests/training/rank_process.py on two ranks."""
    command = distributed.command(2, "tests.training.rank_process", str(ROWS))
    environment = os.environ | distributed.environment(2, Training()) | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    lines = [json.loads(line) for line in re.findall(r"<stdout>:({.*})", process.stdout)]
    return sorted(lines, key=lambda one: int(one["rank"]))


def test_ranks_add_up_and_average(results: Results) -> None:
    assert [one["rank"] for one in results] == [0, 1]
    assert [one["sum"] for one in results] == [[2.0, 1.0]] * 2
    assert [one["mean"] for one in results] == [0.5, 0.5]


def test_a_step_takes_the_mean_gradient_from_the_weights_of_rank_0(results: Results) -> None:
    for one in results:
        np.testing.assert_allclose(one["dense"]["none"], [-5 / 21] * 4, rtol=1e-6)


def test_fp16_gives_nearly_the_same_weights(results: Results) -> None:
    exact, rounded = results[0]["dense"]["none"], results[0]["dense"]["fp16"]
    np.testing.assert_allclose(rounded, exact, rtol=1e-3)
    assert rounded != exact
    assert results[1]["dense"]["fp16"] == rounded


def test_a_step_on_a_table_of_ten_million_rows_exchanges_only_rows_with_a_gradient(results: Results) -> None:
    for one in results:
        sparse = one["sparse"]
        assert sparse["changed"] == [5, 7, 8, ROWS - 1]
        assert sparse["gradient"] == {"5": 2.0, "7": 0.5, "8": 0.5, str(ROWS - 1): 1.0}
        assert sparse["weights"] == results[0]["sparse"]["weights"]
        assert sparse["growth"] < 40 << 20  # a dense gradient alone is 320 MB
        assert sparse["seconds"] < 1


@pytest.mark.parametrize(
    ("gpus", "nccl", "ranks", "names", "where"),
    [
        (0, False, 2, ["cpu", "cpu"], "on the CPU"),
        (0, True, 2, ["cpu", "cpu"], "on the CPU"),
        (4, True, 4, ["cuda:0", "cuda:1", "cuda:2", "cuda:3"], "on GPUs"),
        (1, True, 1, ["cuda:0"], "on a GPU"),
    ],
)
def test_ranks_train_where_horovod_can_reduce(gpus: int, nccl: bool, ranks: int, names: list[str], where: str) -> None:
    assert devices.default_ranks(gpus, nccl) == ranks
    assert [devices.device_name(gpus, rank, nccl) for rank in range(ranks)] == names
    assert devices.describe(ranks, gpus, nccl) == where


def test_gpus_without_nccl_are_left_to_one_rank_and_the_training_says_so() -> None:
    assert devices.default_ranks(4, False) == 1
    assert devices.describe(1, 4, False) == "on a GPU"
    assert devices.device_name(4, 0, distributed.Group().reduces_on_gpus) == "cuda:0"
    assert [devices.device_name(4, rank, False) for rank in range(4)] == ["cpu"] * 4
    assert "cannot use the 4 GPUs" in devices.describe(4, 4, False)
    assert "nvcc" in devices.describe(4, 4, False)


def test_a_rank_without_a_gpu_of_its_own_is_an_error() -> None:
    with pytest.raises(devices.DeviceError, match="found 2 GPUs for rank 2"):
        devices.device_name(2, 2, True)


@pytest.mark.parametrize(("visible", "gpus"), [("", 0), ("-1", 0), ("3", 1), ("0,1", 2), ("0,-1,1", 1)])
def test_cudas_variable_says_how_many_gpus_are_visible(
    monkeypatch: pytest.MonkeyPatch, visible: str, gpus: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.visible_gpus() == gpus


def test_ranks_ask_the_installed_horovod_what_it_can_reduce(results: Results) -> None:
    for one in results:
        assert one["nccl"] == distributed.reduces_on_gpus()
        assert one["device"] == ("cpu" if not one["nccl"] or not one["gpus"] else f"cuda:{one['rank']}")


def test_one_rank_needs_no_launcher() -> None:
    assert distributed.command(1, "training.fit") == [sys.executable, "-m", "training.fit"]


def settings(tmp_path: Path, training: str, places: str = "") -> settings_module.Settings:
    file = tmp_path / "nightloom.toml"
    text = TOML.replace("holdout_days = 2", training)
    file.write_text(f'{text}\n[[models]]\nname = "sequence"\n[places]\n{places}')
    return settings_module.load(file)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ("ranks = 3", "-np 3 --gloo PYTHON"),
        ('hosts = ["a:4", "b:4"]', "-np 8 --gloo --ssh-port 22 -H a:4,b:4 PYTHON"),
        (
            'hosts = ["a:1", "b:1"]\nssh_port = 2222\nnetwork_interface = "eth1"',
            "-np 2 --gloo --ssh-port 2222 --network-interfaces eth1 -H a:1,b:1 PYTHON",
        ),
        ("ranks = 3\nmin_ranks = 1", "-np 3 --gloo --min-np 1 --max-np 3 RETRY -H localhost:2,127.0.0.1:1 PYTHON"),
        (
            'hosts = ["a:1", "b:1"]\nmin_ranks = 1',
            "-np 2 --gloo --min-np 1 --max-np 2 RETRY --ssh-port 22 --host-discovery-script PYTHON SCRIPT 22 a:1 b:1 "
            "PYTHON",
        ),
    ],
)
def test_the_launchers_command_follows_the_settings(tmp_path: Path, training: str, expected: str) -> None:
    project = settings(tmp_path, training)
    command = distributed.command(distributed.configured_ranks(project.training), "training.fit", settings=project)
    arguments = " ".join(command[1:]).replace(" ".join(distributed.RETRY_OPTIONS), "RETRY")
    arguments = arguments.replace(sys.executable, "PYTHON").replace(reachable_hosts.__file__, "SCRIPT")
    assert Path(command[0]).name == "horovodrun"
    assert arguments == f"{expected} -m training.fit"


@pytest.mark.parametrize(
    ("training", "places", "why"),
    [
        ('hosts = ["a"]', "", "hosts has 'a'; each is HOST:RANKS"),
        ('hosts = ["a:2"]\nmin_ranks = 1', "", "min_ranks needs two hosts or more, or none"),
        ("ranks = 2\nmin_ranks = 3", "", "min_ranks is 3, more than ranks = 2"),
        ('launcher = "spark"', "", "ranks need the cluster's master"),
        ('launcher = "spark"\nhosts = ["a:2"]', 'spark = "yarn"', "hosts is for launcher = 'horovodrun'"),
        ('launcher = "spark"\nmin_ranks = 1', 'spark = "yarn"', "min_ranks is for launcher = 'horovodrun'"),
    ],
)
def test_settings_that_no_launcher_supports_are_errors(tmp_path: Path, training: str, places: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        settings(tmp_path, training, places)
