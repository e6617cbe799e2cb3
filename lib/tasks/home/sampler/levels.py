"""Requests beyond the grammar, by level of difficulty (L1 to L4; ``wishes.py`` has L5 and L6).

L1 partial or reordered names and politeness; L2 free verbs and amounts; L3 several targets, exclusions, two or three
commands; L4 self-correction, speech-recognition noise, typing errors.
"""

from __future__ import annotations

from random import Random

from lib.core.task import Call
from lib.tasks.home.language.gold import name_arguments
from lib.tasks.home.sampler import noise
from lib.tasks.home.sampler.commands import Command, plural_of, render, sample_command
from lib.tasks.home.sampler.grammar import Draw, Sampler
from lib.tasks.home.sampler.phrases import ACTIONS, phrase, say
from lib.tasks.home.sampler.plain import general, timer
from lib.tasks.home.sampler.targets import Target, entity_target, fits, matching
from lib.tasks.home.simulator.homes import Entity, Home

Found = Draw | None


def satellite(rng: Random, home: Home, share: float = 0.5) -> str | None:
    """The area of the satellite that hears the request, if it has one."""
    return say(rng, home.areas).name if home.areas and rng.random() < share else None


def partial(rng: Random, home: Home) -> Found:
    """L1: plain verbs, loose names, polite frames."""
    area = satellite(rng, home)
    command = sample_command(rng, home, area, free=False)
    if command is None:
        return None
    text = noise.politely(rng, command.text) if rng.random() < 0.6 else command.text
    return _one(command, text, area)


def free(rng: Random, home: Home) -> Found:
    """L2: free verbs, amounts as fractions, requests without a target, timers."""
    area = satellite(rng, home)
    if rng.random() < 0.16:
        return timer(rng, area) if rng.random() < 0.5 else general(rng, area)
    command = sample_command(rng, home, area, free=True)
    if command is None:
        return None
    text = noise.politely(rng, command.text) if rng.random() < 0.3 else command.text
    return _one(command, text, area)


def _one(command: Command, text: str, area: str | None) -> Draw:
    return Draw(text, area, [[command.call]], command.action.tool, command.combination)


def several(rng: Random, home: Home) -> Found:
    """L3: two targets of one verb, all but one, two things about one target, two or three commands."""
    build = say(rng, (_two_targets, _two_targets, _all_but, _commands, _commands, _commands, _both))
    return build(rng, home, satellite(rng, home))


def _two_targets(rng: Random, home: Home, area: str | None) -> Found:
    action = ACTIONS[
        say(rng, ("on", "off", "open", "close", "lock", "unlock", "brightness", "color", "toggle", "on", "off"))
    ]
    able = [e for e in home.entities if fits(e, action.kinds)]
    if len(able) < 2:
        return None
    targets = [
        entity_target(rng, home, e, action.kinds, 0.5)
        for e in rng.sample(able, min(len(able), 3 if rng.random() < 0.2 else 2))
    ]
    if any(t is None for t in targets):
        return None
    found = [t for t in targets if t]
    link = say(rng, (" and ", " and ", " and also ", " as well as ", " plus "))
    spoken = link.join([", ".join(t.text for t in found[:-1]), found[-1].text])
    template = say(rng, action.simple if rng.random() < 0.6 else action.free)
    first = render(rng, action, Target(spoken, found[0].arguments, found[0].domain, "several"), template, True)
    shared = {k: v for k, v in first.call["arguments"].items() if k not in ("name", "domain", "area")}
    calls: list[Call] = [{"name": action.tool, "arguments": {**t.arguments, **shared}} for t in found]
    return Draw(first.text, area, [calls], action.tool, f"several:{template}:{found[0].domain}")


def _all_but(rng: Random, home: Home, area: str | None) -> Found:
    """ "All the lights in the kitchen except the lamp": the others by name, four at most."""
    domain = say(rng, ("light", "light", "switch", "fan", "cover", "lock"))
    spared = [e for e in home.entities if e.domain == domain]
    if not spared:
        return None
    kept = say(rng, spared)
    others = [e for e in spared if e is not kept and e.area == kept.area and e.device_class == kept.device_class]
    target = entity_target(rng, home, kept, (domain,), 0.7)
    names = [name_arguments(home, e) for e in others]
    if not 1 <= len(others) <= 4 or target is None or kept.area is None or any(n is None for n in names):
        return None
    action = ACTIONS[say(rng, {"cover": ("open", "close"), "lock": ("lock", "unlock")}.get(domain, ("on", "off")))]
    plural = plural_of(kept)
    group = say(
        rng,
        (
            f"all the {plural} in the {kept.area}",
            f"the {kept.area} {plural}",
            f"every {plural.removesuffix('s')} in the {kept.area}",
            f"all {kept.area} {plural}",
        ),
    )
    but = say(rng, (" except ", " but not ", " apart from ", " except for ", " but leave out ", " other than "))
    template = say(rng, action.simple)
    text = phrase(rng, template, t=group) + but + target.text
    return Draw(
        text,
        area,
        [[{"name": action.tool, "arguments": n} for n in names if n]],
        action.tool,
        f"all_but:{template}:{domain}",
    )


