"""A metric gathered on several processes, for tests/metrics/test_running.py; torchrun starts it on
a CPU.

Each process has batches of its own sizes, the last one none if it is asked for; process 0 saves the
result.
"""

import sys

import numpy as np
import torch
import torch.distributed as dist

from posezoo import metrics

PEOPLE = 11


def people() -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    target = rng.uniform(0, 100, (PEOPLE, 14, 2))
    return {
        "pred": torch.from_numpy(target + rng.normal(0, 8, target.shape)),
        "target": torch.from_numpy(target),
        "visible": torch.from_numpy(rng.random((PEOPLE, 14)) < 0.8),
    }


def shares(rank: int, processes: int, idle: bool) -> list[list[int]]:
    """Ragged batches of the process' samples; sample 0 is repeated, as a sampler does to fill the
    last batch.
    """
    if idle and rank == processes - 1:
        return []
    busy = processes - idle
    mine = [*range(rank, PEOPLE, busy), *([0] if rank == busy - 1 else [])]
    return [mine[:1], mine[1:4], mine[4:]] if rank == 0 else [mine[:2], mine[2:]]


def main(output: str, idle: bool) -> None:
    dist.init_process_group("gloo")
    everybody = people()
    order = metrics.Running(lambda pred, target, visible: pred)
    running = metrics.Running(metrics.pdj, skeleton="lsp14")
    for index in shares(dist.get_rank(), dist.get_world_size(), idle):
        pred, target, visible = (values[index] for values in everybody.values())
        for metric in (order, running):
            metric.update(pred, target, visible=visible, index=torch.tensor(index))
    first, again = running.compute(), running.compute()  # gathered once
    found = {"pdj": first, "again": again, "pred": order.compute(), "rank": dist.get_rank()}
    torch.save(found, f"{output}.{dist.get_rank()}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "idle")
