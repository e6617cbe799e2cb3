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


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    (tmp_path / "plain.jsonl").write_text(to_line(PROMPT.key("m"), Reply("HI", "m")))
    pack(tmp_path / "plain.jsonl", tmp_path / "rec", {"model": "m"})
    return tmp_path / "rec"


def test_every_kind_names_a_class_that_takes_the_documented_settings() -> None:
    openai = ("base_url", "key_env", "name", "concurrency", "timeout_s", "retries")
    local = {"gguf": ("threads", "context_tokens", "slots", "name"), "torch": ("name", "batch", "dtype")}
    for kind, names in {"replay": ("model",), "openai": openai, **local}.items():
        for name in names:
            with pytest.raises(ParamsError, match=f"unknown parameter '{name}x'; did you mean '{name}'"):
                backend({"kind": kind, f"{name}x": 1})


def test_replay_from_the_default_folder_or_its_own(recording: Path) -> None:
    for spec in ({"kind": "replay"}, "replay", {"kind": "replay", "model": "m"}, f"replay:{recording}"):
        found = backend(spec, recordings=recording)
        assert isinstance(found, Replay)
        assert found.complete([PROMPT])[0].text == "HI"
    assert isinstance(backend({"kind": "replay", "folder": str(recording)}), Replay)


def test_openai_from_a_mapping_or_a_line() -> None:
    spec = {"kind": "openai", "model": "qwen2.5:1.5b", "base_url": URL, "concurrency": 3, "timeout_s": 5}
    for given in (spec, f"openai:qwen2.5:1.5b@{URL}?concurrency=3&timeout_s=5"):
        found = backend(given)
        assert isinstance(found, OpenAIBackend)
        assert (found.model, found.base_url, found.concurrency) == ("qwen2.5:1.5b", URL, 3)
    assert spec["kind"] == "openai"


@pytest.mark.parametrize("kind", ["gguf", "torch"])
def test_local_models_get_their_file_first(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Local:
        def __init__(self, model: Path | str, threads: int = 2, dtype: str = "float32") -> None:
            self.got = (model, threads, dtype)

    monkeypatch.setattr(llm_load.pydoc, "locate", lambda name: Local)
    found: Any = backend({"kind": kind, "model": "m.gguf", "threads": 4})
    assert found.got == ("m.gguf", 4, "float32")
    found = backend(f"{kind}:m.gguf?dtype=bfloat16")
    assert found.got == ("m.gguf", 2, "bfloat16")
    with pytest.raises(ParamsError, match=f"teacher \\({kind}\\): unknown parameter 'thread'; did you mean 'threads'"):
        backend({"kind": kind, "model": "m", "thread": 1}, where="teacher")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"model": "m"}, "backend: unknown kind 'None'; .*write replay, openai:"),
        ({"kind": "opnai", "model": "m"}, "unknown kind 'opnai'; did you mean 'openai'"),
        ("vllm:m", "unknown kind 'vllm'; .*write replay"),
        ("", "unknown kind ''; .*write replay"),
        ({"kind": "openai", "model": "m"}, r"backend \(openai\): 'base_url' is missing"),
        ({"kind": "openai", "base_url": URL}, "'model' is missing"),
        ({"kind": "gguf"}, "'model' is missing"),
        ({"kind": "replay"}, "'folder' is missing"),
        ({"kind": "openai", "model": "m", "base_ur": URL}, "unknown parameter 'base_ur'; did you mean 'base_url'"),
        (
            {"kind": "openai", "model": "m", "base_url": URL, "concurrency": "many"},
            "concurrency: Input should be a valid integer",
        ),
        ({"kind": "openai", "model": 5, "base_url": URL}, "model: Input should be a valid string"),
        ("openai:m", "openai needs model and address"),
        ("gguf:m.gguf?threads", "settings are not setting=value"),
        ("gguf:m.gguf?threads=[", "settings are not setting=value"),
        ("gguf:m.gguf?threads=two", "threads: Input should be a valid integer"),
    ],
)
def test_mistakes_are_one_error_with_the_remedy(spec: str | dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        backend(spec)


def test_a_key_in_a_parameter_is_refused_and_not_shown() -> None:
    for name in ("api_key", "key", "apiKey"):
        with pytest.raises(ParamsError, match=f"'{name}': a key is read from the environment alone") as raised:
            backend({"kind": "openai", "model": "m", "base_url": URL, name: "sk-secret-0123456789"})
        assert "sk-secret" not in str(raised.value)
