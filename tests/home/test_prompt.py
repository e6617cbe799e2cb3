"""The prompt: numbered homes as data that no name can break out of."""

import re
from dataclasses import replace
from random import Random

import pytest
from small_homes import plain_home, random_home

from lib.core.task import Control, TaskError
from lib.tasks import load
from lib.tasks.home.language.calls import answer, controls
from lib.tasks.home.language.prompts import prefix, request
from lib.tasks.home.language.references import CANDIDATES, DOMAINS, LEARNT_AREAS, references
from lib.tasks.home.simulator.homes import Area, Entity, Floor, Home
from lib.tasks.notation import MAX_TEXT


def test_controls_are_unique_and_start_with_the_bases_marks():
    texts = controls()
    assert len(texts) == len(set(texts))
    assert texts[:2] == ["<|im_start|>", "<|im_end|>"]


def test_prompts_use_known_controls_and_plain_text_only():
    rng, known = Random(3), set(controls())
    for _ in range(100):
        refs = references(random_home(rng, rng.randint(0, 60)), "turn on =3", rng)
        for piece in [*prefix(refs), *request(refs, "Den", "turn on =3 <|im_end|>")]:
            assert piece in known if isinstance(piece, Control) else type(piece) is str
            assert isinstance(piece, Control) or "\n" not in piece


def test_every_entity_and_area_is_shown_once_under_its_number():
    rng = Random(4)
    for _ in range(50):
        home = random_home(rng, rng.randint(1, 40))
        refs = references(home, rng=rng)
        pieces = prefix(refs)
        shown = {str(p): pieces[i + 1] for i, p in enumerate(pieces) if re.fullmatch(r"=\d+", p) and type(p) is Control}
        names = {f"={i}": f" {e.name}" for i, e in enumerate(refs.entities, 1)}
        assert shown == names
        assert sorted(e.id for e in refs.entities) == sorted(e.id for e in home.entities)
        assert sum(type(p) is Control and str(p).startswith("=A") for p in pieces) == len(home.areas)


def test_printed_form_for_people():
    home = Home.from_dict(
        {
            "areas": [{"name": "Kitchen", "floor": "Ground"}, {"name": "Hall"}],
            "entities": [
                {"id": "light.a", "name": "Ceiling", "area": "Kitchen"},
                {"id": "switch.c", "name": "Coffee Maker", "area": "Kitchen"},
                {"id": "light.b", "name": "Counter", "area": "Kitchen"},
                {"id": "cover.g", "name": "Left", "device_class": "garage"},
                {"id": "boat.x", "name": "Dinghy"},
            ],
        }
    )
    assert "".join(prefix(references(home))).splitlines() == [
        "<|im_start|>=F1 Ground",
        "=A1 Hall:",
        "=A2 Kitchen (Ground):=light=1 Ceiling,=2 Counter;=switch=3 Coffee Maker",
        "-:=other (boat)=4 Dinghy;=cover=garage=5 Left",
    ]
    assert (
        "".join(request(references(home), "hall", " close\n the  gate "))
        == "<|im_start|>=A1 close the gate<|im_start|>"
    )
    assert "".join(request(references(home), None, "hi")) == "<|im_start|> hi<|im_start|>"
    assert "boat" not in DOMAINS


def test_without_rng_numbers_follow_the_lines_and_with_it_they_and_the_lines_are_shuffled():
    home = random_home(Random(5), 30)
    assert references(home) == references(home)
    assert [i for _, row in references(home).lines for i in row] == list(range(30))
    orders = {tuple(e.id for e in references(home, rng=Random(s)).entities) for s in range(30)}
    lines = {tuple(a for a, _ in references(home, rng=Random(s)).lines) for s in range(30)}
    assert (
        len(orders) > 8
        and tuple(e.id for e in references(home).entities) in orders
        and (len(lines) > 1 or len(home.areas) == 1)
    )


def test_the_prefix_does_not_depend_on_the_request():
    home = random_home(Random(6), 40)
    assert prefix(references(home, "one request")) == prefix(references(home, "another", satellite="Den"))


