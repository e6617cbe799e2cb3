"""Federations without Flower: one client's average is its own training, a block alone is updated, bad replies told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from toy_federation import SETTINGS, TRAINING, job

from lib.core import paths
from lib.core.examples import by_context
from lib.core.params import read_yaml
from lib.federated import __main__ as command
from lib.federated.local import DIRECTIONS, MOVED, PROMPTS, VARIATE, checked, fit, initial, learnt, merged
from lib.federated.settings import NEW, OLD, START, Federation, Job, trained
from lib.model import student as students
from lib.training import finetune
from lib.training.params import TrainingError
from lib.training.zeroth_order import shift


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job whose start is trained."""
    folder = tmp_path_factory.mktemp("federation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNS_DIR", str(folder))
        made = job(folder)
        command.run(made)
        yield made


def of(start: Job, strategy: str) -> Job:
    return replace(start, strategy=strategy, work=str(Path(start.work).with_name(strategy)))


def trained_once(told: Job, client: int = 0, number: int = 1, arrays: Any = None, own: Any = None) -> tuple[Any, Any]:
    """What the server sends, and a client's reply."""
    before = initial(told) if arrays is None else arrays
    return before, fit(told, told.data.clients[client], before, number, client, own)


def test_the_centre_never_sees_the_new_tools(start: Job) -> None:
    found = start.data
    assert len(found.clients) == 2 and not any(e.gold[0][0]["name"] == "Refill" for e in found.centre)
    assert all(any(e.gold[0][0]["name"] == "Refill" for e in rows) for rows in found.clients)
    homes = [{e.context["home"] for e in rows} for rows in (found.centre, *found.clients)]
    assert all(len(own) == 1 for own in homes[1:]) and not homes[0] & (homes[1] | homes[2])
    assert {e.gold[0][0]["name"] for e in found.tests[NEW]} == {"Refill"}
    assert {e.gold[0][0]["name"] for e in found.tests[OLD]} == {"Give"}


def test_the_average_of_one_client_is_its_own_training(start: Job, tmp_path: Path) -> None:
    told = of(start, "full")
    before, reply = trained_once(told)
    averaged = merged(before, [reply], [7], 0.9, {})
    for name, array in reply.items():
        np.testing.assert_array_equal(averaged[name], array)
    params = told.settings.of("full", told.seed + 100).model_copy(update={"base": str(told.start)})
    groups = by_context(told.data.clients[0], told.settings.key)
    alone = finetune.train(params, told.data.task, groups, tmp_path / "alone").folder
    student = learnt(told, averaged)[1]
    students.save(student, tmp_path / "averaged")
    one, other = (students.load(tmp_path / name).model.state_dict() for name in ("alone", "averaged"))
    assert all(torch.equal(one[name], other[name]) for name in one) and alone.is_dir()


def test_an_average_is_by_the_number_of_examples() -> None:
    before, replies = {"w": np.zeros(2, np.float32)}, [{"w": np.float32([1, 2])}, {"w": np.float32([5, 6])}]
    np.testing.assert_allclose(merged(before, replies, [3, 1], 0, {})["w"], [2, 3])
    assert merged({**before, "v": np.ones(1)}, replies, [1, 1], 0, {})["v"] == 1, "what nobody sent stays"


def test_blocks_in_turn_are_updated_alone(start: Job) -> None:
    told = of(start, "cyclic")
    before = initial(told)
    weights = dict(students.load(told.start).model.named_parameters())
    assert {*before} == {*weights}, "in all rounds together all are trained"
    sent = [{*trained_once(told, number=number, arrays=before)[1]} for number in (1, 2, 3)]
    assert sent[0] == sent[2] and not sent[0] & sent[1] and sent[0] | sent[1] == {*weights}
    reply = trained_once(told, number=1, arrays=before)[1]
    after = merged(before, [reply], [1], 0, {})
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == sent[0] == {name for name in weights if "layers.0." in name}
    assert "model.embed_tokens.weight" in sent[1]


