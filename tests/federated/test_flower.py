"""The same apps in Flower's simulation, and over its deployment engine with TLS between processes; needs flwr."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_federation import job

from lib.core import paths
from lib.core.files import read_json
from lib.federated import __main__ as command
from lib.federated.local import Arrays, fit, initial, merged
from lib.federated.settings import JOB, Job
from lib.training.params import TrainingError

flwr_app = pytest.importorskip("flwr.app", reason="flwr is not installed: make federated installs it")

from lib.federated import apps  # noqa: E402

LIMIT_S = 300.0  # for processes that wait for each other


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("flower")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNS_DIR", str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(paths.ROOT), str(paths.ROOT / "tests")]))
        start = job(folder)
        command.run(start)
        made = start.placed("cyclic", 1)
        Path(made.work).mkdir(parents=True)
        patch.setenv(JOB, made.told())
        apps.job.cache_clear()
        yield made


def by_hand(told: Job) -> Arrays:
    """What the rounds give without Flower."""
    arrays = initial(told)
    counts = [len(rows) for rows in told.data.clients]
    for number in range(1, told.settings.rounds + 1):
        replies = [fit(told, rows, arrays, number, i) for i, rows in enumerate(told.data.clients)]
        arrays = merged(arrays, replies, counts, 0.0, {})
    return arrays


def same(folder: Path, wanted: Arrays) -> None:
    with np.load(folder / apps.RESULT) as found:
        assert {*found} == {*wanted}
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-6)


class Asked:
    """A grid with so many nodes."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes

    def get_node_ids(self) -> list[int]:
        return [*range(self.nodes)]


def reply(message: Any, client: int, arrays: Arrays) -> Any:
    metrics = flwr_app.MetricRecord({"num-examples": 1, "client": client, "peak-mb": 1.0})
    content = flwr_app.RecordDict({"arrays": apps.record(arrays), "metrics": metrics})
    return flwr_app.Message(content=content, reply_to=message)


