"""Time graph() beside a bare walk of `next_functions`, and beside torchviz.

`python tests/bench/graphs.py` prints ratios. Each round makes new graphs, since the first look at
a node costs most, and lets the walkers take turns; a ratio compares neighbours, so that a machine
that slows down slows both. With --limit, ratios beyond the bars of the design end in an error.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gradbook import graph

Walker = Callable[[Tensor], object]
LONG, SHORT = 10_000, 200
CHAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "x + 1, saves nothing": lambda y: y + 1,
    # graph() reads shape, dtype, version and storage of what a node saved; the others do not look.
    "sin(x), saves a tensor": torch.sin,
}
LIMITED = "x + 1, saves nothing"


def bare(tensor: Tensor) -> int:
    """The least that a walk has to do."""
    seen = set()
    stack = [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for following, _ in node.next_functions:
            if following is not None:
                stack.append(following)
    return len(seen)


def chain(step: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """A graph of `count` nodes in a row."""
    y = torch.ones(4, requires_grad=True)
    for _ in range(count):
        y = step(y)
    return y


def seconds(walker: Walker, step: Callable[[Tensor], Tensor], count: int) -> float:
    """Time of one walk over a new graph."""
    tensor = chain(step, count)
    gc.collect()
    start = time.perf_counter()
    walker(tensor)
    taken = time.perf_counter() - start
    graph(tensor)  # makes a long chain safe to drop, whoever walked it
    return taken


def ratio(ours: Walker, other: Walker, step: Callable[[Tensor], Tensor], count: int) -> float:
    """Median over rounds of our time in that of the other."""
    ratios = []
    for _ in range(ROUNDS):
        theirs = seconds(other, step, count)
        ratios.append(seconds(ours, step, count) / theirs)
    return statistics.median(ratios)


ROUNDS = 15


def main() -> int:
    """Print the ratios; 1 if a bar is missed and --limit is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", action="store_true", help="fail beyond the bars")
    limited = parser.parse_args().limit
    missed = False
    for name, step in CHAINS.items():
        found = ratio(graph, bare, step, LONG)
        print(f"{LONG:,} nodes of {name}: graph() takes {found:.1f} x a bare walk (bar: 5)")
        missed |= name == LIMITED and found > 5
    try:
        from torchviz import make_dot
    except ImportError:
        print("torchviz is not installed: not compared")
    else:
        for name, step in CHAINS.items():
            found = 1 / ratio(graph, make_dot, step, SHORT)
            print(f"{SHORT} nodes of {name}: graph() is {found:.1f} x as fast as torchviz (bar: 5)")
            missed |= name == LIMITED and found < 5
    return int(missed and limited)


if __name__ == "__main__":
    sys.exit(main())
