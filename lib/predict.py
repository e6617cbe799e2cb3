"""Answers requests from JSON lines with a trained student: ``python -m lib.predict --model FILE_OR_DIR < in > out``.

In, a line each: ``id``, ``text`` and what the task's context needs; out, in the same order, ``id``, ``calls``,
``confidence``, ``raw`` and ``latency_ms``; where the model asks back, ``ask`` with the ``tool`` that is meant and the
``argument`` that is unclear, or with the ``calls`` that are to be confirmed (``--ask-below``). A bad line gets ``id``
and ``error``, and the run goes on; a model that cannot be used ends it at once with exit code 2. README has an example.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lib import tasks
from lib.core.paths import runs
from lib.runtime.careful import Careful, share
from lib.runtime.requests import find_model, open_system, predict


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.predict", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, help="a GGUF, or a folder (default: the deployed model)")
    parser.add_argument("--task", help="the task (default: what the model was trained for)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--no-grammar", action="store_true", help="decode freely; answers that do not parse are empty")
    what = "what the task calls sensitive is asked back below this confidence (default: never)"
    parser.add_argument("--ask-below", type=share, default=0.0, metavar="SHARE", help=what)
    options = parser.parse_args(arguments)
    try:
        path = find_model(options.model, runs())
        system, task = open_system(path, tasks.load, options.task, not options.no_grammar, options.threads)
    except ValueError as error:
        print(f"predict: {error}", file=sys.stderr)
        return 2
    for row in predict(sys.stdin.buffer, Careful(system, task, options.ask_below), task):
        # UTF-8 whatever the terminal's encoding; halves of characters become question marks
        sys.stdout.buffer.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
