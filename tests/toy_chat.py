"""A tiny random chat model on disk, and a backend that answers by a rule; both for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lib.llm.types import Prompt, Reply

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def saved_chat_model(folder: Path, template: str | None = TEMPLATE) -> Path:
    """A random llama with a byte-level vocabulary and a chat template."""
    torch.manual_seed(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]})
    fast.chat_template = template
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(vocabulary), **sizes, num_key_value_heads=1, initializer_range=0.3)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


class Rule:
    """A Backend whose replies a function of the prompt gives; ``asked`` holds all prompts."""

    model = "rule"

    def __init__(self, reply: Callable[[Prompt], str | Reply]) -> None:
        self.reply, self.asked = reply, list[Prompt]()

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        self.asked += prompts
        return [self._reply(self.reply(prompt)) for prompt in prompts]

    def _reply(self, given: str | Reply) -> Reply:
        return Reply(given, self.model, new_tokens=len(given.split())) if isinstance(given, str) else given
