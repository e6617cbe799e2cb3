"""The endpoint backend against a real local server: whatever it sends is a reply or one clear error, never the key."""

import json
import logging
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from chat_endpoint import Answer, chat, refusal, serving

from lib.llm.failure import wait_seconds
from lib.llm.openai import OpenAIBackend
from lib.llm.replay import Recorder
from lib.llm.types import BackendError, Prompt

KEY = "sk-very/secret+0123456789abcdef"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def backend(url: str, **settings: Any) -> OpenAIBackend:
    quick = {"key_env": "TEST_KEY", "backoff_s": 0.01, "retries": 3, "timeout_s": 10.0}
    return OpenAIBackend("tiny-chat", url, **{**quick, **settings})


def prompts(count: int, **settings: Any) -> list[Prompt]:
    return [Prompt.of("Echo.", f"word {i}", **settings) for i in range(count)]


def said(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"])


def test_order_and_counts_are_kept_and_concurrency_is_bounded() -> None:
    together = threading.Barrier(3)

    def decide(number: int, request: dict[str, Any]) -> Answer:
        if 0 < number < 4:  # the first contact is one request alone, then three must be there at once
            together.wait(30)
        time.sleep(0.01 * (number % 3))
        return chat(said(request), prompt_tokens=9, prompt_tokens_details={"cached_tokens": 4})

    with serving(decide) as endpoint:
        replies = backend(endpoint.url, concurrency=3, name="recorded-as").complete(prompts(25, seed=5, top_p=0.9))
        assert endpoint.most == 3
    assert [reply.text for reply in replies] == [f"word {i}" for i in range(25)]
    assert {(r.model, r.prompt_tokens, r.cached_tokens, r.new_tokens, r.finish, r.error) for r in replies} == {
        ("recorded-as", 9, 4, 3, "stop", "")
    }
    assert all(reply.latency_s > 0 for reply in replies)
    sent = endpoint.requests[0]
    assert sent == {**sent, "model": "tiny-chat", "seed": 5, "top_p": 0.9, "max_tokens": 64, "temperature": 0}
    assert endpoint.headers[0]["authorization"] == f"Bearer {KEY}"


def test_429_waits_as_long_as_the_server_asks() -> None:
    with serving(lambda n, r: chat("ok") if n else refusal(429, "slow down", retry_after="0.4")) as endpoint:
        model = backend(endpoint.url)
        assert model.complete(prompts(1))[0].text == "ok"
        assert endpoint.times[1] - endpoint.times[0] >= 0.4
    assert model.counts == {"retry after HTTP 429": 1}


def test_a_wait_longer_than_the_run_can_take_is_an_error_at_once() -> None:
    with serving(lambda n, r: refusal(429, "quota used up", retry_after="86400")) as endpoint:
        (reply,) = backend(endpoint.url).complete(prompts(1))
        assert (reply.finish, reply.error) == ("error", "HTTP 429: quota used up")
        assert len(endpoint.requests) == 1


def test_retry_after_as_a_date_or_nonsense() -> None:
    assert 8 < wait_seconds({"retry-after": formatdate(time.time() + 10, usegmt=True)}) <= 10
    assert wait_seconds({"retry-after": formatdate(time.time() - 10)}) == 0
    assert [wait_seconds({"retry-after": text}) for text in ("nan", "-3", "32 Foo", "")] == [0, 0, 0, 0]


@pytest.mark.parametrize(("status", "attempts"), [(500, 4), (503, 4), (408, 4), (400, 1), (422, 1), (413, 1)])
def test_servers_faults_are_tried_again_and_ours_are_not(status: int, attempts: int) -> None:
    with serving(lambda n, r: refusal(status, "it went wrong") if n else chat("ok")) as endpoint:
        model = backend(endpoint.url)
        _, reply = model.complete(prompts(2))
        assert len(endpoint.requests) == 1 + attempts
    assert (reply.text, reply.finish, reply.error) == ("", "error", f"HTTP {status}: it went wrong")
    assert model.counts[f"HTTP {status}"] == 1
    assert model.counts[f"retry after HTTP {status}"] == attempts - 1


def test_one_bad_prompt_does_not_hurt_the_others() -> None:
    with serving(lambda n, r: refusal(500, "no") if "word 2" in said(r) else chat(said(r))) as endpoint:
        replies = backend(endpoint.url, concurrency=2).complete(prompts(5))
    assert [reply.text for reply in replies] == ["word 0", "word 1", "", "word 3", "word 4"]
    assert [bool(reply.error) for reply in replies] == [False, False, True, False, False]


def test_timeout_is_tried_again_then_an_error() -> None:
    quit_waiting = threading.Event()

    def decide(number: int, request: dict[str, Any]) -> Answer:
        if "word 1" in said(request):
            quit_waiting.wait(20)
        return chat(said(request))

    with serving(decide) as endpoint:
        model = backend(endpoint.url, timeout_s=0.2, retries=1)
        first, second = model.complete(prompts(2))
        quit_waiting.set()
    assert (first.text, second.finish) == ("word 0", "error")
    assert second.error.startswith("timeout: ")
    assert model.counts == {"retry after timeout": 1, "timeout": 1}


def test_truncated_body_is_a_broken_connection() -> None:
    whole = chat("ok").body
    cut = Answer(body=whole[:20], declared=len(whole), headers={"Connection": "close"})
    with serving(lambda n, r: cut if n == 0 else chat("ok")) as endpoint:
        model = backend(endpoint.url)
        assert model.complete(prompts(1))[0].text == "ok"
    assert model.counts == {"retry after connection broken": 1}
    with serving(lambda n, r: cut) as endpoint:
        assert backend(endpoint.url, retries=0).complete(prompts(1))[0].error.startswith("connection broken: ")


USAGE = {"prompt_tokens": 1, "completion_tokens": 1}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"choices": [{"mess', "malformed: not JSON: "),
        (b"<html>Bad gateway</html>", "malformed: not JSON: <html>"),
        (b"\xff\xfe", "malformed: not JSON"),
        (b"", "malformed: not JSON"),
        (b"[" * 100_000, "malformed: not JSON"),
        (b"null", "malformed: null"),
        (b"[]", "malformed: []"),
        (b'{"error": {"message": "overloaded"}}', 'malformed: {"error"'),
        (json.dumps({"choices": [], "usage": USAGE}).encode(), "malformed: "),
        (json.dumps({"choices": [{}], "usage": USAGE}).encode(), "malformed: "),
        (json.dumps({"choices": [{"message": {"content": 5}}], "usage": USAGE}).encode(), "malformed: "),
        (json.dumps({"choices": [{"message": {"content": "a"}}], "usage": [1]}).encode(), "malformed: "),
        (json.dumps({"choices": [{"message": {"content": "a"}}]}).encode(), "no usage: "),
        (chat(None).body, "empty: "),
        (chat(" \n").body, "empty: "),
        (chat("I can't", "content_filter").body, "refused: the answer ended with content_filter"),
    ],
)
def test_an_answer_that_is_none_is_an_error_with_its_reason(body: bytes, error: str) -> None:
    with serving(lambda n, r: Answer(body=body)) as endpoint:
        model = backend(endpoint.url)
        (reply,) = model.complete(prompts(1))
        assert len(endpoint.requests) == 1
    assert reply.finish == "error"
    assert reply.error.startswith(error)
    assert model.counts == {error.partition(":")[0]: 1}


def test_cut_off_answers_keep_their_text() -> None:
    with serving(lambda n, r: chat('{"n": 1', "length")) as endpoint:
        model = backend(endpoint.url)
        (reply,) = model.complete(prompts(1, schema=SCHEMA))
    assert (reply.text, reply.finish, reply.error, reply.new_tokens) == ('{"n": 1', "length", "", 3)
    assert model.counts == {"length": 1}


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
    assert [reply.finish for reply in replies] == ["stop", "stop", "error"]
    assert replies[2].error == "not JSON: a schema was asked for: four"


def test_a_refused_response_format_is_left_out_from_then_on(caplog: pytest.LogCaptureFixture) -> None:
    def decide(number: int, request: dict[str, Any]) -> Answer:
        if "response_format" in request:
            return refusal(400, "'response_format' of type 'json_schema' is not supported")
        return chat('{"n": 1}')

    with serving(decide) as endpoint:
        replies = backend(endpoint.url, concurrency=2).complete(prompts(6, schema=SCHEMA))
        assert sum("response_format" in request for request in endpoint.requests) == 1
    assert {reply.text for reply in replies} == {'{"n": 1}'}
    assert sum("does not take response_format" in record.message for record in caplog.records) == 1


def test_one_schema_refused_after_others_were_taken_changes_nothing_for_the_next() -> None:
    def decide(number: int, request: dict[str, Any]) -> Answer:
        schema = request.get("response_format", {}).get("json_schema", {}).get("schema")
        return refusal(400, "JSON schema error: unrecognized type") if schema == {"type": "odd"} else chat('{"n": 1}')

    with serving(decide) as endpoint:
        model = backend(endpoint.url, concurrency=1)
        schemas = [SCHEMA, {"type": "odd"}, SCHEMA]
        replies = model.complete([Prompt.of("Echo.", "n", schema=schema) for schema in schemas])
        assert ["response_format" in request for request in endpoint.requests] == [True, True, False, True]
    assert [reply.finish for reply in replies] == ["stop"] * 3


def test_max_tokens_goes_under_its_newer_name_where_the_old_is_refused() -> None:
    def decide(number: int, request: dict[str, Any]) -> Answer:
        if "max_tokens" in request:
            return refusal(400, "Unsupported parameter 'max_tokens': use 'max_completion_tokens' instead")
        return chat(str(request["max_completion_tokens"]))

    with serving(decide) as endpoint:
        assert [r.text for r in backend(endpoint.url).complete(prompts(2, max_tokens=9))] == ["9", "9"]


@pytest.mark.parametrize(
    ("part", "refused"),
    [
        ("temperature", refusal(400, "Unsupported value: 'temperature' does not support 0 with this model.")),
        ("top_p", refusal(400, "`top_p` is deprecated for this model")),
        ("seed", Answer(422, b'{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}')),
        ("seed", Answer(400, b'{"error": {"message": "Only 1 will do", "param": "seed"}}')),
    ],
)
def test_refused_sampling_settings_are_left_out_and_told_once(
    part: str, refused: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(lambda n, r: refused if part in r else chat(said(r))) as endpoint:
        replies = backend(endpoint.url, concurrency=2).complete(prompts(6))
        assert [part in request for request in endpoint.requests] == [True] + [False] * 6
        kept = {"temperature", "top_p", "seed"} - {part}
        assert all(kept <= request.keys() for request in endpoint.requests)
    assert [reply.text for reply in replies] == [f"word {i}" for i in range(6)]
    (told,) = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert f"does not take {part}" in told and "from now on; sampling is then the server's" in told


def test_all_that_an_endpoint_refuses_is_left_out_one_by_one() -> None:
    optional = ["temperature", "top_p", "seed", "response_format", "max_tokens"]

    def decide(number: int, request: dict[str, Any]) -> Answer:
        there = [name for name in optional if name in request]
        hint = " (use max_completion_tokens)" if there == ["max_tokens"] else ""
        return refusal(400, f"Unknown parameter: '{there[0]}'{hint}") if there else chat('{"n": 1}')

    with serving(decide) as endpoint:
        replies = backend(endpoint.url).complete(prompts(3, schema=SCHEMA))
        assert len(endpoint.requests) == len(optional) + 3
    assert {reply.text for reply in replies} == {'{"n": 1}'}


def test_a_sampling_value_refused_after_others_were_taken_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def decide(number: int, request: dict[str, Any]) -> Answer:
        return refusal(400, "temperature 0 is not supported") if request.get("temperature") == 0 else chat("ok")

    with serving(decide) as endpoint:
        asked = [Prompt.of("Echo.", "n", temperature=t) for t in (0.5, 0.0, 0.5, 0.0)]
        assert {r.text for r in backend(endpoint.url, concurrency=1).complete(asked)} == {"ok"}
        assert [r.get("temperature") for r in endpoint.requests] == [0.5, 0, None, 0.5, 0, None]
    assert sum("where it refuses the value" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("message", ["prompt is not allowed", "bad words: 'what is the temperature, seedling?'"])
def test_a_first_request_refused_for_good_is_one_error(status: int, message: str) -> None:
    with serving(lambda n, r: refusal(status, message)) as endpoint:
        with pytest.raises(BackendError, match=rf"HTTP {status}: .*change what it names"):
            backend(endpoint.url).complete(prompts(20))
        assert len(endpoint.requests) == 1


def test_nobody_there_at_first_is_one_error_with_the_remedy() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(BackendError, match=r"/v1: unreachable: .*start the server or correct base_url"):
            backend(url).complete(prompts(3))


def test_a_server_that_goes_away_later_leaves_replies_with_errors() -> None:
    with serving(lambda n, r: chat(said(r))) as endpoint:
        model = backend(endpoint.url, concurrency=1)
        assert model.complete(prompts(2))[1].text == "word 1"
    replies = model.complete(prompts(5))
    assert {reply.error.partition(":")[0] for reply in replies} == {"unreachable"}
    assert model.counts == {"retry after unreachable": 3, "unreachable": 5}


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_at_first_is_one_error_and_later_a_reply(status: int) -> None:
    wrong = refusal(status, f"Incorrect API key provided: {KEY}")
    with serving(lambda n, r: wrong) as endpoint:
        with pytest.raises(BackendError, match=rf"HTTP {status}: .*\[key\].*check the key in \$TEST_KEY"):
            backend(endpoint.url).complete(prompts(20))
        assert len(endpoint.requests) == 1
    with serving(lambda n, r: wrong if n == 2 else chat("ok")) as endpoint:
        replies = backend(endpoint.url, concurrency=1).complete(prompts(4))
    assert [reply.error for reply in replies if reply.error] == [f"HTTP {status}: Incorrect API key provided: [key]"]


def test_an_unset_key_is_fine_until_the_server_wants_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with serving(lambda n, r: chat("ok") if n == 0 else refusal(401, "no key")) as endpoint:
        assert backend(endpoint.url).complete(prompts(1))[0].text == "ok"
        with pytest.raises(BackendError, match=r"export a key as \$TEST_KEY"):
            backend(endpoint.url).complete(prompts(1))


def test_an_unknown_model_is_named_with_those_served() -> None:
    with (
        serving(lambda n, r: refusal(404, "model not found")) as endpoint,
        pytest.raises(BackendError, match=r"HTTP 404: model not found: correct the model 'tiny-chat' \(served: tiny"),
    ):
        backend(endpoint.url).complete(prompts(2))
    with serving(lambda n, r: chat("ok") if n == 0 else refusal(404, "model unloaded")) as endpoint:
        replies = backend(endpoint.url).complete(prompts(2))
    assert replies[1].error == "HTTP 404: model unloaded"


def leaks(number: int, request: dict[str, Any]) -> Answer:
    """A server that sends the key back in every way it can."""
    escaped = json.dumps(KEY).replace("/", "\\/").encode()
    padding = b"x" * 105
    ways = [
        chat(f"your key is {KEY}"),
        refusal(400, f"bad request by {KEY}"),
        Answer(400, f"plain text {KEY}".encode(), {"Content-Type": "text/plain"}),
        Answer(body=b"not JSON " + KEY.encode()),
        Answer(body=b"[" + escaped + b"]"),
        Answer(body=b'["' + padding + escaped[1:] + b"]"),
        Answer(body=padding + KEY.encode()),
        chat(f"hm {KEY}", KEY),
        refusal(401, f"Authorization: Bearer {KEY}"),
        chat("no JSON " + KEY),
        Answer(500, KEY.encode()),
    ]
    return ways[number % len(ways)]


def test_the_key_is_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(leaks) as endpoint:
        model = backend(endpoint.url, retries=0, concurrency=2)
        recorder = Recorder(model, tmp_path / "replies.jsonl")
        replies = recorder.complete(prompts(11, schema=SCHEMA)) + recorder.complete(prompts(33))
        with pytest.raises(BackendError) as raised:
            for _ in range(30):
                backend(endpoint.url, retries=0).complete(prompts(1))
    shown = [repr(replies), repr(model), str(model.counts), str(recorder.counts), caplog.text, *capfd.readouterr()]
    shown += ["".join(traceback.format_exception(raised.value)), (tmp_path / "replies.jsonl").read_text()]
    for part in (KEY, KEY[:12], KEY.replace("/", "\\/")[:12]):
        assert not [text for text in shown if part in text]
    assert any("[key]" in text for text in shown)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "localhost:8000"}, "base_url: expected http"),
        ({"base_url": "http://[bad"}, "base_url: expected http"),
        ({"base_url": "http://me:0123456789@localhost"}, "must hold no user"),
        ({"base_url": f"http://localhost/v1?key={KEY}"}, "must hold no user"),
        ({"key_env": KEY}, "key_env is not the name of an environment variable"),
        ({"key_env": "TWO_LINES"}, "holds blanks"),
        ({"model": ""}, "name the model"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"retries": -1}, "retries at least 0"),
        ({"timeout_s": 0}, "timeout_s more than 0"),
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
            time.sleep(0.2)
        return chat(said(request))

    with serving(decide) as endpoint:
        model = backend(endpoint.url, concurrency=2)
        with pytest.raises(KeyboardInterrupt):
            model.complete(prompts(500))
        assert len(endpoint.requests) < 250
        assert model.complete(prompts(2))[1].text == "word 1"
