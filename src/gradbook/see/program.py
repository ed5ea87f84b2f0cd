"""A recorded program as data, which can run again with other numbers in its leaves.

``engine.js`` runs it, by the rules that the player prints. That is true only where nothing of the
program is missing: each operation has a rule, each constant is known, and none was computed from a
leaf behind autograd's back. Where something is, there is no program, but the reason.
"""

import ast
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.autograd.graph import Node as AutogradNode

from gradbook.see import torch_internals
from gradbook.see.display import rules
from gradbook.see.forward import Inputs, made_of
from gradbook.see.origins import Made, Source
from gradbook.see.steps import Step
from gradbook.see.values import SMALL, Value, flattened

Program = dict[str, Any]
MOST_NODES = 60
_DTYPES = ("float32", "float64")
# What only moves numbers: the forward rule, and the gradient.
_MOVES: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(
        (
            *("ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0"),
            *("SqueezeBackward0", "SqueezeBackward1", "SqueezeBackward4", "UnsqueezeBackward0"),
        ),
        (["reshape", "self"], ["reshape", "g"]),
    ),
    **dict.fromkeys(("ExpandBackward0", "CloneBackward0", "AliasBackward0"), ("self", "g")),
}
_NO_BOUND = {"min": -math.inf, "max": math.inf}
# Comparisons to which torch answers otherwise where there is no number.
_WITH_NAN = {
    "ReluBackward0": {">": "!<="},
    "MaximumBackward0": {">=": "!<"},
    "MinimumBackward0": {"<=": "!>"},
    "MaxBackward0": {"==": "same"},
    "MaxBackward1": {"==": "same"},
}
_TURN = ["T", "self"], ["T", "g"]


class _Missing(Exception):  # noqa: N818 -- it is no error: the pass stays as recorded
    """Why there is no program."""


class Recorded(Protocol):
    """A pass whose steps can be asked for."""

    def step(self, index: int) -> Step:
        """One of them."""

    def __len__(self) -> int: ...


def program_of(
    nodes: Sequence[AutogradNode],
    inputs: Sequence[Inputs],
    record: Recorded,
    seeds: Sequence[tuple[int, int, Value]],
) -> Program | str:
    """The program of a pass, as JSON holds it; or why it cannot run with other numbers.

    Args:
        nodes: as in the graph.
        inputs: of each of them.
        record: of the pass.
        seeds: what it started with: nodes, which of their results, and its gradient.
    """
    if len(nodes) > MOST_NODES:
        return f"the graph has more than {MOST_NODES} nodes"
    if len(record) < len(nodes):
        return "not every node ran"
    steps = [*map(record.step, range(len(record)))]
    try:
        return _Writer(nodes, inputs, steps).program(seeds)
    except _Missing as reason:
        return str(reason)


