"""Whether this machine has a Docker that answers."""

import shutil
import subprocess

import pytest


def docker_answers() -> bool:
    return bool(shutil.which("docker")) and subprocess.run(["docker", "version"], capture_output=True).returncode == 0


needs_docker = pytest.mark.skipif(
    not docker_answers(), reason="needs Docker with compose: no daemon answers `docker version`"
)
