"""A second, tiny domain for tests: a vending machine that hands out, refills and labels its numbered items.

It shows that nothing outside lib/tasks/ needs to know Home Assistant, and trains in seconds.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from lib.core.task import Example
from lib.tasks.from_tools import FromTools, call, example
from lib.tasks.tools import TEXT, integer, reference, tool

ITEMS = ("Tea", "Oat Bar", "Crème Brûlée", "Water", "Salt Nuts", "Apple", "Gum", "Cola", "日本茶", "Rye Bread")
GIVE = ("give me {}", "one {} please", "i want the {}", "hand out {}")
FILL = ("refill {} to {}", "put {1} of {0} in", "stock the {} up to {}")
ITEM = {"item": reference("items")}


class Vending(FromTools):
    name = "tests.toy_task"
    schemas = [
        tool("Give", ITEM),
        tool("Refill", {**ITEM, "amount": integer(0, 999)}),
        tool("Label", {**ITEM, "text": TEXT}),
    ]
    most = 6

    def examples(self, rng: Random, split: str) -> Iterator[Example]:
        while True:
            context = {"items": rng.sample(ITEMS, 4)}
            yield from (drawn(context, rng, "{}" if split == "train" else f"{split}: {{}}") for _ in range(5))


TASK = Vending()


def drawn(context: dict[str, Any], rng: Random, form: str = "{}") -> Example:
    """A request; a third are refills."""
    item, amount = rng.choice(context["items"]), rng.randint(1, 99)
    if rng.random() < 1 / 3:
        said = form.format(rng.choice(FILL).format(item, amount))
        return example(said, context, [call("Refill", item=item, amount=amount)], "T1")
    return example(form.format(rng.choice(GIVE).format(item)), context, [call("Give", item=item)], "T0")


def examples(groups: int, per_group: int, seed: int = 0, items: int = 4) -> list[list[Example]]:
    """Groups of examples that share a context of ``items`` names."""
    rng, result, fixed = Random(seed), [], {"level": "T0", "source": "toy", "split": "train"}
    for g in range(groups):
        context = {"items": rng.sample(ITEMS, items)}
        result.append([replace(drawn(context, rng), id=f"{g}-{i}", **fixed) for i in range(per_group)])
    return result
