"""Surface of a request: politeness, letter case, speech-recognition errors, typing errors."""

from __future__ import annotations

import re
from random import Random

from lib.tasks.home.sampler.names import weights, wordings
from lib.tasks.home.sampler.phrases import bank, say


def politely(rng: Random, text: str) -> str:
    """``text`` with a polite or chatty frame before, after, or on both sides."""
    draw = rng.random()
    if draw < 0.6:
        order = text.split(" ")[0].lower() in bank()["imperatives"]
        text = f"{rng.choice(bank()['polite']['before' if order else 'calls'])} {text}"
    return f"{text} {rng.choice(bank()['polite']['after'])}" if draw > 0.45 else text


def surface(rng: Random, text: str) -> str:
    """Letter case and punctuation as typed or as a recogniser writes them."""
    text = " ".join(text.split())
    draw = rng.random()
    if draw < 0.45:
        return text.lower()
    if draw < 0.8:
        end = "?" if text.split(" ")[0].lower() in wordings()["questions"] else "."
        return text[:1].upper() + text[1:] + (end if rng.random() < 0.5 else "")
    return text


def misheard(rng: Random, text: str) -> str:
    """What a speech recogniser makes of ``text``: fillers, homophones, repeated words, no punctuation, lower case."""
    homophones = weights()["homophones"]
    tokens = re.sub(r"[,.?!](?=\s|$)", "", text.lower()).split()
    for _ in range(rng.randint(1, 2)):
        i = rng.randrange(len(tokens))
        draw = rng.random()
        if draw < 0.4:
            tokens.insert(i, rng.choice(bank()["fillers"]))
        elif draw < 0.6:
            tokens.insert(i, tokens[i])
        else:
            j = next((k for k in range(len(tokens)) if tokens[(i + k) % len(tokens)] in homophones), None)
            if j is not None:
                k = (i + j) % len(tokens)
                tokens[k] = homophones[tokens[k]]
    return " ".join(tokens)


def mistyped(rng: Random, text: str) -> str:
    """``text`` with one or two typing errors in its longer words."""
    tokens = text.split()
    long = [i for i, t in enumerate(tokens) if len(t) >= 4 and t.isalpha()]
    for i in rng.sample(long, min(len(long), rng.randint(1, 2))):
        tokens[i] = _typo(rng, tokens[i])
    return " ".join(tokens)


def _typo(rng: Random, word: str) -> str:
    i = rng.randrange(1, len(word) - 1)
    draw = rng.random()
    if draw < 0.35:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if draw < 0.65:
        return word[:i] + word[i + 1 :]
    if draw < 0.85:
        return word[:i] + word[i] + word[i:]
    return word[:i] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[i + 1 :]


def corrected(rng: Random, wrong: str, right: str) -> str:
    """A self-correction: ``wrong``, a word of regret, ``right``."""
    return wrong + rng.choice(bank()["corrections"]) + right


def joined(rng: Random, parts: list[str]) -> str:
    """Commands in one breath."""
    text = parts[0]
    for i, part in enumerate(parts[1:], 2):
        text += (", " if i < len(parts) and rng.random() < 0.5 else say(rng, bank()["joins"])) + part
    return text
