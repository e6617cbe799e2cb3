"""What a task brings for a teacher, a large language model, and how that writes paraphrases, judges and refines them.

Rejection sampling as in *From Large to Super-Tiny* (arXiv 2504.13471, knowledge transfer): several candidates a seed,
of which those pass that verifiers, who do not know the gold calls, understand as the seed was meant
(``lib.data.filter``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lib.core.task import Example, StudyTask, TaskError
from lib.llm.replay import PROVENANCE
from lib.llm.types import Backend, Prompt, Reply
from lib.teacher.pipeline import OneStage, OneStageSystem, Pipeline, Prototype

PIPELINE = "pipeline"  # its name in records


@dataclass(frozen=True)
class TeacherSet:
    """What a teacher works on; examples name a key of ``contexts``, and no kind has the words of another.

    ``seeds`` are paraphrased (split "train"), ``tests`` are answered (split "dev"), ``pool`` is shown in prompts.
    """

    contexts: dict[str, Any]
    seeds: list[Example]
    tests: list[Example]
    pool: list[Example]


@dataclass(frozen=True)
class Verdict:
    """A judge's opinion of a candidate: whether it means what its seed does, and how natural it is, from 1 to 5."""

    same: bool
    natural: int


class Writer(Protocol):
    """A domain's prompts for writing and judging, from the file ``prompts`` (recordings keep a copy of it)."""

    prompts: Path

    def expand(self, seed: Example, count: int) -> Prompt:
        """Requests ``count`` paraphrases of ``seed``."""

    def style(self, seed: Example) -> tuple[str, str]:
        """The style that ``seed`` is paraphrased in and the level that its candidates belong to."""

    def lines(self, reply: str, seed: Example) -> list[str]:
        """The candidates in a reply to ``expand`` or ``refine``."""

    def refine(self, seed: Example, text: str) -> Prompt:
        """Requests a more natural wording of a candidate."""

    def judge(self, seed: Example, text: str) -> Prompt:
        """Asks whether ``text`` means what ``seed`` does and how natural it is."""

    def verdict(self, reply: str) -> Verdict | None:
        """Reads a reply to ``judge``; None where it cannot be read."""

    def fault(self, candidate: Example) -> str:
        """Why the words alone rule a candidate out; empty if they do not."""


class TeacherTask(StudyTask, Protocol):
    """A task that a large model can be the teacher of. ``recordings``: the folder with what teachers answered."""

    recordings: Path

    def teacher_set(self, seeds: int, tests: int, pool: int, seed: int) -> TeacherSet:
        """Draws ``seeds`` requests to paraphrase, ``tests`` of each level, and ``pool`` requests to show."""

    def writer(self, prompts: Path | None = None) -> Writer:
        """How candidates are requested and judged, with the prompts in a file or the task's own."""

    def prototype(self, pool: Sequence[Example]) -> Prototype:
        """The pipeline's steps; ``pool``: resolved examples to retrieve from."""

    def one_stage(self, pool: Sequence[Example]) -> dict[str, OneStage]:
        """Prompts of one-stage systems by name."""

    def masked(self, example: Example, contexts: Mapping[str, Any]) -> str:
        """The words of a request with names and numbers masked, for comparing with tests."""


def has_teacher(task: StudyTask) -> bool:
    """Whether a teacher of ``task`` was recorded."""
    return hasattr(task, "recordings") and (task.recordings / PROVENANCE).is_file()


def teacher_task(task: StudyTask) -> TeacherTask:
    """``task`` if it can have a teacher. Raises TaskError."""
    if not hasattr(task, "writer"):
        raise TaskError(f"task '{task.name}' has no teacher: see TeacherTask in lib/teacher/contract.py")
    return task  # type: ignore[return-value]


def compared(
    task: TeacherTask, pool: Sequence[Example], backend: Backend, names: Sequence[str] = ()
) -> list[Pipeline | OneStageSystem]:
    """The one-stage systems and the pipeline around one model, or those of ``names``. Raises TaskError."""
    singles = [OneStageSystem(prompts, backend, name) for name, prompts in task.one_stage(pool).items()]
    systems: list[Pipeline | OneStageSystem] = [*singles, Pipeline(task.prototype(pool), backend, PIPELINE)]
    if unknown := sorted(set(names) - {system.name for system in systems}):
        raise TaskError(f"systems: unknown '{unknown[0]}': use some of {', '.join(s.name for s in systems)}")
    return [system for system in systems if not names or system.name in names]


