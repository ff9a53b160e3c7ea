"""What is wrong between the keys of nightloom.toml, and in its SQL: (place in the file, words).

Only what fails for certain is reported. Models are checked by models/declared.py, rules by nightloom/slate/.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from nightloom.contracts import TABLES
from nightloom.places import access_problem, place_at, scheme_of
from nightloom.section import join_names, suggest_key
from nightloom.settings.expressions import constant, expression_problem, select_problem
from nightloom.settings.settings import Settings
from nightloom.settings.sources import METADATA, Source, metadata_names
from nightloom.settings.spark import find_wrong_settings
from nightloom.settings.spark_types import type_problem
from nightloom.settings.store import STORE_KINDS

RESERVED = {"_metadata", "_row_index"}
"""Names that no field may have: what is known of a record's file, and the place in it as bronze has it."""
Problem = tuple[tuple[str | int, ...], str]


def find_problems(settings: Settings) -> Iterator[Problem]:
    """Everything that is wrong in a file whose keys are valid one by one."""
    for number, source in enumerate(settings.sources):
        yield from ((("sources", number, *where), words) for where, words in _source(source))
    yield from _events(settings)
    yield from _attributes(settings)
    yield from _marts(settings)


def _source(source: Source) -> Iterator[Problem]:
    """Types, names and expressions of one source; places are relative to it."""
    for name, type in source.fields.items():
        if words := type_problem(type):
            yield ("fields", name), words
    for name in RESERVED & source.fields.keys():
        yield ("fields", name), f"'{name}' is a name of ours; expected another one"
    for first, second in _same_but_for_case(source.fields):
        yield ("fields", second), f"'{second}' and '{first}' differ by case alone, and Spark does not tell them apart"
    sections = {"columns": source.columns, "attributes": source.attributes}
    expressions: list[Problem] = [((key, name), sql) for key, made in sections.items() for name, sql in made.items()]
    expressions += [(("rules", number, "when"), rule.when) for number, rule in enumerate(source.rules)]
    for where, sql in expressions:
        words = expression_problem(sql, source.fields, ["_metadata"]) or _metadata_problem(sql, source)
        if words:
            yield where, words
    if twice := [name for name, count in Counter(rule.name for rule in source.rules).items() if count > 1]:
        yield ("rules",), f"two rules are called {join_names(twice)}; names are unique"
    if source.kind == "events" and source.attributes:
        yield ("attributes",), "events have no attributes; sources of items and of users have"


def _metadata_problem(sql: str, source: Source) -> str | None:
    """What is wrong with the names after `_metadata.` in an expression."""
    found, known = metadata_names(sql), METADATA - (set() if source.is_of_files else {"row_index"})
    for name in sorted(found - known):
        return f"names _metadata.{name}; a record of {source.format} has {join_names(known)}{suggest_key(name, known)}"
    return None


def _events(settings: Settings) -> Iterator[Problem]:
    """Sources of events against the signals."""
    of_events = [(number, each) for number, each in enumerate(settings.sources) if each.kind == "events"]
    if not of_events:
        yield ("sources",), "no source is of kind 'events'; without events there is nothing to recommend"
    known = [signal.event for signal in settings.signals]
    for number, source in of_events:
        event = constant(source.columns["event"])
        if event is not None and event not in known:
            words = f"every event is '{event}', which no signal declares; declared are {join_names(known)}"
            yield ("sources", number, "columns", "event"), f"{words}{suggest_key(event, known)}"
    valued = any("value" in source.columns for _, source in of_events)
    for number, signal in enumerate(settings.signals):
        if signal.valid and not valued and of_events:
            yield ("signals", number, "valid"), "no source of events gives the column value, so no event would be valid"
    if settings.signals and not any(signal.weight for signal in settings.signals):
        yield ("signals",), "every weight is 0, so no model could learn anything"


def _attributes(settings: Settings) -> Iterator[Problem]:
    """Attributes of items are columns of one table in DuckDB, where case does not count."""
    for number, source in enumerate(settings.sources):
        if source.kind == "items":
            for first, second in _same_but_for_case(settings.attributes("items")):
                if second in source.attributes:
                    words = f"'{second}' and '{first}' differ by case alone, and SQL does not tell them apart"
                    yield ("sources", number, "attributes", second), words


def _marts(settings: Settings) -> Iterator[Problem]:
    tables = {table.full_name for table in TABLES} | {f"gold.{mart.name}" for mart in settings.marts}
    for number, mart in enumerate(settings.marts):
        parameters = {"k", "stored", *(["night"] if mart.period == "night" else [])}
        if words := select_problem(mart.sql, tables, parameters):
            yield ("marts", number, "sql"), words