class _Writer:
    """Writes the parts of a program.

    Raises:
        _Missing: a part is not known.
    """

    def __init__(
        self, nodes: Sequence[AutogradNode], inputs: Sequence[Inputs], steps: Sequence[Step]
    ) -> None:
        self._nodes = nodes
        self._inputs = inputs
        self._steps = steps
        self._by_node = {step.node.id: step for step in steps}
        self._leaves = {
            id(leaf): number
            for number, node in enumerate(nodes)
            if (leaf := torch_internals.leaf_of(node)) is not None
        }
        self._dtypes: set[str] = set()

    def program(self, seeds: Sequence[tuple[int, int, Value]]) -> Program:
        """All of it."""
        operations = [
            self._operation(step)
            for step in sorted(self._steps, key=lambda step: -step.node.id)
            if not step.node.is_leaf
        ]
        leaves = [self._leaf(step) for step in self._steps if step.node.is_leaf]
        started = [[node, [*_shape(value)], self._numbers(value)] for node, _, value in seeds]
        if len(self._dtypes) != 1 or not self._dtypes <= {*_DTYPES}:
            raise _Missing(f"it computes in {' and '.join(sorted(self._dtypes))}")
        return {
            "single": self._dtypes == {"float32"},
            "leaves": leaves,
            "nodes": operations,
            "seeds": started,
            "order": [step.node.id for step in self._steps],
        }

    def _leaf(self, step: Step) -> dict[str, Any]:
        if step.value is None:
            raise _Missing(f"a tensor has more than {SMALL} elements")
        done = step.accumulated
        before = done.before if done is not None else None
        return {
            "id": step.node.id,
            "shape": [*_shape(step.value)],
            "value": self._numbers(step.value),
            "before": None if before is None else self._numbers(before),
        }

    def _operation(self, step: Step) -> dict[str, Any]:
        node = step.node
        made = made_of(self._nodes[node.id])
        if made is None:
            raise _Missing("it did not run under record_lines()")
        if made.doubt is not None:
            raise _Missing(made.doubt)
        if len(step.incoming) > 1:
            raise _Missing(f"the player has no rule for {node.name}")
        forward, gradients = self._rules(step)
        if node.shape is None or math.prod(node.shape) > SMALL:
            raise _Missing(f"a tensor has more than {SMALL} elements")
        fields = rules.inputs_of(node.name) or ("self",)
        entering = {
            field: child
            for field, (child, _) in zip(fields, self._inputs[node.id], strict=False)
            if child is not None
        }
        known = self._known(step)
        needed = set().union(*map(_names, [forward, *gradients])) - {"g", "result", *entering}
        condition = self._condition(made) if made.condition is not None else None
        if condition is not None:
            needed.discard("condition")
        return {
            "id": node.id,
            "op": node.name,
            "shape": [*node.shape],
            "inputs": [*map(list, entering.items())],
            "constants": {
                name: self._constant(
                    _NO_BOUND.get(name) if known.get(name) is None else known[name]
                )
                for name in sorted(needed)
            },
            "condition": condition,
            "dims": self._dims(step),
            "forward": forward,
            "gradients": [
                [self._edge(node.id, position), gradients[position]]
                for position, (child, _) in enumerate(self._inputs[node.id])
                if child is not None
            ],
        }

    def _rules(self, step: Step) -> tuple[Any, list[Any]]:
        name = step.node.name
        if name == "PermuteBackward0" and tuple(step.saved.get("dims", ())) == (1, 0):
            return _TURN[0], [_TURN[1]]
        if name in _MOVES:
            return _MOVES[name][0], [_MOVES[name][1]]
        rule = rules.RULES.get(name)
        if rule is None or rule.forward is None:
            raise _Missing(f"the player has no rule for {name}")
        if name == "MseLossBackward0" and step.saved.get("reduction") == 0:
            raise _Missing(f"the player has no rule for {name} without a reduction")
        known = self._known(step)
        gradients = [to_lists(rules.simplified(one, known)) for one in rule.gradients]
        return (
            to_lists(rules.simplified(rule.forward, known)),
            [_replaced(one, _WITH_NAN.get(name, {})) for one in gradients],
        )

    def _known(self, step: Step) -> Mapping[str, Any]:
        return rules.symbols(step.node.name, step.incoming, step.saved, step.operands, step.value)

    def _dims(self, step: Step) -> list[int] | None:
        if "dim" not in step.saved or step.node.name in _MOVES:
            return None
        (child, _), *_ = self._inputs[step.node.id]
        shape = None if child is None else self._by_node[child].node.shape
        return None if shape is None else [*rules.dims_of(step.saved, len(shape))]

    def _edge(self, number: int, position: int) -> int:
        before = sum(child is not None for one in self._inputs[:number] for child, _ in one)
        own = self._inputs[number][:position]
        return before + sum(child is not None for child, _ in own)

    def _condition(self, made: Made) -> list[Any]:
        assert made.condition is not None
        sign, *sides = made.condition
        return [sign, *map(self._side, sides)]

    def _side(self, side: Source | None) -> dict[str, Any]:
        number: int | None = None
        if isinstance(side, Value):
            return {"value": self._constant(side)}
        if isinstance(side, Tensor):
            number = self._leaves.get(id(side))
        elif side is not None and side[0] in self._nodes:
            number = self._nodes.index(side[0])
        if number is None:
            raise _Missing("a condition compares what is not in the graph")
        return {"node": number}

    def _constant(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float, Value)):
            raise _Missing("a constant is not known")
        if not isinstance(value, Value):
            return _plain(value)
        if value.numbers is None:
            raise _Missing(f"a tensor has more than {SMALL} elements")
        if value.shape == () and value.dtype != "bool":
            return _plain(value.numbers)
        if value.dtype == "bool":
            return [[*_shape(value)], [*map(int, flattened(value.numbers))], True]
        return [[*_shape(value)], [*map(_plain, flattened(value.numbers))]]

    def _numbers(self, value: Value) -> list[Any]:
        if value.numbers is None:
            raise _Missing(f"a tensor has more than {SMALL} elements")
        self._dtypes.add(value.dtype)
        return [*map(_plain, flattened(value.numbers))]


def to_lists(tree: ast.expr) -> Any:
    """An expression as nested lists, the operation first.

    >>> to_lists(ast.parse("g * (1 - result ** 2)", mode="eval").body)
    ['*', 'g', ['-', 1, ['**', 'result', 2]]]
    """
    if isinstance(tree, ast.Name):
        return tree.id
    if isinstance(tree, ast.Constant):
        return tree.value
    if isinstance(tree, ast.UnaryOp):
        return ["neg", to_lists(tree.operand)]
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        return [tree.func.id, *map(to_lists, tree.args)]
    if isinstance(tree, ast.Attribute):
        return ["T", to_lists(tree.value)]
    if isinstance(tree, ast.Compare):
        return [_OPERATORS[type(tree.ops[0])], *map(to_lists, [tree.left, *tree.comparators])]
    if isinstance(tree, ast.BinOp):
        return [_OPERATORS[type(tree.op)], to_lists(tree.left), to_lists(tree.right)]
    raise TypeError(f"no way to write {ast.dump(tree)}")


_OPERATORS: dict[type, str] = {
    **{ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.MatMult: "@", ast.Pow: "**"},
    **{ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="},
}


def _replaced(tree: Any, operations: Mapping[str, str]) -> Any:
    if not isinstance(tree, list):
        return tree
    first, *rest = tree
    return [operations.get(first, first), *(_replaced(one, operations) for one in rest)]


def _names(tree: Any) -> set[str]:
    if isinstance(tree, str):
        return {tree}
    if isinstance(tree, list):
        return set().union(*map(_names, tree[1:]))
    return set()


def _shape(value: Value) -> tuple[int, ...]:
    return value.shape or ()


def _plain(number: float) -> float | str:
    """A number as JSON can hold it."""
    if isinstance(number, complex):
        raise _Missing("it computes in complex numbers")
    return number if math.isfinite(number) else str(number).replace("inf", "Infinity")
