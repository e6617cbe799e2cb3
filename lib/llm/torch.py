"""A chat model in transformers, on a GPU or a CPU: prompts in batches of a common prefix, which is read once.

Prompts are sorted by their tokens, so that those of a batch begin alike (``lib.model.generate``). llguidance enforces a
JSON schema. Sampling takes the ``TOP`` likeliest tokens, cuts them at top_p, and draws with a random number that
depends on the prompt and its seed alone, so a reply does not depend on the batch, except for rounding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any

import llguidance.hf
import torch
from llguidance.torch import allocate_token_bitmask, fill_next_token_bitmask
from torch import Tensor
from tqdm.auto import tqdm

from lib.core.files import sha256
from lib.llm.types import BackendError, Prompt, Reply
from lib.model.generate import Decoded, Prefix, decode

TOP = 64
_SHORTEST_PREFIX = 16  # tokens


@dataclass(frozen=True)
class _Row:
    index: int
    prompt: Prompt
    ids: list[int]


class TorchBackend:
    """A Backend. ``model``: a hub id, a transformers folder, or a GGUF file (dequantised).

    ``name``: as recordings call it, by default the last part of ``model``; ``batch``: rows at most; ``batch_tokens``:
    rows times tokens at most (of keys and values; memory). bf16 unless ``dtype`` says otherwise.
    """

    def __init__(
        self, model: str, name: str = "", batch: int = 128, batch_tokens: int = 65_536, dtype: str = "bfloat16"
    ) -> None:
        """Loads the model. Raises BackendError for one that cannot be loaded or was not trained for chat."""
        self.model = name or Path(model).name.removesuffix(".gguf")
        self.batch, self.batch_tokens = batch, batch_tokens
        self.sha256 = sha256(Path(model)) if Path(model).exists() else ""
        self.tokenizer, self.net = _load(model, getattr(torch, dtype))
        names, known = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>"), self.tokenizer.get_vocab()
        self.ends = {self.tokenizer.eos_token_id, *(known.get(name) for name in names)} - {None}
        self.prefix: Prefix | None = None
        self.matcher = lru_cache(maxsize=512)(self._compiled)

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order. A common prefix counts as cached for all that share it but the one it is read for."""
        rows = sorted((_Row(i, p, self._encode(p)) for i, p in enumerate(prompts)), key=lambda row: row.ids)
        replies: dict[int, Reply] = {}
        with tqdm(total=len(prompts), desc=self.model[:24], mininterval=5, leave=False, disable=None) as bar:
            for batch in self._batches(rows):
                replies.update(zip((row.index for row in batch), self._answer(batch), strict=True))
                bar.update(len(batch))
        return [replies[i] for i in range(len(prompts))]

    def _batches(self, rows: list[_Row]) -> list[list[_Row]]:
        batches: list[list[_Row]] = []
        for row in rows:
            widest = max(len(r.ids) + r.prompt.max_tokens for r in [row, *(batches[-1] if batches else [])])
            if batches and len(batches[-1]) < min(self.batch, self.batch_tokens // widest):
                batches[-1].append(row)
            else:
                batches.append([row])
        return batches

    def _encode(self, prompt: Prompt) -> list[int]:
        messages = [{"role": role, "content": content} for role, content in prompt.messages]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _answer(self, rows: list[_Row]) -> list[Reply]:
        """Replies to the rows of one batch, which are sorted."""
        began = time.perf_counter()
        begun = tuple(_common(rows))
        known = self.prefix is not None and self.prefix.ids == begun
        self.prefix = self.prefix if known and self.prefix else Prefix.read(self.net, begun)
        limits = [row.prompt.max_tokens for row in rows]
        chooser = _Chooser(rows, self.model, [self._constraint(row.prompt.schema) for row in rows])
        rest = [row.ids[len(begun) :] for row in rows]
        decoded = decode(self.net, self.prefix, rest, self.ends, limits, chooser)
        seconds = round(time.perf_counter() - began, 3)
        cached = [len(begun) if i or known else 0 for i in range(len(rows))]
        return [self._reply(*row, seconds) for row in zip(rows, decoded, cached, strict=True)]

    def _constraint(self, schema: Mapping[str, Any] | None) -> Any:
        """A matcher of what a schema allows, or None without one. Raises BackendError if it cannot be enforced."""
        return self.matcher(json.dumps(schema)).deep_copy() if schema is not None else None

    @cached_property
    def _vocabulary(self) -> Any:
        return llguidance.hf.from_tokenizer(self.tokenizer)

    def _compiled(self, schema: str) -> Any:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})
        matcher = llguidance.LLMatcher(self._vocabulary, grammar)
        if matcher.is_error():
            raise BackendError(f"JSON schema cannot be enforced ({matcher.get_error()}): {schema[:80]}")
        return matcher

    def _reply(self, row: _Row, decoded: Decoded, cached: int, seconds: float) -> Reply:
        stopped = decoded.ids[-1] in self.ends
        text = self.tokenizer.decode(decoded.ids[:-1] if stopped else decoded.ids, skip_special_tokens=True)
        counts = (len(row.ids), cached, len(decoded.ids))
        return Reply(text, self.model, *counts, seconds, "stop" if stopped else "length")


