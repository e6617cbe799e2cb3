"""Answers beside training: while earlier parts keep a GPU busy, files that are ready are asked on the cores left over.

Part 6 asks every model on the processor, which no GPU makes faster; parts 3 to 5 leave most cores idle. With ``beside``
in its parameters, that many processes answer (``python -m lib.experiments.compare_models``) for the models that no later part makes; only to
learn what can be cut from a model they use the GPU, too. Part 6 takes what they kept and asks the rest; a file that is
made anew meanwhile is asked again. Their times are longer than those of a machine that does nothing else.

>>> with Beside("gpu", ["03", "04", "05", "06"]) as beside:                              # doctest: +SKIP
...     beside.before("03")
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TextIO

from lib.core import params, paths
from lib.core.params import ParamsError

EXAMINES = "06"
"""The number of the part whose work is begun."""
TRAIN = ("03", "04", "05")
"""Those that it is done beside; the parts before them make the requests."""
LOG = "beside.log"


class Beside:
    """Runs nothing unless the profile asks for it; stops what it runs when its block ends."""

    def __init__(self, profile: str, numbers: Sequence[str]) -> None:
        """``numbers``: the parts that will run, in order. Raises ParamsError."""
        self.profile, self.numbers = profile, list(numbers)
        values: dict[str, Any] = _values(profile) if EXAMINES in numbers else {"beside": 0}
        self.processes = int(values["beside"])
        if self.processes < 0:
            raise ParamsError(f"params/{profile}: beside: {self.processes}: give a number of processes, 0 for none")
        self.models = values["models"] if self.processes else {}  # part 6 reads them; that takes seconds to load
        self._log: TextIO | None = None
        self._running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Beside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def before(self, number: str) -> None:
        """Part ``number`` is about to run."""
        if number == EXAMINES:
            self.stop()
        elif self.processes and number in TRAIN and not self.is_running() and (names := self.lasting(number)):
            self.stop()
            self._start(names)

    def lasting(self, number: str) -> list[str]:
        """The models that neither part ``number`` nor one that runs after it makes."""
        rest = self.numbers[self.numbers.index(number) :]
        pending = tuple(f"{other}_" for other in rest if other != EXAMINES)
        return [name for name, model in self.models.items() if not model.get("of", "").startswith(pending)]

    def running(self) -> int | None:
        """The process that answers, if one does."""
        return self._running.pid if self._running is not None and self._running.poll() is None else None

    def is_running(self) -> bool:
        return self.running() is not None

    def stop(self) -> None:
        """Ends what runs; what it has answered is kept."""
        if (pid := self.running()) is not None:
            os.killpg(pid, signal.SIGTERM)
        if self._running is not None:
            self._running.wait()
        if self._log is not None:
            self._log.close()
        self._running = self._log = None

    def _start(self, names: Sequence[str]) -> None:
        log = paths.run_dir(self.profile) / LOG
        self._log = log.open("a", encoding="utf-8")
        command = self.command(names)
        self._running = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, cwd=paths.ROOT, start_new_session=True
        )
        print(
            f"     beside: {len(names)} models of part 6 answer as they are ready ({paths.relative(log)})", flush=True
        )

    def command(self, names: Sequence[str]) -> list[str]:
        how = ["--profile", self.profile, "--at-once", str(self.processes), "--parent", str(os.getpid())]
        return [sys.executable, "-m", "lib.experiments.compare_models", *how, "--only", *names]


def _values(profile: str) -> dict[str, Any]:
    return params.load(paths.notebook(EXAMINES), profile)
