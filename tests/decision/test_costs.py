"""Costs: by hand, the same from two sides, rising and falling as they must; what moves an answer; FLOPs and weights."""

import math

import pandas as pd
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from lib.core.params import ParamsError
from lib.decision import costs
from lib.decision.costs import Need
from lib.evaluation.prices import DAYS, Prices, load_prices
from lib.model.flops import Shape

PRICES = load_prices()
LOCAL, ASKED = Need(seconds=0.2), Need(prompt_tokens=3700, new_tokens=30)
SMALL = Shape(layers=30, hidden=576, heads=9, kv_heads=3, head_size=64, ffn_width=1536, vocabulary=16384)


def of_machine(**changed: float) -> Prices:
    return PRICES.model_copy(update={"machine": PRICES.machine.model_copy(update=changed)})


@pytest.mark.parametrize("per_day", [1, 50, 5_000, 200_000])
def test_a_year_is_that_of_a_machine_that_waits_and_what_the_requests_add(per_day: float) -> None:
    year = costs.waiting(PRICES) + costs.per_year(costs.anyway(PRICES, LOCAL), per_day)
    assert costs.per_year(costs.own(PRICES, LOCAL, per_day), per_day) == pytest.approx(year)


def test_an_own_machine_costs_less_a_request_the_more_it_works_and_least_if_it_is_there_anyway() -> None:
    at = costs.at_loads(PRICES, LOCAL).query("option == @costs.OWN")
    assert at["usd_per_million"].is_monotonic_increasing and at["load"].tolist() == list(costs.LOADS)
    assert costs.anyway(PRICES, LOCAL) < at["usd_per_million"].min()
    for load, day in zip(at["load"], at["requests_per_day"], strict=True):
        assert costs.own(PRICES, LOCAL, per_day=day) == pytest.approx(costs.own(PRICES, LOCAL, at=load))


def test_a_slower_machine_costs_as_much_more_when_it_is_never_idle() -> None:
    slow = of_machine(slowdown=3.0)
    assert costs.own(slow, LOCAL, at=1.0) == pytest.approx(3 * costs.own(PRICES, LOCAL, at=1.0))
    assert costs.anyway(slow, LOCAL) == pytest.approx(3 * costs.anyway(PRICES, LOCAL))


def test_what_has_no_price_is_named() -> None:
    with pytest.raises(ParamsError, match="rented processor 'abacus': no price; known: vCPU, "):
        costs.rented(PRICES, "abacus", LOCAL)
    with pytest.raises(ParamsError, match="hosted model 'oracle': no price"):
        costs.hosted(PRICES, "oracle", ASKED)


def test_serving_has_every_way_and_caching_never_costs_more() -> None:
    rows = costs.serving(PRICES, LOCAL, ASKED, 200).set_index("option")
    assert {costs.OWN, costs.ANYWAY, "vCPU, by the hour", "vCPU, by the second", *PRICES.hosted} <= set(rows.index)
    for name in PRICES.hosted:
        assert rows.loc[name, "usd_per_million"] <= rows.loc[f"{name}, nothing cached", "usd_per_million"]
    year = rows.loc["vCPU, by the hour", "usd_per_year"]
    assert year == pytest.approx(2 * PRICES.rented["vCPU"].usd_per_hour * 24 * DAYS), "it is paid for day and night"
    gpu = costs.at_loads(PRICES, LOCAL, {"NVIDIA H200": Need(seconds=0.001)}).query("option == 'NVIDIA H200'")
    hour = PRICES.rented["NVIDIA H200"].usd_per_hour
    assert (gpu["usd_per_million"] * gpu["load"]).tolist() == pytest.approx([hour / 3.6] * len(costs.LOADS))


@pytest.mark.parametrize("model", PRICES.hosted)
def test_at_break_even_both_cost_the_same(model: str) -> None:
    hosted = costs.hosted(PRICES, model, ASKED)
    volume = costs.break_even(PRICES, LOCAL, model, ASKED)
    assert costs.own(PRICES, LOCAL, volume) == pytest.approx(hosted)
    assert costs.own(PRICES, LOCAL, 2 * volume) < hosted
    assert costs.crossing(1.0, 2.0, 2.0) == math.inf


def test_teacher_data_is_tokens_at_list_prices() -> None:
    replies = pd.DataFrame({"prompt_tokens": [3e6, 1e6], "cached_tokens": [2e6, 0.0], "new_tokens": [1e6, 1e6]})
    rows = costs.teacher_data(PRICES, replies).set_index("model")
    for name, price in PRICES.hosted.items():
        assert rows.loc[name, "usd"] == pytest.approx(2 * price.input + 2 * price.cached_input + 2 * price.output)


def test_sensitivity_lists_what_moves_the_answer_and_nothing_else() -> None:
    rows = costs.sensitivity(lambda p: costs.own(p, LOCAL, p.use.requests_per_day), PRICES).set_index("assumption")
    assert {"machine.usd", "machine.years", "use.requests_per_day"} <= set(rows.index)
    assert not {"machine.busy_share", "machine.watts", "rented.vCPU.usd_per_hour"} & set(rows.index)
    assert (rows["change"] > 0.1).all() and rows["change"].is_monotonic_decreasing
    high = rows.loc["machine.usd", "high"]
    assert rows.loc["machine.usd", "answer_high"] == costs.own(of_machine(usd=high), LOCAL, 200)
    hosted = costs.sensitivity(lambda p: costs.hosted(p, "gpt-4o-mini", costs.hosted_need(p)), PRICES)
    assert set(hosted["assumption"]) == {"use.prompt_tokens", "use.cached_share"}
    assert costs.sensitivity(lambda p: math.inf, PRICES).empty and costs.sensitivity(lambda p: 0.0, PRICES).empty


def test_weights_are_those_of_the_model() -> None:
    shape = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(**shape, intermediate_size=96, vocab_size=128, tie_word_embeddings=True)
    assert Shape.of(config.to_dict()).weights == LlamaForCausalLM(config).num_parameters()


def test_flops_of_a_prompt_do_not_depend_on_how_it_is_cut() -> None:
    whole = SMALL.flops(300, logits=0)
    assert SMALL.flops(200, logits=0) + SMALL.flops(100, context=200, logits=0) == pytest.approx(whole)
    assert whole > 2 * SMALL.matrices * 300


def test_fewer_key_value_heads_shrink_the_cache_alone() -> None:
    grouped = Shape(**{**vars(SMALL), "kv_heads": 1})
    assert grouped.kv_bytes(500) == SMALL.kv_bytes(500) / 3
    pairs = [shape.flops(1, 1000, 0) - shape.flops(1, 0, 0) for shape in (SMALL, grouped)]
    assert pairs[0] == pairs[1] == 4 * 30 * 9 * 64 * 1000


def test_a_batch_shares_the_weights() -> None:
    alone, many = (SMALL.gpu_seconds(300, 8, 290, n, 2e14, 4800) for n in (1, 64))
    assert many < alone < 64 * many
