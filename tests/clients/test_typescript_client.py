"""The TypeScript client: built by the locked compiler, and its own tests on Node, before a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.fault_load import PROJECT, publish, running_api
from serving.access.keys import Scope, add_key, make_key
from serving.stores import store_class
from tests.serving.event_senders import config_text

CLIENT = Path(__file__).parents[2] / "serving" / "clients" / "typescript"


def test_the_package_has_no_dependency_and_its_lock_no_address() -> None:
    package = json.loads((CLIENT / "package.json").read_text(encoding="utf8"))
    lock = json.loads((CLIENT / "package-lock.json").read_text(encoding="utf8"))
    assert "dependencies" not in package
    assert lock["packages"][""]["devDependencies"] == package["devDependencies"]
    others = {name: each for name, each in lock["packages"].items() if name}
    assert all(each["dev"] and each["integrity"].startswith("sha512-") for each in others.values())
    assert "resolved" not in (CLIENT / "package-lock.json").read_text(encoding="utf8")


@pytest.mark.slow
def test_it_is_built_and_its_tests_pass_before_a_real_server(tmp_path: Path) -> None:
    if not shutil.which("npm"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("found no npm; ./run test slow installs it")
    folder = tmp_path / "client"
    shutil.copytree(CLIENT, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (tmp_path / "nightloom.toml").write_text(config_text(), encoding="utf8")
    publish(store_class("lmdb")(str(tmp_path / "data" / "store"), PROJECT), 1)
    key = make_key("client", [Scope.READ, Scope.EVENTS], 1e4, 10_000)
    add_key(tmp_path / "data" / "access", key.key)
    run(folder, "npm", "ci", "--no-audit", "--no-fund")
    with running_api(tmp_path / "nightloom.toml", log=tmp_path / "api.log") as (port, _):
        run(folder, "npm", "test", NIGHTLOOM_URL=f"http://127.0.0.1:{port}", NIGHTLOOM_KEY=key.text)
    assert {"index.js", "index.d.ts"} <= {file.name for file in (folder / "dist").iterdir()}


def run(folder: Path, *command: str, **environment: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped 1" not in done.stdout
