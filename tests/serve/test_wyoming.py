"""Wyoming's own client against the server, whose home is read from a small websocket server."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from toy_serve import Served, running
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve
from wyoming.asr import Transcript
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.handle import Handled
from wyoming.info import Describe, Info
from wyoming.intent import Entity, Intent, IntentsStart, IntentsStop, NotRecognized

from lib.core.turn import Reply, ToolCall
from lib.serve import wyoming
from lib.serve.service import Service

Caplog = pytest.LogCaptureFixture


class ToyIntents:
    """The place is what the commands gave; "give A B" becomes a call for each word."""

    changes = ("moved",)

    def read(self) -> Any:
        (name,) = yield [{"type": "name"}]
        (number,) = yield [{"type": "number", "of": name}]
        return f"{name} {number}"

    def reply(self, place: str, text: str, heard: Any) -> Reply:
        word, *rest = text.split()
        if word == "give":
            return Reply(calls=tuple(ToolCall("", "Give", {"item": item}, f"{{{{ slots.{item} }}}}") for item in rest))
        if word == "fail":
            raise KeyError(text)
        return Reply(f"{place} {heard.get('device_id')}", asks=word == "which", hand_over=word != "hello")


class Home:
    """Home Assistant's side of the websocket API at a port of its own, which ``stop`` and ``start`` keep."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {"subscribe_events": None, "name": "den", "number": 1}
        self.tries, self.connected = 0, set[ServerConnection]()
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]

    def start(self) -> None:
        self.server: Server = serve(self.talk, "127.0.0.1", self.port, close_timeout=0.1)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        for one in [*self.connected]:
            one.close()

    def change(self, **results: Any) -> None:
        self.results |= results
        for one in [*self.connected]:
            one.send(json.dumps({"type": "event", "id": 1}))

    def talk(self, client: ServerConnection) -> None:
        self.tries += 1
        client.send(json.dumps({"type": "auth_required"}))
        right = json.loads(client.recv())["access_token"] == "good"
        client.send(json.dumps({"type": "auth_ok" if right else "auth_invalid"}))
        self.connected.add(client)
        with suppress(ConnectionClosed):
            for row in map(json.loads, client):
                known = row["type"] in self.results
                told = {"result": self.results[row["type"]]} if known else {"error": {"code": "unauthorized"}}
                client.send(json.dumps({"type": "result", "id": row["id"], "success": known, **told}))
        self.connected.discard(client)


@contextmanager
def served(home: Home, token: str = "good") -> Iterator[int]:
    """The port at which Wyoming is answered."""
    bound = socket.create_server(("127.0.0.1", 0))

    def beside(service: Service) -> Any:
        url = f"http://127.0.0.1:{home.port}"
        return partial(wyoming.beside, service, wyoming.HomeAssistant(url, token, service.intents), bound)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("RETRY", "SETTLE"):
            patch.setattr(wyoming, name, 0.02)
        patch.setattr(Served, "intents", lambda self, ask: ToyIntents(), raising=False)
        with running(Served(), beside=beside):
            yield bound.getsockname()[1]


@pytest.fixture
def home() -> Iterator[Home]:
    found = Home()
    found.start()
    yield found
    found.stop()


def ask(port: int, event: Event) -> list[Event]:
    """What comes back, up to the event that ends it."""

    async def asked() -> list[Event]:
        found: list[Event] = []
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(event)
            while not found or found[-1].type in ("intents-start", "intent"):
                found.append(await client.read_event() or Event("closed"))
        return found

    return asyncio.run(asked())


def until(port: int, text: str, said: str) -> Event:
    """The answer once it says that."""
    for _ in range(500):
        (found,) = ask(port, Transcript(text, context={"device_id": "d"}).event())
        if found.data.get("text") == said:
            return found
        time.sleep(0.01)
    pytest.fail(f"it never said {said!r} but {found}")


def test_intents_and_sentences_are_events_of_the_protocol(home: Home) -> None:
    with served(home) as port:
        (program,) = Info.from_event(ask(port, Describe().event())[0]).intent
        assert program.installed and program.name == "toy" and program.models[0].languages == ["en"]
        assert Handled.is_type(until(port, "hello", "den 1 d").type)
        assert Handled.is_type(until(port, "which", "den 1 d").type)
        assert NotRecognized.is_type(until(port, "else", "den 1 d").type)
        start, *intents, stop = ask(port, Transcript("give Tea Gum", language="en").event())
        assert IntentsStart.is_type(start.type) and IntentsStop.is_type(stop.type)
        wanted = [Intent("Give", [Entity("item", item)], f"{{{{ slots.{item} }}}}") for item in ("Tea", "Gum")]
        assert [Intent.from_event(event) for event in intents] == wanted


def test_the_home_is_read_again_and_kept_while_home_assistant_is_away(home: Home, caplog: Caplog) -> None:
    with served(home) as port:
        until(port, "hello", "den 1 d")
        home.change(number=2)
        until(port, "hello", "den 2 d")
        home.stop()
        while "as last read" not in caplog.text:
            until(port, "hello", "den 2 d")
        home.results["number"] = 3
        home.start()
        until(port, "hello", "den 3 d")
    assert "hello" not in caplog.text


def test_a_wrong_token_is_tried_once_and_is_one_error(home: Home, caplog: Caplog) -> None:
    with served(home, "bad") as port:
        problem = f"Home Assistant refuses the token: {wyoming.REMEDY}"
        assert Error.is_type(until(port, "hello", problem).type)
        time.sleep(0.1)
    assert home.tries == 1 and [r.message for r in caplog.records if r.levelname == "ERROR"] == [problem]


def test_a_token_that_may_not_read_the_home_is_told_once(home: Home, caplog: Caplog) -> None:
    del home.results["name"]
    with served(home) as port:
        while home.tries < 4:
            time.sleep(0.01)
        assert wyoming.REMEDY in str(ask(port, Transcript("hello").event())[0].data)
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1 and "unauthorized" in caplog.text


BAD = [
    b"nonsense\n",
    b"[]\n",
    b'{"type": 5}\n',
    b'{"type": "transcript", "data": 7}\n',
    b"x" * 200_000,
    b"[" * 60_000 + b"\n",
]
BAD += [b'{"type": "transcript", "data_length": 9999999}\n', b'{"type": "transcript", "data_length": 20}\nhalf']


def test_bad_events_end_their_connection_alone_and_nothing_said_is_logged(home: Home, caplog: Caplog) -> None:
    with served(home) as port, caplog.at_level(logging.DEBUG, "lib.serve"):
        for data in BAD:
            with socket.create_connection(("127.0.0.1", port), 5) as client, suppress(OSError):
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(4096) == b""
        until(port, "hello", "den 1 d")
        assert "text: expected a string" in str(ask(port, Event("transcript", {}))[0].data)
        assert "its log says where" in str(ask(port, Transcript("fail xyzzy").event())[0].data)
    assert "xyzzy" not in caplog.text and "KeyError" in caplog.text and "Unhandled" not in caplog.text
