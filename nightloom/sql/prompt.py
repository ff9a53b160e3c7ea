"""The prompt of `nightloom sql`: statements over several lines, history, completion of names and SQL words."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from nightloom.contracts import Table
from nightloom.errors import NightloomError
from nightloom.sql.dictionary import print_overview, print_table, require_table
from nightloom.sql.names import tables_in
from nightloom.sql.output import print_result
from nightloom.sql.query import Catalog, run_query

HELP = "A statement ends with `;`. `plot SELECT ...;` draws it, `tables` and `tables NAME` explain, Ctrl-D ends."
KEYWORDS = (
    "select", "from", "where", "group by", "order by", "limit", "having", "join", "left join", "using", "on", "with",
    "as", "distinct", "count", "sum", "avg", "min", "max", "case", "when", "then", "else", "end", "and", "or", "not",
    "in", "is null", "between", "like", "desc", "union all", "over", "partition by", "cast", "unnest", "date",
    "interval",
)  # fmt: skip


def run_prompt(catalog: Catalog, history: Path, output_format: str) -> None:
    """Run statements until Ctrl-D or `quit`. An error is printed, and the prompt goes on."""
    history.parent.mkdir(parents=True, exist_ok=True)
    session: PromptSession[str] = PromptSession(
        "nightloom> ",
        multiline=True,
        prompt_continuation="      ...> ",
        history=FileHistory(str(history)),
        completer=SqlCompleter(catalog.tables),
        complete_while_typing=True,
        key_bindings=_key_bindings(),
    )
    print(HELP)
    for text in _read_statements(session):
        try:
            _execute(catalog, text, output_format)
        except NightloomError as error:
            print(error, file=sys.stderr)


def _read_statements(session: PromptSession[str]) -> Iterator[str]:
    """Statements as they are typed, until the end; Ctrl-C discards an unfinished one."""
    while True:
        try:
            text = session.prompt().strip().rstrip(";").strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text.lower() in {"exit", "quit"}:
            return
        if text:
            yield text


def _execute(catalog: Catalog, text: str, output_format: str) -> None:
    word, _, rest = text.partition(" ")
    if word.lower() == "tables" and (name := rest.strip()):
        print_table(catalog.lake, require_table(name, catalog.tables))
    elif word.lower() == "tables":
        print_overview(catalog.lake, catalog.tables)
    elif word.lower() == "plot":
        print_result(run_query(catalog, rest), "plot")
    elif word.lower() == "help":
        print(HELP)
    else:
        print_result(run_query(catalog, text), output_format)


def _key_bindings() -> KeyBindings:
    """Enter sends a statement that ends with `;`, and the prompt's own commands; otherwise it starts a new line."""
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        text = event.current_buffer.text.strip()
        if not text or text.endswith(";") or re.fullmatch(r"(?i)exit|quit|help|tables(\s+[\w.]+)?", text):
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    return keys


class SqlCompleter(Completer):
    """Completion: after FROM and JOIN only tables; elsewhere columns of the statement's tables, keywords and tables."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self.tables = tuple(tables)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        before = document.text_before_cursor
        begun = re.search(r"[\w.]*$", before)
        word = begun[0] if begun else ""
        if not word and not complete_event.completion_requested:
            return
        for name, meaning in self._candidates(document.text, before[: len(before) - len(word)]):
            if name.lower().startswith(word.lower()) and name.lower() != word.lower():
                yield Completion(name, start_position=-len(word), display_meta=meaning)

    def _candidates(self, statement: str, before: str) -> Iterator[tuple[str, str]]:
        named = tables_in(statement, self.tables)
        if not re.search(r"(?i)\b(from|join|tables)\s+$", before):
            columns = {column.name: column.comment for table in named for column in table.columns}
            yield from columns.items()
            yield from ((word, "") for word in KEYWORDS)
        yield from ((table.full_name, table.grain) for table in self.tables)
