"""Run by test_distributed.py in two processes; writes what came out, a file for each process.

Every case trains with several processes and, in this process alone, on the same data joined, and
returns how far apart the weights are.
"""

import copy
import json
import math
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from gradbook.accumulate import GradientAccumulator

Batches = list[tuple[Tensor, Tensor]]


class Net(nn.Module):
    """Two layers, one that may stay unused, and a buffer that forward passes count in."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.second = nn.Linear(5, 3)
        self.extra = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = self.second(torch.tanh(self.first(x)))
        # Each sample decides, so a process may see none that needs the extra layer.
        wanted = x[:, 0] > 1
        return y.index_put((wanted,), self.extra(x[wanted]), accumulate=True) if wanted.any() else y


def make(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Net().double()


def batches(sizes: list[int], seed: int) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(sizes), 4, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (sum(sizes),), generator=generator)
    return list(zip(x.split(sizes), y.split(sizes), strict=True)) if sizes else []


def joined(loaders: list[Batches], every: int) -> Batches:
    """The windows of all processes, the n-th ones joined."""
    windows = [[own[i : i + every] for i in range(0, len(own), every)] for own in loaders]
    return [
        tuple(torch.cat(parts) for parts in zip(*(b for own in nth for b in own), strict=True))
        for nth in zip_longest(*windows, fillvalue=[])
    ]


def difference(a: nn.Module, b: nn.Module) -> float:
    """The largest relative difference of two models' parameters."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((p - q).norm() / q.norm()) for p, q in pairs)


def accumulate(sizes: list[list[int]], every: int, **options: Any) -> dict[str, Any]:
    """Train with several processes and with one; `sizes` holds a list for each process."""
    rank = dist.get_rank()
    loaders = [batches(own, seed=10 + number) for number, own in enumerate(sizes)]
    clip_norm = options.pop("clip_norm", None)
    many = DistributedDataParallel(make(), find_unused_parameters=True, **options)
    one = make()
    syncs: list[int] = []

    def train(model: nn.Module, loader: Batches, every: int) -> int:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=0.01)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        accumulator = GradientAccumulator(
            optimizer, every, model=model, clip_norm=clip_norm, scheduler=scheduler
        )
        for _ in range(2):
            for x, y in accumulator(loader):
                accumulator.backward(cross_entropy(model(x), y, reduction="sum"), count=len(x))
        return accumulator.steps

    steps = train(many, loaders[rank], every), train(one, joined(loaders, every), 1)
    return {"steps": steps, "difference": difference(many.module, one), "syncs": len(syncs)}


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "equal": lambda: accumulate([[2, 2, 2], [2, 2, 2]], 2),
    "samples": lambda: accumulate([[5, 3, 2], [1, 1, 7]], 2),
    "clipped": lambda: accumulate([[5, 3, 2], [1, 1, 7]], 2, clip_norm=0.1),
    "short-1": lambda: accumulate([[3, 3, 3, 3, 3], [2]], 2),
    "short-0": lambda: accumulate([[2], [3, 3, 3, 3, 3]], 2),
    "micro-batches": lambda: accumulate([[1, 2, 3, 4], [5, 1, 2]], 3),
    "empty": lambda: accumulate([[], [3, 3, 3]], 2),
    "views": lambda: accumulate([[3, 3, 3, 3, 3], [2]], 2, gradient_as_bucket_view=True),
}


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=30))
    results = {name: CASES[name]() for name in names or CASES}
    path = folder / f"{dist.get_rank()}.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
