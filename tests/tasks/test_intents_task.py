"""Intents with slots, here of made-up sentences: what is read, how it is split, bad CSVs, baselines."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from lib.core.files import RecordError
from lib.core.paths import ROOT
from lib.tasks import load
from lib.tasks.home.human import utterances
from lib.tasks.home.human.utterances import Utterance
from lib.tasks.intents import TASK, Intents, data

WORDS = "fig oak elm yew ash fir bay tea rye nut plum pear lime corn leek kale mint sage dill beet".split()
WAYS = {"sow": "sow {} in the east bed", "price": "what does a sack of {} cost", "": "does {} dream of the sea"}
ROWS = [(way.format(word), intent, word) for intent, way in WAYS.items() for word in WORDS]
SPLITS = "train", "dev", "test"
PARAMS: dict[str, Any] = {"seed": 1, "seeds": 99, "dev": 9, "test": 9, "human_speech": ""}


def csv_of(path: Path, *more: str) -> str:
    slots = [json.dumps({"plant": word}).replace('"', '""') if intent == "sow" else "" for _, intent, word in ROWS]
    lines = [f'{text},{intent},"{own}"' for (text, intent, _), own in zip(ROWS, slots, strict=True)]
    path.write_text("\n".join(["sentence,intent,slots", *lines, *more]) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def garden(tmp_path: Path) -> Intents:
    return Intents(csv_of(tmp_path / "garden.csv"))


def test_a_csv_is_a_task_whose_sentences_are_split_without_near_duplicates(garden: Intents, tmp_path: Path) -> None:
    assert {name: [a.name for a in slots] for name, slots in garden.arguments.items()} == {
        "price": [],
        "sow": ["plant"],
    }
    train, dev, test = ({utterances.key(e.text) for e in garden.said if e.split == split} for split in SPLITS)
    assert train and dev and test and not (train & dev or train & test or dev & test)
    assert len(train | dev | test) == len(garden.said) == len(ROWS)
    counts, again = garden.sample(PARAMS, tmp_path / "a"), pickle.loads(pickle.dumps(garden))
    assert counts["seeds"] + counts["tests"] == len(ROWS) and again.controls() == garden.controls()
    for e in garden.said:
        written = garden.answer(e.gold[0], refs := garden.references(e.context, e.text))
        assert garden.score(e, garden.parse("".join(written), refs)).exact
        assert (e.level == "out_of_scope") == (e.gold == [[]]) and (e.level == "slots") == bool("sow" in e.text)


def test_what_no_intent_covers_is_learnt_as_out_of_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        ("clinc150-train/1", "plant_care"),
        ("clinc150-oos_test/1", "oos"),
        ("nlu/1", "email_query"),
        ("nlu/2", "play_music"),
        ("nlu/3", "news_query"),
        ("nlu/4", "news_query"),
    ]
    read = [Utterance(number, intent, f"say {number}", (("who", number),)) for number, intent in said]
    read[4] = Utterance("nlu/3", "news_query", "please say clinc150-oos_test/7", ())  # as a test, but for a digit
    read[5] = Utterance("nlu/4", "news_query", "Could you say clinc150-train/1?", ())  # as an intent
    monkeypatch.setattr(data.utterances, "read", lambda folder: read)
    found = {e.extra["said"]: (e.split, e.level, bool(e.gold[0])) for e in data.people("")}
    assert found == {
        "clinc150-train/1": ("train", "slots", True),
        "clinc150-oos_test/1": ("test", "out_of_scope", False),
        "nlu/1": ("train", "out_of_scope", False),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('sow it,sow,"{""plant"": 1}"', r"garden.csv, line 62: slots: expected JSON such as .*texts alone"),
        ('sow it,sow,"{plant: it}"', r"garden.csv, line 62: slots: expected JSON such as"),
        ('sow it,sow,"{""plant"": ""them""}"', r"garden.csv, line 62: the request has no words 'them'.*copy each slot"),
        ('sow it,,"{""plant"": ""it""}"', r"garden.csv, line 62: slots without an intent: complete"),
        (" ,sow,", r"garden.csv, line 62: no sentence: complete the row"),
        ("sow, please,sow,", r"garden.csv, line 62: not as many values as columns: put quotation marks"),
        ("sow it,sow it,", r"tool 'sow it': expected a name of its own"),
        ('sow it,"sow"it,', r"garden.csv: cannot be read .*give a CSV"),
    ],
)
def test_bad_rows_are_named_with_file_line_and_remedy(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Intents(csv_of(tmp_path / "garden.csv", line))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sentence,intent,slots,id\n", "garden.csv, line 1: column 'id' is unknown: the columns are sentence, intent"),
        ("", "garden.csv, line 1: column 'intent' is missing"),
        ("sentence,intent,slots\n", "garden.csv: 0 rows leave none for dev: add sentences"),
        ("sentence,intent,slots\nsow,sow,\nsow it,sow,\n", "garden.csv: there is one intent only: add others"),
        (None, "garden.csv: cannot be read .*give a CSV"),
    ],
)
def test_bad_files_are_named_with_the_remedy(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "garden.csv").write_text(text)
    with pytest.raises(RecordError, match=message):
        Intents(str(tmp_path / "garden.csv"))


def corpus() -> list[Utterance]:
    splits = ("train", "oos_train", "val", "oos_val", "test", "oos_test")
    rows = [Utterance(f"clinc150-{s}/0", "oos" if "oos" in s else "timer", f"{s} figs", ()) for s in splits]
    rows += [Utterance(f"snips-2017/{w}", "PlayMusic", f"play {w} songs", (("artist", w),)) for w in WORDS]
    rows += [Utterance("snips-2017/twice", "PlayMusic", "play fig and oak", (("artist", "fig"), ("artist", "oak")))]
    rows += [Utterance("snips-2017/none", "PlayMusic", "play the figs", (("artist", "fig"),))]
    return [*rows, Utterance("slurp-test/1", "play_music", "play a fig song", ())]


def test_people_s_utterances_keep_their_own_split_and_what_cannot_be_copied_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(utterances, "read", lambda folder: corpus() if folder else [])
    with pytest.raises(RecordError, match="human_speech: there are no utterances of people here .*lib.human_speech"):
        Intents().sample(PARAMS, tmp_path)
    task = Intents()
    task.sample({**PARAMS, "human_speech": "here"}, tmp_path)
    found = {e.extra["said"]: e for e in task.said}
    own = {name: e.split for name, e in found.items() if name.startswith("clinc150")}
    assert own == {f"clinc150-{o}{s}/0": data.SPLITS[s] for o in ("", "oos_") for s in data.SPLITS}
    assert not {"snips-2017/twice", "snips-2017/none", "slurp-test/1"} & found.keys()
    assert {e.source for e in task.said} == {"human"}, "no page shows them"


def test_the_task_has_the_intents_of_both_corpora() -> None:
    assert load("intents") is TASK and len(TASK.tools()) == 151 and TASK.said == []
    if (ROOT / "../shared/human_speech").is_dir():
        said = data.people("../shared/human_speech")
        assert data.labels(said) == data.labels([e for e in said if not TASK._fault(e)])
        assert [t["function"]["name"] for t in TASK.tools()] == [*data.labels(said)]


def test_baselines_learn_intents_slots_and_when_to_do_nothing(garden: Intents) -> None:
    train = [e for e in garden.said if e.split == "train"]
    for system in garden.baselines(train):
        right = [garden.score(e, system.answer(e.text, {}).calls).exact for e in train]
        assert sum(right) >= 0.9 * len(right), system.name
        told = system.answer("kangaroos hum quietly", {})
        assert told.calls == [] and told.confidence == pytest.approx(1 - system._guess("kangaroos hum quietly")[1])
    inside = [e for e in train if e.gold[0]]
    assert all(s.answer("kangaroos hum", {}).calls for s in garden.baselines(inside)), "nothing is out of scope"
    assert garden.baselines([]) == []
