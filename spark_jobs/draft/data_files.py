"""The files given to `nightloom init` -> groups of files that are written alike, with the columns of a sample."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from spark_jobs.draft.columns import FEW, Column, arrays_of, columns_of
from spark_jobs.draft.dialects import Writing, writing_of
from spark_jobs.draft.samples import Sample, spread
from spark_jobs.draft.vocabulary import match_of, without_accents
from spark_jobs.readers.record import Layout

RECORDS = 20_000
"""Records of a group by which its columns are judged."""
MOST_NAMES = 0.6
"""Files that have this share of their fields' names in common are written alike."""
MOST_FILES = 3
"""Files of a group that are sampled."""
LABELLED = re.compile(r"\S+-[01]( \S+-[01])*")
"""Items that were shown, and whether they were clicked: `N1-0 N2-1`."""
GENERIC = re.compile(r"(part|data|export|file|train|test|dump|table|all|output|landing)?(_?\d+)*(_[a-z0-9]{8,})?")
"""Names of files that say nothing of what is in them."""
LIST_OF_IDS = re.compile(r"\w*\d\w*([ ,|;]\w*\d\w*)+")


@dataclass(eq=False)
class DataFiles:
    """Files that are written alike: one source."""

    name: str
    samples: list[Sample]
    writing: Writing
    labelled: str | None = None
    """The column whose elements are items that were shown, each with 0 or 1 for a click."""
    matches: dict[tuple[str, str], float] = field(default_factory=dict)
    describes: dict[str, float] = field(default_factory=dict)
    """Both as in role_evidence.Facts."""
    common: dict[str, str] = field(default_factory=dict)
    """Column -> how many ids it and another file have in common, in words."""

    @property
    def layout(self) -> Layout:
        return self.writing.layout

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The records of the samples that can be read, in the order of the files."""
        each = RECORDS // min(len(self.samples), MOST_FILES)
        names = spread([sample.name for sample in self.samples], MOST_FILES)
        found: list[dict[str, Any]] = []
        for sample in (sample for sample in self.samples if sample.name in names):
            good = (json.loads(text) for text, _, problem in sample.records(self.layout) if problem is None)
            found += islice((record for record in good if isinstance(record, dict)), each)
        return found

    @cached_property
    def columns(self) -> list[Column]:
        return columns_of(self.records)

    @property
    def has_names(self) -> bool:
        """Whether the file names its columns."""
        return self.layout.format != "csv" or self.layout.header

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def group_files(samples: Sequence[Sample]) -> list[DataFiles]:
    """Samples -> groups of files that are written alike, in the order of their first files."""
    groups: list[DataFiles] = []
    for sample in samples:
        writing = Writing(Layout(sample.format, {})) if sample.format else writing_of(sample.head)
        own = DataFiles(source_name(sample.name), [sample], writing)
        if alike := next((group for group in groups if _is_alike(own, group)), None):
            alike.samples.append(sample)
        else:
            groups.append(own)
    found = [_with_explode(each) for each in groups]
    _make_unique(found)
    return found


def _is_alike(one: DataFiles, other: DataFiles) -> bool:
    """Whether two files are written alike: in one layout, and most of their fields have the same names.

    Where fields have no names, those of the files decide: `ratings-2023` and `ratings-2024`.
    """
    layouts = [(each.layout.format, each.layout.delimiter, each.layout.header) for each in (one, other)]
    if layouts[0] != layouts[1]:
        return False
    names, others = _names(one), _names(other)
    if not one.has_names:
        stems = {re.sub(r"[\d_]+", "", each.name) for each in (one, other)}
        return names == others and len(stems) == 1
    return len(names & others) >= MOST_NAMES * len(names | others)


def _names(files: DataFiles) -> set[str]:
    if files.layout.format == "csv":
        return {*files.layout.fields}
    first = (json.loads(text) for text, _, problem in files.samples[0].records(files.layout) if problem is None)
    return {name for record in islice(first, FEW) if isinstance(record, dict) for name in record}


def source_name(file: str) -> str:
    """A file's name as the name of a source; its folder's name where its own says nothing, such as `part-0`."""
    path = Path(file)
    folders = [folder for folder in path.parts[:-1] if "=" not in folder]
    names = [re.split(r"[.]", path.name)[0], *reversed(folders), "source"]
    slugs = [re.sub(r"[^a-z0-9]+", "_", without_accents(name).lower()).strip("_") for name in names]
    telling = (slug for slug in slugs if slug and not GENERIC.fullmatch(slug))
    slug = next(telling, slugs[0])
    return slug if slug[:1].isalpha() else f"source_{slug}"


def _make_unique(found: Sequence[DataFiles]) -> None:
    """Give files of one name the endings of their names, too: `ml-100k.item` and `ml-100k.user`; then numbers."""
    times = Counter(each.name for each in found)
    used: set[str] = set()
    for each in found:
        if times[each.name] > 1:
            endings = "".join(Path(each.samples[0].name).suffixes[:1])
            each.name = f"{each.name}{re.sub(r'[^a-z0-9]+', '_', endings.lower())}"
        base, number = each.name, 2
        while each.name in used:
            each.name, number = f"{base}_{number}", number + 1
        used.add(each.name)


def _with_explode(files: DataFiles) -> DataFiles:
    """The files with the array that holds many events, where a record has one and no item beside it."""
    path, delimiter, labelled = _find_list(files)
    if path is None:
        return files
    layout = replace(files.layout, explode=path, explode_delimiter=delimiter)
    return DataFiles(files.name, files.samples, replace(files.writing, layout=layout), path if labelled else None)


def _find_list(files: DataFiles) -> tuple[str | None, str | None, bool]:
    """(The path of a list of items, what stands between its elements, whether these have labels of 0 and 1)."""
    for column in files.columns:
        several = any(" " in text for text in column.filled)
        if several and column.mostly(column.share(LABELLED.fullmatch)):
            return column.name, " ", True
    if any(match_of(column.name, "item") == 1 and not _holds_lists(column) for column in files.columns):
        return None, None, False
    for path in arrays_of(files.records):
        inner = {name for record in files.records for name in _element_names(record, path)}
        if any(match_of(name, "item") == 1 for name in inner) or match_of(path[-1], "item") == 1:
            return ".".join(path), None, False
    for column in files.columns:
        if match_of(column.name, "item") == 1 and column.filled:
            if column.mostly(column.share(LIST_OF_IDS.fullmatch)):
                return column.name, column.separator, False
            if _holds_lists(column):
                return column.name, None, False
    return None, None, False


def _holds_lists(column: Column) -> bool:
    lists = column.share(lambda text: text.startswith("[") or LIST_OF_IDS.fullmatch(text))
    return bool(column.filled) and column.mostly(lists)


def _element_names(record: dict[str, Any], path: tuple[str, ...]) -> Iterable[str]:
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return {name for each in value if isinstance(each, dict) for name in each} if isinstance(value, list) else ()
