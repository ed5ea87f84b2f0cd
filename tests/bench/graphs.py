"""Time graph() beside a bare walk of `next_functions` and torchviz, and replay() beside backward().

Each turn makes new graphs, since the first look at a node costs most.
"""

import functools
import gc
import time
from collections.abc import Callable

import torch
from results import Measurement, take_turns
from torch import Tensor, nn

from gradbook import graph, replay

Walker = Callable[[Tensor], object]
NODE_BY_NODE = "a plain walk that reads the same"
LONG, SHORT = 10_000, 200
MANY = 20  # short ones in a turn: one takes less than a millisecond
TOO_LONG = 1_000  # for torchviz
CONSTANT = torch.full((4,), 0.5)
CHAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "x + 1": lambda y: y + 1,
    # graph() reads shape, dtype, version and storage of what a node saved; the others do not look.
    "sin(x)": torch.sin,
    "x * c": lambda y: y * CONSTANT,
}


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


def node_by_node(tensor: Tensor) -> int:
    """A plain walk that reads what graph() reads, one node after the other.

    That is the name, what the operation made, and of each saved tensor its shape, type, version and
    memory.
    """
    seen = {}
    memory = {}
    stack = [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        made = [(tuple(one.shape), one.dtype) for one in node._input_metadata]
        saved = []
        for name in saved_of(type(node)):
            data = getattr(node, name).data
            if data is not None:
                storage = data.untyped_storage()
                memory[storage.data_ptr()] = storage.nbytes()
                saved.append((name, tuple(data.shape), data.dtype, data._version))
        seen[node] = node.name(), made, saved
        for following, _ in node.next_functions:
            if following is not None:
                stack.append(following)
    return sum(memory.values())


@functools.cache
def saved_of(kind: type) -> list[str]:
    """The names under which nodes of a class have what they saved."""
    return [name for name in dir(kind) if name.startswith("_raw_saved_")]


def chain(step: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """A graph of `count` nodes in a row."""
    y = torch.ones(4, requires_grad=True)
    for _ in range(count):
        y = step(y)
    return y


def seconds(walker: Walker, step: Callable[[Tensor], Tensor], count: int, times: int = 1) -> float:
    """Processor time of walks over new graphs, one after the other."""
    # Whom a collection of the whole heap would hit says nothing of who it hits.
    gc.collect()
    gc.disable()
    try:
        tensors = [chain(step, count) for _ in range(times)]
        start = time.process_time()
        for tensor in tensors:
            walker(tensor)
        taken = time.process_time() - start
    finally:
        gc.enable()
    graph(*tensors)  # makes long chains safe to drop, whoever walked them
    return taken


def walks(rounds: int) -> Measurement:
    """graph() beside a bare walk of a long chain, which is all that a bare walk can do."""
    values = {}
    for name, step in CHAINS.items():
        actions = {
            "bare walk": functools.partial(seconds, bare, step, LONG),
            f"graph(), {name}": functools.partial(seconds, graph, step, LONG),
        }
        values.update(take_turns(actions, "bare walk", rounds))
    return Measurement(f"walk {LONG:,} nodes", "bare walk", rounds, values)


def readings(rounds: int) -> Measurement:
    """graph() beside a plain walk that reads the same of each node."""
    values = {}
    for name, step in CHAINS.items():
        actions = {
            NODE_BY_NODE: functools.partial(seconds, node_by_node, step, LONG),
            f"graph(), {name}": functools.partial(seconds, graph, step, LONG),
        }
        values.update(take_turns(actions, NODE_BY_NODE, rounds))
    return Measurement(f"read {LONG:,} nodes", NODE_BY_NODE, rounds, values)


def drawings(rounds: int) -> Measurement:
    """Time torchviz beside graph() on a short chain.

    Raises:
        AssertionError: torchviz reads a longer one, and should be measured on it.
    """
    from torchviz import make_dot

    tensor = chain(CHAINS["x + 1"], TOO_LONG)
    try:
        make_dot(tensor)
    except RecursionError:
        pass
    else:
        raise AssertionError(f"torchviz can read {TOO_LONG:,} nodes")

    values = {}
    for name in ("x + 1", "sin(x)"):
        step = CHAINS[name]
        actions = {
            "graph()": functools.partial(seconds, graph, step, SHORT, MANY),
            f"torchviz, {name}": functools.partial(seconds, make_dot, step, SHORT, MANY),
        }
        if name == "sin(x)":
            more = functools.partial(make_dot, show_saved=True)
            saved = functools.partial(seconds, more, step, SHORT, MANY)
            actions[f"torchviz, {name}, with what is saved"] = saved
        values.update(take_turns(actions, "graph()", rounds))
    return Measurement(f"read {SHORT} nodes", "graph()", rounds, values)


def lstm() -> tuple[nn.Module, Tensor]:
    """A cell that ran over 200 steps: 3,010 nodes."""
    cell, head = nn.LSTMCell(8, 16), nn.Linear(16, 1)
    h, c = torch.zeros(4, 16), torch.zeros(4, 16)
    for x in torch.randn(200, 4, 8):
        h, c = cell(x, (h, c))
    return nn.ModuleList([cell, head]), head(h).sum()


def encoder() -> tuple[nn.Module, Tensor]:
    """Two layers of a transformer, as a small BERT has them."""
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = nn.Sequential(nn.Embedding(100, 64), nn.TransformerEncoder(layer, 2), nn.Linear(64, 9))
    return model, model(torch.arange(24).view(2, 12)).logsumexp(-1).mean()


def long_chain() -> tuple[None, Tensor]:
    """A chain that is much longer than a stack is deep."""
    y = chain(CHAINS["x + 1"], 20 * LONG)
    graph(y)  # makes it safe to drop
    return None, y.sum()


MODELS: dict[str, Callable[[], tuple[nn.Module | None, Tensor]]] = {
    "an LSTM over 200 steps": lstm,
    "a small transformer": encoder,
    "a chain of 200,000 nodes": long_chain,
}


def passes(rounds: int) -> Measurement:
    """replay() beside backward(), each on a new graph."""

    def timed(name: str, run: Callable[[nn.Module | None, Tensor], object]) -> float:
        model, loss = MODELS[name]()
        gc.collect()
        start = time.process_time()
        run(model, loss)
        return time.process_time() - start

    values = {}
    for name in MODELS:
        actions = {
            "backward()": functools.partial(timed, name, lambda _, loss: loss.backward()),
            f"replay(), {name}": functools.partial(
                timed, name, lambda model, loss: replay(loss, params=model)
            ),
        }
        values.update(take_turns(actions, "backward()", rounds))
    return Measurement("run a backward pass", "backward()", rounds, values)
