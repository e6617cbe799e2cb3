"""Recordings: asked once, kept at once, resumed after a kill, packed the same, replayed, and never silently wrong."""

import json
import lzma
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lib.llm.replay import Recorder, Replay, pack, read_replies
from lib.llm.types import Backend, BackendError, Prompt, Reply


class Echo:
    """Answers with the prompt's last message in capitals; fails for those in ``bad``; breaks off after ``limit``."""

    def __init__(self, bad: Sequence[str] = (), limit: int = 1000, model: str = "echo") -> None:
        self.model, self.bad, self.limit = model, bad, limit
        self.asked: list[list[str]] = []

    def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
        texts = [prompt.messages[-1][1] for prompt in prompts]
        if sum(map(len, self.asked)) + len(texts) > self.limit:
            raise KeyboardInterrupt
        self.asked.append(texts)
        return [self.reply(text) for text in texts]

    def reply(self, text: str) -> Reply:
        if text in self.bad:
            return Reply("", self.model, finish="error", error="HTTP 500: it broke: twice")
        return Reply(text.upper(), self.model, 5, 2, 1, 0.25, "length" if text == "long" else "stop")


GOOD = {
    "key": "0f",
    "text": "A",
    "model": "echo",
    "prompt_tokens": 5,
    "cached_tokens": 2,
    "new_tokens": 1,
    "latency_s": 0.25,
    "finish": "stop",
}


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt.of("Echo.", text) for text in texts]


def keys(*texts: str, model: str = "echo") -> list[str]:
    return [prompt.key(model) for prompt in prompts(*texts)]


def recorded(path: Path, *texts: str) -> Path:
    Recorder(Echo(), path).complete(prompts(*texts))
    return path


def test_each_prompt_is_asked_once_and_replies_keep_their_order(tmp_path: Path) -> None:
    echo = Echo()
    recorder: Backend = Recorder(echo, tmp_path / "new" / "r.jsonl")
    assert [r.text for r in recorder.complete(prompts("b", "a", "b", "küche\n✓"))] == ["B", "A", "B", "KÜCHE\n✓"]
    assert [r.text for r in recorder.complete(prompts("c", "a"))] == ["C", "A"]
    assert echo.asked == [["b", "a", "küche\n✓"], ["c"]]
    again = Recorder(Echo(limit=0), tmp_path / "new" / "r.jsonl")
    assert again.complete(prompts("a", "küche\n✓", "c")) == [Echo().reply(t) for t in ("a", "küche\n✓", "c")]
    assert again.used == set(keys("a", "küche\n✓", "c"))


def test_interruption_loses_at_most_a_chunk(tmp_path: Path) -> None:
    texts = [f"w{i}" for i in range(10)]
    with pytest.raises(KeyboardInterrupt):
        Recorder(Echo(limit=7), tmp_path / "r.jsonl", chunk=3).complete(prompts(*texts))
    echo = Echo()
    recorder = Recorder(echo, tmp_path / "r.jsonl", chunk=3)
    assert [r.text for r in recorder.complete(prompts(*texts))] == [t.upper() for t in texts]
    assert echo.asked == [["w6", "w7", "w8"], ["w9"]]


@pytest.mark.parametrize("torn", ['{"key": "0f", "te', '{"key": "é'])
def test_a_torn_last_line_is_dropped_and_asked_again(tmp_path: Path, torn: str) -> None:
    path = recorded(tmp_path / "r.jsonl", "a", "b")
    path.write_bytes(path.read_bytes() + torn.encode()[:-1])
    echo = Echo()
    Recorder(echo, path).complete(prompts("a", "b", "c"))
    assert echo.asked == [["c"]]
    replies, rejected = read_replies(path)
    assert [reply.text for reply in replies.values()] == ["A", "B", "C"] and rejected == []


def test_errors_are_returned_kept_and_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    replies = Recorder(Echo(bad=["b"]), path).complete(prompts("a", "b", "b"))
    assert [r.finish for r in replies] == ["stop", "error", "error"]
    assert json.loads(path.read_text().splitlines()[1])["error"] == "HTTP 500: it broke: twice"
    echo = Echo()
    assert [r.text for r in Recorder(echo, path).complete(prompts("a", "b"))] == ["A", "B"]
    assert echo.asked == [["b"]]


def test_a_bad_line_in_the_middle_is_told_and_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = recorded(tmp_path / "r.jsonl", "a", "b", "c")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "{bad\n" + lines[2])
    echo = Echo()
    assert [r.text for r in Recorder(echo, path).complete(prompts("a", "b", "c"))] == ["A", "B", "C"]
    assert echo.asked == [["b"]] and "r.jsonl, line 2: not JSON" in caplog.text


def test_replay_gives_what_was_recorded(tmp_path: Path) -> None:
    path = recorded(tmp_path / "r.jsonl", "b", "a", "long", "küche\u2028")
    pack(path, tmp_path / "rec", {"model": "echo", "seed": 3})
    replay = Replay(tmp_path / "rec")
    assert (replay.model, replay.provenance["seed"], replay.rejected) == ("echo", 3, [])
    asked = prompts("a", "long", "a", "küche\u2028")
    assert replay.complete(asked) == Echo().complete(asked)
    assert replay.complete([]) == []


