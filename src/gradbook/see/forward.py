"""The numbers of a forward pass, as far as they can be known once it is over.

The graph keeps none for showing. They are in what `record_lines` noted, in what nodes saved for
their own rule (their result, or their inputs, which are the results of others), in the outputs and
in the leaves. What none of these tells stays unknown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor
from torch.autograd.graph import Node

from gradbook.see import torch_internals
from gradbook.see.display import rules
from gradbook.see.origins import Made
from gradbook.see.values import Operand, Value, small_value

Inputs = Sequence[tuple[int | None, int]]
"""For each input of a node: the node that made it (None: a constant), and which of its outputs."""


def values_of(
    nodes: Sequence[Node],
    inputs: Sequence[Inputs],
    saved: Mapping[int, Mapping[str, Any]],
    outputs: Sequence[Tensor],
) -> dict[int, Value]:
    """What each node made, by its position; a node with several results has none.

    Args:
        nodes: as in the graph.
        inputs: of each of them.
        saved: what nodes had saved, by their position, read before it was freed.
        outputs: the tensors that were differentiated.
    """
    found: dict[int, Value] = {}

    def put(number: int, value: object) -> None:
        if isinstance(value, Value):
            found[number] = value

    positions = {node: number for number, node in enumerate(nodes)}
    for output in outputs:
        if output.grad_fn is not None and output.output_nr == 0:
            put(positions[output.grad_fn], small_value(output))
    for number, fields in saved.items():
        names = rules.inputs_of(torch_internals.node_name(nodes[number]))
        for name, (child, output_nr) in zip(names, inputs[number], strict=False):
            if child is not None and not output_nr:
                put(child, fields.get(name))
    for number, node in enumerate(nodes):
        leaf = torch_internals.leaf_of(node)
        if leaf is not None:
            if number not in found:
                put(number, small_value(leaf))
            continue
        put(number, saved.get(number, {}).get("result"))
        made = made_of(node)
        put(number, None if made is None else made.value)
    for several in {child for one in inputs for child, output_nr in one if output_nr}:
        found.pop(cast("int", several), None)
    return found


def operands_of(
    node: Node, inputs: Inputs, saved: Mapping[str, Any], values: Mapping[int, Value]
) -> tuple[Operand, ...]:
    """What an operation was computed from, as `rules.operands_of` orders it."""
    made = made_of(node)
    names = made.names if made is not None else ()
    fields = rules.operands_of(torch_internals.node_name(node))
    constants = made.constants if made is not None else ()
    more = max(0, len(fields) - len(inputs))
    # An operation has other constants, too: a dimension, an exponent.
    if len(constants) != more + sum(child is None for child, _ in inputs):
        constants = ()
    rest = iter(constants)
    found = []
    for position, (child, output_nr) in enumerate([*inputs, *[(None, 0)] * more]):
        if child is None:
            one = next(rest, Operand(None, None))
            if one.value is None and position < len(fields):
                kept = saved.get(fields[position])
                one = Operand(one.name, kept if isinstance(kept, Value) else None)
            found.append(one)
        else:
            name = names[position] if position < len(names) else None
            found.append(Operand(name, None if output_nr else values.get(child)))
    return tuple(found)


def made_of(node: Node) -> Made | None:
    """What `record_lines` noted of an operation, or None."""
    return cast("Made | None", torch_internals.made_of(node))
