"""Requests a second of a released model on a GPU at saturation: all requests at once, decoded freely.

    python tests/throughput.py RUN FILE.gguf OUT.json [--requests 4096] [--batches 256 1024]

The development requests of a run of home (runs/gpu), each with its context as far as the prompt shows it, asked as
often as needed. Engines: the study's own batched decoding (lib/model/torch_student.py), and transformers' continuous
batching. Reading requests into tokens and answers into calls is timed apart: on a server, processors do that meanwhile.
"""

import argparse
import json
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from lib.core import files, provenance
from lib.data import study_data
from lib.evaluation.prices import load_prices
from lib.model import student
from lib.model.codec import Codec
from lib.model.torch_student import batches, complete
from lib.tasks import load

MAX_NEW = 96


def own(model: Any, prompts: list[Any], end: int, size: int) -> list[list[int]]:
    answers: dict[int, list[int]] = {}
    for batch in batches(prompts, size, by_prefix=False):
        found = complete(model, [prompts[i] for i in batch], end, MAX_NEW)
        answers |= {i: decoded.ids for i, decoded in zip(batch, found, strict=True)}
    return [answers[i] for i in range(len(prompts))]


def continuous(model: Any, prompts: list[Any], end: int) -> list[list[int]]:
    config = GenerationConfig(max_new_tokens=MAX_NEW, eos_token_id=end, pad_token_id=end, do_sample=False)
    found = model.generate_batch([prompt.ids for prompt in prompts], generation_config=config)
    by_number = sorted(found.items(), key=lambda pair: int(pair[0].rsplit("_", 1)[-1]))
    return [list(output.generated_tokens) for _, output in by_number]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--requests", type=int, default=4096)
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 1024])
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    known = student.load(options.model)
    task = load(known.info["task"])
    model: Any = known.model.eval().to(device, torch.bfloat16)
    codec, end = Codec(task, known.vocabulary), known.vocabulary.end
    examples = list(islice(cycle(study_data.of_run(task, options.run).part(study_data.DEV)), options.requests))
    began = time.perf_counter()
    prompts = [codec.prompt(e.context, e.text) for e in examples]
    reading = time.perf_counter() - began
    engines = {f"own, {size} at once": lambda size=size: own(model, prompts, end, size) for size in options.batches}
    engines["transformers, continuous batching"] = lambda: continuous(model, prompts, end)
    price = load_prices().rented.get(torch.cuda.get_device_name() if device == "cuda" else "")
    rows = []
    for name, answer in engines.items():
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            with torch.no_grad():
                began = time.perf_counter()
                ids = answer()
                seconds = time.perf_counter() - began
        except Exception as error:  # an engine that does not run here is a row, too
            rows.append({"engine": name, "error": f"{type(error).__name__}: {error}"[:300]})
            print(rows[-1], flush=True)
            continue
        began = time.perf_counter()
        right = sum(
            task.score(e, codec.executable(tokens, prompt.refs, e.context, e.text).calls).exact
            for e, prompt, tokens in zip(examples, prompts, ids, strict=True)
        )
        row = {"engine": name, "requests": len(ids), "seconds": seconds, "requests_per_second": len(ids) / seconds}
        row |= {"new_tokens": sum(map(len, ids)) / len(ids), "right": right / len(ids)}
        row |= {"scoring_seconds": time.perf_counter() - began}
        row |= {"peak_gb": torch.cuda.max_memory_allocated() / 1e9} if device == "cuda" else {}
        row |= {"usd_per_million": price.usd_per_hour / 3600 * seconds / len(ids) * 1e6} if price else {}
        rows.append(row)
        print(row, flush=True)
    about = {"model": options.model.name, "sha256": files.sha256(options.model), "commit": provenance.commit()}
    about |= {"hardware": provenance.hardware(), "versions": {"torch": torch.__version__}, "dtype": "bfloat16"}
    about |= {"different_requests": len({e.id for e in examples})}
    about |= {"prompt_tokens": sum(len(p.ids) for p in prompts) / len(prompts), "prompt_seconds": reading}
    options.out.write_text(json.dumps({**about, "engines": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
