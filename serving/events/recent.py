"""Who acted lately, by this machine's journal: also what other workers of this machine received.

A worker remembers which users have events in the journal, about 150 bytes a user, so that a request of any other user
costs one look into a dictionary. The events themselves stay in the journal until they are asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from nightloom.event_journal import Journal, JournalError
from serving.events.interactions import Interaction, InteractionReader

LOOK_SECONDS = 0.05
"""So often a worker looks for events that other workers received."""
EVENTS_PER_LOOK = 5_000
"""Bounds the time of a look: after a restart on a large journal, it takes several."""
MAX_CACHED = 10_000
"""Users whose events are kept parsed."""
Interactions = tuple[Interaction, ...]
log = logging.getLogger(__name__)


class RecentEvents:
    """One for each worker, for the thread of its event loop. `readers` are by source."""

    def __init__(self, file: Path, readers: Mapping[str, InteractionReader]) -> None:
        self._file = file
        self._readers = {name: reader for name, reader in readers.items() if reader.can_read}
        self._journal: Journal | None = None
        self._users, self._last, self._dropped = dict[str, int](), 0, 0
        self._parsed = dict[str, tuple[int, Interactions]]()
        self._trouble = ""

    def look(self) -> None:
        """Note the users of new events. Trouble with the journal is logged, and ends with the next good look."""
        if not self._readers or (self._journal is None and not self._file.exists()):
            return
        try:
            self._journal = self._journal or Journal(self._file, reading=True)
            first, last = self._journal.numbers()
            if last > self._last:
                for number, user in self._journal.users_since(self._last, EVENTS_PER_LOOK):
                    self._last = number
                    if user is not None:
                        self._users[user] = number
            self._drop_before(first)
            self._trouble = ""
        except (OSError, JournalError) as error:
            self._note(error)

    def of(self, user: str) -> Interactions:
        """A user's events of the journal, in the order of their times; for most users none."""
        number = self._users.get(user)
        if number is None or self._journal is None:
            return ()
        if (known := self._parsed.get(user)) is not None and known[0] == number:
            return known[1]
        try:
            received = self._journal.of_user(user)
        except JournalError as error:
            self._note(error)
            return ()
        read = (self._readers[each.source].read(each.record) for each in received if each.source in self._readers)
        found = tuple(sorted(each for each in read if each is not None))
        if len(self._parsed) >= MAX_CACHED:
            self._parsed.clear()
        self._parsed[user] = number, found
        return found

    def items(self, user: str) -> frozenset[str]:
        """The items that a user acted on."""
        return frozenset(each.item for each in self.of(user))

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _drop_before(self, first: int) -> None:
        """Forget users whose events the journal has forgotten; seldom, as it goes through all users."""
        if first - self._dropped > max(len(self._users), EVENTS_PER_LOOK):
            self._users = {user: number for user, number in self._users.items() if number >= first}
            self._dropped = first

    def _note(self, error: OSError | JournalError) -> None:
        self.close()
        if str(error) != self._trouble:
            self._trouble = str(error)
            log.warning("today's events move no list: %s", error)
