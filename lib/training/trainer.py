"""The trainer of fine-tuning, distillation and reinforcement, which differ in their loss: packed rows, answers alone.

It is TRL's SFTTrainer with ``skip_prepare_dataset`` (so transformers' Trainer): the loop, accumulation, mixed
precision, clipping, checkpoints and distribution are theirs. Rows, the learning rate's schedule (a warm-up, then a
cosine, arXiv 1608.03983) and losses are this project's, through public methods alone.

Steps are written to ``steps.csv``, from the trainer's own log history, so that a training that resumes has those before
its checkpoint (lib/training/work.py). Several processes (lib/training/launch.py) share the rows of a step: gradients
and what is logged are of all rows, and the first process alone writes.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from datasets import Dataset
from huggingface_hub import constants
from tokenizers import Tokenizer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from lib.core.files import read_json, sha256, write_json
from lib.core.task import Task
from lib.model import student as students
from lib.model.codec import Codec
from lib.model.student import Student
from lib.model.vocabulary import END, Vocabulary
from lib.training import layers
from lib.training.packing import ALIGN, ByContext, Packer, collate
from lib.training.params import RowTraining, Training, TrainingError
from lib.training.work import RUN, Result, StepLog, first, last_checkpoint, processes
from lib.training.zeroth_order import optimiser

constants.HF_HUB_DISABLE_TELEMETRY = True  # TRL would report every training to its makers

Batch = dict[str, Any]
DIVIDED = "pytorch_model_fsdp.bin"  # the weights in a checkpoint of FSDP, as accelerate names them
Collator = Callable[[list[int]], Batch]


class OneDevice(SFTConfig):
    """A process trains on one device, also where it sees several; more devices take more processes."""

    n_gpu = 1


class PackedTrainer(SFTTrainer):
    """Trains a student on batches in their planned order; stops at a loss that is no number."""

    columns: tuple[str, ...] = ()  # what its steps.csv has besides COLUMNS
    loss_is_scaled_for_ga = True  # type: ignore[assignment]

    def __init__(
        self,
        params: Training,
        student: Student,
        collator: Collator,
        work: Path,
        size: tuple[int, int],
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        """``size``: items of a step, and of one forward pass; ``collator`` makes a batch of their numbers."""
        self.params, self.prepared = params, layers.Prepared(student.model, params)
        self.step_log = StepLog(work / "steps.csv", params.checkpoint_minutes, params.max_minutes, self.columns)
        tokenizer = Tokenizer.from_str(json.dumps(student.vocabulary.json))
        super().__init__(
            model=student.model,
            args=_arguments(params, work, *size),
            train_dataset=Dataset.from_dict({"item": range(params.max_steps * size[0])}),
            data_collator=lambda features: collator([feature["item"] for feature in features]),
            processing_class=PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END),
            callbacks=[self.step_log, *callbacks],
        )
        self.remove_callback(PrinterCallback)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        steps, of = self.params.max_steps, cast(Optimizer, optimizer or self.optimizer)
        self.lr_scheduler = LambdaLR(of, lambda step: rate(step / steps, self.params.warmup, 0.5 / steps))
        return self.lr_scheduler

    def create_optimizer(self, model: Any = None) -> Optimizer:
        self.zeroth_order = optimiser(cast(Any, self.model), self.params)
        self.optimizer = self.zeroth_order or super().create_optimizer(model)
        return self.optimizer

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        if self.zeroth_order:
            batch, looks = self._prepare_inputs(inputs), iter((True, False))
            return self.zeroth_order.look(lambda: self._look(model.train(), batch, num_items_in_batch, next(looks)))
        with self.prepared.quantised():
            return super().training_step(model, inputs, num_items_in_batch)

    def _look(self, model: Any, batch: Batch, items: Any, counted: bool) -> Tensor:
        """The loss; what a batch has is counted once, however often it is looked at."""
        with self.compute_loss_context_manager(), self.step_log.counting(counted):
            return self.compute_loss(model, batch, num_items_in_batch=items)

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        logits, answers = layers.answer_logits(model, inputs, self.args.bf16)
        items = len(answers) if num_items_in_batch is None else num_items_in_batch
        losses = self.token_losses(logits, answers, inputs)
        means = {name: part.sum() / items * self.accelerator.num_processes for name, part in losses.items()}
        loss = means.pop("loss")
        if not torch.isfinite(loss):
            raise TrainingError(
                f"step {self.state.global_step + 1}: the loss is {loss.item()}; lower learning_rate"
                f" ({self.params.learning_rate:.2g}) or use precision: fp32"
            )
        columns = {name: float(mean.detach()) for name, mean in means.items()}
        self.step_log.count(tokens=int(inputs["tokens"].sum()), **columns)
        return (loss, {}) if return_outputs else loss

    def token_losses(self, logits: Tensor, answers: Tensor, inputs: Batch) -> dict[str, Tensor]:
        """The ``loss`` of each answer token, (answer tokens,), and what else is logged; summed over a step's tokens."""
        losses = F.cross_entropy(logits, answers, reduction="none")
        return {"loss": losses * layers.of_answers(inputs, "weights") if "weights" in inputs else losses}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs | self.step_log.measured() if "loss" in logs else logs, start_time)

    def fit(self, student: Student, facts: Mapping[str, Any], out_dir: Path) -> Result:
        """Trains, from the last checkpoint if there is one, and writes the folder ``out_dir``.

        ``facts`` becomes ``training`` in the folder's student.json, with the steps. Raises TrainingError.
        """
        work = self.step_log.path.parent
        checkpoint = last_checkpoint(work / "checkpoints")
        if checkpoint and Path(checkpoint, DIVIDED).exists() != self.is_fsdp_enabled:
            kind = "MULTI_GPU" if self.is_fsdp_enabled else "FSDP"
            said = f"{checkpoint}: was written with distributed_type: {kind}"
            raise TrainingError(f"{said}: set it again to go on, or delete {work} to start anew")
        parts = hasattr(student.model, "experts") or getattr(student.model.config, "ffn_group", 1) > 1
        if self.is_fsdp_enabled and parts:
            said = "distributed_type: FSDP: this student has experts or shared feed-forward layers"
            raise TrainingError(f"{said}: use MULTI_GPU")
        self.train(resume_from_checkpoint=checkpoint)
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if self.is_fsdp_enabled:
            student.model = self.prepared.model = _gathered(self.accelerator.get_state_dict(self.model), student.model)
        self.prepared.restore()
        rows = self.step_log.rows
        tokens, seconds = sum(row["tokens"] for row in rows), self.step_log.seconds
        result = Result(out_dir, len(rows), self.params.max_steps, tokens, seconds, self.last("loss"))
        if result.stopped and first():
            tqdm.write(f"{out_dir.name}: {result.stopped}")
        student.info["training"] = {**facts, "steps": len(rows)}
        if first():
            student.model.cpu()
            done = students.save(student, work / "student")
            for log in work.glob("*.csv"):
                shutil.copy(log, done)
            write_json(done / RUN, {**read_json(work / RUN), "student": sha256(done)})
            shutil.rmtree(out_dir, ignore_errors=True)
            done.replace(out_dir)
            shutil.rmtree(work)
        return result

    def last(self, column: str, count: int = 20) -> float:
        """The mean of a column of the last ``count`` steps."""
        rows = self.step_log.rows[-count:]
        return sum(row[column] for row in rows) / max(len(rows), 1)


