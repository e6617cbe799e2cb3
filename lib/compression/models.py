"""The compressed models of a study: a list of what each is made from and how, and one GGUF file for each.

A model is a student of the run, or any other GGUF of ours, rounded to a kind; ``cut`` removes its least important parts
before and recovers nothing, the mark that distillation has to beat.

>>> values = {"of": "03_assistant", "kind": "q8_0", "cut": {"channels": 448}, "step": "pruned only"}
>>> read({"cut": values})["cut"].file
'cut.gguf'
>>> rows = make(entries, Path("runs/gpu"), task, accepted)                              # doctest: +SKIP
>>> rows[0]["name"], rows[0]["size_mb"]                                                 # doctest: +SKIP
('super-tiny', 31.2)

A file is made again only if the model it is made from, its entry, the examples or this code changed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lib.compression import prune, sensitivity
from lib.core import files, paths, provenance
from lib.core.files import Row
from lib.core.params import suggest
from lib.core.task import Example, Task
from lib.model import gguf_write
from lib.model import student as students
from lib.model.gguf_kinds import KINDS, fitting
from lib.model.gguf_read import GgufFile
from lib.model.student import Student

PARENT, PRUNED = "parent", "pruned only"
STEPS = (PARENT, "rounded", "rounding trained", PRUNED, "pruned and distilled", "student")
CUTS = ("layers", "channels", "groups")


class CompressedError(ValueError):
    """An entry that cannot be used; the message names it and its key, and gives the remedy."""


@dataclass(frozen=True)
class Entry:
    """One model of the list.

    ``of``: a student's folder or GGUF, by its name in the run or its path from the project's root (a folder that is
    not there may have come from another machine as a file: ``.gguf`` is tried, too); ``kind`` and
    ``embedding`` (the word table's; empty: the same) as in lib/model/gguf_kinds.py; ``step``: one of STEPS; ``cut``: what stays
    of layers, channels or groups (lib/compression/prune.py), for a step of PRUNED.
    """

    name: str
    of: str
    kind: str
    step: str
    embedding: str = ""
    cut: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w .-]*", self.name):
            raise CompressedError(f"models: '{self.name}': use letters, digits, blanks and . _ - only, it names a file")
        self._known("kind", self.kind, KINDS)
        self._known("embedding", self.embedding or self.kind, KINDS)
        self._known("step", self.step, STEPS)
        for part, size in self.cut.items():
            self._known("cut", part, CUTS)
            if type(size) is not int or size < 1:
                raise CompressedError(f"models: {self.name}: cut: {part}: {size!r}: use how many stay, such as 448")
        if self.cut and self.step != PRUNED:
            raise CompressedError(f"models: {self.name}: step: '{self.step}': what is cut here is '{PRUNED}'")

    def _known(self, key: str, value: str, known: Sequence[str] | Mapping[str, Any]) -> None:
        if value not in known:
            raise CompressedError(f"models: {self.name}: {key}: '{value}': use one of {', '.join(known)}")

    @property
    def file(self) -> str:
        """The name of its GGUF."""
        return self.name.replace(" ", "-") + ".gguf"

    def source(self, run: Path) -> Path:
        """The student that it is made from. Raises CompressedError with what makes it."""
        for place in (run / self.of, run / f"{self.of}.gguf", paths.ROOT / self.of):
            if students.is_student(str(place)):
                return place
        raise CompressedError(f"models: {self.name}: of: no student '{self.of}': {_remedy(self.of)}")


def _remedy(of: str) -> str:
    name = Path(of).name
    if re.match(r"0[1-5]_", name):
        return f"run stage {name[:2]} first (make reproduce)"
    if name.startswith("06_"):
        return f"make it first (python -m lib.compression.shrink --only {name[3:].removesuffix('.gguf')}), or leave the entry out"
    return "give a folder of the run, such as 05_student, or a path from the project's root"


def read(models: Mapping[str, Any]) -> dict[str, Entry]:
    """The entries by name, in order. Raises CompressedError."""
    if not models:
        raise CompressedError("models: none: give at least one, such as {student q8_0: {of: 05_student, kind: q8_0}}")
    entries = {name: _entry(name, values) for name, values in models.items()}
    names = [entry.file.casefold() for entry in entries.values()]
    if double := [entry for entry in entries.values() if names.count(entry.file.casefold()) > 1]:
        raise CompressedError(f"models: {' and '.join(e.name for e in double)} would be one file: rename one")
    return entries


def _entry(name: str, values: Any) -> Entry:
    known = {f.name: f.type for f in fields(Entry) if f.name != "name"}
    if not isinstance(values, Mapping):
        raise CompressedError(f"models: {name}: expected of, kind and step, got {values!r}")
    for key, value in values.items():
        if key not in known:
            raise CompressedError(f"models: {name}: unknown key '{key}'; {suggest(str(key), list(known))}")
        if not isinstance(value, Mapping if key == "cut" else str):
            raise CompressedError(f"models: {name}: {key}: {value!r}: use {'a mapping' if key == 'cut' else 'text'}")
    if missing := [key for key in ("of", "kind", "step") if key not in values]:
        raise CompressedError(f"models: {name}: '{missing[0]}' is missing")
    return Entry(name, **values)


def make(
    entries: Mapping[str, Entry],
    run: Path,
    task: Task,
    measured: Sequence[Example] = (),
    weighed: Sequence[Example] = (),
) -> list[Row]:
    """A GGUF in ``run/06_models`` for each entry; what describes each, in order.

    ``measured``: resolved accepted requests that tell what to cut; ``weighed``: that tell which errors of rounding
    matter (lib/compression/sensitivity.py; none: all the same), not asked for a student that was trained rounded. A row has the
    entry, ``file`` (its name), ``size_mb`` (10^6 bytes), ``weights``, ``sha256``; it stands beside the file, too.

    Raises CompressedError, PruneError, StudentError or GgufError.
    """
    places = {name: entry.source(run) for name, entry in entries.items()}
    folder = run / "06_models"
    folder.mkdir(exist_ok=True)
    for left in folder.glob("tmp*.part"):  # of a process that was killed
        shutil.rmtree(left)
    shop = _Workshop(task, measured, weighed)
    order = sorted(entries.values(), key=lambda entry: entry.of)  # each source is read once
    rows = {entry.name: _made(entry, places[entry.name], folder, shop) for entry in order}
    return [rows[name] for name in entries]


class _Workshop:
    """The last opened student, and what was measured on it."""

    def __init__(self, task: Task, measured: Sequence[Example], weighed: Sequence[Example]) -> None:
        self.measured, self.weighed = measured, weighed
        self.open: Callable[[Path], Student] = lru_cache(1)(students.load)
        self.parts = lru_cache(1)(lambda place: prune.measure(self.open(place), task, measured))
        self.errors = lru_cache(1)(lambda place: sensitivity.measure_importance(self.open(place), task, weighed))

    def weigh(self, entry: Entry, place: Path) -> bool:
        """Whether errors of rounding are weighed."""
        if not self.weighed or entry.cut or entry.kind in ("q8_0", "f16"):
            return False
        training = self.open(place).info.get("training", {})
        return not (training.get("qat") or training.get("rounded"))


def _made(entry: Entry, place: Path, folder: Path, shop: _Workshop) -> Row:
    """The row of an entry, whose file is made unless it is complete and of the same inputs; the row is written last."""
    asked = [[e.id, e.text, e.gold] for e in [*(shop.measured if entry.cut else ()), *shop.weighed]]
    key = files.digest([files.sha256(place), asdict(entry), asked, _code()])
    file, about = folder / entry.file, (folder / entry.file).with_suffix(".json")
    if about.is_file() and file.is_file():
        there = files.read_json(about)
        if there.get("key") == key and there["sha256"] == files.sha256(file):
            return there
    _write(entry, place, file, shop)
    row = {**asdict(entry), "file": entry.file, "size_mb": file.stat().st_size / 1e6}
    row |= {"weights": GgufFile(file).parameters, "sha256": files.sha256(file), "key": key}
    files.write_json(about, row)
    return row


def _write(entry: Entry, place: Path, file: Path, shop: _Workshop) -> None:
    if not entry.cut and place.is_file() and is_of(GgufFile(place), entry):
        part = file.with_name(file.name + ".part")
        shutil.copyfile(place, part)
        part.replace(file)
        return
    importance = shop.errors(place) if shop.weigh(entry, place) else None
    if place.is_dir() and not entry.cut:
        gguf_write.export(place, file, entry.kind, entry.embedding or None, importance=importance)
        return
    student = shop.open(place)
    made = prune.prune(student, shop.parts(place), **entry.cut) if entry.cut else student
    with TemporaryDirectory(dir=file.parent, suffix=".part") as folder:
        students.save(made, Path(folder) / "student")
        gguf_write.export(Path(folder) / "student", file, entry.kind, entry.embedding or None, importance=importance)


def is_of(file: GgufFile, entry: Entry) -> bool:
    """Whether all matrices of ``file`` are of the kinds that ``entry`` asks for already."""
    own = {gguf_write.EMBEDDING: entry.embedding or entry.kind}
    return file.kinds == {name: fitting(own.get(name, entry.kind), width) for name, width in file.widths.items()}


@cache
def _code() -> str:
    """What tells this code from other code."""
    return provenance.library("from lib.compression import models")
