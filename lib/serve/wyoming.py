"""Wyoming's protocol beside HTTP: what was said comes in, intents that Home Assistant carries out go out.

The home is read over Home Assistant's websocket API and kept. Wyoming has no token: who reaches the port may ask.
https://github.com/OHF-Voice/wyoming, https://developers.home-assistant.io/docs/api/websocket
"""

import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from wyoming.error import Error
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.handle import Handled
from wyoming.intent import Entity, Intent, IntentsStart, IntentsStop, NotRecognized

from lib.core.task import TaskError
from lib.core.turn import Intents, Reply
from lib.serve.reading import Refused, wanted
from lib.serve.service import Service, guarded

LARGEST = 64 << 20  # bytes of a message of Home Assistant's
EVENT = 1 << 16  # bytes of an event
IDLE = 60.0  # seconds that a client may be silent
SECONDS = 30.0  # that Home Assistant may take
RETRY, SETTLE, REFRESH = 5.0, 1.0, 300.0  # seconds: to a new connection, after a change, to a reading without a change
REMEDY = "set HOME_ASSISTANT_TOKEN to a long-lived token of an administrator (your profile, Security) and start again"
LOG = logging.getLogger("lib.serve")


class HomeAssistant:
    """``home``: as last read, None so far; ``problem``: why there is no newer one, empty if there is."""

    def __init__(self, url: str, token: str, intents: Intents | None) -> None:
        """Raises TaskError for what is no URL, an empty token, and without intents."""
        if intents is None:
            raise TaskError("--wyoming: the model's task has no intents: give another --model")
        if not re.fullmatch(r"https?://[^\s@?#]+", url):
            raise TaskError(f"--home-assistant: {url!r} is no URL such as http://homeassistant.local:8123")
        if not token:
            raise TaskError(f"--wyoming: Home Assistant's token is missing: {REMEDY}")
        self._url = "ws" + url.removeprefix("http").rstrip("/") + "/api/websocket"
        self._token, self.intents, self._ids, self._changed = token, intents, count(1), False
        self.home: Any = None
        self.problem = "Home Assistant has not answered yet: try again in a few seconds"

    async def follow(self) -> None:
        """Keeps the home until it is cancelled, or until the token is refused."""
        limits: dict[str, Any] = {"max_size": LARGEST, "open_timeout": SECONDS, "close_timeout": 1.0, "proxy": None}
        while True:
            try:
                async with connect(self._url, **limits) as server:
                    await self._keep(server)
            except Refused as error:
                return self._lost(str(error), logging.ERROR)
            except (OSError, WebSocketException, ValueError, LookupError, TypeError, AttributeError) as error:
                why = str(error) if isinstance(error, TaskError) else type(error).__name__
                self._lost(f"Home Assistant cannot be read ({why}): is {self._url} right, is it running?")
            await asyncio.sleep(RETRY)

    def _lost(self, why: str, level: int = logging.WARNING) -> None:
        """Tells it once, not at every try."""
        before, self.problem = self.problem, why
        if why != before:
            LOG.log(level, "%s%s", why, " Requests are answered with the home as last read." if self.home else "")

    async def _keep(self, server: ClientConnection) -> None:
        """Reads the home, and again after changes. Raises Refused, and what a lost connection raises."""
        async with asyncio.timeout(SECONDS):
            await server.recv()
            await server.send(json.dumps({"type": "auth", "access_token": self._token}))
            if json.loads(await server.recv())["type"] != "auth_ok":
                raise Refused(401, f"Home Assistant refuses the token: {REMEDY}")
        await self._ask(server, [{"type": "subscribe_events", "event_type": kind} for kind in self.intents.changes])
        while True:
            self._changed, self.home, self.problem = False, await self._read(server), ""
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH):
                    while not self._changed:
                        self._changed = json.loads(await server.recv())["type"] == "event"
            await asyncio.sleep(SETTLE)

    async def _read(self, server: ClientConnection) -> Any:
        asked = self.intents.read()
        commands = next(asked)
        while True:
            results = await self._ask(server, commands)
            try:
                commands = asked.send(results)
            except StopIteration as end:
                return end.value

    async def _ask(self, server: ClientConnection, commands: list[dict[str, Any]]) -> list[Any]:
        """The results in the order of the commands. Raises TaskError for what is refused."""
        sent, found = {next(self._ids): command for command in commands}, dict[int, Any]()
        for key, command in sent.items():
            await server.send(json.dumps({"id": key, **command}))
        async with asyncio.timeout(SECONDS):
            while len(found) < len(sent):
                row = json.loads(await server.recv())
                self._changed |= row["type"] == "event"
                if row["type"] == "result":
                    if not row["success"]:
                        raise TaskError(f"{sent[row['id']]['type']}: {row['error']['code']}; if it persists, {REMEDY}")
                    found[row["id"]] = row["result"]
        return [found[key] for key in sent]


class Reader(asyncio.StreamReader):
    """Refuses what is longer than an event."""

    async def readexactly(self, n: int) -> bytes:
        if n > EVENT:
            raise ValueError(f"{n} bytes are more than {EVENT}")
        return await super().readexactly(n)


@asynccontextmanager
async def beside(service: Service, homes: HomeAssistant, bound: socket.socket, app: object) -> AsyncIterator[None]:
    """Answers the clients of a bound socket while an application runs."""
    made = partial(asyncio.StreamReaderProtocol, client_connected_cb=partial(converse, service, homes))
    server = await asyncio.get_running_loop().create_server(lambda: made(Reader(EVENT)), sock=bound)
    following = asyncio.create_task(homes.follow())
    try:
        yield
    finally:
        following.cancel()
        server.close()
        await asyncio.wait({following})


async def converse(
    service: Service, homes: HomeAssistant, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answers one client's events until it goes, is silent for long or sends what is no event."""
    with suppress(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        while True:
            async with asyncio.timeout(IDLE):
                event = await async_read_event(reader)
            if event is None:
                break
            for answer in await answers(service, homes, event):
                await async_write_event(answer, writer)
    writer.close()


async def answers(service: Service, homes: HomeAssistant, event: Event) -> list[Event]:
    about = {"name": service.name, "attribution": {"name": "", "url": ""}, "installed": True}
    about |= {"description": None, "version": None}
    if event.type == "describe":
        return [Event("info", {"intent": [about | {"models": [about | {"languages": ["en"]}]}]})]
    if event.type not in ("transcript", "recognize"):
        return []
    try:
        text = wanted(event.data.get("text"), str, "text").encode("utf-8", "replace").decode()
        context = wanted(event.data.get("context"), dict, "context", {})
        if homes.home is None:
            raise Refused(503, homes.problem)
        heard = {key: value for key, value in context.items() if isinstance(value, str)}
        work = partial(guarded, partial(homes.intents.reply, homes.home, text, heard))
        return written(await service.queue.run(work))
    except (Refused, TaskError) as error:
        return [Error(str(error)).event()]


def written(reply: Reply) -> list[Event]:
    """A reply as events: intents, or a sentence, which counts as an error where nothing was understood."""
    if reply.calls:
        intents = [Intent(c.name, [Entity(*pair) for pair in c.arguments.items()], c.said) for c in reply.calls]
        return [IntentsStart().event(), *(intent.event() for intent in intents), IntentsStop().event()]
    return [(NotRecognized if reply.hand_over and not reply.asks else Handled)(reply.text).event()]
