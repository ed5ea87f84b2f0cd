"""Run by test_distributed.py in several processes; each writes a file of what came out.

A case trains with all processes and, in each process alone, on the same data joined.
"""

import functools
import json
import math
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from gradbook.train import checkpoint as checkpoint_module
from gradbook.train.accumulate import GradientAccumulator
from gradbook.train.loop import fit

Batches = list[tuple[Tensor, Tensor]]


class Net(nn.Module):
    """Two layers, one that some samples need, and a buffer that forward passes write."""

    def __init__(self, conditional: bool) -> None:
        super().__init__()
        self.conditional = conditional
        self.first = nn.Linear(4, 5)
        self.second = nn.Linear(5, 3)
        self.extra = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits; without a sample that needs it, `extra` may be left out of the graph."""
        self.calls += 1
        y = self.second(torch.tanh(self.first(x)))
        wanted = x[:, 0] > 1
        if self.conditional and not wanted.any():
            return y
        return y.index_put((wanted,), self.extra(x[wanted]), accumulate=True)


def make(*, conditional: bool = False) -> nn.Module:
    """Build the same model each time."""
    torch.manual_seed(0)
    return Net(conditional).double()


def batches(sizes: list[int], seed: int) -> Batches:
    """Draw batches of these sizes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(sizes), 4, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (sum(sizes),), generator=generator)
    return list(zip(x.split(sizes), y.split(sizes), strict=True)) if sizes else []


def joined(loaders: list[Batches], every: int) -> Batches:
    """Join the n-th windows of all processes to one batch, for every n."""
    windows = [[own[i : i + every] for i in range(0, len(own), every)] for own in loaders]
    return [
        tuple(torch.cat(parts) for parts in zip(*(b for own in nth for b in own), strict=True))
        for nth in zip_longest(*windows, fillvalue=[])
    ]


