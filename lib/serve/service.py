"""The model behind the protocols: one thread, a bounded queue before it, and perhaps a larger model elsewhere."""

import asyncio
import logging
import os
import re
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import httpx
from fastapi import Response

from lib.core.task import Answer, System, Task, TaskError
from lib.core.turn import Dialogue, Intents, Reply, Turn
from lib.runtime.requests import predict
from lib.serve.reading import Refused, read_message
from lib.serve.writing import JSON, Used, openai_request

WAITING = 64  # requests that may wait for the model, or be with it
SECONDS = 30.0  # that a request may wait
LARGER_SECONDS = 60.0
PLAIN = "I can only carry out requests about the things and tools that I am told of."
T = TypeVar("T")
LOG = logging.getLogger("lib.serve")


class Queue:
    """Does one piece of work at a time, in a thread, in the order of arrival. Who is cancelled frees its place."""

    def __init__(self, most: int = WAITING, seconds: float = SECONDS) -> None:
        self.waiting, self._most, self._seconds = 0, most, seconds
        self._turn, self._thread = asyncio.Lock(), ThreadPoolExecutor(1, "model")

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises; Refused (429) where the queue is full or the wait too long."""
        if self.waiting >= self._most:
            raise Refused(429, f"{self.waiting} requests are waiting: try again in a few seconds")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._seconds), self._turn:
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError as error:
            raise Refused(429, f"no answer within {self._seconds:g} s: try again later") from error
        finally:
            self.waiting -= 1


class Larger:
    """Another server for what the model hands over; ``where``: URL of its API, or MODEL@URL to name another model.

    The environment variable LARGER_API_KEY is its key. A client's own token is not passed on.
    """

    def __init__(self, where: str) -> None:
        """Raises TaskError for what is no URL."""
        found = re.fullmatch(r"(?:([^\s@]+)@)?(https?://[^\s@?#]+)", where)
        if not found:
            raise TaskError(f"--larger: {where!r} is no URL such as http://localhost:8000/v1, or MODEL@URL")
        self.model, self._url = found[1], found[2].rstrip("/") + "/chat/completions"
        key = os.environ.get("LARGER_API_KEY")
        self._headers = {"Content-Type": JSON, **({"Authorization": f"Bearer {key}"} if key else {})}

    async def _post(self, **content: Any) -> httpx.Response | None:
        try:
            async with httpx.AsyncClient(timeout=LARGER_SECONDS) as client:
                found = await client.post(self._url, headers=self._headers, **content)
        except httpx.HTTPError as error:
            LOG.warning("the larger model: %s", type(error).__name__)
            return None
        if found.is_success:
            return found
        LOG.warning("the larger model: HTTP %d", found.status_code)
        return None

    async def passed_on(self, raw: bytes, body: dict[str, Any]) -> Response | None:
        """The answer to an OpenAI request, as it came; None if there is none. ``raw``: the request's own bytes."""
        found = await self._post(**({"json": {**body, "model": self.model}} if self.model else {"content": raw}))
        if found is None:
            return None
        return Response(found.content, media_type=found.headers.get("content-type", JSON))

    async def reply(self, turn: Turn, model: str) -> Reply | None:
        """The answer to a request of another protocol; None if there is none."""
        found = await self._post(json=openai_request(turn, self.model or model))
        try:
            message = found and read_message(found.json()["choices"][0]["message"], "message")
        except (ValueError, LookupError, TypeError, Refused):
            return None
        return Reply(message.text, message.calls) if message else None


def guarded(work: Callable[[], T]) -> T:
    """What ``work`` returns. Raises TaskError; of any other error Refused, because it may hold what somebody said."""
    try:
        return work()
    except TaskError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        LOG.error("%s in %s:%s", type(error).__name__, last.name, last.lineno)
        raise Refused(500, "this request made the server fail; its log says where") from None


class Service:
    """``answer`` and ``tried`` run in the model's thread; ``size``, ``modified``: its bytes and time."""

    def __init__(
        self, system: System, task: Task, size: int = 0, modified: float = 0.0, larger: Larger | None = None
    ) -> None:
        self.name, self.size, self.modified, self.larger = system.name, size, modified, larger
        self._system, self.task, self._used = system, task, Used()
        make = getattr(task, "dialogue", None)
        self._dialogue: Dialogue | None = make(self._ask) if make else None
        self.intents: Intents | None = task.intents(self._ask) if hasattr(task, "intents") else None
        self._rules: list[System] | None = None
        self.queue = Queue()

    def _ask(self, text: str, context: dict[str, Any]) -> Answer:
        answer = self._system.answer(text, context)
        self._used.read += answer.prompt_tokens
        self._used.written += answer.new_tokens
        return answer

    def answer(self, turn: Turn) -> tuple[Reply, Used]:
        """The dialogue's reply; a plain sentence without a dialogue or a tool. Raises TaskError or Refused."""
        self._used, began = Used(), time.perf_counter()
        reply = Reply(PLAIN, hand_over=True)
        if self._dialogue is not None and turn.tools:
            reply = guarded(partial(self._dialogue.reply, turn))
        self._used.seconds = time.perf_counter() - began
        return reply if reply.text or reply.calls else replace(reply, text=PLAIN), self._used

    def tried(self, raw: bytes) -> dict[str, Any]:
        """A row of ``lib.predict`` answered, with what each of the task's rule systems answers under ``rules``."""
        if self._rules is None:
            try:
                self._rules = list(getattr(self.task, "baselines", lambda train: [])([]))
            except ImportError:  # the extra "serve" leaves them out
                self._rules = []
        found = next(predict([raw], self._system, self.task), {"error": "the body is empty"})
        rules = {} if "calls" not in found else {s.name: next(predict([raw], s, self.task)) for s in self._rules}
        return {**found, "rules": rules}
