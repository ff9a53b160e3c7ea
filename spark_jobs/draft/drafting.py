"""Judged groups of files -> drafted sources and signals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nightloom.literals import spark_text
from spark_jobs.draft.behaviours import draft_event
from spark_jobs.draft.columns import FEW, Column
from spark_jobs.draft.data_files import DataFiles
from spark_jobs.draft.moments import draft_moment
from spark_jobs.draft.roles import NEEDED, Judged
from spark_jobs.draft.section import Question, Rule, SignalDraft, SourceDraft, declared_types, sql_path, toml
from spark_jobs.draft.vocabulary import match_of, says_id, words_of

MOST_ATTRIBUTES = 12
NAMES = {"user_id": "user", "item_id": "item", "occurred_at": "at", "updated_at": "at"}
LONG = 40  # characters of an attribute's value
AGES = {"age", "alter", "edad", "eta", "leeftijd", "wiek"}
TITLED = 0.9
"""From this share of items on that have one name each in the events, the events also name the items."""


@dataclass(frozen=True)
class Draft:
    """What is drafted of one group of files."""

    sources: list[SourceDraft]
    signals: list[SignalDraft]


def draft_files(judged: Judged, path: str, titles: bool) -> Draft:
    """The sections of a group of files in a folder. `titles`: events may name the items, too."""
    draft = SourceDraft(judged.files.name, judged.kind, path, judged.files.layout.format)
    draft.names = _names(judged)
    _draft_layout(draft, judged.files)
    for role in NEEDED[judged.kind]:
        if role != "item_id" or not judged.files.labelled:
            _draft_id(draft, judged, role)
    signals: list[SignalDraft] = []
    if judged.kind == "events":
        _draft_labelled(draft, judged)
        signals = draft_event(draft, judged)
        draft_moment(draft, judged, "occurred_at")
        if "event_id" in judged.roles:
            draft.columns["event_id"] = draft.use(judged.roles["event_id"].column)
    else:
        _draft_description(draft, judged)
        draft_moment(draft, judged, "updated_at")
    if judged.rival_kind:
        text = f"does it hold {judged.kind} or {judged.rival_kind}? Nothing in it decides that."
        draft.questions.append(Question("kind", text))
    draft.fields = _fields(draft, judged.files)
    items = _titles(draft, judged) if judged.kind == "events" and titles else None
    return Draft([draft, items] if items else [draft], signals)


def _names(judged: Judged) -> dict[str, str]:
    """Names for the columns of a file that names none, after their roles."""
    files = judged.files
    if files.has_names or files.layout.takes_rest:
        return {}
    given = {role.column.name: NAMES.get(name, name) for name, role in judged.roles.items()}
    return given | ({files.labelled: "impressions"} if files.labelled else {})


def _draft_layout(draft: SourceDraft, files: DataFiles) -> None:
    layout, options = files.layout, draft.options
    if layout.format == "csv":
        given = {"header": layout.header, "delimiter": layout.delimiter, "quote": layout.quote,
                 "escape": layout.escape, "comment": layout.comment}  # fmt: skip
        usual = {"header": True, "delimiter": ",", "quote": '"', "escape": None, "comment": None}
        options |= {name: value for name, value in given.items() if value != usual[name]}
    if layout.encoding:
        options["encoding"] = layout.encoding
    if not files.writing.is_utf8:
        text = f"is the encoding {layout.encoding}? The text is not UTF-8, and its bytes fit others, too."
        draft.questions.append(Question("encoding", text, ('encoding = "ISO-8859-2"',)))
    if not files.writing.header_is_sure:
        text = "does the first line name the columns? It looks like the other lines, or these have no numbers."
        draft.questions.append(Question("header", text, (f"header = {'false' if layout.header else 'true'}",)))
    if layout.explode:
        options["explode"] = draft.names.get(layout.explode, layout.explode)
    if layout.explode_delimiter:
        options["explode_delimiter"] = layout.explode_delimiter
    if missing := sorted({text for column in files.columns for text in column.missing_texts}):
        options["null_values"] = missing
    if any(column.has_decimal_comma for column in files.columns):
        options["decimal_comma"] = True


def _draft_id(draft: SourceDraft, judged: Judged, name: str) -> None:
    """A column of ids, or the question which one it is."""
    if name not in judged.roles:
        what = "user" if name == "user_id" else "item"
        names = ", ".join(column.name for column in judged.files.columns)
        text = f"which column is the {what}? No column looks like it. There are: {names}."
        draft.questions.append(Question(name, text, (f'{name} = "..."',), blocks=True))
        return
    role = judged.roles[name]
    sql = draft.use(role.column)
    if role.column.share(lambda text: text.endswith(".0")) == 1:
        sql = f"regexp_replace({sql}, '[.]0$', '')"
    draft.columns[name], draft.reasons[name] = sql, role.reasons
    if role.rivals:
        others = [sql_path(draft.path_of(other)) for other in role.rivals]
        text = f"is it {sql}, or {' or '.join(others)}? As much speaks for each."
        draft.questions.append(Question(name, text, tuple(f"{name} = {toml(other)}" for other in others)))


def _draft_labelled(draft: SourceDraft, judged: Judged) -> None:
    """Of items that were shown, those count that were clicked."""
    if judged.files.labelled is None:
        return
    shown = draft.use(judged.files.column(judged.files.labelled))
    draft.columns["item_id"] = f"split_part({shown}, '-', 1)"
    draft.reasons["item_id"] = "each element is an item and 0 or 1 for a click"
    draft.rules.append(Rule("not_clicked", f"{shown} LIKE '%-0'", "items that were shown, and not clicked"))


def _draft_description(draft: SourceDraft, judged: Judged) -> None:
    """Title, categories, what is available, and attributes."""
    made: dict[str, Callable[[SourceDraft, Column], str]] = {
        "title": SourceDraft.use,
        "categories": _categories,
        "available": _available,
    }
    for name in (name for name in made if name in judged.roles):
        draft.columns[name] = made[name](draft, judged.roles[name].column)
        draft.reasons[name] = judged.roles[name].reasons
    taken = {role.column for role in judged.roles.values()}
    for column in judged.files.columns:
        if column not in taken and len(draft.attributes) < MOST_ATTRIBUTES and _is_attribute(column):
            draft.attributes[_slug(column)] = _attribute(draft, column)


def _categories(draft: SourceDraft, column: Column) -> str:
    if column.share(lambda text: text.startswith("[")) > 0.5:
        return draft.use(column, "array<string>")
    if column.separator is None:
        return f"array({draft.use(column)})"
    expression = "[|]" if column.separator == "|" else column.separator
    return f"split({draft.use(column)}, {spark_text(expression)})"


def _available(draft: SourceDraft, column: Column) -> str:
    return f"lower({draft.use(column)}) IN ('1', 'true', 'yes', 'y', 't')"


def _is_attribute(column: Column) -> bool:
    """Whether rules and segments can use it: it has values that are short, and not another one for each row."""
    measured = column.is_numeric and not says_id(column.name)
    varied = column.distinct > 1 and (measured or column.unique_share < 0.5)
    short = column.share(lambda text: len(text) > LONG or text[:1] in "[{") < 0.05
    return bool(column.filled) and short and (varied or len(column.texts) < FEW) and not column.is_row_number


def _slug(column: Column) -> str:
    return "_".join(words_of("_".join(column.path))) or f"field_{column.place + 1}"


def _attribute(draft: SourceDraft, column: Column) -> str:
    if len(column.numbers) < len(column.filled):  # as a number, a text among them would cost its whole row
        return draft.use(column)
    if {*words_of(column.name)} & AGES and column.is_whole:
        return f"concat(10 * ({draft.use(column, 'int')} div 10), 's')"
    type = "string"
    if column.is_numeric and column.share(lambda text: text.startswith("0") and text.isdigit() and len(text) > 1) == 0:
        type = "double" if not column.is_whole else "int" if max(map(abs, column.numbers)) < 2**31 else "bigint"
    return draft.use(column, type)


def _fields(draft: SourceDraft, files: DataFiles) -> dict[str, str]:
    """Every field of the records, in their order. One that no expression uses is text, so its values cost no row."""
    found = dict.fromkeys(column.path[0] for column in files.columns)
    names: Iterable[str] = files.layout.fields if files.layout.format == "csv" else found
    used = declared_types(draft.types.items())
    given = (draft.names.get(name, name) for name in names)
    return {name: used.get(name, "string") for name in given if name}


def _titles(draft: SourceDraft, judged: Judged) -> SourceDraft | None:
    """A source of items that takes their names from the events, where each item has one name there."""
    if "item_id" not in judged.roles or judged.files.layout.explode:
        return None
    item = judged.roles["item_id"].column
    title = next((column for column in judged.files.columns if _is_title_of(column, item)), None)
    if title is None:
        return None
    items = SourceDraft(f"{draft.name}_items", "items", draft.path, draft.format, names=draft.names)
    items.options = {name: value for name, value in draft.options.items() if name != "timestamp_format"}
    items.columns = {"item_id": draft.columns["item_id"], "title": f"trim({items.use(title)})"}
    items.use(item)
    items.reasons = {"title": f"nearly every item has one {title.name}"}
    if "occurred_at" in judged.roles and len(judged.roles["occurred_at"].column.path) == 1:
        time = judged.roles["occurred_at"].column
        items.columns["updated_at"] = items.use(time, "timestamp")
        items.options |= {name: draft.options[name] for name in ("timestamp_format",) if name in draft.options}
    items.rules = [rule for rule in draft.rules if rule.name == "no_item"]
    items.rules.append(Rule("no_title", f"{items.use(title)} IS NULL", "rows that name nothing"))
    items.fields = _fields(items, judged.files)
    return items


def _is_title_of(column: Column, item: Column) -> bool:
    """Whether a column names the items: it is prose, and nearly every item has one text there."""
    named = match_of(column.name, "title") == 1 or not column.separator
    if not (column.is_prose and named and len(column.texts) >= FEW):
        return False
    names: dict[str, set[str]] = {}
    for key, text in zip(item.texts, column.texts, strict=True):
        if key and text and text.strip():
            names.setdefault(key, set()).add(text.strip())
    return bool(names) and column.distinct > 1 and sum(len(own) == 1 for own in names.values()) >= TITLED * len(names)
