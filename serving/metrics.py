"""GET /metrics: how many requests for lists this process has answered, and how fast, in Prometheus' text format.

Each process counts by itself, so every process is scraped: one worker a pod, as docker/kubernetes has it. Operators'
pages and probes do not count.
"""

from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from time import perf_counter

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH = "/metrics"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper ends of the histogram's buckets."""


class Metrics:
    """Wraps an app: counts its requests, and answers /metrics without asking it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._requests = Counter[int]()
        self._buckets = [0] * (len(SECONDS) + 1)
        self._seconds = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == PATH:
            await Response(self.text(), media_type="text/plain; version=0.0.4")(scope, receive, send)
        elif path.startswith("/v1/") and not path.endswith("/explain"):
            await self._count(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            seconds = perf_counter() - started
            self._requests[status] += 1
            self._buckets[bisect_left(SECONDS, seconds)] += 1
            self._seconds += seconds

    def text(self) -> str:
        """The counters, one a line."""
        counts = [*accumulate(self._buckets)]
        ends = [*(f"{end:g}" for end in SECONDS), "+Inf"]
        lines = [
            "# HELP nightloom_requests_total Requests for lists, by the answer's status.",
            "# TYPE nightloom_requests_total counter",
            *(f'nightloom_requests_total{{status="{code}"}} {count}' for code, count in sorted(self._requests.items())),
            "# HELP nightloom_request_seconds How long answers took.",
            "# TYPE nightloom_request_seconds histogram",
            *(f'nightloom_request_seconds_bucket{{le="{end}"}} {n}' for end, n in zip(ends, counts, strict=True)),
            f"nightloom_request_seconds_sum {self._seconds:.6f}",
            f"nightloom_request_seconds_count {counts[-1]}",
        ]
        return "\n".join(lines) + "\n"
