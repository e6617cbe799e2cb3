"""A small model that writes paraphrases instead of the teacher: how many pass the teacher's filter, and what they cost.

*Data augmentation models* in the manner of arXiv 2412.04871, which trains models of 1.5 and 7 billion weights to expand
and refine instructions; of the paper only the abstract and the introduction could be read, so that nothing here
reproduces its figures. The base model is fine-tuned on what the recorded teacher wrote for one half of its seeds and
passes the filter; it writes for the other half, where both are compared. The filter is the teacher's without its judge,
who would have to be asked again: ``rule`` names students alone. None of them has learnt from the teacher's lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, cast

import pandas as pd
import torch
from pydantic import Field, PositiveFloat, PositiveInt

from lib.core import files, paths, provenance
from lib.core.files import Resumable, Row
from lib.core.params import Settings
from lib.core.task import Control, Example, Piece, Task
from lib.data.filter import Acceptance, accept
from lib.data.record import reading
from lib.data.recording import Recording, in_share
from lib.evaluation.evaluate import evaluate
from lib.evaluation.prices import Prices, find, hosted_usd
from lib.llm.types import Prompt, Reply
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import Student
from lib.model.torch_student import TorchStudent, batches, complete
from lib.model.vocabulary import START
from lib.teacher.contract import Writer, write
from lib.training import finetune
from lib.training.sampling import Sampler
from lib.training.work import Result

SOURCE = "augmenter"  # of the examples that are made here
WRITTEN, CONTEXTS = "02_augmented.jsonl", "02_augmented_homes.jsonl"  # in a run's folder
OTHER: dict[str, Any] = {"level": "", "source": SOURCE, "split": "train"}


class Augmentation(Settings):
    """The parameters, as in params/augment.yaml."""

    task: str
    run: str  # the profile whose folder gets what is accepted
    seeds: int = Field(ge=0)  # of the recording's; 0: all
    count: PositiveInt  # paraphrases of a seed
    temperature: PositiveFloat
    max_new: PositiveInt
    rule: list[list[str]] = Field(min_length=1)
    students: dict[str, str] = Field(min_length=1)  # the verifiers by name, as in params/record.yaml
    training: dict[str, Any]
    hosted: str  # at whose price the teacher's tokens count
    third_party: str
    out: str


class Paraphrasing:
    """The task of writing a request anew in a style, as far as a training needs it."""

    name = "paraphrasing"

    def __init__(self, styles: Iterable[str], texts: Sequence[str]) -> None:
        self.styles, self.texts = sorted({*styles}), texts

    def controls(self) -> list[str]:
        return [f"<{style}>" for style in self.styles]

    def corpus(self) -> list[str]:
        return [f" {text}" for text in self.texts]

    def references(self, context: dict[str, Any], text: str = "", rng: Random | None = None) -> Any:
        return ()

    def focus(self, refs: Any, context: dict[str, Any], text: str) -> Any:
        return refs

    def shared(self, refs: Any) -> Any:
        return refs

    def prefix(self, refs: Any) -> list[Piece]:
        return [START]

    def request(self, refs: Any, context: dict[str, Any], text: str) -> list[Piece]:
        return [Control(f"<{context['style']}>"), f" {text}", START]

    def taught(self, example: Example, refs: Any) -> list[Piece]:
        return [f" {example.gold[0][0]['arguments']['text']}"]


@dataclass
class Augmenter:
    """A Backend that answers prompts of ``Short`` with as many lines as these ask for, sampled."""

    student: Student
    task: Paraphrasing
    settings: Augmentation
    model: str = SOURCE

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        given, codec = self.settings, Codec(cast(Task, self.task), self.student.vocabulary)
        network: Any = self.student.model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        asked = [codec.prompt({"style": p.messages[0][1]}, p.messages[1][1]) for p in prompts]
        draw, replies = Sampler(given.temperature, SOURCE, network.device), dict[int, Reply]()
        other = {*codec.vocabulary.controls.values()} - {codec.vocabulary.end}
        for batch in batches(asked, max(512 // given.count, 1), by_prefix=False):
            end, some = codec.vocabulary.end, [asked[i] for i in batch]
            done = complete(network, some, end, given.max_new, draw, given.count)
            for place, i in enumerate(batch):
                own = done[place * given.count : (place + 1) * given.count]
                whole = [d.ids for d in own if d.ids[-1] == end and other.isdisjoint(d.ids)]
                lines = dict.fromkeys(" ".join(codec.vocabulary.decode(ids).split()) for ids in whole)
                sizes: dict[str, Any] = {"prompt_tokens": len(asked[i].ids), "new_tokens": sum(len(d.ids) for d in own)}
                replies[i] = Reply("\n".join(filter(None, lines)), self.model, **sizes)
        return [replies[i] for i in range(len(prompts))]


class Short:
    """``writer`` with prompts that say no more than the style and the seed's words."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.writer, name)

    def expand(self, seed: Example, count: int) -> Prompt:
        return Prompt.of(self.writer.style(seed)[0], seed.text)


@dataclass(frozen=True)
class Side:
    """What one of the two wrote for the same seeds, what of it passes, and what that took: ``usd`` and ``seconds``."""

    name: str
    found: Acceptance
    tokens: int
    usd: float
    seconds: float | None

    def row(self) -> Row:
        kept, every = self.found.kept, len(self.found.kept) + len(self.found.dropped)
        thousands, distinct = max(len(kept), 1) / 1000, len({e.text.casefold() for e in kept})
        each = {"usd_per_1000": self.usd / thousands if kept else float("nan")}
        each["seconds_per_1000"] = self.seconds / thousands if kept and self.seconds is not None else float("nan")
        said = {"written": every, "accepted": len(kept), "share": len(kept) / max(every, 1), "distinct": distinct}
        return {"writer": self.name, **said, "tokens": self.tokens, "usd": self.usd, **each}


