"""Two hosts on this machine: network namespaces with an address each, and an SSH server in the second. Needs root.

Both have the interface `eth0`. They share folders, processes and memory, and nothing of the network.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

SSH_PORT = 2222
SECONDS_TO_START = 20


@dataclass
class TwoHosts:
    """The addresses, what stands before a command of each host, and the second host's SSH server."""

    first: str
    second: str
    on_first: Sequence[str]
    on_second: Sequence[str]
    folder: Path
    server: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> str:
        """What the SSH server has written."""
        return (self.folder / "log").read_text(errors="replace")

    def start_second(self) -> None:
        """Start the second host's SSH server, and wait until the first host can use it."""
        options = ["-F", "-E", "-s", "-r", str(self.folder / "host"), "-p", f"{self.second}:{SSH_PORT}"]
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen([*self.on_second, "dropbear", *options], stderr=log)
        ssh = ["ssh", "-o", "StrictHostKeyChecking=no", "-p", str(SSH_PORT), self.second, "true"]
        deadline = time.monotonic() + SECONDS_TO_START
        while (done := subprocess.run([*self.on_first, *ssh], capture_output=True, text=True, check=False)).returncode:
            assert time.monotonic() < deadline, done.stderr + self.log
            assert self.server.poll() is None, self.log
            time.sleep(0.2)

    def stop_second(self) -> None:
        """End all that runs on the second host at once, as when it is switched off."""
        if self.server is None:
            return
        server = psutil.Process(self.server.pid)
        for process in [server, *server.children(recursive=True)]:
            process.kill()
        self.server.wait()
        self.server = None


@contextmanager
def two_hosts(folder: Path, named: bool = True) -> Iterator[TwoHosts]:
    """Two hosts for as long as the block lasts; the first reaches the second by ssh, with a key made in `folder`.

    `named`: whether /etc/hosts has a host's own name with its address; otherwise the name means 127.0.1.1.
    """
    names = [f"nl{os.getpid()}{letter}" for letter in "ab"]
    addresses = [f"10.214.{os.getpid() % 250}.{number}" for number in (1, 2)]
    with ExitStack() as made:
        for name in names:
            _run("ip", "netns", "add", name)
            made.callback(_run, "ip", "netns", "del", name)
        _run("ip", "-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for name, address in zip(names, addresses, strict=True):
            _run("ip", "-n", name, "addr", "add", f"{address}/30", "dev", "eth0")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
        _make_keys(folder)
        # A namespace has mounts of its own: root's ~/.ssh is the folder there, and stays as it is elsewhere.
        home = Path("~root/.ssh").expanduser()
        home.mkdir(mode=0o700, exist_ok=True)
        mount = 'mount --bind "$1" "$2" && mount --bind "$3" /etc/hosts && shift 3 && exec "$@"'
        files = [_hosts_file(folder, address, named) for address in addresses]
        on_first, on_second = (
            ["ip", "netns", "exec", name, "sh", "-c", mount, "sh", str(folder), str(home), str(file)]
            for name, file in zip(names, files, strict=True)
        )
        hosts = TwoHosts(addresses[0], addresses[1], on_first, on_second, folder)
        made.callback(hosts.stop_second)
        hosts.start_second()
        yield hosts


def _hosts_file(folder: Path, address: str, named: bool) -> Path:
    """The /etc/hosts of a host."""
    file = folder / f"hosts-{address}"
    file.write_text(f"127.0.0.1 localhost\n{address if named else '127.0.1.1'} {socket.gethostname()}\n")
    return file


def _make_keys(folder: Path) -> None:
    """A host key, and a key of root's that opens the host."""
    folder.mkdir(mode=0o700)
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id_ed25519"))
    (folder / "id_ed25519.pub").rename(folder / "authorized_keys")
    _run("dropbearkey", "-t", "ed25519", "-f", str(folder / "host"))


def _run(*command: str) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
