"""From a parameter to a backend: each kind gets its settings, each mistake one error that names it."""

from pathlib import Path
from typing import Any

import pytest

from lib.core.params import ParamsError
from lib.llm import load as llm_load
from lib.llm.load import backend
from lib.llm.openai import OpenAIBackend
from lib.llm.replay import Replay, pack, to_line
from lib.llm.types import Prompt, Reply

URL = "http://localhost:8000/v1"
PROMPT = Prompt.of("Echo.", "hi")
KINDS = {
    "replay": ("model",),
    f"openai:m@{URL}": ("base_url", "key_env", "name", "concurrency", "timeout_s", "retries"),
    "gguf:m": ("threads", "context_tokens", "slots", "name"),
    "torch:m": ("name", "batch", "dtype"),
}


def test_every_kind_names_a_class_that_takes_the_documented_settings() -> None:
    for kind, names in KINDS.items():
        for name in names:
            with pytest.raises(ParamsError, match=f"unknown parameter '{name}x'; did you mean '{name}'"):
                backend(f"{kind}?{name}x=1")


def test_replay_from_the_default_folder_or_its_own(tmp_path: Path) -> None:
    (tmp_path / "plain.jsonl").write_text(to_line(PROMPT.key("m"), Reply("HI", "m")))
    pack(tmp_path / "plain.jsonl", tmp_path / "rec", {"model": "m"})
    for spec in ("replay", "replay?model=m", f" replay:{tmp_path / 'rec'} "):
        found = backend(spec, recordings=tmp_path / "rec" if ":" not in spec else None)
        assert isinstance(found, Replay)
        assert found.complete([PROMPT])[0].text == "HI"


def test_an_endpoint_has_model_and_address() -> None:
    found = backend(f"openai:qwen2.5:1.5b@{URL}?concurrency=3&timeout_s=5")
    assert isinstance(found, OpenAIBackend)
    assert (found.model, found.base_url, found.concurrency) == ("qwen2.5:1.5b", URL, 3)


@pytest.mark.parametrize("kind", ["gguf", "torch"])
def test_local_models_get_their_file_first(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Local:
        def __init__(self, model: Path | str, threads: int = 2, dtype: str = "float32") -> None:
            self.got = (model, threads, dtype)

    monkeypatch.setattr(llm_load.pydoc, "locate", lambda name: Local)
    found: Any = backend(f"{kind}:some/m.gguf?dtype=bfloat16")
    assert found.got == ("some/m.gguf", 2, "bfloat16")
    with pytest.raises(ParamsError, match=f"teacher \\({kind}\\): unknown parameter 'thread'; did you mean 'threads'"):
        backend(f"{kind}:m?thread=1", where="teacher")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("opnai:m", "unknown kind 'opnai'; did you mean 'openai'"),
        ("vllm:m", "backend: unknown kind 'vllm'; .*write replay"),
        ("", "unknown kind ''; .*write replay"),
        ("openai:m", r"backend \(openai\): 'model' is missing: write replay, openai:MODEL@URL"),
        ("openai", "'model' is missing"),
        ("gguf", "'model' is missing"),
        ("replay", "'folder' is missing"),
        (f"openai:m@{URL}?concurrency=many", "concurrency: Input should be a valid integer"),
        (f"openai:m@{URL}?name=5", "name: Input should be a valid string"),
        ("gguf:m.gguf?threads", "settings are not setting=value"),
        ("gguf:m.gguf?threads=[", "settings are not setting=value"),
    ],
)
def test_mistakes_are_one_error_with_the_remedy(spec: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        backend(spec)


@pytest.mark.parametrize("name", ["api_key", "key", "apiKey"])
def test_a_key_in_a_parameter_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(ParamsError, match=f"'{name}': a key is read from the environment alone") as raised:
        backend(f"openai:m@{URL}?{name}=sk-secret-0123456789")
    assert "sk-secret" not in str(raised.value)
