"""The home's steps of the pipeline and its one-stage prompts, with a scripted model and a small home."""

import json
from random import Random
from typing import Any

import pytest
from small_homes import plain_home, random_home
from test_pipeline import Scripted

from lib.core.task import Example, TaskError
from lib.llm.types import Prompt
from lib.tasks.asking import NONE
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.teacher.one_stage import FewShot, ZeroShot
from lib.tasks.home.teacher.split import cut
from lib.tasks.home.teacher.steps import FUNCTIONS, TEXTS, HomePrototype
from lib.teacher.pipeline import Ask, OneStageSystem, Pipeline

POOL = [
    ("turn on the sink", "HassTurnOn", {"name": "Sink"}),
    ("switch the counter on please", "HassTurnOn", {"name": "Counter"}),
    ("turn on the coffee maker", "HassTurnOn", {"name": "Coffee Maker"}),
    ("turn off the lights in the kitchen", "HassTurnOff", {"area": "Kitchen", "domain": "light"}),
    ("turn the tv off", "HassTurnOff", {"name": "TV"}),
    ("unlock the front door", "HassTurnOff", {"name": "Front Door"}),
    ("set the sink to 40 percent", "HassLightSet", {"name": "Sink", "brightness": 40}),
    ("make the counter red", "HassLightSet", {"name": "Counter", "color": "red"}),
    ("add oat milk to the chores", "HassListAddItem", {"name": "Chores", "item": "oat milk"}),
    ("set a timer for five minutes", "HassStartTimer", {"minutes": 5}),
    ("is the front door locked", "HassGetState", {"name": "Front Door", "state": "locked"}),
    ("what time is it", "HassGetCurrentTime", {}),
    ("i like jazz", "", {}),
    ("how was your day", "", {}),
]


def _pool() -> list[Example]:
    context = {"home": plain_home(), "area": None}
    golds = [[_call(tool, **arguments)] if tool else [] for _, tool, arguments in POOL]
    return [
        Example(text, text, context, [gold], "L0", "test", "train")
        for (text, *_), gold in zip(POOL, golds, strict=True)
    ]


@pytest.fixture(scope="module")
def prototype() -> HomePrototype:
    return HomePrototype(_pool())


def _model(split: Any = None, function: str = "none", **fill: Any) -> Scripted:
    """A model that answers each step with the same thing."""

    def script(prompt: Prompt) -> str:
        assert prompt.schema is not None
        keys = prompt.schema["properties"]
        if "commands" in keys:
            return json.dumps({"commands": split})
        return json.dumps({"function": function} if "function" in keys else {k: fill[k] for k in fill if k in keys})

    return Scripted(script)


def _calls(
    prototype: HomePrototype, text: str, model: Scripted, home: Home | None = None, area: str | None = None
) -> Any:
    return Pipeline(prototype, model).answer(text, {"home": home or plain_home(), "area": area}).calls


def _call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"name": tool, "arguments": arguments}


def test_one_plain_command_is_not_split(prototype: HomePrototype):
    context = {"home": plain_home(), "area": None}
    assert prototype.split("turn on the sink", context) == ["turn on the sink"]
    named = Home.from_dict({"areas": [], "entities": [{"id": "light.a", "name": "Salt and Pepper"}]})
    assert prototype.split("turn on salt and pepper", {"home": named, "area": None}) == ["turn on salt and pepper"]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("turn on the sink and the counter", ["turn on the sink", "turn on the counter"]),
        ("turn the sink and the counter on please", ["turn the sink on please", "turn the counter on please"]),
        ("turn on the sink, then turn the tv off", ["turn on the sink", "turn the tv off"]),
        ("turn on the sink and set it to 40 percent", ["turn on the sink", "set sink to 40 percent"]),
        ("turn on the sink no wait the counter", ["turn on the counter"]),
        ("turn on the sink actually turn the tv off", ["turn the tv off"]),
        ("flim the sink and flam the counter", None),
        ("turn on the sink and the counter no wait the tv", None),
        ("make the counter red sorry blue", None),
    ],
)
def test_joined_and_corrected_commands(text: str, commands: list[str] | None):
    assert cut(text, plain_home(), frozenset(), lambda part: part.split()[0] in ("turn", "set", "make")) == commands


