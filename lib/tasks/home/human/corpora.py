"""Makes the file of utterances from clones of the four public repositories that hold them.

NLU-Evaluation-Data (Liu et al., IWSDS 2019, arXiv 1903.05566) and the text of SLURP (Bastianelli et al., EMNLP 2020):
CC BY 4.0. CLINC150 (Larson et al., EMNLP 2019): CC BY 3.0. Snips 2017 (Coucke et al., arXiv 1805.10190): CC0. Equal
texts are kept once, and an independent test's utterances (their ids: left_out.json) are not used at all.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import StringIO
from pathlib import Path

from lib.core.files import dumps, replacing
from lib.core.task import TaskError
from lib.tasks.home.human.utterances import SHA256, Utterance

REPOSITORIES = {
    "nlu": ("xliuhw/NLU-Evaluation-Data", "f6071b49"),
    "slurp": ("pswietojanski/slurp", "8eb16545"),
    "clinc": ("clinc/oos-eval", "828f8093"),
    "snips": ("sonos/nlu-benchmark", "b86ac7f1"),
}
LEFT_OUT = Path(__file__).with_name("left_out.json")
_SLOT = re.compile(r"\[\s*([^\[\]:]+?)\s*:\s*([^\[\]]+?)\s*\]")


def repositories() -> dict[str, str]:
    """The repositories by the name of their clone."""
    return {name: repository for name, (repository, _) in REPOSITORIES.items()}


def rebuild(clones: Mapping[str, Path], out: Path, sha256: str = SHA256) -> int:
    """Writes the file from ``clones`` (keys as in REPOSITORIES); returns how many utterances it holds.

    Raises TaskError for a missing clone or file, for one that cannot be read, and if the content is not the known one.
    """
    content = "".join(dumps({**vars(u), "slots": list(u.slots)}) + "\n" for u in _kept(clones)).encode()
    if hashlib.sha256(content).hexdigest() != sha256:
        commits = ", ".join(f"{repository} at {commit}" for repository, commit in REPOSITORIES.values())
        raise TaskError(f"the clones make another file than the known one (SHA-256): check out {commits}")
    with replacing(out) as part:
        part.write_bytes(gzip.compress(content, mtime=0))
    return content.count(b"\n")


def _kept(clones: Mapping[str, Path]) -> Iterator[Utterance]:
    left_out = {f"{name}/{number}" for name, numbers in json.loads(LEFT_OUT.read_text()).items() for number in numbers}
    said = set[str]()
    for utterance in _all(clones):
        if utterance.text.lower() not in said and utterance.id not in left_out:
            yield utterance
        said.add(utterance.text.lower())


def _all(clones: Mapping[str, Path]) -> Iterator[Utterance]:
    for name, pattern, rows in SOURCES:
        path = clones[name]
        try:
            if not (found := sorted(path.glob(pattern))):
                raise FileNotFoundError(f"no {pattern} there" if path.is_dir() else "no such folder")
            yield from rows([p.read_bytes().decode(errors="replace") for p in found])  # Snips' is not all UTF-8
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            repository, commit = REPOSITORIES[name]
            remedy = f"git clone https://github.com/{repository}, check out {commit}"
            raise TaskError(
                f"--{name}: '{path}': cannot be read ({error or type(error).__name__}): {remedy}"
            ) from error


def _utterance(name: str, intent: str, text: str, annotation: str = "") -> Utterance:
    return Utterance(name, intent, text.strip(), tuple(_SLOT.findall(annotation)))


def _nlu(texts: list[str]) -> Iterator[Utterance]:
    """Rows of all folds by answer, of which the last counts."""
    rows = {row["answerid"]: row for text in texts for row in csv.DictReader(StringIO(text, newline=""), delimiter=";")}
    for key in sorted((k for k in rows if k.isdigit()), key=int):
        intent, text = f"{rows[key]['scenario']}_{rows[key]['intent']}", rows[key]["answer_from_anno"]
        yield _utterance(f"nlu-evaluation-data/{key}", intent, text, rows[key]["answer_annotation"])


def _slurp(split: str, texts: list[str]) -> Iterator[Utterance]:
    for row in map(json.loads, texts[0].splitlines()):
        intent, text = f"{row['scenario']}_{row['action']}", row["sentence"]
        yield _utterance(f"slurp-{split}/{row['slurp_id']}", intent, text, row["sentence_annotation"])


def _clinc(texts: list[str]) -> Iterator[Utterance]:
    for split, rows in json.loads(texts[0]).items():
        yield from (_utterance(f"clinc150-{split}/{i}", intent, text) for i, (text, intent) in enumerate(rows))


def _snips(texts: list[str]) -> Iterator[Utterance]:
    for number, row in enumerate(json.loads(texts[0])["PlayMusic"]):
        slots = tuple((piece["entity"], piece["text"]) for piece in row["data"] if "entity" in piece)
        text = "".join(piece["text"] for piece in row["data"])
        yield Utterance(f"snips-2017/{number}", "PlayMusic", text.strip(), slots)


SOURCES: tuple[tuple[str, str, Callable[[list[str]], Iterator[Utterance]]], ...] = (
    ("nlu", "CrossValidation/autoGeneFromRealAnno/*/CrossValidation/KFold_*/trainset/*.csv", _nlu),
    ("slurp", "dataset/slurp/devel.jsonl", partial(_slurp, "devel")),
    ("slurp", "dataset/slurp/test.jsonl", partial(_slurp, "test")),
    ("clinc", "data/data_full.json", _clinc),
    ("snips", "2017-06-custom-intent-engines/PlayMusic/train_PlayMusic_full.json", _snips),
)
