"""Which systems a bench compares, and whether each is here: released students, their parent, rule systems, other LLMs.

A student is run as ``predict`` runs it, and by llama.cpp beside, to see what the runtime is worth.
A large model is run as a user would run it: llama.cpp, and the task's own prompt for a model that knows nothing of it.
Its ``source`` is the base model's wheel, ``HUB/ID:FILE.gguf`` (looked for in ``.cache/llm`` and in the hub's own cache;
nothing is downloaded) or a path. What is not here is left out, with a line that says how to get it.

>>> parse_llms(["mine=models/mine.gguf"])                                              # doctest: +SKIP
{'mine': PosixPath('models/mine.gguf')}
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.core import files, paths
from lib.core.params import ParamsError, check, read_yaml
from lib.core.task import Example, StudyTask, Task
from lib.model import gguf_write
from lib.model.codec import check_task
from lib.model.gguf_write import GgufFile
from lib.runtime.decode import suits
from lib.runtime.requests import RELEASED
from lib.teacher.contract import teacher_task

STUDENT, LLM, BASELINE = "student", "llm", "baseline"
DEFAULTS: dict[str, Any] = {
    "task": "home",
    "threads": 2,
    "parent": "",
    "warm": 40,
    "cold": 10,
    "seed": 0,
    "sample": {},
    "baselines": [""],
    "llms": {},
}
LLM_DEFAULTS = {"source": "", "sha256": "", "prompt": "", "context_tokens": 8192, "warm": 3, "cold": 2}
_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+):(?P<file>[\w./-]+\.gguf)")


class BenchError(ValueError):
    """A bench that cannot be run as asked; the message names the parameter or file and the remedy."""


@dataclass(frozen=True)
class Entrant:
    """A system of the comparison. ``file`` and ``sha256``: of its GGUF, if it has one; ``prompt``: of the task's.

    ``runtime``: what runs a student's file (lib/runtime/decode.py); empty: what ``predict`` takes.
    """

    name: str
    kind: str
    file: Path | None = None
    sha256: str = ""
    released: bool = False
    prompt: str = ""
    runtime: str = ""
    context_tokens: int = 0
    warm: int = 0
    cold: int = 0

    def job(self) -> dict[str, Any]:
        """What the process that runs it is told."""
        names = ("name", "kind", "prompt", "runtime", "context_tokens")
        return {key: getattr(self, key) for key in names} | {"file": str(self.file or "")}


def parameters(path: Path) -> dict[str, Any]:
    """The parameters in ``path``, checked. Raises ParamsError or BenchError with file and key."""
    given = read_yaml(path)
    check(DEFAULTS, given, path.name)
    values = {**DEFAULTS, **given}
    values["llms"] = {name: _llm(one, f"{path.name}: llms.{name}") for name, one in (values["llms"] or {}).items()}
    _counts(values, path.name)
    for name, one in values["llms"].items():
        _counts(one, f"{path.name}: llms.{name}")
    return values


def _counts(values: Mapping[str, Any], where: str) -> None:
    for key in ("threads", "warm", "cold"):
        if values.get(key, 1) < 1:
            raise BenchError(f"{where}: {key}: {values[key]}; expected at least 1")


def _llm(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict) or not given.get("source"):
        raise ParamsError(f"{where}: 'source' is missing: give HUB/ID:FILE.gguf or a path")
    check(LLM_DEFAULTS, given, where)
    return {**LLM_DEFAULTS, **given}


def parse_llms(given: Sequence[str]) -> dict[str, Path]:
    """Files by name from ``NAME=FILE`` texts. Raises BenchError for another form or an absent file."""
    found: dict[str, Path] = {}
    for text in given:
        name, _, file = text.partition("=")
        if not name or not file:
            raise BenchError(f"--llm {text}: expected NAME=FILE")
        if not Path(file).is_file():
            raise BenchError(f"--llm {text}: no such file; name a GGUF that is there")
        found[name] = Path(file)
    return found


def entrants(
    task: Task, values: Mapping[str, Any], models: Sequence[Path], llms: Mapping[str, Path], scratch: Path
) -> tuple[list[Entrant], dict[str, str]]:
    """Whom to measure, the quick ones first, and why each other one is left out, by name.

    ``models``: GGUFs of students or folders of them, by default the released ones; ``llms``: files that take the place
    of a source or add to them; ``scratch``: where the parent's own files are written. Raises BenchError or GgufError
    for a model that is there but cannot be used.
    """
    counts = {"warm": values["warm"], "cold": values["cold"]}
    found = [Entrant(name, BASELINE, **counts) for name in values["baselines"] if name]
    absent: dict[str, str] = {}
    students = [_student(task, file, True) for file in _released(task, models, absent)]
    students += _parents(task, values["parent"], scratch, absent)
    found += [replace(e, **counts) for student in students for e in (student, *_by_llama(student))]
    settings = {**values["llms"], **{name: LLM_DEFAULTS for name in llms if name not in values["llms"]}}
    for name, one in settings.items():
        file = llms.get(name) or _file(name, one, absent)
        if file:
            found.append(_large(name, file, one, pinned=name not in llms))
    return _distinct(found), absent


def _released(task: Task, models: Sequence[Path], absent: dict[str, str]) -> list[Path]:
    """GGUFs of students, the smallest first; of the project's own, those for this task."""
    chosen: set[Path] = set()
    for path in models or [RELEASED]:
        inside = sorted(path.glob("*.gguf")) if path.is_dir() or not models else [path]
        if not inside:
            absent[paths.relative(path)] = "no .gguf file there; name a student's GGUF: --model FILE"
        chosen |= set(inside)
    other = {f for f in chosen if not models and GgufFile(f).student["task"] != task.name}
    absent |= {file.stem: f"not for the task '{task.name}'; name a student's GGUF: --model FILE" for file in other}
    return sorted(chosen - other, key=lambda file: file.stat().st_size if file.is_file() else 0)


