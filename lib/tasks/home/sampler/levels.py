"""Requests beyond the grammar, by level of difficulty (L1 to L4).

L1 partial or reordered names and politeness; L2 free verbs and amounts, and requests that are about no device; L3
several targets, exclusions, two or three commands; L4 self-correction, speech-recognition noise, typing errors.
"""

from __future__ import annotations

from random import Random
from typing import Any

from lib.tasks.home.sampler import phrases
from lib.tasks.home.sampler.commands import Command, Target, entity_target, matching, render, sample_command
from lib.tasks.home.sampler.grammar import Draw, Found, draw
from lib.tasks.home.sampler.groups import all_but
from lib.tasks.home.sampler.homes import fits, wordings
from lib.tasks.home.sampler.phrases import ACTIONS, bank, phrase, politely, say, spelt
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.simulator.tools import free_texts


def satellite(rng: Random, home: Home, share: float = 0.5) -> str | None:
    """The area of the satellite that hears the request, if it has one."""
    return say(rng, home.areas).name if home.areas and rng.random() < share else None


def partial(rng: Random, home: Home) -> Found:
    """L1: plain verbs, loose names, polite frames."""
    return _command(rng, home, satellite(rng, home), False, 0.6)


def free(rng: Random, home: Home) -> Found:
    """L2: free verbs, amounts as fractions, requests without a target, timers."""
    area = satellite(rng, home)
    if rng.random() < 0.16:
        return _timer(rng, area) if rng.random() < 0.5 else _general(rng, area)
    return _command(rng, home, area, True, 0.3)


def _command(rng: Random, home: Home, area: str | None, free: bool, polite: float) -> Found:
    command = sample_command(rng, home, area, free)
    if command is None:
        return None
    return _one(command, politely(rng, command.text) if rng.random() < polite else command.text, area)


def _one(command: Command, text: str, area: str | None) -> Draw:
    return Draw(text, area, [[command.call]], command.action.tool, command.combination)


def _general(rng: Random, area: str | None) -> Draw:
    row = say(rng, bank()["general"])
    template = say(rng, row["text"])
    arguments = {key: phrase(rng, f"{{{key}}}") for key in (row.get("free_text"),) if key}
    text = phrase(rng, template, i="".join(arguments.values()))
    return Draw.of(text, area, row["tool"], arguments, f"general:{template}:-")


def _timer(rng: Random, area: str | None) -> Draw:
    kind = say(rng, ("start", "start", "start_named", "add", "remove"))
    template = say(rng, bank()["timers"][kind])
    spoken, arguments = duration(rng)
    name = phrase(rng, "{name}")
    arguments |= {"name": name} if kind == "start_named" else {}
    text = phrase(rng, template, d=spoken, i=name)
    return Draw.of(text, area, wordings()["timers"][kind], arguments, f"timer:{template}:-")


def duration(rng: Random) -> tuple[str, dict[str, Any]]:
    """A duration as spoken and as hours, minutes, seconds."""
    share = rng.random()
    if share < 0.2:
        spoken, arguments = say(rng, list(wordings()["durations"].items()))
        return spoken, dict(arguments)
    unit = say(rng, ("minute", "minute", "minute", "hour", "second"))
    first, number = _count(rng, unit, 1 if unit == "hour" else 2)
    if share > 0.85 and unit != "second":
        other = "second" if unit == "minute" else "minute"
        second, more = _count(rng, other, 5)
        return f"{first} {say(rng, ('and ', ''))}{second}", {f"{unit}s": number, f"{other}s": more}
    return first, {f"{unit}s": number}


def _count(rng: Random, unit: str, low: int) -> tuple[str, int]:
    top, round_ones = (12, (1, 2, 3)) if unit == "hour" else (59, (5, 10, 15, 20, 30, 45))
    number = rng.randint(low, top) if rng.random() < 0.5 else rng.choice(round_ones)
    return f"{spelt(rng, number)} {unit}{'' if number == 1 else 's'}", number


def several(rng: Random, home: Home) -> Found:
    """L3: two targets of one verb, all but one, two things about one target, two or three commands."""
    build = say(rng, (_two_targets, _two_targets, all_but, _commands, _commands, _commands, _both))
    return build(rng, home, satellite(rng, home))


