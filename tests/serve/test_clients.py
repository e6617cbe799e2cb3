"""The real clients of both protocols against the server, and what Home Assistant 2026.11 was recorded to send."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from chat_endpoint import Answer, serving
from ollama import Client, ResponseError
from openai import NotFoundError, OpenAI
from toy_serve import TOOL, Running, chat, running
from toy_task import Vending

from lib.core.paths import ROOT
from lib.serve.service import PLAIN

RECORDED = sorted((ROOT.parent / "shared" / "ha_exchange").glob("*.json"))
PROBE = {"model": "toy", "max_tokens": 3, "tools": [TOOL], "messages": [{"role": "user", "content": "What is it?"}]}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def openai(server: Running) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def ollama(server: Running) -> Client:
    return Client(server.url)


def test_openai_lists_answers_and_takes_the_result(openai: OpenAI) -> None:
    assert [model.id for model in openai.models.list()] == ["toy"]
    request = chat("give Tea Gum")
    done = openai.chat.completions.create(**request)
    calls = done.choices[0].message.tool_calls or []
    assert [json.loads(c.function.arguments) for c in calls] == [{"item": "Tea", "n": 2}, {"item": "Gum", "n": 2}]
    assert {c.function.name for c in calls} == {"machine__Give"} and len({c.id for c in calls}) == 2
    assert done.choices[0].finish_reason == "tool_calls" and done.choices[0].message.content is None
    assert done.usage and (done.usage.prompt_tokens, done.usage.total_tokens) == (14, 20)
    results = [{"role": "tool", "tool_call_id": c.id, "content": '{"n": 2}'} for c in calls]
    request["messages"] += [done.choices[0].message.model_dump(), *results]
    closed = openai.chat.completions.create(**request).choices[0]
    assert closed.message.content == 'Done: {"n": 2}' and closed.finish_reason == "stop"


@pytest.mark.parametrize("usage", [False, True])
def test_openai_streams_one_call_a_chunk(openai: OpenAI, usage: bool) -> None:
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(openai.chat.completions.create(**chat("give Tea Gum"), stream=True, **more))
    assert [c.usage.total_tokens for c in chunks if c.usage] == [20] * usage
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    calls = [choice.delta.tool_calls for choice in choices if choice.delta.tool_calls]
    assert [len(some) for some in calls] == [1, 1] and [some[0].index for some in calls] == [0, 1]
    assert len({some[0].id for some in calls}) == 2 and json.loads(calls[1][0].function.arguments)["item"] == "Gum"
    assert [choice.finish_reason for choice in choices] == [None] * 3 + ["tool_calls"]


def test_ollama_tells_of_the_model(ollama: Client, server: Running) -> None:
    assert ollama.list().models[0].model == ollama.ps().models[0].model == "toy"
    assert "tools" in (ollama.show("toy").capabilities or [])
    assert httpx.get(f"{server.url}/api/version").json()["version"]
    with pytest.raises(ResponseError, match="Not Found"):
        ollama.pull("toy")


def test_ollama_answers_and_streams(ollama: Client) -> None:
    plain = ollama.chat(**chat("give Tea Gum"))
    assert [dict(c.function.arguments) for c in plain.message.tool_calls or ()] == [
        {"item": i, "n": 2} for i in ("Tea", "Gum")
    ]
    assert plain.done and plain.eval_count == 6
    lines = list(ollama.chat(**chat("give Tea Gum"), stream=True))
    assert [len(line.message.tool_calls or ()) for line in lines] == [1, 1, 0]
    assert [line.done for line in lines] == [False, False, True]
    request = chat("give Tea")
    request["messages"] += [plain.message.model_dump(), {"role": "tool", "content": '{"n": 2}'}]
    assert ollama.chat(**request).message.content == 'Done: {"n": 2}'


def test_the_content_may_be_a_list_of_parts(openai: OpenAI) -> None:
    request = chat()
    parts = [
        {"type": "text", "text": "hel"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "lo"},
    ]
    request["messages"].append({"role": "user", "content": parts})
    assert openai.chat.completions.create(**request).choices[0].message.content == "home: hello"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("task", [type("Mute", (Vending,), {"dialogue": None})(), None], ids=["mute", "no tools"])
def test_a_request_that_the_task_cannot_serve_gets_a_sentence(task: Any, stream: bool) -> None:
    tools = {"tools": [TOOL]} if task else {"tools": []}
    with running(task) as server:
        found = httpx.post(f"{server.url}/v1/chat/completions", json={**PROBE, **tools, "stream": stream})
    assert found.status_code == 200 and PLAIN in found.text


def test_a_task_from_its_tools_reads_its_context_from_the_system_message() -> None:
    give = {"type": "function", "function": {"name": "Give"}}
    said = [("system", 'The machine: {"items": ["Tea"]}. Be brief.'), ("user", "Tea"), ("tool", "One tea.")]
    messages = [{"role": role, "content": content} for role, content in said]
    with running(Vending()) as server:
        assert [*httpx.get(f"{server.url}/examples").json()] == ["drawn"]

        def answer(first: int, last: int, tool: Any = give) -> Any:
            body = {"model": "toy", "messages": messages[first:last], "tools": [tool], "stream": False}
            found = httpx.post(f"{server.url}/api/chat", json=body).json()
            return found.get("message", found)

        assert answer(0, 2)["tool_calls"] == [{"function": {"name": "Give", "arguments": {"item": "Tea"}}}]
        assert answer(0, 3)["content"] == "One tea." and answer(0, 2, TOOL)["content"] == PLAIN, "it is not offered"
        assert answer(1, 2) == {"error": "system message: 'items' is missing: give it"}


@pytest.mark.parametrize("path", RECORDED or [Path("absent")], ids=lambda path: path.stem)
def test_recorded_exchanges_are_answered_in_the_recorded_form(path: Path, server: Running) -> None:
    if not RECORDED:
        pytest.skip("no ../shared/ha_exchange")
    for exchange in json.loads(path.read_text(encoding="utf-8")):
        asked, recorded = exchange["request"], exchange["response"]
        found = httpx.request(asked["method"], server.url + asked["path"], json=asked["body"])
        assert found.status_code == 200 and found.headers["content-type"].startswith(recorded["content_type"])
        if isinstance(recorded["body"], dict):
            assert set(recorded["body"]) <= set(found.json())


def test_what_is_handed_over_goes_unchanged_and_comes_back_as_it_is() -> None:
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "function": {"name": "F", "arguments": "{}"}}],
    }
    answer = Answer(
        body=json.dumps({"id": "big", "choices": [{"message": said, "finish_reason": "tool_calls"}]}).encode()
    )
    with serving(lambda number, body: answer) as larger, running(larger=larger.url, token="secret") as server:
        headers = {"Authorization": "Bearer secret"}
        request = chat("larger please", temperature=0.3, seed=5)
        found = httpx.post(f"{server.url}/v1/chat/completions", json=request, headers=headers)
        assert found.content == answer.body and larger.requests[0] == request
        line = httpx.post(f"{server.url}/api/chat", json={**request, "stream": False}, headers=headers).json()
        assert line["message"]["tool_calls"] == [{"function": {"name": "F", "arguments": {}}}]
        assert "handed_over" in httpx.get(f"{server.url}/metrics", headers=headers).text
        assert "secret" not in str(larger.headers)
    with running(larger=larger.url) as server:  # it has ended
        found = httpx.post(f"{server.url}/v1/chat/completions", json=request)
        assert found.json()["choices"][0]["message"]["content"] == "home: larger please"


def test_an_unknown_path_is_an_error_that_the_client_shows(openai: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="Not Found"):
        openai.embeddings.create(model="toy", input="x")
