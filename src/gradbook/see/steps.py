"""One step of a backward pass, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradbook.see.nodes import Node
from gradbook.see.values import Operand, Value

Gradients = tuple[Value | None, ...]


@dataclass(frozen=True, slots=True)
class Accumulated:
    """What a step added to the ``.grad`` of a leaf.

    Attributes:
        leaf: the name of the leaf.
        before: ``.grad`` when the pass reached the leaf; None if there was none.
        added: the gradient of this pass.
        grad: ``.grad`` afterwards, with what earlier passes left in it.
    """

    leaf: str
    before: Value | None
    added: Value
    grad: Value


@dataclass(frozen=True, slots=True)
class Step:
    """One node as the engine ran it.

    Attributes:
        index: position in `Replay.steps`, which is the engine's order.
        node: the node, as in `Replay.graph`.
        incoming: the gradient of the result with respect to each output of the operation; None
            where no gradient arrived.
        outgoing: the gradient that the node sent to each of its inputs, in the order of the
            node's edges and constants; None where no gradient is needed.
        accumulated: what was added to a leaf, if the node is one; else None.
        value: the numbers of the tensor that the operation made, or of the leaf; None where nothing
            tells them.
        operands: what it was computed from, in the order of `outgoing`, and after that a constant
            that is no input of the node, as the 1 of ``1 - x``.
        saved: the numbers of the tensors that the node had saved, and the plain numbers of its
            formula: what the local rule computes with.
    """

    index: int
    node: Node
    incoming: Gradients
    outgoing: Gradients
    accumulated: Accumulated | None
    value: Value | None
    operands: tuple[Operand, ...]
    saved: Mapping[str, Any]
