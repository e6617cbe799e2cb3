"""Recording a teacher and reading it again: whole, resumable, without a sentence of others, and honest about damage."""

from __future__ import annotations

import io
import json
import lzma
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_chat import Rule
from toy_recording import PARAMETERS, make, reply, session, student, task

from lib.core.files import RecordError, read_jsonl, sha256, write_jsonl
from lib.data import label, record
from lib.data.recording import READINGS, SETS, Recording, letters
from lib.llm.types import BackendError, Prompt, Reply
from lib.model.student import StudentError
from lib.model.torch_student import TorchStudent

SENTENCE = "would some kind soul illuminate the broom cupboard"
TAKEN = ("pipeline", "pipeline sample 2", "judge")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording")
    make(path / "out", path / "work")
    return path


def test_replaying_gives_what_was_recorded(folder: Path) -> None:
    recording = Recording.read(task(folder / "out"))
    candidates, verdicts = recording.candidates()
    assert len({c.extra["seed"] for c in candidates}) == PARAMETERS["seeds"]
    assert len(candidates) == 2 * PARAMETERS["seeds"]
    assert 0 < len(verdicts) < len(candidates), "every second candidate is judged"
    assert {row["system"] for row in recording.votes_on(candidates)} == {"pipeline", "student"}
    assert len(recording.provenance["sessions"]) == 1
    assert recording.provenance["model"] == "rule" and recording.provenance["parameters"]["seeds"] == 12
    assert len({c.extra["seed"] for c in recording.candidates(5)[0]}) == 5


