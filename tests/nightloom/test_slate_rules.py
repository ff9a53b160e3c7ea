"""slate/rules/: what holds for every kind of rule, as found by the engine: a new kind is tested here by being there."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from nightloom.contracts import ITEM_STATS, ITEMS
from nightloom.errors import SettingsError
from nightloom.lake import Lake
from nightloom.lake.described_items import describe_items
from nightloom.lake.duck import spilling_duckdb
from nightloom.slate import rules as folder
from nightloom.slate.compile import compile_rules
from nightloom.slate.effects import Likeness, RelevanceAddition, ReservedPlaces
from nightloom.slate.rule import AudienceRule, NamedRule, SlateRule
from nightloom.slate.rule_checks import RuleCheck, check_rules
from nightloom.slate.rules import find_kinds
from nightloom.slate.slates import Slates
from tests.nightloom.slate_shop import NIGHT, Shop

ROOT = Path(__file__).parents[2]
KINDS = find_kinds()
EACH_KIND = pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.kind()) for kind in KINDS])
USERS = {"de": {"market": "DE", "age": "30"}, "at": {"market": "AT", "age": "9"}, "nobody": {}}
SEEN = {"de": "b", "at": "ac"}
"""What the users have touched, so that no rule brings it back."""
GONE = "k"
"""An item that is not available."""


def shop(root: Path, rules: str = "") -> Shop:
    """Twelve items with all that an example may name; h, i and j are cold documentaries of the shop's own."""
    described = {}
    for number, item in enumerate("abcdefghijkl"):
        own = item in "hij"
        described[item] = {
            "categories": ["Documentary" if own else "Drama", "XY"[number % 2]],
            "available": item != GONE,
            "events": 1 if own else 50 - number,
            "year": 1990 + 3 * number,
            "provider": "us" if own else "them",
            "series": "S" if item in "acj" else "T",
            "markets": "DE" if item in "dl" else "AT,DE" if item in "ef" else "CH" if item == "a" else "",
            "min_age": 18 if item in "bd" else 6,
            "released": "2024-02-28" if item in "ghij" else "2024-01-01",
        }
    return Shop(root, rules, described=described)


def applied(at: Shop) -> Slates:
    return at.slates(users=USERS, seen=SEEN)


@contextmanager
def described(at: Shop) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the table `described` of the shop's items."""
    settings, lake = at.settings, Lake(at.settings.place("lake"))
    with spilling_duckdb(settings.place("scratch")) as db:
        describe_items(db, lake, settings, NIGHT, lake.version(ITEMS), lake.version(ITEM_STATS))
        yield db


def found_by_sql(at: Shop, lists: list[str]) -> list[RuleCheck]:
    """What gate 3's SQL finds in these lists, under the shop's rules."""
    users, texts = list(USERS), pa.list_(pa.string())
    people = pa.array([list(USERS[user].items()) for user in users], pa.map_(pa.string(), pa.string()))
    seen = pa.array([list(SEEN.get(user, "")) for user in users], texts)
    with described(at) as db:
        db.register("lists", pa.table({"user_id": users, "items": pa.array([list(text) for text in lists], texts)}))
        db.register("histories", pa.table({"user_id": users, "items": seen}))
        db.register("people", pa.table({"user_id": users, "attributes": people}))
        db.register("popular", pa.table({"items": pa.array([[]], texts)}))
        return list(check_rules(db, at.settings.slate, NIGHT, 0.0, "stop"))


def test_the_kinds_are_the_files_of_the_folder_in_the_order_that_each_states() -> None:
    files = {file.stem for file in Path(folder.__path__[0]).glob("*.py")} - {"__init__"}
    assert {kind.kind() for kind in KINDS} == files
    for one, other in pairwise(KINDS):
        assert one.order < other.order, f"{one.kind()} and {other.kind()} both have order {one.order}"
    assert len({kind.section for kind in KINDS}) == len(KINDS)


@EACH_KIND
def test_every_key_and_the_kind_itself_are_documented(kind: type[SlateRule]) -> None:
    stated = ("section", "order", "effects", "breakable", "example")
    assert [name for name in stated if not hasattr(kind, name)] == [], f"{kind.__name__} lacks a class attribute"
    assert kind.__doc__
    assert kind.__doc__ != SlateRule.__doc__
    assert not [name for name, field in kind.model_fields.items() if not field.description]


@EACH_KIND
def test_an_unknown_key_is_an_error_with_its_line_and_the_nearest_key(kind: type[SlateRule], tmp_path: Path) -> None:
    key = next(name for name in kind.model_fields if name != "name")
    with pytest.raises(SettingsError) as error:
        _ = shop(tmp_path, f"{kind.example}{key}e = 1\n").settings
    lines = (tmp_path / "nightloom.toml").read_text(encoding="utf8").splitlines()
    where = rf"nightloom\.toml, line {lines.index(f'{key}e = 1') + 1}: slate\.{kind.section}(\.0)?\.{key}e: unknown key"
    assert re.search(rf"{where}; .*Did you mean '{key}'\?", str(error.value))


