"""Memory of a training against the number of its examples: generated, filtered, stored, and trained on.

    python tests/stream.py 10000 100000 1000000

Each number has a process of its own: toy requests are drawn, those that the scorer takes are written to an Arrow file
(lib/data/stored.py), and a tiny model is trained on rows out of the whole file. ``anonymous_mb`` is the most memory
that the process itself held; pages of the file, which the system may drop at any time, are in ``resident_mb`` alone.
"""

import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

PARAMS = {"row_tokens": 512, "max_steps": 20, "rows_per_step": 2, "precision": "fp32"}


@contextmanager
def most_memory(interval_s=0.05):
    """The most that this process held meanwhile, in MB by name."""
    found, stop = {"RssAnon": 0, "VmRSS": 0}, threading.Event()

    def sample():
        while not stop.wait(interval_s):
            status = Path("/proc/self/status").read_text()
            for name in found:
                kilobytes = int(re.search(rf"{name}:\s+(\d+)", status)[1])
                found[name] = max(found[name], kilobytes / 1024)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    yield found
    stop.set()
    thread.join()


def measure(count):
    """Generates, filters, stores and trains on ``count`` toy examples; prints one line."""
    from toy_model import saved_student
    from toy_task import TASK

    from lib.data import stored
    from lib.training import finetune

    def drawn():
        source = TASK.examples(Random(1), "train")
        for number in range(count // 5):
            examples = [replace(e, id=f"{number}-{i}") for i, e in enumerate(islice(source, 5))]
            yield [e for e in examples if TASK.score(e, e.gold[0]).exact]

    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, most_memory() as memory:
        work = Path(folder)
        start = saved_student(work / "start", layers=2)
        kept = stored.write((group for group in drawn() if group), work / "examples.arrow", TASK)
        result = finetune.train({**PARAMS, "base": str(start)}, TASK, kept, work / "student")
        size = kept.path.stat().st_size / 1e6
    seconds = time.monotonic() - began
    print(
        f"{count},{memory['RssAnon']:.0f},{memory['VmRSS']:.0f},{size:.1f},{result.loss:.2f},{seconds:.0f}", flush=True
    )


def main(counts):
    print("examples,anonymous_mb,resident_mb,file_mb,loss,seconds", flush=True)
    for count in counts:
        subprocess.run([sys.executable, __file__, "--one", str(count)], check=True)


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    if sys.argv[1:2] == ["--one"]:
        measure(int(sys.argv[2]))
    else:
        with suppress(KeyboardInterrupt):
            main([int(text) for text in sys.argv[1:]] or [10_000, 100_000, 1_000_000])