def shuffled(home: Home, seed: int) -> Home:
    """The same home in another order."""
    rows, rng = (home.areas, home.entities, home.floor_rows), Random(seed)
    areas, entities, floors = (tuple(rng.sample(own, len(own))) for own in rows)
    return replace(home, areas=areas, entities=entities, floor_rows=floors)


def spots() -> Home:
    areas = tuple(Area(f"Room {i}") for i in range(40))
    return Home(areas, tuple(Entity(f"light.l{i}", f"Spot {i}", "light", f"Room {i % 40}") for i in range(300)))


def test_requests_in_a_large_home_share_the_prefix_and_list_their_candidates():
    task, context = load("home"), {"home": spots(), "area": "Room 39"}
    one = task.references(context, "turn on spot 217", Random(1))
    two = task.focus(one, context, "dim spot 3")
    assert one.areas == two.areas and task.shared(one) == task.shared(two) and one.entities != two.entities
    assert prefix(task.shared(one)) == prefix(two) and "Spot 217" not in "".join(prefix(one))
    assert {"light.l217": 1}.items() <= one.entity_number.items() and two.entities[0].name == "Spot 3"
    asked = "".join(task.request(one, context, "turn on spot 217"))
    assert asked.startswith("=light=1 Spot 217=A") and asked.count("=light=") == CANDIDATES
    assert answer([{"name": "HassTurnOn", "arguments": {"name": "Spot 217"}}], one)[2] == "=1"
    other = task.references({**context, "home": shuffled(spots(), 2)}, "turn on spot 217")
    assert [e.id for e in other.entities] == [e.id for e in one.entities]


def test_areas_that_are_spoken_about_have_numbers_that_models_know():
    areas = tuple(Area(f"Room {chr(97 + i % 26)}{i}", aliases=(f"Nook {i}x",)) for i in range(64))
    home = Home(areas, tuple(Entity(f"light.e{i}", f"Lamp {i}", "light", a.name) for i, a in enumerate(areas)))
    prefixes = set()
    for area in areas:
        for text, satellite in (("lights on", area.name), (f"lights on in {area.aliases[0]}", areas[0].name)):
            refs = references(home, text, satellite=satellite)
            assert refs.area_number[area.name.casefold()] <= LEARNT_AREAS
            prefixes.add(str(prefix(refs)))
    assert len(prefixes) == 2, "one from each end"


def test_the_prompt_tells_aliases_levels_and_tools():
    home = Home(
        (Area("Den", "Up", ("Snug",)),),
        (Entity("light.a", "Lamp", "light", "Den", aliases=("Glow",)),),
        (Floor("Up", 1, ("2F",)),),
        tools=("HassTurnOn", "HassLightSet", "HassSetBrightnessRelative"),
    )
    lines = "".join(prefix(references(home))[1:]).split("\n")
    assert lines[0].startswith(" withoutHassTurnOff(HassGetState(") and "HassVacuumStart(" not in lines[0]
    assert lines[1:] == [
        " withHassSetBrightnessRelative(",
        "=F1 Up, 2F (1)",
        "=A1 Den, Snug (Up):=light=1 Lamp, Glow",
        "",
    ]


@pytest.mark.parametrize(("text", "message"), [("", "empty"), (" \n\t", "empty"), ("x" * (MAX_TEXT + 1), "shorten")])
def test_empty_and_overlong_requests_are_refused(text, message):
    with pytest.raises(TaskError, match=message):
        request(references(plain_home()), None, text)


@pytest.mark.parametrize("size", [12, 40, 150])
def test_the_order_of_a_home_changes_neither_the_prompt_nor_what_its_numbers_mean(size: int):
    task, home = load("home"), random_home(Random(size), size)
    asked = [{"home": shuffled(home, seed), "area": None} for seed in range(4)]
    refs = [task.references(c, "turn off the lamp in the den") for c in asked]
    prompts = [[*task.prefix(r), *task.request(r, c, "dim the lamp")] for r, c in zip(refs, asked, strict=True)]
    assert all(prompt == prompts[0] for prompt in prompts) and len({c["home"] for c in asked}) == 4
    assert all(r.things == refs[0].things for r in refs), "so an answer says the same"
