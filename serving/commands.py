"""`nightloom recommend` and `explain`: the published lists for a person at a terminal."""

from __future__ import annotations

import json

import click
from rich.table import Table

from nightloom import settings as settings_module
from nightloom.lake import as_json
from nightloom.terminal import screen
from serving import answers
from serving.explain import Explanation
from serving.rule_attribution import Attribution
from serving.selection import Selection
from serving.stores import open_store, overlay
from serving.stores.pushes import version_name
from serving.stores.reader import Reader


@click.command()
@click.argument("user")
@click.option("--k", help="How many; default slate.k.")
@click.option("--json", "json_out", is_flag=True, help="The API's answer, unchanged.")
def recommend(user: str, k: str | None, json_out: bool) -> None:
    """A user's published list; the popular list for an unknown user."""
    store = open_store(settings_module.load(), reading=True)
    snapshot = Reader(store).current(user)
    selection = Selection(answers.parse_k(snapshot, k), hidden=overlay.read(store).hidden)
    answer = answers.recommendations(snapshot, user, selection).body.decode()
    if json_out:
        click.echo(answer)
        return
    found = json.loads(answer)
    if found["source"] == "popular":
        click.echo(f"User {user} has no list of their own: this is the popular list.")
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("title")
    table.add_column("item")
    table.add_column("score", justify="right")
    for rank, item in enumerate(found["items"], 1):
        table.add_row(str(rank), item["title"], item["item_id"], f"{item['score']:.4f}")
    screen().print(table)
    click.echo(
        f"{found['slate_version']}, night of {snapshot.meta['night']}, model version {found['model_version']}, "
        f"scored {found['generated_at']}"
    )


@click.command()
@click.argument("user")
@click.option("--item", required=True, help="An item of the user's list, by id.")
@click.option("--json", "json_out", is_flag=True, help="Everything, as JSON.")
def explain(user: str, item: str, json_out: bool) -> None:
    """Where one recommendation comes from, down to the events."""
    from serving import explain as explaining

    settings = settings_module.load()
    reader = Reader(open_store(settings, reading=True))
    why = explaining.build_explanation(settings, reader, user, item)
    click.echo(as_json(why.as_dict()) if json_out else format_explanation(why))


def format_explanation(why: Explanation) -> str:
    """An explanation as text."""
    source = "" if why.source == "personal" else ", from the popular list"
    causes = [
        f"  {100 * cause.share:4.0f} %  {cause.title} ({_format_event(cause.event, cause.value)}, {cause.at:%Y-%m-%d})"
        for cause in why.causes
    ]
    return "\n".join(
        [
            f"{why.title} (item {why.item_id})",
            f"  rank {why.rank} of {why.length} for user {why.user}, score {why.score:.4f}{source}",
            "",
            "What weighs most (share of all positive contributions)",
            *(causes or [f"  {why.uncaused}"]),
            "",
            *([*_format_attributes(why), ""] if why.attributes else []),
            "Rules that moved it (rank before -> after)",
            *_format_rules(why.rules),
            "",
            "Where it comes from",
            f"  push    {version_name(why.push.version)} {why.push.state}, night of {why.meta['night']}, "
            f"published {why.meta['published_at'][:19]} UTC, run {why.meta['run_id']}",
            *([f"  scored  night of {why.scored.night}, run {why.scored.run_id}"] if why.scored else []),
            "  gates   " + ", ".join(f"{name} {gate.state} ({gate.night})" for name, gate in why.gates.items()),
            f"  model   {why.model}",
            f"  code    {why.meta['code']}",
            f"  config  {why.meta['config']}",
            "  tables  " + ", ".join(f"{name} v{version}" for name, version in why.tables.items()),
            "",
            "Stages that made it (table@version read -> written)",
            *(f"  {run.stage}: {_format_versions(run.reads)} -> {_format_versions(run.writes)}" for run in why.stages),
        ]
    )


def _format_attributes(why: Explanation) -> list[str]:
    return [
        "Attributes of the user (rank by score without -> with the attribute)",
        *(f"  {effect.attribute}: {effect.before} -> {effect.after}" for effect in why.attributes),
    ]


def _format_rules(rules: Attribution) -> list[str]:
    ranks = [f"  by score alone: {rules.by_score}"] if rules.by_score else []
    moves = [
        f"  {move.rule} ({move.kind}): {_format_rank(move.before)} -> {_format_rank(move.after)} ({move.explanation})"
        for move in rules.moves
    ]
    return [*ranks, *moves, *([f"  {rules.note}"] if rules.note else [])]


def _format_rank(rank: int | None) -> str:
    return "not listed" if rank is None else str(rank)


def _format_event(event: str, value: float | None) -> str:
    return event if value is None else f"{event} {value:g}"


def _format_versions(named: dict[str, int]) -> str:
    return " ".join(f"{name}@{version}" for name, version in named.items()) or "nothing"
