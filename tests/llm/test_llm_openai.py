"""The endpoint backend against a real local server: whatever it sends is a reply or one clear error, never the key."""

import json
import logging
import os
import signal
import socket
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from chat_endpoint import Answer, chat, refusal, serving

from lib.llm.openai import OpenAIBackend
from lib.llm.types import BackendError, Prompt

KEY = "sk-very-secret+0123456789abcdef"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def backend(url: str, **settings: Any) -> OpenAIBackend:
    return OpenAIBackend("tiny-chat", url, **{"key_env": "TEST_KEY", "retries": 2, "timeout_s": 10.0, **settings})


def prompts(count: int, **settings: Any) -> list[Prompt]:
    return [Prompt.of("Echo.", f"word {i}", **settings) for i in range(count)]


def said(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"])


def test_order_and_counts_are_kept_and_concurrency_is_bounded() -> None:
    together = threading.Barrier(3)

    def decide(number: int, request: dict[str, Any]) -> Answer:
        if 0 < number < 4:  # the first contact is one request alone, then three must be there at once
            together.wait(30)
        return chat(said(request), prompt_tokens=9, prompt_tokens_details={"cached_tokens": 4})

    with serving(decide) as endpoint:
        replies = backend(endpoint.url, concurrency=3, name="recorded-as").complete(prompts(12, seed=5, top_p=0.9))
        assert endpoint.most == 3
    assert [reply.text for reply in replies] == [f"word {i}" for i in range(12)]
    assert {(r.model, r.prompt_tokens, r.cached_tokens, r.new_tokens, r.finish, r.error) for r in replies} == {
        ("recorded-as", 9, 4, 3, "stop", "")
    }
    assert all(reply.latency_s > 0 for reply in replies)
    sent = endpoint.requests[0]
    assert sent == {**sent, "model": "tiny-chat", "seed": 5, "top_p": 0.9, "max_tokens": 64, "temperature": 0}
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(("status", "attempts"), [(429, 3), (503, 3), (400, 1), (413, 1)])
def test_server_faults_are_retried_and_ours_are_not(status: int, attempts: int) -> None:
    with serving(lambda n, r: refusal(status, "it went wrong") if n else chat("ok")) as endpoint:
        _, reply = backend(endpoint.url).complete(prompts(2))
        assert len(endpoint.requests) == 1 + attempts
    assert (reply.text, reply.finish, reply.error) == ("", "error", f"HTTP {status}: it went wrong")


def test_timeout_is_an_error_of_its_request() -> None:
    quit_waiting = threading.Event()

    def decide(number: int, request: dict[str, Any]) -> Answer:
        if "word 1" in said(request):
            quit_waiting.wait(20)
        return chat(said(request))

    with serving(decide) as endpoint:
        first, second = backend(endpoint.url, timeout_s=0.2, retries=0).complete(prompts(2))
        quit_waiting.set()
    assert (first.text, second.error.partition(":")[0]) == ("word 0", "timeout")


def test_truncated_body_is_a_broken_connection() -> None:
    whole = chat("ok").body
    cut = Answer(body=whole[:20], declared=len(whole), headers={"Connection": "close"})
    with serving(lambda n, r: cut if n == 0 else chat("ok")) as endpoint:
        assert backend(endpoint.url).complete(prompts(1))[0].text == "ok"
    with serving(lambda n, r: cut) as endpoint:
        assert backend(endpoint.url, retries=0).complete(prompts(1))[0].error.startswith("connection broken: ")


USAGE = {"prompt_tokens": 1, "completion_tokens": 1}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"choices": [{"mess', "malformed: "),
        (b"<html>Bad gateway</html>", "malformed: <html>"),
        (b"\xff\xfe", "malformed: "),
        (b"", "malformed: "),
        (b"[" * 100_000, "malformed: "),
        (b"null", "malformed: null"),
        (b'{"error": {"message": "overloaded"}}', 'malformed: {"error"'),
        (json.dumps({"choices": [], "usage": USAGE}).encode(), "malformed: "),
        (json.dumps({"choices": [{"message": {"content": 5}}], "usage": USAGE}).encode(), "malformed: "),
        (json.dumps({"choices": [{"message": {"content": "a"}}]}).encode(), "malformed: "),
        (chat(None).body, "empty: "),
        (chat("I can't", "content_filter").body, "refused: the answer ended with content_filter"),
    ],
)
def test_an_answer_that_is_none_is_an_error_with_its_reason(body: bytes, error: str) -> None:
    with serving(lambda n, r: Answer(body=body)) as endpoint:
        (reply,) = backend(endpoint.url).complete(prompts(1))
        assert len(endpoint.requests) == 1
    assert reply.finish == "error" and reply.error.startswith(error)


def test_cut_off_answers_keep_their_text() -> None:
    with serving(lambda n, r: chat('{"n": 1', "length")) as endpoint:
        (reply,) = backend(endpoint.url).complete(prompts(1, schema=SCHEMA))
    assert (reply.text, reply.finish, reply.error, reply.new_tokens) == ('{"n": 1', "length", "", 3)


def test_lone_surrogates_come_and_go_without_an_exception() -> None:
    body = chat("x").body.replace(b'"x"', b'"caf\\u00e9 \\ud800"')
    with serving(lambda n, r: Answer(body=body)) as endpoint:
        (reply,) = backend(endpoint.url).complete(prompts(1))
        assert reply.text == "café ?"
        (reply,) = backend(endpoint.url).complete([Prompt.of("Echo.", "\ud800")])
        assert reply.error.startswith("not sent: ") or reply.text == "café ?"


def test_schema_is_sent_strictly_and_its_answer_checked() -> None:
    texts = ['{"n": 4}', '```json\n{"n": 4}\n```', "four"]
    with serving(lambda n, r: chat(texts[n])) as endpoint:
        replies = backend(endpoint.url, concurrency=1).complete(prompts(3, schema=SCHEMA))
        wanted = {"name": "reply", "strict": True, "schema": SCHEMA}
        assert endpoint.requests[0]["response_format"] == {"type": "json_schema", "json_schema": wanted}
    assert [reply.text for reply in replies] == ['{"n": 4}', '{"n": 4}', "four"]
    assert replies[2].error == "not JSON: a schema was asked for: four"


def test_a_server_that_is_not_there_or_goes_away_is_one_error_with_the_remedy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(BackendError, match=r"/v1: unreachable .*start the server or correct base_url"):
            backend(url, retries=0).complete(prompts(3))
    with serving(lambda n, r: chat(said(r))) as endpoint:
        model = backend(endpoint.url, concurrency=1, retries=0)
        assert model.complete(prompts(2))[1].text == "word 1"
    with pytest.raises(BackendError, match="unreachable"):
        model.complete(prompts(5))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, r"check the key in \$TEST_KEY"), (404, "correct the model 'tiny"), (400, "use an endpoint that takes")],
)
def test_a_wrong_key_or_model_at_first_is_one_error_and_later_a_reply(status: int, remedy: str) -> None:
    wrong = refusal(status, f"Incorrect API key provided: {KEY}")
    with serving(lambda n, r: wrong) as endpoint:
        with pytest.raises(BackendError, match=rf"HTTP {status}: .*\[key\].*{remedy}"):
            backend(endpoint.url).complete(prompts(20))
        assert len(endpoint.requests) == 1
    with serving(lambda n, r: wrong if n == 2 else chat("ok")) as endpoint:
        replies = backend(endpoint.url, concurrency=1).complete(prompts(4))
    assert [reply.error for reply in replies if reply.error] == [f"HTTP {status}: Incorrect API key provided: [key]"]


