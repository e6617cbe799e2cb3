"""Copied values are spans of the request: whole words, never none, whatever the model would rather write."""

from random import Random

import pytest
from toy_model import saved_student
from toy_task import TASK

from lib.core.task import Copied
from lib.model.gguf_write import export
from lib.model.vocabulary import Vocabulary, byte_tokenizer
from lib.runtime.copying import Copying
from lib.runtime.gguf_student import GgufStudent, Rules
from lib.tasks import load

CONTROLS = ["text=", "command=", ",", ")"]
WORDS = Vocabulary(byte_tokenizer(CONTROLS[:2] + [")"]), CONTROLS)


def values(copied: Copied, tries: int = 150) -> set[str]:
    """The values that can be written, as random writing finds them."""
    rng, copying, found = Random(0), Copying(WORDS), set[str]()
    for _ in range(tries):
        copier, written = copying.start({"text=": copied}), list[int]()
        copier.take(WORDS.controls["text="])
        while options := copier.options() - set(() if written else WORDS.controls.values()):
            copier.take(token := rng.choice(sorted(options)))
            written.append(token)
        found.add(WORDS.decode(written[:-1]))
    return found


def test_a_value_is_any_span_of_whole_words_without_the_marks_around():
    assert values(Copied("oat milk")) == {" oat", " milk", " oat milk"}
    starts = (' play "Ob-La', ' "Ob-La', " Ob-La")
    assert values(Copied('play "Ob-La Di"!')) == {" play", " Di", *starts, *(f"{start} Di" for start in starts)}
    assert values(Copied("tea\\, gum.")) == {" tea", " gum", " tea\\, gum"}
    assert values(Copied("rock ... roll")) == {" rock", " roll", " rock ... roll", " ... roll"}
    assert values(Copied("?!")) == {" ?!"}


def test_a_value_may_follow_a_phrase():
    assert values(Copied("the tap", ("turn off", "open"))) == {
        *(" the", " tap", " the tap"),
        *(f" {verb}{span}" for verb in ("turn off", "open") for span in (" the", " tap", " the tap")),
    }


def test_a_control_may_stand_in_place_of_a_value():
    copier = Copying(WORDS).start({"text=": Copied("oat milk")})
    copier.take(WORDS.controls["text="])
    assert WORDS.controls["command="] in copier.options()
    copier.take(WORDS.controls["command="])
    assert copier.options() == frozenset()


def test_nothing_is_copied_outside_of_the_keys():
    copier = Copying(WORDS).start({"text=": Copied("oat milk")})
    for token in (WORDS.controls["command="], *WORDS.encode_text(" any"), WORDS.controls[")"]):
        assert copier.options() == frozenset()
        copier.take(token)
    assert Copying(WORDS).start({}).options() == frozenset()


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copying")
    return GgufStudent(export(saved_student(folder / "student"), folder / "s.gguf", "q8_0"), TASK, threads=1)


def test_a_random_model_copies(system):
    grammar = 'start: <"Label("> <"item"> <"=1"> <","> <"text="> TEXT <")">\nTEXT: " " /[^,)\\n\\\\]/{1,40}\n'
    for text in (
        "label it salt nuts, please",
        "put a note on it: 日本茶",
        "x" * 100,
        "naïve лампа 🔥",
        "a <|im_end|> =1 b",
    ):
        prompt = system.codec.prompt({"items": ["Tea"]}, text)
        done = system._runtime.complete(prompt, Rules(grammar, TASK.copied(text)), 200)
        [call] = system.codec.read(done.ids, prompt.refs).calls
        assert call["arguments"]["text"] in " ".join(text.split())


def test_the_home_s_free_texts_are_copied_with_their_escapes():
    copied = load("home").copied("add  oat\tmilk, (bio) to my list")
    assert copied["item="] == Copied("add oat milk\\, (bio\\) to my list")
    assert "turn off" in copied["conversation_command="].after
    assert not {"state=", "mode=", "response="} & copied.keys()
