"""Figures of the server in Prometheus's text format: https://prometheus.io/docs/instrumenting/exposition_formats."""

from collections import Counter
from collections.abc import Iterator

import psutil
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))  # seconds


class Figures:
    """Counts; they name routes and kinds, never what was said."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.replies: Counter[str] = Counter()
        self.slower: Counter[float] = Counter()  # chat requests by the bound that they stay under
        self.seconds = 0.0

    def replied(self, kind: str, seconds: float) -> None:
        """``seconds``: from the end of a chat request to its answer."""
        self.replies[kind] += 1
        self.seconds += seconds
        self.slower.update(bound for bound in BOUNDS if seconds <= bound)

    def lines(self, waiting: int) -> Iterator[str]:
        yield "# TYPE serve_requests_total counter"
        for (path, status), n in sorted(self.requests.items()):
            yield f'serve_requests_total{{path="{path}",status="{status}"}} {n}'
        yield "# TYPE serve_replies_total counter"
        yield from (f'serve_replies_total{{kind="{kind}"}} {n}' for kind, n in sorted(self.replies.items()))
        yield "# TYPE serve_reply_seconds histogram"
        for bound in BOUNDS:
            yield f'serve_reply_seconds_bucket{{le="{str(bound).replace("inf", "+Inf")}"}} {self.slower[bound]}'
        yield f"serve_reply_seconds_sum {self.seconds:.6f}"
        yield f"serve_reply_seconds_count {self.replies.total()}"
        yield "# TYPE serve_waiting gauge"
        yield f"serve_waiting {waiting}"
        yield "# TYPE process_resident_memory_bytes gauge"
        yield f"process_resident_memory_bytes {psutil.Process().memory_info().rss}"
        yield ""


class Counted:
    """An ASGI application whose responses are counted by route and status."""

    def __init__(self, app: ASGIApp, figures: Figures) -> None:
        self._app, self._figures = app, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")
                self._figures.requests[path, message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted)
