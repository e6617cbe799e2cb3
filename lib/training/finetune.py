"""Fine-tunes a student on accepted examples: TRL's SFTTrainer over packed rows (lib/training/packing.py).

The student learns from answers only, as in the rejection-sampling fine-tuning of *From Large to Super-Tiny*
(arXiv 2504.13471, knowledge transfer). Full fine-tuning or LoRA (Hu et al., arXiv 2106.09685; merged at the end), lower
layers frozen if asked for, a budget in steps, epochs or minutes, checkpoints on the way: a killed training goes on
from the last one when it is started again with the same parameters.

>>> result = train({"max_minutes": 5, "layers": 30}, task, groups, Path("runs/cpu/03_student"))  # doctest: +SKIP
>>> result.steps, round(result.loss, 2)                                                          # doctest: +SKIP
(212, 0.09)

``steps.csv`` in the student's folder has one line a step: step, loss, lr, tokens, tokens_per_s, seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from datasets import Dataset
from tokenizers import Tokenizer
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from transformers import PreTrainedTokenizerFast, PrinterCallback
from trl import SFTConfig, SFTTrainer

from lib.compression import prune
from lib.core import paths
from lib.core.examples import spread
from lib.core.files import sha256
from lib.core.task import Example, Task
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import Student
from lib.model.vocabulary import END, Vocabulary
from lib.training import qat, workdir
from lib.training.compiled_layers import ALIKE, compiled, readable_mask
from lib.training.layers import prepare, restore
from lib.training.log import StepLog, last_checkpoint
from lib.training.packing import ALIGN, IGNORED, Packer, Row, collate, visible
from lib.training.params import Schedule, SftParams, Training, TrainingError

MOST_STEPS_PER_MINUTE = 6000
MEASURED = 256
"""Examples on which the importance of a base's channels is measured."""

T = TypeVar("T", bound="PackedTrainer")
Collator = Callable[[list[Row]], dict[str, Any]]


@dataclass(frozen=True)
class TrainResult:
    """``loss`` is the mean of the last 20 steps."""

    folder: Path
    steps: int
    tokens: int
    seconds: float
    loss: float


def train(
    params: Mapping[str, Any] | SftParams, task: Task, groups: Sequence[Sequence[Example]], out_dir: Path
) -> TrainResult:
    """Trains a student on ``groups`` (examples that share a context) and writes its folder ``out_dir``.

    Work in progress is beside it, in ``<out_dir>.part``, and is taken up if parameters, data and what it started from
    are the same. Raises PruneError for channels that the base does not have, TrainingError for parameters that are
    not allowed, work of other parameters, or a loss that is no number.
    """
    params = SftParams.read(params)
    facts = params.to_dict() | _source(params.base)
    work = workdir.claim(out_dir, facts, groups)
    student = _begin(params, task, groups)
    trainer = make_trainer(PackedTrainer, params, task, student, groups, work)
    return fit(trainer, student, facts, out_dir)


def _begin(params: SftParams, task: Task, groups: Sequence[Sequence[Example]]) -> Student:
    """The student before its first step."""
    student = students.start(task, params.base, params.vocab_size, params.layers, params.seed)
    if not params.channels:
        return student
    examples = spread([e for group in groups for e in group], MEASURED)
    return prune.prune(student, prune.measure(student, task, examples), channels=params.channels)


def _source(base: str) -> dict[str, str]:
    """How a file or folder that a training starts from is told to others: no machine's path, but its content."""
    path = Path(base)
    return {"base": paths.relative(path), "start": sha256(path)} if base and path.exists() else {}


def fit(trainer: PackedTrainer, student: Student, facts: Mapping[str, Any], out_dir: Path) -> TrainResult:
    """Trains, from the last checkpoint if there is one, and writes the folder ``out_dir``.

    ``facts`` becomes ``training`` in the folder's student.json, with the steps. Raises TrainingError.
    """
    work = workdir.folder(out_dir)
    trainer.train(resume_from_checkpoint=last_checkpoint(work / "checkpoints"))
    restore(student.model)
    steps = trainer.log_file.rows
    student.info["training"] = {**facts, "steps": len(steps)}
    folder = workdir.finish(student, work, out_dir)
    loss = sum(row["loss"] for row in steps[-20:]) / max(len(steps[-20:]), 1)
    return TrainResult(folder, len(steps), sum(r["tokens"] for r in steps), trainer.schedule.spent, loss)


