"""Home Assistant voice control: the study's main task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from lib.core.task import Call, Example, Piece, Score, System, TaskError
from lib.tasks.home.language import calls, prompt
from lib.tasks.home.language.references import References
from lib.tasks.home.language.references import references as number
from lib.tasks.home.sampler import phrases
from lib.tasks.home.sampler.names import pools
from lib.tasks.home.simulator import tools
from lib.tasks.home.simulator.homes import Home, load_homes

if TYPE_CHECKING:  # what answers requests needs no teacher
    from lib.teacher.contract import TeacherSet
    from lib.teacher.pipeline import OneStage, Prototype
    from lib.teacher.write import Writer

CORPUS_SEED = 20_000


class HomeTask:
    """``lib.core.task.Task`` for a home; see there for what each method does."""

    name = "home"
    recordings = Path(__file__).parent / "recordings"

    def tools(self) -> list[dict[str, Any]]:
        return tools.schemas()

    def controls(self) -> list[str]:
        return prompt.controls()

    def corpus(self) -> Iterable[str]:
        return _corpus()

    def context(self, row: Mapping[str, Any], where: str = "request") -> dict[str, Any]:
        """The context of a ``predict`` row, checked. Raises TaskError."""
        home = Home.from_dict(row.get("home"), f"{where}: home")
        area = row.get("area")
        area = " ".join(area.split()) if isinstance(area, str) else area
        if area is not None and (not isinstance(area, str) or area not in home.floor_of):
            raise TaskError(f"{where}: area: {area!r} is none of the home's areas; use one of them or null")
        return {"home": home, "area": area}

    def references(self, context: dict[str, Any], text: str = "", rng: Random | None = None) -> References:
        return number(context["home"], text, rng, context.get("area"))

    def prefix(self, refs: References) -> list[Piece]:
        return prompt.prefix(refs)

    def request(self, refs: References, context: dict[str, Any], text: str) -> list[Piece]:
        return prompt.request(refs, context.get("area"), text)

    def answer(self, calls_: Sequence[Call], refs: References) -> list[Piece]:
        return calls.answer(calls_, refs)

    def taught(self, example: Example, refs: References) -> list[Piece]:
        return calls.taught(example, refs)

    def parse(self, raw: str, refs: References) -> list[Call]:
        return calls.parse(raw, refs)

    def grammar(self, refs: References) -> str:
        from lib.tasks.home.language.grammar import grammar

        return grammar(refs)

    def score(self, example: Example, calls_: Sequence[Call]) -> Score:
        from lib.tasks.home.simulator.score import score

        return score(example, calls_)

    def sample(self, params: Mapping[str, Any], out: Path) -> dict[str, Any]:
        """Homes, training seeds, dev and test sets, by program: see ``data.sample``."""
        from lib.tasks.home.examples.data import sample

        return sample(params, out)

    def contexts(self, path: Path) -> dict[str, Home]:
        """The homes of ``01_homes.jsonl`` by key."""
        return load_homes(path)

    def resolve(self, examples: Iterable[Example], contexts: Mapping[str, Home]) -> list[Example]:
        """Examples whose context holds the home itself instead of its key."""
        return [
            Example(**{**e.__dict__, "context": {**e.context, "home": contexts[e.context["home"]]}}) for e in examples
        ]

    def overlap(
        self, train: Sequence[Example], tests: Sequence[Example], contexts: Mapping[str, Home]
    ) -> list[dict[str, Any]]:
        """What the tests share with the training data: see ``checks.overlap``."""
        from lib.tasks.home.examples.checks import overlap

        return overlap(train, tests, contexts)

    def accept(
        self, seeds: Iterable[Example], contexts: Mapping[str, Home], tests: Collection[Example]
    ) -> tuple[list[Example], list[Example]]:
        """Accepted and rejected seeds: see ``checks.accept``."""
        from lib.tasks.home.examples.checks import accept

        return accept(seeds, contexts, tests)

    def baselines(self, train: Sequence[Example]) -> list[System]:
        """The rule system, and the classic pipeline fitted to ``train`` (resolved examples) if there are any."""
        from lib.tasks.home.baselines.hassil import HassilBaseline

        if not train:
            return [HassilBaseline()]
        from lib.tasks.home.baselines.tfidf import TfidfBaseline

        return [HassilBaseline(), TfidfBaseline().fit(train)]

    def third_party(self, path: Path) -> dict[str, list[Example]]:
        """Test sets written by others, by file; empty where the folder is absent."""
        from lib.tasks.home.examples.third_party import load

        return load(path)

    def teacher_set(self, seeds: int, tests: int, pool: int, seed: int) -> TeacherSet:
        """Requests for a teacher: see ``teacher_set.draw``."""
        from lib.tasks.home.teacher.teacher_set import draw

        return draw(seeds, tests, pool, seed)

    def writer(self, prompts: Path | None = None) -> Writer:
        """How the teacher is asked for other ways to say a request, by a recording's own prompts or today's."""
        from lib.tasks.home.teacher.write import PROMPTS, HomeWriter

        return HomeWriter(prompts or PROMPTS)

    def prototype(self, pool: Sequence[Example]) -> Prototype:
        """The pipeline's steps for a home; ``pool``: resolved examples to retrieve from."""
        from lib.tasks.home.teacher.steps import HomePrototype

        return HomePrototype(pool)

    def one_stage(self, pool: Sequence[Example]) -> dict[str, OneStage]:
        """Prompts that ask once: Home Assistant's way, and with retrieved examples."""
        from lib.tasks.home.teacher.one_stage import FewShot, ZeroShot

        return {"one-stage zero-shot": ZeroShot(), "one-stage few-shot": FewShot(pool)}

    def odd_context(self, rng: Random, name: Callable[[], str]) -> dict[str, Any]:
        """A home in which most things are called what ``name`` gives: see ``odd.odd_home``."""
        from lib.tasks.home.sampler.odd import odd_home

        home = odd_home(rng, name)
        return {"home": home, "area": rng.choice([None, *(a.name for a in home.areas)])}

    def absent(self, calls_: Sequence[Call], context: dict[str, Any]) -> list[str]:
        """What calls speak of and the home does not have: see ``odd.absent``."""
        from lib.tasks.home.sampler.odd import absent

        return absent(calls_, context["home"])

    def masked(self, example: Example, contexts: Mapping[str, Home]) -> str:
        """The words of a request with the home's names and all numbers masked: see ``checks.masked``."""
        from lib.tasks.home.examples.checks import masked

        home = example.context["home"]
        return masked(example, home if isinstance(home, Home) else contexts[home])


@lru_cache(maxsize=1)
def _corpus() -> tuple[str, ...]:
    """Names, wordings and sampled requests, always the same, for choosing a vocabulary."""
    return (*_strings(pools()), *_strings(phrases.bank()), *_sampled())


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield f" {value}"
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, Iterable):
        for inner in value:
            yield from _strings(inner)


def _sampled() -> Iterator[str]:
    from lib.tasks.home.examples.data import requests
    from lib.tasks.home.sampler.grammar import Sampler
    from lib.tasks.home.sampler.sample_homes import sample_home

    rng, sampler = Random(CORPUS_SEED), Sampler("en")
    shares = dict.fromkeys(("L0", "L1", "L2", "L3", "L4", "L5", "L6"), 1.0)
    for _ in range(200):
        home = sample_home(rng, (3, 40))
        yield "".join(prompt.prefix(number(home)))
        for _, draw in requests(rng, home, shares, 20, False, sampler):
            yield f" {draw.text}"


TASK = HomeTask()
