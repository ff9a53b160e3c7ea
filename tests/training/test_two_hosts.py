"""Ranks by horovodrun on two hosts: two addresses, joined by a cable of their own, and ssh from one to the other."""

from pathlib import Path

import pytest

from nightloom import settings as settings_module
from nightloom.settings import Settings
from tests.training.rank_launcher import cyclic_likes, ndcg, read_output, sequence_section, training
from tests.training.small_project import MakeProject
from tests.training.test_elastic import assert_same_weights
from tests.training.two_hosts import SSH_PORT, TwoHosts, two_hosts
from training import fit

pytestmark = pytest.mark.slow


def on_hosts(project: Settings, hosts: TwoHosts, more: str = "") -> Settings:
    """The project, with a rank on each host."""
    training = f'hosts = ["{hosts.first}:1", "{hosts.second}:1"]\nssh_port = {SSH_PORT}\n{more}'
    text = project.file.read_text().replace("[training]\n", f"[training]\n{training}\n")
    project.file.write_text(text)
    return settings_module.load(project.file)


@pytest.mark.parametrize("interface", ["", 'network_interface = "eth0"'], ids=["found", "given"])
def test_ranks_on_two_addresses_train_the_same_model_as_on_one_machine(
    interface: str, project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = project([sequence_section(epochs=3)], cyclic_likes(users=40))
    with training(settings, 2, tmp_path / "one") as process:
        read_output(process)
    with two_hosts(tmp_path / "ssh") as hosts:
        settings = on_hosts(settings, hosts, interface)
        with training(settings, 2, tmp_path / "two", hosts.on_first) as process:
            output = read_output(process)
    assert "rank 0 of 2" in output
    assert "rank 1 of 2" in output
    assert f"Child connection from {hosts.first}" in hosts.log
    assert_same_weights(tmp_path / "one", tmp_path / "two")


def test_a_machine_whose_own_name_is_a_loopback_address_is_an_error_that_says_what_to_change(
    project: MakeProject, tmp_path: Path
) -> None:
    settings = project([sequence_section(epochs=3)], cyclic_likes(users=40))
    with two_hosts(tmp_path / "ssh", named=False) as hosts:
        settings = on_hosts(settings, hosts)
        with training(settings, 2, tmp_path / "two", hosts.on_first) as process:
            output = read_output(process, until="AddressError: found")
    assert "found 127.0.1.1 for " in output
    assert "in /etc/hosts, give " in output


def test_when_a_host_is_lost_and_stays_away_the_other_finishes_from_the_last_epoch(
    project: MakeProject, tmp_path: Path
) -> None:
    settings = project([sequence_section(epochs=30)], cyclic_likes(users=200))
    with two_hosts(tmp_path / "ssh") as hosts:
        settings = on_hosts(settings, hosts, "min_ranks = 1")
        with training(settings, 2, tmp_path / "model", hosts.on_first) as process:
            read_output(process, until="epoch 10,")
            hosts.stop_second()
            output = read_output(process)
    assert "rank 0 of 1" in output
    assert ndcg(settings, tmp_path / "model") > 0.99


def test_a_host_that_comes_back_takes_part_again(project: MakeProject, tmp_path: Path) -> None:
    settings = project([sequence_section(epochs=300)], cyclic_likes(users=300))
    with two_hosts(tmp_path / "ssh") as hosts:
        settings = on_hosts(settings, hosts, "min_ranks = 1")
        with training(settings, 2, tmp_path / "model", hosts.on_first) as process:
            read_output(process, until="epoch 10,")
            hosts.stop_second()
            read_output(process, until="rank 0 of 1")
            hosts.start_second()
            output = read_output(process)
    assert "rank 1 of 2" in output
    assert [one["epoch"] for one in fit.read(tmp_path / "model").curve] == list(range(1, 301))
    assert ndcg(settings, tmp_path / "model") > 0.99
