"""Recordings: asked once, kept at once, resumed after a kill, packed the same, replayed, and never silently wrong."""

import json
import lzma
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lib.llm.replay import Packed, Recorder, Replay, ReplayMiss, pack
from lib.llm.rows import read_rows, to_line
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
    assert recorder.model == "echo"
    again = Recorder(Echo(limit=0), tmp_path / "new" / "r.jsonl")
    assert again.complete(prompts("a", "küche\n✓", "long"[:0] + "c")) == [
        Echo().reply(t) for t in ("a", "küche\n✓", "c")
    ]
    assert (again.counts.asked, again.counts.recorded) == (0, 3)


def test_interruption_loses_at_most_a_chunk(tmp_path: Path) -> None:
    texts = [f"w{i}" for i in range(10)]
    with pytest.raises(KeyboardInterrupt):
        Recorder(Echo(limit=7), tmp_path / "r.jsonl", chunk=3).complete(prompts(*texts))
    echo = Echo()
    recorder = Recorder(echo, tmp_path / "r.jsonl", chunk=3)
    assert [r.text for r in recorder.complete(prompts(*texts))] == [t.upper() for t in texts]
    assert echo.asked == [["w6", "w7", "w8"], ["w9"]]
    assert (recorder.counts.asked, recorder.counts.recorded) == (4, 6)


@pytest.mark.parametrize("torn", ['{"key": "0f", "te', '{"key": "é'])
def test_a_torn_last_line_is_dropped_and_asked_again(tmp_path: Path, torn: str) -> None:
    path = recorded(tmp_path / "r.jsonl", "a", "b")
    path.write_bytes(path.read_bytes() + torn.encode()[:-1])
    echo = Echo()
    Recorder(echo, path).complete(prompts("a", "b", "c"))
    assert echo.asked == [["c"]]
    rows, rejected = read_rows(path.read_bytes().split(b"\n"), "r")
    assert [reply.text for _, reply in rows] == ["A", "B", "C"]
    assert rejected == []


def test_errors_are_returned_counted_kept_and_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    recorder = Recorder(Echo(bad=["b"]), path)
    replies = recorder.complete(prompts("a", "b", "b"))
    assert [r.finish for r in replies] == ["stop", "error", "error"]
    assert recorder.counts.errors == {"HTTP 500": 1}
    assert json.loads(path.read_text().splitlines()[1])["error"] == "HTTP 500: it broke: twice"
    echo = Echo()
    assert [r.text for r in Recorder(echo, path).complete(prompts("a", "b"))] == ["A", "B"]
    assert echo.asked == [["b"]]
    assert pack(path, tmp_path / "packed", {"model": "echo"}) == Packed(2, 0, 0, [])


def test_a_bad_line_in_the_middle_is_told_and_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = recorded(tmp_path / "r.jsonl", "a", "b", "c")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "{bad\n" + lines[2])
    echo = Echo()
    assert [r.text for r in Recorder(echo, path).complete(prompts("a", "b", "c"))] == ["A", "B", "C"]
    assert echo.asked == [["b"]]
    assert "r.jsonl, line 2: not JSON" in caplog.text


def test_replay_gives_what_was_recorded(tmp_path: Path) -> None:
    path = recorded(tmp_path / "r.jsonl", "b", "a", "long", "küche\u2028")
    assert pack(path, tmp_path / "rec", {"model": "echo", "seed": 3}) == Packed(4, 0, 0, [])
    replay = Replay(tmp_path / "rec")
    assert (replay.model, replay.provenance["seed"], len(replay), replay.rejected) == ("echo", 3, 4, [])
    asked = prompts("a", "long", "a", "küche\u2028")
    assert replay.complete(asked) == Echo().complete(asked)
    assert replay.complete([]) == []


def test_replay_miss_says_how_many_and_how_to_record(tmp_path: Path) -> None:
    pack(recorded(tmp_path / "r.jsonl", "a"), tmp_path / "rec", {"model": "echo"})
    with pytest.raises(ReplayMiss, match=r"2 of 3 prompts .*'echo'.*changed since .*make record BACKEND=") as raised:
        Replay(tmp_path / "rec").complete(prompts("a", "b", "c", "b"))
    assert (raised.value.missing, raised.value.total) == (2, 3)
    assert isinstance(raised.value, BackendError)
    changed = [replace(prompts("a")[0], seed=1)]
    with pytest.raises(ReplayMiss, match="1 of 1"):
        Replay(tmp_path / "rec").complete(changed)


