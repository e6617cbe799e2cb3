"""Packed rows: the same logits as unpacked prompts, every example once an epoch, numbered anew, within the budget."""

import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from toy_model import tiny_student
from toy_task import TASK, examples

from lib.core.task import Example
from lib.model.codec import Codec
from lib.model.vocabulary import Vocabulary, byte_tokenizer
from lib.tasks import load
from lib.tasks.home.language.references import CANDIDATES
from lib.training.packing import IGNORED, Block, Packer, Segment, collate, pack, visible
from lib.training.params import TrainingError


@pytest.fixture(scope="module")
def student():
    return tiny_student(layers=3)


@pytest.fixture(scope="module")
def codec(student):
    return Codec(TASK, student.vocabulary)


def packer(codec, groups, max_tokens=300, seed=0):
    return Packer(codec, groups, max_tokens, seed)


def forward(student, rows):
    batch = collate(rows, student.vocabulary.end)
    inputs = {name: batch[name] for name in ("input_ids", "position_ids")}
    return batch, student.model(**inputs, attention_mask=visible(batch["blocks"], batch["segments"])).logits


def test_packed_logits_equal_unpacked_ones(student, codec):
    packed = packer(codec, examples(4, 5, items=4) + examples(2, 4, items=8, seed=1))
    rows = list(packed.epoch())
    with torch.no_grad():
        _, logits = forward(student, rows)
        for r, row in enumerate(rows):
            at = 0
            for block in row:
                at += len(block.prefix)
                for segment in block.segments:
                    alone = student.model(torch.tensor([block.prefix + segment.ids])).logits[0, len(block.prefix) :]
                    torch.testing.assert_close(logits[r, at : at + len(segment.ids)], alone, atol=1e-4, rtol=1e-4)
                    at += len(segment.ids)


def test_one_row_of_eight_equals_eight_rows_of_one(student, codec):
    [block] = packer(codec, examples(1, 8)).row(0)
    assert len(block.segments) == 8
    gradients = []
    for rows in ([[block]], [[Block(block.prefix, [s])] for s in block.segments]):
        student.model.zero_grad()
        batch, logits = forward(student, rows)
        labels = batch["labels"][:, 1:]
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        loss.backward()
        gradients.append((loss.detach(), student.model.get_input_embeddings().weight.grad.clone()))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_only_answers_are_trained_on(student, codec):
    example = examples(1, 1)[0][0]
    [block] = packer(codec, [[example]]).row(0)
    batch = collate([[block]], student.vocabulary.end)
    trained = batch["labels"][batch["labels"] != IGNORED].tolist()
    assert trained[-1] == student.vocabulary.end
    number = codec.read(trained, codec.prompt(example.context, example.text).refs)
    assert number.raw.startswith(("Give(item=", "Refill(item="))


def test_every_example_occurs_once_an_epoch(codec):
    groups = examples(9, 7, items=4) + examples(3, 5, items=8, seed=2)
    packed = packer(codec, groups)
    first = len(list(packed.epoch()))
    seen = Counter((g, i) for row in range(first) for g, chosen in packed._plans[row] for i in chosen)
    assert seen == Counter({(g, i): 1 for g, group in enumerate(groups) for i in range(len(group))})


def test_rows_keep_to_the_budget_and_are_well_filled(codec):
    packed = packer(codec, examples(40, 9, items=4), max_tokens=600)
    sizes = [sum(map(len, row)) for row in packed.epoch()]
    assert max(sizes) <= 600
    assert sum(sizes) / len(sizes) > 400


def test_numbering_is_shuffled_and_repeatable(codec):
    groups = examples(1, 3, items=4)
    packed = packer(codec, groups)
    prefixes = {tuple(packed.row(i)[0].prefix) for i in range(8)}
    assert len(prefixes) > 3
    assert packer(codec, groups).row(5) == packed.row(5)
    assert packer(codec, groups, seed=1).row(5) != packed.row(5)


def test_a_numbering_that_depends_on_the_request_is_not_shared(codec):
    packed = packer(codec, examples(1, 6, items=8))
    blocks = [block for row in packed.epoch() for block in row]
    assert [len(b.segments) for b in blocks] == [1] * 6


