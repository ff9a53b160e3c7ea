"""When the events of a source happened: a column, the day in a path, or a rule for data without times."""

from __future__ import annotations

import re
from collections import Counter

from nightloom.literals import spark_text
from spark_jobs.draft.columns import Column
from spark_jobs.draft.roles import Judged
from spark_jobs.draft.section import Question, SourceDraft
from spark_jobs.draft.times import TimeFormat

FILE_TIME = "_metadata.file_modification_time"
LINE_ORDER = "timestamp_micros(unix_micros(_metadata.file_modification_time) + _metadata.row_index)"
DAY_IN_PATH = "([0-9]{4}-[0-9]{2}-[0-9]{2})"
UNIT_FUNCTIONS = {
    "seconds": "timestamp_seconds({})", "milliseconds": "timestamp_millis({})", "microseconds": "timestamp_micros({})",
    "nanoseconds": "timestamp_micros({} div 1000)",
}  # fmt: skip
CLOCK = re.compile(r"(?<!\d)(\d\d?):\d\d")


def draft_moment(draft: SourceDraft, judged: Judged, name: str) -> None:
    """The column `occurred_at` or `updated_at`. A description without a time gets that of its file by itself."""
    if name in judged.roles:
        role = judged.roles[name]
        assert role.column.time_format is not None
        _draft_column(draft, name, role.column, role.column.time_format)
        draft.reasons[name] = role.reasons
        if role.rivals:
            rivals = " or ".join(rival.name for rival in role.rivals)
            draft.questions.append(Question(name, f"is it {role.column.name} or {rivals} that says when it happened?"))
    elif name == "occurred_at":
        _draft_without_times(draft, judged)


def _draft_column(draft: SourceDraft, name: str, column: Column, found: TimeFormat) -> None:
    if len(column.path) > 1:
        draft.columns[name] = _conversion(draft, column, found)
        return
    draft.columns[name] = draft.use(column, "timestamp")
    if found.format:
        draft.options["timestamp_format"] = found.format
    if found.rival:
        text = f"which number of {column.filled[0]} is the month? The sample fits both."
        draft.questions.append(Question("timestamp_format", text, (f'timestamp_format = "{found.rival}"',)))
    if not found.has_zone:
        hours = Counter(int(clock[1]) for text in column.filled if (clock := CLOCK.search(text)))
        busy = (
            f" Most rows are between {hours.most_common(1)[0][0]} and {hours.most_common(1)[0][0] + 1} o'clock."
            if hours
            else ""
        )
        text = f"which clock wrote {column.name}? Its times have no offset, so they count as UTC.{busy}"
        draft.questions.append(Question("time_zone", text, ('time_zone = "Europe/Berlin"',)))


def _conversion(draft: SourceDraft, column: Column, found: TimeFormat) -> str:
    """SQL of a moment inside of an object, for which `timestamp_format` does not count."""
    if found.format in UNIT_FUNCTIONS:
        return UNIT_FUNCTIONS[found.format].format(draft.use(column, "bigint" if column.is_whole else "double"))
    pattern = f", {spark_text(found.format)}" if found.format else ""
    return f"to_timestamp({draft.use(column)}{pattern})"


def _draft_without_times(draft: SourceDraft, judged: Judged) -> None:
    names = [sample.name for sample in judged.files.samples]
    if all(re.search(DAY_IN_PATH, name) for name in names):
        draft.columns["occurred_at"] = (
            f"to_timestamp(regexp_extract(_metadata.file_path, {spark_text(DAY_IN_PATH)}, 1))"
        )
        draft.reasons["occurred_at"] = f"the day in {names[0]}"
        return
    ordered = _is_ordered(judged)
    chosen, other = (LINE_ORDER, FILE_TIME) if ordered else (FILE_TIME, LINE_ORDER)
    draft.columns["occurred_at"] = chosen
    draft.reasons["occurred_at"] = "equal lines count by their order" if ordered else "the file's time"
    text = (
        "when did these events happen? No column says it. Until files of later days come, no model can be judged, and "
        "everybody gets the popular list. The other way counts the order of the lines, too."
        if not ordered
        else "when did these events happen? No column says it. Until files of later days come, no model can be judged, "
        "and everybody gets the popular list. The other way counts equal lines as one event."
    )
    draft.questions.append(Question("occurred_at", text, (f'occurred_at = "{other}"',)))


def _is_ordered(judged: Judged) -> bool:
    """Whether equal lines occur, which only their place in the file tells apart."""
    lines = [repr(record) for record in judged.files.records]
    return len({*lines}) < len(lines) and not judged.files.layout.explode
