"""The routes of lists: a user's, those of several users, similar items, popular items."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from serving import answers
from serving.answers import ListAnswer
from serving.events.recent import Interactions
from serving.selection import Selection
from serving.stores.fallback import FallbackReader
from serving.stores.reader import Snapshot
from serving.web.caching import EVERYBODYS, ONE_USERS, conditional_response, etag_of, uncached_response
from serving.web.parameters import BatchRequest, list_request, parse_body

if TYPE_CHECKING:
    from serving.live.lists import LiveLists

RECOMMENDATIONS = "/v1/users/{user:path}/recommendations"
ListMaker = Callable[[Snapshot, Selection, bool], ListAnswer]
"""Makes a list of a snapshot, given whether the snapshot is stale."""


async def get_recommendations(request: Request) -> Response:
    """A user's list, best first.

    Where exclusions and filters leave too few items of the user's own list, the popular lists of the segments and of
    everybody fill it. A user whom nobody knows gets those: never an empty list, never an error. Items that the user
    acted on since the night are left out. With `serving.live` the list is scored again with these events: its source
    is `live`.
    """
    user, state = request.path_params["user"], request.app.state
    events: Interactions = state.intake.recent.of(user)
    acted_on = frozenset(each.item for each in events)
    live: LiveLists | None = state.live if events else None

    def make(snapshot: Snapshot, selection: Selection, stale: bool) -> ListAnswer:
        row = None if live is None or stale else live.row(snapshot, user, events)
        return answers.recommendations(snapshot, user, selection.without(acted_on), stale, row)

    return await _list(request, make, user, apart=live is not None)


async def get_similar(request: Request) -> Response:
    """Items similar to an item, best first.

    The popular lists fill it, and are all of it for an item that nobody knows.
    """
    item = request.path_params["item"]
    return await _list(request, lambda snapshot, *given: answers.similar(snapshot, item, *given))


async def get_popular(request: Request) -> Response:
    """The popular list: that of a segment if one is named and has a list, otherwise everybody's."""
    return await _list(request, answers.popular)


async def _list(request: Request, make: ListMaker, user: str | None = None, apart: bool = False) -> Response:
    state = request.app.state
    lists: FallbackReader = state.lists
    given = list_request(request, await request.body() if request.method == "POST" else b"")
    page, segments = given.parsed_page(), state.settings.slate.segments

    def question(snapshot: Snapshot, stale: bool) -> ListAnswer:
        return make(snapshot, given.select(snapshot, segments, lists.overlay.hidden, page), stale)

    if page is None:
        answer = await (lists.ask_apart if apart else lists.ask)(question, user)
    else:
        answer = await lists.ask_version(page.key, question, user, apart)
    state.counters.count_list(answer.source, answer.stale)
    if request.method == "POST":
        return uncached_response(answer.body)
    return conditional_response(
        request, answer.body, etag_of(answer.version, answer.content), EVERYBODYS if user is None else ONE_USERS
    )


async def get_batch(request: Request) -> Response:
    """The lists of up to 1,000 users.

    All are of one version; during a canary those of its users are of the canary's. They are the night's lists, without
    the items that the users acted on since.
    """
    given, state = parse_body(BatchRequest, await request.body()), request.app.state
    lists: FallbackReader = state.lists
    acted_on = {user: items for user in given.users if (items := state.intake.recent.items(user))}
    segments, found = state.settings.slate.segments, dict[str, bytes]()
    for users in lists.split_by_version(given.users):

        def question(snapshot: Snapshot, stale: bool, users: list[str] = users) -> list[ListAnswer]:
            selection = given.select(snapshot, segments, lists.overlay.hidden)
            return answers.many_recommendations(snapshot, users, selection, acted_on, stale)

        made = await lists.ask_apart(question, users[0])
        found |= zip(users, [each.body for each in made], strict=True)
        for each in made:
            state.counters.count_list(each.source, each.stale)
    return uncached_response(b'{"lists":[' + b",".join([found[user] for user in given.users]) + b"]}")
