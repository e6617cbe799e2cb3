"""The file of utterances is made from clones; these hold made-up sentences in the form of the four repositories."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lib import human_speech
from lib.core.task import TaskError
from lib.tasks.home.human import corpora
from lib.tasks.home.human.utterances import FILE, Utterance, read

HEAD = "answerid;scenario;intent;answer_annotation;answer_from_anno;answer_from_user\n"
FOLDS = "CrossValidation/autoGeneFromRealAnno/auto/CrossValidation"


def annotated(number: str, annotation: str, text: str) -> str:
    return f'{number};iot;lamp;"{annotation}";"{text}";"{text}"\n'


def clones(folder: Path) -> dict[str, Path]:
    oak, elm = annotated("10", "dim [room : oak room]", "dim oak room"), annotated("8", "hum", "hum")
    contents: dict[str, Any] = {
        f"nlu/{FOLDS}/KFold_1/trainset/iot_lamp.csv": HEAD + annotated("8", "old", "old") + oak,
        f"nlu/{FOLDS}/KFold_2/trainset/iot_lamp.csv": HEAD + elm + annotated("null", "no", "no"),
        "slurp/dataset/slurp/devel.jsonl": [("3", "HUM", "HUM"), ("4", "pick [fruit : figs]", "pick figs")],
        "slurp/dataset/slurp/test.jsonl": [("5", "pick figs", "pick figs")],
        "clinc/data/data_full.json": {"val": [["is it fig day", "fig_day"]]},
        f"snips/{Path(corpora.SOURCES[-1][1])}": {"PlayMusic": [{"data": [{"text": "Hear "}, _entity("Fig Tree")]}]},
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(_text(content), encoding="utf-8")
    return {name: folder / name for name in corpora.REPOSITORIES}


def _entity(text: str) -> dict[str, str]:
    return {"text": text, "entity": "track"}


def _text(content: Any) -> str:
    if isinstance(content, list):
        keys = ("slurp_id", "sentence_annotation", "sentence")
        rows = [dict(zip(keys, row, strict=True), scenario="fig", action="pick") for row in content]
        return "".join(json.dumps(row) + "\n" for row in rows)
    return content if isinstance(content, str) else json.dumps(content)


EXPECTED = [
    Utterance("nlu-evaluation-data/8", "iot_lamp", "hum", ()),
    Utterance("nlu-evaluation-data/10", "iot_lamp", "dim oak room", (("room", "oak room"),)),
    Utterance("slurp-devel/4", "fig_pick", "pick figs", (("fruit", "figs"),)),
    Utterance("clinc150-val/0", "fig_day", "is it fig day", ()),
    Utterance("snips-2017/0", "PlayMusic", "Hear Fig Tree", (("track", "Fig Tree"),)),
]
LINES = [json.dumps({"id": u.id, "intent": u.intent, "text": u.text, "slots": u.slots}) + "\n" for u in EXPECTED]
SHA256 = hashlib.sha256("".join(LINES).encode()).hexdigest()


def test_clones_become_the_file_in_its_order_each_text_once(tmp_path: Path) -> None:
    assert corpora.rebuild(clones(tmp_path), tmp_path / FILE, SHA256) == len(EXPECTED)
    assert read(tmp_path, SHA256) == EXPECTED


def test_what_the_independent_test_holds_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(len(numbers) for numbers in json.loads(corpora.LEFT_OUT.read_text()).values()) >= 529
    monkeypatch.setattr(corpora, "LEFT_OUT", tmp_path / "ids.json")
    corpora.LEFT_OUT.write_text('{"clinc150-val": [0]}')
    fewer = hashlib.sha256("".join(line for line in LINES if "clinc" not in line).encode()).hexdigest()
    assert corpora.rebuild(clones(tmp_path), tmp_path / FILE, fewer) == len(EXPECTED) - 1


def test_other_content_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="SHA-256.*xliuhw/NLU-Evaluation-Data at f6071b49"):
        corpora.rebuild(clones(tmp_path), tmp_path / FILE)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("content", [None, "{", '{"val": 3}', '{"val": [["a"]]}', "[]", '{"val": [[1, "x"]]}'])
def test_a_missing_or_damaged_file_names_the_option_and_the_clone(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    given = clones(tmp_path)
    path = given["clinc"] / "data/data_full.json"
    path.unlink() if content is None else path.write_text(content)
    options = [text for name, folder in given.items() for text in (f"--{name}", str(folder))]
    assert human_speech.main([*options, "--out", str(tmp_path / FILE)]) == 1
    error = capsys.readouterr().err
    assert "--clinc" in error and "git clone https://github.com/clinc/oos-eval, check out 828f8093" in error


def test_a_missing_clone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="--snips: .*no such folder"):
        corpora.rebuild({**clones(tmp_path), "snips": tmp_path / "absent"}, tmp_path / FILE)
