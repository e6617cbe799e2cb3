"""Bad bodies, limits, tokens and clients that go: 4xx with a reason, and nobody gets another's answer."""

import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_serve import TOOL, Running, chat, running

from lib.serve import app as app_module
from lib.serve.app import BODY
from lib.serve.service import Queue

PATHS = ("/v1/chat/completions", "/api/chat", "/try")


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as found:
        yield found


def message(response: httpx.Response) -> str:
    error = response.json()["error"]
    return str(error["message"] if isinstance(error, dict) else error)


WRONG: list[tuple[Any, str]] = [
    (b"", "not JSON"),
    (b"\xff{}", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b'{"model": NaN}', "not JSON"),
    ([], "expected an object"),
    ({}, "model: expected a string"),
    (chat("hi", model=3), "model: expected a string"),
    ({"model": "toy"}, "messages: expected at least one"),
    (chat("hi", messages=["hi"]), r"messages\[0\]: expected an object"),
    (chat("hi", messages=[{"role": "wizard"}]), r"messages\[0\].role: expected one of"),
    (chat("hi", messages=[{"role": "user", "content": 5}]), r"messages\[0\].content: expected a string"),
    (chat("hi", messages=chat("hi")["messages"] * 300), "600 are too many"),
    (chat("hi", tools=[TOOL] * 300), "300 are too many"),
    (chat("hi", tools=[{"name": "F", "input_schema": {}}]), r"tools\[0\].function: expected an object"),
    (chat("hi", tools=[{"function": {"name": "F" * 300}}]), "longer than 200"),
    (chat("hi", stream="yes"), "stream: expected true or false"),
    (chat("hi", messages=[{"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}]), "not JSON"),
    (chat("refuse"), "the request is refused"),
]


@pytest.mark.parametrize("path", PATHS[:2])
@pytest.mark.parametrize(("body", "reason"), WRONG)
def test_a_bad_body_gets_a_reason(client: httpx.Client, body: Any, reason: str, path: str) -> None:
    found = client.post(path, content=body if isinstance(body, bytes) else json.dumps(body))
    assert found.status_code == 400
    assert re.search(reason, message(found))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def perhaps(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects whose fields are there or not, right or wrong."""
    return st.fixed_dictionaries({}, optional={key: value | JSON for key, value in fields.items()})


FUNCTION = perhaps(name=st.text(), arguments=st.sampled_from(["{}", "", "[", "[1]"]), parameters=JSON)
CALL = perhaps(id=st.text(), function=FUNCTION)
SAID = st.text(st.characters(codec=None)) | st.lists(perhaps(type=st.just("text"), text=st.text()), max_size=2)
MESSAGE = perhaps(
    role=st.sampled_from(["user", "tool", "system", "assistant"]), content=SAID, tool_calls=st.lists(CALL)
)
REQUEST = perhaps(
    model=st.just("toy"),
    messages=st.lists(MESSAGE, min_size=1, max_size=3),
    tools=st.lists(perhaps(function=FUNCTION), max_size=2),
    stream=st.booleans(),
    user=st.text(),
    text=st.text(),
    items=st.lists(st.text(), max_size=3),
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(body=REQUEST | JSON, path=st.sampled_from(PATHS))
def test_no_body_makes_the_server_fail(client: httpx.Client, body: Any, path: str) -> None:
    found = client.post(path, content=json.dumps(body))
    assert found.status_code in (200, 400)
    assert found.status_code == 200 or message(found)


@pytest.mark.parametrize("path", ["/..%2f..%2fetc/passwd", "/../../etc/passwd", "/v1/models/../../x", "/%00"])
def test_paths_lead_nowhere(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def raw(port: int, data: bytes) -> bytes:
    """What comes back until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_huge_slow_and_half_sent_bodies(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    raw(server.port, head % 100 + b"{")
    raw(server.port, b"nonsense\r\n\r\n")
    huge = httpx.post(f"{server.url}/api/chat", content=(b" " * 65_536 for _ in range(BODY // 65_536 + 1)))
    assert huge.status_code == 413 and "more than" in message(huge)
    monkeypatch.setattr(app_module.read_body, "__defaults__", (0.1,))
    with socket.create_connection(("127.0.0.1", server.port), 5) as slow:
        slow.sendall(head % 100 + b"{")
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")
    assert httpx.get(f"{server.url}/health").json()["status"] == "ok"


def test_a_token_guards_all_but_page_and_health() -> None:
    with running(token="sécret") as server:
        for path in ("/v1/models", "/api/tags", "/metrics", "/examples"):
            for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": b"Bearer \xff"}):
                found = httpx.get(server.url + path, headers=given)
                assert found.status_code == 401 and "token" in message(found)
            assert httpx.get(server.url + path, headers={"Authorization": "Bearer sécret".encode()}).status_code == 200
        assert httpx.post(f"{server.url}/api/chat", json=chat("hi")).status_code == 401
        assert httpx.get(f"{server.url}/").status_code == httpx.get(f"{server.url}/health").status_code == 200


def test_no_answer_reaches_another_client(client: httpx.Client) -> None:
    def asks(i: int) -> bool:
        request = chat(f"request {i}", stream=False)
        request["messages"][0]["content"] = f"home {i}"
        found = client.post(PATHS[i % 2], json=request).json()
        said = found["message"] if i % 2 else found["choices"][0]["message"]
        return said["content"] == f"home {i}: request {i}"

    with ThreadPoolExecutor(32) as clients:
        assert all(clients.map(asks, range(200)))


def until(holds: Any) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    pytest.fail("it never came to that")


def test_a_full_queue_says_so_and_clients_that_go_free_their_place() -> None:
    with running() as server, ThreadPoolExecutor(3) as clients:
        server.service.queue = queue = Queue(most=3)
        first = clients.submit(httpx.post, f"{server.url}/api/chat", json=chat("wait"), timeout=30)
        until(lambda: server.task.made.seen == ["wait"])
        gone = [clients.submit(httpx.post, f"{server.url}/api/chat", json=chat(f"gone {i}"), timeout=0.5) for i in "12"]
        until(lambda: queue.waiting == 3)
        full = httpx.post(f"{server.url}/api/chat", json=chat("more"))
        assert full.status_code == 429 and "waiting" in message(full)
        assert all(isinstance(one.exception(), httpx.TimeoutException) for one in gone)
        until(lambda: queue.waiting == 1)
        server.task.made.go.set()
        assert first.result().status_code == 200 and server.task.made.seen == ["wait"]


def test_waiting_has_an_end() -> None:
    with running() as server:
        server.service.queue = Queue(seconds=0.05)
        found = httpx.post(f"{server.url}/api/chat", json=chat("wait"))
        server.task.made.go.set()
        assert found.status_code == 429 and "no answer within" in message(found)


def test_a_failure_is_logged_without_what_was_said(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        found = httpx.post(f"{server.url}/v1/chat/completions", json=chat("fail xyzzy"))
    assert found.status_code == 500 and "xyzzy" not in found.text + caplog.text and "KeyError" in caplog.text


def test_metrics_count_routes_and_kinds(client: httpx.Client) -> None:
    client.post("/api/chat", json=chat("give Tea"))
    client.get("/nowhere/in/particular")
    text = client.get("/metrics").text
    assert 'serve_requests_total{path="other",status="404"}' in text and "particular" not in text
    assert 'serve_replies_total{kind="calls"}' in text and 'le="+Inf"' in text and "Tea" not in text
