"""Which requests are asked: one command each, blocks of one context, the slow systems' a part of the quick ones'."""

import pytest
from toy_bench import Sampled
from toy_task import examples

from lib.bench.requests import by_context, draw, one_command, plan
from lib.core.params import ParamsError
from lib.core.task import Example, TaskError

GROUPS = [[f"{g}{i}" for i in range(6)] for g in "abcde"]


@pytest.mark.parametrize(("cold", "warm"), [(5, 20), (3, 4), (2, 3), (1, 1), (4, 9)])
def test_blocks_have_the_counts_that_were_asked_for(cold, warm):
    blocks = plan(GROUPS, cold, warm)
    assert len(blocks) == cold
    assert sum(len(block) - 1 for block in blocks) == warm
    assert all(block == group[: len(block)] for block, group in zip(blocks, GROUPS, strict=False))


def test_a_slow_system_gets_requests_that_the_others_get():
    asked = {key for block in plan(GROUPS, 5, 20) for key in block}
    assert asked.issuperset(key for block in plan(GROUPS, 2, 3) for key in block)


@pytest.mark.parametrize(("cold", "warm"), [(6, 6), (1, 6), (5, 30)])
def test_too_few_requests_is_an_error_with_the_remedy(cold, warm):
    with pytest.raises(TaskError, match="raise sample.dev or lower cold and warm"):
        plan(GROUPS, cold, warm)


def test_only_requests_of_one_call_are_kept():
    one = examples(1, 3)[0]
    nothing = Example("n", "thanks", one[0].context, [[]], "T0", "toy", "dev")
    two = Example("t", "two", one[0].context, [one[0].gold[0] * 2], "T0", "toy", "dev")
    kept = one_command([[*one, nothing, two], [nothing]])
    assert len(kept) == 1 and {e.id for e in kept[0]} == {e.id for e in one}
    assert one_command([one]) == one_command([one])


def test_the_sample_comes_in_groups_of_one_context(tmp_path):
    draw(Sampled(), {"dev": 3, "seed": 5}, tmp_path)
    groups = by_context(Sampled(), tmp_path)
    assert [len(group) for group in groups] == [8, 8, 8]
    assert all(len({tuple(e.context["items"]) for e in group}) == 1 for group in groups)


def test_an_unknown_parameter_of_the_sample_is_an_error(tmp_path):
    with pytest.raises(ParamsError, match="params/bench.yaml: sample: unknown parameter 'sede'"):
        draw(Sampled(), {"sede": 1}, tmp_path)
