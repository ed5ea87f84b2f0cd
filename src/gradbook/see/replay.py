"""Run the real backward pass once and write down what happens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node as AutogradNode

from gradbook.see import torch_internals
from gradbook.see.display import player
from gradbook.see.forward import Inputs
from gradbook.see.graph import BackwardGraph, Params, given_tensors, read_graph, root_of
from gradbook.see.program import Program, program_of
from gradbook.see.record import Record
from gradbook.see.steps import Step
from gradbook.see.values import Glance, Value, glance, value_of


@dataclass(frozen=True, repr=False)
class Replay:
    """A backward pass, step by step; a notebook shows it as a player.

    Attributes:
        graph: the recorded graph, as it was before the pass.
    """

    graph: BackwardGraph
    _record: Record = field(repr=False)
    _seeds: tuple[tuple[int, int, Value], ...] = field(repr=False)
    _program: Program | str = field(repr=False)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """One `Step` a node, in the order in which the engine ran them."""
        return tuple(map(self._record.step, range(len(self))))

    @property
    def _inputs(self) -> Sequence[Inputs]:
        return self._record.inputs

    @property
    def _order(self) -> Sequence[int]:
        return self._record.order

    def _step(self, index: int) -> Step:
        return self._record.step(index)

    def _norm_into(self, nodes: Sequence[int]) -> float | None:
        return self._record.norm_into(nodes)

    def inputs_of(self, step: Step) -> tuple[int | None, ...]:
        """For each outgoing gradient of `step` the id of the node it goes to; None: nowhere."""
        return tuple(child for child, _ in self._inputs[step.node.id])

    def __len__(self) -> int:
        return len(self._record.order)

    def __repr__(self) -> str:
        return f"Replay({len(self)} steps, {len(self._record.grads)} leaves)"

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
    depth: int | str | None = None,
) -> Replay:
    """Call ``backward()`` and record each node's incoming and outgoing gradients.

    The pass is the real one, watched through public hooks that are gone afterwards, also after an
    error: ``.grad`` of each leaf ends as ``backward()`` would leave it.

    Args:
        *tensors: what to differentiate; usually one loss.
        gradient: as in ``backward(gradient=...)``, of the shape of the tensor, needed if it has
            more than one element; for several tensors a sequence of them.
        params: a module or ``{name: tensor}``, to name the leaves. With a module, a pass of more
            than 60 steps is shown by module, each with a bar for the gradient that came to it; run
            the model under `record_modules` for boxes that hold what each module made.
        retain_graph: keep the saved tensors, to call backward again.
        depth: how far the modules of `params` are opened where the pass is shown by module, as of
            `BackwardGraph.to_text`.

    Raises:
        TypeError: an argument is not a tensor.
        ValueError: a tensor has no graph, or is not a single number and `gradient` is missing or
            has another shape. Or `depth` is negative or names no module.
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
    nodes, graph = read_graph(roots, params, depth)
    if graph.released:
        raise RuntimeError(
            "replay needs a graph that was not released yet: an earlier backward() or replay() "
            "freed its saved tensors. Compute the loss again, or pass retain_graph=True to the "
            "earlier call"
        )
    inputs = _inputs(nodes)
    record = Record(graph, inputs, _saved(nodes))
    _run(record, [*nodes], partial(torch.autograd.backward, outputs, seeds, retain_graph))
    record.note_forward([*nodes], dict(zip(graph.roots, outputs, strict=True)))
    started = tuple(
        (root, output.output_nr, value_of(torch.ones_like(output) if seed is None else seed))
        for root, output, seed in zip(graph.roots, outputs, seeds, strict=True)
    )
    program = program_of([*nodes], inputs, record, started)
    return Replay(graph, record, started, program)


def _inputs(nodes: Mapping[AutogradNode, torch_internals.Edges]) -> list[Inputs]:
    ids: dict[AutogradNode | None, int | None] = {None: None}
    ids.update((node, number) for number, node in enumerate(nodes))
    return [tuple((ids[child], number) for child, number in one) for one in nodes.values()]


def _saved(nodes: Iterable[AutogradNode]) -> list[Mapping[str, Any]]:
    """What each node has saved; a tensor that several nodes hold is read once."""
    read: dict[int, Glance] = {}
    found: list[Mapping[str, Any]] = []
    with torch.no_grad():
        for node in nodes:
            fields: dict[str, Any] = {}
            for name, tensor in torch_internals.saved_tensors(node):
                key = id(tensor)  # the graph holds it, so that nothing else can get this id
                if key not in read:
                    read[key] = glance(tensor)
                fields[name] = read[key]
            fields.update(torch_internals.saved_scalars(node))
            found.append(fields)
    return found


def _run(record: Record, nodes: Sequence[AutogradNode], backward: Callable[[], object]) -> None:
    """Run the pass, watched by hooks that are gone afterwards."""
    handles = []
    # The collector would pass over thousands of new small objects, none of them garbage.
    with torch_internals.uncollected():
        try:
            for number, node in enumerate(nodes):
                leaf = torch_internals.leaf_of(node)
                if leaf is not None:
                    handles.append(node.register_prehook(partial(record.before, number, leaf)))
                    handles.append(node.register_hook(partial(record.added, number, leaf)))
                    continue
                # A custom function may write into the gradient that it is given.
                if torch_internals.function_of(node) is not None:
                    handles.append(node.register_prehook(partial(record.came, number)))
                handles.append(node.register_hook(partial(record.ran, number)))
            backward()
        finally:
            for handle in handles:
                handle.remove()
            # Nodes that outlive this call must not keep the record through a cycle of frames.
            handles.clear()
            record.finish()


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
