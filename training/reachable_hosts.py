"""`reachable_hosts.py PORT HOST:RANKS ...` prints the hosts that are this machine, or whose PORT answers.

Horovod's elastic launcher runs it about once a second: a host that stays away gets no ranks, and one that is back gets
its ranks again. It imports nothing of ours, so that it starts in a moment.
"""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

SECONDS = 2.0
"""For an answer."""


def is_reachable(host: str, port: int) -> bool:
    """Whether a host is this machine, whose ranks need no ssh, or listens on the port."""
    try:
        address = socket.gethostbyname(host)
    except OSError:
        return False
    return _is_of_this_machine(address) or _listens(address, port)


def _is_of_this_machine(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), SECONDS).close()
    except OSError:
        return False
    return True


def main(port: str, *hosts: str) -> None:
    names = [host.rpartition(":")[0] for host in hosts]
    with ThreadPoolExecutor(len(hosts)) as pool:
        found = pool.map(is_reachable, names, [int(port)] * len(hosts))
    print("\n".join(host for host, reachable in zip(hosts, found, strict=True) if reachable))


if __name__ == "__main__":
    main(*sys.argv[1:])
