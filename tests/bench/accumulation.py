"""Time GradientAccumulator beside a hand-written loop that computes the same thing.

Every loop must end with the same weights: a faster loop that computes something else is no peer.
"""

import functools
import time
from collections.abc import Callable, Iterable

import torch
from results import Measurement, take_turns
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gradbook.train.accumulate import GradientAccumulator

EVERY = 4
BATCHES = 256
ROWS = 8

Loader = list[tuple[Tensor, Tensor]]
Loop = Callable[[Loader], None]


def make() -> tuple[nn.Module, torch.optim.Optimizer]:
    """A tiny MLP and its optimizer, always the same."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def by_hand() -> tuple[nn.Module, Loop]:
    """What a careful engineer writes."""
    model, optimizer = make()
    parameters = list(model.parameters())

    def loop(loader: Loader) -> None:
        optimizer.zero_grad()
        count = 0
        for number, (x, y) in enumerate(loader, start=1):
            cross_entropy(model(x), y, reduction="sum").backward()
            count += len(x)
            if number % EVERY == 0 or number == len(loader):
                for parameter in parameters:
                    parameter.grad.div_(count)
                optimizer.step()
                optimizer.zero_grad()
                count = 0

    return model, loop


def with_gradbook() -> tuple[nn.Module, Loop]:
    """The same by GradientAccumulator."""
    model, optimizer = make()
    accumulator = GradientAccumulator(optimizer, EVERY)

    def loop(loader: Loader) -> None:
        for x, y in accumulator(loader):
            loss = cross_entropy(model(x), y, reduction="sum")
            accumulator.backward(loss, count=len(x))

    return model, loop


def with_accelerate() -> tuple[nn.Module, Loop]:
    """accelerate, which leaves unequal micro-batches to its user: here they are equal."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=EVERY)
    model, optimizer = accelerator.prepare(*make())

    def loop(loader: Iterable[tuple[Tensor, Tensor]]) -> None:
        for x, y in loader:
            with accelerator.accumulate(model):
                accelerator.backward(cross_entropy(model(x), y))
                optimizer.step()
                optimizer.zero_grad()

    return model, loop


def with_fabric() -> tuple[nn.Module, Loop]:
    """Lightning Fabric, with the count of micro-batches kept by hand, as its manual shows."""
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    model, optimizer = fabric.setup(*make())

    def loop(loader: Iterable[tuple[Tensor, Tensor]]) -> None:
        for number, (x, y) in enumerate(loader, start=1):
            boundary = number % EVERY == 0
            with fabric.no_backward_sync(model, enabled=not boundary):
                fabric.backward(cross_entropy(model(x), y) / EVERY)
            if boundary:
                optimizer.step()
                optimizer.zero_grad()

    return model, loop


def seconds(loop: Loop, loader: Loader) -> float:
    """Processor time of one pass over the data."""
    start = time.process_time()
    loop(loader)
    return time.process_time() - start


def loops(rounds: int) -> Measurement:
    """All loops in one process.

    Raises:
        AssertionError: a loop ends with other weights than the one written by hand.
    """
    torch.set_num_threads(1)
    torch.manual_seed(1)
    loader = [(torch.randn(ROWS, 16), torch.randint(10, (ROWS,))) for _ in range(BATCHES)]
    builders = {
        "by hand": by_hand,
        "GradientAccumulator": with_gradbook,
        "accelerate": with_accelerate,
        "Fabric": with_fabric,
    }
    built = {name: build() for name, build in builders.items()}
    for _, loop in built.values():
        loop(loader)  # warm up
    actions = {name: functools.partial(seconds, loop, loader) for name, (_, loop) in built.items()}
    values = take_turns(actions, "by hand", rounds)
    expected = dict(built["by hand"][0].named_parameters())
    for name, (model, _) in built.items():
        for key, parameter in model.named_parameters():
            other = expected[key.removeprefix("_forward_module.")]
            assert torch.allclose(parameter, other, atol=1e-5), f"{name} computes something else"
    return Measurement(f"train on {BATCHES} micro-batches", "by hand", rounds, values)
