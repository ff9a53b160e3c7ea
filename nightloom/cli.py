"""`nightloom WORD ...`: one word, one module, imported only when asked for, so that quick words stay quick."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from nightloom.errors import ExitCode, NightloomError, machine_fault, printable
from nightloom.settings import CONFIG_VARIABLE

WORDS = {
    "demo": ("nightloom.local.demo:demo", "Sample data, one night by Airflow's scheduler, a real user's list."),
    "init": ("spark_jobs.draft.commands:init", "Draft nightloom.toml from your files, with a preview of a night."),
    "check": ("spark_jobs.draft.commands:check", "What a night makes of the files that are there, in seconds."),
    "night": ("nightloom.local.night:night", "Run one night through Airflow, without a running scheduler."),
    "backfill": ("nightloom.local.backfill:backfill", "Rebuild past nights; how they differ from what was published."),
    "airflow": ("nightloom.local.night:airflow", "Airflow's own UI and scheduler, with the DAGs loaded."),
    "status": ("serving.night_status:status", "The last nights: stages, seconds, rows, gates, versions."),
    "model": ("training.commands:model", "Who is champion: promote, demote, history."),
    "quality": ("expectations.trends:quality", "What the gates expected of the data, night by night."),
    "recommend": ("serving.commands:recommend", "A user's published list."),
    "explain": ("serving.commands:explain", "Where one recommendation comes from, down to the events."),
    "slate": ("serving.slate_commands:slate", "What the slate rules do to a user's list, before a night does it."),
    "publish": ("serving.publish_commands:publish", "Versions of the served lists: list, roll back, pin."),
    "store": ("serving.publish_commands:store", "What the lists take in each kind of store."),
    "block": ("serving.overlay_commands:block", "Items that leave every answer within two seconds, until unblocked."),
    "unblock": ("serving.overlay_commands:unblock", "Let blocked items back into the lists."),
    "stock": ("serving.overlay_commands:stock", "Items that are out of stock: no answer has them."),
    "serve": ("serving.serve_command:serve", "The API and the console."),
    "keys": ("serving.access.key_commands:keys", "Who may ask the API what: create, list, revoke, rotate."),
    "function": ("serving.function_export:function_command", "Export the model and rules for a serverless function."),
    "quarantine": (
        "nightloom.quarantine.commands:quarantine",
        "Records that could not be used: mend, replay, discard.",
    ),
    "sql": ("nightloom.sql.commands:sql", "DuckDB over the Delta tables, at any version."),
    "tables": ("nightloom.sql.commands:tables", "The data dictionary."),
    "backup": ("serving.backup_commands:backup", "Copy what cannot be made again to a folder or object storage."),
    "restore": ("serving.backup_commands:restore", "Put a backup back where nothing is, or ask first."),
    "cost": ("nightloom.cost:cost", "Seconds, machines and money of a night, from measured rates."),
    "sample": ("nightloom.samples.command:sample", "Sample data: MovieLens 100K, or synthetic of any size."),
}
"""Word -> (module:click command, one line of help)."""


class Words(click.Group):
    """A click group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(WORDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in WORDS:
            return None
        module, attribute = WORDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(word, help_line) for word, (_, help_line) in WORDS.items()])


@click.command(cls=Words, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), help="nightloom.toml; default: the working folder's.")
def nightloom(config: Path | None) -> None:
    """Nightloom: from a day's events to tomorrow's recommendations, every night."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.absolute())


def main() -> None:
    """Entry point: an error is one line on stderr and its exit code (nightloom.errors.ExitCode)."""
    try:
        sys.exit(nightloom(prog_name="nightloom", standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as help_page:
        help_page.show()
        sys.exit(ExitCode.WRONG)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "nightloom"
        _fail(f"{printable(error.format_message())} `{command} --help` shows what it takes", ExitCode.WRONG)
    except click.Abort:
        sys.exit(ExitCode.INTERRUPTED)
    except NightloomError as error:
        _fail(_with_printable_arguments(str(error)), error.exit_code)
    except Exception as error:
        if (fault := machine_fault(error)) is None:
            raise
        _fail(fault, ExitCode.FAILED)


def _fail(message: str, code: int) -> NoReturn:
    print(f"nightloom: {message}", file=sys.stderr)
    sys.exit(code)


def _with_printable_arguments(message: str) -> str:
    """A message in which no argument of the command line breaks the line."""
    for argument in sys.argv[1:]:
        for text in (argument, argument.partition("=")[2]):
            message = message.replace(text, printable(text)) if text else message
    return message