def test_what_no_rule_takes_apart_is_asked(prototype: HomePrototype):
    context = {"home": plain_home(), "area": None}
    ask = prototype.split("make the counter red sorry blue and turn on the sink", context)
    assert isinstance(ask, Ask)
    wanted = ["make the counter blue", "turn on the sink"]
    assert ask.read(json.dumps({"commands": wanted})) == wanted
    assert ask.read('{"commands": []}') == []
    for raw in ('{"commands": ["open the attic window"]}', '{"commands": "sink"}', "{", "[]", '{"commands": [1]}'):
        with pytest.raises(TaskError):
            ask.read(raw)


@pytest.mark.parametrize(
    ("text", "function", "fill", "calls"),
    [
        ("turn on the sink", "HassTurnOn", {}, [_call("HassTurnOn", name="Sink")]),
        ("turn off the tv", "HassTurnOff", {}, [_call("HassTurnOff", name="TV")]),
        ("set the counter to 30 percent", "HassLightSet", {}, [_call("HassLightSet", name="Counter", brightness=30)]),
        (
            "add tea to the chores",
            "HassListAddItem",
            {"item": "tea"},
            [_call("HassListAddItem", name="Chores", item="tea")],
        ),
        ("what time is it", "HassGetCurrentTime", {}, [_call("HassGetCurrentTime")]),
        ("turn on the sauna", "HassTurnOn", {"target": 1}, []),
        ("turn on the lights in the garage", "HassTurnOn", {"target": 1}, []),
        ("turn on the heater in the kitchen", "HassTurnOn", {"target": 1}, []),
        ("add lemons to the chores", "HassListAddItem", {"item": "a hundred pineapples"}, []),
        ("i like jazz", "none", {}, []),
    ],
)
def test_commands(prototype: HomePrototype, text: str, function: str, fill: Any, calls: Any):
    assert _calls(prototype, text, _model([text], function, **fill)) == calls


def test_several_commands_are_filled_one_by_one(prototype: HomePrototype):
    model = _model(None, "HassTurnOn")
    calls = _calls(prototype, "turn on the sink and unlock the front door", model)
    assert calls == [_call("HassTurnOn", name="Sink"), _call("HassTurnOff", name="Front Door")]


def test_all_but_one_names_the_others(prototype: HomePrototype):
    calls = _calls(prototype, "turn off all the lights in the kitchen except the sink", _model(None, "HassTurnOff"))
    assert calls == [_call("HassTurnOff", name="Counter")]


def test_the_satellite_decides_between_rooms(prototype: HomePrototype):
    for area in ("Den", "Kitchen"):
        calls = _calls(prototype, "turn off the lights", _model(None, "HassTurnOff"), area=area)
        assert calls == [_call("HassTurnOff", area=area, domain="light")]


def test_what_fits_two_things_alike_is_left_undone(prototype: HomePrototype):
    entities = [{"id": f"light.{n}", "name": f"Harbor {n}"} for n in ("Left", "Right")]
    home, model = Home.from_dict({"areas": [], "entities": entities}), _model(None, "HassTurnOn", target=1)
    assert _calls(prototype, "turn on harbor", model, home) == []
    assert _calls(prototype, "turn on harbor right", model, home) == [_call("HassTurnOn", name="Harbor Right")]


def test_an_empty_home_answers_what_needs_no_home(prototype: HomePrototype):
    home, time = Home.from_dict({"areas": [], "entities": []}), "HassGetCurrentTime"
    assert _calls(prototype, "turn on the sink", _model(["turn on the sink"], "HassTurnOn", target=1), home) == []
    assert _calls(prototype, "what time is it", _model(None, time), home) == [_call(time)]


def test_a_large_home_is_searched_whole(prototype: HomePrototype):
    rows = [{"id": f"light.n{i}", "name": f"Lamp {i}", "area": f"Room {i % 12}"} for i in range(70)]
    rows.append({"id": "light.z", "name": "Heron", "area": "Room 3"})
    home = Home.from_dict({"areas": [{"name": f"Room {i}"} for i in range(12)], "entities": rows})
    calls = _calls(prototype, "turn on the heron", _model(None, "HassTurnOn"), home)
    assert calls == [_call("HassTurnOn", name="Heron")]