@EACH_KIND
def test_the_example_compiles_to_effects_that_the_kind_declares(kind: type[SlateRule], tmp_path: Path) -> None:
    at = shop(tmp_path, kind.example)
    ((name, rule),) = at.settings.slate.rules
    plan = at.plan()
    (compiled,) = plan.rules
    assert (compiled.name, type(rule)) == (name, kind)
    assert compiled.items > 0
    assert compiled.effects
    assert all(isinstance(effect, kind.effects) for effect in compiled.effects)
    reserved = sum(effect.places for effect in compiled.effects if isinstance(effect, ReservedPlaces))
    assert rule.reserved_places(at.k) == reserved, "reserved_places() has to say how many places of a page it reserves"
    assert isinstance(rule, NamedRule) == (kind.section != kind.kind())
    assert at.plan().digest == plan.digest
    assert pickle.loads(pickle.dumps(plan)).names == (name,)  # plans travel to Spark's workers


@EACH_KIND
def test_the_example_changes_lists_and_lets_in_nothing_that_may_not_be_listed(
    kind: type[SlateRule], tmp_path: Path
) -> None:
    at = shop(tmp_path, kind.example)
    made = applied(at)
    lists = at.texts(made)
    assert lists != at.texts(made, 0), (
        f"the example of {kind.kind()} changes no list of this shop on {NIGHT:%A %Y-%m-%d}"
    )
    assert made.rule_statistics[0][0] > 0
    for user, text in zip(USERS, lists, strict=True):
        assert len(set(text)) == len(text)
        assert not set(text) & {*SEEN.get(user, ""), GONE}
    assert at.texts(applied(at)) == lists


@EACH_KIND
def test_its_sql_passes_the_lists_that_keep_the_rule_and_finds_those_that_break_it(
    kind: type[SlateRule], tmp_path: Path
) -> None:
    at = shop(tmp_path, kind.example)
    made = applied(at)
    ((name, rule),) = at.settings.slate.rules
    if rule.check(at.k, NIGHT) is None:
        words = f"lists can break it, and check() gives no SQL on {NIGHT:%A %Y-%m-%d}"
        assert set(kind.effects) <= {RelevanceAddition, Likeness}, words
        assert not kind.breakable
        return
    (good,) = found_by_sql(at, at.texts(made))
    (bad,) = found_by_sql(at, at.texts(made, 0))
    assert kind.breakable
    assert good.passed, good
    assert not bad.passed, bad
    assert name in f"{bad.name} {bad.observed}"


@pytest.mark.parametrize("kind", [pytest.param(k, id=k.kind()) for k in KINDS if issubclass(k, AudienceRule)])
def test_a_rule_for_some_days_does_nothing_on_others(kind: type[SlateRule], tmp_path: Path) -> None:
    at = shop(tmp_path, f"{kind.example}last_day = {NIGHT - timedelta(days=1)}\n")
    made = applied(at)
    assert at.texts(made) == at.texts(made, 0)
    assert found_by_sql(at, at.texts(made)) == []


@EACH_KIND
def test_its_explanation_ends_a_sentence_in_the_words_of_its_settings(kind: type[SlateRule], tmp_path: Path) -> None:
    ((_, rule),) = shop(tmp_path, kind.example).settings.slate.rules
    words = rule.explanation
    assert words
    assert words[-1] not in ".,;"
    assert "\n" not in words
    values = [value for key, value in rule.model_dump(exclude_unset=True).items() if key != "name"]
    texts = [str(each) for value in values for each in (value if isinstance(value, tuple) else (value,))]
    assert any(text in words for text in texts)


def test_the_order_in_the_file_does_not_matter_for_kinds(tmp_path: Path) -> None:
    forward, backward = ("".join(kind.example for kind in kinds) for kinds in (KINDS, KINDS[::-1]))
    names = [[name for name, _ in shop(tmp_path, rules).settings.slate.rules] for rules in (forward, backward)]
    assert names[0] == names[1]


def test_two_rules_that_compare_items_on_a_page_are_refused(tmp_path: Path) -> None:
    at = shop(tmp_path, next(kind.example for kind in KINDS if Likeness in kind.effects))
    at.plan()
    ((_, rule),) = at.settings.slate.rules
    twice: Any = SimpleNamespace(located_rules=[(("slate", name), rule) for name in ("one", "other")], k=4)
    with described(at) as db, pytest.raises(SettingsError, match=r"slate\.other: a rule above compares items"):
        compile_rules(db, twice, NIGHT, lambda *location: ".".join(location))


def test_stages_and_serving_call_the_engine_and_name_no_kind() -> None:
    sections = "|".join(kind.section for kind in KINDS)
    naming = re.compile(rf"nightloom\.slate\.rules|slate\.({sections})\b|isinstance\(rule")
    files = [file for name in ("serving", "spark_jobs", "expectations", "dags") for file in (ROOT / name).rglob("*.py")]
    assert files
    assert [file.name for file in files if naming.search(file.read_text(encoding="utf8"))] == []