def test_adapters_alone_are_sent_and_merged_in_the_end(start: Job) -> None:
    told = of(start, "lora")
    before, reply = trained_once(told)
    assert all("lora_" in name for name in reply) and {*reply} == {*before}
    assert sum(a.nbytes for a in reply.values()) < 0.5 * sum(
        w.nbytes for w in students.load(told.start).model.parameters()
    )
    unchanged, student = (learnt(told, arrays)[1].model for arrays in (before, merged(before, [reply], [1], 0, {})))
    plain = students.load(told.start).model.state_dict()
    torch.testing.assert_close(
        unchanged.state_dict()["model.layers.0.mlp.up_proj.weight"], plain["model.layers.0.mlp.up_proj.weight"]
    )
    assert {*student.state_dict()} == {*plain}
    assert not torch.equal(
        student.state_dict()["model.layers.0.mlp.up_proj.weight"], plain["model.layers.0.mlp.up_proj.weight"]
    )


def test_prompt_tokens_alone_move_with_momentum_and_variates(start: Job) -> None:
    told = of(start, "prompt")
    before, reply = trained_once(told)
    assert {*before} == {*reply} == {PROMPTS, VARIATE} and before[PROMPTS].shape == (3, 64)
    assert not np.array_equal(before[PROMPTS], reply[PROMPTS]) and np.abs(reply[VARIATE]).max() > 0
    state: dict[str, Any] = {}
    once = merged(before, [reply], [1], 0.5, state)
    np.testing.assert_allclose(once[PROMPTS], reply[PROMPTS], rtol=1e-6)
    twice = merged(once, [{**reply, PROMPTS: once[PROMPTS]}], [1], 0.5, state)
    np.testing.assert_allclose(twice[PROMPTS] - once[PROMPTS], 0.5 * (once[PROMPTS] - before[PROMPTS]), rtol=1e-3)
    own = torch.from_numpy(reply[VARIATE])
    same = trained_once(told, arrays={**before, VARIATE: reply[VARIATE]}, own=own)[1]
    np.testing.assert_allclose(same[PROMPTS], reply[PROMPTS], rtol=1e-5, atol=1e-7)
    other = trained_once(told, arrays={**before, VARIATE: 100 * reply[VARIATE]}, own=own)[1]
    assert not np.allclose(other[PROMPTS], reply[PROMPTS], atol=1e-6), "a variate of its own corrects"
    task, student = learnt(told, once)
    model, plain = student.model.state_dict(), students.load(told.start).model.state_dict()
    moved = [
        name for name in plain if plain[name].shape == model[name].shape and not torch.equal(plain[name], model[name])
    ]
    rows = len(plain["model.embed_tokens.weight"])
    assert not moved and len(model["model.embed_tokens.weight"]) == rows + 3
    assert str(task.prefix(task.references(told.data.tests[NEW][0].context))[0]) == "<prompt 0>"


def test_seeds_alone_are_sent_and_replayed(start: Job) -> None:
    told = of(start, "seeds")
    before, reply = trained_once(told)
    assert {*reply} == {DIRECTIONS, MOVED} and sum(a.nbytes for a in reply.values()) == 16 * TRAINING["max_steps"]
    replies = [reply, trained_once(told, client=1, arrays=before)[1]]
    assert not {*replies[0][DIRECTIONS]} & {*replies[1][DIRECTIONS]}, "clients go in directions of their own"
    after = merged(before, replies, [1, 3], 0, {})
    weights = [w.detach() for w in students.load(told.start).model.parameters()]
    for share, one in zip((0.25, 0.75), replies, strict=True):
        for seed, size in zip(one[DIRECTIONS], one[MOVED], strict=True):
            shift(weights, int(seed), share * float(size))
    for mine, theirs in zip(weights, learnt(told, after)[1].model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs.detach())


