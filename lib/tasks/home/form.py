"""Why a line's words alone rule it out as a way to ask for certain calls, whoever understands it.

Readers go by key words: to most of them "the lamp is off now", "shall I turn off the lamp?" and "turn off the lamp" are
the same. What a line *does* (asks, reports, offers, answers) shows in its form, and a number, colour or title that is
lost or added shows in its words. English. Where no calls are meant every form is right.

>>> off = [{"name": "HassTurnOff", "arguments": {"name": "Lamp"}}]
>>> fault("The lamp has been turned off", "turn off the lamp", off)
'reports instead of asking'
>>> fault("Could you turn the lamp off?", "turn off the lamp", off), fault("How do I turn it off?", "lamp off", off)
('', 'asks for advice or leave')
>>> fault("Lamp to 30", "lamp to 40", [{"name": "HassLightSet", "arguments": {"name": "Lamp", "brightness": 40}}])
'another number'
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lib.task import Call
from lib.tasks.home.describe import tokens
from lib.tasks.home.homes import Home
from lib.tasks.home.phrases import COLORS
from lib.tasks.home.values import amounts

_DO = (
    "turn|switch|set|open|clos|lock|unlock|adjust|chang|lower|rais|dim|add|start|stop|paus|play|mak|put|mut|bring|"
    "block|cover|remov|light|cool|heat|get|giv|shut|count|resum|increas|decreas|reduc|mov|brighten|kill|activat"
)
_DONE = (
    "turned|switched|adjusted|resumed|stopped|paused|muted|unmuted|opened|closed|started|locked|unlocked|dimmed|raised|"
    "lowered|activated|deactivated|changed|removed|added|increased|decreased|brightened|covered|blocked|restored"
)
_STATE = (
    f"{_DONE}|set|on|off|open|shut|lit|illuminated|gone|fine|good|perfect|great|better|nice|decent|comfortable|clean|done|"
    "ready|complete|running|playing|covering|blocking|at|now|active|in (poor|good|bad|great)"
)
_PROMPT = re.compile(r"[()\[\]{}<>_|*#:]|\bassistant should\b|\b(request|sentence|synonym)\b")
_ANSWER = re.compile(
    r"^(sure|certainly|of course|absolutely|(you )?got it|done|no problem|here you go|understood|ready|yes)\b(?! to)"
    rf"|^(ok(ay)?|alright|right)?,?\s*(i|we)(['’]ll|['’]ve| will| have| am|['’]m|['’]re| are)\s"
    rf"(?:just |now |going to |already )*({_DO})\w*\b"
    rf"|^(i|we)( just| already)? ({_DO})\w*ed\b|^let me (?!know|have|hear|see)"
    r"|^allow me|\bfor you\b|^you (are|can|have)\b"
    r"|\b(seem|seems|appears|looks like|already)\b"
)
_ADVICE = re.compile(
    r"\b(should|shall|may|might|do|did|must) (i|we)\b|^how (do|can|could|would|should|to|about i)\b|^what if\b"
    r"|\b(is|would|will) it (be )?(ok|okay|all right|alright|possible|fine)\b|\bdo you (want|need|think|like|have)\b"
    rf"|\b(can|could) (i|we) (please )?({_DO})\w*\b|^(did|have|has|had|is|are|was|were|does|do) (you|it|he|she|they)\b"
    r"|\bwould you like\b|^should\b|\bhow to\b|\b(anyone|anybody|somebody|someone) (want|wants|like|likes)\b"
)
_REPORT = re.compile(
    r"\b(is|are|was|were|has been|have been|had been|has|have|['’]s|['’]re) (now |currently |being |all |not |still )*"
    rf"({_STATE})\b|^({_DONE})\b|^(just |now )?({_DO})\w*ing\b"
    rf"|\b({_DONE})( (on|off|up|down|to))?( \d+%?)?[.!]?$|\b({_DONE}),"
    r"|\b(looks|seems|feels) (great|good|fine|nice|better|bad)\b"
)
_TAG = re.compile(r"\b(isn|aren|wasn|hasn|haven|won|didn|doesn|don)['’]t (it|they|he|she|you)\b\W*$")
_ASK = re.compile(
    r"\b(make (sure|certain)|ensure|see (to it|that)|until|so that|check|tell|know|want|wants|need|needs|wish|prefer|"
    r"like|should|must|please|can|could|would|will you|let|have|get|keep|mind|leave|turn|switch)\b"
)
"""Words that make a clause about a state a request for it."""
_CALL = re.compile(
    r"\b(can|could|will|would|please|mind|how about|why don['’]t|let['’]s|let|what about|ok|okay|want)\b"
)
_QUESTION = re.compile(
    r"\?$|\b(what|which|who|where|when|how|whether|if|tell|check|show|give|know|status|state|temperature|level|value|reading|"
    r"weather|time|date|look up|find out|report|wonder)\b|^(is|are|do|does|did|has|have|can|could|any)\b"
)
_TOLD = re.compile(r"\b(is|are|was|were|has|have|seems?|looks?|had|needs?)\b|!")
_WISH = re.compile(r"(it|i|we|the|who|there|my|in)\b|it['’]s|i['’]m|we['’]re|there['’]s")
_TEXTS = ("item", "search_query", "message", "conversation_command")
_SWITCHES = {"HassTurnOff", "HassTurnOn", "HassToggle"}
_TURNS = re.compile(r"turn|switch|power|flip")


def fault(text: str, said: str, calls: Sequence[Call]) -> str:
    """What is wrong with ``text`` as another way to say ``said`` when ``calls`` are meant; empty if nothing shows."""
    if _PROMPT.search(text) and not _PROMPT.search(said):
        return "words of the prompt"
    return (_form(text.casefold(), said.casefold(), calls) or _content(text, said, calls)) if calls else ""


def _form(text: str, said: str, calls: Sequence[Call]) -> str:
    if _ANSWER.search(text) and not _ANSWER.search(said):
        return "answers instead of asking"
    asks = ["Get" in call["name"] or "Status" in call["name"] for call in calls]
    if _TAG.search(text):
        return "reports instead of asking"
    if any(asks):
        told = _QUESTION.search(said) and not _QUESTION.search(text) and _TOLD.search(text)
        return "reports instead of asking" if all(asks) and told else ""
    if _ADVICE.search(text):
        return "asks for advice or leave"
    if _REPORT.search(text) and not _ASK.search(text) and not _REPORT.search(said):
        return "reports instead of asking"
    wishes = text.endswith("?") and not (said.endswith("?") or _CALL.search(text) or _WISH.match(said))
    return "asks whether it is so" if wishes else ""


def _content(text: str, said: str, calls: Sequence[Call]) -> str:
    before, after = _numbers(said), _numbers(text)
    named = _numbers(" ".join(str(v) for c in calls for v in c["arguments"].values() if isinstance(v, str)))
    meant = {float(v) for c in calls for v in c["arguments"].values() if isinstance(v, int | float)}
    if after - before - named - meant or (meant & before) - after:
        return "another number"
    words, former = set(tokens(text)), set(tokens(said))
    if (words ^ former) & set(COLORS) - {"white"} and any("color" in c["arguments"] for c in calls):
        return "another colour"
    if any(not set(tokens(title)) <= words for call in calls for title in _titles(call)):
        return "another text"
    return "switches the other way" if _reversed(words - former, {call["name"] for call in calls}) else ""


def _numbers(text: str) -> set[float]:
    """The amounts in a text, digits in names included."""
    return {amount.value for amount in amounts(text, Home.from_dict({"areas": [], "entities": []}))}


def _titles(call: Call) -> list[str]:
    """The arguments that are the speaker's own words."""
    keys = (*_TEXTS, "name") if "Timer" in call["name"] else _TEXTS
    return [str(call["arguments"][key]) for key in keys if key in call["arguments"]]


def _reversed(new: set[str], tools: set[str]) -> bool:
    """Whether the seed's switching, of ``tools``, has got a word for the other way."""
    if not tools <= _SWITCHES or "off" in new and "HassTurnOff" in tools or "on" in new and "HassTurnOn" in tools:
        return False
    return "off" in new or "on" in new and any(_TURNS.match(word) for word in new)
