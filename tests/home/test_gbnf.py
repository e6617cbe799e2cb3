"""The grammar against the printer and the parser, by an independent reading of GBNF as regular expressions."""

import re
from random import Random

from small_homes import STRINGS, plain_home, random_call, random_home

from lib.core.task import TaskError
from lib.tasks.home.language.calls import answer, parse, references
from lib.tasks.home.language.gbnf import grammar
from lib.tasks.home.simulator.execute import execute
from lib.tasks.home.simulator.homes import Home

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\{\d+,\d+\}|[a-z][a-z0-9]*|[()|?]|\s+')


def literal(token):
    """The text that a quoted literal stands for."""
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], token[1:-1])


def as_regex(text):
    """The whole grammar as one pattern; it has no recursion, so rules are put in place of their names."""
    rules = dict(line.split(" ::= ", 1) for line in text.splitlines())
    done = {}

    def pattern(name):
        if name not in done:
            assert "".join(TOKEN.findall(rules[name])) == rules[name], rules[name]
            done[name] = "(?:" + "".join(map(piece, TOKEN.findall(rules[name]))) + ")"
        return done[name]

    def piece(token):
        if token[0] == '"':
            return f"(?:{re.escape(literal(token))})"
        if token[0] == "(":
            return "(?:"
        return "" if token.isspace() else pattern(token) if token[0].isalpha() else token

    return re.compile(pattern("root"))


def generate(text, rng):
    """A random text of the grammar."""
    rules = dict(line.split(" ::= ", 1) for line in text.splitlines())

    def expand(tokens):
        branches, depth = [[]], 0
        for token in tokens:
            depth += (token == "(") - (token == ")")
            if token == "|" and depth == 0:
                branches.append([])
            else:
                branches[-1].append(token)
        return "".join(sequence(rng.choice(branches)))

    def sequence(tokens):
        i = 0
        while i < len(tokens):
            end = i + 1
            if tokens[i] == "(":
                depth = 1
                while depth:
                    depth += (tokens[end] == "(") - (tokens[end] == ")")
                    end += 1
            inner, low, high = tokens[i:end], 1, 1
            if end < len(tokens) and (tokens[end] == "?" or tokens[end][0] == "{"):
                low, high = (0, 1) if tokens[end] == "?" else map(int, tokens[end][1:-1].split(","))
                end += 1
            for _ in range(rng.randint(low, min(high, low + 3))):
                yield one(inner)
            i = end

    def one(inner):
        token = inner[0]
        if token == "(":
            return expand(inner[1:-1])
        if token[0] == '"':
            return literal(token)
        if token[0] == "[":
            return rng.choice([c for c in "abz0123456789-\"'=\\,(é 牛🍕" + ")" if re.match(token, c)])
        return expand(words(token))

    def words(name):
        return [t for t in TOKEN.findall(rules[name]) if not t.isspace()]

    return expand(words("root"))


def test_every_answer_of_the_printer_is_in_the_grammar():
    rng, checked = Random(1), 0
    for _ in range(25):
        home = random_home(rng, rng.randint(1, 48))
        refs = references(home, rng=rng)
        accepted = as_regex(grammar(refs))
        assert accepted.fullmatch("none")
        for _ in range(60):
            calls = [random_call(rng, home) for _ in range(rng.randint(1, 4))]
            try:
                raw = "".join(answer(calls, refs)) if not execute(home, calls).errors else "none"
            except TaskError:
                continue
            assert accepted.fullmatch(raw), raw
            checked += raw != "none"
    assert checked > 100


def test_every_text_of_the_grammar_can_be_parsed():
    rng = Random(2)
    for _ in range(12):
        refs = references(random_home(rng, rng.randint(0, 30)), rng=rng)
        text = grammar(refs)
        accepted = as_regex(text)
        for _ in range(80):
            raw = generate(text, rng)
            assert accepted.fullmatch(raw)
            parse(raw, refs)


def test_strings_and_numbers():
    accepted = as_regex(grammar(references(plain_home())))
    refs = references(plain_home())
    for value in (*STRINGS, "x" * 80):
        raw = "".join(answer([{"name": "HassBroadcast", "arguments": {"message": value}}], refs))
        assert accepted.fullmatch(raw), raw
    for brightness, right in ((0, True), (100, True), (7, True), (101, False), ("07", False), (-1, False), ("", False)):
        assert bool(accepted.fullmatch(f"HassLightSet(name=1,brightness={brightness})")) is right
    for degrees, right in ((-50, True), (21.5, True), (250, True), ("0.25", True), (251, False), (-51, False)):
        assert bool(accepted.fullmatch(f"HassClimateSetTemperature(area=A1,temperature={degrees})")) is right


def test_only_what_makes_sense_in_the_home():
    accepted = as_regex(grammar(references(plain_home())))
    for raw in (
        "HassTurnOn()",
        "HassTurnOn(name=22)",
        "HassTurnOn(area=A4)",
        "HassTurnOn(domain=siren)",
        "HassLightSet(name=1)",
    ):
        assert not accepted.fullmatch(raw), raw
    for raw in (
        "HassLawnMowerDock()",
        "HassHumidifierMode(name=1,mode= eco)",
        "HassTurnOn(name=1,area=A1)",
        "none\nnone",
    ):
        assert not accepted.fullmatch(raw), raw
    assert not accepted.fullmatch("\n".join(["HassNevermind()"] * 5))
    assert accepted.fullmatch("\n".join(["HassNevermind()"] * 4))


def test_a_sensor_tells_the_temperature_where_no_climate_device_is():
    sensor = {"id": "sensor.den", "name": "Den Air", "domain": "sensor", "area": "Den", "device_class": "temperature"}
    areas = [{"name": "Den"}, {"name": "Attic"}]
    home = Home.from_dict({"areas": areas, "entities": [sensor, {"id": "light.a", "name": "Lamp", "area": "Attic"}]})
    accepted = as_regex(grammar(references(home)))
    asked = [{"name": "HassClimateGetTemperature", "arguments": {"area": "Den"}}]
    assert accepted.fullmatch(raw := "".join(answer(asked, references(home)))) and not execute(home, asked).errors, raw
    for raw in (
        "HassClimateGetTemperature(area=A2)",
        "HassClimateGetTemperature()",
        "HassClimateGetTemperature(name=1)",
    ):
        assert not accepted.fullmatch(raw), raw
    assert not accepted.fullmatch("HassClimateSetTemperature(area=A1,temperature=20)")


def test_it_stays_small():
    assert len(grammar(references(random_home(Random(3), 40)))) < 9_000


def test_every_tool_that_takes_a_name_can_find_nothing_to_act_on():
    home = plain_home()
    assert not any(e.domain == "lawn_mower" for e in home.entities)
    refs = references(home)
    accepted = as_regex(grammar(refs))
    for raw in ("HassTurnOn(name=0)", "HassLightSet(name=0)", "HassLawnMowerDock(name=0)", "HassGetState(name=0)"):
        assert accepted.fullmatch(raw), raw
        assert parse(raw, refs) == []
    for raw in ("HassTurnOn(name=0,area=A1)", "HassLightSet(name=0,brightness=4)", "HassBroadcast(name=0)"):
        assert not accepted.fullmatch(raw), raw
