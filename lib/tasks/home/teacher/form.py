"""Why a line's words alone rule it out as a way to ask for certain calls, whoever understands it.

Readers go by key words: to most of them "the lamp is off now", "shall I turn off the lamp?" and "turn off the lamp" are
the same. What a line *does* (asks, reports, offers, answers) shows in its form, and a number, colour or title that is
lost or added shows in its words. English. Where no calls are meant every form is right; only another device is not.

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

from lib.core.task import Call
from lib.tasks.home.sampler.phrases import COLORS
from lib.tasks.home.simulator.homes import Home
from lib.tasks.home.teacher.values import amounts
from lib.tasks.home.words import spoken

_DO = (
    "turn|switch|set|open|clos|lock|unlock|adjust|chang|lower|rais|dim|add|start|stop|paus|play|mak|put|mut|bring|"
    "block|cover|remov|cancel|light|cool|heat|get|giv|shut|count|resum|increas|decreas|reduc|mov|brighten|kill|activat"
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
    rf"|\b({_DONE})( (on|off|up|down|to))?( \d+%?)?[.!]?$|\b({_DONE})( (on|off|up|down))?,"
    rf"|\b(started|stopped|paused|resumed) for\b|\bwould be (on|off|open|closed|locked|unlocked)\b"
    r"|^you['’]re going to\b|\bwill (be|have)\b"
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
_TOLD = re.compile(r"\b(is|are|was|were|has|have|seems?|looks?|had|needs?)\b|['’](s|re) still\b|!")
_WISH = re.compile(r"(it|i|we|the|who|there|my|in)\b|it['’]s|i['’]m|we['’]re|there['’]s")
_WHETHER = re.compile(r"\b(check|see|tell me|let me know|ask|find out) (if|whether)\b")
_HOW = re.compile(r"^how (do|can|could|would|should) (i|we)\b")
_LATER = re.compile(r"\b(in the future|later|tomorrow|next time|in the past|yesterday)\b")
_PLACE = re.compile(
    r"\b(ground floor|upstairs|downstairs|bathroom|bedroom|kitchen|living room|garage|hallway|dining room|office|"
    r"basement|attic|garden|backyard|pantry|den|nursery|porch|patio|balcony|courtyard|guest room|study|closet|"
    r"loft|cellar)\b"
)
_DEVICE = re.compile(
    r"\b(air condition\w+|ac|lights?|lamps?|fans?|heat(er|ing)|tv|television|music|speakers?|thermostat|doors?|blinds?|"
    r"curtains?|shades?|radio|timer|volume|brightness)\b"
)
_DOES = re.compile(
    rf"\b(on|off|({_DO})\w*|turn\w*|toggl\w*|power\w*|flip\w*|run\w*|need\w*|want\w*|use|press|trigger|ready|work\w*|"
    r"go|going|up|down|cut|push|show|mood|bright\w*|dark\w*|hit|click|engage|deactivate|disabl\w*|enable|shutdown|out|end|apply|lift|drop|"
    r"pull|draw|roll|swing|fold|seal|secure|free|launch|begin|set|call|execute|load|have|keep|leave|lit|gloom\w*|warm\w*|cold)\b"
)
"""Words of which a line that wants something switched has one."""
_STATES = {
    "on": r"on|runs?|running|activ\w+|trip\w*|trigger\w*|detect\w*|going|lit|open|wet|(any|some)(body|one)|there|"
    r"occupied|playing|enabled|up|sees?|pick\w*|sense[sd]?|home|present|presence|goes|went|started|mov\w+|empty|alarms?",
    "off": r"off|dark|stopped|down|inactive|disabled|out|on|unlit|not|clos\w+|shut|clear|dry",
    "open": r"open\w*|up|raised",
    "closed": r"clos\w+|shut|down|lowered",
    "locked": r"lock\w*|secure\w*",
    "unlocked": r"unlocked|open",
}
"""What a question whether something is in a state calls that state."""
_TEXTS = ("item", "search_query", "message", "conversation_command")
_SWITCHES = {"HassTurnOff", "HassTurnOn", "HassToggle"}
_TURNS = re.compile(r"turn|switch|power|flip")


def fault(text: str, said: str, calls: Sequence[Call]) -> str:
    """What is wrong with ``text`` as another way to say ``said`` when ``calls`` are meant; empty if nothing shows."""
    if _PROMPT.search(text) and not _PROMPT.search(said):
        return "words of the prompt"
    if not calls:
        return "another device" if _adds(_DEVICE, text, said) else ""
    return _form(text.casefold(), said.casefold(), calls) or _content(text, said, calls)


def _form(text: str, said: str, calls: Sequence[Call]) -> str:
    if _ANSWER.search(text) and not _ANSWER.search(said):
        return "answers instead of asking"
    asks = ["Get" in call["name"] or "Status" in call["name"] for call in calls]
    if _TAG.search(text):
        return "reports instead of asking"
    if any(asks):
        if not all(asks):
            return ""
        if _HOW.search(text) and not _HOW.search(said):
            return "asks for advice or leave"
        told = _TOLD.search(text) and not _QUESTION.search(text)
        return "reports instead of asking" if told else _asked(text, calls)
    if _ADVICE.search(text):
        return "asks for advice or leave"
    if _REPORT.search(text) and not _ASK.search(text) and not _REPORT.search(said):
        return "reports instead of asking"
    if _WHETHER.search(text) and not _WHETHER.search(said):
        return "asks whether it is so"
    if {call["name"] for call in calls} <= _SWITCHES and _DOES.search(said) and not _DOES.search(text):
        return "asks for nothing"
    wishes = text.endswith("?") and not (said.endswith("?") or _CALL.search(text) or _WISH.match(said))
    return "asks whether it is so" if wishes else ""


def _asked(text: str, calls: Sequence[Call]) -> str:
    """Whether a question is about the state that is asked for, names left out."""
    for call in calls:
        words = _STATES.get(str(call["arguments"].get("state")))
        named = {word for key in ("name", "area", "floor") for word in spoken(str(call["arguments"].get(key, "")))}
        if words and not any(re.fullmatch(words, word) for word in spoken(text) if word not in named):
            return "asks for another state"
    return ""


def _content(text: str, said: str, calls: Sequence[Call]) -> str:
    before, after = _numbers(said), _numbers(text)
    named = _numbers(" ".join(str(v) for c in calls for v in c["arguments"].values() if isinstance(v, str)))
    meant = {float(v) for c in calls for v in c["arguments"].values() if isinstance(v, int | float)}
    if after - before - named - meant or (meant & before) - after:
        return "another number"
    values = " ".join(str(v) for c in calls for v in c["arguments"].values()).casefold()
    for pattern, reason in ((_LATER, "another time"), (_PLACE, "another place")):
        if _adds(pattern, text, f"{said} {values}"):
            return reason
    words, former = set(spoken(text)), set(spoken(said))
    if (words ^ former) & set(COLORS) - {"white"} and any("color" in c["arguments"] for c in calls):
        return "another colour"
    if any(not set(spoken(title)) <= words for call in calls for title in _titles(call)):
        return "another text"
    return "switches the other way" if _reversed(words - former, {call["name"] for call in calls}) else ""


def _adds(pattern: re.Pattern[str], text: str, said: str) -> bool:
    """Whether ``text`` has a word of ``pattern`` that ``said`` has not, be it one or several of the thing."""
    return any(found[0].rstrip("s") not in said.casefold() for found in pattern.finditer(text.casefold()))


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