GOOD = json.loads(to_line("k", Reply("A", "echo", 5, 2, 1, 0.25)))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{bad", "not JSON"),
        ("[1]", "expected an object, got list"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "text"}), "'text' is missing"),
        (json.dumps({**GOOD, "text": None}), "'text' is NoneType None"),
        (json.dumps({**GOOD, "new_tokens": "3"}), "'new_tokens' is str '3'"),
        (json.dumps({**GOOD, "new_tokens": True}), "'new_tokens' is bool True"),
        (json.dumps({**GOOD, "prompt_tokens": -1}), "'prompt_tokens' is -1"),
        (json.dumps({**GOOD, "latency_s": float("nan")}), "'latency_s' is nan"),
        (json.dumps({**GOOD, "finish": "done"}), "finish 'done' with error ''"),
        (json.dumps({**GOOD, "finish": "error"}), "finish 'error' with error ''"),
        (json.dumps({**GOOD, "error": 5}), "with error 5"),
        (json.dumps({**GOOD, "model": "other"}), "a reply of 'other', not of 'echo'"),
        ("\xff", "not JSON"),
    ],
)
def test_a_corrupt_line_is_rejected_with_its_reason_and_no_other(tmp_path: Path, line: str, reason: str) -> None:
    folder = tmp_path / "rec"
    pack(recorded(tmp_path / "r.jsonl", "a", "b"), folder, {"model": "echo"})
    whole = lzma.decompress((folder / "replies.jsonl.xz").read_bytes()).splitlines(keepends=True)
    bad = line.encode("latin-1") + b"\n"
    (folder / "replies.jsonl.xz").write_bytes(lzma.compress(whole[0] + b"\n" + bad + whole[1]))
    replay = Replay(folder)
    assert len(replay.complete(prompts("a", "b"))) == 2
    assert len(replay.rejected) == 1
    assert replay.rejected[0].startswith("replies.jsonl.xz, line 3: ")
    assert reason in replay.rejected[0]


