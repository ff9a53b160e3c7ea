"""A copy of the checkout in a scratch folder: a test adds a file to it, and runs the commands of a night there.

Nothing of the real checkout is imported by these commands: they are processes of their own, with the copy on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from nightloom.lake import Lake
from nightloom.night import stages
from nightloom.settings import CONFIG_VARIABLE

CHECKOUT = Path(__file__).parents[1]
COPIED = ("*.py", "*.html", "*.css", "*.js", "*.toml", ":!docs", ":!benchmarks")
"""Packages and tests, as git's patterns; a new file that git does not ignore is copied before its commit."""
MAIN = "from nightloom.cli import main; main()"
NIGHT = tuple(stage.name for stage in stages.NIGHT[: stages.NIGHT.index(stages.PUBLISH) + 1])
"""The stages of a night up to its publish, in their order."""


@dataclass(frozen=True)
class ScratchCheckout:
    """The copied code, and the folder of a project that it runs on."""

    code: Path
    project: Path

    @classmethod
    def create(cls, root: Path, toml: str) -> ScratchCheckout:
        """Copy the checkout to root/code and make a project of this nightloom.toml in root/project."""
        scratch = cls(root / "code", root / "project")
        asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *COPIED]
        names = subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            if (CHECKOUT / name).is_file():  # a file that was deleted stays tracked until the commit
                (scratch.code / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(CHECKOUT / name, scratch.code / name)
        scratch.project.mkdir(parents=True)
        (scratch.project / "nightloom.toml").write_text(toml, encoding="utf8")
        return scratch

    def add(self, name: str, text: str) -> None:
        """Add one file to the copied code. It must be new: a test shows that nothing else has to change."""
        file = self.code / name
        assert not file.exists(), f"{name} is there already"
        file.write_text(text, encoding="utf8")

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every command: this project, and no code but the copy."""
        own = {CONFIG_VARIABLE: str(self.project / "nightloom.toml"), "PYTHONPATH": str(self.code)}
        return {name: value for name, value in os.environ.items() if not name.startswith("NIGHTLOOM_")} | own

    @property
    def lake(self) -> Lake:
        """The project's lake, at its default place."""
        return Lake(self.project / "data" / "lake")

    def nightloom(self, *words: str) -> str:
        """`nightloom WORD ...` -> what it prints."""
        return self._run("-c", MAIN, *words)

    def stage(self, module: str, day: date, *words: str) -> str:
        """A stage as Airflow runs it, in a fork of the night's warm interpreter where one runs -> what it prints."""
        return self._run("-m", "nightloom.stage", module, "--date", str(day), *words)

    def night(self, day: date) -> None:
        """Run the stages of a night, gates included, on a warm Spark server."""
        with self._spark():
            for module in NIGHT:
                self.stage(module, day)

    def pytest(self, *words: str) -> str:
        """Run tests of the copy -> what pytest prints."""
        return self._run("-m", "pytest", "-q", "-p", "no:cacheprovider", *words)

    @contextmanager
    def _spark(self) -> Iterator[None]:
        self._run("-m", "spark_jobs.session", "start")
        try:
            yield
        finally:
            self._run("-m", "spark_jobs.session", "stop")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=self.code, env=self.environment, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout
