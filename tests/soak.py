"""Long use of the released model (``make soak``): the server with many clients, killed and started again; predict.

Clients set the lamp of their home to percentages of their own, so that an answer meant for another client is noticed.
Memory at the end is compared with the most until a tenth of the way, or until SETTLED requests, when buffers have their
size (growth), and the median time of the last tenth with that of the first (drift). The table goes to standard output.
"""

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from lib.core import files, provenance
from lib.core.turn import Message, Reply, ToolCall, Turn
from lib.tasks.home.sampler.homes import sample_home
from lib.tasks.home.simulator.homes import Area, Entity, Home
from tests.simulated_assistant import SimulatedAssistant

GROWTH = 0.05  # of memory, at most
SETTLED = 100  # requests
HOMES = 8
CLIENTS = 32


def homes() -> list[Home]:
    """Homes of 8 to 60 devices, each with a lamp and a room whose names no other home has."""
    rng, found = random.Random(0), []
    for number in range(HOMES):
        home, room = sample_home(rng, (8, 60)), Area(f"Annex {number}")
        lamp = Entity(f"light.lamp_{number}", f"Lamp {number}", "light", room.name)
        found.append(replace(home, areas=(*home.areas, room), entities=(*home.entities, lamp)))
    return found


class Client:
    """A dialogue over OpenAI's protocol, for a SimulatedAssistant."""

    path = "/v1/chat/completions"

    def __init__(self, url: str) -> None:
        self.http, self.times = httpx.Client(base_url=url, timeout=60), list[float]()

    def reply(self, turn: Turn) -> Reply:
        tools = [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in turn.tools]
        body = {"model": "home", "stream": False, "messages": list(map(self.written, turn.messages))}
        body["tools"] = [{"type": "function", "function": tool} for tool in tools]
        began = time.perf_counter()
        answer = self.http.post(self.path, json=body)
        self.times.append(time.perf_counter() - began)
        answer.raise_for_status()
        said = self.said(answer.json())
        return Reply(said.get("content") or "", tuple(map(self.called, said.get("tool_calls") or [])))

    def written(self, message: Message) -> dict[str, Any]:
        """A message as the protocol has it."""
        row: dict[str, Any] = {"role": message.role, "content": message.text}
        if message.calls:
            calls = [(c.id, {"name": c.name, "arguments": json.dumps(c.arguments)}) for c in message.calls]
            row["tool_calls"] = [{"id": key, "type": "function", "function": function} for key, function in calls]
        return row | ({"tool_call_id": message.call_id} if message.role == "tool" else {})

    def said(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The message of an answer."""
        return dict(answer["choices"][0]["message"])

    def called(self, call: dict[str, Any]) -> ToolCall:
        return ToolCall(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))


@contextmanager
def server(*options: str) -> Iterator[tuple[str, psutil.Process]]:
    """The server as a process of its own, killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "lib.serve", "--port", str(port), *options])
    try:
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def until_ready(url: str) -> float:
    """Seconds until /health answers."""
    began = time.perf_counter()
    while True:
        try:
            httpx.get(f"{url}/health").raise_for_status()
            return time.perf_counter() - began
        except httpx.HTTPError:
            time.sleep(0.02)


