"""requirements.lock, cluster.lock, bench.lock: a version of each package with its hashes, for Python 3.11 and 3.12."""

import re

from bootstrap.shell import CHECKOUT, SetupError

LOCK = CHECKOUT / "requirements.lock"
CLUSTER_LOCK = CHECKOUT / "cluster.lock"
"""What only images have; they also have packages of requirements.lock."""
PEERS_LOCK = CHECKOUT / "bench.lock"


def lines_of(name: str) -> str:
    """The lock's lines of one package with hashes: a valid requirements file. Raises SetupError if it is not locked."""
    match = re.search(rf"^{re.escape(name)}==.*\n(?: .*\n)*", LOCK.read_text(), re.MULTILINE)
    if match is None:
        raise SetupError(f"{LOCK} has no line {name}==...; `git checkout {LOCK.name}` brings it back")
    return match[0]


def version_of(name: str) -> str:
    """The locked version of a package. Raises SetupError if it is not locked."""
    return lines_of(name).split()[0].split("==")[1]