def difference(a: nn.Module, b: nn.Module) -> float:
    """Return the largest relative difference of two models' parameters."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((p - q).norm() / q.norm()) for p, q in pairs)


def accumulate(
    sizes: list[list[int]],
    every: int,
    clip_norm: float | None = None,
    conditional: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Train with all processes and with one; `sizes` has the micro-batches of each process."""
    loaders = [batches(own, seed=10 + number) for number, own in enumerate(sizes)]
    replica = DistributedDataParallel(
        make(conditional=conditional), find_unused_parameters=conditional, **options
    )
    exchanges: list[int] = []

    def counting(state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        exchanges.append(bucket.index())
        return allreduce_hook(state, bucket)

    replica.register_comm_hook(None, counting)

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

    alone = make(conditional=conditional)
    steps = train(replica, loaders[dist.get_rank()], every), train(alone, joined(loaders, every), 1)
    return {
        "steps": steps,
        "difference": difference(replica.module, alone),
        "exchanges": len(exchanges),
    }


def flush() -> dict[str, Any]:
    """Leave the loop after 1 micro-batch in the first process, 2 in the second; then flush."""
    loaders = [batches([3, 4, 5, 6], seed=1), batches([2, 1, 2, 1], seed=2)]
    replica, alone = DistributedDataParallel(make()), make()
    accumulator = GradientAccumulator(
        torch.optim.SGD(replica.parameters(), lr=0.1), 3, model=replica
    )
    seen = dist.get_rank() + 1
    for number, (x, y) in enumerate(accumulator(loaders[dist.get_rank()]), start=1):
        accumulator.backward(cross_entropy(replica(x), y, reduction="sum"), count=len(x))
        if number == seen:
            break
    pending = accumulator.pending
    accumulator.flush()

    x, y = joined([loaders[0][:1], loaders[1][:2]], 3)[0]
    cross_entropy(alone(x), y).backward()
    torch.optim.SGD(alone.parameters(), lr=0.1).step()
    return {"pending": pending, "difference": difference(replica.module, alone)}


def fitted(folder: Path) -> dict[str, Any]:
    """Train by fit with all processes and with one: weights, history, and who wrote."""
    sizes = [[5, 3, 2, 2], [1, 4]]
    loaders = [batches(own, seed=20 + number) for number, own in enumerate(sizes)]
    validation = [batches([3, 3], seed=30), batches([2], seed=31)]
    rank = dist.get_rank()
    written: list[str] = []
    write = checkpoint_module._write
    checkpoint_module._write = lambda path, content: (
        written.append(path.name),
        write(path, content),
    )

    def train(model: nn.Module, loader: Batches, val_loader: Batches, every: int, name: str) -> Any:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        return fit(
            model,
            loader,
            nn.CrossEntropyLoss(),
            optimizer,
            epochs=3,
            val_loader=val_loader,
            metrics={"right": lambda prediction, target: prediction.argmax(1) == target},
            accumulate=every,
            checkpoint=folder / name,
        ).to_dict()

    replica, alone = DistributedDataParallel(make()), make()
    many = train(replica, loaders[rank], validation[rank], 2, "many.pt")
    checkpoint_module._write = write
    dist.barrier()
    saved = torch.load(folder / "many.pt", weights_only=True)["model"]
    own = replica.module.state_dict()
    plain = all(torch.equal(own[name], saved[name]) for name in dict(alone.named_parameters()))

    optimizer = torch.optim.Adam(alone.parameters(), lr=0.05)
    one = {"val_loss": [], "right": []}
    for _ in range(3):
        for x, y in joined(loaders, 2):
            optimizer.zero_grad()
            cross_entropy(alone(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            x, y = (torch.cat(parts) for parts in zip(*validation[0], *validation[1], strict=True))
            one["val_loss"].append(cross_entropy(alone(x), y).item())
            one["right"].append((alone(x).argmax(1) == y).double().mean().item())
    worst = max(abs(a - b) for name in one for a, b in zip(many[name], one[name], strict=True))
    return {
        "difference": difference(replica.module, alone),
        "history": many,
        "worst": worst,
        "written": written,
        "plain": plain,
    }


def resumed(folder: Path) -> dict[str, Any]:
    """Train 4 epochs at once, and 2 and 2; each process has dropout and an order of its own."""

    def train(name: str, epochs: int, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(), nn.Linear(16, 3)).double()
        replica = DistributedDataParallel(model)
        torch.manual_seed(seed + 1 + dist.get_rank())
        x, y = batches([20], seed=40 + dist.get_rank())[0]
        loader = DataLoader(TensorDataset(x, y), batch_size=6, shuffle=True)
        optimizer = torch.optim.Adam(replica.parameters(), lr=0.01)
        path = folder / name
        fit(replica, loader, cross_entropy, optimizer, epochs=epochs, checkpoint=path, resume=True)
        return model

    whole = train("whole.pt", 4, seed=0)
    train("parts.pt", 2, seed=0)
    parts = train("parts.pt", 4, seed=70)
    pairs = zip(whole.parameters(), parts.parameters(), strict=True)
    return {"equal": all(torch.equal(p, q) for p, q in pairs), "drawn": torch.rand(1).item()}


def killed() -> None:
    """Train until the second process is killed from inside its third batch."""
    replica = DistributedDataParallel(make())
    accumulator = GradientAccumulator(
        torch.optim.SGD(replica.parameters(), lr=0.1), 2, model=replica
    )
    for number, (x, y) in enumerate(accumulator(batches([2] * 10, seed=1))):
        if number == 3 and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        accumulator.backward(cross_entropy(replica(x), y, reduction="sum"), count=len(x))


UNEVEN = [[3, 3, 3, 3, 3], [2]]
CASES: dict[str, Callable[[], Any]] = {
    "equal": functools.partial(accumulate, [[2, 2, 2], [2, 2, 2]], 2),
    "samples": functools.partial(accumulate, [[5, 3, 2], [1, 1, 7]], 2),
    "clipped": functools.partial(accumulate, [[5, 3, 2], [1, 1, 7]], 2, clip_norm=0.1),
    "micro-batches": functools.partial(accumulate, [[1, 2, 3, 4], [5, 1, 2]], 3),
    "second-ends-early": functools.partial(accumulate, UNEVEN, 2),
    "first-ends-early": functools.partial(accumulate, UNEVEN[::-1], 2, clip_norm=math.inf),
    "first-has-none": functools.partial(accumulate, [[], [3, 3, 3]], 2),
    "views": functools.partial(accumulate, UNEVEN, 2, gradient_as_bucket_view=True),
    "conditional": functools.partial(accumulate, [[5, 3, 2], [1, 1, 7]], 2, conditional=True),
    "conditional-uneven": functools.partial(accumulate, UNEVEN, 2, conditional=True),
    "conditional-uneven-first": functools.partial(accumulate, UNEVEN[::-1], 2, conditional=True),
    "flush": flush,
    "killed": killed,
}


def main() -> None:
    """Run the cases that are named, in one group."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=20))
    folder, *names = sys.argv[1:]
    cases = CASES | {
        "fit": functools.partial(fitted, Path(folder)),
        "resume": functools.partial(resumed, Path(folder)),
    }
    results = {name: cases[name]() for name in names}
    path = Path(folder) / f"rank-{dist.get_rank()}.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
