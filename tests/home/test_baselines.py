"""The systems to compare with: known results, and what they do with homes they have never seen."""

from pathlib import Path
from random import Random

import pytest
from small_homes import plain_home

from lib.core.task import Example, TaskError
from lib.tasks.home.baselines.rules import Hassil, HomeAssistantAgent
from lib.tasks.home.baselines.tfidf import TfidfBaseline
from lib.tasks.home.examples.checks import third_party as load
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.score import score
from lib.tasks.home.teacher.retrieval import delexicalise

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "third_party"
HOME = plain_home()


def call(name, /, **arguments):
    return {"name": name, "arguments": arguments}


def ask(system, text, area=None, home=HOME):
    return system.answer(text, {"home": home, "area": area}).calls


@pytest.fixture(scope="module")
def hassil():
    return Hassil()


@pytest.fixture(scope="module")
def tfidf():
    return TfidfBaseline(training())


def home_of(words, rng):
    areas = [{"name": f"{w} Room", "floor": None} for w in words]
    entities = [
        {"id": f"{d}.{w.lower()}", "name": f"{w} {t}", "area": f"{w} Room"}
        for w in words
        for d, t in (("light", "Lamp"), ("lock", "Door"), ("cover", "Blind"))
    ]
    rng.shuffle(entities)
    return Home.from_dict({"areas": areas, "entities": [*entities, {"id": "todo.list", "name": "Errands"}]})


def requests(home, rng):
    for e in home.entities:
        if e.domain == "light":
            n = rng.randint(1, 99)
            yield f"switch on the {e.name}", [call("HassTurnOn", name=e.name)]
            yield f"set {e.name} to {n} percent", [call("HassLightSet", name=e.name, brightness=n)]
            yield f"lights off in the {e.area}", [call("HassTurnOff", area=e.area, domain="light")]
        elif e.domain == "lock":
            yield f"unlock the {e.name}", [call("HassTurnOff", name=e.name)]
    item = rng.choice(("milk", "green tea"))
    yield f"put {item} on the Errands list", [call("HassListAddItem", name="Errands", item=item)]
    yield "what a day", []


def training(words=("Oak", "Elm", "Fir"), seed=1):
    rng = Random(seed)
    home = home_of(words, rng)
    for i, (text, gold) in enumerate(requests(home, rng)):
        yield Example(str(i), text, {"home": home, "area": None}, [gold], "L0", "test", "train")


@pytest.mark.parametrize(
    ("text", "area", "calls"),
    [
        ("turn on the sink", None, [call("HassTurnOn", name="Sink")]),
        ("Please set COUNTER brightness to fifty percent", None, [call("HassLightSet", name="Counter", brightness=50)]),
        ("turn off the lights", "Den", [call("HassTurnOff", area="Den", domain="light")]),
        ("turn off the lights in here", None, []),
        ("lock the front door", None, [call("HassTurnOn", name="Front Door")]),
        ("open the gate", None, [call("HassTurnOn", name="Gate")]),
        ("add a new broom to my chores list", None, [call("HassListAddItem", name="Chores", item="a new broom")]),
        ("set a timer for 5 minutes", None, [call("HassStartTimer", minutes=5)]),
        ("make it cosy", "Den", []),
        ("", None, []),
        ("sink " * 500, None, []),
    ],
)
def test_hassil_answers_what_its_templates_match(hassil, text, area, calls):
    assert ask(hassil, text, area) == calls


def test_hassil_reports_its_template_and_its_latency(hassil):
    answer = hassil.answer("turn on the sink", {"home": HOME, "area": None})
    assert "{name}" in answer.raw and answer.latency_ms > 0 and answer.confidence == 1.0


def test_hassil_speaks_other_languages_and_refuses_unknown_ones():
    assert ask(Hassil("de"), "schalte Sink ein") == [call("HassTurnOn", name="Sink")]
    with pytest.raises(TaskError, match="unknown language 'xx': use one of"):
        Hassil("xx")


@pytest.fixture(scope="module")
def agent():
    return HomeAssistantAgent()


@pytest.mark.parametrize(
    ("text", "area", "calls"),
    [
        ("flick the sink on", None, [call("HassTurnOn", name="Sink")]),
        (
            "flick on the sink and the counter",
            None,
            [call("HassTurnOn", name="Sink"), call("HassTurnOn", name="Counter")],
        ),
        ("flick on the lights", "Den", [call("HassTurnOn", area="Den", domain="light")]),
        ("do something about the sink", None, []),
        ("what a lovely day", "Den", []),
        ("", None, []),
        ("sink " * 500, None, []),
    ],
)
def test_home_assistants_agent_goes_on_where_no_template_fits(agent, hassil, text, area, calls):
    assert ask(hassil, text, area) == [] and ask(agent, text, area) == calls