def _student(task: Task, file: Path, released: bool, name: str = "") -> Entrant:
    check_task(GgufFile(file).student, task, str(file))
    return Entrant(name or file.stem, STUDENT, file, files.sha256(file), released)


def _by_llama(student: Entrant) -> list[Entrant]:
    """The same file run by llama.cpp's server, where that is not what runs it anyway."""
    if student.file is None or suits(GgufFile(student.file)) == "server":
        return []
    return [replace(student, name=f"{student.name}, llama.cpp", released=False, runtime="server")]


def _parents(task: Task, source: str, scratch: Path, absent: dict[str, str]) -> list[Entrant]:
    """What the released models were made from, in Q8_0 and F16."""
    if not source:
        return []
    path = paths.ROOT / source
    if not path.exists():
        absent["parent"] = f"{source} is not there; train it (make reproduce) or name one: --parent FOLDER_OR_GGUF"
        return []
    exported = {kind: _exported(path, kind, scratch) for kind in ("q8_0", "f16")}
    return [_student(task, file, False, f"parent {kind}") for kind, file in exported.items()]


def _exported(path: Path, kind: str, scratch: Path) -> Path:
    """The student at ``path`` as a GGUF of ``kind``, from before if its weights have not changed."""
    from lib.model import student as students

    weights = path / "model.safetensors" if path.is_dir() else path
    file = scratch / f"parent-{files.sha256(weights)[:8]}-{kind}.gguf"
    if file.is_file():
        return file
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = path if path.is_dir() else students.save(students.load(path), Path(name) / "student")
        return gguf_write.export(folder, file, kind)


def _file(name: str, settings: Mapping[str, Any], absent: dict[str, str]) -> Path | None:
    """The large model's file, if it is on this machine."""
    from lib.model.base import WHEEL, cache_folder, fetch_wheel

    if settings["source"] == WHEEL:
        return fetch_wheel(cache_folder())
    hub = _HUB.fullmatch(settings["source"])
    folder = cache_folder() / "llm"
    path = folder / hub["file"] if hub else paths.ROOT / settings["source"]
    found = path if path.is_file() else _hub_cache(hub) if hub else None
    if found is None:
        where = paths.relative(folder)
        get = f"hf download {hub['repository']} {hub['file']} --local-dir {where}, or " if hub else ""
        absent[name] = f"{settings['source']} is not here: {get}name a file: --llm {name}=FILE"
    return found


def _hub_cache(hub: re.Match[str]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub["repository"], hub["file"])
    return Path(found) if isinstance(found, str) else None


def _large(name: str, file: Path, settings: Mapping[str, Any], pinned: bool) -> Entrant:
    """A chat model; with ``pinned`` its SHA-256 must be the one that the parameters give."""
    from lib.llm.gguf import check_file

    check_file(file)
    digest = files.sha256(file)
    if pinned and settings["sha256"] not in ("", digest):
        raise BenchError(
            f"{file.name}: SHA-256 {digest[:12]}… is not the {settings['sha256'][:12]}… of params/bench.yaml: "
            f"download it again, or measure it under another name: --llm NAME={file.name}"
        )
    kept = {key: settings[key] for key in ("prompt", "context_tokens", "warm", "cold")}
    return Entrant(name, LLM, file, digest, **kept)


def check_names(found: Sequence[Entrant], task: StudyTask, pool: Sequence[Example]) -> None:
    """Raises BenchError for a rule system or a prompt that the task does not have; ``pool``: examples to show."""
    known = {BASELINE: [system.name for system in task.baselines([])]}
    if any(e.kind == LLM for e in found):
        known[LLM] = list(teacher_task(task).one_stage(pool))
    for entrant in found:
        name, choices = (entrant.name if entrant.kind == BASELINE else entrant.prompt), known.get(entrant.kind, [])
        if entrant.kind in known and name and name not in choices:
            where = "baselines" if entrant.kind == BASELINE else f"llms.{entrant.name}: prompt"
            raise BenchError(f"params/bench.yaml: {where}: the task has no '{name}': use one of {', '.join(choices)}")


def _distinct(found: list[Entrant]) -> list[Entrant]:
    names = [e.name for e in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BenchError(f"two systems are called '{twice[0]}': rename a file or an entry of params/bench.yaml")
    return found