def test_unreadable_recordings_are_one_error(tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    with pytest.raises(BackendError, match=r"rec/provenance.json: cannot be read \(No such file.*make record"):
        Replay(folder)
    pack(recorded(tmp_path / "r.jsonl", *[f"w{i}" for i in range(50)]), folder, {"model": "echo"})
    with pytest.raises(BackendError, match="a recording of 'echo', not of 'other'"):
        Replay(folder, model="other")
    assert len(Replay(folder, model="echo")) == 50
    file = folder / "replies.jsonl.xz"
    whole = file.read_bytes()
    for damaged in (whole[:-30], whole[:40] + b"\0\0\0\0" + whole[44:], b"plain text", b""):
        file.write_bytes(damaged)
        with pytest.raises(BackendError, match=r"rec/replies.jsonl.xz: damaged or cut off .*make record"):
            Replay(folder)
    file.unlink()
    with pytest.raises(BackendError, match="holds no replies.jsonl.xz"):
        Replay(folder)
    for text in ("{", "[]", '{"model": 5}', "{}"):
        (folder / "provenance.json").write_text(text)
        with pytest.raises(BackendError, match="provenance.json: cannot be read"):
            Replay(folder)


def test_several_files_are_one_recording(tmp_path: Path) -> None:
    for number, text in enumerate("abc"):
        pack(recorded(tmp_path / f"{number}.jsonl", text), tmp_path / "rec", {"model": "echo"})
        (tmp_path / "rec" / "replies.jsonl.xz").rename(tmp_path / "rec" / f"replies-{number}.jsonl.xz")
    assert [r.text for r in Replay(tmp_path / "rec").complete(prompts("c", "a", "b"))] == ["C", "A", "B"]


def test_packing_gives_equal_bytes_whatever_the_order(tmp_path: Path) -> None:
    pack(recorded(tmp_path / "1.jsonl", "a", "b", "c"), tmp_path / "1", {"model": "echo"})
    pack(recorded(tmp_path / "2.jsonl", "c", "b", "a"), tmp_path / "2", {"model": "echo"})
    for name in ("replies.jsonl.xz", "provenance.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "1").iterdir()) == ["provenance.json", "replies.jsonl.xz"]
    rows = lzma.decompress((tmp_path / "1" / "replies.jsonl.xz").read_bytes()).splitlines()
    assert [json.loads(row)["key"] for row in rows] == sorted(keys("a", "b", "c"))
    assert list(json.loads(rows[0])) == list(GOOD)


def test_only_kept_keys_are_packed(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    Recorder(Echo(bad=["bad"]), path).complete(prompts("a", "private", "bad"))
    with path.open("a") as file:
        file.write("{bad\n")
    packed = pack(path, tmp_path / "rec", {"model": "echo"}, keep=set(keys("a", "bad", "never asked")))
    assert (packed.rows, packed.errors, packed.left_out) == (2, 1, 1)
    assert packed.rejected[0].startswith("r.jsonl, line 4: not JSON")
    text = lzma.decompress((tmp_path / "rec" / "replies.jsonl.xz").read_bytes()).decode()
    assert "PRIVATE" not in text and "it broke" not in text
    assert keys("private")[0] not in text


def test_failures_are_replayed_by_their_reason(tmp_path: Path) -> None:
    path, asked = tmp_path / "r.jsonl", prompts("a", "bad", "later good", "b")
    Recorder(Echo(bad=["bad", "later good"]), path).complete(asked)
    replies = Recorder(Echo(bad=["bad"]), path).complete(asked)
    assert pack(path, tmp_path / "rec", {"model": "echo"}) == Packed(4, 1, 0, [])
    replay = Replay(tmp_path / "rec")
    assert replay.complete(asked) == [replace(r, error=r.error.partition(":")[0]) for r in replies]
    assert [r.error for r in replay.complete(asked)] == ["", "HTTP 500", "", ""]
    copy, echo = tmp_path / "new.jsonl", Echo()
    copy.write_bytes(lzma.decompress((tmp_path / "rec" / "replies.jsonl.xz").read_bytes()))
    again = Recorder(echo, copy)
    assert not any(r.error for r in again.complete(asked)) and echo.asked == [["bad"]]


def test_an_answer_in_one_file_beats_a_failure_in_another(tmp_path: Path) -> None:
    for number, bad in enumerate((["a"], [], ["a"])):
        plain = tmp_path / f"{number}.jsonl"
        Recorder(Echo(bad=bad), plain).complete(prompts("a"))
        pack(plain, tmp_path / "rec", {"model": "echo"})
        (tmp_path / "rec" / "replies.jsonl.xz").rename(tmp_path / "rec" / f"replies-{number}.jsonl.xz")
    assert Replay(tmp_path / "rec").complete(prompts("a")) == [Echo().reply("a")]


def test_a_pipeline_that_got_over_a_failure_is_replayed(tmp_path: Path) -> None:
    first, second = prompts("bad")[0], replace(prompts("bad")[0], seed=1)

    class Once(Echo):
        def complete(self, prompts: Sequence[Prompt]) -> list[Reply]:
            return [self.reply("bad" if p.seed == 0 else "good") for p in prompts]

    recorder = Recorder(Once(bad=["bad"]), tmp_path / "r.jsonl")
    replies = [recorder.complete([p])[0] for p in (first, second)]
    pack(recorder.path, tmp_path / "rec", {"model": "echo"}, keep=recorder.used)
    replayed = [Replay(tmp_path / "rec").complete([p])[0] for p in (first, second)]
    assert [(r.text, bool(r.error)) for r in replayed] == [(r.text, bool(r.error)) for r in replies]


def test_packing_refuses_a_provenance_that_is_not_the_replies(tmp_path: Path) -> None:
    path = recorded(tmp_path / "r.jsonl", "a")
    for provenance in ({}, {"model": "other"}):
        with pytest.raises(BackendError, match=r"r.jsonl: replies of .*the provenance names"):
            pack(path, tmp_path / "rec", provenance)
    with pytest.raises(BackendError, match="none.jsonl: cannot be read"):
        pack(tmp_path / "none.jsonl", tmp_path / "rec", {"model": "echo"})
    assert not (tmp_path / "rec").exists()


def test_a_reply_that_utf8_cannot_hold_does_not_stop_a_recording(tmp_path: Path) -> None:
    class Odd(Echo):
        def reply(self, text: str) -> Reply:
            return Reply("caf\ud800", self.model)

    Recorder(Odd(), tmp_path / "r.jsonl").complete(prompts("a"))
    assert Recorder(Echo(limit=0), tmp_path / "r.jsonl").complete(prompts("a"))[0].text == "caf?"