def test_the_key_is_nowhere(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    ways = [
        chat(f"your key is {KEY}"),
        refusal(400, f"bad request by {KEY}"),
        Answer(body=b"x" * 105 + KEY.encode()),
        chat(f"hm {KEY}", KEY),
        refusal(401, f"Authorization: Bearer {KEY}"),
        Answer(500, KEY.encode()),
    ]
    caplog.set_level(logging.DEBUG, "lib")
    with serving(lambda n, r: ways[n % len(ways)]) as endpoint:
        model = backend(endpoint.url, retries=0, concurrency=2)
        replies = model.complete(prompts(6, schema=SCHEMA)) + model.complete(prompts(12))
        with pytest.raises(BackendError) as raised:
            for _ in range(6):
                backend(endpoint.url, retries=0).complete(prompts(1))
    shown = [repr(replies), repr(model), caplog.text, *capfd.readouterr()]
    shown += ["".join(traceback.format_exception(raised.value))]
    assert not [text for text in shown if KEY[:12] in text]
    assert any("[key]" in text for text in shown)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url: expected http"),
        ({"base_url": "http://[bad"}, "base_url: expected http"),
        ({"base_url": "http://me:0123456789@localhost"}, "base_url: expected http"),
        ({"base_url": f"http://localhost/v1?key={KEY}"}, "base_url: expected http"),
        ({"key_env": KEY}, "key_env is not the name of an environment variable"),
        ({"key_env": "TWO_LINES"}, "holds blanks"),
        ({"model": ""}, "name a model"),
        ({"concurrency": 0}, "concurrency and timeout_s more than 0"),
        ({"retries": -1}, "retries at least 0"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWO_LINES", f"{KEY}\n{KEY}")
    with pytest.raises(BackendError, match=message) as raised:
        OpenAIBackend(**{"model": "m", "base_url": "http://localhost/v1", **settings})
    assert KEY not in "".join(traceback.format_exception(raised.value))
    assert "0123456789" not in str(raised.value)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A process that a shell started in the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interruption_cancels_what_waits() -> None:
    def decide(number: int, request: dict[str, Any]) -> Answer:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return chat(said(request))

    with serving(decide) as endpoint:
        model = backend(endpoint.url, concurrency=2)
        with pytest.raises(KeyboardInterrupt):
            model.complete(prompts(500))
        assert len(endpoint.requests) < 400
        assert model.complete(prompts(2))[1].text == "word 1"
