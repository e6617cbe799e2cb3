"""The same requests through predict and through both protocols of the server: ``python -m tests.protocols``.

Field cases and third-party tests (../shared/third_party), where they are there; questions are left out, since the
server answers them with a sentence. Predict gets the home with the tools that Home Assistant offers to a model, and
without scripts and calendars, which its prompt does not list. A request is right if its calls do what the task's scorer
accepts. The server does not ask before sensitive actions. The table has counts alone.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from lib import tasks
from lib.core import paths
from lib.core.task import Example
from lib.core.turn import Message, ToolCall
from lib.runtime.requests import find_model, open_system
from lib.tasks.home.assist.offered import CLOCK_TOOLS, STATE_TOOLS
from lib.tasks.home.sampler.sources import BRIGHTNESS
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import ASSIST
from tests.simulated_assistant import SimulatedAssistant
from tests.soak import Client, server, until_ready

SETS = ("assist", "assist_mini", "habench_small")


class Ollama(Client):
    """As ``Client``, over Ollama's protocol."""

    path = "/api/chat"

    def written(self, message: Message) -> dict[str, Any]:
        functions = [{"function": {"name": c.name, "arguments": c.arguments}} for c in message.calls]
        return {"role": message.role, "content": message.text} | ({"tool_calls": functions} if functions else {})

    def said(self, answer: dict[str, Any]) -> dict[str, Any]:
        return dict(answer["message"])

    def called(self, call: dict[str, Any]) -> ToolCall:
        return ToolCall("", call["function"]["name"], call["function"]["arguments"])


def requests(task: Any) -> Iterator[tuple[str, list[Example]]]:
    """The tests by name, without state questions."""
    found = {"field_cases": task.more_tests({"dev": []})["field_cases"]}
    found |= task.third_party(paths.ROOT / ".." / "shared" / "third_party")
    for name, examples in found.items():
        asks = [e for e in examples if any(c["name"] in (*STATE_TOOLS, *CLOCK_TOOLS) for gold in e.gold for c in gold)]
        if name in ("field_cases", *SETS):
            yield name, [e for e in examples if e not in asks]


def offered(context: dict[str, Any]) -> dict[str, Any]:
    """The context with what Home Assistant's prompt lists and the tools that it offers."""
    home = context["home"]
    tools = tuple(name for name in home.tools or ASSIST if name in (*ASSIST, BRIGHTNESS))
    entities = tuple(e for e in home.entities if e.domain not in ("script", "calendar"))
    return {**context, "home": Home(home.areas, entities, home.floor_rows, tools, home.unit)}


def through(client: Client, task: Any, examples: Sequence[Example]) -> list[bool]:
    right = []
    for e in examples:
        assistant = SimulatedAssistant(e.context["home"], e.context.get("area"), None)
        assistant.dialogue = client  # type: ignore[assignment]
        try:
            assistant.say(e.text)
            right.append(task.score(e, assistant.made).exact)
        except (AssertionError, httpx.HTTPError) as error:
            print(f"{e.id}: {type(error).__name__}", file=sys.stderr)
            right.append(False)
    return right


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.protocols", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a GGUF (default: the deployed model)")
    options = parser.parse_args()
    path = find_model(options.model and paths.ROOT / options.model, paths.runs())
    system, task = open_system(path, tasks.load, threads=2)
    worst = 0
    with server("--model", str(path), "--ask-below", "0") as (url, _):
        until_ready(url)
        for name, examples in requests(task):
            own = [task.score(e, system.answer(e.text, offered(e.context)).calls).exact for e in examples]
            rows = {"predict": own, "openai": through(Client(url), task, examples)}
            rows["ollama"] = through(Ollama(url), task, examples)
            differ = [e.id for e, *some in zip(examples, *rows.values(), strict=True) if len({*some}) > 1]
            right = {key: sum(values) for key, values in rows.items()}
            print(json.dumps({"test": name, "n": len(examples), **right, "differ": differ}), flush=True)
            worst = max(worst, max(right.values()) - min(right.values()))
    return worst > 1


if __name__ == "__main__":
    sys.exit(main())