class Sampled:
    """A Backend that samples at temperature 0.7 what is requested greedily, for a second opinion of a system."""

    def __init__(self, inner: Backend, seed: int) -> None:
        self.inner, self.model, self.seed = inner, inner.model, seed

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        return self.inner.complete([replace(p, temperature=0.7, top_p=0.95, seed=p.seed + self.seed) for p in prompts])


def write(writer: Writer, seeds: Sequence[Example], backend: Backend, count: int) -> list[Example]:
    """Candidates, up to about ``count`` a seed, each with its seed's context and gold calls.

    ``extra`` holds ``seed`` (its id), ``said`` (its text), ``style`` and ``new_tokens`` (of the whole reply). A failed
    reply gives a candidate without text and with its ``error``.
    """
    made = []
    for seed, reply in zip(seeds, backend.complete([writer.expand(s, count) for s in seeds]), strict=True):
        style, level = writer.style(seed)
        texts, error = _texts(writer, seed, reply)
        extra = {"seed": seed.id, "said": seed.text, "style": style, "new_tokens": reply.new_tokens, **error}
        extra |= {"wanted": seed.extra["wanted"]} if "wanted" in seed.extra else {}
        ids = [f"{seed.id}/{k}" for k in range(len(texts))] if not error else [f"{seed.id}/-"]
        found = replace(seed, level=level, source="teacher", extra=extra)
        made += [replace(found, id=key, text=text) for key, text in zip(ids, texts or [""], strict=True)]
    return made


def _texts(writer: Writer, seed: Example, reply: Reply) -> tuple[list[str], dict[str, str]]:
    """The whole lines of a reply or, if there are none, the ``error``."""
    if reply.error:
        return [], {"error": reply.error}
    cut_off = reply.finish == "length"
    texts = writer.lines(reply.text.rpartition("\n")[0] if cut_off else reply.text, seed)
    return texts, {} if texts else {"error": "cut off" if cut_off else "empty reply"}


def judge(
    writer: Writer, seeds: Mapping[str, Example], candidates: Sequence[Example], backend: Backend
) -> dict[str, Verdict]:
    """Verdicts by candidate id; a candidate whose verdict cannot be read has none."""
    asked = [c for c in candidates if c.text]
    replies = backend.complete([writer.judge(seeds[c.extra["seed"]], c.text) for c in asked])
    verdicts = {c.id: writer.verdict(r.text) for c, r in zip(asked, replies, strict=True) if not r.error}
    return {key: verdict for key, verdict in verdicts.items() if verdict}


def tokens_written(candidates: Sequence[Example]) -> int:
    """Tokens that the teacher wrote for all these candidates: each seed's reply once, each refinement's own.

    A refinement that only repeated its candidate has no row, and its tokens are not known.
    """
    replies = {("refines" in c.extra, c.extra.get("refines", c.extra["seed"])): c for c in candidates}
    return sum(c.extra["new_tokens"] for c in replies.values())


def refine(
    writer: Writer,
    seeds: Mapping[str, Example],
    candidates: Sequence[Example],
    verdicts: Mapping[str, Verdict],
    backend: Backend,
    below: int,
) -> list[Example]:
    """Second attempts at the candidates that mean the right thing but are less natural than ``below``.

    ``extra`` names what each one ``refines``, with ``new_tokens`` of its own reply. An attempt that failed has no text
    and its ``error``, as in ``write``; one that repeats the candidate is left out.
    """
    awkward = [c for c in candidates if c.id in verdicts and verdicts[c.id].same and verdicts[c.id].natural < below]
    made = []
    replies = backend.complete([writer.refine(seeds[c.extra["seed"]], c.text) for c in awkward])
    for candidate, reply in zip(awkward, replies, strict=True):
        texts, error = _texts(writer, seeds[candidate.extra["seed"]], reply)
        extra = {**candidate.extra, "refines": candidate.id, "new_tokens": reply.new_tokens, **error}
        if error or texts[0].casefold() != candidate.text.casefold():
            made.append(replace(candidate, id=f"{candidate.id}r", text="".join(texts[:1]), extra=extra))
    return made
