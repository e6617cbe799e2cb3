"""A chat model in transformers, on a GPU or a CPU, in batches of prompts with the same sampling settings.

llguidance constrains decoding to a JSON schema. A batch is sampled from a seed that is made of its prompts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import llguidance.hf
import torch
from llguidance.torch import allocate_token_bitmask, fill_next_token_bitmask
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig, LogitsProcessor

from lib.core.files import digest, sha256
from lib.llm.types import BackendError, Prompt, Reply

_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>")


class TorchBackend:
    """A Backend. ``model``: a hub id, a transformers folder, or a GGUF file (dequantised); ``batch``: prompts at once.

    ``name``: as recordings call it, by default the last part of ``model``; ``dtype``: of weights and computation.
    """

    def __init__(self, model: str, name: str = "", batch: int = 64, dtype: str = "bfloat16") -> None:
        """Loads the model. Raises BackendError for one that cannot be loaded or was not trained for chat."""
        self.model, self.batch = name or Path(model).name.removesuffix(".gguf"), batch
        self.sha256 = sha256(Path(model)) if Path(model).exists() else ""
        self._load(model, getattr(torch, dtype))
        known = self.tokenizer.get_vocab()
        self.ends = [known[name] for name in {self.tokenizer.eos_token, *_ENDS} & known.keys()]
        self.vocabulary = llguidance.hf.from_tokenizer(self.tokenizer)

    def _load(self, source: str, dtype: torch.dtype) -> None:
        path, packed = Path(source), source.endswith(".gguf")
        file = {"gguf_file": path.name} if packed else {}
        dense = {"quantization_config": GgufConfig(dequantize=True)} if packed else {}
        place = str(path.parent) if packed else source
        try:
            if packed and not path.is_file():
                raise OSError("no such file")
            self.tokenizer: Any = AutoTokenizer.from_pretrained(place, padding_side="left", **file)
            self.net: Any = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **file, **dense).eval()
        except (OSError, ValueError) as error:
            raise BackendError(f"{source}: cannot be loaded ({error}): name a folder, a GGUF or a hub id") from error
        if not self.tokenizer.chat_template:
            raise BackendError(f"{source}: has no chat template: use a model that was trained for chat")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.net.generation_config = GenerationConfig()  # a prompt's settings alone count, not the model's defaults
        self.net.to("cuda" if torch.cuda.is_available() else "cpu")

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in order."""
        replies: dict[int, Reply] = {}
        order = sorted(range(len(prompts)), key=lambda i: (_sampling(prompts[i]), len(str(prompts[i].messages))))
        for _, alike in groupby(order, key=lambda i: _sampling(prompts[i])):
            places = list(alike)
            for start in range(0, len(places), self.batch):
                some = places[start : start + self.batch]
                replies.update(zip(some, self._answer([prompts[i] for i in some]), strict=True))
        return [replies[i] for i in range(len(prompts))]

    def _answer(self, prompts: list[Prompt]) -> list[Reply]:
        began = time.perf_counter()
        chats = [[{"role": role, "content": content} for role, content in p.messages] for p in prompts]
        asked = {"add_generation_prompt": True, "padding": True, "return_tensors": "pt", "return_dict": True}
        inputs = self.tokenizer.apply_chat_template(chats, **asked).to(self.net.device)
        temperature, top_p, most = _sampling(prompts[0])
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p} if temperature > 0 else {}
        torch.manual_seed(int(digest([p.key(self.model) for p in prompts])[:15], 16))
        schemas = _Schemas([self._constraint(p) for p in prompts])
        settings = {"max_new_tokens": most, "eos_token_id": self.ends, "pad_token_id": self.ends[0], **sampling}
        whole = self.net.generate(**inputs, logits_processor=[schemas], **settings)
        rows = zip(whole[:, inputs.input_ids.shape[1] :].tolist(), inputs.attention_mask.sum(1).tolist(), strict=True)
        seconds = round(time.perf_counter() - began, 3)
        return [self._reply(ids, read, seconds) for ids, read in rows]

    def _reply(self, ids: list[int], read: int, seconds: float) -> Reply:
        end = next((i for i, token in enumerate(ids) if token in self.ends), None)
        text = self.tokenizer.decode(ids[:end], skip_special_tokens=True)
        count, finish = (len(ids), "length") if end is None else (end + 1, "stop")
        return Reply(text, self.model, read, 0, count, seconds, finish)

    def _constraint(self, prompt: Prompt) -> Any:
        """A matcher of what a schema allows, or None without one. Raises BackendError if it cannot be enforced."""
        if prompt.schema is None:
            return None
        schema = json.dumps(prompt.schema)
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})
        matcher = llguidance.LLMatcher(self.vocabulary, grammar)
        if matcher.is_error():
            raise BackendError(f"JSON schema cannot be enforced ({matcher.get_error()}): {schema[:80]}")
        return matcher


def _sampling(prompt: Prompt) -> tuple[float, float, int]:
    return prompt.temperature, prompt.top_p, prompt.max_tokens


class _Schemas(LogitsProcessor):
    """Excludes the tokens that a row's matcher does not allow next; None: any may come."""

    def __init__(self, matchers: list[Any]) -> None:
        self.matchers, self.begun = matchers, False

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """``ids``: (rows, tokens) so far; ``scores``: (rows, vocabulary)."""
        packed = allocate_token_bitmask(*scores.shape)
        for row, (matcher, last) in enumerate(zip(self.matchers, ids[:, -1].tolist(), strict=True)):
            if matcher and self.begun and not matcher.is_stopped():
                matcher.consume_token(last)
            if matcher:
                fill_next_token_bitmask(matcher, packed, row)
        self.begun = True
        bits = packed.to(scores.device)[:, :, None] >> torch.arange(32, dtype=torch.int32, device=scores.device) & 1
        return scores.masked_fill(bits.flatten(1)[:, : scores.shape[1]] == 0, -torch.inf)
