"""Run the real backward pass once and write down what happens."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node as AutogradNode

from gradbook.see import forward, torch_internals
from gradbook.see.display import player
from gradbook.see.graph import BackwardGraph, Params, given_tensors, read_graph, root_of
from gradbook.see.program import Program, program_of
from gradbook.see.steps import Accumulated, Gradients, Step
from gradbook.see.values import Value, value_of


@dataclass(frozen=True, repr=False)
class Replay:
    """A backward pass, step by step; a notebook shows it as a player.

    Attributes:
        graph: the recorded graph, as it was before the pass.
        steps: one `Step` a node, in the order in which the engine ran them.
    """

    graph: BackwardGraph
    steps: tuple[Step, ...]
    _inputs: tuple[tuple[int | None, ...], ...] = field(repr=False)
    _seeds: tuple[tuple[int, int, Value], ...] = field(repr=False)
    _program: Program | str = field(repr=False)

    def inputs_of(self, step: Step) -> tuple[int | None, ...]:
        """For each outgoing gradient of `step` the id of the node it goes to; None: nowhere."""
        return self._inputs[step.node.id]

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        leaves = sum(step.accumulated is not None for step in self.steps)
        return f"Replay({len(self)} steps, {leaves} leaves)"

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self) -> str:
        """A table of all steps for a terminal (of the first and last ones, if there are many)."""
        return player.to_text(self)

    def to_html(self) -> str:
        """The player: works in a notebook and on a page, and shows a table without JavaScript."""
        return player.to_html(self)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/plain": self.to_text(), "text/html": self.to_html()}


def replay(
    *tensors: Tensor,
    gradient: Tensor | Sequence[Tensor | None] | None = None,
    params: Params | None = None,
    retain_graph: bool = False,
) -> Replay:
    """Call ``backward()`` and record each node's incoming and outgoing gradients.

    The pass is the real one, watched through public hooks that are gone afterwards, also after an
    error: ``.grad`` of each leaf ends as ``backward()`` would leave it.

    Args:
        *tensors: what to differentiate; usually one loss.
        gradient: as in ``backward(gradient=...)``, of the shape of the tensor, needed if it has
            more than one element; for several tensors a sequence of them.
        params: a module or ``{name: tensor}``, to name the leaves.
        retain_graph: keep the saved tensors, to call backward again.

    Raises:
        TypeError: an argument is not a tensor.
        ValueError: a tensor has no graph, or is not a single number and `gradient` is missing or
            has another shape.
        RuntimeError: the graph was released by an earlier backward, or backward itself fails.

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> r = replay(x * x, params={"x": x})
    >>> [(step.node.name, str(step.incoming[0])) for step in r.steps]
    [('MulBackward0', '1'), ('AccumulateGrad', '6')]
    >>> x.grad
    tensor(6.)
    """
    outputs = given_tensors(tensors, "replay")
    roots = [root_of(tensor, "replay") for tensor in outputs]
    seeds = _seeds(outputs, gradient)
    nodes, graph = read_graph(roots, params)
    if graph.released:
        raise RuntimeError(
            "replay needs a graph that was not released yet: an earlier backward() or replay() "
            "freed its saved tensors. Compute the loss again, or pass retain_graph=True to the "
            "earlier call"
        )
    recorder = _Recorder(graph)
    handles = []
    try:
        for number, node in enumerate(nodes):
            handles.append(node.register_prehook(partial(recorder.before, number, node)))
            handles.append(node.register_hook(recorder.after(number, node)))
        torch.autograd.backward(outputs, seeds, retain_graph=retain_graph)
    finally:
        for handle in handles:
            handle.remove()
        # Nodes that outlive this call must not keep the recorder through a cycle of frames.
        handles.clear()
    ids = {node: number for number, node in enumerate(nodes)}
    inputs = [
        [(None if child is None else ids[child], number) for child, number in children]
        for children in nodes.values()
    ]
    steps = recorder.steps([*nodes], inputs, outputs)
    started = tuple(
        (ids[root], output.output_nr, value_of(torch.ones_like(output) if seed is None else seed))
        for root, output, seed in zip(roots, outputs, seeds, strict=True)
    )
    program = program_of([*nodes], inputs, steps, started)
    targets = tuple(tuple(child for child, _ in one) for one in inputs)
    return Replay(graph, steps, targets, started, program)


class _Recorder:
    """Collects what the hooks see; holds numbers, and the leaves for as long as the pass runs."""

    def __init__(self, graph: BackwardGraph) -> None:
        self._graph = graph
        self._order: list[int] = []
        self._incoming: dict[int, Gradients] = {}
        self._outgoing: dict[int, Gradients] = {}
        self._saved: dict[int, Mapping[str, Any]] = {}
        self._before: dict[int, Value | None] = {}
        self._accumulated: dict[int, Accumulated] = {}

    def before(self, number: int, node: AutogradNode, gradients: Sequence[Tensor | None]) -> None:
        self._order.append(number)
        self._incoming[number] = _values(gradients)
        leaf = torch_internals.leaf_of(node)
        if leaf is not None:
            self._before[number] = None if leaf.grad is None else value_of(leaf.grad)
        self._saved[number] = _local(node)

    def after(self, number: int, node: AutogradNode) -> Callable[..., None]:
        leaf = torch_internals.leaf_of(node)

        def hook(outgoing: Sequence[Tensor | None], incoming: Sequence[Tensor | None]) -> None:
            if leaf is None:
                self._outgoing[number] = _values(outgoing)
                return
            added = self._incoming[number][0]
            if added is not None and leaf.grad is not None:
                name = self._graph.nodes[number].tensor_name or ""
                self._accumulated[number] = Accumulated(
                    name, self._before[number], added, value_of(leaf.grad)
                )

        return hook

    def steps(
        self,
        nodes: Sequence[AutogradNode],
        inputs: Sequence[forward.Inputs],
        outputs: Sequence[Tensor],
    ) -> tuple[Step, ...]:
        values = forward.values_of(nodes, inputs, self._saved, outputs)
        return tuple(
            Step(
                index,
                self._graph.nodes[number],
                self._incoming[number],
                self._outgoing.get(number, ()),
                self._accumulated.get(number),
                values.get(number),
                forward.operands_of(nodes[number], inputs[number], self._saved[number], values),
                self._saved[number],
            )
            for index, number in enumerate(self._order)
        )


def _values(gradients: Sequence[Tensor | None]) -> Gradients:
    return tuple(None if one is None else value_of(one) for one in gradients)


def _local(node: AutogradNode) -> Mapping[str, Any]:
    found: dict[str, Any] = {
        name: value_of(one.tensor)
        for name, one in torch_internals.saved_fields(node).items()
        if one.tensor is not None
    }
    found.update(torch_internals.saved_scalars(node))
    return found


def _seeds(
    outputs: tuple[Tensor, ...], gradient: Tensor | Sequence[Tensor | None] | None
) -> list[Tensor | None]:
    if gradient is None:
        seeds: list[Tensor | None] = [None] * len(outputs)
    elif isinstance(gradient, Tensor):
        seeds = [gradient]
    elif isinstance(gradient, (list, tuple)):
        seeds = list(gradient)
    else:
        raise TypeError(
            f"gradient must be a tensor of the shape of the result, got {type(gradient).__name__}"
        )
    if len(seeds) != len(outputs):
        raise ValueError(
            f"replay got {len(outputs)} tensors and {len(seeds)} gradients: give one for each"
        )
    for position, (output, seed) in enumerate(zip(outputs, seeds, strict=True)):
        if seed is None:
            if output.numel() != 1:
                raise ValueError(
                    f"tensor {position} has shape {tuple(output.shape)}, so backward needs to know "
                    "how much each element counts: reduce it with .sum() or .mean(), or pass "
                    "gradient= of the same shape"
                )
        elif not isinstance(seed, Tensor):
            raise TypeError(f"gradient must hold tensors, got {type(seed).__name__}")
        elif seed.shape != output.shape:
            raise ValueError(
                f"gradient must have the shape of the result, {tuple(output.shape)}, "
                f"got {tuple(seed.shape)}"
            )
    return seeds
