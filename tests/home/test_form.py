"""What the words of a paraphrase alone say against it."""

import pytest

from lib.tasks.home.teacher.write import fault

ON = [{"name": "HassTurnOn", "arguments": {"name": "Shelf Lamp"}}]
OFF = [{"name": "HassTurnOff", "arguments": {"name": "Shelf Lamp"}}]
DIM = [{"name": "HassLightSet", "arguments": {"name": "Shelf Lamp", "brightness": 40}}]
RED = [{"name": "HassLightSet", "arguments": {"name": "Shelf Lamp", "color": "red"}}]
ASK = [{"name": "HassGetState", "arguments": {"name": "Shelf Lamp", "state": "on"}}]
TOGGLE = [{**ON[0], "name": "HassToggle"}]
ADD = [{"name": "HassListAddItem", "arguments": {"name": "Errands", "item": "two stamps"}}]
WISH = [{"name": "HassTurnOn", "arguments": {"area": "Den", "domain": "light"}}]


@pytest.mark.parametrize(
    ("text", "said", "calls", "reason"),
    [
        ("The shelf lamp is off now", "turn off the shelf lamp", OFF, "reports instead of asking"),
        ("Shelf lamp turned off", "turn off the shelf lamp", OFF, "reports instead of asking"),
        ("Turning off the shelf lamp", "turn off the shelf lamp", OFF, "reports instead of asking"),
        ("The shelf lamp is red, isn't it?", "make the shelf lamp red", RED, "reports instead of asking"),
        ("Sure, I'll turn off the shelf lamp", "turn off the shelf lamp", OFF, "answers instead of asking"),
        ("I've turned the shelf lamp off", "turn off the shelf lamp", OFF, "answers instead of asking"),
        ("Should I turn off the shelf lamp?", "turn off the shelf lamp", OFF, "asks for advice or leave"),
        ("How do I turn off the shelf lamp?", "turn off the shelf lamp", OFF, "asks for advice or leave"),
        ("Should the shelf lamp be off?", "turn off the shelf lamp", OFF, "asks for advice or leave"),
        ("Can you tell me how to turn off the shelf lamp?", "turn off the shelf lamp", OFF, "asks for advice or leave"),
        ("Shelf lamp off?", "turn off the shelf lamp", OFF, "asks whether it is so"),
        ("The shelf lamp is still on!", "is the shelf lamp on", ASK, "reports instead of asking"),
        ("Shelf lamp to 30", "shelf lamp to 40", DIM, "another number"),
        ("Dim the shelf lamp", "shelf lamp to 40", DIM, "another number"),
        ("Make the shelf lamp blue", "make the shelf lamp red", RED, "another colour"),
        ("Put stamps on errands", "add two stamps to errands", ADD, "another text"),
        ("Flip the shelf lamp off", "flip the shelf lamp", TOGGLE, "switches the other way"),
        ("Lamp (name: Shelf Lamp) off", "turn off the shelf lamp", OFF, "words of the prompt"),
        ("How is the shelf lamp?", "is the shelf lamp on", ASK, "asks for another state"),
        ("How do I know the shelf lamp is on?", "is the shelf lamp on", ASK, "asks for advice or leave"),
        ("The shelf lamp is on", "shelf lamp on", ASK, "reports instead of asking"),
        ("shelf lamp", "turn off the shelf lamp", OFF, "asks for nothing"),
        ("Check if the shelf lamp is off", "turn off the shelf lamp", OFF, "asks whether it is so"),
        ("Turn off the shelf lamp tomorrow", "turn off the shelf lamp", OFF, "another time"),
        ("Turn off the shelf lamp upstairs", "turn off the shelf lamp", OFF, "another place"),
        ("Turn off the shelf lamp in the attic", "turn off the shelf lamp", OFF, "another place"),
        ("The shelf lamp will be off", "turn off the shelf lamp", OFF, "reports instead of asking"),
        ("It's still on", "is the shelf lamp on", ASK, "reports instead of asking"),
        ("Stop the air conditioning", "stop the temperature", [], "another device"),
        ("Shelf lamp turned off, thanks", "turn off the shelf lamp", OFF, "reports instead of asking"),
        ("Could you turn off the shelf lamp?", "turn off the shelf lamp", OFF, ""),
        ("The shelf lamp should be off", "turn off the shelf lamp", OFF, ""),
        ("Make sure the shelf lamp is off", "turn off the shelf lamp", OFF, ""),
        ("String lights and shelf lamp off", "turn off the shelf lamp", OFF, ""),
        ("Bring the shelf lamp to forty", "shelf lamp to 40", DIM, ""),
        ("shelf lamp at forty percent please", "shelf lamp to 40", DIM, ""),
        ("Is the shelf lamp on?", "is the shelf lamp on", ASK, ""),
        ("Let me know if the shelf lamp is on", "is the shelf lamp on", ASK, ""),
        ("Errands needs two stamps", "add two stamps to errands", ADD, ""),
        ("Why is the den so gloomy?", "it's too dark in the den", WISH, ""),
        ("The shelf lamp is still on, turn it off", "the shelf lamp is on turn it off", OFF, ""),
        ("Is there light on the shelf lamp, is it on?", "is the shelf lamp on", ASK, ""),
        ("Turn the shelf lamp off first", "turn off the shelf lamp", OFF, ""),
        ("The kettle is on now", "i turned on the kettle", [], ""),
    ],
)
def test_what_the_words_of_a_paraphrase_show(text, said, calls, reason):
    assert fault(text, said, calls) == reason
