"""Sentences with their intent and slots: CLINC150 and Snips in the file of people's utterances, or a CSV.

CLINC150 keeps its own split; of the others a sixth, near-duplicates together, is held out for dev and test. CLINC150
has about a hundred sentences out of scope to train on, so those of NLU-Evaluation-Data that ask for what no intent
covers are trained on as well, unless they are near-duplicates of the others.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.core import paths
from lib.core.files import RecordError
from lib.core.task import Example
from lib.tasks.from_tools import call, example
from lib.tasks.home.human import utterances
from lib.tasks.home.human.utterances import Utterance
from lib.tasks.home.sampler.homes import in_share

CORPORA = ("clinc150", "snips-2017")
NO_INTENT = ("oos", "")  # of requests that are out of scope
OUTSIDE = re.compile(
    "email_|news_|social_|qa_(factoid|stock)|recommendation_(events|movies)|play_(audiobook|game|podcasts)"
)
"""Intents of NLU-Evaluation-Data that are none of CORPORA's."""
SPLITS = {"train": "train", "val": "dev", "test": "test"}  # CLINC150's
COLUMNS = ("sentence", "intent", "slots")  # of a CSV; intent is empty out of scope, slots a JSON object or empty


def people(folder: str) -> list[Example]:
    """Those of CORPORA with one value a slot; their source, "human", keeps them off the pages. Raises RecordError."""
    read = utterances.read(paths.ROOT / folder if folder else None)
    said = [u for u in read if u.id.startswith(CORPORA)]
    if not said:
        remedy = "name the folder of the file that python -m lib.human_speech makes (README.md)"
        raise RecordError(f"human_speech: there are no utterances of people here to learn from: {remedy}")
    own = [(u, split) for u, split in _split(said) if len(dict(u.slots)) == len(u.slots)]
    return [_example(u, split, "human") for u, split in [*own, *((u, "train") for u in _outside(read, said))]]


def _outside(read: Sequence[Utterance], said: Sequence[Utterance]) -> list[Utterance]:
    """Those out of scope of other corpora than ``said``, without near-duplicates of it: some contradict its intents."""
    found = [u for u in read if not u.id.startswith(CORPORA) and OUTSIDE.match(u.intent)]
    near = utterances.near({utterances.key(u.text) for u in found}, {utterances.key(u.text) for u in said})
    return [replace(u, intent="", slots=()) for u in found if utterances.key(u.text) not in near]


def table(path: Path) -> list[Example]:
    """Those of a CSV, by file and line in ``extra["said"]``. Raises RecordError with file, line and remedy."""
    said = list(_rows(path))
    if said and len({u.intent for u in said} - {*NO_INTENT}) < 2:
        raise RecordError(f"{path.name}: there is one intent only: add others")
    found = [_example(u, split, "csv") for u, split in _split(said)]
    if lacking := sorted({*SPLITS.values()} - {e.split for e in found}):
        raise RecordError(f"{path.name}: {len(said)} rows leave none for {lacking[0]}: add sentences")
    return found


def labels(examples: Iterable[Example]) -> dict[str, list[str]]:
    """The slots of each intent, all in alphabetical order."""
    found: dict[str, set[str]] = {}
    for one in (e.gold[0][0] for e in examples if e.gold[0]):
        found.setdefault(one["name"], set()).update(one["arguments"])
    return {intent: sorted(found[intent]) for intent in sorted(found)}


def _example(said: Utterance, split: str, source: str) -> Example:
    calls = [] if said.intent in NO_INTENT else [call(said.intent, **dict(said.slots))]
    made = example(said.text, {}, calls, "out_of_scope" if not calls else "slots" if said.slots else "in_scope")
    return replace(made, split=split, source=source, extra={"said": said.id})


def _split(said: Sequence[Utterance]) -> Iterator[tuple[Utterance, str]]:
    own = {u.id: SPLITS[match[1]] for u in said if (match := re.match(r"clinc150-(?:oos_)?(train|val|test)/", u.id))}
    yield from ((u, own[u.id]) for u in said if u.id in own)
    others = [u for u in said if u.id not in own]
    yield from ((u, "train") for u in utterances.train(others))
    yield from ((u, "dev" if in_share(f"dev {u.text}", 2) else "test") for u in utterances.dev(others))


def _rows(path: Path) -> Iterator[Utterance]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            for name in sorted({*(rows.fieldnames or [])} ^ {*COLUMNS}):
                fault = f"column '{name}' is {'missing' if name in COLUMNS else 'unknown'}"
                raise RecordError(f"{path.name}, line 1: {fault}: the columns are {', '.join(COLUMNS)}")
            yield from (_row(f"{path.name}, line {rows.line_num}", row) for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path.name}: cannot be read ({error}): give a CSV in UTF-8") from error


def _row(where: str, row: dict[str, Any]) -> Utterance:
    if None in row or None in row.values():
        raise RecordError(f"{where}: not as many values as columns: put quotation marks around those with commas")
    text, intent = row["sentence"].strip(), row["intent"].strip()
    try:
        slots = {name: value.strip() for name, value in json.loads(row["slots"] or "{}").items()}
    except (ValueError, AttributeError) as error:
        raise RecordError(f'{where}: slots: expected JSON such as {{"artist": "…"}}, texts alone: {error}') from error
    if not text or (slots and intent in NO_INTENT):
        raise RecordError(f"{where}: {'slots without an intent' if text else 'no sentence'}: complete the row")
    return Utterance(where, intent, text, tuple(slots.items()))
