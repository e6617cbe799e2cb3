"""The parameters of a federation, who has which data, and which weights a strategy trains and sends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PositiveInt, model_validator

from lib.core import files, paths
from lib.core.examples import by_context, digest_examples, spread
from lib.core.params import ParamsError, Settings, read_yaml
from lib.core.task import Control, Example, Piece, StudyTask
from lib.data import study_data
from lib.data.study_data import DEV
from lib.tasks import load
from lib.training.params import Finetuning

START, LOCAL, CENTRAL = "centre", "local", "central"  # rows without a federation
FULL, LORA, CYCLIC, PROMPT, SEEDS = "full", "lora", "cyclic", "prompt", "seeds"
NEW, OLD = "new tools", "old tools"  # the tests
JOB = "SUPER_TINY_FEDERATED"  # the environment variable that tells the apps what to do


class Federation(Settings):
    """As in params/federated.yaml."""

    task: str
    run: str  # the profile whose parts 1 and 2 made the data
    key: str  # what of a context belongs to one client
    new: list[str] = Field(min_length=1)  # tools that the centre never saw
    clients: PositiveInt
    per_client: int = Field(ge=0)  # requests of each at most; 0: all
    rounds: PositiveInt
    seeds: list[int] = Field(min_length=1)
    centre: dict[str, Any]  # the training of the model that all begin with
    training: dict[str, Any]  # a client's in one round
    strategies: dict[str, dict[str, Any]] = Field(min_length=1)  # by name: what differs in a client's training
    blocks: PositiveInt  # parts of the model that are trained in turn
    prompt_tokens: PositiveInt
    momentum: float = Field(ge=0, lt=1)  # the server's, of prompt tokens
    test_rows: int = Field(ge=0)  # of each test; 0: all
    out: str

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.clients < 2:
            raise ValueError("clients: 1: there is nothing to average: name at least 2, or train with make ablation")
        known = {LOCAL, CENTRAL, FULL, LORA, CYCLIC, PROMPT, SEEDS}
        if unknown := sorted({*self.strategies} - known):
            raise ValueError(f"strategies: unknown '{unknown[0]}': use some of {', '.join(sorted(known))}")
        layers = Finetuning.read(self.centre, "centre").layers
        if self.blocks > (layers if isinstance(layers, int) else len(layers)):
            raise ValueError(f"blocks: {self.blocks}: the centre has fewer layers: lower blocks")
        for strategy in self.strategies:
            self.of(strategy, 0)
        return self

    def of(self, strategy: str, seed: int, steps: int = 1) -> Finetuning:
        """A client's training in a round of ``strategy``, or so many times as many steps. Raises ParamsError."""
        ways = {LORA: {"method": "lora"}, SEEDS: {"update": "zo-sgd"}}
        values = {**self.training, **ways.get(strategy, {}), **self.strategies.get(strategy, {}), "seed": seed}
        found = Finetuning.read(values, f"strategies: {strategy}")
        return found.model_copy(update={"max_steps": found.max_steps * steps})


@dataclass(frozen=True)
class Data:
    """``centre``: without the new tools; ``clients``: of each its requests; ``tests``: of contexts nobody trains on."""

    task: StudyTask
    centre: list[Example]
    clients: list[list[Example]]
    tests: dict[str, list[Example]]


def data(settings: Federation) -> Data:
    """Clients are the contexts with most requests for new tools. Raises ParamsError for too few of them."""
    task = load(settings.task)
    found = study_data.of_run(task, paths.runs() / paths.check_profile(settings.run))
    groups = sorted(by_context(found.accepted, settings.key), key=lambda rows: -sum(is_new(e, settings) for e in rows))
    clients = [rows for rows in groups[: settings.clients] if any(is_new(e, settings) for e in rows)]
    if len(clients) < settings.clients:
        said = f"{len(clients)} contexts of {settings.run} have requests for {', '.join(settings.new)}"
        raise ParamsError(f"clients: {said}, {settings.clients} are needed: lower clients, or name other new tools")
    centre = [e for rows in groups[settings.clients :] for e in rows if not is_new(e, settings)]
    dev = [e for e in found.tests if e.split == DEV]
    tests = {name: [e for e in dev if is_new(e, settings) == (name == NEW)] for name in (NEW, OLD)}
    tests = {name: spread(rows, settings.test_rows) if settings.test_rows else rows for name, rows in tests.items()}
    if missing := [name for name, rows in [*tests.items(), ("the centre", centre)] if not rows]:
        raise ParamsError(f"new: no request is left for {missing[0]}: name other tools")
    return Data(task, centre, [spread(rows, settings.per_client) for rows in clients], tests)


def is_new(example: Example, settings: Federation) -> bool:
    """Whether its answer uses a tool that the centre never saw."""
    return any(call["name"] in settings.new for call in example.gold[0])


class Prompted:
    """``task`` with ``count`` controls before each prefix, whose embeddings can be trained alone."""

    def __init__(self, task: StudyTask, count: int) -> None:
        self._task, self._tokens = task, [Control(f"<prompt {i}>") for i in range(count)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def controls(self) -> list[str]:
        return [*self._task.controls(), *map(str, self._tokens)]

    def prefix(self, refs: Any) -> list[Piece]:
        return [*self._tokens, *self._task.prefix(refs)]


def trained(strategy: str, layers: int, blocks: int, number: int) -> Callable[[str], bool]:
    """Whether a weight, by its name, is trained in round ``number``, from 1: all, adapters, a block, the embedding.

    Blocks are runs of layers, as FedCyBGD (arXiv 2406.11187) has them; the last has the embedding and the norm, too.
    """
    if strategy == LORA:
        return lambda name: "lora_" in name
    if strategy == PROMPT:
        return lambda name: "embed_tokens" in name
    if strategy != CYCLIC:
        return lambda name: True
    own, last = (number - 1) % blocks, blocks - 1
    of = {f"layers.{i}.": i * blocks // layers for i in range(layers)}
    return lambda name: next((block for part, block in of.items() if part in name), last) == own


@dataclass(frozen=True)
class Job:
    """What a server and its clients do; ``work``: their folder, beside that of the student that all begin with."""

    params: str
    strategy: str
    seed: int
    work: str

    @classmethod
    def here(cls) -> Job:
        """The one that the environment names. Raises ParamsError."""
        if JOB not in os.environ:
            raise ParamsError(f"{JOB} is not set: start the apps by make federated")
        return cls(**json.loads(os.environ[JOB]))

    def told(self) -> str:
        return json.dumps(asdict(self))

    @cached_property
    def settings(self) -> Federation:
        return Federation.read(read_yaml(Path(self.params)), Path(self.params).name)

    @cached_property
    def data(self) -> Data:
        return data(self.settings)

    def placed(self, strategy: str, seed: int) -> Job:
        """The job of another row, in a folder of its own in ``runs/federated``, by all that it depends on."""
        data = [digest_examples([*self.data.centre, *(e for rows in self.data.clients for e in rows)])]
        data += [digest_examples(rows) for rows in self.data.tests.values()]
        inputs = files.digest([self.settings.model_dump(exclude={"seeds", "out"}), data])[:8]
        return Job(self.params, strategy, seed, str(paths.runs() / "federated" / f"{inputs}-{seed}" / strategy))

    @property
    def start(self) -> Path:
        return Path(self.work).with_name("start")
