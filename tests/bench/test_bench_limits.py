"""The machine's limits: their arithmetic, what a file holds, and that measuring divides by the time that passed."""

import pytest
import torch
from toy_bench import Clock
from toy_model import saved_student

from lib.bench.limits import Rates, Weights, bandwidth, fastest, limits, measure, weights
from lib.model.gguf_write import GgufError, export

RATES = Rates(threads=2, bandwidth=10e9, own={100_000_000: 40e9}, fp32=100e9, int8=400e9)


def test_memory_limits_a_large_model_and_arithmetic_a_prompt():
    model = Weights(100_000_000, 100_000_000, 50_000_000, "Q8_0")
    found = limits(model, RATES)
    assert found["limit_decode"] == pytest.approx(10e9 / 100e6)
    assert found["limit_decode_own"] == pytest.approx(40e9 / 100e6)
    assert found["limit_prompt"] == pytest.approx(400e9 / (2 * 50e6))
    assert found["arithmetic"] == "int8"


def test_arithmetic_limits_decoding_where_bytes_are_few():
    slow = Rates(threads=1, bandwidth=1e12, fp32=1e9, int8=None)
    found = limits(Weights(1000, 1_000_000, 900_000, "Q4_0"), slow)
    assert found["limit_decode"] == pytest.approx(1e9 / 2e6)
    assert found["arithmetic"] == "fp32"


def test_keys_and_values_are_read_and_multiplied_too():
    alone = limits(Weights(10_000_000, 10_000_000, 9_000_000, "Q4_0"), RATES)
    kept = limits(Weights(10_000_000, 10_000_000, 9_000_000, "Q4_0", cache_bytes=10_000), RATES)
    assert 1 / kept["limit_decode"] == pytest.approx((10_000_000 + 10_000 * limits.CONTEXT) / 10e9)
    assert kept["limit_decode_own"] < alone["limit_decode_own"]
    busy = limits(Weights(1, 1, 1, "Q4_0", attention=50_000), RATES)
    assert 1 / busy["limit_decode"] == pytest.approx(2 * 50_000 * limits.CONTEXT / 100e9, rel=1e-6)


def test_floats_are_multiplied_as_floats():
    for kind in limits.FLOATS:
        assert limits(Weights(1000, 500, 400, kind), RATES)["arithmetic"] == "fp32"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved_student(tmp_path_factory.mktemp("limits") / "student")


@pytest.mark.parametrize(("kind", "bytes_each"), [("f16", 2.0), ("q8_0", 34 / 32), ("q4_0", 18 / 32)])
def test_a_file_holds_what_its_model_multiplies(folder, tmp_path, kind, bytes_each):
    from lib.model import student as students

    model = students.load(folder).model
    matrices = {n: p.numel() for n, p in model.named_parameters() if p.ndim == 2}
    vectors = sum(p.numel() for p in model.parameters() if p.ndim == 1)
    found = weights(export(folder, tmp_path / "x.gguf", kind))
    assert found.decode_weights == sum(matrices.values())
    assert found.prompt_weights == found.decode_weights - matrices["model.embed_tokens.weight"]
    assert found.decode_bytes == pytest.approx(found.decode_weights * bytes_each + 4 * vectors)
    assert found.kind == kind.upper()
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    keys = config.num_hidden_layers * config.num_key_value_heads * size
    assert found.cache_bytes == 2 * 2 * keys
    assert found.attention == 2 * config.num_hidden_layers * config.hidden_size


def test_an_input_table_of_its_own_is_looked_up_and_not_read(tmp_path):
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "u.gguf", "llama")
    for name, rows in {"token_embd.weight": 50, "blk.0.ffn_up.weight": 10, "output.weight": 50}.items():
        writer.add_tensor(name, torch.ones(rows, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert weights(tmp_path / "u.gguf") == Weights(4 * 60 * 32, 60 * 32, 10 * 32, "F32")


def test_a_broken_file_is_one_error_that_names_it(folder, tmp_path):
    whole = export(folder, tmp_path / "x.gguf", "q8_0").read_bytes()
    for name, content in {"cut.gguf": whole[: len(whole) // 2], "text.gguf": b"hello", "empty.gguf": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(GgufError, match=f"{name}: not a whole GGUF file"):
            weights(tmp_path / name)


def test_the_fastest_run_counts_and_the_first_does_not():
    done = []
    clock = Clock(1.0)
    assert fastest(lambda: done.append(1), clock, seconds=5.0) == 1.0
    assert fastest(lambda: None, Clock(0.0, 4.0, 0.0, 2.0, 0.0, 3.0), seconds=1.0) == 2.0


def test_rates_are_amounts_over_time(monkeypatch):
    monkeypatch.setattr(limits, "LARGE", 4000)
    monkeypatch.setattr(limits, "SIDE", 32)
    before = torch.get_num_threads()
    try:
        found = measure(1, [800, 800, 80], Clock(2.0))
    finally:
        torch.set_num_threads(before)
    assert found.bandwidth == 4000 / 2
    assert found.own == {80: 40, 800: 400}
    assert found.fp32 == 2 * 32**3 / 2
    assert found.int8 in (None, found.fp32)
    assert bandwidth(4001, Clock(1.0)) == 4000
