"""`nightloom serve`: the API and the console. With one worker it is the worker, so it loads what that one needs."""

from __future__ import annotations

import os

import click

from nightloom import settings as settings_module
from nightloom.settings import CHECKED_VARIABLE
from serving import listeners
from serving.listeners import ServeError

STARTUP_FAILURE = 3
"""Exit code of a worker of uvicorn that did not start."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 s after which load balancers close an idle connection: the side that sends should close it."""
STOP_SECONDS = 20
"""The longest time that a server which stops waits for its open requests."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="Port.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
def serve(host: str, port: int, workers: int) -> None:
    """The API and the console. [serving] of nightloom.toml may bind a part of them to another address."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from serving.metrics.counters import shared_counters
    from serving.web.logs import LOGGING

    settings = settings_module.load(reach=False)  # a wrong nightloom.toml is reported here, not by each worker
    sockets = listeners.open_sockets(settings, host, port)
    for line in listeners.describe_addresses(settings, sockets):
        click.echo(line)
    config = uvicorn.Config(
        "serving.api:from_config", factory=True, workers=workers, ws="none",
        http="serving.http_protocol:JsonHttpProtocol", log_config=LOGGING, access_log=False, server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=STOP_SECONDS,
    )  # fmt: skip
    try:
        with shared_counters():
            if workers == 1:
                server = uvicorn.Server(config)
                server.run(sockets)
                started = server.started
            else:
                os.environ[CHECKED_VARIABLE] = settings.digest  # the check loads each model and sqlglot
                supervisor = Multiprocess(config, sockets)
                supervisor.run()
                started = all(each.exitcode != STARTUP_FAILURE for each in supervisor.processes)
    except KeyboardInterrupt:
        return
    except SystemExit as end:  # uvicorn's own code for a server that did not start is 3, that of a closed gate here
        started = not end.code
    if not started:
        raise ServeError("the server did not start; what it says of it is above")
