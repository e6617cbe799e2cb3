r"""The notation of compact answers that tasks share: a call a line, ``Tool(key=value,key=value)``, or ``none``.

Strings carry a leading space and escape ``\``, ``,`` and ``)``. Grammars are in the notation of lib.runtime.grammar.

>>> escaped("tea, hot"), unescaped(" tea\\, hot"), written(2.50), whole(-3, 12)
('tea\\, hot', 'tea, hot', '2.5', '"-" (/[1-3]/) | /[0-9]/ | "1" (/[0-2]/)')
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from lib.core.task import Control, TaskError

NONE = Control("none")
MAX_CALLS = 12
MAX_STRING = 80  # characters of a string value, before escaping
MAX_TEXT = 1_000  # characters of a request; longer ones are refused
_OPENING = re.compile(r"(?<!\S)([\"'(\[{“‘«]+)(?=\w)")

COMMA, CLOSE = '<",">', '<")">'
_ESCAPED = r'"\\" /[\\,)]/'
STRING = rf'" " (/[^\\,) \x01-\x1f\x7f]/ | {_ESCAPED}) (/[^\\,)\x01-\x1f\x7f]/ | {_ESCAPED})' f"{{0,{MAX_STRING - 1}}}"


def clean(text: str) -> str:
    """Text with whitespace collapsed and without control characters and halves of characters."""
    kept = (c for c in " ".join(text.split()) if c >= " " and c != "\x7f" and not "\ud800" <= c <= "\udfff")
    return " ".join("".join(kept).split())


def checked(text: str) -> str:
    """The request as data. Raises TaskError for an empty or overlong one."""
    said = clean(text)
    if not said:
        raise TaskError("the request is empty: expected what somebody said")
    if len(said) > MAX_TEXT:
        raise TaskError(f"the request has {len(said)} characters: at most {MAX_TEXT} are read; shorten it")
    return said


def apart(text: str) -> str:
    """A request's text with a space behind marks that open a word, so that what is quoted reads as answers spell it.

    >>> apart('rename “my notes.txt” (the old one) to "new"')
    'rename “ my notes.txt” ( the old one) to " new"'
    """
    return _OPENING.sub(r"\1 ", text)


def either(words: Iterable[str]) -> str:
    """A pattern of any of the words, the longest first."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


def words(text: str, names: Iterable[str] = ()) -> str:
    """The casefolded words of a text, names masked.

    >>> words("Put the Red Cup away!", ["Red Cup"])
    'put the # away'
    """
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "#", text, flags=re.I)
    return " ".join(re.findall(r"#|[^\W_]+", text.casefold()))


def escaped(text: str) -> str:
    """A string as an answer writes it, without the space in front."""
    return re.sub(r"[\\,)]", lambda m: "\\" + m[0], text)


def unescaped(text: str) -> str:
    """The string that an answer writes so, cleaned."""
    return clean(re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL))


def written(value: float) -> str:
    """A number with at most two decimals, and none that are zero."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def lines(raw: str) -> list[str]:
    """The lines of an answer, one for each call. Raises TaskError for too many."""
    text = raw.strip(" \n")
    found = [] if text == NONE else text.split("\n")
    if len(found) > MAX_CALLS:
        raise TaskError(f"{len(found)} calls in one answer: at most {MAX_CALLS} are read")
    return found


class Rules:
    """Rules by their bodies, so that equal ones are written once."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def add(self, body: str, terminal: bool = False) -> str:
        """The name of the rule with that body; ``terminal``: a text without controls. Empty for no body."""
        return self.names.setdefault(body, f"{'T' if terminal else 'r'}{len(self.names)}") if body else ""

    def listed(self, parts: Sequence[tuple[str, bool]]) -> str:
        """At least one of the parts, in order, with commas; a required one cannot be left out."""
        alternatives = []
        for i, (part, required) in enumerate(parts):
            tail = [f"{COMMA} {p}" if must else f"({COMMA} {p})?" for p, must in parts[i + 1 :]]
            alternatives.append(" ".join([part, *tail]))
            if required:
                break
        return self.add(" | ".join(alternatives))

    def answers(self, bodies: Mapping[str, str]) -> str:
        """The grammar of ``none`` or calls, one a line; ``bodies``: what follows each tool's opening parenthesis."""
        call = self.add(" | ".join(f"{control(f'{name}(')} {body}" for name, body in bodies.items() if body))
        calls = f" | {call} ({control(chr(10))} {call}){{0,{MAX_CALLS - 1}}}" if call else ""
        rules = [f"{name}: {body}" for body, name in self.names.items()]
        return "\n".join([f"start: {control(NONE)}{calls}", *rules]) + "\n"


def control(*texts: str) -> str:
    """One of these control tokens."""
    return f"<{','.join(map(json.dumps, texts))}>"


def whole(low: int, high: int) -> str:
    """The whole numbers from ``low`` to ``high``, without leading zeros."""
    if low < 0:
        below = f'"-" ({whole(max(1, -high), -low)})'
        return below if high < 0 else f"{below} | {whole(0, high)}"
    lengths = range(len(str(low)), len(str(high)) + 1)
    spans = [(max(low, 10 ** (n - 1) if n > 1 else 0), min(high, 10**n - 1)) for n in lengths]
    return " | ".join(_digits(str(first), str(last)) for first, last in spans)


def decimal(low: int, high: int) -> str:
    """The numbers from ``low`` to ``high`` with up to two decimals."""
    if low < 0:
        below = f'"-" ({decimal(max(0, -high), -low)})'
        return below if high < 0 else f"{below} | {decimal(0, high)}"
    return f'"{high}"' + (f' | ({whole(low, high - 1)}) ("." /[0-9]/ /[0-9]/?)?' if low < high else "")


def _digits(low: str, high: str) -> str:
    """The numbers from ``low`` to ``high``, of equally many digits."""
    first, last, rest = int(low[0]), int(high[0]), len(low) - 1
    if not rest or (set(low[1:]) == {"0"} and set(high[1:]) == {"9"}):
        return " ".join([f"/[{first}-{last}]/", *["/[0-9]/"] * rest])
    if first == last:
        return f'"{first}" ({_digits(low[1:], high[1:])})'
    middle = [_digits(f"{first + 1}{'0' * rest}", f"{last - 1}{'9' * rest}")] if first + 1 < last else []
    ends = _digits(low, f"{first}{'9' * rest}"), _digits(f"{last}{'0' * rest}", high)
    return " | ".join([ends[0], *middle, ends[1]])
