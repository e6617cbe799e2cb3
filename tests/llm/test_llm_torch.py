"""The transformers backend: batches, common prefix, schemas and sampling on a tiny random chat model."""

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
    texts = ["tea", "two teas, please", "tea for the other table and one for me", "no tea", "a", "bb", "ccc"]
    return [Prompt.of(SYSTEM, text, max_tokens=9, **settings) for text in texts]


def test_batches_equal_single_requests_in_order(backend: TorchBackend) -> None:
    together = backend.complete(prompts())
    assert [r.text for r in together] == [backend.complete([p])[0].text for p in prompts()]
    assert all(r.model == "tiny" and 0 < r.new_tokens <= 9 and r.latency_s > 0 for r in together)


def test_common_prefix_is_cached_for_all_but_the_row_it_is_read_for(backend: TorchBackend) -> None:
    backend.batch, backend.prefix = 8, None
    first, again = (sorted(r.cached_tokens for r in backend.complete(prompts())) for _ in range(2))
    backend.batch = 4
    assert first == [0, *again[1:]] and len(set(again)) == 1
    assert len(SYSTEM) < again[0] < min(r.prompt_tokens for r in backend.complete(prompts()))
    assert backend.complete(prompts()[:1])[0].cached_tokens == 0, "a prompt alone has no common prefix"


def test_schema_is_followed_whatever_the_model_prefers(backend: TorchBackend) -> None:
    for reply in backend.complete([replace(p, schema=SCHEMA, max_tokens=40) for p in prompts()]):
        row = json.loads(reply.text)
        assert reply.finish == "stop"
        assert set(row) == {"item", "hot"} and row["item"] in (1, 2, 3) and isinstance(row["hot"], bool)


def test_schema_and_free_prompts_share_a_batch(backend: TorchBackend) -> None:
    mixed = [replace(p, schema=SCHEMA if i % 2 else None, max_tokens=40) for i, p in enumerate(prompts())]
    replies = backend.complete(mixed)
    assert all(json.loads(r.text) for r, p in zip(replies, mixed, strict=True) if p.schema)
    free = [p for p in mixed if not p.schema]
    assert [r.text for r in backend.complete(free)] == [
        r.text for r, p in zip(replies, mixed, strict=True) if not p.schema
    ]


def test_sampling_repeats_for_a_seed_and_differs_between_seeds(backend: TorchBackend) -> None:
    one, same, other = (backend.complete(prompts(temperature=1.0, seed=s)) for s in (1, 1, 2))
    assert [r.text for r in one] == [r.text for r in same]
    assert [r.text for r in one] != [r.text for r in other]


def test_sampling_does_not_depend_on_the_batch(backend: TorchBackend) -> None:
    sampled = prompts(temperature=1.0, top_p=0.9, seed=5)
    assert [r.text for r in backend.complete(sampled)] == [backend.complete([p])[0].text for p in sampled]


def test_tiny_top_p_is_greedy(backend: TorchBackend) -> None:
    greedy = [r.text for r in backend.complete(prompts())]
    assert [r.text for r in backend.complete(prompts(temperature=1.0, top_p=1e-6))] == greedy


def test_cut_off_reply_says_so(backend: TorchBackend) -> None:
    replies = backend.complete(
        [replace(p, max_tokens=1) for p in prompts()] + [replace(prompts()[0], schema=SCHEMA, max_tokens=40)]
    )
    assert {r.finish for r in replies[:-1] if r.text} == {"length"}
    assert replies[-1].finish == "stop" and replies[-1].new_tokens < 40


def test_bad_schema_names_itself(backend: TorchBackend) -> None:
    with pytest.raises(BackendError, match="JSON schema cannot be enforced"):
        backend.complete([Prompt.of(SYSTEM, "tea", schema={"type": "nonsense"})])


def test_missing_model_and_model_without_template(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"none\.gguf.*name a folder, a GGUF or a hub id"):
        TorchBackend(str(tmp_path / "none.gguf"))
    with pytest.raises(BackendError, match="no chat template"):
        TorchBackend(str(saved_chat_model(tmp_path / "plain", template=None)))