def _two_targets(rng: Random, home: Home, area: str | None) -> Found:
    action = ACTIONS[say(rng, wordings()["several"])]
    able = [e for e in home.entities if fits(e, action.kinds)]
    if len(able) < 2:
        return None
    chosen = rng.sample(able, min(len(able), 3 if rng.random() < 0.2 else 2))
    targets = [entity_target(rng, home, e, action.kinds, 0.5) for e in chosen]
    found = [t for t in targets if t]
    if len(found) < len(targets):
        return None
    spoken = say(rng, wordings()["links"]).join([", ".join(t.text for t in found[:-1]), found[-1].text])
    template = say(rng, action.simple if rng.random() < 0.6 else action.free)
    first = render(rng, action, Target(spoken, found[0].arguments, found[0].domain), template, True)
    shared = {k: v for k, v in first.call["arguments"].items() if k not in ("name", "domain", "area")}
    calls = [{"name": action.tool, "arguments": {**t.arguments, **shared}} for t in found]
    return Draw(first.text, area, [calls], action.tool, f"several:{template}:{found[0].domain}")


def _both(rng: Random, home: Home, area: str | None) -> Found:
    """One light, two wishes: on and blue, blue at half; one call sets both."""
    lights = [e for e in home.entities if e.domain == "light"]
    target = entity_target(rng, home, say(rng, lights), ("light",), 0.5) if lights else None
    if target is None:
        return None
    first, second = rng.sample([ACTIONS["on"], ACTIONS["brightness"], ACTIONS["color"]], 2)
    if second.name == "on":
        first, second = second, first
    one = render(rng, first, target, say(rng, first.simple), False)
    it = Target("it", target.arguments, "light")
    two = render(rng, second, it, say(rng, [t for t in second.simple if not t.startswith("{t}")]), False)
    text = one.text + say(rng, (" and ", " and then ", ", then ")) + two.text
    call = {"name": "HassLightSet", "arguments": {**one.call["arguments"], **two.call["arguments"]}}
    return Draw(text, area, [[call]], "HassLightSet", f"both:{one.template}+{two.template}:light")


def _commands(rng: Random, home: Home, area: str | None) -> Found:
    count = 3 if rng.random() < 0.25 else 2
    found: list[Command] = []
    for _ in range(count * 3):
        if len(found) < count:
            command = sample_command(rng, home, area, free=rng.random() < 0.5, attempts=8)
            found += [command] if command and not any(clash(command, other) for other in found) else []
    if len(found) < 2:
        return None
    text = phrases.joined(rng, [c.text for c in found])
    text = politely(rng, text) if rng.random() < 0.3 else text
    return Draw(text, area, [[c.call for c in found]], found[0].action.tool, "+".join(c.combination for c in found))


def clash(one: Command, other: Command) -> bool:
    """Whether two commands could touch the same thing, or a free text would swallow what follows it."""
    if other.action.free_text or one.action.free_text:
        return True
    left, right = one.target.arguments, other.target.arguments
    unnamed = "name" not in left or "name" not in right
    return one.target.domain == other.target.domain and (left == right or unnamed)


def noisy(rng: Random, home: Home) -> Found:
    """L4: corrections, recognition noise, typing errors."""
    share = rng.random()
    if share < 0.4:
        return _correction(rng, home, satellite(rng, home))
    base = draw(rng, home) if rng.random() < 0.3 else say(rng, (partial, free))(rng, home)
    if base is None or not base.gold[0] or _spells(base):
        return None
    text = phrases.misheard(rng, base.text) if share < 0.7 else phrases.mistyped(rng, base.text)
    return Draw(text, base.area, base.gold, base.intent, f"noisy:{base.combination}")


def _spells(base: Draw) -> bool:
    """Whether an argument is free text, which noise would change."""
    return any(c["arguments"].keys() & {*free_texts(c["name"])} for c in base.gold[0])


def _correction(rng: Random, home: Home, area: str | None) -> Found:
    """A target, a verb or a value taken back in mid-sentence."""
    command = sample_command(rng, home, area, free=rng.random() < 0.4)
    if command is None or command.action.free_text or command.action.flags:
        return None
    share = rng.random()
    if share < 0.55:
        return _other_target(rng, home, command, area)
    if command.action.value and share < 0.85:
        wrong: Command | None = render(rng, command.action, command.target, command.template, False)
    else:
        wrong = sample_command(rng, home, area, free=False)
    if wrong is None or wrong.call == command.call:
        return None
    return _one(command, wrong.text + rng.choice(bank()["corrections"]) + command.text, area)


def _other_target(rng: Random, home: Home, command: Command, area: str | None) -> Found:
    kinds, meant = command.action.kinds, command.target
    wrong = say(rng, [e for e in home.entities if fits(e, kinds)])
    said = entity_target(rng, home, wrong, kinds, 0.5)
    if said is None or said.arguments == meant.arguments or not meant.text or meant.text not in command.text:
        return None
    last = command.text.endswith(meant.text)
    if not last and not matching(home, said.text, kinds):
        return None
    before = command.text.replace(meant.text, said.text, 1)
    repeat = say(rng, (meant.text, command.text)) if last else command.text
    return _one(command, before + rng.choice(bank()["corrections"]) + repeat, area)
