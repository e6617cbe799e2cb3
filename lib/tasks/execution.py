"""A task's own executor.py, in a process that ends where ``execute`` raises, changes its input or takes too long.

It is the user's code and is not confined in any other way. ``python -m lib.tasks.execution FILE`` is that process.
"""

import faulthandler
import importlib.util
import io
import json
import os
import re
import sys
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from lib.core.paths import ROOT
from lib.core.task import Call, TaskError

SECONDS, START_S = 5.0, 60.0  # for a request, unless the file has SECONDS, and for importing the file


class Executor:
    """``execute`` of a file; each process of ours has one of its own. Not for several threads."""

    def __init__(self, path: Path) -> None:
        self.path, self._owner, self._kept = path, 0, lru_cache(4_096)(self._ask)

    def state(self, context: dict[str, Any], calls: list[Call]) -> str:
        """The state as JSON after the calls. Raises TaskError, for a fault of the file with its line."""
        if (state := self._kept(json.dumps([context, calls]))).startswith("!"):
            raise TaskError(f"{self.path.name} refuses its calls ({json.loads(state[1:])})")
        return state

    def _ask(self, line: str) -> str:
        if self._owner != os.getpid():
            command = [sys.executable, "-B", "-m", __name__, str(self.path.resolve())]
            self._owner, self._log = os.getpid(), tempfile.TemporaryFile("w+")  # noqa: SIM115
            self._process: Any = Popen(command, stdin=PIPE, stdout=PIPE, stderr=self._log, text=True, cwd=ROOT)
        with suppress(BrokenPipeError):
            print(line, file=self._process.stdin, flush=True)
        if answer := self._process.stdout.readline():
            return str(answer)
        self._process.wait()
        self._owner = self._log.seek(0)
        written = self._log.read()
        numbers = re.findall(rf'{re.escape(self.path.name)}", line (\d+)', written) or ["1"]
        if late := re.search(r"Timeout \((.*?)\)!", written):
            raise TaskError(f"{self.path.name}, line {numbers[0]}: stopped, not done after {late[1]} (SECONDS)")
        raise TaskError(f"{self.path.name}, line {numbers[-1]}: {(written.splitlines() or ['its process ended'])[-1]}")


def main(path: str) -> None:
    """Answers lines of JSON, context and calls, with the state, or with "!" and why the calls are refused."""
    replies, sys.stdout = sys.stdout, io.StringIO()  # what it prints is lost
    faulthandler.dump_traceback_later(START_S, exit=True)
    spec: Any = importlib.util.spec_from_file_location("executor", path)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    for line in sys.stdin:
        context, calls = json.loads(line)
        faulthandler.dump_traceback_later(getattr(module, "SECONDS", SECONDS), exit=True)
        try:
            state, mark = module.execute(context, calls), ""
        except ValueError as error:
            state, mark = str(error), "!"
        faulthandler.cancel_dump_traceback_later()
        if [context, calls] != json.loads(line):
            number = module.execute.__code__.co_firstlineno
            sys.exit(f'"{path}", line {number}\nexecute changes its input: let it work on a copy (copy.deepcopy)')
        print(mark + json.dumps(state, sort_keys=True), file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
