"""Files -> a drafted project: the text of nightloom.toml, its open questions, and which files are copied where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path

from nightloom.errors import SettingsError
from spark_jobs.draft.data_files import DataFiles, group_files
from spark_jobs.draft.drafting import Draft, draft_files
from spark_jobs.draft.roles import judge_files
from spark_jobs.draft.samples import spread, take_sample
from spark_jobs.draft.section import Question, SignalDraft
from spark_jobs.draft.vocabulary import without_accents
from spark_jobs.draft.writing import write_toml
from spark_jobs.landing import visible_files

HOLDOUT_DAYS = 14
MOST_SAMPLED = 8
"""Files of one folder and ending that are sampled."""
BY_DAY = re.compile(r".*=.*|[\d_-]+")
"""Folders of a day or of another part: tomorrow's files are beside them."""


@dataclass(frozen=True)
class ProjectDraft:
    """What `nightloom init` writes."""

    name: str
    drafts: Sequence[Draft]
    questions: Sequence[tuple[str, Question]]
    """Source, question."""
    copies: dict[Path, Path]
    """File -> where it is copied to, as the night reads folders."""
    left_out: Sequence[str]
    """Files without columns, such as a README."""

    @property
    def is_complete(self) -> bool:
        """Whether nights can run with it."""
        return not any(question.blocks for _, question in self.questions)

    def text(self, holdout_days: int = HOLDOUT_DAYS) -> str:
        """nightloom.toml."""
        sources = [source for draft in self.drafts for source in draft.sources]
        signals: dict[str, SignalDraft] = {}
        for signal in (signal for draft in self.drafts for signal in draft.signals):
            signals.setdefault(signal.event, signal)
        return write_toml(self.name, sources, [*signals.values()], self.questions, holdout_days)


def draft_project(files: Sequence[Path], root: Path) -> ProjectDraft:
    """The draft of a project in the folder `root`. Raises SettingsError for files that cannot be read at all."""
    cohorts = _cohorts(files, root)
    sampled = [file for cohort in cohorts for file in spread(cohort, MOST_SAMPLED)]
    samples = [take_sample(file, _name(file, root), file.stat().st_mtime) for file in sampled]
    if unreadable := [f"{sample.name}: {sample.problem}" for sample in samples if sample.problem]:
        raise SettingsError(f"{unreadable[0]}. Mend it, or leave it out")
    groups = group_files(samples)
    judged = judge_files([group for group in groups if len(group.columns) > 1])
    left_out = [group.samples[0].name for group in groups if len(group.columns) < 2]
    described = any(each.kind == "items" for each in judged)
    copies: dict[Path, Path] = {}
    drafts = []
    for each in judged:
        own = _own_files(each.files, cohorts, {*sampled})
        folder = _folder(own, root)
        if folder is None:
            folder = root / "landing" / each.files.name
            above = commonpath([file.parent for file in own])
            copies |= {file: folder / file.relative_to(above) for file in own}
        drafts.append(draft_files(each, folder.relative_to(root).as_posix(), titles=not described))
    questions = [
        (source.name, question) for draft in drafts for source in draft.sources for question in source.questions
    ]
    if not any(each.kind == "events" for each in judged):
        text = "which file has the events: who did what to which item, and when? No list can be made without one."
        questions.append(("project", Question("signals", text, blocks=True)))
    return ProjectDraft(_project_name(root), drafts, questions, copies, left_out)


def _own_files(files: DataFiles, cohorts: Sequence[Sequence[Path]], sampled: set[Path]) -> list[Path]:
    """The files of a group: those that were sampled, and the rest of the cohorts that begin with one of them."""
    own = {sample.place for sample in files.samples}
    rest = {file for cohort in cohorts if cohort[0] in own for file in cohort} - sampled
    return [file for cohort in cohorts for file in cohort if file in own or file in rest]


def _cohorts(files: Sequence[Path], root: Path) -> list[list[Path]]:
    """The files by folder and ending. Of many in one folder a few are sampled; the others are taken to be like the
    first of them."""
    found: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        found.setdefault((_without_days(file.parent, root), "".join(file.suffixes)), []).append(file)
    return [*found.values()]


def _without_days(folder: Path, root: Path) -> Path:
    while BY_DAY.fullmatch(folder.name) and folder.parent.is_relative_to(root):
        folder = folder.parent
    return folder


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def _folder(files: Sequence[Path], root: Path) -> Path | None:
    """The folder of the project that holds these files and no others; None where there is none."""
    folder = _without_days(Path(commonpath([file.parent for file in files])), root)
    inside = folder.is_relative_to(root) and folder != root
    return folder if inside and {*visible_files(folder)} <= {*files} else None


def _project_name(root: Path) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", without_accents(root.name).lower()).strip("-_")
    return name if name[:1].isalpha() else f"shop-{name}".strip("-")
