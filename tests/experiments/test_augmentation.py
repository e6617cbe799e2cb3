"""A small model writes in the teacher's stead: it learns from one half of the seeds and is compared on the other."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from toy_recording import make, task

from lib import augment
from lib.core.files import read_jsonl
from lib.core.task import Answer
from lib.data.recording import GOLD, Recording, in_share, text_digest
from lib.evaluation.prices import load_prices
from lib.experiments import augmentation
from lib.experiments.augmentation import SOURCE, Augmentation, Paraphrasing, Study, store
from lib.llm.types import Prompt
from lib.model import student as students
from lib.training.params import TrainingError


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    training = {"base": "", "vocab_size": 400, "layers": 1, "row_tokens": 256, "max_steps": 2, "precision": "fp32"}
    known = yaml.safe_load(augment.PARAMS.read_text(encoding="utf-8"))
    known |= {"students": {"student": "."}, "rule": [["student"]], "count": 3, "max_new": 8, "third_party": ""}
    return {**known, "training": {**training, "base": str(base_of(tmp_path))}}


def base_of(folder: Path) -> Path:
    """A plain llama's folder, from which a student with another vocabulary can be built."""
    import json

    from toy_model import tiny_base

    base, place = tiny_base(1), folder / "base"
    base.model.save_pretrained(place)
    (place / "tokenizer.json").write_text(json.dumps(base.tokenizer))
    return place


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """The toy recording, of which the verifier reached every candidate's calls."""
    make(tmp_path / "recorded", tmp_path / "work")
    found = Recording.read(task(tmp_path / "recorded"))
    facts = {"system": "student", "calls": GOLD, "confidence": 1.0}
    found.readings = [{"id": c.id, "digest": text_digest(c), **facts} for c in found.candidates()[0]]
    return found


class Right:
    """A verifier that reaches the calls of every second text."""

    name = "student"

    def __init__(self, candidates: list[Any]) -> None:
        self.gold = {c.text: c.gold[0] for c in candidates[::2]}

    def answer(self, text: str, context: dict[str, Any]) -> Answer:
        return Answer(self.gold.get(text, []), confidence=1.0)


def test_both_are_filtered_and_priced(
    settings: dict[str, Any], recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, inner, made = (
        Study(recording, Augmentation.read(settings, ""), load_prices(), tmp_path),
        augmentation.write,
        [],
    )

    def spoken(writer: Any, seeds: Any, backend: Any, count: int) -> Any:
        """What the untrained model writes, then words that no fault rules out."""
        found = inner(writer, seeds, backend, count)
        assert all(len([c for c in found if c.extra["seed"] == seed.id]) <= count for seed in seeds)
        for seed in seeds:
            own = next(c for c in found if c.extra["seed"] == seed.id)
            made.append(augmentation.replace(own, id=f"{seed.id}/9", text=f"now {seed.text}"))
        return made

    monkeypatch.setattr(augmentation, "write", spoken)
    monkeypatch.setattr(Study, "verifiers", lambda self: iter([Right(made)]))
    teacher, own = sides = study.run()
    held = {seed.id for seed in recording.set.seeds if not in_share(seed, 2)}
    for side in sides:
        assert {e.extra["seed"] for e in (*side.found.kept, *side.found.dropped)} <= held
    assert own.found.kept and {e.source for e in own.found.kept} == {SOURCE} and own.tokens > 0
    assert teacher.usd > 0 and own.usd > 0 and own.seconds is not None and own.seconds > 0
    table = store(sides, recording, tmp_path / "run", tmp_path / "out")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "table.csv"), table, check_dtype=False)
    assert list(table["accepted"]) == [len(s.found.kept) for s in sides]
    assert table["usd_per_1000"][1] == pytest.approx(own.usd / len(own.found.kept) * 1000)
    assert len(read_jsonl(tmp_path / "run" / augmentation.WRITTEN)) == len(own.found.kept)
    contexts = recording.task.contexts(tmp_path / "run" / augmentation.CONTEXTS)
    assert recording.task.resolve(own.found.kept, contexts)


def test_the_small_model_is_asked_in_the_seeds_words_and_style(settings: dict[str, Any]) -> None:
    known = Augmentation.read(settings, "")
    paraphrasing = Paraphrasing(["short", "plain"], ["make it dark in here"])
    student = students.start(paraphrasing, settings["training"]["base"], 400, 1)  # type: ignore[arg-type]
    asked = [Prompt.of(style, text) for text in ("turn it on", "lights off please") for style in ("plain", "short")]
    backend = augmentation.Augmenter(student, paraphrasing, known)
    replies = backend.complete(asked)
    assert len(replies) == 4 and all(0 < r.new_tokens <= 3 * 8 and r.prompt_tokens > 3 for r in replies)
    assert [r.text for r in replies] == [r.text for r in backend.complete(asked)]
    assert all(line.strip() and len(r.text.splitlines()) <= 3 for r in replies for line in r.text.splitlines())


def test_without_a_line_to_learn_from_it_ends(settings: dict[str, Any], recording: Recording, tmp_path: Path) -> None:
    recording.readings = []
    with pytest.raises(TrainingError, match="no examples to train on"):
        Study(recording, Augmentation.read(settings, ""), load_prices(), tmp_path).run()


def test_a_verifier_that_is_not_there_is_named(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for change, message in (
        ({"students": {"student": "absent"}}, "students: student: no student at 'absent'"),
        ({"rule": []}, "rule: "),
        ({"runs": "gpu"}, "unknown parameter 'runs'; did you mean 'run'"),
    ):
        (tmp_path / "p.yaml").write_text(yaml.safe_dump({**settings, **change}))
        assert augment.main(["--params", str(tmp_path / "p.yaml")]) == 1
        assert message in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_the_shipped_parameters_are_good() -> None:
    assert Augmentation.read(yaml.safe_load(augment.PARAMS.read_text(encoding="utf-8")), "augment.yaml").count == 4
