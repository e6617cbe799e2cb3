"""Free text of utterances: what to play, what to write on a list, in the words and the letter case of the text.

>>> queries("the song Lullaby by Nobody on Spotify")[0], items("eggs, milk and oat bran")
({'media_class': 'track', 'search_query': 'Lullaby by Nobody'}, ['eggs', 'milk', 'oat bran'])
"""

from __future__ import annotations

import re
from typing import Any

from lib.tasks.home.human.said import PLACE, WORDS
from lib.tasks.notation import MAX_STRING

_CLASSES = {"song": "track", **{name: name for name in ("track", "album", "playlist", "podcast", "artist")}}
_FORMS = WORDS["queries"]
_SERVICE = rf"(?:{_FORMS['by service']}) (?:my |the )?(?:{'|'.join(_FORMS['services'])})(?: music| app)?"


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_ENDS = _form(rf"(?:,? (?:{_FORMS['ends']}|{_SERVICE}))+$")
_STARTS = _form(rf"^(?:(?:{_FORMS['starts']}) (?=\w))+")
_OPEN = _form(rf"{_FORMS['open']}|.* (?:in|on) (?:the )?{PLACE}")
_CLASSED = _form(rf"(?:the |an? )?({'|'.join(_CLASSES)}) (?:called |named |titled )?(?!{_FORMS['not a title']})(.+)")
_LOOSE = [_form(pattern) for pattern in _FORMS["loose"]]
ANYTHING = _form(_FORMS["anything"])


def queries(text: str) -> list[dict[str, Any]]:
    """The arguments that say what to play: the one to teach, then others that are right; none if it is left open."""
    bare = _ENDS.sub("", text).strip(" ,")
    query = _STARTS.sub("", bare)
    if len(query) < 2 or len(text) > MAX_STRING or _OPEN.fullmatch(query):
        return []
    found = _CLASSED.fullmatch(query)
    classed = [{"media_class": _CLASSES[found[1].casefold()], "search_query": found[2].strip(" ,")}] if found else []
    others = [m[m.re.groups] for m in (found, *(form.fullmatch(query) for form in _LOOSE)) if m]
    return [*classed, *({"search_query": t} for t in dict.fromkeys([query, bare, text, *others]))]


def items(text: str) -> list[str]:
    """The things that a text lists."""
    found = [t.strip() for t in re.split(r",? and |, ", text) if t.strip()]
    return found if all(len(t.split()) <= 3 for t in found) else [text]
