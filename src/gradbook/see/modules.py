"""Which module made which node: noted by hooks while it runs, or guessed from the parameters."""

import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from gradbook.see import torch_internals
from gradbook.see.origins import tensors
from gradbook.see.places import ModuleFacts, Modules, Place

_WITHOUT_FORWARD = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(slots=True)
class _Tree:
    """A recorded model, without it."""

    facts: dict[str, ModuleFacts]
    calls: Counter[str] = field(default_factory=Counter)


@contextmanager
def record_modules(model: nn.Module) -> Iterator[None]:
    """Nodes recorded inside remember which submodule of `model` made them.

    `graph` and `replay` draw by module then: a box holds what the forward of its module made, and
    nothing else. Without it they guess from the parameters. The model computes as before; forward
    hooks note where each call begins and ends, and are gone afterwards.

    Args:
        model: the module that is called inside, or whose submodules are.

    Raises:
        TypeError: `model` is no module.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with record_modules(model):
    ...     out = model(torch.ones(1, 2))
    >>> from gradbook import graph
    >>> [(node.name, node.module) for node in graph(out).nodes[:2]]
    [('ReluBackward0', '1'), ('AddmmBackward0', '0')]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"record_modules needs a torch.nn.Module, got {type(model).__name__}")
    recorder = _Recorder(_Tree(facts_of(model)))
    handles = []
    try:
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(recorder.entering(path), prepend=True))
            hook = recorder.leaving(path)
            handles.append(module.register_forward_hook(hook, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(threading.local):
    """Notes where calls begin and end, as numbers in the order of recording, for each thread."""

    def __init__(self, tree: _Tree) -> None:
        super().__init__()
        self._tree = tree
        self._running: list[Place] = []
        self._first = 0
        # From each number on, the innermost call that runs; None: none does.
        self._starts: list[int] = []
        self._places: list[Place | None] = []

    def entering(self, path: str) -> Any:
        """A hook to run before the forward of a module."""

        def enter(_module: nn.Module, _arguments: object) -> None:
            if not self._running:
                self._first = torch_internals.sequence_number()
            around = self._running[-1] if self._running else None
            place = Place(path, self._tree.calls[path], around)
            self._tree.calls[path] += 1
            self._running.append(place)
            self._note(place)

        return enter

    def leaving(self, path: str) -> Any:
        """A hook to run after it, also after an error."""

        def leave(_module: nn.Module, _arguments: object, output: object) -> None:
            # After an error the calls inside have not been left.
            while self._running and self._running.pop().path != path:
                pass
            self._note(self._running[-1] if self._running else None)
            found = _tensors(output)
            known = self._tree.facts[path]
            if found:
                shape = torch_internals.shape_of(found[0])
                self._tree.facts[path] = ModuleFacts(known.name, shape, known.parameters)
            if not self._running:
                self._mark(found)

        return leave

    def _note(self, place: Place | None) -> None:
        self._starts.append(torch_internals.sequence_number())
        self._places.append(place)

    def _mark(self, outputs: Iterable[Tensor]) -> None:
        """The outermost call is over: tell the nodes behind what it returned."""
        for node in torch_internals.newer([one.grad_fn for one in outputs], self._first):
            number = torch_internals.node_number(node)
            place = self._places[bisect_right(self._starts, number) - 1]
            torch_internals.set_module(node, (self._tree, place))
        self._starts.clear()
        self._places.clear()


def _tensors(output: object) -> list[Tensor]:
    """The tensors in what a module returned; many return a dataclass."""
    plain = isinstance(output, (Tensor, list, tuple, Mapping))
    return [*tensors(output if plain else [*getattr(output, "__dict__", {}).values()])]


def facts_of(model: nn.Module) -> dict[str, ModuleFacts]:
    """The modules of a model that have a forward, by their qualified names."""
    return {
        path: ModuleFacts(type(module).__name__, None, sum(p.numel() for p in module.parameters()))
        for path, module in model.named_modules()
        if type(module) not in _WITHOUT_FORWARD
    }


def modules_of(
    nodes: Sequence[Node],
    edges: Sequence[tuple[int, int, int]],
    leaves: Mapping[int, str],
    params: object,
) -> Modules | None:
    """The modules that made the nodes of a graph; None if it is of none.

    Args:
        nodes: of a graph.
        edges: as in `BackwardGraph._edges`.
        leaves: names of the leaves that have one, by position.
        params: what named them.
    """
    recorded = torch_internals.modules(nodes)
    if recorded:
        return _recorded(recorded, edges, leaves)
    if isinstance(params, nn.Module):
        facts = facts_of(params)
    else:
        facts = {_parent(name): ModuleFacts("", None, 0) for name in leaves.values() if "." in name}
        for whole in [*facts]:
            parts = whole.split(".")
            for end in range(1, len(parts)):
                facts.setdefault(".".join(parts[:end]), ModuleFacts("", None, 0))
    if len(facts) < 2:
        return None
    return Modules(True, facts, _guessed(nodes, edges, leaves, facts))


def _recorded(
    found: Mapping[int, Any], edges: Sequence[tuple[int, int, int]], leaves: Mapping[int, str]
) -> Modules:
    trees = {id(tree): tree for tree, _ in found.values()}
    several = len(trees) > 1
    facts: dict[str, ModuleFacts] = {}
    prefixes = {}
    for key, tree in trees.items():
        prefixes[key] = prefix = _free(tree.facts[""].name, facts) if several else ""
        facts.update((_joined(prefix, path), one) for path, one in tree.facts.items())
    places = {
        number: _prefixed(prefixes[id(tree)], place)
        for number, (tree, place) in found.items()
        if place is not None
    }
    _place_leaves(places, edges, leaves, {} if several else facts)
    return Modules(False, facts, places)


def _prefixed(prefix: str, place: Place) -> Place:
    if not prefix:
        return place
    within = None if place.within is None else _prefixed(prefix, place.within)
    return Place(_joined(prefix, place.path), place.call, within)


def _free(name: str, taken: Mapping[str, object]) -> str:
    number, found = 2, name
    while found in taken:
        found = f"{name} {number}"
        number += 1
    return found


def _joined(prefix: str, path: str) -> str:
    return ".".join(filter(None, (prefix, path)))


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _place_leaves(
    places: dict[int, Place],
    edges: Sequence[tuple[int, int, int]],
    leaves: Mapping[int, str],
    facts: Mapping[str, ModuleFacts],
) -> None:
    """A parameter stands in the module that has it; another leaf with what uses it first."""
    for number, name in leaves.items():
        path = _parent(name)
        while path not in facts and path:
            path = _parent(path)
        if path in facts and (path or "." not in name):
            places[number] = Place(path, 0)
    ends = {dst for _, dst, _ in edges} - {src for src, _, _ in edges}
    for src, dst, _ in reversed(edges):
        if dst in ends and dst not in places and src in places and dst not in leaves:
            places[dst] = places[src]


def _guessed(
    nodes: Sequence[Node],
    edges: Sequence[tuple[int, int, int]],
    leaves: Mapping[int, str],
    facts: Mapping[str, ModuleFacts],
) -> dict[int, Place]:
    """What uses a parameter is of its module; what runs after it, of the module around that.

    What runs between two uses of one module's parameters is of that module, as in a loop, and then
    also what follows. Nothing is told of what runs before the first parameter and after the last.
    """
    places: dict[int, Place] = {}
    _place_leaves(places, (), leaves, facts)
    own: dict[int, str] = {}
    for src, dst, _ in edges:
        if dst in places:
            own.setdefault(src, places[dst].path)
    order = sorted(
        (number for number in range(len(nodes)) if number not in leaves),
        key=lambda number: torch_internals.node_number(nodes[number]),
    )
    following: str | None = None
    after: dict[int, str | None] = {}
    for number in reversed(order):
        following = own.get(number, following)
        after[number] = following
    busy = set()
    last: str | None = None
    for number in order:
        last = own.get(number, last)
        if number not in own and last is not None and last == after[number]:
            busy.add(last)
    last = None
    for number in order:
        last = own.get(number, last)
        if last is None or after[number] is None:
            continue
        inside = number in own or last in busy
        places[number] = Place(last if inside else _around(last, facts), 0)
    return places


def _around(path: str, facts: Mapping[str, ModuleFacts]) -> str:
    """The module that holds another one; itself, if none does."""
    outer = _parent(path)
    while outer and outer not in facts:
        outer = _parent(outer)
    return outer if outer in facts else path
