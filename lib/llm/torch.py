"""A chat model in transformers, on a GPU or a CPU: prompts in batches, sorted by length, common prefix read once.

Prompts that begin with the same messages share the keys and values of what they have in common (``lib.model.generate``). A
JSON schema is enforced token by token with llguidance. Sampling takes the ``TOP`` likeliest tokens, cuts them at top_p
and inverts their distribution with a random number that depends on the prompt and its seed alone, so a reply does not
depend on what else is in the batch, but for rounding.

>>> TorchBackend("Qwen/Qwen2.5-Coder-1.5B-Instruct").complete([Prompt.of("Be brief.", "Hi")])    # doctest: +SKIP
[Reply(text='Hello!', ...)]
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any

import torch
import transformers
from torch import Tensor
from tqdm.auto import tqdm

from lib.core.files import sha256
from lib.llm.schema import Constraints, mask
from lib.llm.types import BackendError, Prompt, Reply
from lib.model.generate import Decoded, Prefix, decode

TOP = 64
FAMILY = 12
"""So many prompts that differ in their last message alone form batches of their own on a CPU, where reading a longer
prefix costs more than larger batches gain; on a GPU it takes a whole batch of them."""
_MARGIN = 16


@dataclass(frozen=True)
class _Row:
    index: int
    prompt: Prompt
    ids: list[int]


class TorchBackend:
    """A Backend. ``model``: the weights' name as recorded, by default the last part of ``source``.

    ``source``: a hub id, a transformers folder, or a GGUF file (dequantised). ``batch``: rows at most;
    ``batch_tokens``: rows times tokens at most (of keys and values; memory). bf16 unless ``dtype`` says otherwise.
    """

    def __init__(
        self, source: str, name: str = "", batch: int = 128, batch_tokens: int = 65_536, dtype: str = "bfloat16"
    ) -> None:
        self.model = name or Path(source).name.removesuffix(".gguf")
        self.batch, self.batch_tokens = batch, batch_tokens
        self.sha256 = sha256(Path(source)) if Path(source).exists() else ""
        self.tokenizer, self.net = _load(source, getattr(torch, dtype))
        self.ends = _ends(self.tokenizer)
        self.family = self.batch if torch.cuda.is_available() else FAMILY
        self.prefixes: dict[tuple[int, ...], Prefix] = {}
        self.constraints = Constraints(self.tokenizer)

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order. A common prefix counts as cached for all that share it but the one it is read for."""
        replies: dict[int, Reply] = {}
        with tqdm(total=len(prompts), desc=self.model[:24], mininterval=5, leave=False, disable=None) as bar:
            for prefix, rows in self._batches(prompts):
                replies.update(zip((row.index for row in rows), self._answer(prefix, rows), strict=True))
                bar.update(len(rows))
        return [replies[i] for i in range(len(prompts))]

    def _batches(self, prompts: Sequence[Prompt]) -> list[tuple[tuple[int, ...], list[_Row]]]:
        """Rows of one common prefix, about one length and one limit, in batches that fit.

        A row alone has no prefix but one that is held from before.
        """
        families: dict[Any, list[_Row]] = {}
        alike = Counter(prompt.messages[:-1] for prompt in prompts)
        for i, prompt in enumerate(prompts):
            begun = prompt.messages[:-1] if alike[prompt.messages[:-1]] >= self.family else prompt.messages[0]
            families.setdefault(begun, []).append(_Row(i, prompt, self._encode(prompt)))
        batches = []
        for rows in families.values():
            prefix = tuple(_common([row.ids for row in rows])) if len(rows) > 1 else self._held(rows[0])
            rows.sort(key=lambda row: (row.prompt.max_tokens, len(row.ids)))
            batches += [(prefix, part) for part in self._split(rows)]
        return batches

    def _held(self, row: _Row) -> tuple[int, ...]:
        begun = (ids for ids in self.prefixes if len(ids) < len(row.ids) and tuple(row.ids[: len(ids)]) == ids)
        return next(begun, ())

    def _split(self, rows: list[_Row]) -> list[list[_Row]]:
        parts: list[list[_Row]] = [[]]
        for row in rows:
            width = len(row.ids) + row.prompt.max_tokens
            if len(parts[-1]) >= self.batch or (parts[-1] and (len(parts[-1]) + 1) * width > self.batch_tokens):
                parts.append([])
            parts[-1].append(row)
        return parts

    def _encode(self, prompt: Prompt) -> list[int]:
        messages = [{"role": role, "content": content} for role, content in prompt.messages]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _answer(self, prefix: tuple[int, ...], rows: list[_Row]) -> list[Reply]:
        began = time.perf_counter()
        known = prefix in self.prefixes
        if prefix and not known:
            self.prefixes = {prefix: Prefix.read(self.net, prefix)}
        held = self.prefixes[prefix] if prefix else Prefix.read(self.net, ())
        rest = [row.ids[len(prefix) :] for row in rows]
        chooser = _Chooser(rows, self.model, self.constraints)
        limits = [row.prompt.max_tokens for row in rows]
        decoded = decode(self.net, held, rest, self.ends, limits, chooser)
        seconds = time.perf_counter() - began
        cached = [len(prefix) if i or known else 0 for i in range(len(rows))]
        return [self._reply(row, d, n, seconds) for row, d, n in zip(rows, decoded, cached, strict=True)]

    def _reply(self, row: _Row, decoded: Decoded, cached: int, seconds: float) -> Reply:
        stopped = decoded.ids[-1] in self.ends
        text = self.tokenizer.decode(decoded.ids[:-1] if stopped else decoded.ids, skip_special_tokens=True)
        finish = "stop" if stopped else "length"
        return Reply(text, self.model, len(row.ids), cached, len(decoded.ids), round(seconds, 3), finish)


