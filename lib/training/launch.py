"""Starts a training in several processes of this machine by ``accelerate launch``, from a notebook as from a command.

``distributed_type`` of a training chooses the configuration in params/accelerate: a whole model in each process, or
FSDP2 (Zhao et al., *PyTorch FSDP*, arXiv 2304.11277), which divides its weights, gradients and moments.

Each process calls the same training with the same arguments, and its rank decides on its share of a step's rows
(lib/training/work.py). A process that fails ends the others, by torch's elastic agent; its error is raised here.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import torch

from lib import tasks
from lib.core import files, paths
from lib.core.task import Task
from lib.training import work
from lib.training.params import Training, TrainingError
from lib.training.work import Result, processes

CONFIGS = {"MULTI_GPU": "ddp.yaml", "FSDP": "fsdp.yaml"}  # in params/accelerate, by distributed_type
KEY = "LAUNCH_KEY"  # the environment's variable by which the processes are known to the one that starts them
TAIL = 50_000  # bytes of what the processes wrote last, in which torch says who failed


def across(train: Callable[..., Result], params: Training, task: Task, *rest: Any) -> Result | None:
    """What ``train(params, task, *rest)`` in ``params.processes`` processes made; its folder is the last of ``rest``.

    None if one process is enough, or this is one of several. Raises TrainingError with the first error of a process.
    """
    if params.processes == 1 or processes() > 1:
        return None
    kind = getattr(params, "distributed_type", "MULTI_GPU")
    check_gpus(kind, params.processes)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what this process does not need any more, the others do
    key = secrets.token_bytes(32)
    with tempfile.TemporaryDirectory() as folder, Listener(authkey=key, backlog=params.processes) as listener:
        given = listener, params.processes, (train, params, task.name, rest)
        threading.Thread(target=_tell, args=given, daemon=True).start()
        error = Path(folder) / "error.txt"
        launch = ["-m", "accelerate.commands.launch", "--config_file", str(paths.PARAMS / "accelerate" / CONFIGS[kind])]
        launch += ["--num_processes", str(params.processes), "-m", __name__]
        code, written = _run([sys.executable, *launch, str(listener.address), str(error)], key)
        if code:
            raise TrainingError(error.read_text("utf-8") if error.is_file() else _told(written))
    return Result.read(rest[-1], params.max_steps)


def check_gpus(kind: str, count: int) -> None:
    """Raises TrainingError unless this machine has the GPUs that so many processes need."""
    gpus = torch.cuda.device_count()
    if kind == "FSDP" and not gpus:
        raise TrainingError("distributed_type: FSDP needs GPUs, and this machine has none: use MULTI_GPU")
    if gpus and count > gpus:
        raise TrainingError(f"processes: {count}, and this machine has {gpus} GPUs: lower processes")


def _tell(listener: Listener, count: int, given: Any) -> None:
    """Gives so many processes what they need, by a connection that no other process can open."""
    with suppress(OSError, EOFError, AuthenticationError):
        for _ in range(count):
            with listener.accept() as process:
                process.send(given)


def _run(command: list[str], key: bytes) -> tuple[int, str]:
    """The exit code, and the end of what was written to stderr, which is shown as it comes."""
    search = os.pathsep.join(filter(None, [str(paths.ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search, KEY: key.hex()}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    tail = b""
    assert process.stderr
    try:
        while chunk := process.stderr.read1(1 << 16):  # type: ignore[attr-defined]
            sys.stderr.write(chunk.decode("utf-8", "replace"))
            tail = (tail + chunk)[-TAIL:]
    finally:
        process.terminate()
        code = process.wait()
    return code, tail.decode("utf-8", "replace")


def _told(written: str) -> str:
    """Which process failed first, and how, by the report of torch's elastic agent, which ends with what it saw first.

    Others fail when they miss it: one that a signal ended is the cause.
    """
    failures = re.findall(r"rank\s*: (\d+) \(.*?exitcode\s*: (-?\d+)", written, re.DOTALL)
    found = [(rank, int(code)) for rank, code in failures]
    if not found:
        return f"accelerate launch failed: {(written.strip().splitlines() or ['no word why'])[-1]}"
    rank, code = next((one for one in found if one[1] < 0 and -one[1] != signal.SIGTERM), found[-1])
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    remedy = "if memory ran out, lower rows_at_once; the same training goes on from its last checkpoint"
    return f"process {rank} {how}, and the others with it: {remedy}"


def main(address: str, error: Path) -> None:
    """One of the processes; ``error`` is the file for what ends the training."""
    with Client(address, authkey=bytes.fromhex(os.environ.pop(KEY))) as starter:
        train, params, name, rest = starter.recv()
    try:
        train(params, tasks.load(name), *rest)
    except (ValueError, OSError, torch.OutOfMemoryError) as reason:
        _note(error, files.told(reason))
        sys.exit(1)
    except RuntimeError as reason:
        if "timed out" in str(reason).lower():
            said = f"a process did not answer for {work.PATIENCE}: read its last output, then start the training again"
            _note(error, f"{said}; it resumes")
        raise
    else:
        torch.distributed.destroy_process_group()  # its threads would abort a process that ends before them


def _note(error: Path, text: str) -> None:
    """Writes what ended a process, if it is the first: that is the cause of the others."""
    with suppress(FileExistsError), error.open("x", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
