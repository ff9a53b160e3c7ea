"""rule_attribution.py, replay.py: what the slate rules did to a served row, as text, JSON, by the API and the console.

Item 1 is liked by most, then 2, ..., 11; nobody likes 12, which the model does not know. Lists have five places.
"""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from models import registry
from nightloom.contracts import HISTORIES, ITEM_STATS, ITEMS, RECOMMENDATIONS
from nightloom.lake import now
from nightloom.lake.described_items import compile_slate
from nightloom.night import stages
from nightloom.night.context import Night
from nightloom.night.run import run_stage
from nightloom.night.stages import Stage
from nightloom.places import folder_of
from serving import commands
from serving.explain import UNKNOWN_ITEM, Explanation, build_explanation
from serving.history import read_history
from serving.replay import BATCH, Move
from serving.rule_attribution import Attribution
from serving.stores.reader import Reader
from spark_jobs import gold_popular
from spark_jobs.sent_model import SentModel
from spark_jobs.slate_scoring import SentPlan, score_by_rules
from tests.serving.conftest import CONFIG, ITEM_IDS, Client, D, Project, moment
from training import registration, train

pytestmark = pytest.mark.filterwarnings("ignore")  # what MLflow and SQLAlchemy say of themselves
NEXT = date(1998, 4, 22)
LIKES = {f"u{n}": ITEM_IDS[:n] for n in range(1, 12)} | {"calm": ["7", "9"], "more": [*ITEM_IDS[:6], "8", "10", "11"]}
RULES = """
[[slate.filters]]
name = "no_five"
when = "item_id <> '5'"

[[slate.boosts]]
name = "fresh"
when = "item_id = '7'"
add = 2

[[slate.caps]]
name = "one_of_two"
when = "item_id IN ('3', '4')"
at_most = 1
within = "list"

[[slate.pins]]
name = "hero"
item = "9"
place = 1

[[slate.pins]]
name = "newcomer"
item = "12"
place = 4
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Everybody scored on D; on the next night u3 and u4 alone, and u4's list is not the one that the rules give."""
    project = Project(tmp_path_factory.mktemp("shop"))
    text = CONFIG.replace("stored = 4", "stored = 5").replace("[store]", RULES + "\n[store]")
    (project.root / "nightloom.toml").write_text(text, encoding="utf8")
    project.plant_items()
    project.plant_histories(likes=LIKES)
    stage(project, stages.TRAIN, train.main, date(1998, 5, 21), options=train.OPTIONS)
    registration.set_alias(project.settings, registry.CHAMPION, "1")
    scored(project, D, list(LIKES))
    lake = project.night().lake
    late = {"week": HISTORIES.period_of(D), "weights": [1.0], "at": [moment(D)], "event_ids": ["late"]}
    lake.append(HISTORIES, [late | {"user_id": "u2", "items": ["7"]}])
    lake.append(ITEM_STATS, [row | {"night": NEXT} for row in lake.rows(ITEM_STATS).to_pylist()])
    scored(project, NEXT, ["u3", "u4"], swapped="u4")
    stage(project, stages.POPULAR, gold_popular.main)
    project.judge(NEXT, override="test: some lists are short, one is wrong")
    project.publish(NEXT)
    return project


def stage(project: Project, of: Stage, body: Any, day: date = NEXT, **frame: Any) -> None:
    run_stage(of, body, argv=["--date", str(day), "--config", str(project.root / "nightloom.toml")], **frame)


