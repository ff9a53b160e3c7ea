"""`python3 -m bootstrap.build_stage NAME`: the work of a stage of docker/Dockerfile, by the steps of a laptop's set-up.

A step is imported on demand: a stage of the Dockerfile has the files of its own step only, so no other file's change
builds it again.
"""

import sys
from importlib import import_module

from bootstrap.shell import SetupError, Shell, say

STEPS = {
    "environment": "packages:make_venv",
    "libraries": "packages:install_for_images",
    "placeholders-cpu": "placeholders:install",
    "placeholders-cuda": "placeholders:keep_nvidias_libraries",
    "horovod": "horovod_wheel:build_for_images",
    "jars": "jars:install_for_images",
}
"""Name -> module:function of this package."""


def main(name: str) -> int:
    module, function = STEPS[name].split(":")
    try:
        getattr(import_module(f"bootstrap.{module}"), function)(Shell(name))
    except SetupError as error:
        say(f"{name}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
