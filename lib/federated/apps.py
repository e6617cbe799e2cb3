"""The server and the clients as apps of Flower, for its simulation and for its deployment engine on several machines.

What they do is a Job, which the environment names. In a deployment a machine is a client by its node config, such as
``flower-supernode --node-config "partition-id=0"``, and its data are its own alone. The folder bin of Flower's
environment must be on PATH. tests/federated/test_flower.py starts a server and two clients.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # Flower and Ray would report every run to their makers
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from lib.core import files
from lib.federated.local import OWN, VARIATE, Arrays, checked, fit, initial, merged
from lib.federated.settings import Job
from lib.training.params import TrainingError

RESULT, ROUNDS = "arrays.npz", "rounds.json"  # in a job's folder
WAIT_S = 3600.0  # for the clients of a round to come, and for their replies

client = ClientApp()  # `flwr run` finds names of an app that are assigned one by one
server = ServerApp()
job = cache(Job.here)


def record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()})


def arrays_of(found: ArrayRecord) -> Arrays:
    return {name: array.numpy() for name, array in found.items()}


def peak_mb() -> float:
    """The most memory that this process had: of the GPU if there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


@client.train()
def train(message: Message, context: Context) -> Message:
    """A client's part of a round; its control variate stays with it."""
    number, here = int(message.content["config"]["server-round"]), int(context.node_config["partition-id"])
    examples, own = job().data.clients[here], context.state.get(OWN)
    variate = torch.from_numpy(own[VARIATE].numpy()) if own else None
    reply = fit(job(), examples, arrays_of(message.content["arrays"]), number, here, variate)
    if VARIATE in reply:
        context.state[OWN] = record({VARIATE: reply[VARIATE]})
    metrics = MetricRecord({"num-examples": len(examples), "client": here, "peak-mb": peak_mb()})
    return Message(content=RecordDict({"arrays": record(reply), "metrics": metrics}), reply_to=message)


class Averaging(FedAvg):
    """FedAvg of what a job's strategy sends; replies that cannot be used are left out and counted."""

    def __init__(self, job: Job, arrays: Arrays) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=job.settings.clients)
        self.min_available_nodes: int
        self.job, self.arrays, self.state = job, arrays, Arrays()
        self.rounds: list[dict[str, Any]] = []

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if server_round > 1:
            self.min_available_nodes = 1  # one that left is not waited for
        self._wait(grid, server_round)
        messages = [*super().configure_train(server_round, arrays, config, grid)]
        self.rounds.append({"round": server_round, "clients": len(messages), "down_mb": self._mb(messages)})
        return messages

    def _wait(self, grid: Grid, number: int) -> None:
        """For clients; Flower itself would wait for ever. Raises TrainingError."""
        until = time.monotonic() + WAIT_S
        while (found := len([*grid.get_node_ids()])) < self.min_available_nodes:
            if time.monotonic() > until:
                said = f"{found} of {self.min_available_nodes} clients came within {WAIT_S:.0f} s"
                raise TrainingError(f"round {number}: {said}: start the others, or lower clients")
            time.sleep(1)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord, MetricRecord]:
        """Raises TrainingError if no client's reply can be used."""
        whole, lost = self._check_and_log_replies([*replies], is_train=True, validate=False)
        told: dict[int, Any] = {int(m.content["metrics"]["client"]): m for m in whole}
        received = {name: arrays_of(m.content["arrays"]) for name, m in sorted(told.items())}
        good, faults = checked(received, self.arrays, server_round)
        counts = [int(told[name].content["metrics"]["num-examples"]) for name in good]
        self.arrays = merged(self.arrays, [*good.values()], counts, self.job.settings.momentum, self.state)
        peak = max(float(m.content["metrics"]["peak-mb"]) for m in whole)
        absent = [f"a client dropped out: {m.error.reason:.120}" for m in lost]
        said = absent + [f"client {name} {text}" for name, text in faults.items()]
        self.rounds[-1] |= {"used": len(good), "faults": said, "up_mb": self._mb(whole), "peak_mb": peak}
        return record(self.arrays), MetricRecord({"used": len(good)})

    def _mb(self, messages: Iterable[Message]) -> float:
        return sum(a.numpy().nbytes for m in messages for a in m.content["arrays"].values()) / 1e6


@server.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds; leaves RESULT and ROUNDS in the job's folder."""
    arrays, folder = initial(job()), Path(job().work)
    strategy = Averaging(job(), arrays)
    strategy.start(grid, record(arrays), job().settings.rounds, WAIT_S)
    with files.replacing(folder / RESULT) as part, part.open("wb") as file:
        learnt: Any = strategy.arrays
        np.savez(file, **learnt)
    files.write_json(folder / ROUNDS, {"rounds": strategy.rounds})


def simulate() -> None:
    """The job in Flower's simulation, one client at a time. Raises TrainingError if it ends early."""
    from flwr.simulation import run_simulation

    job.cache_clear()
    all_there_is = {"num_cpus": len(os.sched_getaffinity(0)), "num_gpus": int(torch.cuda.is_available())}
    resources: Any = {"init_args": all_there_is, "client_resources": all_there_is}
    run_simulation(server, client, job().settings.clients, backend_config=resources)
    if not (Path(job().work) / ROUNDS).is_file():
        raise TrainingError(f"{job().strategy}: the simulation ended early: see its log for the reason")
