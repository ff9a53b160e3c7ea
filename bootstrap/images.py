"""`./run images`: docker/Dockerfile -> an image per role, and of the servers that the roles talk to.

Of Nightloom's own, `training` holds what `spark` does, so it comes after it and takes its layers.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence

from bootstrap.shell import CHECKOUT, SetupError, say

ROLES = ("serving", "airflow", "spark", "training")
SERVERS = ("postgresql", "redis", "kafka", "minio", "proxy", "prometheus")
PREFIX = "nightloom/"


def build_all(options: Sequence[str] = ()) -> dict[str, int]:
    """Build every image; `options` go to `docker build` -> image's size in MiB."""
    for name in (*SERVERS, *ROLES):
        build(name, options)
    return sizes()


def build(name: str, options: Sequence[str] = ()) -> None:
    """Build one image. Raises SetupError with the builder's last lines."""
    began = time.monotonic()
    command = [
        "docker", "build", "--file", "docker/Dockerfile", "--target", name, "--tag", PREFIX + name,
        "--build-arg", f"REVISION={revision()}", *options, ".",
    ]  # fmt: skip
    environment = os.environ | {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError("\n    ".join([f"docker build of {name} failed:", *done.stderr.splitlines()[-30:]]))
    say(f"  {name:<12}{time.monotonic() - began:6.1f} s")


def revision() -> str:
    """The code's git revision, `+` where files have changed since: an image has no .git to ask."""
    git = ["git", "--no-optional-locks", "-C", str(CHECKOUT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return (head.stdout.strip() or "unknown") + ("+" if changes.stdout else "")


def sizes() -> dict[str, int]:
    """Image -> its size in MiB; layers that images share count in each."""
    return dict(_sizes())


def _sizes() -> Iterator[tuple[str, int]]:
    for name in (*ROLES, *SERVERS):
        found = subprocess.run(
            ["docker", "image", "inspect", PREFIX + name], capture_output=True, text=True, check=False
        )
        if found.returncode == 0:
            yield name, json.loads(found.stdout)[0]["Size"] >> 20
