"""The student: built from a base without changing what it keeps; batched decoding equals decoding one by one."""

import pytest
import torch
from toy_model import tiny_base, tiny_student
from toy_task import TASK, Vending, examples

from lib.core.task import Control
from lib.model import student as students
from lib.model.gguf_write import export
from lib.model.student import StudentError, keep_layers
from lib.model.torch_student import Prefix, TorchStudent, decode


@pytest.fixture(scope="module")
def student():
    return tiny_student()


def test_layers_are_spread_or_listed():
    assert keep_layers(30, 30) == list(range(30))
    assert keep_layers(4, 30) == [0, 10, 19, 29]
    assert keep_layers(1, 30) == [0]
    assert keep_layers([0, 3, 5], 6) == [0, 3, 5]
    for wrong in (0, 31, [3, 1], [], [30]):
        with pytest.raises(StudentError, match="layers"):
            keep_layers(wrong, 30)


def test_kept_weights_are_the_bases():
    base = tiny_base(layers=6)
    student = students.build(TASK, base, vocab_size=400, layers=[1, 4])
    old, new = base.model.state_dict(), student.model.state_dict()
    torch.testing.assert_close(new["model.layers.1.mlp.up_proj.weight"], old["model.layers.4.mlp.up_proj.weight"])
    comma = base.tokenizer["model"]["vocab"][","]
    torch.testing.assert_close(
        new["model.embed_tokens.weight"][student.vocabulary.controls[","]], old["model.embed_tokens.weight"][comma]
    )
    assert student.info["layers"] == [1, 4]
    assert student.model.lm_head.weight is student.model.model.embed_tokens.weight


def test_new_controls_differ_and_are_finite(student):
    rows = student.model.get_input_embeddings().weight
    refs = rows[[student.vocabulary.controls[f"={i}"] for i in range(1, 7)]]
    distances = torch.cdist(refs, refs) + torch.eye(len(refs)) * 9
    assert distances.min() > 0.01
    assert torch.isfinite(rows).all()


def test_build_is_repeatable():
    first, second = tiny_student().model.state_dict(), tiny_student().model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_saved_student_is_the_same(student, tmp_path, kind):
    path = students.save(student, tmp_path / "student")
    if kind == "gguf":
        path = export(path, tmp_path / "student.gguf", "f16")
    assert students.is_student(str(path))
    loaded = students.load(path)
    ids = torch.tensor([student.vocabulary.encode([Control("=2"), " tea", Control("Give(")])])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids).logits, student.model(ids).logits, atol=2e-2, rtol=0)
    assert loaded.vocabulary.controls == student.vocabulary.controls
    assert loaded.info["task"] == "tests.toy_task"


def test_a_student_of_fewer_controls_gets_the_others_and_reads_as_before(student, tmp_path):
    class More(Vending):
        def controls(self):
            return ["Explode(", *super().controls()]

    assert students.updated(student, TASK) is student
    grown = students.start(More(), str(students.save(student, tmp_path / "student")), 400, 4)
    assert len(grown.vocabulary) == len(student.vocabulary) + 1 and "Explode(" in grown.info["controls"]
    ids = student.vocabulary.encode([Control("=2"), " tea", Control("Give(")])
    assert grown.vocabulary.encode([Control("=2"), " tea", Control("Give(")]) == ids
    with torch.no_grad():
        before, after = (s.model(torch.tensor([ids])).logits for s in (student, grown))
    torch.testing.assert_close(after[..., :-1], before, atol=2e-2, rtol=0)


def test_damaged_or_foreign_student_is_an_error(student, tmp_path):
    path = students.save(student, tmp_path / "student")

    class Other(Vending):
        name = "other"

    class More(Vending):
        def controls(self):
            return [*super().controls(), "Explode("]

    with pytest.raises(StudentError, match="tests.toy_task"):
        students.start(Other(), str(path), 400, 4)
    with pytest.raises(StudentError, match="Explode"):
        TorchStudent(student, More())
    (path / "student.json").write_text("{")
    with pytest.raises(StudentError, match="not a whole student"):
        students.load(path)


def test_cut_off_weights_are_an_error_that_names_the_file(student, tmp_path):
    weights = students.save(student, tmp_path / "student") / "model.safetensors"
    whole = weights.read_bytes()
    for length in (0, 5, 1000, len(whole) - 1):
        weights.write_bytes(whole[:length])
        with pytest.raises(StudentError, match="model.safetensors: not a whole student .*train it again"):
            students.load(tmp_path / "student")


def test_batches_answer_as_single_requests_do(student):
    requests = [(e.text, e.context) for group in examples(3, 4) for e in group]
    single = TorchStudent(student, TASK, batch=1, max_new=10).answer_many(requests)
    together = TorchStudent(student, TASK, batch=8, max_new=10).answer_many(requests)
    assert [a.raw for a in together] == [a.raw for a in single]
    for one, other in zip(single, together, strict=True):
        assert one.confidence == pytest.approx(other.confidence, rel=1e-3)
        assert 0 <= one.confidence <= 1


def test_greedy_agrees_with_transformers(student):
    prompt = TorchStudent(student, TASK).codec.prompt({"items": ["Tea", "Gum"]}, "one tea please")
    end = student.vocabulary.end
    expected = student.model.generate(torch.tensor([prompt.ids]), max_new_tokens=12, do_sample=False)
    expected = expected[0, len(prompt.ids) :].tolist()
    padded = [prompt.ids, student.vocabulary.encode_text("x") + prompt.ids]
    for prefix, rest in ((prompt.prefix, [prompt.request]), ([], padded)):
        found = decode(student.model, Prefix.read(student.model, prefix), rest, {end}, [12] * len(rest))
        assert found[0].ids == expected


def test_an_answer_that_does_not_parse_is_empty_with_its_error(student):
    answer = TorchStudent(student, TASK, max_new=3).answer("one tea please", {"items": ["Tea"]})
    assert answer.calls == []
    assert answer.error
    assert answer.new_tokens <= 3
