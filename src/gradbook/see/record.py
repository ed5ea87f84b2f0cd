"""What the hooks of `replay` take down of a backward pass.

The pass waits for them, and may have a hundred thousand nodes: numbers are copied as they come, and
only read when somebody asks for a step.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node as AutogradNode

from gradbook.see import forward, torch_internals
from gradbook.see.forward import Inputs
from gradbook.see.graph import BackwardGraph
from gradbook.see.origins import Made
from gradbook.see.steps import Accumulated, Step
from gradbook.see.values import Glance, Value, glance, settled, small_value

Glances = Sequence[Glance | None]
Gradients = Sequence[Tensor | None]


class Record:
    """Numbers of a pass, by node; no tensor is kept once it is over.

    Attributes:
        inputs: of each node.
        order: the nodes, as the engine ran them.
        incoming: the gradient of each result of each node that ran.
        outgoing: the gradient of each of its inputs.
        grads: ``.grad`` of leaves that got something: before, and after.
    """

    def __init__(
        self, graph: BackwardGraph, inputs: Sequence[Inputs], saved: Sequence[Mapping[str, Any]]
    ) -> None:
        self._graph = graph
        self.inputs = inputs
        self._saved = saved
        self.order: list[int] = []
        self.incoming: dict[int, Glances] = {}
        self.outgoing: dict[int, Glances] = {}
        self.grads: dict[int, tuple[Glance | None, Glance]] = {}
        self._before: dict[int, Glance | None] = {}
        self._known: dict[int, Value] = {}
        self._made: dict[int, Made] = {}
        # A gradient that one node sends to another is read once: what was sent to nodes that get
        # nothing else is kept until they run, as the engine keeps it. Not what a leaf gets: the
        # engine hands it to `.grad` only if nobody else holds it.
        arrivals = Counter(graph.roots)
        arrivals.update(child for one in inputs for child, _ in one if child is not None)
        self._single = {child for child, number in arrivals.items() if number == 1} - {
            *graph._leaves,
            *graph.roots,
        }
        self._sent: dict[int, tuple[Tensor, int, Glance]] = {}

    # Hooks: of a leaf, of a custom Function, of any other node ---------------------------------

    def before(self, number: int, leaf: Tensor, incoming: Gradients) -> None:
        """A leaf is about to get its gradient."""
        self.incoming[number] = _glances(incoming)
        # By leaf: each device has a thread of its own, and they take turns.
        self._before[number] = None if leaf.grad is None else glance(leaf.grad)

    def added(self, number: int, leaf: Tensor, _outgoing: Gradients, incoming: Gradients) -> None:
        """A leaf has got it."""
        self.order.append(number)
        added = self.incoming[number][0]
        grad = leaf.grad
        if added is not None and grad is not None:
            same = _are_same(grad, incoming[0])
            self.grads[number] = self._before[number], (added if same else glance(grad))

    def came(self, number: int, incoming: Gradients) -> None:
        """A node is about to run that may change what it is given."""
        self.incoming[number] = _glances(incoming)

    def ran(self, number: int, outgoing: Gradients, incoming: Gradients) -> None:
        """Any other node has run."""
        self.order.append(number)
        sent = self._sent.pop(number, None)
        if number not in self.incoming:
            if sent is not None and sent[0] is incoming[0] and sent[1] == sent[0]._version:
                self.incoming[number] = (sent[2],)
            else:
                self.incoming[number] = _glances(incoming)
        looks: list[Glance | None] = []
        for one, (child, _) in zip(outgoing, self.inputs[number], strict=False):
            if one is None:
                looks.append(None)
                continue
            look = glance(one)
            looks.append(look)
            if child in self._single and not one.is_inference():
                self._sent[child] = one, one._version, look
        self.outgoing[number] = looks

    def finish(self) -> None:
        """The pass is over: let go of the tensors."""
        self._sent.clear()
        self._before.clear()

    def note_forward(self, nodes: Sequence[AutogradNode], outputs: Mapping[int, Tensor]) -> None:
        """Take down what tells the numbers of the forward pass, before the nodes are gone."""
        for number, output in outputs.items():
            self._know(number, output if output.output_nr == 0 else None)
        for number in self._graph._leaves:
            self._know(number, torch_internals.leaf_of(nodes[number]))
        if torch_internals.lines_exist():
            for number, node in enumerate(nodes):
                made = forward.made_of(node)
                if made is not None:  # a condition holds nodes and leaves
                    self._made[number] = replace(made, condition=None)

    def _know(self, number: int, tensor: Tensor | None) -> None:
        value = None if tensor is None else small_value(tensor)
        if value is not None:
            self._known[number] = value

    # Steps -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.order)

    def step(self, index: int) -> Step:
        """What is known of a step."""
        number = self.order[index]
        node = self._graph.nodes[number]
        accumulated = None
        if number in self.grads:
            before, grad = map(settled, self.grads[number])
            added = settled(self.incoming[number][0])
            accumulated = Accumulated(node.tensor_name or "", before, added, grad)
        made, saved = self._made.get(number), self._saved[number]
        return Step(
            index,
            node,
            tuple(map(settled, self.incoming[number])),
            tuple(map(settled, self.outgoing.get(number, ()))),
            accumulated,
            settled(self._values.get(number)),
            forward.operands_of(node.name, self.inputs[number], saved, self._values, made),
            {name: settled(one) for name, one in saved.items()},
        )

    def norm_into(self, nodes: Collection[int]) -> float | None:
        """The norm of the gradient that came into some nodes from others; None if none came."""
        inside = set(nodes)
        found = []
        for number in inside:
            if inside.issuperset(self._senders.get(number, ())) and number not in self._graph.roots:
                continue
            for one in self.incoming.get(number, ()):
                value = settled(one)
                if value is not None and value.norm is not None:
                    found.append(value.norm)
        return math.hypot(*found) if found else None

    @cached_property
    def _senders(self) -> dict[int, list[int]]:
        """The nodes that send to each node; without any, it is an output."""
        found: dict[int, list[int]] = {}
        for src, dst, _ in self._graph._edges:
            found.setdefault(dst, []).append(src)
        return found

    @cached_property
    def _values(self) -> dict[int, Glance]:
        return forward.values_of(
            self._graph._names, self.inputs, self._saved, self._known, self._made
        )


def _glances(gradients: Gradients) -> Glances:
    return [None if one is None else glance(one) for one in gradients]


def _are_same(one: Tensor, other: Tensor | None) -> bool:
    """Whether two tensors are the same numbers in the same memory."""
    try:
        return (
            other is not None
            and one.data_ptr() == other.data_ptr() != 0
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.stride() == other.stride()
        )
    except (NotImplementedError, RuntimeError):  # sparse, or without a memory
        return False