def _both(rng: Random, home: Home, area: str | None) -> Found:
    """One light, two wishes: on and blue, blue at half."""
    lights = [e for e in home.entities if e.domain == "light"]
    target = entity_target(rng, home, say(rng, lights), ("light",), 0.5) if lights else None
    if target is None:
        return None
    first, second = rng.sample([ACTIONS["on"], ACTIONS["brightness"], ACTIONS["color"]], 2)
    if second.name == "on":
        first, second = second, first
    one = render(rng, first, target, say(rng, first.simple), False)
    it = Target("it", target.arguments, "light", "pronoun")
    two = render(rng, second, it, say(rng, [t for t in second.simple if not t.startswith("{t}")]), False)
    return Draw(
        one.text + say(rng, (" and ", " and then ", ", then ")) + two.text,
        area,
        [[one.call, two.call]],
        first.tool,
        f"both:{one.template}+{two.template}:light",
    )


def _commands(rng: Random, home: Home, area: str | None) -> Found:
    count = 3 if rng.random() < 0.25 else 2
    found: list[Command] = []
    for _ in range(count * 3):
        command = sample_command(rng, home, area, free=rng.random() < 0.5, attempts=8)
        if command and not any(_clash(command, other) for other in found):
            found.append(command)
        if len(found) == count:
            break
    if len(found) < 2:
        return None
    text = noise.joined(rng, [c.text for c in found])
    text = noise.politely(rng, text) if rng.random() < 0.3 else text
    return Draw(text, area, [[c.call for c in found]], found[0].action.tool, "+".join(c.combination for c in found))


def _clash(one: Command, other: Command) -> bool:
    """Whether two commands could touch the same thing, or a free text would swallow what follows it."""
    swallow = other.action.free_text or one.action.free_text
    return (
        bool(swallow)
        or one.target.domain == other.target.domain
        and (
            one.target.arguments == other.target.arguments
            or "name" not in one.target.arguments
            or "name" not in other.target.arguments
        )
    )


def noisy(rng: Random, home: Home, sampler: Sampler) -> Found:
    """L4: corrections, recognition noise, typing errors."""
    draw = rng.random()
    if draw < 0.4:
        return _correction(rng, home, satellite(rng, home))
    base = sampler.draw(rng, home) if rng.random() < 0.3 else say(rng, (partial, free))(rng, home)
    if base is None or not base.gold[0] or _spells(base):
        return None
    text = noise.misheard(rng, base.text) if draw < 0.7 else noise.mistyped(rng, base.text)
    return Draw(text, base.area, base.gold, base.intent, f"noisy:{base.combination}")


def _spells(draw: Draw) -> bool:
    """Whether an argument is free text, which noise would change."""
    keys = ("item", "search_query", "message", "conversation_command")
    named = "Timer" in draw.intent and "name" in draw.gold[0][0]["arguments"]
    return named or any(k in c["arguments"] for c in draw.gold[0] for k in keys)


def _correction(rng: Random, home: Home, area: str | None) -> Found:
    """A target, a verb or a value taken back in mid-sentence."""
    command = sample_command(rng, home, area, free=rng.random() < 0.4)
    if command is None or command.action.free_text or command.action.flags:
        return None
    draw = rng.random()
    if draw < 0.55:
        return _other_target(rng, home, command, area)
    if command.action.value and draw < 0.85:
        wrong = render(rng, command.action, command.target, command.template, False)
        return (
            _one(command, noise.corrected(rng, wrong.text, command.text), area) if wrong.call != command.call else None
        )
    other = sample_command(rng, home, area, free=False)
    return (
        _one(command, noise.corrected(rng, other.text, command.text), area)
        if other and other.call != command.call
        else None
    )


def _other_target(rng: Random, home: Home, command: Command, area: str | None) -> Found:
    entities = [e for e in home.entities if fits(e, command.action.kinds)]
    wrong: Entity = say(rng, entities)
    said = entity_target(rng, home, wrong, command.action.kinds, 0.5)
    meant = command.target
    if said is None or said.arguments == meant.arguments or not meant.text:
        return None
    if not command.text.endswith(meant.text) and not matching(home, said.text, command.action.kinds):
        return None
    before = command.text.replace(meant.text, said.text, 1) if meant.text in command.text else None
    if before is None:
        return None
    repeat = say(rng, (meant.text, command.text)) if command.text.endswith(meant.text) else command.text
    return _one(command, noise.corrected(rng, before, repeat), area)