TRACKING = ("file", "http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""How MLflow's addresses begin; a plug-in may know others."""
UNUSABLE = "[]^|\\\n"
"""Signs in a path that the Delta library cannot open."""


def find_problems_of_places(settings: Settings) -> Iterator[Problem]:
    """What is wrong with [places] and [spark]."""
    yield from ((("spark", "settings", key), words) for key, words in find_wrong_settings(settings.spark))
    if missing := list(_missing_folders(settings)):
        yield from missing
        return
    lake, tracking = settings.place("lake"), re.match(r"([\w+]+)://", settings.places.mlflow or "")
    if found := sorted({sign for sign in str(lake) if sign in UNUSABLE or not sign.isprintable()}):
        named = ", ".join(map(repr, found))
        yield ("places", "lake"), f"the path {str(lake)!r} holds {named}, which Delta tables cannot have in their path"
    elif re.search("%[0-9a-fA-F]{2}", str(lake)):
        words = f"the path {lake} holds % and two hexadecimal digits, which Delta tables cannot have"
        yield ("places", "lake"), words
    if tracking and tracking[1].partition("+")[0] not in TRACKING and (near := suggest_key(tracking[1], TRACKING)):
        yield ("places", "mlflow"), f"MLflow knows no address that begins with {tracking[0]}{near}"
    yield from find_unsafe_commits(str(lake), os.environ)
    if settings.places.store_url and not settings.store.embedded:
        yield from _store_url(settings.store.kind, settings.places.store_url)


SAFE_COMMITS: dict[str, tuple[str, ...]] = {
    "AWS_CONDITIONAL_PUT": ("etag",),
    "AWS_S3_ALLOW_UNSAFE_RENAME": ("false",),
    "AWS_S3_LOCKING_PROVIDER": (),
}
"""Variables of delta-rs -> the values by which its commits and Spark's cannot overwrite each other on S3."""


def find_unsafe_commits(lake: str, variables: Mapping[str, str]) -> Iterator[Problem]:
    """What the environment says that lets writers of a lake on S3 overwrite each other's commits."""
    for name, safe in SAFE_COMMITS.items() if lake.startswith(("s3://", "s3a://")) else ():
        if (found := variables.get(name)) and found.lower() not in safe:
            words = f"the lake is on S3, and {name} is '{found}': commits would overwrite each other; unset it"
            yield ("places", "lake"), words


def _missing_folders(settings: Settings) -> Iterator[Problem]:
    """What cannot be in object storage and needs a place of its own where `home` or `store` is there."""
    places = settings.places
    if scheme_of(places.home):
        if places.scratch is None:
            yield ("places", "home"), "is an address, so places.scratch has to name a folder on this machine's disks"
        if places.mlflow is None:
            words = "is an address, where no database can be; places.mlflow has to say where MLflow's tracking is"
            yield ("places", "home"), words
    key = "home" if places.store is None else "store"
    if settings.store.kind == "lmdb" and (scheme := scheme_of(getattr(places, key))):
        words = "store.kind is 'lmdb', whose files readers map from a disk"
        yield ("places", key), f"{words}; found {scheme}://; name a folder in places.store, or set store.kind = 'files'"


def find_unreachable(settings: Settings) -> Iterator[Problem]:
    """Places in object storage that cannot be read. One place of each bucket is asked for."""
    asked = set[str]()
    for where, text in _addresses(settings):
        if (bucket := "/".join(text.split("/")[:3])) not in asked:
            asked.add(bucket)
            if words := access_problem(place_at(text)):
                yield where, words


def _addresses(settings: Settings) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The key and the text of each place in object storage."""
    keys = ("home", "lake", "store", "docs", "mlflow_artifacts", "access")
    named: list[tuple[tuple[str | int, ...], str | None]]
    named = [(("places", key), getattr(settings.places, key)) for key in keys]
    named += [(("sources", number, "path"), source.path) for number, source in enumerate(settings.sources)]
    yield from ((where, text) for where, text in named if text is not None and scheme_of(text))


def _store_url(kind: str, address: str) -> Iterator[Problem]:
    schemes = STORE_KINDS[kind].schemes
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises ValueError
    except ValueError as error:
        yield ("places", "store_url"), f"is no address: {error}"
        return
    if parts.scheme not in schemes:
        words = f"store.kind is '{kind}', so the address begins with {schemes[0]}://, found {parts.scheme!r}"
        yield ("places", "store_url"), words


def _same_but_for_case(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    first: dict[str, str] = {}
    for name in names:
        if (before := first.setdefault(name.lower(), name)) != name:
            yield before, name
