"""training/reachable_hosts.py, run as Horovod runs it: hosts by who listens on their port."""

import shlex
import socket
import subprocess
import sys

from benchmarks.servers import free_port
from training import reachable_hosts

AWAY = "240.0.0.1"
"""A reserved address, which no machine has."""


def hosts_found(port: int, *hosts: str) -> list[str]:
    script = shlex.join([sys.executable, str(reachable_hosts.__file__), str(port), *hosts])
    done = subprocess.run(script, shell=True, capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_this_machine_is_there_without_ssh_and_another_one_is_not() -> None:
    hosts = ("localhost:2", "127.0.0.1:1", f"{AWAY}:4", "no-such-name.invalid:1")
    assert hosts_found(free_port(), *hosts) == ["localhost:2", "127.0.0.1:1"]


def test_another_machine_is_there_while_it_listens() -> None:
    assert not reachable_hosts._is_of_this_machine(AWAY)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert reachable_hosts._listens("127.0.0.1", server.getsockname()[1])
    assert not reachable_hosts._listens("127.0.0.1", free_port())
