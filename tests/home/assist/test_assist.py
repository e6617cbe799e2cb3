"""Dialogues with a simulated Home Assistant; the model's part is played by gold answers or by a table."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lib.core.task import Answer, Call, TaskError
from lib.core.turn import Message, Reply, Tool, ToolCall, Turn
from lib.tasks.home.assist.dialogue import Dialogue
from lib.tasks.home.assist.offered import CLOCK_TOOLS, STATE_TOOLS
from lib.tasks.home.assist.prompt import read
from lib.tasks.home.assist.wording import failed
from lib.tasks.home.examples.data import LEVELS, requests
from lib.tasks.home.sampler.homes import sample_home
from lib.tasks.home.sampler.sources import aliased
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import ASSIST
from tests.simulated_assistant import SimulatedAssistant, gold_model, refusal, result, system
from tests.small_homes import call, random_home

HOME = Home.from_dict(
    {
        "areas": [{"name": "Kitchen", "floor": "Ground"}, {"name": "Den", "floor": "Upper", "aliases": ["Snug"]}],
        "entities": [
            {"id": "light.sink", "name": "Sink", "area": "Kitchen", "aliases": ["Tap Lamp"]},
            {"id": "light.ceiling", "name": "Ceiling", "area": "Kitchen"},
            {"id": "light.ceiling_2", "name": "Ceiling", "area": "Den"},
            {"id": "switch.off", "name": "12", "area": "Den"},
            {"id": "cover.left", "name": "Left", "area": "Den", "device_class": "blind"},
            {"id": "binary_sensor.window", "name": "Window", "area": "Den", "device_class": "window"},
            {"id": "vacuum.robby", "name": "Robby", "area": "Kitchen"},
            {"id": "lock.door", "name": "Door", "area": "Kitchen"},
            {"id": "todo.food", "name": "Groceries"},
        ],
    }
)
RECORDED = Path(__file__).resolve().parents[4] / "shared" / "ha_exchange"
LIGHTS = call("HassTurnOn", area="Kitchen", domain="light")


class Table:
    """A model that knows the answers to some texts; ``seen``: what it was asked."""

    def __init__(self, answers: Mapping[str, list[Call]], ask: dict[str, str] | None = None) -> None:
        self.answers, self.ask, self.seen, self.contexts = answers, ask, list[str](), list[dict[str, Any]]()

    def __call__(self, text: str, context: dict[str, Any]) -> Answer:
        self.seen.append(text)
        self.contexts.append(context)
        calls = self.answers.get(text, [])
        return Answer(calls, ask=None if calls else self.ask)


def talk(answers: Mapping[str, list[Call]], area: str | None = None, **given: Any) -> SimulatedAssistant:
    return SimulatedAssistant(HOME, area, Table(answers, **given))


def effects(home: Home, calls: list[Call], area: str | None) -> dict[str, Any]:
    found = execute(home, calls, area).effects
    return {target: some for target, some in found.items() if not target.startswith("query:")}


@pytest.mark.parametrize("seed", range(20))
def test_what_gold_answers_do_is_done_through_the_dialogue(seed: int) -> None:
    rng = Random(seed)
    for _ in range(6):
        home = aliased(rng, sample_home(rng, (3, 20)))
        home = Home(home.areas, tuple(e for e in home.entities if e.domain not in ("script", "calendar")))
        for _, draw in requests(rng, home, dict.fromkeys(LEVELS, 1.0), 6, False):
            gold = draw.gold[0] if draw.gold else []
            acting = [c for c in gold if c["name"] not in (*STATE_TOOLS, *CLOCK_TOOLS)]
            if all(c["name"] in ASSIST for c in acting):
                assistant = SimulatedAssistant(home, draw.area, gold_model(gold), prefixed=rng.random() < 0.5)
                reply = assistant.say(draw.text)
                assert reply.text
                if reply.asks and draw.combination.startswith("noisy:"):
                    continue  # a place that is misspelt does not tell devices of one name apart
                assert effects(home, assistant.made, draw.area) == effects(home, acting, draw.area), draw


@pytest.mark.parametrize("seed", range(8))
def test_any_calls_of_a_model_end_in_a_sentence(seed: int) -> None:
    """The simulation raises for what was not offered; names here are made to be difficult."""
    rng = Random(seed)
    home = random_home(rng, 12)
    home = replace(home, entities=tuple(replace(e, id=f"{e.domain}.{i}") for i, e in enumerate(home.entities)))
    names = [*(e.name for e in home.entities), *(a.name for a in home.areas), "nothing", "140"]
    keys = ("name", "area", "floor", "domain", "device_class", "brightness", "position", "item", "state", "made_up")

    def model(text: str, context: dict[str, Any]) -> Answer:
        tools = [*context["home"].tools, "HassToggle", "HassMediaSearchAndPlay"]
        some = [call(rng.choice(tools), **{k: rng.choice(names) for k in rng.sample(keys, 2)}) for _ in range(2)]
        return Answer(some, confidence=rng.random())

    assistant = SimulatedAssistant(home, rng.choice(home.areas).name if home.areas else None, model)
    for text in ("do it", "and the kitchen too", "turn it off again", "is it on?", "upstairs"):
        assert assistant.say(text).text


def test_a_home_is_read_as_it_is_written() -> None:
    assistant = talk({"hm": [LIGHTS]}, "Den")
    assistant.say("hm")
    context = assistant.dialogue._ask.contexts[-1]  # type: ignore[attr-defined]
    names = {e.name: (e.aliases, e.area, e.device_class) for e in context["home"].entities}
    assert names["Sink"] == (("Tap Lamp",), "Kitchen", None)
    assert names["12"] == ((), "Den", None)
    assert names["Left"] == ((), "Den", "blind")
    assert context["home"].floor_of == {"Kitchen": None, "Den": "Upper"}
    assert context["area"] == "Den"


def test_device_classes_are_fetched_once_a_home() -> None:
    assistant = talk({"hm": [LIGHTS]})
    assistant.say("hm")
    first = assistant.requests
    assistant.messages = assistant.messages[:1]
    assistant.say("hm")
    assert (first, assistant.requests - first) == (3, 2)


def test_dialogues_share_nothing() -> None:
    one, two = talk({"hm": [LIGHTS]}), talk({"hm": [LIGHTS]})
    one.say("hm")
    two.say("hm")
    assert one.requests == two.requests == 3
    assert one.dialogue._facts is not two.dialogue._facts


@pytest.mark.parametrize(
    ("said", "then", "asked"),
    [
        ("turn on the kitchen lights", "and the den too", "turn on the Den lights"),
        ("turn on the lights", "Thanks, and in the snug as well", "turn on the lights in the Snug"),
        ("turn on the sink", "and the door", "turn on the door"),
        ("put the one over the tap on", "what about the ceiling", "turn on ceiling"),
        ("put the one over the tap on", "turn it off again", "turn Sink off again"),
        ("turn on the kitchen lights", "turn them off again", "turn the lights in the Kitchen off again"),
        ("turn on the kitchen lights", "and lock the door", "and lock the door"),
        ("turn on the kitchen lights", "is the window open", "is the window open"),
        ("turn on the kitchen lights", "then what is it like outside", "then what is it like outside"),
        ("turn on the kitchen lights", "no, I meant the den", "turn on the Den lights"),
        ("turn on the sink", "no, the door", "turn on the door"),
    ],
)
def test_follow_ups(said: str, then: str, asked: str) -> None:
    calls = [LIGHTS] if "lights" in said else [call("HassTurnOn", name="Sink")]
    assistant = talk({said: calls, asked: [LIGHTS]})
    assistant.say(said)
    assistant.say(then)
    assert assistant.dialogue._ask.seen[-1].replace("the ceiling", "ceiling") == asked  # type: ignore[attr-defined]


def test_a_question_that_was_asked_back_is_answered_by_the_next_words() -> None:
    assistant = talk(
        {"ceiling on": [], "ceiling on in the Den": [call("HassTurnOn", name="Ceiling", area="Den")]},
        ask={"tool": "HassTurnOn", "argument": "name"},
    )
    first = assistant.say("ceiling on")
    assert first.asks and first.hand_over and first.text.endswith("?")
    assert assistant.say("the den one").text == "Turned on the light."


@pytest.mark.parametrize(("lit", "made"), [(["Sink"], [call("HassTurnOff", name="Sink")]), (["Sink", "Ceiling"], [])])
def test_the_light_is_the_only_one_that_is_on(
    lit: list[str], made: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    assistant = talk({}, ask={"tool": "HassTurnOff", "argument": "name"})
    monkeypatch.setattr(assistant, "state", lambda entity: {"state": "on" if entity.name in lit else "off"})
    assert assistant.say("please turn off the light").asks != bool(made)
    assert assistant.made == made
    assert all(assistant.say(f"turn off the {words}").asks for words in ("tap light", "light upstairs", "curtain"))


def test_a_list_that_may_be_any_is_asked_for() -> None:
    more = Home.from_dict({"areas": [], "entities": [{"id": "todo.diy", "name": "DIY"}]}).entities
    say = SimulatedAssistant(replace(HOME, entities=(*HOME.entities, *more)), None, Table({})).say
    assert say("put milk on the list").text == "Which list do you mean: DIY or Groceries?"
    assert not say("put milk on the DIY list").asks
    assert not talk({}).say("put milk on the list").asks and not say("put the lamp on").asks


@pytest.mark.parametrize(
    ("calls", "done", "text"),
    [
        ([call("HassTurnOn", name="Sink", area="Den")], [call("HassTurnOn", name="Sink")], "Turned on the light."),
        ([call("HassTurnOn", name="Tap")], [], "Sorry, I am not aware of any device called Tap."),
        ([call("HassTurnOn", name="Ceiling")], [], "Which Ceiling do you mean, Kitchen or Den?"),
        (
            [call("HassSetPosition", area="Kitchen", position=40)],
            [call("HassSetPosition", name="Left", position=40)],
            "",
        ),
        ([call("HassTurnOn", name="Door"), call("HassTurnOn", name="Tap")], [call("HassTurnOn", name="Door")], ""),
        ([call("HassShoppingListAddItem", item="tea")], [call("HassListAddItem", name="Groceries", item="tea")], ""),
    ],
)
def test_refused_calls_are_tried_in_another_form(calls: list[Call], done: list[Call], text: str) -> None:
    assistant = talk({"hm": calls})
    reply = assistant.say("hm")
    assert assistant.made == done
    assert not text or reply.text == text
    assert ("Sorry" in reply.text) == any("Tap" in str(c) for c in calls)


@pytest.mark.parametrize(
    ("said", "area", "places", "asks"),
    [
        ("ceiling on", None, ["Den"], True),
        ("ceiling on", "Kitchen", ["Kitchen"], False),
        ("ceiling on in the snug", None, ["Den"], False),
        ("ceiling on upstairs", None, ["Den"], False),
        ("both ceilings on", None, ["Den", "Kitchen"], False),
    ],
)
def test_a_device_of_a_shared_name_is_not_guessed(said: str, area: str | None, places: list[str], asks: bool) -> None:
    made = [call("HassTurnOn", name="Ceiling", area=place) for place in places]
    assistant = talk({said: made, "ceiling on in the Den": made}, area)
    reply = assistant.say(said)
    assert (reply.asks, assistant.made) == (asks, [] if asks else made)
    if asks:
        assert reply.text == "Which Ceiling do you mean, Kitchen or Den?"
        assert assistant.say("the den one").text == "Turned on the light."


def test_it_is_what_a_question_was_about() -> None:
    assistant = talk({"is the tap on": [call("HassGetState", name="Sink", state="on")]})
    assert assistant.say("is the tap on").text == "Yes."
    assistant.say("then turn it off")
    assert assistant.dialogue._ask.seen[-1] == "turn Sink off"  # type: ignore[attr-defined]


def test_another_item_goes_on_the_same_list() -> None:
    said = "put tea on groceries"
    assistant = talk({said: [call("HassListAddItem", name="Groceries", item="tea")]})
    assistant.say(said)
    assistant.say("and coffee")
    assert assistant.dialogue._ask.seen[-1] == "add coffee to Groceries"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("given", "text"), [({"name": "Radio"}, "Radio is not"), ({}, "nothing is")])
def test_a_device_in_another_state_is_no_unknown_device(given: dict[str, str], text: str) -> None:
    reason = "No entities matched the name (given name 'Radio', domains media_player, states playing, features 1)"
    told = {"data": {"error": "MatchFailedError", "error_text": reason}, "error": True}
    assert failed(call("HassMediaPause", **given), told) == f"Sorry, {text} playing"


def test_a_place_that_was_said_stays_as_said() -> None:
    assistant = talk({"blinds in the kitchen": [call("HassTurnOff", area="Kitchen", domain="cover")]})
    assert "Sorry" in assistant.say("blinds in the kitchen").text
    assert assistant.made == []


def test_a_vacuum_that_cannot_clean_one_area_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    assistant = talk({"hm": [call("HassVacuumCleanArea", area="Den")]})
    run = assistant.run
    refused = refusal("No entities supported the required features")
    monkeypatch.setattr(assistant, "run", lambda c: refused if "CleanArea" in c.name else run(c))
    assert (assistant.say("hm").text, assistant.made) == ("Started.", [call("HassVacuumStart", name="Robby")])


@pytest.mark.parametrize("name", ["Upstairs", "Top Floor", "nowhere"])
def test_floors_are_understood_though_no_prompt_names_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table({"lights on upstairs": [call("HassTurnOn", floor="upstairs", domain="light")]})
    assistant = SimulatedAssistant(HOME, None, table)

    def run(made: ToolCall) -> str:
        floor = made.arguments.get("floor", "").casefold()
        good = floor == name.casefold()
        return result({"data": {}}) if good or not floor else refusal(f"No floor: {floor}")

    monkeypatch.setattr(assistant, "run", run)
    assert assistant.say("lights on upstairs").text.startswith("Sorry" if name == "nowhere" else "Turned on")
    assert {a.floor for a in table.contexts[-1]["home"].areas} == {"upstairs"}


def test_any_area_may_be_on_the_satellites_floor() -> None:
    lights = call("HassTurnOn", floor="Upper", domain="light")
    for said, floors in (("upper lights on", {"Upper"}), ("lights on downstairs", {"Upper", "downstairs"})):
        assistant = talk({said: [lights]}, "Den")
        assert assistant.say(said).text
        assert {a.floor for a in assistant.dialogue._ask.contexts[-1]["home"].areas} == floors  # type: ignore[attr-defined]
        assert [made["arguments"]["floor"] for made in assistant.made] == ["Upper"]


@pytest.mark.parametrize(
    ("query", "text", "answer"),
    [
        (call("HassGetState", name="Door", state="on"), "is it", "Yes."),
        (call("HassGetState", name="Door", state="off"), "is it", "No, on."),
        (call("HassGetState", name="Window"), "what about it", "Window is open."),
        (call("HassGetState", area="Kitchen", domain="light", state="on"), "how many", "2."),
        (call("HassGetState", area="Kitchen", domain="light", state="on"), "which", "Ceiling and Sink."),
        (call("HassGetState", domain="light", state="off"), "any", "No."),
        (call("HassGetState", name="Groceries"), "what is on it", "Milk."),
        (call("HassGetCurrentTime"), "time", "2:05 PM."),
        (call("HassGetCurrentDate"), "date", "November 29th, 2026."),
        (call("HassGetWeather"), "weather", "Sorry, I could not find that out."),
    ],
)
def test_questions_are_answered_from_what_is_fetched(query: Call, text: str, answer: str) -> None:
    assert talk({text: [query]}).say(text).text == answer


@pytest.mark.parametrize(
    ("confidence", "acts", "hands_over"), [(0.01, False, True), (0.2, True, True), (0.9, True, False)]
)
def test_unsure_answers(confidence: float, acts: bool, hands_over: bool) -> None:
    dialogue = Dialogue(lambda text, context: Answer([LIGHTS], confidence=confidence))
    home = replace(HOME, entities=HOME.entities[:3])  # without device classes to ask for
    assistant = SimulatedAssistant(home, None, None)
    reply = dialogue.reply(Turn((*assistant.messages, Message("user", "hm")), assistant.tools))
    assert (bool(reply.calls), reply.hand_over, reply.confidence) == (acts, hands_over, confidence)


def test_an_action_and_a_question_are_both_answered() -> None:
    reply = talk({"hm": [LIGHTS, call("HassGetState", name="Door", state="off")]}).say("hm")
    assert reply.text == "Turned on the lights. No, on."


def ask(*messages: Message, tools: tuple[Tool, ...] = ()) -> Reply:
    return Dialogue(Table({})).reply(Turn(messages, tools))


def test_what_is_no_home_has_a_defined_answer() -> None:
    user = Message("user", "What is the capital of France?")
    for text in ("", "You are a helpful assistant.", "Available devices: csv"):
        reply = ask(Message("system", text), user)
        assert reply.text and reply.hand_over and not reply.calls
    nothing = "tell them to expose entities to their voice assistant in Home Assistant."
    assert "expose" in ask(Message("system", nothing), user).text
    broken = system(HOME, None).replace("- names: ", "- names: [", 1)
    assert "not YAML" in ask(Message("system", broken), user).text
    with pytest.raises(TaskError, match="user"):
        ask(Message("system", "x"))


def test_results_of_any_shape_are_closed_with_a_sentence() -> None:
    head = Message("system", system(HOME, None)), Message("user", "hm")
    made = ToolCall("a", "HassTurnOn", {"name": "Sink"})
    for text in ("", "ok", "[1]", "null", '{"data": null}', '{"error": true}', '{"response_type": "action_done"}'):
        reply = ask(*head, Message("assistant", "", (made,)), Message("tool", text))
        assert reply.text and not reply.calls
        assert ("Sorry" in reply.text) == ("true" in text)
    late = Message("tool", json.dumps({"date": "2026-11-29"}), call_id="injected_content")
    assert ask(head[0], late, head[1]).text


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no recorded exchanges")
@pytest.mark.parametrize("name", ["llama_cpp_context", "llama_cpp_ambiguous", "ollama", "llama_cpp_nothing_exposed"])
def test_recorded_requests_are_answered_with_offered_tools(name: str) -> None:
    rows = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    for body in (row["request"]["body"] for row in rows if (row["request"]["body"] or {}).get("messages")):
        turn = Turn(tuple(map(message, body["messages"])), tuple(Tool(**t["function"]) for t in body["tools"]))
        told, table = read(turn.messages[0].text), Table({turn.messages[-1].text: [call("HassTurnOn", name="Kettle")]})
        reply = Dialogue(table).reply(turn)
        assert bool(reply.text) != bool(reply.calls)
        assert {c.name for c in reply.calls} <= {tool.name for tool in turn.tools}
        assert (told is not None) == ("Home Assistant" in turn.messages[0].text)
        if table.contexts and "exposed" not in name:
            classes = {e.name: e.device_class for e in table.contexts[0]["home"].entities}
            assert len(classes) == 14 and classes["Gate"] in ("garage", None)


def message(row: dict[str, Any]) -> Message:
    """A message of either protocol."""
    made = []
    for c in row.get("tool_calls") or ():
        given = c["function"]["arguments"]
        given = json.loads(given) if isinstance(given, str) else given
        made.append(ToolCall(c.get("id", ""), c["function"]["name"], given))
    return Message(row["role"], row.get("content") or "", tuple(made), row.get("tool_call_id", ""))


def test_the_satellites_place() -> None:
    told = read(system(HOME, "Den"))
    assert told and (told.area, told.floor) == ("Den", "Upper")
    unknown = read(system(HOME, None).replace("This device", "You are in area Loft and all generic commands\nThis"))
    assert unknown and (unknown.area, unknown.floor) == ("Loft", None)