@dataclass
class Study:
    """The comparison; ``work`` keeps the model, and the verifiers' readings as they come."""

    recording: Recording
    settings: Augmentation
    prices: Prices
    work: Path
    tested: Sequence[Example] = ()

    def run(self) -> list[Side]:
        """The teacher's side and the small model's. Raises ParamsError, or TrainingError if the teacher has no line."""
        seeds = self.recording.set.seeds[: self.settings.seeds or None]
        held = [seed for seed in seeds if not in_share(seed, 2)]
        theirs, _ = self.recording.candidates(self.settings.seeds)
        own, ids = self.accepted(theirs, self.recording), {seed.id for seed in held}
        result, task = self.trained([e for e in own.kept if e.extra["seed"] not in ids])
        began, augmenter = time.perf_counter(), Augmenter(students.load(result.folder), task, self.settings)
        made = write(cast(Writer, Short(self.recording.writer)), held, augmenter, self.settings.count)
        made = [replace(e, source=SOURCE) for e in made]
        seconds = result.seconds + time.perf_counter() - began
        found = self.accepted(made, replace(self.recording, readings=self.readings(made)))
        return [self._teacher(_of(own, ids), held), self._augmenter(found, seconds)]

    def accepted(self, candidates: Sequence[Example], recording: Recording) -> Acceptance:
        return accept(recording, candidates, {}, self.settings.rule, 1, (), self.tested)

    def trained(self, kept: Sequence[Example]) -> tuple[Result, Paraphrasing]:
        """The model that learnt these pairs of a seed's words and the teacher's."""
        writer, seeds = self.recording.writer, self.recording.set.seeds
        task = Paraphrasing((writer.style(seed)[0] for seed in seeds), [e.text for e in kept])
        pairs = [[replace(_pair(e), **OTHER)] for e in kept]
        return finetune.train(self.settings.training, cast(Task, task), pairs, self.work / "model"), task

    def readings(self, candidates: Sequence[Example]) -> list[Row]:
        """What the verifiers make of candidates."""
        whole = self.recording.task.resolve([c for c in candidates if c.text], self.recording.set.contexts)
        rows, key = list[Row](), [[c.id, c.text] for c in whole]
        with Resumable(self.work / "readings.jsonl", [key, self.settings.students]) as out:
            for system in self.verifiers():
                done = evaluate(system, whole, self.recording.task, "candidates", out)
                rows += [reading(row, candidate, True) for row, candidate in zip(done, whole, strict=True)]
        return rows

    def verifiers(self) -> Iterator[Any]:
        for name, path in self.settings.students.items():
            yield TorchStudent(students.load(paths.ROOT / path), self.recording.task, name)

    def _teacher(self, found: Acceptance, seeds: Sequence[Example]) -> Side:
        writer, replay = self.recording.writer, self.recording.replay
        replies = replay.complete([writer.expand(s, self.recording.provenance["parameters"]["count"]) for s in seeds])
        kinds = "prompt_tokens", "cached_tokens", "new_tokens"
        prompt, cached, new = (sum(getattr(reply, kind) for reply in replies) for kind in kinds)
        usd = hosted_usd(find(self.prices.hosted, self.settings.hosted, "hosted"), prompt, new, cached) / 1e6
        return Side(replay.model, found, new, usd, None)

    def _augmenter(self, found: Acceptance, seconds: float) -> Side:
        name = next(iter(provenance.hardware()["gpu"]), "vCPU")
        price = find(self.prices.rented, name if name in self.prices.rented else "vCPU", "rented processor")
        seeds = {e.extra["seed"]: e.extra["new_tokens"] for e in (*found.kept, *found.dropped)}
        usd = seconds / 3600 * price.usd_per_hour * price.units
        return Side(SOURCE, found, sum(seeds.values()), usd, seconds)


def _of(found: Acceptance, seeds: set[str]) -> Acceptance:
    """What of ``found`` was written for these seeds."""
    kept, dropped = ([e for e in side if e.extra["seed"] in seeds] for side in (found.kept, found.dropped))
    return replace(found, kept=kept, dropped=dropped)


def _pair(example: Example) -> Example:
    said = {"name": "say", "arguments": {"text": example.text}}
    return replace(example, text=example.extra["said"], context={"style": example.extra["style"]}, gold=[[said]])


def store(sides: Sequence[Side], recording: Recording, run: Path, out: Path) -> pd.DataFrame:
    """Writes what the small model wrote and passes into ``run``, and the table of both into ``out``; returns that."""
    kept, table = sides[-1].found.kept, pd.DataFrame([side.row() for side in sides])
    used = {str(value) for e in kept for value in e.context.values()}
    homes = [{"id": key, **context.to_dict()} for key, context in recording.set.contexts.items() if key in used]
    files.write_jsonl(run / CONTEXTS, homes)
    files.write_jsonl(run / WRITTEN, (e.to_dict() for e in kept))
    with files.replacing(out) as part:
        files.write_text(part / "table.csv", table.to_csv(index=False))
        about = {"commit": provenance.commit(), "hardware": provenance.hardware(), "versions": provenance.versions()}
        files.write_json(part / "provenance.json", about)
    return table
