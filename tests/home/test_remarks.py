"""The words of a request without one."""

from random import Random

from lib.tasks.home.sampler.homes import sample_home
from lib.tasks.home.sampler.phrases import bank
from lib.tasks.home.sampler.wishes import remark
from lib.tasks.home.teacher.write import fault

ACTIONS = {"on": "HassTurnOn", "off": "HassTurnOff"}


def drawn(count, seed=3):
    rng = Random(seed)
    homes = [sample_home(rng, (6, 20)) for _ in range(count)]
    return [d for home in homes if (d := remark(rng, home, None))]


def test_remarks_ask_for_nothing_and_differ():
    draws = drawn(300)
    assert len(draws) > 150
    assert all(d.gold == [[]] and d.text.strip() and "{" not in d.text for d in draws)
    assert len({d.text for d in draws}) > 0.9 * len(draws)


def test_all_forms_of_an_action_are_there():
    assert all(set(forms) == {"do", "doing", "past", "done", "state"} for forms in bank()["remarks"].values())


def test_the_form_filter_knows_most_remarks_about_actions():
    """A remark taken for a way to switch something is told by its form, whatever its words."""
    texts = [d.text for d in drawn(300, seed=5) if " on" in d.text or " off" in d.text]
    call = [{"name": "HassTurnOn", "arguments": {"name": "Lamp"}}]
    told = [text for text in texts if fault(text, "lamp please", call)]
    assert len(texts) > 20
    assert len(told) > 0.75 * len(texts), [t for t in texts if t not in told]