def make_trainer(
    kind: type[T],
    params: Training,
    task: Task,
    student: Student,
    groups: Sequence[Sequence[Example]],
    work: Path,
    collator: Collator | None = None,
    **more: Any,
) -> T:
    """The trainer, with the student's layers frozen or adapted as the parameters say.

    ``collator`` makes a batch of rows, by default lib.training.packing.collate; ``more`` are arguments that only ``kind`` has.
    Raises TrainingError for more frozen layers than there are, PackingError.
    """
    if params.freeze_below >= student.model.config.num_hidden_layers:
        raise TrainingError(f"freeze_below: {params.freeze_below}, but the student has only as many layers or fewer")
    packer = Packer(Codec(task, student.vocabulary), groups, params.row_tokens, params.seed)
    steps = count_steps(params, packer)
    prepare(student.model, params)
    schedule = Schedule(steps, params.max_minutes, params.warmup)
    optimizer = _optimizer(student, params)
    batch = collator or partial(collate, pad=student.vocabulary.end, align=ALIKE if params.compile else ALIGN)
    return kind(
        log_file=StepLog(work / "steps.csv", schedule, params.checkpoint_minutes, kind.columns),
        schedule=schedule,
        model=student.model,
        args=_arguments(params, steps, work),
        train_dataset=Dataset.from_dict({"row": range(steps * params.rows_per_step)}),
        data_collator=lambda features: batch([packer.row(f["row"]) for f in features]),
        processing_class=_processing_class(student.vocabulary),
        optimizers=(optimizer, LambdaLR(optimizer, schedule)),
        **more,
    )


def _optimizer(student: Student, params: Training) -> AdamW:
    weights = [p for p in student.model.parameters() if p.requires_grad]
    return AdamW(weights, lr=params.learning_rate, weight_decay=params.weight_decay, betas=(0.9, 0.99), fused=True)


def count_steps(params: Training, packer: Packer) -> int:
    """``Training.steps`` over packed rows."""
    in_epochs = packer.rows_until(params.epochs) // params.rows_per_step if params.epochs else 0
    return params.steps(in_epochs, MOST_STEPS_PER_MINUTE)


def _arguments(params: Training, steps: int, work: Path) -> SFTConfig:
    return SFTConfig(
        output_dir=str(work / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=params.rows_at_once,
        gradient_accumulation_steps=params.rows_per_step // params.rows_at_once,
        max_grad_norm=params.clip,
        bf16=params.bf16,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        seed=params.seed,
        dataloader_num_workers=params.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        save_strategy="no",
        save_total_limit=1,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _processing_class(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer.from_str(json.dumps(vocabulary.json))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=str(END), pad_token=str(END))


def answer_logits(
    model: Any, inputs: Mapping[str, torch.Tensor], bf16: bool = False, seen: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits for each answer token of a batch of rows, (answer tokens, vocabulary) in fp32, and those tokens.

    Other positions get no logits at all. ``bf16``: the forward pass runs in it. ``seen``: who sees whom, bool
    (rows, 1, tokens, tokens), if the rows are not those of lib.training.packing.
    """
    dtype = torch.bfloat16 if bf16 else torch.float32
    seen = visible(inputs["blocks"], inputs["segments"]) if seen is None else seen
    following = inputs["labels"][:, 1:]
    answers = following != IGNORED
    with torch.autocast(inputs["labels"].device.type, torch.bfloat16, enabled=bf16), compiled(model):
        mask = readable_mask(model, seen, dtype)
        hidden = model.model(
            inputs["input_ids"], attention_mask=mask, position_ids=inputs["position_ids"], use_cache=False
        )[0]
        logits = model.lm_head(hidden[:, :-1][answers])
    return logits.float(), following[answers]


class PackedTrainer(qat.RoundedSteps, SFTTrainer):
    """SFTTrainer over rows in their planned order; answers alone get logits; it stops at a loss that is no number."""

    columns: tuple[str, ...] = ()
    """What its steps.csv has beside lib.training.log.COLUMNS."""

    def __init__(self, log_file: StepLog, schedule: Schedule, **arguments: Any) -> None:
        super().__init__(callbacks=[log_file], **arguments)
        self.remove_callback(PrinterCallback)
        self.log_file, self.schedule = log_file, schedule

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)  # type: ignore[arg-type]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        logits, answers = answer_logits(self.model, inputs, self.args.bf16)
        losses = F.cross_entropy(logits, answers, reduction="none")
        loss = losses.sum() / (len(losses) if num_items_in_batch is None else num_items_in_batch)
        self._log_loss(float(loss.detach()), int(inputs["tokens"].sum()))
        return (loss, {}) if return_outputs else loss

    def _log_loss(self, loss: float, tokens: int, **more: float) -> None:
        """Counts a batch. Raises TrainingError for a loss that is no number."""
        if loss != loss or loss == float("inf"):
            raise TrainingError(
                f"step {self.state.global_step + 1}: the loss is {loss}; lower learning_rate"
                f" ({self.args.learning_rate if not self.optimizer else self.optimizer.param_groups[0]['lr']:.2g} now)"
                " or use precision: fp32"
            )
        self.log_file.count(loss, tokens, **more)
