"""A server on a free local port for tests, with a dialogue whose replies the last message decides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from toy_task import Vending

from lib.core.task import Answer, TaskError
from lib.core.turn import Ask, Reply, ToolCall, Turn
from lib.serve.app import make_app
from lib.serve.service import Larger, Service

TOOL = {"type": "function", "function": {"name": "machine__Give", "description": "", "parameters": {"type": "object"}}}


class Echo:
    """A System whose answer names the text; 7 tokens read, 3 written."""

    name = "toy"

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return Answer([{"name": "Give", "arguments": {"item": text}}], prompt_tokens=7, new_tokens=3)


@dataclass
class ToyDialogue:
    """ "give A B" becomes a call for each word, a tool's result is repeated, all else told with the first message."""

    ask: Ask
    go: threading.Event = field(default_factory=threading.Event)
    seen: list[str] = field(default_factory=list)

    def reply(self, turn: Turn) -> Reply:
        last = turn.messages[-1]
        word, *rest = last.text.split() or [""]
        self.seen.append(last.text)
        if last.role == "tool":
            return Reply(f"Done: {last.text}")
        if word == "give":
            names = [self.ask(item, {}).calls[0]["arguments"]["item"] for item in rest]
            return Reply(calls=tuple(ToolCall("same", turn.tools[0].name, {"item": n, "n": 2}) for n in names))
        if word == "wait":
            self.go.wait(10)
        if word == "fail":
            raise KeyError(last.text)
        if word == "refuse":
            raise TaskError("the request is refused")
        return Reply(f"{turn.messages[0].text}: {last.text}", hand_over=word == "larger")


class Served(Vending):
    """The vending machine with a dialogue, the latest of which is ``made``."""

    made: ToyDialogue

    def dialogue(self, ask: Ask) -> ToyDialogue:
        self.made = ToyDialogue(ask)
        return self.made

    def baselines(self, train: Any) -> list[Echo]:
        return [Echo()]


@dataclass
class Running:
    url: str
    port: int
    service: Service
    task: Any


@contextmanager
def running(
    task: Any = None, token: str = "", larger: str = "", beside: Callable[[Service], Any] = lambda service: None
) -> Iterator[Running]:
    task = task or Served()
    service = Service(Echo(), task, 5, 1e9, Larger(larger) if larger else None)
    app = make_app(service, token, beside(service))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", access_log=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", port, service, task)
    finally:
        server.should_exit = True
        thread.join(10)


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    """A request: a system message "home" and what the user says."""
    said = [{"role": "user", "content": text} for text in texts]
    return {"model": "toy", "messages": [{"role": "system", "content": "home"}, *said], "tools": [TOOL], **more}