def test_home_assistants_agent_gives_hassils_answer_first(agent, hassil):
    text, context = "lock the front door", {"home": HOME, "area": None}
    assert agent.answer(text, context).calls == hassil.answer(text, context).calls != []


def test_home_assistants_agent_names_entities_and_changes_homes(agent):
    rows = [("light.a", "Beacon", "Den"), ("light.b", "Beacon", "Hall"), ("vacuum.r", "Rosie", None)]
    areas = [{"name": "Den", "floor": "Up"}, {"name": "Hall", "floor": None}]
    entities = [{"id": key, "name": name, "area": area} for key, name, area in rows]
    home = Home.from_dict({"areas": areas, "entities": entities})
    assert ask(agent, "flick the beacon on", "Hall", home) == [
        call("HassTurnOn", name="Beacon", domain="light", area="Hall")
    ]
    assert ask(agent, "clean the den with rosie", None, home) == [call("HassVacuumCleanArea", name="Rosie", area="Den")]
    assert ask(agent, "flick the sink on", None, home) == [], "the names of the home before are forgotten"


@pytest.mark.parametrize("kind", [Hassil, HomeAssistantAgent])
def test_rules_know_aliases_and_names_with_several_forms(kind):
    entities = [{"id": "light.l", "name": "Plug 2, Salt Lamp", "area": "Den", "aliases": ["glow stone"]}]
    areas = [{"name": "Den", "floor": "Ground", "aliases": ["snug"]}]
    home = Home.from_dict({"areas": areas, "entities": entities, "floors": [{"name": "Ground", "aliases": ["bottom"]}]})
    for said in ("salt lamp", "glow stone"):
        assert ask(kind(), f"turn on the {said}", None, home) == [call("HassTurnOn", name="Plug 2, Salt Lamp")]
    assert ask(kind(), "turn on the lights in the snug", None, home) == [call("HassTurnOn", area="Den", domain="light")]
    assert ask(kind(), "turn off all lights on the bottom floor", None, home) == [
        call("HassTurnOff", floor="Ground", domain="light")
    ]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the third-party files are not here")
@pytest.mark.parametrize(("name", "known"), [("assist_mini", 28), ("habench_small", 47)])
def test_hassils_known_results(hassil, name, known):
    right = sum(score(e, hassil.answer(e.text, e.context).calls).exact for e in load(FOLDER)[name])
    assert abs(right - known) <= 2


def test_delexicalise_prefers_the_longest_mention():
    names = {"light.a": "Den", "fan.b": "Den Fan", "light.b": "den fan"}
    entities = [{"id": key, "name": name} for key, name in names.items()]
    home = Home.from_dict({"areas": [{"name": "Den", "floor": "Up"}], "entities": entities})
    said = delexicalise("Den fan to twenty five, den up 3.5%", home)
    assert said.text == "NAMEfanlight to NUMBER NAMElight FLOOR NUMBER %"
    assert [[e.id for e in some] for some in said.slots["name"]] == [["fan.b", "light.b"], ["light.a"]]
    assert said.slots["number"] == [25, 3.5] and said.slots["floor"] == ["Up"]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("switch on the ash lamp", [call("HassTurnOn", name="Ash Lamp")]),
        ("set Yew Lamp to forty two percent", [call("HassLightSet", name="Yew Lamp", brightness=42)]),
        ("lights off in the yew room", [call("HassTurnOff", area="Yew Room", domain="light")]),
        ("unlock the yew door", [call("HassTurnOff", name="Yew Door")]),
        ("put oat milk on the errands list", [call("HassListAddItem", name="Errands", item="oat milk")]),
        ("what a lovely day", []),
        ("", []),
    ],
)
def test_tfidf_copies_slots_from_a_home_it_has_never_seen(tfidf, text, calls):
    assert ask(tfidf, text, home=home_of(("Ash", "Yew"), Random(5))) == calls


def test_tfidf_learns_its_training_requests(tfidf):
    assert all(score(e, ask(tfidf, e.text, home=e.context["home"])).exact for e in training())


def test_tfidf_needs_something_to_learn_from():
    with pytest.raises(ValueError, match="no example to learn from"):
        TfidfBaseline([])
