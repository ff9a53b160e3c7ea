"""Drafted sources and signals -> the text of nightloom.toml, with the reasons and the questions as comments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nightloom.errors import printable
from spark_jobs.draft.section import Question, SignalDraft, SourceDraft, toml, toml_key

WIDTH = 120  # characters of a line that is not broken
QUESTION = "QUESTION"
"""What stands before each open question in the file."""


def write_toml(
    project: str,
    sources: Sequence[SourceDraft],
    signals: Sequence[SignalDraft],
    questions: Sequence[tuple[str, Question]],
    holdout_days: int,
) -> str:
    """The whole file."""
    unsure = f"It asks what it could not know: look for {QUESTION}." if questions else "Nothing in it was unsure."
    head = [
        "# Drafted by `nightloom init` from a sample of each file. `nightloom check` shows what a night makes of them.",
        f"# Every key: docs/settings.md. {unsure}",
        "",
        "[project]",
        f"name = {toml(project)}",
        "",
    ]
    body = [line for source in sources for line in (*_source(source), "")]
    body += [line for source, question in questions if source == "project" for line in _question(question)]
    body += [line for signal in signals for line in (*_signal(signal), "")]
    tail = ["[[models]]", 'name = "popularity"', "", "[[models]]", 'name = "als"', "", "[training]",
            f"holdout_days = {holdout_days}  # the last days judge, and nothing trains on them"]  # fmt: skip
    return "\n".join([*head, *body, *tail, ""])


def _source(source: SourceDraft) -> Iterable[str]:
    yield "[[sources]]"
    scalars = {"name": source.name, "kind": source.kind, "format": source.format, "path": source.path} | source.options
    for key, value in scalars.items():
        yield from _asked(source, key)
        yield f"{key} = {toml(value)}"
    for question in source.questions:
        if question.key not in scalars and question.key not in source.columns and not question.blocks:
            yield from _question(question)
    tables = {"fields": source.fields, "attributes": source.attributes}
    inline = {key: f"{key} = {toml(value)}" for key, value in tables.items() if value}
    yield from (line for line in inline.values() if len(line) <= WIDTH)
    for key in (key for key, line in inline.items() if len(line) > WIDTH):
        yield from ("", f"[sources.{key}]")
        yield from (f"{toml_key(name)} = {toml(each)}" for name, each in tables[key].items())
    yield from ("", "[sources.columns]")
    for question in source.questions:
        if question.blocks:
            yield from _question(question)
    for name, sql in source.columns.items():
        yield from _asked(source, name)
        why = source.reasons.get(name)
        yield f"{name} = {toml(sql)}" + (f"  # {printable(why)}" if why else "")
    for rule in source.rules:
        yield from ("", "[[sources.rules]]", f"name = {toml(rule.name)}", f"when = {toml(rule.when)}",
                    f'then = "skip"  # {printable(rule.why)}')  # fmt: skip


def _asked(source: SourceDraft, key: str) -> Iterable[str]:
    for question in source.questions:
        if question.key == key and not question.blocks:
            yield from _question(question)


def _question(question: Question) -> Iterable[str]:
    yield f"# {QUESTION}: {printable(question.text)}"
    yield from (f"# {printable(line)}" for line in question.alternatives)


def _signal(signal: SignalDraft) -> Iterable[str]:
    yield "[[signals]]"
    yield f"event = {toml(signal.event)}  # {printable(signal.why)}"
    if signal.weight != 1:
        yield f"weight = {signal.weight:g}"
    if signal.min_value is not None:
        yield f"min_value = {signal.min_value:g}  # a lower one means seen, and not liked"
    if signal.valid is not None:
        yield f"valid = [{signal.valid[0]:g}, {signal.valid[1]:g}]"
