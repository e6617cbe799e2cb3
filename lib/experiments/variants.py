"""The parameters of an ablation: variants of a student, by data, parameters of training, and steps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt

from lib.compression.shape import Shape
from lib.core.files import Row
from lib.core.params import ParamsError, Settings, read_yaml
from lib.training.params import Distillation, Finetuning, Reinforcement, Training

SFT, KD, RL, CUT = "sft", "kd", "rl", "cut"


class Variant(Settings):
    """What differs from the other variants."""

    repeat: dict[str, NonNegativeInt] = {}  # how often the examples of a source (or SOURCE/LEVEL) are used; else once
    share: float = Field(1.0, gt=0, le=1)  # of the examples, evenly spaced
    rejected: bool = False  # learn from rejected candidates, too, each with its reward (lib/data/conditioned.py)
    shape: Shape | None = None  # in place of the fine-tuning the assistant is cut to it and distilled; {}: as it is
    training: dict[str, Any] = {}  # changed parameters of the fine-tuning, or of this distillation
    steps: list[dict[Literal["sft", "kd", "rl"], dict[str, Any]]] = []  # what follows, with changed parameters
    against: list[str] = []  # the variants that it is compared with, where that is not the reference


class Parameters(Settings):
    """An ablation, as in params/ablation.yaml."""

    task: str
    run: str  # the profile whose parts 1 and 2 made the data
    training: dict[str, Any] = {}
    ffn_width: NonNegativeInt = 0  # what the base is pruned to before the fine-tuning; 0 keeps all
    kd: dict[str, Any] = {}
    rl: dict[str, Any] = {}
    assistant: str = ""  # the model that distillation learns from
    key: str  # what of their context the requests of a packed row share
    seeds: list[int] = Field(min_length=1)
    variants: dict[Annotated[str, Field(pattern=r"^\w[\w .+-]*$")], Variant]  # by a name that files can have
    reference: str  # the variant that the others are compared with
    dev_rows: NonNegativeInt = 0
    third_party: str = ""
    third_party_rows: NonNegativeInt = 0
    third_party_skip: list[str] = []
    out: str

    def chain(self, name: str, seed: int) -> list[tuple[str, Training]]:
        """The steps of a run with their parameters. Raises ParamsError."""
        variant, where = self.variants[name], f"variants: {name}"
        training = {**self.training, **variant.training, "seed": seed}
        found: list[tuple[str, Training]]
        if variant.shape:
            recovery = {**self.kd, **variant.training, "seed": seed}
            found = [(CUT, Distillation.read(recovery, f"{where}: training"))]
        else:
            found = [(SFT, Finetuning.read(training, f"{where}: training"))]
        of: dict[str, tuple[type[Training], Row]]
        of = {SFT: (Finetuning, training), KD: (Distillation, self.kd), RL: (Reinforcement, self.rl)}
        for step in variant.steps:
            for kind, changed in step.items():
                settings, common = of[kind]
                found.append((kind, settings.read({**common, **changed, "seed": seed}, f"{where}: steps: {kind}")))
        return found


def read(path: Path) -> Parameters:
    """The parameters in a YAML file, checked. Raises ParamsError that names the key."""
    params, where = Parameters.read(read_yaml(path), path.name), f"{path.name}: variants"
    if len(set(params.seeds)) < len(params.seeds):
        raise ParamsError(f"{path.name}: seeds: {params.seeds}: each once")
    if params.reference not in params.variants:
        known = ", ".join(params.variants)
        raise ParamsError(f"{path.name}: reference: no variant '{params.reference}'; known: {known}")
    for name, variant in params.variants.items():
        if unknown := [other for other in variant.against if other not in params.variants or other == name]:
            raise ParamsError(f"{where}: {name}: against: no other variant '{unknown[0]}'")
        if {KD, CUT} & {kind for kind, _ in params.chain(name, 0)} and not params.assistant:
            step = "shape" if variant.shape else f"steps: {KD}"
            raise ParamsError(f"{where}: {name}: {step}: name an assistant to learn from")
    return params
