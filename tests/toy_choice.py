"""Records of a report whose systems are right as often as a test wants."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from toy_task import Vending, examples

from lib.core.task import Answer
from lib.decision import records
from lib.evaluation.evaluate import record


def write_answers(folder: Path, systems: Mapping[str, tuple[float, float]], unsure: float = 1.0) -> None:
    """``systems``: the share of requests that each gets right (small half of it for people), and its milliseconds.

    ``unsure``: their confidence where they are wrong.
    """
    task, rows = Vending(), [e for group in examples(2, 4) for e in group][:4]
    tests = {name: [replace(rows[i % 4], id=str(i)) for i in range(n)] for name, n in (("dev", 300), ("test", 200))}
    tests["dev_human"] = [replace(e, split="dev_human") for e in tests["dev"][:100]]
    found = []
    for system, (share, ms) in systems.items():
        for test, asked in tests.items():
            most = 100 * share * (0.5 if (test, system) == ("dev_human", "small") else 1.0)
            right = [int(e.id) % 100 < most for e in asked]
            said = [
                Answer(e.gold[0] if sure else [], latency_ms=ms, confidence=1.0 if sure else unsure)
                for e, sure in zip(asked, right, strict=True)
            ]
            found += [record(system, e, answer, task, test) for e, answer in zip(asked, said, strict=True)]
    records.write(found, tests, [], task, folder)
