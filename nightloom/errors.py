"""Every error a person may meet, with one parent. A message says what was found, what was expected, what to do."""

EXIT_CLOSED = 3  # a gate closed: nothing broke, the night must not go on
EXIT_SKIP = 99  # nothing to do: Airflow marks the task skipped


class NightloomError(Exception):
    """Parent of all: shown as one line, without a traceback."""

    exit_code = 1


class SettingsError(NightloomError):
    """`nightloom.toml` or an environment variable says something that cannot be used."""

    exit_code = 2


class MissingTableError(NightloomError):
    """A table, or the version of it that was asked for, is not in the lake."""


class DataError(NightloomError):
    """Data that a stage was given breaks its table's contract as a whole (single rows go to quarantine instead)."""


class ConcurrentRunError(NightloomError):
    """Another run changed the same table at the same moment, so this one's work was not written; it can start again."""


class StoreError(NightloomError):
    """The serving store cannot do what was asked: no version is current, a push broke, two pushes at once."""


class UnknownUserError(NightloomError):
    """A person asked for a user or item that nobody knows; readers of the API get a fallback list instead."""


class GateClosedError(NightloomError):
    """A gate closed: the night stops here and yesterday's lists stay."""

    exit_code = EXIT_CLOSED
