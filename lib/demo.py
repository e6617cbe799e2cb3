"""Type what you would say; see the calls, how sure the model is and how long it took.

``python -m lib.demo [--model FILE_OR_DIR] [--context FILE]``; the file holds what the task's context needs.

    say> one tea please
    Give(item=Tea)      98% sure, 31 ms
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib import tasks
from lib.core import files, paths
from lib.core.task import System
from lib.runtime.requests import demos, find_model, open_system, shown


def replies(lines: Iterable[str], system: System, context: dict[str, Any]) -> Iterator[str]:
    """A printable reply to each line that is not blank."""
    for text in filter(None, map(str.strip, lines)):
        try:
            answer = system.answer(text, context)
        except ValueError as error:
            yield f"error: {error}"
            continue
        sure = f"{shown(answer)}      {answer.confidence:.0%} sure, {answer.latency_ms:.0f} ms"
        yield f"no valid answer: {answer.error}" if answer.error else sure


def _typed() -> Iterator[str]:
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            yield input("say> " if sys.stdin.isatty() else "")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF, or a folder (default: the deployed model)")
    parser.add_argument(
        "--context", type=Path, help="JSON of the context (default: demo.json in params/, or one drawn)"
    )
    options = parser.parse_args(arguments)
    try:
        path = find_model(options.model, paths.runs())
        system, task = open_system(path, tasks.load)
        drawn = next(iter(demos(task).values()), {})
        row = files.read_json(options.context, "see params/demo.json for the form") if options.context else drawn
        row.pop("requests", None)  # examples for people
        context = task.context(row, options.context.name if options.context else "--context")
    except ValueError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    listing = "".join(str(piece) for piece in task.prefix(task.references(context))[1:])
    print(f"model: {paths.relative(path)}\n\n{listing}\nEnd with Ctrl-D.")
    for text in replies(_typed(), system, context):
        print(text, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
