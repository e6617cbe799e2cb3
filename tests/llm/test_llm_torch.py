"""The transformers backend: batches, schemas and sampling on a tiny random chat model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from toy_chat import saved_chat_model

from lib.llm.torch import TorchBackend
from lib.llm.types import BackendError, Prompt

SYSTEM = "You are a machine that hands out tea, and only tea."
SCHEMA = {
    "type": "object",
    "properties": {"item": {"enum": [1, 2, 3]}, "hot": {"type": "boolean"}},
    "required": ["item", "hot"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> TorchBackend:
    return TorchBackend(str(saved_chat_model(tmp_path_factory.mktemp("chat"))), "tiny", batch=4, dtype="float32")


def prompts(**settings: object) -> list[Prompt]:
    texts = ["tea", "two teas, please", "tea for the other table and one for me", "no tea", "a"]
    return [Prompt.of(SYSTEM, text, **{"max_tokens": 9, **settings}) for text in texts]


def test_batches_equal_single_requests_in_order(backend: TorchBackend) -> None:
    asked = [replace(p, max_tokens=9 - i % 2) for i, p in enumerate(prompts())]
    together, single = backend.complete(asked), [backend.complete([p])[0] for p in asked]
    assert [replace(r, latency_s=0) for r in together] == [replace(r, latency_s=0) for r in single]
    assert all(r.model == "tiny" and 0 < r.new_tokens <= 9 and r.latency_s > 0 for r in together)


def test_schema_is_followed_beside_free_prompts(backend: TorchBackend) -> None:
    mixed = [p for q in prompts(max_tokens=40, temperature=1.0) for p in (q, replace(q, schema=SCHEMA))]
    for reply in backend.complete(mixed)[1::2]:
        row = json.loads(reply.text)
        assert reply.finish == "stop" and " " not in reply.text
        assert set(row) == {"item", "hot"} and row["item"] in (1, 2, 3) and isinstance(row["hot"], bool)


def test_sampling_repeats_for_a_seed_and_differs_between_seeds(backend: TorchBackend) -> None:
    one, same, other = ([r.text for r in backend.complete(prompts(temperature=1.0, seed=s))] for s in (1, 1, 2))
    assert one == same != other
    greedy = [r.text for r in backend.complete(prompts())]
    assert [r.text for r in backend.complete(prompts(temperature=1.0, top_p=1e-6))] == greedy


def test_cut_off_reply_says_so(backend: TorchBackend) -> None:
    asked = [*prompts(max_tokens=1), replace(prompts()[0], schema=SCHEMA, max_tokens=40)]
    replies = backend.complete(asked)
    assert {r.finish for r in replies[:-1] if r.text} == {"length"}
    assert replies[-1].finish == "stop" and replies[-1].new_tokens < 40


def test_bad_schemas_and_models_are_one_error(backend: TorchBackend, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="JSON schema cannot be enforced"):
        backend.complete([Prompt.of(SYSTEM, "tea", schema={"type": "nonsense"})])
    with pytest.raises(BackendError, match=r"none\.gguf.*name a folder, a GGUF or a hub id"):
        TorchBackend(str(tmp_path / "none.gguf"))
    with pytest.raises(BackendError, match="no chat template"):
        TorchBackend(str(saved_chat_model(tmp_path / "plain", template=None)))