def test_prompts_share_their_beginning_and_treat_names_as_data(prototype: HomePrototype):
    rng, reached = Random(1), list[Any]()
    for size in (1, 8, 20):
        home = random_home(rng, size)
        for entity in home.entities:
            text = f"turn on the {entity.name}"
            model = _model([text], "HassTurnOn", target=1)
            answer = Pipeline(prototype, model).answer(text, {"home": home, "area": None})
            assert not answer.error
            for prompt in (p for batch in model.batches for p in batch):
                assert [role for role, _ in prompt.messages[:2]] == ["system", "user"]
                assert entity.name not in prompt.messages[0][1] or len(entity.name) < 6
            allowed = execute(home, [_call("HassTurnOn", name=entity.name)]).effects
            if allowed and any(map(str.isalnum, entity.name)):
                reached.append(execute(home, answer.calls).effects)
                assert reached[-1].items() <= allowed.items(), "nothing is reached but what was named"
    assert sum(map(bool, reached)) > len(reached) / 2


def test_wrong_numbers_and_values_are_refused(prototype: HomePrototype, monkeypatch: pytest.MonkeyPatch):
    ask = prototype.fill("set the counter to 20 or 30", "HassLightSet", {"home": plain_home(), "area": None})
    assert isinstance(ask, Ask)
    assert ask.read('{"brightness": 30}') == [_call("HassLightSet", name="Counter", brightness=30)]
    assert ask.read('{"brightness": 50}') == [_call("HassLightSet", name="Counter")]
    home = Home.from_dict({"areas": [], "entities": [{"id": f"{d}.x", "name": "Heron"} for d in ("light", "fan")]})
    monkeypatch.setattr(prototype.neighbours, "domains", lambda *_: {"light": 0.5, "fan": 0.4})
    ask = prototype.fill("turn on heron", "HassTurnOn", {"home": home, "area": None})
    assert isinstance(ask, Ask) and ask.read('{"target": 0}') == []
    assert ask.read('{"target": 2}') == [_call("HassTurnOn", name="Heron", domain="fan")]
    for raw in ('{"target": 9}', '{"target": -1}', "{}", '{"target": true}', '{"target": "1"}', "nonsense", "[]"):
        with pytest.raises(TaskError):
            ask.read(raw)


def test_every_function_is_explained_to_the_model():
    assert all(f"\n{name}: " in TEXTS["select"] for name in (*FUNCTIONS, NONE))


def test_a_pool_without_commands_is_refused():
    with pytest.raises(ValueError, match="training examples"):
        HomePrototype([])
    with pytest.raises(ValueError, match="training examples"):
        FewShot([])


def test_one_stage_prompts_end_in_the_request_and_begin_alike():
    home = plain_home()
    for prompts in (ZeroShot(), FewShot(_pool())):
        one = prompts.ask("turn on the sink", {"home": home, "area": "Den"}).prompt
        other = prompts.ask("is it warm", {"home": random_home(Random(2), 9), "area": None}).prompt
        assert one.messages[0] == other.messages[0] and one.messages[-1][1].endswith("turn on the sink")
        with pytest.raises(TaskError):
            prompts.ask("  ", {"home": home, "area": None})


def test_one_stage_answers_are_read_with_the_homes_names():
    context = {"home": plain_home(), "area": None}
    few = OneStageSystem(FewShot(_pool()), Scripted(lambda p: "HassTurnOn(name=1)"), "few")
    assert few.answer("turn on the sink", context).calls == [_call("HassTurnOn", name="Sink")]
    sink = [_call("HassTurnOn", name="Sink")]
    zero = OneStageSystem(ZeroShot(), Scripted(lambda p: json.dumps({"calls": sink})), "zero")
    assert zero.answer("x y", context).calls == sink
    for bad in ("{", '{"calls": 3}', '{"calls": [{"name": "Fly"}]}', "[]", "HassTurnOn(name=99)", ""):
        for prompts in (ZeroShot(), FewShot(_pool())):
            answer = OneStageSystem(prompts, Scripted(lambda p, bad=bad: bad), "bad").answer("turn it on", context)
            assert answer.calls == [] and answer.error, bad


def test_few_shot_examples_are_written_in_their_own_homes_numbers():
    prompt = FewShot(_pool(), shots=2).ask("turn on the sink now", {"home": plain_home(), "area": None}).prompt
    assert [role for role, _ in prompt.messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert prompt.messages[-2][1].startswith("HassTurnOn(name=")
    number = prompt.messages[-2][1].removeprefix("HassTurnOn(name=").removesuffix(")")
    assert f"{number} Sink" in prompt.messages[-3][1]
