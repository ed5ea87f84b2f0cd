"""The numbers of a forward pass, as far as they can be known once it is over.

The graph keeps none for showing. They are in what `record_lines` noted, in what nodes saved for
their own rule (their result, or their inputs, which are the results of others), in the outputs and
in the leaves. What none of these tells stays unknown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from torch.autograd.graph import Node

from gradbook.see import torch_internals
from gradbook.see.display import rules
from gradbook.see.origins import Made
from gradbook.see.values import Glance, Operand, Value, settled

Inputs = Sequence[tuple[int | None, int]]
"""For each input of a node: the node that made it (None: a constant), and which of its outputs."""


def values_of(
    names: Sequence[str],
    inputs: Sequence[Inputs],
    saved: Sequence[Mapping[str, Any]],
    known: Mapping[int, Value],
    made: Mapping[int, Made],
) -> dict[int, Glance]:
    """What each node made, by its position; a node with several results has none.

    Args:
        names: of the nodes, as in the graph.
        inputs: of each of them.
        saved: what each had saved, read before it was freed.
        known: what outputs and leaves hold, if they are small.
        made: what `record_lines` noted.
    """
    found: dict[int, Glance] = {}
    for fields, name, entering in zip(saved, names, inputs, strict=True):
        if fields:
            for field, (child, output_nr) in zip(rules.inputs_of(name), entering, strict=False):
                if child is not None and not output_nr and _is_value(fields.get(field)):
                    found[child] = fields[field]
    for number, value in known.items():
        found.setdefault(number, value)
    for number, fields in enumerate(saved):
        if _is_value(fields.get("result")):
            found[number] = fields["result"]
    for number, one in made.items():
        if one.value is not None:
            found[number] = one.value
    for several in {child for one in inputs for child, output_nr in one if output_nr}:
        found.pop(cast("int", several), None)
    return found


def operands_of(
    name: str,
    inputs: Inputs,
    saved: Mapping[str, Any],
    values: Mapping[int, Glance],
    made: Made | None,
) -> tuple[Operand, ...]:
    """What an operation was computed from, as `rules.operands_of` orders it."""
    names = made.names if made is not None else ()
    fields = rules.operands_of(name)
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
                one = Operand(one.name, settled(kept) if _is_value(kept) else None)
            found.append(one)
        else:
            called = names[position] if position < len(names) else None
            found.append(Operand(called, None if output_nr else settled(values.get(child))))
    return tuple(found)


def _is_value(one: object) -> bool:
    return isinstance(one, (Value, np.ndarray))


def made_of(node: Node) -> Made | None:
    """What `record_lines` noted of an operation, or None."""
    return cast("Made | None", torch_internals.made_of(node))