class _Chooser:
    """Chooses next tokens: schema first, then greedy or sampled, for each row by its own prompt."""

    def __init__(self, rows: list[_Row], model: str, matchers: list[Any]) -> None:
        self.temperatures = torch.tensor([max(row.prompt.temperature, 0.0) for row in rows])
        self.top_p = torch.tensor([row.prompt.top_p for row in rows])
        self.random = [Random(row.prompt.key(model)) for row in rows]
        self.matchers = matchers

    def __call__(self, logits: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        _mask([self.matchers[row] for row in rows], logits)
        values, ids = (part.cpu() for part in logits.topk(min(TOP, logits.shape[-1])))
        values = values.log_softmax(-1)
        places = self._places(values, rows)
        chosen = ids.gather(1, places[:, None])[:, 0]
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if self.matchers[row] and not self.matchers[row].is_stopped():
                self.matchers[row].consume_token(token)
        return chosen.to(logits.device), values.gather(1, places[:, None])[:, 0]

    def _places(self, values: Tensor, rows: list[int]) -> Tensor:
        """Which of each row's likeliest tokens is taken, (rows,): the first if greedy."""
        temperature = self.temperatures[rows]
        p = (values / temperature.clamp(min=1e-4)[:, None]).softmax(-1)
        p = p * ((p.cumsum(-1) - p) < self.top_p[rows][:, None])
        draws = torch.tensor([self.random[row].random() for row in rows])
        sampled = (p.cumsum(-1) < draws[:, None] * p.sum(-1, keepdim=True)).sum(-1).clamp(max=p.shape[-1] - 1)
        return torch.where(temperature > 0, sampled, 0)


def _mask(matchers: Sequence[Any], logits: Tensor) -> None:
    """Sets the logits, (rows, vocabulary), of tokens that may not come next to minus infinity, in place."""
    if not any(matchers):
        return
    packed = allocate_token_bitmask(*logits.shape)
    for row, matcher in enumerate(matchers):
        if matcher:
            fill_next_token_bitmask(matcher, packed, row)
    bits = packed.to(logits.device)[:, :, None] >> torch.arange(32, dtype=torch.int32, device=logits.device) & 1
    logits.masked_fill_(bits.flatten(1)[:, : logits.shape[1]] == 0, -torch.inf)


def _common(rows: list[_Row]) -> list[int]:
    """The longest beginning that sorted rows share and that leaves each a token of its own."""
    pairs = zip(rows[0].ids, rows[-1].ids, strict=False)
    shared = [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    room = min(len(shared), min(len(row.ids) for row in rows) - 1) if len(rows) > 1 else 0
    return shared[:room] if room >= _SHORTEST_PREFIX else []


def _load(source: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    path = Path(source)
    packed = path.suffix == ".gguf"
    place, file = (str(path.parent), {"gguf_file": path.name}) if packed else (source, {})
    dense = {"quantization_config": GgufConfig(dequantize=True)} if packed else {}
    try:
        if packed and not path.is_file():
            raise OSError("no such file")
        tokenizer = AutoTokenizer.from_pretrained(place, **file)
        net: Any = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **file, **dense).eval()
    except (OSError, ValueError) as error:
        raise BackendError(f"model '{source}' cannot be loaded ({error}): name a folder, a GGUF or a hub id") from error
    if not tokenizer.chat_template:
        raise BackendError(f"model '{source}' has no chat template: use one that was trained for chat")
    return tokenizer, net.to("cuda" if torch.cuda.is_available() else "cpu")
