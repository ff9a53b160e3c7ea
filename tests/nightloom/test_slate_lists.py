"""slate/apply.py: each rule over a catalogue made by hand, where the right list is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightloom.slate.effects import RelevanceAddition
from tests.nightloom.slate_shop import Shop


def lists(root: Path, rules: str, users: Any = None, seen: Any = None, **shop: Any) -> list[str]:
    return Shop(root, rules, **shop).lists(users=users, seen=seen)


def of(**described: str) -> dict[str, dict[str, Any]]:
    """attribute="value:items ..." -> the description of each item; `category` adds one."""
    found: dict[str, dict[str, Any]] = {}
    for name, texts in described.items():
        for value, items in (text.split(":") for text in texts.split()):
            for item in items:
                row = found.setdefault(item, {})
                if name == "category":
                    row.setdefault("categories", []).append(value)
                else:
                    row[name] = value
    return found


def test_without_rules_a_list_is_by_score_and_holds_nothing_seen_or_not_available(tmp_path: Path) -> None:
    assert lists(tmp_path, "", described={"b": {"available": False}}, seen={"u": "ac"}) == ["defghijk"]


def test_a_filter_keeps_what_meets_its_condition_by_columns_attributes_and_events(tmp_path: Path) -> None:
    described = (
        of(year="1990:abc 2005:dfgh x:i", category="Old:a New:dk")
        | {"e": {"year": 2005, "events": 3}}
        | {"l": {"year": 2001}}
    )
    new = '[[slate.filters]]\nname = "new"\nwhen = "year >= 2000"\n'
    assert lists(tmp_path / "year", new, described=described) == ["defghl"]
    both = new + '[[slate.filters]]\nname = "kind"\nwhen = "\'New\' IN categories OR events > 2"\n'
    assert lists(tmp_path / "both", both, described=described) == ["de"]


def test_a_filter_by_market_shows_each_user_what_is_sold_there(tmp_path: Path) -> None:
    rule = '[[slate.filters]]\nname = "market"\nitem = "markets"\nuser = "market"\n'
    described = of(markets="DE:ab DE,AT:cd AT:ef") | {"g": {"markets": "DE, CH"}, "h": {"markets": ""}}
    users = {
        "de": {"market": "DE"},
        "at": {"market": "AT"},
        "us": {"market": "US"},
        "ch": {"market": "CH"},
        "nobody": {},
    }
    found = lists(tmp_path, rule, users, described=described, stored=6)
    assert found == ["abcdgh", "cdefhi", "hijkl", "ghijkl", "hijkl"]


@pytest.mark.parametrize(
    ("compare", "found"), [("at_most", ["abef", "abcdef", "ef"]), ("at_least", ["cdef", "cdef", "ef"])]
)
def test_a_filter_by_age_compares_numbers(compare: str, found: list[str], tmp_path: Path) -> None:
    rule = f'[[slate.filters]]\nname = "age"\nitem = "min_age"\nuser = "age"\ncompare = "{compare}"\n'
    users = {"child": {"age": "9"}, "adult": {"age": "18"}, "unknown": {"age": "old"}}
    made = lists(tmp_path, rule, users, described=of(min_age="6:ab 18:cd"), items=6)
    assert made == found


def test_who_is_left_few_candidates_by_a_filter_gets_the_best_of_all_that_are_left(tmp_path: Path) -> None:
    rule = 'candidates = 1\n[[slate.filters]]\nname = "odd"\nwhen = "maker = \'ODD\'"\n'
    shop = Shop(tmp_path, rule, items=26, k=2, stored=4, described=of(maker="ODD:axyz"))
    made = shop.slates(users={"u": {}, "v": {}}, seen={"v": "x"})
    assert shop.texts(made) == ["axyz", "ayz"]
    assert shop.texts(made, 0) == ["abcd", "abcd"]


def test_a_boost_adds_relevance_and_a_negative_one_takes_it(tmp_path: Path) -> None:
    described = of(maker="US:dl THEM:a")
    rule = '[[slate.boosts]]\nname = "us"\nwhen = "maker = \'US\'"\nadd = 0.2\n'
    # 12 candidates of relevance 1, 10/11, ...: 0.2 is 2.2 places.
    assert lists(tmp_path / "up", rule, described=described, stored=12) == ["adbcefghiljk"]
    down = '[[slate.boosts]]\nname = "them"\nwhen = "maker = \'THEM\'"\nadd = -0.5\n'
    assert lists(tmp_path / "down", down, described=described, stored=12) == ["bcdefaghijkl"]


def test_a_boost_halves_with_each_half_life(tmp_path: Path) -> None:
    rule = '[[slate.boosts]]\nname = "new"\nadd = 1.0\nsince = "released"\nhalf_life_days = 10\n'
    described = of(released="2024-03-01:l 2024-02-20:k 2024-02-10:j soon:i")
    made = Shop(tmp_path, rule, described=described, stored=12).plan()
    ((_, boost),) = made.effects(RelevanceAddition)
    day = 0.5**0.1  # the night ends a day after the date begins
    assert boost.add[[11, 10, 9, 8, 0]] == pytest.approx([day, day / 2, day / 4, 0, 0], rel=1e-4)


def test_a_cap_counts_a_page_and_what_it_holds_back_comes_on_the_next(tmp_path: Path) -> None:
    rule = '[[slate.caps]]\nname = "maker"\nby = "maker"\nat_most = 2\n'
    assert lists(tmp_path, rule, described=of(maker="A:abcdef B:gh")) == ["abghcdij"]


def test_a_cap_per_category_counts_an_item_in_each_of_its_categories(tmp_path: Path) -> None:
    rule = '[[slate.caps]]\nname = "category"\nby = "category"\nat_most = 1\n'
    assert lists(tmp_path, rule, described=of(category="A:abe B:bcf C:dg"), stored=4) == ["acdh"]


def test_a_cap_by_condition_counts_all_that_meet_it_together(tmp_path: Path) -> None:
    rule = '[[slate.caps]]\nname = "old"\nwhen = "year < 2000"\nat_most = 1\n'
    assert lists(tmp_path, rule, described=of(year="1990:ab 1995:cd 2005:ef")) == ["aefgbhij"]


def test_one_of_a_series_stands_in_a_list_and_what_is_in_none_is_free(tmp_path: Path) -> None:
    rule = '[[slate.caps]]\nname = "series"\nby = "series"\nat_most = 1\nwithin = "list"\n'
    assert lists(tmp_path, rule, described=of(series="S:abf T:cde")) == ["acghijkl"]


def test_a_cap_is_never_broken_the_list_ends_where_nothing_else_is_left(tmp_path: Path) -> None:
    rule = '[[slate.caps]]\nname = "maker"\nby = "maker"\nat_most = 3\nwithin = "list"\n'
    assert lists(tmp_path, rule, described=of(maker="A:abcdefgh"), items=8) == ["abc"]


def test_a_floor_takes_the_last_places_of_a_page_where_scores_give_it_none(tmp_path: Path) -> None:
    rule = '[[slate.floors]]\nname = "maker"\nwhen = "maker = \'A\'"\nat_least = 2\n'
    assert lists(tmp_path / "far", rule, described=of(maker="A:hkl")) == ["abhkcdle"]  # l is the last of them
    assert lists(tmp_path / "near", rule, described=of(maker="A:bdef")) == ["abcdefgh"]


def test_a_promotion_is_spread_over_the_page_and_each_gets_the_best_they_have_not_seen(tmp_path: Path) -> None:
    rule = 'candidates = 1\n[[slate.promotions]]\nname = "ours"\nwhen = "maker = \'A\'"\nshare = 0.5\n'
    found = lists(tmp_path, rule, {"u": {}, "v": {}}, {"v": "w"}, items=26, described=of(maker="A:uwxyz"))
    assert found == ["aubwcxdy", "aubxcydz"]


def test_a_promotion_is_for_its_users_and_days(tmp_path: Path) -> None:
    rule = '[[slate.promotions]]\nname = "ours"\nwhen = "maker = \'A\'"\nshare = 0.25\nusers = { market = "DE" }\n'
    users: dict[str, dict[str, str]] = {"de": {"market": "DE"}, "at": {"market": "AT"}, "nobody": {}}
    found = lists(tmp_path / "now", rule, users, described=of(maker="A:l"), stored=4)
    assert found == ["abcl", "abcd", "abcd"]
    over = rule + "last_day = 2024-02-29\n"
    assert lists(tmp_path / "over", over, users, described=of(maker="A:l"), stored=4) == ["abcd"] * 3


def test_a_promotion_can_be_of_items_that_the_model_does_not_know(tmp_path: Path) -> None:
    rule = '[[slate.promotions]]\nname = "ours"\nwhen = "maker = \'A\'"\nshare = 0.25\n'
    shop = Shop(tmp_path, rule, described=of(maker="A:z"), unknown="z", stored=4)
    made = shop.slates(users={"u": {}, "v": {}}, seen={"v": "z"})
    assert shop.texts(made) == ["abcz", "abcd"]
    assert made.scores()[0].tolist() == [100, 99, 98, 89]  # the last candidate's


def test_a_pin_stands_at_its_place_unless_it_was_seen_or_may_not_be_shown(tmp_path: Path) -> None:
    rule = '[[slate.pins]]\nname = "hero"\nitem = "l"\nplace = 2\n[[slate.pins]]\nname = "new"\nitem = "z"\nplace = 6\n'
    users: dict[str, dict[str, str]] = {"u": {}, "v": {}}
    shop = {"unknown": "z", "described": {"z": {"year": 2020}}}
    assert lists(tmp_path / "pin", rule, users, {"v": "lz"}, **shop) == ["albcdzef", "abcdefgh"]
    hidden = rule + '[[slate.filters]]\nname = "new_ones"\nwhen = "year > 2010"\n'
    assert lists(tmp_path / "filter", hidden, users, **shop) == ["", ""]
    gone = {"l": {"available": False}}
    hero = "[[" + rule.split("[[")[1]
    assert lists(tmp_path / "gone", hero, users, described=gone) == ["abcdefgh"] * 2


def test_a_cap_counts_a_pinned_item_before_those_that_stand_above_it(tmp_path: Path) -> None:
    rules = (
        '[[slate.caps]]\nname = "maker"\nby = "maker"\nat_most = 1\n[[slate.pins]]\nname = "p"\nitem = "l"\nplace = 4\n'
    )
    assert lists(tmp_path, rules, described=of(maker="A:acl B:b"), stored=4) == ["bdel"]


def test_diversity_lets_wait_what_is_like_an_item_already_on_the_page(tmp_path: Path) -> None:
    described = of(category="A:abcdef B:ghi C:jkl")
    half = "[slate.diversity]\nrelevance = 0.5\n"
    # a; then the first of another kind: g (5/11 > b's 10/11 - 1); then j (2/11 > b's -1/11); then b
    assert lists(tmp_path / "half", half, described=described) == ["agjbchkd"]
    assert lists(tmp_path / "one", "[slate.diversity]\nrelevance = 1.0\n", described=described) == ["abcdefgh"]


def test_exploration_gives_cold_items_places_and_another_choice_to_each_user(tmp_path: Path) -> None:
    rule = "[slate.exploration]\nshare = 0.25\nmost_events = 2\n"
    described = {item: {"events": 9} for item in "abcdefghijkl"} | {"y": {"events": 2}, "x": {"available": False}}
    users: dict[str, dict[str, str]] = {f"u{n}": {} for n in range(40)}
    found = lists(tmp_path, rule, users, {"u0": "yz"}, described=described, unknown="vwxyz")
    assert {text[:3] + text[4:7] for text in found} == {"abcdef"}
    assert {text[3] for text in found} == {text[7] for text in found} == set("vwyz")
    assert not set(found[0]) & set("yz")


def test_a_step_tells_what_each_rule_did_and_the_costs_add_up(tmp_path: Path) -> None:
    rules = (
        '[[slate.filters]]\nname = "new"\nwhen = "year > 2000"\n'
        '[[slate.boosts]]\nname = "idle"\nwhen = "year > 2020"\nadd = 1\n'
        '[[slate.caps]]\nname = "maker"\nby = "maker"\nat_most = 1\n'
    )
    described = {item: {"year": 2010, "maker": item} for item in "abcdefghijkl"} | of(year="1990:b", maker="A:b")
    described["a"]["maker"] = described["c"]["maker"] = "SAME"
    shop = Shop(tmp_path, rules, described=described)
    made = shop.slates()
    assert [shop.texts(made, n)[0] for n in range(4)] == ["abcdefgh", "acdefghi", "acdefghi", "adefcghi"]
    # A first page is four of twelve candidates, eleventh parts of relevance apart, as far as a score of 1.
    assert made.rule_statistics == pytest.approx(
        np.array([[1, 1, 3, 3 / 11], [0, 0, 0, 0], [1, 1, 3, 3 / 11]]), abs=1e-6
    )
    assert made.relevance == pytest.approx((11 + 10 + 9 + 8) / 11)


def test_a_user_who_has_seen_everything_gets_an_empty_list(tmp_path: Path) -> None:
    rules = '[[slate.caps]]\nname = "c"\nby = "category"\nat_most = 1\n[slate.diversity]\n'
    assert lists(tmp_path, rules, seen={"u": "abcdefghijkl"}) == [""]