def test_a_recording_that_was_cut_off_asks_only_for_the_rest(folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    lines = (folder / "work" / "replies.jsonl").read_bytes().split(b"\n")
    (work / "replies.jsonl").write_bytes(b"\n".join(lines[:10]) + b"\n" + lines[10][:20])
    _, backend = make(tmp_path / "out", work)
    _, whole = make(tmp_path / "other", tmp_path / "fresh")
    assert len(backend.asked) == len(whole.asked) - 10
    for name in ("replies.jsonl.xz", READINGS, *(f"{s}.jsonl.xz" for s in SETS)):
        left, right = (lzma.decompress((tmp_path / side / name).read_bytes()) for side in ("out", "other"))
        assert left == right, name


def test_a_recording_is_extended_by_the_same_model_only(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    _, backend = make(out, tmp_path / "more", seeds=14)
    writing = [p for p in backend.asked if p.temperature > 0.8]
    assert len(writing) == 2, "12 of the 14 seeds were written before"
    assert len(Recording.read(task(out)).candidates()[0]) == 28
    other = Rule(reply)
    other.model = "another"
    session(out, tmp_path / "other", other).run()
    assert sum(p.temperature > 0.8 for p in other.asked) == 12


def others(folder: Path, *sentences: str) -> str:
    """A folder of tests by others, one request each."""
    folder.mkdir()
    home = {"areas": [{"name": "Broom Cupboard", "floor": None}], "entities": []}
    (folder / "homes.json").write_text(json.dumps({"h": home}))
    rows = [{"id": f"x{i}", "text": s, "home": "h", "area": None, "effects": {}} for i, s in enumerate(sentences)]
    (folder / "assist_mini.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def committed(folder: Path) -> str:
    """Everything that a recording's files say."""
    data = [lzma.decompress(p.read_bytes()) if p.suffix == ".xz" else p.read_bytes() for p in folder.iterdir()]
    return b"\n".join(data).decode().casefold()


def echo(prompt: Prompt) -> str | Reply:
    """Repeats a request in a call's text, and writes a sentence of others for a seed."""
    said = prompt.messages[-1][1].splitlines()
    if prompt.temperature > 0.8:
        return f"1. {SENTENCE}\n{said[0]} for me"
    return f"HassBroadcast(message= {SENTENCE})" if any(SENTENCE in line for line in said) else "{}"


def test_no_sentence_of_others_is_kept(tmp_path: Path) -> None:
    systems = ["pipeline", "one-stage few-shot"]
    drawn = task(tmp_path).teacher_set(6, 1, 80, 1)
    tested = [SENTENCE, drawn.seeds[2].text, drawn.pool[3].text, drawn.tests[4].text]
    folder = others(tmp_path / "others", *tested)
    make(tmp_path / "out", tmp_path / "work", echo, third_party=folder, seeds=6, systems=systems)
    rows = read_jsonl(tmp_path / "out" / "predictions.jsonl.xz")
    assert {r["system"] for r in rows} == set(systems) and {r["id"] for r in rows} == {"x0", "x1", "x2", "x3"}
    assert any(r["redacted"] for r in rows), "the sentence in the call's text"
    kept = committed(tmp_path / "out")
    assert not [sentence for sentence in tested if f'"{sentence.casefold()}"' in kept or SENTENCE in kept]
    whole = Recording.read(task(tmp_path / "out"))
    assert [c.text for c in whole.candidates()[0]] and len(whole.set.seeds) < 6


def test_a_reader_is_never_shown_the_seed_or_a_test(folder: Path) -> None:
    whole = Recording.read(task(folder / "out")).set
    shown, asked = ({letters(e.text) for e in rows} for rows in (whole.pool, [*whole.seeds, *whole.tests]))
    assert shown and asked and not shown & asked


def test_a_killed_recording_leaves_nothing_half_written_and_goes_on(tmp_path: Path) -> None:
    folder = others(tmp_path / "others", SENTENCE)

    def killed(prompt: Prompt) -> str | Reply:
        if any(SENTENCE in text for _, text in prompt.messages):
            raise KeyboardInterrupt
        return reply(prompt)

    arguments = {"third_party": folder, "seeds": 2, "systems": ["one-stage few-shot"]}
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", tmp_path / "work", killed, **arguments)
    assert not (tmp_path / "out").exists(), "nothing half-written"
    _, backend = make(tmp_path / "out", tmp_path / "work", **arguments)
    assert all(p.temperature <= 0.8 for p in backend.asked), "what was written is not asked again"
    assert read_jsonl(tmp_path / "out" / "predictions.jsonl.xz")[0]["calls"] == []


def test_damage_does_not_keep_one_from_recording_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    (out / "replies.jsonl.xz").write_bytes(b"torn")
    (out / "labels.jsonl").write_text('{"id": "a"}\n')
    make(out, tmp_path / "work", seeds=2)
    assert Recording.read(task(out)).candidates()[0]
    assert (out / "labels.jsonl").read_text() == '{"id": "a"}\n', "labels are kept"


def test_changed_prompts_are_a_miss_that_says_how_to_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording.read(task(folder / "out"))
    monkeypatch.setitem(recording.provenance["parameters"], "count", 3)
    with pytest.raises(BackendError, match="12 of 12 prompts.*make record BACKEND="):
        recording.candidates()


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (folder / "out").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "seeds.jsonl.xz").write_bytes((copy / "seeds.jsonl.xz").read_bytes()[:60])
    with pytest.raises(RecordError, match=r"seeds\.jsonl\.xz: damaged or cut off"):
        Recording.read(task(copy))


def test_wrong_parameters_and_backends_stop_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params, good = tmp_path / "record.yaml", {**PARAMETERS, "students": {"a": student()}}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"samplez": 5}, "record.yaml: unknown parameter 'samplez'; did you mean 'samples'?"),
        ({"chunk": 0}, "record.yaml: chunk: "),
        ({"task": ""}, "record.yaml: task: "),
        ({"students": {"a": "nowhere.gguf"}}, "record.yaml: students: a: no such file: nowhere.gguf"),
        ({"students": {"a": student(), "b": ""}}, "students: b: no such file: none is named"),
        *(({"students": {name: student()}}, f"'{name}' is the name of another verifier") for name in TAKEN),
    ]
    for changed, told in wrong:
        params.write_text(json.dumps({**good, **changed}))
        assert record.main(["--backend", "replay", "--params", str(params), "--work", str(tmp_path)]) == 1
        assert told in capsys.readouterr().err
    params.write_text(json.dumps(good))
    assert record.main(["--backend", "opnai:m@http://x", "--params", str(params), "--work", str(tmp_path)]) == 1
    assert "did you mean 'openai'?" in capsys.readouterr().err