def scored(project: Project, day: date, users: list[str], swapped: str = "") -> None:
    """What spark_jobs.gold_recommendations writes for these users, by the functions that it gives to Spark."""

    def body(night: Night) -> None:
        night.pin(HISTORIES)
        plan = compile_slate(night.lake, night.settings, day, night.pin(ITEMS), night.pin(ITEM_STATS))
        night.tags |= {"model_version": "1", "rules": plan.digest}
        batch = pa.RecordBatch.from_pylist([history(night, user) for user in users], schema=BATCH)
        (made,) = score_by_rules(
            iter([batch]),
            SentModel(str(registry.find_version(night.settings, "1").folder)),
            SentPlan(plan.digest, plan),
        )
        fixed = {"night": day, "model_version": "1", "generated_at": now(), "full_night": D}
        rows: list[dict[str, Any]] = [
            fixed | {name: row[name] for name in ("user_id", "items", "scores")} for row in made.to_pylist()
        ]
        for row in rows:
            if row["user_id"] == swapped:
                row["items"][:2] = row["items"][1::-1]
        night.lake.append(RECOMMENDATIONS, rows)

    stage(project, stages.RECOMMENDATIONS, body, day)


def history(night: Night, user: str) -> dict[str, Any]:
    """A row of BATCH."""
    events = read_history(night.lake, str(night.date), user, night.reads[HISTORIES.full_name])
    columns = {"items": [event["item_id"] for event in events], "weights": [event["weight"] for event in events]}
    return columns | {"user_id": user, "attributes": [], "seconds": [int(event["at"].timestamp()) for event in events]}


@pytest.fixture(scope="module")
def client(shop: Project) -> Client:
    """One for all: a process may have a version of an LMDB store open once, and threads let go of it late."""
    return shop.client()


def reasons(client: Client, user: str, item: str) -> Explanation:
    return build_explanation(client.app.state.settings, client.app.state.lists.reader, user, item)


def steps(rules: Attribution) -> list[tuple[str, int | None, int | None]]:
    assert rules.known, rules.note
    return [(move.rule, move.before, move.after) for move in rules.moves]


def test_each_rule_that_moved_or_brought_an_item_is_named_with_its_rank_before_and_after(client: Client) -> None:
    # By score u2 has 3 4 5 6 7 and then 8 9 10 11; rule by rule 3 4 6 7 8, 7 3 4 6 8, 7 3 6 8 9, 9 7 3 6 8, 9 7 3 12 6.
    lists = {item: reasons(client, "u2", item).rules for item in ("9", "7", "3", "12", "6")}
    assert {item: rules.by_score for item, rules in lists.items()} == {"9": 7, "7": 5, "3": 1, "12": None, "6": 4}
    assert {item: steps(rules) for item, rules in lists.items()} == {
        "9": [("one_of_two", None, 5), ("hero", 5, 1)],
        "7": [("no_five", 5, 4), ("fresh", 4, 1), ("hero", 1, 2)],
        "3": [("fresh", 1, 2), ("hero", 2, 3)],
        "12": [("newcomer", None, 4)],
        "6": [("no_five", 4, 3), ("fresh", 3, 4), ("one_of_two", 4, 3), ("hero", 3, 4), ("newcomer", 4, 5)],
    }
    assert "by score alone it is not among the user's 20 best" in lists["12"].note
    assert reasons(client, "u2", "12").uncaused == UNKNOWN_ITEM


def test_a_pin_lifts_an_item_to_the_first_place(client: Client) -> None:
    assert reasons(client, "u6", "9").rules == Attribution(
        True, "", 3, [Move("hero", "pin", 3, 1, "item 9 at place 1")]
    )


def test_an_item_that_no_rule_moved_stands_by_its_score(client: Client) -> None:
    assert reasons(client, "calm", "1").rules == Attribution(True, "no rule moved it", 1, [])


def test_a_list_of_an_earlier_night_is_replayed_by_what_that_night_read(client: Client) -> None:
    # Since then u2 has seen 7, which is in the list.
    why, later = reasons(client, "u2", "7"), reasons(client, "u3", "9")
    assert why.scored is not None
    assert later.scored is not None
    assert (why.meta["night"], why.scored.night, later.scored.night) == (str(NEXT), D, NEXT)
    assert why.rules.known
    assert later.rules.known
    assert later.tables["gold.histories"] == why.tables["gold.histories"] + 1


