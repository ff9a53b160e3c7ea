"""The console's actions: who did what and why, and one action with what its command wrote so far."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from nightloom.errors import UnknownUserError
from nightloom.settings import Settings
from serving.console import action_log, processes
from serving.console.layout import lake_of, show

ACTIONS_SHOWN = 100
FOLLOW_SECONDS = 3


def actions_page(request: Request) -> Response:
    """The last actions, the newest first."""
    return show(request, "actions.html", "Actions", actions=action_log.last_actions(lake_of(request), ACTIONS_SHOWN))


def action_page(request: Request) -> Response:
    """One action. While its command is at work the page is loaded again every few seconds, unless ?follow=no."""
    settings: Settings = request.app.state.settings
    action_id = request.path_params["name"]
    # Asked in this order: a process records its end, and ends then.
    at_work = processes.runs(settings, action_id)
    if (action := action_log.find_action(lake_of(request), action_id)) is None:
        raise UnknownUserError(f"no action {action_id[:40]!r}")
    at_work = at_work and action.status == action_log.STARTED
    follow = at_work and request.query_params.get("follow") != "no"
    page = show(
        request, "action.html", "Actions", action=action, at_work=at_work, follow=follow,
        output=processes.output(settings, action_id), seconds=FOLLOW_SECONDS,
    )  # fmt: skip
    if follow:
        page.headers["Refresh"] = str(FOLLOW_SECONDS)
    return page
