"""`nightloom demo`: sample data, one night by Airflow's scheduler, a real user's history and list, the next steps."""

import time
from datetime import date, datetime, timedelta

import click

from nightloom import settings as settings_module
from nightloom.contracts import INTERACTIONS, ITEMS, RECOMMENDATIONS
from nightloom.lake import Lake
from nightloom.lake.recommendations import nightly_lists
from nightloom.literals import sql_text
from nightloom.local.airflow_server import airflow_server, free_port
from nightloom.local.memory import Peak, peak_memory
from nightloom.local.night import check_run, print_ends
from nightloom.night import records, stages
from nightloom.settings import Settings
from nightloom.signals import terminable

DAG = "nightly"
LAST_DAY = date(1998, 4, 22)  # of MovieLens 100K
NIGHT = "1998-04-21"  # the day before it, so that one more night is left to try
USER = "196"
LISTED = 10
ANY = 0  # not 8080: somebody else may be about to take it


@click.command()
@click.option("--date", "night_date", type=click.DateTime(["%Y-%m-%d"]), default=NIGHT, show_default=True)
@click.option("--user", default=USER, show_default=True, help="Whose list to show.")
def demo(night_date: datetime, user: str) -> None:
    """MovieLens 100K, one night by Airflow's scheduler, a real user's list. Run it again, and it shows the same."""
    settings, day = settings_module.load(), night_date.date()
    later = served_after(settings, day)
    if later:
        click.echo(f"The night of {later} is served already, which is later than {day}: no night is run.")
    else:
        with peak_memory(settings) as peak:
            _run_command("sample", "ml-100k", "--until", str(day))
            _run_night(settings, day, peak)
    click.echo("")
    print_user(settings, user)
    click.echo(next_steps(settings, user, later or day))


def served_after(settings: Settings, day: date) -> date | None:
    """The newest night after `day` that was published. A publish refuses a night that is older."""
    published = records.nights(Lake(settings.place("lake")), stages.PUBLISH, statuses=records.OK)
    return published[-1] if published and published[-1] > day else None


def _run_command(*arguments: str) -> None:
    """Run another command of `nightloom` in this process."""
    root = click.get_current_context().find_root().command
    root.main(arguments, prog_name="nightloom", standalone_mode=False)


def _run_night(settings: Settings, day: date, peak: Peak) -> None:
    """Run the DAG once by a scheduler of our own. Print the seconds from the trigger to the published lists."""
    began = time.monotonic()
    with terminable(), airflow_server(settings, free_port(ANY)) as server:
        click.echo(f"Airflow is ready: {time.monotonic() - began:.1f} s; {server.api.url} while the night runs")
        run = server.api.trigger(DAG, {"date": str(day)})
        click.echo(f"The night of {day}, run {run}:")
        ends = print_ends(server.api, DAG, run, server.check)
        check_run(settings, server.api, DAG, run, lambda task: server.task_log(DAG, run, task))
        published = next(moment for end, moment in ends if end.task == stages.PUBLISH.name)
        click.echo(f"From trigger to published: {published:.0f} s. Peak memory of all processes: {peak.gib:.1f} GiB")


def print_user(settings: Settings, user: str) -> None:
    """Print what a user liked last, and the published list, with titles."""
    lake = Lake(settings.place("lake"))
    liked = lake.query(
        "SELECT i.title, e.value, CAST(e.occurred_at AS DATE) AS day FROM events e JOIN items i USING (item_id)"
        f" WHERE e.user_id = {sql_text(user)} AND e.weight > 0 ORDER BY e.occurred_at DESC, i.title LIMIT {LISTED}",
        ("events", lake.open(INTERACTIONS)),
        ("items", lake.open(ITEMS)),
    ).to_pylist()
    click.echo(f"What user {user} liked last:")
    for row in liked:
        click.echo(f"  {row['day']}  {row['value']:g}  {row['title']}")
    click.echo("")
    _run_command("recommend", user, "--k", str(LISTED))


def next_steps(settings: Settings, user: str, day: date) -> str:
    """The commands to try now."""
    tomorrow = day + timedelta(days=1)
    lake = Lake(settings.place("lake"))
    lists = f"SELECT items FROM ({nightly_lists(lake, day)}) WHERE user_id = {sql_text(user)}"
    found = lake.query(lists, ("t", lake.open(RECOMMENDATIONS)))["items"].to_pylist()
    first = found[0][0] if found else "ITEM"
    commands = {
        "./run status": "where the night's seconds went, rows, gates, versions",
        f"./run explain {user} --item {first}": "where the first recommendation comes from, down to the events",
        "./run serve": "API and first page on http://127.0.0.1:8000",
        "./run airflow": "Airflow's own page on http://127.0.0.1:8080",
        "./run sql 'SELECT * FROM gold.item_stats LIMIT 10'": "any table, in SQL",
    }
    lines = ["", "What next:", *(f"  {command:<52}{what}" for command, what in commands.items())]
    if tomorrow <= LAST_DAY:
        lines += ["The next night:", f"  ./run sample ml-100k --until {tomorrow}", f"  ./run night --date {tomorrow}"]
    return "\n".join(lines)