def test_a_list_that_is_not_the_one_the_rules_give_is_not_accounted_for(client: Client) -> None:
    rules = reasons(client, "u4", "7").rules
    assert rules == Attribution(
        False, "rebuilt, the list has it at rank 2, and it was served at 1: what the rules did is not known"
    )


def test_of_the_popular_list_it_is_said_which_filters_apply(client: Client) -> None:
    rules = reasons(client, "nobody", "1").rules
    assert rules == Attribution(
        True, "only rules that hide items apply to the popular list: no_five; which items these hid is not recorded"
    )


def test_text_json_api_and_console_tell_the_same(
    shop: Project, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLOOM_CONFIG", str(copied(shop, tmp_path).root / "nightloom.toml"))
    asked = ["u2", "--item", "9"]
    text = CliRunner().invoke(commands.explain, asked, catch_exceptions=False).output
    assert (
        """
Rules that moved it (rank before -> after)
  by score alone: 7
  one_of_two (cap): not listed -> 5 (at most 1 of the items with item_id IN ('3', '4') in the list)
  hero (pin): 5 -> 1 (item 9 at place 1)

"""
        in text
    )
    assert f"  scored  night of {D}, run " in text
    printed = json.loads(CliRunner().invoke(commands.explain, [*asked, "--json"], catch_exceptions=False).stdout)
    assert printed["rules"] == {
        "known": True, "note": "", "by_score": 7, "moves": [
            {"rule": "one_of_two", "kind": "cap", "before": None, "after": 5,
             "explanation": "at most 1 of the items with item_id IN ('3', '4') in the list"},
            {"rule": "hero", "kind": "pin", "before": 5, "after": 1, "explanation": "item 9 at place 1"},
        ],
    }  # fmt: skip
    answer = client.explain("u2", "9")
    assert (answer.code, answer.response("r1").media_type, json.loads(answer.body)) == (
        200,
        "application/json",
        printed,
    )
    page = client.explain("u2", "9", page=True).body
    assert b"By score alone" in page
    assert b"one_of_two" in page


def test_where_nothing_can_be_told_the_text_says_why(client: Client) -> None:
    assert "  rebuilt, the list has it at rank 2" in commands.format_explanation(reasons(client, "u4", "7"))
    assert b"which items these hid is not recorded." in client.explain("nobody", "1", page=True).body


def copied(shop: Project, to: Path) -> Project:
    return Project(shutil.copytree(shop.root, to / "copy"))


def rules_of(project: Project, user: str, item: str = "9") -> Attribution:
    return build_explanation(project.settings, Reader(project.store), user, item).rules


def test_rules_that_have_changed_since_are_not_replayed_and_other_settings_do_not_matter(
    shop: Project, tmp_path: Path
) -> None:
    changed = copied(shop, tmp_path)
    changed.configure("keep = 3", "keep = 4")
    assert rules_of(changed, "u2").known
    changed.configure("place = 4", "place = 3")
    rules = rules_of(changed, "u2")
    assert not rules.known
    assert rules.moves == []
    assert rules.note == (
        f"nightloom.toml or the code has changed since {D} (settings {shop.settings.digest}, now "
        f"{changed.settings.digest}), so what its rules did cannot be replayed"
    )
    assert "nightloom.toml has changed since 1998-04-22" in rules_of(changed, "nobody", "1").note


def test_without_the_lake_an_explanation_is_refused_and_lists_are_served(shop: Project, tmp_path: Path) -> None:
    away = copied(shop, tmp_path)
    shutil.rmtree(folder_of(away.settings.place("lake")))
    other = away.client()
    why = other.explain("u2", "9")
    error = json.loads(why.body)["error"]
    assert (why.code, error["code"]) == (503, "not_here")
    assert "ops.stages is not in" in error["message"]
    assert other.get("/v1/users/u2/recommendations").status_code == 200