def test_a_student_that_is_broken_stops_before_any_work(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(student(), broken)
    (broken / "model.safetensors").write_bytes(b"torn")
    backend = Rule(reply)
    students = {"a": student(), "b": str(broken)}
    with pytest.raises(StudentError, match="broken"):
        session(tmp_path / "out", tmp_path / "work", backend, students=students).run()
    assert not backend.asked


def test_another_student_reads_too_and_the_teacher_is_not_asked_again(tmp_path: Path) -> None:
    both, arguments = {"student": student(), "big one": student()}, {"seeds": 4, "systems": ["one-stage few-shot"]}
    make(tmp_path / "out", tmp_path / "work", **arguments)
    _, backend = make(tmp_path / "out", tmp_path / "work", students=both, **arguments, chunk=3)
    made = Recording.read(task(tmp_path / "out"))
    rows = made.votes_on(made.candidates()[0])
    assert Counter(row["system"] for row in rows) == {"pipeline": 8, "student": 8, "big one": 8} and not backend.asked
    assert {row["system"] for row in rows if "confidence" in row} == set(both)
    assert made.provenance["readers"] == dict.fromkeys(both, sha256(Path(student())))
    assert len(made.provenance["sessions"]) == 2


def test_a_killed_reading_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer_many = list[str](), TorchStudent.answer_many

    def killed(system: Any, requests: Any) -> Any:
        if len(asked) >= 4:
            raise KeyboardInterrupt
        asked.extend(text for text, _ in requests)
        return answer_many(system, requests)

    arguments: dict[str, Any] = {"seeds": 4, "systems": ["one-stage few-shot"], "read_every": 0, "chunk": 1}
    monkeypatch.setattr(record, "BATCH", 4)
    monkeypatch.setattr(TorchStudent, "answer_many", killed)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "out", tmp_path / "work", **arguments)
    before = len(asked)
    monkeypatch.setattr(TorchStudent, "answer_many", lambda s, r: asked.extend(t for t, _ in r) or answer_many(s, r))
    make(tmp_path / "out", tmp_path / "work", **arguments)
    assert 0 < before < len(asked) == len(Recording.read(task(tmp_path / "out")).readings) == 8


def test_answers_are_resumed_only_with_the_same_model_prompts_and_pool(tmp_path: Path) -> None:
    def given(**changed: Any) -> list[Any]:
        return session(tmp_path, tmp_path, Rule(reply), **changed)._given

    assert given() == given(seeds=3) != given(pool=40)
    assert len(given()[1]) > 1, "digests of all files of prompts"


def test_labels_are_kept_answer_by_answer_and_not_asked_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(folder / "out", tmp_path / "out")
    recording = Recording.read(task(out))
    candidates, _ = recording.candidates()
    rows = label.sample(candidates, 6, {})
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nwhat\nn\nq\n"))
    assert label.ask(rows, "filter", out / "labels.jsonl") == 2
    assert rows[0].text in capsys.readouterr().out
    recording.labels = read_jsonl(out / "labels.jsonl")
    known = recording.labelled(candidates, "filter")
    assert list(known.values()) == [True, False] and recording.labelled(candidates, "accepted") == {}
    assert [c.id for c in label.sample(candidates, 6, known)] == [c.id for c in rows[2:]]


def test_labelling_takes_what_the_run_accepted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(folder / "out", tmp_path / "out")
    accepted = Recording.read(task(out)).candidates()[0][:3]
    write_jsonl(
        tmp_path / "02_accepted.jsonl", [e.to_dict() for e in [*accepted, replace(accepted[0], source="program")]]
    )
    values = {"task": "home", "teacher_seeds": 0}
    monkeypatch.setattr(label.params, "load", lambda notebook, profile: values)
    monkeypatch.setattr(label, "load", lambda name: task(out))
    monkeypatch.setattr(label.paths, "run_dir", lambda profile: tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert label.main(["--kind", "accepted", "--count", "4"]) == 0
    assert "1 labelled, 2 left" in capsys.readouterr().out
    assert {row["id"] for row in read_jsonl(out / "labels.jsonl")} <= {c.id for c in accepted}
