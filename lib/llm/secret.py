"""A secret key: read from the environment, taken out of every text that leaves this program or comes back to it.

>>> os.environ["SHOP_KEY"] = "sk-0123456789"
>>> Secret("SHOP_KEY").redact("Incorrect API key provided: sk-0123456789")
'Incorrect API key provided: [key]'
"""

from __future__ import annotations

import json
import os
import re
from urllib.parse import quote

from lib.llm.types import BackendError

PLACEHOLDER = "none"
SHORTEST = 8


class Secret:
    """The key in the environment variable ``variable``; a placeholder if that is unset, as local servers need none.

    Keys of fewer than ``SHORTEST`` characters ("EMPTY") are placeholders too: they are words, not redacted.
    """

    def __init__(self, variable: str) -> None:
        """Raises BackendError for a name or a key that cannot be one; the message does not show it."""
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
            raise BackendError(
                "key_env is not the name of an environment variable (capital letters, digits and _): put the key in "
                "such a variable and its name here"
            )
        self.variable = variable
        self._key = os.environ.get(variable, "").strip() or PLACEHOLDER
        if not re.fullmatch(r"[!-~]+", self._key):
            raise BackendError(f"${variable} holds blanks, line ends or letters that no key has: export it again")
        forms = {self._key, quote(self._key, safe=""), json.dumps(self._key)[1:-1]} if self.is_real else set()
        self._forms = sorted(forms, key=len, reverse=True)

    @property
    def is_real(self) -> bool:
        """Whether there is a key that must stay secret."""
        return len(self._key) >= SHORTEST

    def reveal(self) -> str:
        """The key itself, for the client that sends it."""
        return self._key

    def redact(self, text: str) -> str:
        """``text`` with "[key]" wherever the key stood."""
        for form in self._forms:
            text = text.replace(form, "[key]")
        return text

    def __repr__(self) -> str:
        return f"Secret('{self.variable}')"