def test_what_a_client_sends_is_checked() -> None:
    before = {"w": np.zeros((2, 3), np.float32)}
    good = {"w": np.ones((2, 3), np.float32)}
    wrong = {1: {"w": np.full((2, 3), np.nan)}, 2: {"w": np.ones((3, 2))}, 3: {"v": np.ones(1)}, 4: {}}
    used, faults = checked({0: good, **wrong}, before, 1)
    assert [*used] == [0] and faults == {
        1: "sent 'w' with values that are no numbers",
        2: "sent 'w' of shape (3, 2), not (2, 3)",
        3: "sent 'v', which was not asked for",
        4: "sent nothing that can be used",
    }
    whole = good | {"v": np.ones(1)}
    used, faults = checked({0: whole, 1: good, 2: whole}, before | {"v": np.zeros(1)}, 1)
    assert [*used] == [0, 2] and faults == {1: "sent other arrays than most"}
    with pytest.raises(TrainingError, match="round 3: client 1 sent 'w' with values that are no numbers; client 2"):
        checked(wrong, before, 3)
    with pytest.raises(TrainingError, match="round 2: no client answered: at least one client must train"):
        checked({}, before, 2)


def test_every_weight_is_in_one_block() -> None:
    names = [
        *(f"model.layers.{i}.mlp.up_proj.weight" for i in range(12)),
        "model.embed_tokens.weight",
        "model.norm.weight",
    ]
    parts = [[name for name in names if trained("cyclic", 12, 5, number)(name)] for number in range(1, 6)]
    assert sorted(sum(parts, [])) == sorted(names) and all(parts)


def test_rows_without_a_federation(start: Job) -> None:
    rows, facts = [], []
    for strategy in (START, "local", "central"):
        one, about = command.run(of(start, strategy) if strategy != START else start)
        rows, facts = rows + one, [*facts, about]
    sizes = {name: json_steps(start, name) for name in ("local/client-0", "central/central")}
    assert sizes == {"local/client-0": 4, "central/central": 8}, "as many steps as in all rounds, and of all clients"
    table = command.pack(start.settings, rows, facts)
    assert list(table["variant"]) == [START, "local", "central"] * 2 and set(table["test"]) == {NEW, OLD}
    assert (Path(start.settings.out) / "table.csv").is_file()
    assert "text" not in rows[0] and {*rows[0]} == {"test", "id", "exact", "variant", "seed"}


def json_steps(start: Job, name: str) -> int:
    return len(pd.read_csv(Path(start.work).parent / name / "steps.csv"))


def test_wrong_parameters_are_named(start: Job, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    values, path = read_yaml(Path(start.params)), tmp_path / "federated.yaml"
    monkeypatch.setattr(command, "find_spec", lambda name: name)
    for change, message in (
        ({"clients": 1}, "clients: 1: there is nothing to average"),
        ({"blocks": 500}, "blocks: 500: the centre has fewer layers: lower blocks"),
        ({"clients": 500}, "contexts of smoke have requests for Refill, 500 are needed: lower clients"),
        ({"new": ["Fill"]}, "0 contexts of smoke have requests for Fill"),
        ({"strategies": {"fedprox": {}}}, "strategies: unknown 'fedprox': use some of"),
        ({"strategies": {"full": {"lr": 1.0}}}, "strategies: full: unknown parameter 'lr'"),
        ({"centre": {"lr": 1.0}}, "centre: unknown parameter 'lr'"),
        ({"cliens": 2}, "unknown parameter 'cliens'; did you mean 'clients'"),
    ):
        path.write_text(yaml.safe_dump({**values, **change}))
        assert command.main(["--params", str(path)]) == 1, message
        assert message in (said := capsys.readouterr().err) and said.count("\n") == 1, said


def test_without_flower_one_line_says_how_to_get_it(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command.main([]) == 1
    said = capsys.readouterr().err
    assert said == "federated: flwr is not installed: make federated installs it (requirements-federated.txt)\n"
    assert (paths.ROOT / "requirements-federated.txt").is_file()


def test_the_shipped_parameters_are_good() -> None:
    found = Federation.read(read_yaml(command.PARAMS), "federated.yaml")
    assert {*found.strategies} == {*SETTINGS["strategies"]}