class _Chooser:
    """Chooses next tokens: schema first, then greedy or sampled, for each row by its own prompt."""

    def __init__(self, rows: list[_Row], model: str, constraints: Constraints) -> None:
        self.temperatures = torch.tensor([max(row.prompt.temperature, 0.0) for row in rows])
        self.top_p = torch.tensor([row.prompt.top_p for row in rows])
        self.random = [Random(row.prompt.key(model)) for row in rows]
        self.states = [constraints.start(row.prompt.schema) for row in rows]

    def __call__(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        mask([self.states[row] for row in rows], logits)
        values, ids = (part.cpu() for part in logits.topk(min(TOP, logits.shape[-1])))
        values = values.log_softmax(-1)
        places = self._places(values, rows)
        chosen = ids.gather(1, places[:, None])[:, 0]
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if state := self.states[row]:
                state.advance(token)
        return chosen.to(logits.device), values.gather(1, places[:, None])[:, 0]

    def _places(self, values: Tensor, rows: list[int]) -> Tensor:
        """Which of each row's likeliest tokens is taken, (rows,): the first if greedy."""
        temperature = self.temperatures[rows]
        p = (values / temperature.clamp(min=1e-4)[:, None]).softmax(-1)
        p = p * ((p.cumsum(-1) - p) < self.top_p[rows][:, None])
        draws = torch.tensor([self.random[row].random() for row in rows])
        sampled = (p.cumsum(-1) < draws[:, None] * p.sum(-1, keepdim=True)).sum(-1).clamp(max=p.shape[-1] - 1)
        return torch.where(temperature > 0, sampled, 0)


def _common(sequences: list[list[int]]) -> list[int]:
    """The longest common beginning that leaves every sequence a token of its own."""
    first, last = min(sequences), max(sequences)
    shared = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
    room = min(len(shared), min(map(len, sequences)) - 1)
    return shared[:room] if room >= _MARGIN else []


def _ends(tokenizer: Any) -> set[int]:
    names = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>")
    known = tokenizer.get_vocab()
    return {tokenizer.eos_token_id, *(known[n] for n in names if n in known)} - {None}


def _load(source: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = Path(source)
    packed = path.suffix == ".gguf"
    place, file = (str(path.parent), {"gguf_file": path.name}) if packed else (source, {})
    try:
        if packed and not path.is_file():
            raise OSError("no such file")
        tokenizer = AutoTokenizer.from_pretrained(place, **file)
        net: Any = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **file, **(_dense() if packed else {}))
    except (OSError, ValueError) as error:
        raise BackendError(f"model '{source}' cannot be loaded ({error}): name a folder, a GGUF or a hub id") from error
    if not tokenizer.chat_template:
        raise BackendError(f"model '{source}' has no chat template: use one that was trained for chat")
    return tokenizer, net.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _dense() -> dict[str, Any]:
    """How a GGUF's weights are unpacked, which matrix products in batches need; older transformers always do."""
    config = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": config(dequantize=True)} if config else {}