def _gathered(weights: dict[str, Tensor], model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The whole model in the first process, from the divided weights; the others keep what they have."""
    if not first():
        return model
    whole = LlamaForCausalLM(model.config)
    whole.load_state_dict(weights)
    whole.generation_config = model.generation_config
    return whole


def rate(done: float, warmup: float, least: float) -> float:
    """The learning rate's factor when a share ``done`` of the steps is through; ``least``: what counts at the start."""
    if done < warmup:
        return min(max(done, least) / warmup, 1.0)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def _accumulated(params: Training, per_step: int, at_once: int) -> int:
    """Forward passes of a process in one step."""
    if per_step % (at_once * processes()):
        unit = "rows" if isinstance(params, RowTraining) else "groups"
        raise TrainingError(
            f"{unit}_per_step: {per_step} is no multiple of {unit}_at_once ({at_once}) times {processes()} processes:"
            f" change {unit}_per_step, {unit}_at_once or the number of processes"
        )
    return per_step // (at_once * processes())


def _arguments(params: Training, work: Path, per_step: int, at_once: int) -> SFTConfig:
    workers = params.workers if isinstance(params, RowTraining) else 0
    forked: dict[str, Any] = {}
    if workers and hasattr(SFTConfig, "dataloader_multiprocessing_context"):
        forked["dataloader_multiprocessing_context"] = "fork"  # the rows' encoder cannot be pickled
    return OneDevice(
        output_dir=str(work / "checkpoints"),
        max_steps=params.max_steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=_accumulated(params, per_step, at_once),
        learning_rate=params.learning_rate,
        adam_beta2=0.99,
        bf16=params.bf16,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        ddp_find_unused_parameters=False,
        seed=params.seed,
        train_sampling_strategy="sequential",
        dataloader_num_workers=workers,
        **forked,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )


class RowBatches:
    """A Collator of rows by their numbers; ``facts``: the rows of an epoch, and the requests too long for a row.

    ``assistant`` of another vocabulary: a batch holds the same rows for it under this name.
    """

    def __init__(
        self,
        params: RowTraining,
        task: Task,
        student: Student,
        by_context: ByContext,
        assistant: Vocabulary | None = None,
    ) -> None:
        """Raises TrainingError."""
        self.packer = Packer(
            Codec(task, student.vocabulary), by_context, params.row_tokens, params.seed, params.workers
        )
        self.facts = {"epoch_rows": self.packer.epoch_rows, "left_out": self.packer.left_out}
        align = layers.ALIGN if params.compile else ALIGN
        self._collate = partial(collate, align=align, language=getattr(params, "language_loss", 0.0))
        self._other = Codec(task, assistant) if assistant else None

    def __call__(self, numbers: Sequence[int]) -> Batch:
        batch = self._batch(numbers, self.packer.codec)
        return {**batch, "assistant": self._batch(numbers, self._other)} if self._other else batch

    def _batch(self, numbers: Sequence[int], codec: Codec) -> Batch:
        return self._collate([self.packer.row(i, codec) for i in numbers], pad=codec.vocabulary.end)
