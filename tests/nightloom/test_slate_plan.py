"""slate/settings.py and slate/compile.py: a wrong rule is an error that names its line; docs/slate.md is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nightloom.errors import SettingsError
from nightloom.lake import Lake
from nightloom.slate.settings import KINDS
from tests.nightloom.slate_shop import TOML, Shop

PAGE = (Path(__file__).parents[2] / "docs" / "slate.md").read_text(encoding="utf8")
LINE = len(TOML.splitlines()) + 2
"""Lines before the rules of a shop."""


def message(root: Path, rules: str) -> str:
    with pytest.raises(SettingsError) as error:
        Shop(root, rules).plan()
    return str(error.value)


FLOOR = '[[slate.floors]]\nname = "f"\nat_least = 1\nwhen = "{}"\n'
FILTER = '[[slate.filters]]\nname = "f"\nitem = "markets"\n'
BOOST = '[[slate.boosts]]\nname = "b"\nadd = 1\n'
PIN = '[[slate.pins]]\nname = "p"\nitem = "a"\nplace = 1\n'
CAP = '[[slate.caps]]\nname = "c"\nat_most = 1\nby = "makr"\n'


@pytest.mark.parametrize(
    ("rules", "line", "words"),
    [
        (CAP, 4, "slate.caps.0.by: names the attribute 'makr'; items have .* Did you mean 'maker'?"),
        (FILTER + 'user = "markt"\n', 4, "slate.filters.0.user: .*; users have age, market. Did you mean 'market'?"),
        (FILTER, 1, "a filter has either `when`, or `item` and `user`"),
        (BOOST + "half_life_days = 3\n", 1, "a boost that decays has both since and half_life_days"),
        (BOOST + BOOST.replace("add", "ad"), 6, "slate.boosts.1.ad: unknown key; .* Did you mean 'add'?"),
        (PIN + 'users = { markte = "DE" }\n', 5, "slate.pins.0.users: .* Did you mean 'market'?"),
        ('segments = ["markt"]\n', 1, "slate.segments: .*; users have age, market. Did you mean 'market'?"),
        ('[slate.diversity]\nby = ["category", "serie"]\n', 2, "slate.diversity.by: .* Did you mean 'series'?"),
        (FLOOR.format(True) + "[slate.exploration]\nshare = 1\n", -2, "ask for 5 places of a page; it has k = 4"),
        (PIN.replace("1", "9"), -2, "pins has p, whose place is beyond stored = 8"),
        (FLOOR.format(True) * 2, -2, "two rules are called f"),
        (FLOOR.format("yaer > 1"), 4, 'slate.floors.0.when: .*"yaer" not found.*columns of an item are .*year, maker'),
        (FLOOR.format("year >"), 4, "slate.floors.0.when: .*syntax error"),
        (FLOOR.format("year"), 4, "'year' is INTEGER; expected a condition"),
    ],
)
def test_a_wrong_rule_is_an_error_that_names_its_line(rules: str, line: int, words: str, tmp_path: Path) -> None:
    found = message(tmp_path, rules)
    assert f"nightloom.toml, line {LINE + line}: " in found
    assert re.search(words.replace("?", r"\?"), found, re.DOTALL), found


def test_a_category_that_no_item_has_and_a_condition_that_none_meets_are_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = FLOOR.format("'Horor' IN categories") + PIN.replace('"a"', '"q"')
    plan = Shop(tmp_path, rules, described={"a": {"categories": ["Horror"]}}).plan()
    start, near = "warning: nightloom.toml, line", "Did you mean 'Horror'?"
    assert capsys.readouterr().err.splitlines() == [
        f"{start} {LINE + 4}: slate.floors.0.when: names the category 'Horor', which no item has. {near}",
        f"{start} {LINE + 4}: slate.floors.0.when: no item meets it",
        f"{start} {LINE + 7}: slate.pins.0.item: pins the item 'q', which silver.items does not have",
    ]
    assert {rule.name: rule.items for rule in plan.rules} == {"f": 0, "p": 0}


def test_the_rules_of_the_page_are_right(tmp_path: Path) -> None:
    rules = "\n".join(re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    shop = Shop(tmp_path, rules.replace("provider", "maker"), k=10, stored=20)
    plan = shop.plan()
    assert len(plan.names) == len(set(plan.names)) == 12
    assert {rule.kind() for _, rule in shop.settings.slate.rules} == {kind.kind() for kind in KINDS}
    assert re.findall(r"^\| `\[+slate\.(\w+)", PAGE, re.MULTILINE) == [kind.section for kind in KINDS]


def test_a_plan_can_be_made_without_statistics_of_the_night(tmp_path: Path) -> None:
    from nightloom.contracts import ITEMS
    from nightloom.lake.described_items import compile_slate
    from tests.nightloom.slate_shop import NIGHT

    shop = Shop(tmp_path, "[slate.exploration]\nshare = 0.25\n")
    shop.plan()
    lake = Lake(shop.settings.place("lake"))
    (rule,) = compile_slate(lake, shop.settings, NIGHT, lake.version(ITEMS), None).rules
    assert rule.items == 12
