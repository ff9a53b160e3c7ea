"""Arguments of stages: a wrong one is an error of one line, with the exit code of a wrong argument."""

import argparse
import sys
from datetime import date
from typing import NoReturn

from nightloom.errors import ExitCode, printable


class Arguments(argparse.ArgumentParser):
    """argparse's parser; its own error prints the usage, too."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {printable(message)}; `{self.prog} --help` shows what it takes", file=sys.stderr)
        sys.exit(ExitCode.WRONG)


def iso_date(text: str) -> date:
    """An argument that is a date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no date; write YYYY-MM-DD") from None
