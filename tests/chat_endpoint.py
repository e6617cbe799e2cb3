"""A chat endpoint on a local port for tests: a function decides what each request gets, every request is kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server sends. ``declared``: a Content-Length other than the body's, for a body that is cut off."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None


def chat(text: str | None, finish: str | None = "stop", **usage: Any) -> Answer:
    """A good answer: ``text`` with 7 tokens read and 3 written."""
    counts = {"prompt_tokens": 7, "completion_tokens": 3, **usage}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return Answer(body=json.dumps({"id": "x", "choices": [choice], "usage": counts}).encode())


def refusal(status: int, message: str, **headers: str) -> Answer:
    """An error as endpoints write them."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps({"error": {"message": message, "code": status}}).encode(), names)


class Endpoint:
    """The running server: ``url``, and of every request its JSON, headers and time; ``most``: requests at once."""

    def __init__(self, decide: Callable[[int, dict[str, Any]], Answer]) -> None:
        self.decide = decide
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.active = self.most = 0
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def take(self, request: dict[str, Any], headers: dict[str, str]) -> int:
        with self.lock:
            self.requests.append(request)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.active += 1
            self.most = max(self.most, self.active)
            return len(self.requests) - 1

    def leave(self) -> None:
        with self.lock:
            self.active -= 1


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = endpoint.take(body, {name.lower(): value for name, value in self.headers.items()})
            try:
                answer = endpoint.decide(number, body)
            finally:
                endpoint.leave()
            self.send(answer)

        def do_GET(self) -> None:
            self.send(Answer(body=json.dumps({"data": [{"id": "tiny-chat", "object": "model"}]}).encode()))

        def send(self, answer: Answer) -> None:
            try:
                self.send_response(answer.status)
                length = len(answer.body) if answer.declared is None else answer.declared
                headers = {"Content-Type": "application/json", "Content-Length": str(length), **answer.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:
                pass  # the client gave up waiting

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def serving(decide: Callable[[int, dict[str, Any]], Answer]) -> Iterator[Endpoint]:
    """An Endpoint that runs within the block."""
    endpoint = Endpoint(decide)
    endpoint.server.daemon_threads = True
    thread = threading.Thread(target=endpoint.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.server.shutdown()
        endpoint.server.server_close()
