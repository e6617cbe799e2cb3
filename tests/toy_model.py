"""Tiny random models of the real architecture, for tests: a base, students of the toy task, and their files."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from toy_task import TASK
from transformers import LlamaConfig, LlamaForCausalLM

from lib.model import student as students
from lib.model.base import Base
from lib.model.student import Student
from lib.model.vocabulary import TokenizerJson

torch.set_num_threads(1)

WORDS = [
    "please turn the kettle on and refill the water before the others come",
    "one tea, two teas and an apple for the second table",
    "stock the machine with rye bread, oat bars, salt nuts and cola",
    "the other kettle is empty; put three of them in the upper row",
    "hand out whatever is left when the afternoon is over",
]


def trained_bpe(merges: int = 150) -> TokenizerJson:
    """A byte-level BPE trained on a few words, which lacks the bytes that they do not use, as real ones do."""
    import json

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=merges + 40, special_tokens=special))
    found: TokenizerJson = json.loads(tokenizer.to_str())
    return found


def tiny_base(layers: int = 4, seed: int = 0) -> Base:
    """A random llama with heads of 32, as llama.cpp's kernels like them."""
    torch.manual_seed(seed)
    tokenizer = trained_bpe()
    config = LlamaConfig(
        vocab_size=len(tokenizer["model"]["vocab"]),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return Base(LlamaForCausalLM(config).eval(), tokenizer, {"name": "tiny", "sha256": "0"})


def tiny_student(layers: int = 4, seed: int = 0) -> Student:
    return students.build(TASK, tiny_base(layers, seed), vocab_size=400, layers=layers, seed=seed)


def saved_student(folder: Path, layers: int = 4, seed: int = 0) -> Path:
    return students.save(tiny_student(layers, seed), folder)
