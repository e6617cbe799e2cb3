"""Prompts answered by several threads at once: bounded, in order, with progress, and stopped by Ctrl-C.

>>> from lib.llm.types import Prompt, Reply
>>> prompts = [Prompt.of("Count.", str(n)) for n in range(3)]
>>> [reply.text for reply in answer_all(lambda p, stop: Reply(p.messages[-1][1], "m"), prompts, workers=2, name="m")]
['0', '1', '2']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event

from tqdm.auto import tqdm

from lib.llm.types import Prompt, Reply


def answer_all(
    answer: Callable[[Prompt, Event], Reply], prompts: Sequence[Prompt], workers: int, name: str
) -> list[Reply]:
    """``answer(prompt, stop)`` for every prompt, at most ``workers`` at a time; replies in the order of ``prompts``.

    On an exception or Ctrl-C what waits is cancelled and ``stop`` is set, so that answers under way give up.
    """
    stop = Event()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prompt")
    try:
        futures = [pool.submit(answer, prompt, stop) for prompt in prompts]
        with tqdm(total=len(prompts), desc=name[:24], unit=" prompts", disable=None, leave=None) as bar:
            for future in as_completed(futures):
                future.result()
                bar.update()
        return [future.result() for future in futures]
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=not stop.is_set(), cancel_futures=True)