def test_requests_in_a_large_home_share_its_prefix_and_have_candidates_of_their_own():
    home = load("home")
    spots = [{"id": f"light.{i}", "name": f"Spot {i}", "area": "Den"} for i in range(60)]
    context = home.context({"home": {"areas": [{"name": "Den"}, {"name": "Attic"}], "entities": spots}})
    golds = [[{"name": "HassTurnOn", "arguments": {"name": f"Spot {i}"}}] for i in (7, 30, 59)]
    asked = [Example(str(i), f"spot {i} on", context, [g], "", "", "") for i, g in zip((7, 30, 59), golds, strict=True)]
    codec = Codec(home, Vocabulary(byte_tokenizer(home.controls()), home.controls()))
    packed = packer(codec, [asked], 4000)
    ((block,),) = packed.epoch()
    assert len(block.segments) == 3 and "Spot" not in codec.vocabulary.decode(block.prefix)
    said = [codec.vocabulary.decode(segment.ids) for segment in block.segments]
    found = [re.search(r" spot (\d+) onHassTurnOn\(name=(\d+)\)", text) for text in said]
    assert len({*said}) == 3 and all(0 < text.count("Spot ") <= CANDIDATES for text in said)
    for text, match in zip(said, found, strict=True):
        assert match and f"={match[2]} Spot {match[1]}=" in text


def test_what_cannot_be_packed_is_named(codec):
    group = examples(1, 2)[0]
    with pytest.raises(TrainingError, match="no example fits a row of 20 tokens: raise row_tokens"):
        packer(codec, [[group[0]]], max_tokens=20)
    with pytest.raises(TrainingError, match="0-1.*no accepted answer"):
        packer(codec, [[replace(group[1], gold=[])]])
    with pytest.raises(TrainingError, match="no examples"):
        packer(codec, [])


def test_several_processes_measure_what_one_does(codec):
    groups = examples(70, 3) + examples(2, 3, items=8)
    one, two = (Packer(codec, groups, 300, workers=workers) for workers in (0, 2))
    sizes = [[packed._sizes[i] for i in range(len(packed._sizes))] for packed in (one, two)]
    assert sizes[0] == sizes[1] and one.row(3) == two.row(3)
    with pytest.raises(TrainingError, match="no accepted answer"):
        Packer(codec, [[replace(groups[0][0], gold=[])]], 300, workers=1)


def test_what_is_too_long_for_a_row_is_left_out_and_counted(codec):
    short, long = examples(2, 3)
    said = [replace(long[0], text="please " * 130 + long[0].text), *long[1:]]
    packed = packer(codec, [[said[0]], short, said])
    assert packed.left_out == 2 and packed.epoch() == packer(codec, [short, long[1:]]).epoch()
    assert packed.epoch_rows == len(packed.epoch()) and packer(codec, [short]).left_out == 0


def test_given_blocks_are_packed_in_their_order():
    blocks = [Block([1] * 4, [Segment([2] * 3, 1)] * 3), Block([5] * 4, [Segment([6] * 3, 1)] * 2)]
    for room, sizes in ((100, [[13, 10]]), (20, [[13, 7], [7]]), (10, [[10], [7], [10]]), (1, [[7]] * 5)):
        assert [[len(block) for block in row] for row in pack(blocks, room)] == sizes
    assert pack([*blocks[:1] * 2], 100) == [[Block([1] * 4, [Segment([2] * 3, 1)] * 6)]], "one prefix"


def test_requests_are_labelled_with_a_weight_if_asked_for(student, codec):
    rows = packer(codec, examples(4, 3, items=3)).epoch()
    plain, whole = (collate(rows, student.vocabulary.end, language=w) for w in (0.0, 0.25))
    answers, every = (batch["labels"] != IGNORED for batch in (plain, whole))
    assert torch.equal(whole["labels"][answers], plain["labels"][answers]) and "weights" not in plain
    assert set(whole["weights"][answers].tolist()) == {1.0} and set(whole["weights"][~every].tolist()) == {0.0}
    assert set(whole["weights"][every & ~answers].tolist()) == {0.25}
    assert torch.equal(whole["labels"][every], whole["input_ids"][every]), "each is its own token"
    segments = whole["segments"]
    begins = (segments > 0) & ((segments != segments.roll(1, 1)) | (whole["blocks"] != whole["blocks"].roll(1, 1)))
    assert torch.equal(every, (segments > 0) & ~begins), "all of a request but its first token"