def turns(url: str, number: int, own: list[Home], count: int, sample: Callable[[], None]) -> dict[str, Any]:
    """``count`` turns of a client: what went wrong, and how long each request took."""
    client, wrong, right = Client(url), list[str](), 0
    home_number = number % HOMES
    for turn in range(count):
        wanted = 1 + (number * 37 + turn * 11) % 99
        assistant = SimulatedAssistant(own[home_number], None, None)
        assistant.dialogue = client  # type: ignore[assignment]
        try:
            assistant.say(f"set lamp {home_number} to {wanted} percent")
        except (AssertionError, httpx.HTTPError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
            continue
        told = [call["arguments"] for call in assistant.made]
        lamp = str(told[0].get("name")) if told else ""
        wrong += [f"another's answer: {told}"] if lamp.startswith("Lamp ") and lamp != f"Lamp {home_number}" else []
        wrong += [f"another's answer: {told}"] if told and told[0].get("brightness") not in (None, wanted) else []
        right += told == [{"name": f"Lamp {home_number}", "brightness": wanted}]
        sample()
    return {"times": client.times, "wrong": wrong, "right": right}


def soak_server(count: int, *model: str) -> list[dict[str, Any]]:
    rows = []
    with server(*model) as (url, process):
        ready = until_ready(url)
        began, own = time.perf_counter(), homes()
        turns(url, 0, own, 1, lambda: None)
        first, memory = ready + time.perf_counter() - began, list[int]()

        def sample() -> None:
            memory.append(process.memory_info().rss)

        with ThreadPoolExecutor(CLIENTS) as pool:
            given = [(url, n, own, count // CLIENTS // 2, sample) for n in range(CLIENTS)]  # a turn is two requests
            found = list(pool.map(lambda one: turns(*one), given))
        rows.append({"what": "server, 32 clients", **figures(found, memory), "first_answer_s": round(first, 2)})
        with ThreadPoolExecutor(CLIENTS) as pool:
            killed = [pool.submit(turns, *given[n][:3], 3, lambda: None) for n in range(CLIENTS)]
            time.sleep(1)
            process.kill()
            failed = sum(bool(one.result()["wrong"]) for one in killed)
    with server(*model) as (url, process):
        ready = until_ready(url)
        found = [turns(url, n, own, 2, lambda: None) for n in range(4)]
        warm = [one["times"][-1] for one in found]
        rows.append({"what": "killed under load, started again", **figures(found, [process.memory_info().rss] * 2)})
        rows[-1] |= {"ready_s": round(ready, 2), "last_ms": round(1000 * max(warm)), "clients_cut_off": failed}
    return rows


def soak_predict(count: int, *model: str) -> dict[str, Any]:
    """``count`` lines through ``python -m lib.predict``, in turn about HOMES homes."""
    own = [home.to_dict() for home in homes()]
    process = subprocess.Popen(
        [sys.executable, "-m", "lib.predict", *model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin and stdout
    watched, memory, times, wrong, right = psutil.Process(process.pid), list[int](), list[float](), list[str](), 0
    for number in range(count):
        n, wanted = number // 4 % HOMES, 1 + number * 11 % 99
        began = time.perf_counter()
        row = {"id": number, "text": f"set lamp {n} to {wanted} percent", "area": None, "home": own[n]}
        stdin.write(json.dumps(row) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        times.append(time.perf_counter() - began)
        wrong += [f"{answer}"] if answer.get("error") or answer["id"] != number else []
        right += answer.get("calls") == [
            {"name": "HassLightSet", "arguments": {"name": f"Lamp {n}", "brightness": wanted}}
        ]
        memory.append(watched.memory_info().rss)
    stdin.close()
    process.wait()
    return {"what": "predict", **figures([{"times": times, "wrong": wrong, "right": right}], memory)}


def figures(found: list[dict[str, Any]], memory: list[int]) -> dict[str, Any]:
    times = 1000 * np.concatenate([one["times"] for one in found])
    wrong = [text for one in found for text in one["wrong"]]
    early, late = max(memory[: max(len(memory) // 10, SETTLED) + 1]), memory[-1]
    tenths = [(t[: len(t) // 10 + 1], t[-(len(t) // 10 + 1) :]) for t in (one["times"] for one in found)]
    first, last = (float(np.median(np.concatenate(part))) for part in zip(*tenths, strict=True))
    row = {"requests": len(times), "wrong": len(wrong), "right": sum(one["right"] for one in found)}
    row |= {"p50_ms": round(float(np.median(times))), "p95_ms": round(float(np.percentile(times, 95)))}
    row |= {"memory_mb": round(late / 1e6), "growth": round(late / early - 1, 3), "drift": round(last / first - 1, 3)}
    return row | ({"such as": wrong[0]} if wrong else {})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--requests", type=int, default=20_000, help="of server and predict each (default: %(default)s)"
    )
    parser.add_argument("--model", help="a GGUF (default: the deployed model)")
    parser.add_argument("--out", type=Path, help="where to write the table as well, such as reports/soak.json")
    options = parser.parse_args()
    model = ["--model", options.model] if options.model else []
    told = {"commit": provenance.commit(), "hardware": provenance.hardware()}
    rows = [*soak_server(options.requests, *model), soak_predict(options.requests, *model)]
    for row in rows:
        print(json.dumps(row))
    if options.out:
        files.write_json(options.out, {**told, "rows": rows})
    failed = [row["what"] for row in rows if row["wrong"] or row["growth"] > GROWTH]
    print(f"failed: {', '.join(failed)}" if failed else "all right")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
