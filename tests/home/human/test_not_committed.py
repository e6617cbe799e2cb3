"""What people said stays out of the project: no longer utterance stands word by word in a file of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.core.paths import ROOT
from lib.tasks.home.human.utterances import read
from lib.tasks.home.words import words

FOLDER = ROOT / "../shared/human_speech"
FEWEST = 8  # words; our own templates may happen to make shorter ones
KINDS = (".ipynb", ".html", ".csv", ".md", ".yaml", ".py", ".json", ".jsonl")


def said_in(text: str, known: dict[tuple[str, ...], list[tuple[str, ...]]]) -> Iterator[str]:
    """Utterances that stand whole in a text; ``known``: by their first FEWEST words."""
    found = tuple(words(text))
    for start, begin in enumerate(zip(*(found[i:] for i in range(FEWEST)), strict=False)):
        yield from (" ".join(u) for u in known.get(begin, ()) if found[start : start + len(u)] == u)


def by_beginning(texts: list[str]) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
    known: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for utterance in {tuple(words(text)) for text in texts}:
        if len(utterance) >= FEWEST:
            known.setdefault(utterance[:FEWEST], []).append(utterance)
    return known


def written(root: Path) -> Iterator[Path]:
    for folder in ("notebooks", "reports", "lib", "params", "tests"):
        yield from (p for p in (root / folder).rglob("*") if p.suffix in KINDS and ".part" not in p.name)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="no human_speech here")
def test_no_utterance_is_in_a_file() -> None:
    known = by_beginning([u.text for u in read(FOLDER)])
    kept = [p for p in written(ROOT) if not p.is_relative_to(ROOT / "reports/smoke")]
    found = {p.relative_to(ROOT).as_posix(): [*said_in(p.read_text("utf-8"), known)] for p in kept}
    assert {path: texts for path, texts in found.items() if texts} == {}


def test_the_test_itself_finds_one() -> None:
    known = by_beginning(["Would you, fig by fig, count all of my figs?", "count figs"])
    assert list(said_in("> <b>would you fig by fig count all of my figs</b> please count figs", known))
    assert not list(said_in("would you fig by fig count all of my oaks", known))
