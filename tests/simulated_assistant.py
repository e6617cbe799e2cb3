"""A Home Assistant for tests: prompts, tools and results in the shapes of release 2026.11, on a simulated home."""

import json
from collections.abc import Callable
from typing import Any

from lib.core.task import Answer, Call
from lib.core.turn import Message, Reply, Tool, ToolCall, Turn
from lib.tasks.home.assist.dialogue import Dialogue
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Entity, Home
from lib.tasks.home.simulator.matching import index, targets
from lib.tasks.home.simulator.tools import ASSIST, TOOLS, Argument, fitting, tool_name
from lib.tasks.home.simulator.tools import Tool as Known

HEAD = "overview of the areas and the devices in this smart home:\n"
UNTOLD = ("script", "calendar")
ROUNDS = 10


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def listed(home: Home, state: Callable[[Entity], dict[str, Any]] = lambda entity: {}) -> str:
    """The exposed entities in YAML; ``state``: further keys."""
    aliases = {a.name: ", ".join((a.name, *a.aliases)) for a in home.areas}
    lines = []
    for entity in sorted((e for e in home.entities if e.domain not in UNTOLD), key=lambda e: e.name):
        lines += [f"- names: {quoted(', '.join((entity.name, *entity.aliases)))}", f"  domain: {entity.domain}"]
        lines += [f"  areas: {quoted(aliases[entity.area])}"] if entity.area else []
        lines += [f"  {key}: {json.dumps(value)}" for key, value in state(entity).items()]
    return "".join(line + "\n" for line in lines)


def system(home: Home, area: str | None) -> str:
    place, floor = "This device is not able to start timers.", home.floor_of.get(area) if area else None
    if area:
        where = f"{area} (floor {floor})" if floor else area
        place = f"You are in area {where} and all generic commands like 'turn on the lights' should target this area."
    return f"You are a voice assistant.\n\nStatic Context: An {HEAD}{listed(home)}\nCall the intent tools.\n{place}"


def schema(tool: Known) -> dict[str, Any]:
    more = [Argument(n, n, "", kind=n) for n in ("floor", "domain", "device_class") if tool.accepted(n)]
    known = {a.name: a for a in (*more, *tool.arguments)}
    properties = {name: value(argument) for name, argument in known.items()}
    required = [a.name for a in tool.arguments if a.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def value(argument: Argument) -> dict[str, Any]:
    if argument.kind in ("domain", "device_class"):
        return {"type": "array", "items": {"type": "string"}}
    if argument.kind == "step":
        return {"anyOf": [{"type": "string", "enum": ["up", "down"]}, {"type": "integer", "minimum": -100}]}
    if argument.kind == "number" and not argument.fraction:
        return {"allOf": [{"type": "integer"}, {"type": "number", "minimum": argument.low, "maximum": argument.high}]}
    return {"type": "number" if argument.kind == "number" else "string"}


class SimulatedAssistant:
    """Runs turns: asks ``dialogue``, carries out its calls and checks their form. ``model``: Answer of a request.

    ``made``: the calls that were carried out, with plain names, of the last turn.
    """

    def __init__(self, home: Home, area: str | None, model: Any, prefixed: bool = True) -> None:
        self.home, self.area, self.dialogue = home, area, Dialogue(model)
        names = [name for name in fitting(home) if name in ASSIST]
        found = [Tool(f"x__{n}" if prefixed else n, "", schema(TOOLS[n])) for n in names]
        live = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}
        empty = {"type": "object", "properties": {}, "additionalProperties": False}
        lists = {"type": "object", "properties": {"todo_list": {"type": "string"}}, "required": ["todo_list"]}
        found += [Tool("todo__get_items", "", lists)] if any(e.domain == "todo" for e in home.entities) else []
        self.tools = (*found, Tool("homeassistant__GetLiveContext", "", live), Tool("llm__GetDateTime", "", empty))
        self.messages = [Message("system", system(home, area))]
        self.made: list[Call] = []
        self.requests = 0

    def say(self, text: str) -> Reply:
        """The closing reply; raises AssertionError for a call that Home Assistant would not take as it is."""
        self.messages.append(Message("user", text))
        self.made = []
        for _ in range(ROUNDS):
            self.requests += 1
            reply = self.dialogue.reply(Turn(tuple(self.messages), self.tools))
            self.messages.append(Message("assistant", reply.text, reply.calls))
            if not reply.calls:
                return reply
            results = [Message("tool", self.run(call), call_id=call.id) for call in reply.calls]
            self.messages += results
        raise AssertionError(f"no sentence after {ROUNDS} rounds")

    def run(self, call: ToolCall) -> str:
        offered = next((tool for tool in self.tools if tool.name == call.name), None)
        assert offered, f"{call.name} was not offered"
        assert call.arguments.keys() <= offered.parameters["properties"].keys(), call
        assert set(offered.parameters.get("required", ())) <= call.arguments.keys(), call
        name, plain = tool_name(call.name), {"name": tool_name(call.name), "arguments": dict(call.arguments)}
        if name == "GetLiveContext":
            return result({"result": f"Live Context: An {HEAD}{listed(self.home, self.state)}"})
        if name == "get_items":
            return result({"success": True, "result": [{"summary": "Milk", "status": "needs_action"}]})
        if name == "GetDateTime":
            return result({"result": {"date": "2026-11-29", "time": "14:05:00"}})
        if errors := execute(self.home, [plain], self.area).errors:
            return refusal(errors[0])
        self.made.append(plain)
        return result({"speech": {}, "response_type": "action_done", "data": self.reached(plain)})

    def state(self, entity: Entity) -> dict[str, Any]:
        return {"state": "on", "attributes": {"device_class": entity.device_class} if entity.device_class else {}}

    def reached(self, call: Call) -> dict[str, Any]:
        tool = TOOLS[call["name"]]
        found = targets(self.home, tool, call["arguments"], self.area) if tool.domains else []
        return {"success": [{"name": e.name, "type": "entity", "id": e.id} for e in found], "failed": []}


def result(data: dict[str, Any]) -> str:
    return json.dumps({"data": data, "error": False}, ensure_ascii=False)


def refusal(text: str) -> str:
    """A refusal in Home Assistant's words as far as they matter."""
    text = "Multiple entities share the name" if "entities fit" in text else text
    text = "No entities matched the name" if "no entity is called" in text else text
    return json.dumps({"data": {"error": "MatchFailedError", "error_text": text}, "error": True})


def gold_model(gold: list[Call]) -> Callable[[str, dict[str, Any]], Answer]:
    return lambda text, context: Answer(gold)


def named(home: Home, name: str) -> Entity:
    return index(home).named(name)[0]