@pytest.fixture
def in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower takes the sender of a message from the run that its process belongs to."""
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.mark.usefixtures("in_a_run")
def test_clients_that_drop_out_or_send_what_is_no_answer_are_left_out(told: Job) -> None:
    before = {"w": np.zeros((2, 2), np.float32)}
    strategy = apps.Averaging(told, before)
    asked = [*strategy.configure_train(1, apps.record(before), flwr_app.ConfigRecord(), Asked(3))]
    assert len(asked) == 3 and strategy.rounds[-1]["down_mb"] == pytest.approx(3 * 16 / 1e6)
    gone = flwr_app.Message(flwr_app.Error(1, "connection lost"), reply_to=asked[0])
    nan = reply(asked[1], 1, {"w": np.full((2, 2), np.nan, np.float32)})
    good = reply(asked[2], 2, {"w": np.ones((2, 2), np.float32)})
    arrays, _ = strategy.aggregate_train(1, [gone, nan, good])
    np.testing.assert_array_equal(apps.arrays_of(arrays)["w"], np.ones((2, 2)))
    row = strategy.rounds[-1]
    assert row["used"] == 1 and row["faults"] == [
        "a client dropped out: connection lost",
        "client 1 sent 'w' with values that are no numbers",
    ]
    assert row["up_mb"] == pytest.approx(2 * 16 / 1e6)
    with pytest.raises(TrainingError, match="round 2: no client answered"):
        strategy.aggregate_train(2, [gone])


def test_a_server_does_not_wait_for_ever(told: Job, monkeypatch: Any) -> None:
    monkeypatch.setattr(apps, "WAIT_S", 0.0)
    with pytest.raises(TrainingError, match="round 1: 1 of 2 clients came within 0 s: start the others"):
        apps.Averaging(told, {}).configure_train(1, apps.record({}), flwr_app.ConfigRecord(), Asked(1))


def test_a_simulation_gives_what_the_rounds_give(told: Job) -> None:
    apps.simulate()
    rounds = read_json(Path(told.work) / apps.ROUNDS)["rounds"]
    assert [(row["clients"], row["used"], row["faults"]) for row in rounds] == [(2, 2, [])] * 2
    assert all(0 < row["up_mb"] < row["down_mb"] for row in rounds), "a block goes up, all blocks down"
    same(Path(told.work), by_hand(told))


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of the loopback address, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now, alternative = datetime.now(UTC), x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    built = built.add_extension(alternative, False).add_extension(x509.BasicConstraints(True, None), True)
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "ca.pem").write_bytes(built.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "ca.pem", folder / "key.pem"


def ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


PROJECT = """
[project]
name = "federation"
version = "1.0.0"
description = "A federation"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "study"
[tool.flwr.app.components]
serverapp = "lib.federated.apps:server"
clientapp = "lib.federated.apps:client"
[tool.flwr.app.config]
"""


def deployment(folder: Path, monkeypatch: Any) -> tuple[list[list[str]], list[str]]:
    """The commands of a server and two clients, whose app is in ``folder``, and the command that starts a run."""
    scripts, (ca, key), (link, *own) = Path(sys.executable).parent, certificate(folder), ports(3)
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")  # Flower starts its other commands by name
    for name, value in (("HOME", str(folder)), ("TELEMETRY_ENABLED", "0"), ("DISABLE_UPDATE_CHECK", "1")):
        monkeypatch.setenv(f"FLWR_{name}", value)
    (folder / "app").mkdir()
    (folder / "app" / "pyproject.toml").write_text(PROJECT)
    connection = f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{link}"\n'
    (folder / "config.toml").write_text(connection + f'root-certificates = "{ca}"\n')
    tls = [f"--ssl-ca-certfile={ca}", f"--ssl-certfile={ca}", f"--ssl-keyfile={key}"]
    commands = [["flower-superlink", *tls, f"--port={link}", "--disable-runtime-dependency-installation"]]
    for number, port in enumerate(own):
        joined = [f"--superlink=127.0.0.1:{link}", f"--root-certificates={ca}", f"--node-config=partition-id={number}"]
        commands.append(["flower-supernode", *tls, *joined, f"--port={port}"])
    return commands, ["flwr", "run", str(folder / "app"), "here", "--stream"]


@contextmanager
def running(commands: list[list[str]], folder: Path) -> Iterator[list[Path]]:
    """The logs of processes, which end with the block."""
    logs = [folder / f"{i}.log" for i in range(len(commands))]
    with ExitStack() as stack:
        for command, log in zip(commands, logs, strict=True):
            file = stack.enter_context(log.open("w"))
            process = stack.enter_context(subprocess.Popen(command, stdout=file, stderr=file))
            stack.callback(process.terminate)
        yield logs


def run_to_its_end(command: list[str], logs: list[Path]) -> str:
    """What a run says, which starts once the server is there; fails with all logs if it has not ended in time."""
    until = time.monotonic() + LIMIT_S
    while "Uvicorn running" not in logs[0].read_text() and time.monotonic() < until:
        time.sleep(0.5)
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        said = ran.stdout + ran.stderr
        if not ran.returncode:
            return said
    except subprocess.TimeoutExpired as error:
        said = f"no end after {LIMIT_S:.0f} s: {error.stdout!r}"
    return pytest.fail("\n".join([said[-2000:], *(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)]))


def test_processes_over_loopback_with_tls_give_the_same(told: Job, tmp_path: Path, monkeypatch: Any) -> None:
    there = told.placed("full", 1)
    Path(there.work).mkdir(parents=True)
    monkeypatch.setenv(JOB, there.told())
    commands, run = deployment(tmp_path, monkeypatch)
    with running(commands, tmp_path) as logs:
        said = run_to_its_end(run, logs)
    done = Path(there.work) / apps.ROUNDS
    assert done.is_file(), (said[-2000:], *(log.read_text()[-2000:] for log in logs))
    assert [row["used"] for row in read_json(done)["rounds"]] == [2, 2]
    same(Path(there.work), by_hand(there))
