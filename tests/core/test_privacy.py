"""Keys come from the environment alone; neither they nor what people say or call their things is kept or logged."""

import json
import logging
import lzma
import re
from pathlib import Path
from typing import Any

import httpx
import nbformat
import nbformat.v4 as v4
import pytest
import toy_recording
from chat_endpoint import Answer, chat, refusal, serving
from toy_serve import chat as asking
from toy_serve import running

from lib.core import stages
from lib.core.paths import PARAMS, ROOT
from lib.llm.openai import OpenAIBackend

KEYS = {
    name: f"planted-{name.lower().replace('_', '-')}-0123456789"
    for name in ("OPENAI_API_KEY", "SERVE_TOKEN", "LARGER_API_KEY", "HOME_ASSISTANT_TOKEN", "HF_TOKEN", "OTHER_SECRET")
}
NAMES = ("Zanzibarina's Chamber", "lamp-of-zanzibarina")


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def kept(folder: Path) -> str:
    """All that the files below a folder hold, names included."""
    files = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert files
    texts = [lzma.decompress(data) if p.suffix == ".xz" else data for p, data in files.items()]
    return "\n".join([*map(str, files), *(text.decode("utf-8", "replace") for text in texts)])


def found(text: str) -> list[str]:
    """Which planted words ``text`` holds, in any case."""
    return [word for word in (*KEYS.values(), *NAMES) if word.casefold() in text.casefold()]


def test_a_recording_keeps_no_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    key = KEYS["OPENAI_API_KEY"]

    def decide(number: int, request: dict[str, Any]) -> Answer:
        if number % 7 == 5:
            return refusal(422, f"refused: Authorization: Bearer {key}")
        if request["temperature"] > 0.8:
            said = request["messages"][-1]["content"].splitlines()[0]
            return chat(f"{said} for me\nnow {said}\n{said} by {key}")
        judged = "natural" in json.dumps(request.get("response_format", {}))
        return chat('{"same": true, "natural": 4}' if judged else "{}")

    with serving(decide) as endpoint:
        backend = OpenAIBackend("tiny-chat", endpoint.url, retries=0, concurrency=1)
        toy_recording.session(tmp_path / "out", tmp_path / "work", backend, seeds=4).run()  # type: ignore[arg-type]
        assert {headers["authorization"] for headers in endpoint.headers} == {f"Bearer {key}"}
    text = kept(tmp_path)
    assert "[key]" in text, "the key came back and was taken out"
    assert not found(text) and not found(caplog.text + "".join(capfd.readouterr()))


def test_the_server_logs_and_tells_no_key_and_no_name(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    token, room, lamp = KEYS["SERVE_TOKEN"], *NAMES
    said = [f"{word} {lamp} in {room}" for word in ("fail", "refuse", "larger", "give")]
    answers: list[httpx.Response] = []
    with serving(lambda n, r: refusal(500, room)) as other, running(token=token, larger=other.url) as server:
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
            told = [client.post("/v1/chat/completions", json=asking(text)) for text in said]
            told += [client.post("/v1/chat/completions", content=f'{{"messages": "{room}'.encode())]
            answers += [client.get(path) for path in ("/health", "/metrics", "/v1/models", "/")]
        wrong = {"Authorization": f"Bearer {KEYS['OTHER_SECRET']}"}
        answers.append(httpx.post(f"{server.url}/v1/chat/completions", json=asking(said[0]), headers=wrong))
        assert [headers["authorization"] for headers in other.headers] == [f"Bearer {KEYS['LARGER_API_KEY']}"]
    assert [r.status_code for r in told] == [500, 400, 200, 200, 400] and answers[-1].status_code == 401
    assert not set(found("".join(r.text for r in told))) & {*KEYS.values()}
    assert not found("".join(r.text for r in answers))
    logged = "\n".join(r.getMessage() for r in caplog.records if r.name != "httpx") + "".join(capfd.readouterr())
    assert "KeyError in reply" in logged and "HTTP 500" in logged, "what went wrong is told"
    assert not found(logged)


def test_a_stage_keeps_no_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = v4.new_code_cell('seed = 1\nrun = ""', metadata={"tags": ["parameters"]})
    code = 'import os\nassert os.environ["OPENAI_API_KEY"]\nopen(f"{run}/01_a.txt", "w").close()'
    book = v4.new_notebook(cells=[first, v4.new_code_cell(code)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "01_a.ipynb")
    run = tmp_path / "run"
    run.mkdir()
    assert stages.run_stage(tmp_path / "01_a.ipynb", {"seed": 1, "run": str(run)}, run)
    assert (run / "01_meta.json").is_file() and (run / "notebooks" / "01_a.ipynb").is_file()
    assert not found(kept(run)) and not found("".join(capfd.readouterr()))


def test_no_command_takes_a_key_and_no_parameter_holds_one() -> None:
    option, parameter = (
        r'"--[\w-]*(key|token|secret|password)[\w-]*"',
        r"^\s*\w*(api_?key|token|secret|password): *[\"']?\w",
    )
    commands = "".join(path.read_text("utf-8") for path in (ROOT / "lib").rglob("*.py"))
    assert '"--model"' in commands and not re.search(option, commands)
    assert [p for p in PARAMS.rglob("*.yaml") if re.search(parameter, p.read_text("utf-8"), re.MULTILINE)] == []


def test_what_is_committed_holds_no_key_and_no_folder_of_a_person() -> None:
    shape = r"sk-[A-Za-z0-9]{20,}|hf_[A-Za-z]{30,}|gh[pousr]_\w{30,}|AKIA[A-Z0-9]{16}|-----BEGIN [A-Z ]*PRIVATE KEY"
    person = r"(?<!\w)/(?:home|Users)/\w+/"
    made = [p for room in ("reports", "notebooks", "lib", "params") for p in (ROOT / room).rglob("*")]
    texts = {p: p.read_text("utf-8") for p in made if p.suffix in (".html", ".json", ".csv", ".md", ".ipynb", ".yaml")}
    texts |= {p: lzma.decompress(p.read_bytes()).decode() for p in made if p.name.endswith(".jsonl.xz")}
    invented = "/home/user/"  # by a recorded model that was asked for a path
    texts = {p: text.replace(invented, "") if p.parent.name == "recordings" else text for p, text in texts.items()}
    assert {p.name: hit[0] for p, text in texts.items() if (hit := re.search(f"{shape}|{person}", text))} == {}
