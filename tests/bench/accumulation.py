"""Time GradientAccumulator beside a hand-written loop that computes the same thing.

`python tests/bench/accumulation.py` prints ratios; accelerate and Fabric join where installed.
Loops take turns in one process, and a ratio compares neighbours, so that a machine that slows
down slows both. With --limit, a median ratio of ours above it ends in an error.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gradbook.accumulate import GradientAccumulator

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


def measure(loops: dict[str, Loop], loader: Loader, rounds: int) -> dict[str, float]:
    """The median over the rounds of each loop's time, relative to the first loop's."""
    ratios: dict[str, list[float]] = {name: [] for name in loops}
    first = next(iter(loops))
    for loop in loops.values():
        loop(loader)  # warm up
    for number in range(rounds):
        seconds = {}
        # Every other round in the opposite order: coming first is no advantage.
        for name, loop in list(loops.items())[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            loop(loader)
            seconds[name] = time.perf_counter() - start
        for name in loops:
            ratios[name].append(seconds[name] / seconds[first])
    return {name: statistics.median(values) for name, values in ratios.items()}


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--limit", type=float, help="largest ratio allowed for gradbook")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    loader = [(torch.randn(ROWS, 16), torch.randint(10, (ROWS,))) for _ in range(BATCHES)]

    loops: dict[str, Loop] = {}
    models: dict[str, nn.Module] = {}
    for name, build in {
        "by hand": by_hand,
        "gradbook": with_gradbook,
        "accelerate": with_accelerate,
        "Fabric": with_fabric,
    }.items():
        try:
            models[name], loops[name] = build()
        except ImportError as error:
            print(f"{name}: left out ({error})", file=sys.stderr)

    ratios = measure(loops, loader, options.rounds)
    hand = dict(models["by hand"].named_parameters())
    for name, ratio in ratios.items():
        same = all(
            torch.allclose(parameter, hand[key.removeprefix("_forward_module.")], atol=1e-5)
            for key, parameter in models[name].named_parameters()
        )
        print(f"{name:12} {ratio:.3f}   {'same weights' if same else 'other weights'}")
    if options.limit is not None and ratios["gradbook"] > options.limit:
        raise SystemExit(f"gradbook takes {ratios['gradbook']:.3f}, more than {options.limit}")


if __name__ == "__main__":
    main()