def test_what_a_recording_lacks_is_an_error_with_how_many_and_how_to_record(tmp_path: Path) -> None:
    pack(recorded(tmp_path / "r.jsonl", "a"), tmp_path / "rec", {"model": "echo"})
    with pytest.raises(BackendError, match="2 of 3 prompts are not in the recording .*make record BACKEND="):
        Replay(tmp_path / "rec").complete(prompts("a", "b", "c", "b"))


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    pack(recorded(tmp_path / "r.jsonl", "a"), tmp_path / "rec", {"model": "echo"})
    wrong = [{k: v for k, v in GOOD.items() if k != key} for key in GOOD]
    wrong += [{**GOOD, key: [5]} for key in GOOD] + [{**GOOD, "new_tokens": -1}, {**GOOD, "latency_s": float("nan")}]
    wrong += [{**GOOD, "finish": "error"}, {**GOOD, "error": "late"}, {**GOOD, "model": "other"}]
    bad = [b"{bad", b"[1]", b"\xff", *(json.dumps(row).encode() for row in wrong)]
    data = b"\n".join([json.dumps(GOOD).encode(), *bad]) + b"\n"
    (tmp_path / "rec" / "replies.jsonl.xz").write_bytes(lzma.compress(data))
    rejected = Replay(tmp_path / "rec").rejected
    places = [f"replies.jsonl.xz, line {i + 2}" for i in range(len(bad))]
    assert [reason.partition(":")[0] for reason in rejected] == places


def test_recordings_that_cannot_be_read_are_one_error(tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    with pytest.raises(BackendError, match=r"rec: provenance.json: not readable .*make record"):
        Replay(folder)
    pack(recorded(tmp_path / "r.jsonl", *[f"w{i}" for i in range(50)]), folder, {"model": "echo"})
    with pytest.raises(BackendError, match="a recording of 'echo', not of 'other'"):
        Replay(folder, model="other")
    file = folder / "replies.jsonl.xz"
    whole = file.read_bytes()
    for damaged in (whole[:-30], whole[:40] + b"\0\0\0\0" + whole[44:], b"plain text", b""):
        file.write_bytes(damaged)
        with pytest.raises(BackendError, match=r"replies.jsonl.xz: damaged or cut off .*make record"):
            Replay(folder)
    file.unlink()
    with pytest.raises(BackendError, match="replies.jsonl.xz: cannot be read"):
        Replay(folder)
    for text in ("{", "[]", '{"model": 5}', "{}"):
        (folder / "provenance.json").write_text(text)
        with pytest.raises(BackendError, match="provenance.json: (not readable|a recording of)"):
            Replay(folder)


def test_packing_gives_equal_bytes_whatever_the_order(tmp_path: Path) -> None:
    pack(recorded(tmp_path / "1.jsonl", "a", "b", "c"), tmp_path / "1", {"model": "echo"})
    pack(recorded(tmp_path / "2.jsonl", "c", "b", "a"), tmp_path / "2", {"model": "echo"})
    for name in ("replies.jsonl.xz", "provenance.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    rows = lzma.decompress((tmp_path / "1" / "replies.jsonl.xz").read_bytes()).splitlines()
    assert [json.loads(row)["key"] for row in rows] == sorted(keys("a", "b", "c"))
    assert list(json.loads(rows[0])) == list(GOOD)


def test_only_kept_keys_are_packed(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    Recorder(Echo(bad=["bad"]), path).complete(prompts("a", "private", "bad"))
    pack(path, tmp_path / "rec", {"model": "echo"}, keep=set(keys("a", "bad", "never asked")))
    text = lzma.decompress((tmp_path / "rec" / "replies.jsonl.xz").read_bytes()).decode()
    assert len(text.splitlines()) == 2 and "PRIVATE" not in text and "it broke" not in text
    assert keys("private")[0] not in text


def test_failures_are_replayed_by_their_reason(tmp_path: Path) -> None:
    path, asked = tmp_path / "r.jsonl", prompts("a", "bad", "later good", "b")
    Recorder(Echo(bad=["bad", "later good"]), path).complete(asked)
    replies = Recorder(Echo(bad=["bad"]), path).complete(asked)
    pack(path, tmp_path / "rec", {"model": "echo"})
    replay = Replay(tmp_path / "rec")
    assert replay.complete(asked) == [replace(r, error=r.error.partition(":")[0]) for r in replies]
    assert [r.error for r in replay.complete(asked)] == ["", "HTTP 500", "", ""]


def test_a_reply_that_utf8_cannot_hold_does_not_stop_a_recording(tmp_path: Path) -> None:
    class Odd(Echo):
        def reply(self, text: str) -> Reply:
            return Reply("caf\ud800", self.model)

    Recorder(Odd(), tmp_path / "r.jsonl").complete(prompts("a"))
    assert Recorder(Echo(limit=0), tmp_path / "r.jsonl").complete(prompts("a"))[0].text == "caf?"
