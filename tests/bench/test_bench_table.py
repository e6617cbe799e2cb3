"""From rows to a table: percentiles, ratios against the smallest released model, shares of the limits."""

import csv

import pytest
from toy_bench import MACHINE, reply

from lib.bench.limits import Weights
from lib.bench.systems import Entrant
from lib.bench.table import COLUMNS, percentile, rates_of, shown, summary, text, write

HELD = {"small": Weights(800, 1000, 900, "Q4_0"), "large": Weights(8_000_000, 1000, 900, "F16")}


@pytest.fixture
def found(tmp_path):
    entrants = [Entrant("rules", "baseline")]
    for name, size in {"large": 3000, "small": 1000}.items():
        (tmp_path / f"{name}.gguf").write_bytes(bytes(size))
        entrants.append(Entrant(name, "student", tmp_path / f"{name}.gguf", "0" * 64, released=True))
    times = {"small": (10.0, 100.0), "large": (40.0, 300.0), "rules": (1.0, 1.0)}
    rows = [MACHINE]
    for name, (warm, cold) in times.items():
        rows += [reply(name, "c", "cold", cold), reply(name, "a", "warm", warm * 9)]
        rows += [reply(name, "a", "warm", warm - 1), reply(name, "b", "warm", warm + 1, exact=False, error="no")]
        rows += [{"system": name, "kind": "process", "load_s": 2.0, "peak_mb": 70.0}]
    rows += [{"system": "small", "kind": "speed", "prompt_tokens_s": 1e5, "decode_tokens_s": 5e5}]
    return summary(entrants, rows, HELD, {"large": "it broke"}), rows


def test_percentiles_are_those_of_numpy():
    import numpy as np

    values = [9.0, 1.0, 4.0, 4.5, 30.0]
    for percent in (0, 5, 50, 95, 100):
        assert percentile(values, percent) == pytest.approx(np.percentile(values, percent))
    assert percentile([7.0], 95) == 7.0


def test_the_smallest_released_model_is_the_measure_of_all(found):
    rules, large, small = found[0]
    assert (small["warm_p50_ms"], small["cold_p50_ms"]) == (10, 100)
    assert (small["warm_ratio"], small["cold_ratio"]) == (1, 1)
    assert (large["warm_ratio"], large["cold_ratio"]) == (4, 3)
    assert (rules["warm_ratio"], rules["cold_ratio"]) == (0.1, 0.01)


def test_a_request_that_was_asked_twice_counts_once_and_last(found):
    for row in found[0]:
        assert (row["warm_n"], row["cold_n"], row["right"], row["errors"]) == (2, 1, "2/3", 1)


def test_limits_and_shares_stand_beside_models_alone(found):
    rules, large, small = found[0]
    assert small["limit_decode"] == pytest.approx(1e9 / 1000 / 2 * 2)
    assert small["share_decode"] == pytest.approx(5e5 / small["limit_decode"])
    assert small["limit_prompt"] == pytest.approx(2e9 / 1800) and small["arithmetic"] == "int8"
    assert large["limit_decode"] == pytest.approx(1e9 / 8e6) and large["arithmetic"] == "fp32"
    assert "share_decode" not in large
    assert not any(key.startswith(("limit", "share")) for key in rules)


def test_without_a_released_model_there_are_no_ratios(found):
    rows = summary([Entrant("rules", "baseline")], found[1], {}, {})
    assert "warm_ratio" not in rows[0] and rows[0]["warm_n"] == 2


def test_the_text_says_what_failed_and_what_is_left_out(found):
    said = text(found[0], rates_of(found[1]), {"big": "not here"})
    assert "large failed: it broke" in said and "big left out: not here" in said
    assert "with 1 threads:\n1.0 GB/s read" in said and "x: times as long as small." in said
    lines = shown(found[0], COLUMNS).splitlines()
    assert len(lines) == 4 and lines[0].split()[0] == "system"
    assert [line.split()[0] for line in lines[1:]] == ["rules", "large", "small"]
    assert " 0.1 " in lines[1] and " 0.01 " in lines[1]


def test_files_hold_every_figure(found, tmp_path):
    write(tmp_path / "out", found[0], {"date": "today"})
    rows = list(csv.DictReader((tmp_path / "out" / "bench.csv").open()))
    assert [r["system"] for r in rows] == ["rules", "large", "small"]
    assert set().union(*found[0]) <= set(rows[0])
    assert float(rows[2]["warm_p95_ms"]) == pytest.approx(10.9)
    assert rows[0]["limit_decode"] == "" and rows[2]["peak_mb"] == "70.0"
