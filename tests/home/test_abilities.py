"""What the harder requests, the homes as sources tell them, and the answers with fewer tools must satisfy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

import pytest

from lib.tasks.home import TASK
from lib.tasks.home.examples import data
from lib.tasks.home.examples.checks import fault
from lib.tasks.home.language.calls import VERBS
from lib.tasks.home.sampler import abilities, groups, unsaid
from lib.tasks.home.sampler.copying import free_text
from lib.tasks.home.sampler.grammar import Draw
from lib.tasks.home.sampler.homes import is_held_out, sample_home
from lib.tasks.home.sampler.policy import settled
from lib.tasks.home.sampler.sources import BRIGHTNESS, as_told, varied
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Area, Entity, Floor, Home
from lib.tasks.home.simulator.tools import ASSIST, TOOLS, fitting
from lib.tasks.notation import MAX_CALLS

SPANS = {"item", "search_query", "message", "conversation_command"}


@pytest.fixture(scope="module")
def homes() -> list[Home]:
    rng = Random(21)
    return [varied(rng, sample_home(rng, (3, 60))) for _ in range(120)]


@pytest.fixture(scope="module")
def rows(homes: list[Home]) -> list[tuple[str, Draw, Home]]:
    rng = Random(22)
    found = [(x, data.draw_request(rng, h, x, True), h) for h in homes for x in (*data.LEVELS, "L8", "L8", "L8")]
    return [(level, draw, home) for level, draw, home in found if draw]


def small(*entities: tuple[str, str, str], floors: tuple[Floor, ...] = (), places: str = "", **more: object) -> Home:
    """A home of (name, domain, area) and "area:floor" pairs."""
    above = dict(pair.split(":") for pair in places.split())
    areas = tuple(Area(name, above.get(name)) for name in dict.fromkeys(area for _, _, area in entities))
    things = tuple(Entity(f"{d}.e{i}", n, d, a) for i, (n, d, a) in enumerate(entities))
    return Home(areas, things, floors, **more)  # type: ignore[arg-type]


def test_every_gold_can_be_carried_out_and_taught(rows: list[tuple[str, Draw, Home]]) -> None:
    for level, draw, home in rows:
        example = data.to_example("x", "h", level, draw, "train")
        assert not fault(example, home, draw.area), draw
        assert all(call["name"] in fitting(home) for gold in draw.gold for call in gold), draw
        context = {"home": home, "area": draw.area}
        assert TASK.taught(example, TASK.references(context, draw.text)), draw
        assert len(draw.gold[0]) <= MAX_CALLS


def test_free_text_is_a_span_of_the_request(rows: list[tuple[str, Draw, Home]]) -> None:
    seen = set()
    for _, draw, _ in rows:
        for call in (call for gold in draw.gold for call in gold):
            timer = {"name"} if "Timer" in call["name"] else set()
            for key in call["arguments"].keys() & (SPANS | timer):
                value = call["arguments"][key]
                verb = (
                    next((v for v in VERBS if value.startswith(f"{v} ")), "") if key == "conversation_command" else ""
                )
                assert value in draw.text or value.removeprefix(f"{verb} ") in draw.text, draw
                seen.add(key)
    assert seen >= {"item", "search_query", "conversation_command"}


def test_what_is_asked_back_is_marked_and_offered(rows: list[tuple[str, Draw, Home]]) -> None:
    asked = [(draw, home) for _, draw, home in rows if draw.ask]
    assert len(asked) > 20
    for draw, home in asked:
        assert draw.gold == [[]] and draw.ask
        assert list(draw.ask["arguments"].values()).count("?") == 1 and draw.ask["name"] in fitting(home)
        assert draw.ask["arguments"].keys() <= {a.name for a in TOOLS[draw.ask["name"]].arguments} | {"domain"}


def test_as_home_assistant_tells_a_home(homes: list[Home]) -> None:
    for home in homes:
        told = as_told(home)
        assert not any(e.device_class or e.aliases or e.domain == "script" for e in told.entities)
        assert not told.floors and {a.name for a in told.areas} == {e.area for e in told.entities if e.area}
        assert told.tools is not None and set(told.tools) <= {*ASSIST, BRIGHTNESS}
        assert [e.name for e in told.entities] == sorted(e.name for e in told.entities)
    assert 0.15 < sum(home.entities == as_told(home).entities for home in homes) / len(homes) < 0.45


def test_homes_vary_as_real_ones_do() -> None:
    rng = Random(5)
    some = [varied(rng, sample_home(rng, (1, 200))) for _ in range(400)]
    assert all(Home.from_dict(home.to_dict()) == home for home in some)
    assert (
        0.04 < sum(len(h.entities) > 40 for h in some) / len(some) < 0.13 and max(len(h.entities) for h in some) > 100
    )
    for wanted in (
        lambda h: any(e.aliases for e in h.entities),
        lambda h: any(", " in e.name for e in h.entities),
        lambda h: any(f.level is not None for f in h.floor_rows),
        lambda h: any(f.aliases for f in h.floor_rows),
        lambda h: h.unit == "°F",
        lambda h: h.tools is not None and BRIGHTNESS in h.tools,
        lambda h: h.tools is not None and "HassStartTimer" not in h.tools,
        lambda h: len({(e.name, e.domain) for e in h.entities}) < len(h.entities),
        lambda h: sum(bool(re.search(r" \d+$", e.name)) for e in h.entities) > 2,
    ):
        assert sum(map(wanted, some)) > 0.03 * len(some)
    assert not [a for h in some for e in h.entities for a in e.aliases if is_held_out(a)]


def drawn(build: abilities.Builder, homes: list[Home], seed: int) -> Iterator[tuple[Draw, Home]]:
    rng = Random(seed)
    for home in homes * 4:
        area = rng.choice([None, *(a.name for a in home.areas)])
        if draw := build(rng, home, area):
            yield draw, home


def test_exclusions_hit_all_but_what_is_left_out(homes: list[Home]) -> None:
    for draw, home in drawn(groups.all_but, homes, 6):
        assert not execute(home, draw.gold[0], draw.area).errors and len(draw.gold[0]) <= MAX_CALLS
    rng, seen = Random(10), 0
    for home in homes:
        lights = [e for e in home.entities if e.domain == "light"]
        wanted = rng.sample(lights, rng.randint(0, len(lights)))
        calls = groups.smallest(home, "HassTurnOff", [{"domain": "light"}], wanted)
        assert calls is None or execute(home, calls).effects.keys() == {e.id for e in wanted}
        seen += bool(calls)
    assert seen > 40
    home = small(
        ("Lamp", "light", "Den"), ("Spot", "light", "Hall"), ("Bulb", "light", "Hall"), ("TV", "media_player", "Den")
    )
    hall = [e for e in home.entities if e.area == "Hall"]
    kinds = [{"domain": "light"}]
    assert groups.smallest(home, "HassTurnOff", kinds, hall) == [
        {"name": "HassTurnOff", "arguments": {"area": "Hall", "domain": "light"}}
    ]
    assert groups.smallest(home, "HassTurnOff", kinds, hall[:1]) == [
        {"name": "HassTurnOff", "arguments": {"name": "Spot"}}
    ]
    many = small(*((f"L{i}", "light", "Den") for i in range(15)))
    assert groups.smallest(many, "HassTurnOn", kinds, many.entities[:13]) is None


@pytest.mark.parametrize(
    ("places", "levels", "meant"),
    [
        ("Den:Ground|Floor Bed:Upstairs", {}, {"downstairs": "Ground Floor", "top floor": "Upstairs"}),
        (
            "Den:First|Floor Bed:Second|Floor",
            {},
            {"upstairs": "Second Floor", "2f": "Second Floor", "ground floor": None},
        ),
        ("Den:Low Bed:High", {"Low": 0, "High": 1}, {"ground floor": "Low", "upstairs": "High", "first floor": None}),
        ("Den:Low Bed:High", {}, {"upstairs": None, "downstairs": None}),
        ("Den:Ground Bed:First Loft:Second", {}, {"upstairs": None, "top floor": "Second", "first floor": "First"}),
    ],
)
def test_floors_by_words_that_mean_only_them(places: str, levels: dict[str, int], meant: dict[str, str | None]) -> None:
    pairs = [pair.replace("|", " ") for pair in places.split()]
    areas = tuple(Area(*pair.split(":")) for pair in pairs)
    floors = tuple(Floor(name, level) for name, level in levels.items())
    words = groups.floor_words(Home(areas, (Entity("light.a", "Lamp", "light", "Den"),), floors))
    for word, floor in meant.items():
        assert next((f for f, some in words.items() if word in some), None) == floor, word


def test_delays_wait_and_durations_end(homes: list[Home]) -> None:
    for draw, _ in drawn(abilities._after, homes, 7):
        assert [c["name"] for c in draw.gold[0]] == ["HassStartTimer"]
        assert {"hours", "minutes", "seconds"} & draw.gold[0][0]["arguments"].keys()
    for draw, home in drawn(abilities._lasting, homes, 8):
        assert draw.gold == [[]] or draw.gold[0][-1]["name"] == "HassStartTimer"
        assert bool(draw.gold[0]) == ("HassStartTimer" in fitting(home))


def test_the_satellites_room_decides_between_devices_of_one_name() -> None:
    home = small(("TV", "media_player", "Den"), ("TV", "media_player", "Bed"), ("Sofa Light", "light", "Den"))
    rng = Random(9)
    here = [d for _ in range(200) if (d := unsaid.here(rng, home, "Den"))]
    assert here and all(call["arguments"].get("area") == "Den" for d in here for call in d.gold[0])
    players = [d for _ in range(50) if (d := unsaid.player(rng, home, None))]
    assert players and all(d.ask and d.ask["arguments"] == {"name": "?"} for d in players)


@pytest.mark.parametrize(
    ("tool", "arguments", "lacks", "answer"),
    [
        ("HassTurnOff", {"name": "Blind"}, "HassTurnOff", "HassSetPosition"),
        ("HassTurnOff", {"name": "Lamp"}, "HassTurnOff", "HassLightSet"),
        ("HassSetPosition", {"name": "Blind", "position": 100}, "HassSetPosition", "HassTurnOn"),
        ("HassSetPosition", {"name": "Blind", "position": 40}, "HassSetPosition", ""),
        ("HassToggle", {"name": "Lamp"}, "HassToggle", ""),
        ("HassGetState", {"name": "Lamp"}, "HassGetState", ""),
        ("HassShoppingListAddItem", {"item": "milk"}, "", "HassListAddItem"),
    ],
)
def test_with_a_tool_missing_another_one_of_the_same_effect_or_nothing(
    tool: str, arguments: dict[str, object], lacks: str, answer: str
) -> None:
    some = (("Lamp", "light", "Den"), ("Blind", "cover", "Den"), ("Groceries", "todo", "Den"))
    home = small(*some, tools=tuple(t for t in TOOLS if t != lacks))
    draw = settled(Draw.of("get milk", None, tool, arguments, "x"), home)
    assert draw and [c["name"] for c in draw.gold[0]] == ([answer] if answer else [])
    if answer and "item" not in arguments:
        assert execute(home, draw.gold[0]) == execute(home, [{"name": tool, "arguments": arguments}])


def test_a_step_without_its_tool_asks_for_the_value() -> None:
    arguments = {"area": "Den", "brightness_step": "up"}
    lamp, tool = ("Lamp", "light", "Den"), BRIGHTNESS
    offered = settled(Draw.of("brighter", "Den", tool, arguments, "x"), small(lamp, tools=(tool, "HassLightSet")))
    asked = settled(Draw.of("brighter", "Den", tool, arguments, "x"), small(lamp))
    assert offered and offered.gold[0][0]["name"] == tool
    assert asked and asked.ask == {
        "name": "HassLightSet",
        "arguments": {"area": "Den", "domain": "light", "brightness": "?"},
    }


def test_free_texts_are_of_any_words() -> None:
    rng = Random(4)
    texts = [free_text(rng, "item") for _ in range(2000)]
    words = [w.casefold() for t in texts for w in t.split()]
    assert len(set(texts)) > 1600 and len(set(words)) > 1000 and max(map(len, texts)) <= 48
    for sign in ("&", "'", "1", "é"):
        assert any(sign in t for t in texts)
    assert any(t.isupper() for t in texts) and any(t.islower() for t in texts)
