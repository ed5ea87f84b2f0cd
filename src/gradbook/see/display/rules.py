"""The local rules of backward: what a node multiplies an incoming gradient with.

Each rule is a Python expression, one for each input of the operation, in the incoming gradient
``g`` and what the node saved. The expression is the one source: it is shown as mathematics, shown
again with the numbers of a step, and the tests evaluate it with torch and compare the result with
the gradient that the engine really sent.
"""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from gradbook.see.values import Operand, Value, number_text


class Rule(NamedTuple):
    """What an operation computes, and what its node sends back.

    Attributes:
        forward: the result, in the names of the inputs; None where no expression tells it.
        inputs: their names.
        gradients: for each input the expression of its gradient.
    """

    forward: str | None
    inputs: tuple[str, ...]
    gradients: tuple[str, ...]


def _rule(forward: str | None, **gradients: str) -> Rule:
    names = tuple(name.rstrip("_") for name in gradients)
    return Rule(forward, names, tuple(gradients.values()))


# Source of the formulas: torch's derivatives.yaml, in the names that it gives to inputs. A factor
# that is a condition counts as 1 where it holds; else it makes the product 0, whatever the rest.
RULES: dict[str, Rule] = {
    "AbsBackward0": _rule("abs(self)", self_="g * sign(self)"),
    "AddBackward0": _rule("self + other * alpha", self_="g", other="g * alpha"),
    "AddmmBackward0": _rule(
        "self * beta + mat1 @ mat2 * alpha",
        self_="g * beta",
        mat1="g @ mat2.T * alpha",
        mat2="mat1.T @ g * alpha",
    ),
    "AmaxBackward0": _rule("amax(self)", self_="g * (self == result) / sum(self == result)"),
    "BmmBackward0": _rule(None, self_="g @ mat2.mT", mat2="self.mT @ g"),
    "ClampBackward1": _rule("clamp(self, min, max)", self_="g * (self >= min) * (self <= max)"),
    "ClampMaxBackward0": _rule("minimum(self, max)", self_="g * (self <= max)"),
    "ClampMinBackward0": _rule("maximum(self, min)", self_="g * (self >= min)"),
    "CosBackward0": _rule("cos(self)", self_="-g * sin(self)"),
    "DivBackward0": _rule("self / other", self_="g / other", other="-g * self / other ** 2"),
    "DotBackward0": _rule("self @ tensor", self_="g * tensor", tensor="g * self"),
    "ExpBackward0": _rule("exp(self)", self_="g * result"),
    "LogBackward0": _rule("log(self)", self_="g / self"),
    "LogSoftmaxBackward0": _rule(None, self_="g - exp(result) * sum(g)"),
    "MaxBackward0": _rule("amax(self)", self_="g * first(self == result)"),
    "MaxBackward1": _rule("amax(self)", self_="g * (self == result) / sum(self == result)"),
    "MaximumBackward0": _rule(
        "maximum(self, other)",
        self_="where(self == other, g / 2, g) * (self >= other)",
        other="where(self == other, g / 2, g) * (other >= self)",
    ),
    "MeanBackward0": _rule("sum(self) / n", self_="g / n"),
    "MeanBackward1": _rule("sum(self) / n", self_="g / n"),
    "MinimumBackward0": _rule(
        "minimum(self, other)",
        self_="where(self == other, g / 2, g) * (self <= other)",
        other="where(self == other, g / 2, g) * (other <= self)",
    ),
    "MmBackward0": _rule("self @ mat2", self_="g @ mat2.T", mat2="self.T @ g"),
    "MseLossBackward0": _rule(
        "sum((self - target) ** 2) / n",
        self_="g * 2 * (self - target) / n",
        target="g * 2 * (target - self) / n",
    ),
    "MulBackward0": _rule("self * other", self_="g * other", other="g * self"),
    "MvBackward0": _rule("self @ vec", self_="outer(g, vec)", vec="self.T @ g"),
    "NegBackward0": _rule("-self", self_="-g"),
    "PowBackward0": _rule("self ** exponent", self_="g * exponent * self ** (exponent - 1)"),
    "PowBackward1": _rule(
        "self ** exponent",
        self_="g * exponent * self ** (exponent - 1) * (exponent != 0)",
        exponent="g * result * log(self) * (self != 0)",
    ),
    "PowBackward2": _rule("self ** exponent", exponent="g * result * log(self)"),
    "ReciprocalBackward0": _rule("1 / self", self_="-g * result ** 2"),
    "ReluBackward0": _rule("maximum(self, 0)", self_="g * (result > 0)"),
    "RsubBackward1": _rule("other - self * alpha", self_="-g * alpha"),
    "SigmoidBackward0": _rule("sigmoid(self)", self_="g * result * (1 - result)"),
    "SinBackward0": _rule("sin(self)", self_="g * cos(self)"),
    "SoftmaxBackward0": _rule(None, self_="result * (g - sum(g * result))"),
    "SqrtBackward0": _rule("sqrt(self)", self_="g / (2 * result)"),
    "SubBackward0": _rule("self - other * alpha", self_="g", other="-g * alpha"),
    "SumBackward0": _rule("sum(self)", self_="g"),
    "SumBackward1": _rule("sum(self)", self_="g"),
    "TBackward0": _rule("self.T", self_="g.T"),
    "TanhBackward0": _rule("tanh(self)", self_="g * (1 - result ** 2)"),
    "WhereBackward0": _rule(
        "where(condition, self, other)",
        self_="where(condition, g, 0)",
        other="where(condition, 0, g)",
    ),
}


def inputs_of(name: str) -> tuple[str, ...]:
    """How torch's formula calls the inputs of a node; empty if its rule is not known."""
    rule = RULES.get(name)
    return rule.inputs if rule is not None else ()


def operands_of(name: str) -> tuple[str, ...]:
    """The same, and after them the constants of the operation that are no inputs of the node."""
    return inputs_of(name) + (("other",) if name == "RsubBackward1" else ())


WORDS: dict[str, str] = {
    "AccumulateGrad": "adds the gradient to .grad",
    "AliasBackward0": "the same numbers, in the same shape",
    "CatBackward0": "each input gets its part of g",
    "CloneBackward0": "the same numbers: a copy has derivative 1",
    "CopySlices": "g, with zeros where the view was overwritten",
    "CopyBackwards": "the same numbers, in the dtype and on the device of the input",
    "ExpandBackward0": "sums g over the places to which an element was repeated",
    "IndexBackward0": "puts g back at the indices; zeros elsewhere",
    "NllLossBackward0": "−g times the weight of the row, at its target class; zeros elsewhere",
    "PermuteBackward0": "the same numbers, with the dimensions put back",
    "RepeatBackward0": "sums g over the copies",
    "ReshapeAliasBackward0": "the same numbers, in the shape of the input",
    "SelectBackward0": "puts g back at the place that was selected; zeros elsewhere",
    "SliceBackward0": "puts g back at the slice; zeros elsewhere",
    "SplitBackward0": "joins the gradients of the parts",
    "SqueezeBackward0": "the same numbers, in the shape of the input",
    "SqueezeBackward1": "the same numbers, in the shape of the input",
    "StackBackward0": "each input gets its part of g",
    "SumBackward0": "repeats g for every element: each counts once in the sum",
    "SumBackward1": "repeats g along the dimensions that were summed",
    "TBackward0": "g, transposed",
    "ToCopyBackward0": "the same numbers, in the dtype and on the device of the input",
    "TransposeBackward0": "g, with the two dimensions swapped back",
    "UnbindBackward0": "joins the gradients of the parts",
    "UnsafeViewBackward0": "the same numbers, in the shape of the input",
    "UnsqueezeBackward0": "the same numbers, in the shape of the input",
    "ViewBackward0": "the same numbers, in the shape of the input",
}


_PLACES = {
    "AddmmBackward0": ("added", "left", "right"),
    "MseLossBackward0": ("input", "target"),
    "WhereBackward0": ("where true", "where false"),
}


def places_of(name: str) -> tuple[str, ...]:
    """How the inputs of a node are told apart: left and right, mostly."""
    inputs = inputs_of(name)
    usual = ("left", "right") if len(inputs) == 2 else ("input",)[: len(inputs)]
    return _PLACES.get(name, usual)


def symbols(
    name: str,
    incoming: Sequence[Value | None],
    saved: Mapping[str, Any],
    operands: Sequence[Operand] = (),
    value: Value | None = None,
) -> dict[str, Any]:
    """What the names in a rule stand for in one step.

    Args:
        name: of the node.
        incoming: the incoming gradients; ``g`` is the first.
        saved: what the node saved: values of tensors, and plain numbers.
        operands: what the operation was computed from; they tell what was not saved.
        value: what it made.
    """
    found: dict[str, Any] = {} if value is None else {"result": value}
    for field, operand in zip(operands_of(name), operands, strict=False):
        if operand.value is not None:
            found[field] = operand.value
    found |= {"g": incoming[0], **saved}
    # torch reads a missing alpha or beta as 1, and so do we.
    for factor in ("alpha", "beta"):
        found.setdefault(factor, 1)
    if name == "MeanBackward0":
        found["n"] = saved.get("self_sym_numel")
    if name == "MeanBackward1":
        sizes = saved["self_sym_sizes"]
        found["n"] = math.prod(sizes[dim] for dim in dims_of(saved, len(sizes)))
    if name == "MseLossBackward0" and isinstance(saved.get("self"), Value):
        # Reduction: 0 none, 1 mean, 2 sum; only the mean divides.
        found["n"] = math.prod(saved["self"].shape) if saved.get("reduction") == 1 else 1
    return found


def dims_of(saved: Mapping[str, Any], count: int) -> tuple[int, ...]:
    """The dimensions that an operation reduced, counted from the first; all if it names none.

    >>> dims_of({"dim": (18446744073709551615,)}, 2)  # how torch keeps -1
    (1,)
    """
    dims = saved.get("dim", ())
    dims = (dims,) if isinstance(dims, int) else tuple(dims or ())
    signed = (dim - 2**64 if dim >= 2**63 else dim for dim in dims)
    return tuple(dim % count if count else 0 for dim in signed) or tuple(range(count))


def expression(name: str, position: int, known: Mapping[str, Any]) -> ast.expr | None:
    """The rule for input `position` of node `name`, without factors that are 1; None if unknown."""
    rule = RULES.get(name)
    if rule is None or position >= len(rule.gradients):
        return None
    return simplified(rule.gradients[position], known)


def simplified(rule: str, known: Mapping[str, Any]) -> ast.expr:
    """A rule as a tree, without what nobody wants to read: ``* alpha`` where alpha is 1."""
    return _simplified(ast.parse(rule, mode="eval").body, known)


def names_in(tree: ast.expr) -> set[str]:
    """The names that an expression needs to be computed."""
    called = {id(one.func) for one in ast.walk(tree) if isinstance(one, ast.Call)}
    return {one.id for one in ast.walk(tree) if isinstance(one, ast.Name) and id(one) not in called}


def called(
    name: str, operands: Sequence[Operand], inputs: Sequence[int | None], result: str | None
) -> dict[str, str]:
    """How the names in a rule are shown: as the program writes them, or by their place.

    Args:
        name: of the node.
        operands: as in `Step`.
        inputs: the node that each of them comes from; None for a constant.
        result: the variable to which the result was assigned, if it is known.
    """
    found = {"result": result or "result"}
    fields = inputs_of(name)
    for position, (field, place) in enumerate(zip(fields, places_of(name), strict=True)):
        found[field] = place
        if position >= len(operands):
            continue
        text, value = operands[position].name, operands[position].value
        if text is not None and len(text) <= _LONGEST_NAME:
            found[field] = text if _ATOM.fullmatch(text) else f"({text})"
        elif inputs[position] is None and value is not None and value.shape == ():
            found[field] = number_text(value.numbers)
    return found


_LONGEST_NAME = 16
_ATOM = re.compile(r"[\w.]+|\(.*\)")


def is_summed(tree: ast.expr, incoming: Value | None, outgoing: Value) -> bool:
    """Whether the input was broadcast, so that what its copies would get was added up.

    Args:
        tree: the rule.
        incoming: the gradient of the result.
        outgoing: the gradient of the input, which has fewer elements then.
    """
    elementwise = not any(
        isinstance(one, ast.MatMult) or (isinstance(one, ast.Name) and one.id == "outer")
        for one in ast.walk(tree)
    )
    return (
        elementwise
        and incoming is not None
        and None not in (outgoing.shape, incoming.shape)
        and math.prod(outgoing.shape or ()) < math.prod(incoming.shape or ())
    )


def _simplified(tree: ast.expr, known: Mapping[str, Any]) -> ast.expr:
    if isinstance(tree, ast.Name) and tree.id == "exponent":
        number = known.get(tree.id)
        return ast.Constant(number) if isinstance(number, (int, float)) else tree
    if not isinstance(tree, ast.BinOp):
        return tree
    left, right = _simplified(tree.left, known), _simplified(tree.right, known)
    if isinstance(tree.op, (ast.Mult, ast.Div)) and _is_one(right, known):
        return left
    if isinstance(tree.op, ast.Mult) and any(
        isinstance(one, ast.Constant) and one.value == 0 for one in (left, right)
    ):
        return ast.Constant(0)  # the exponent is 0: torch sends 0, also where the rest is infinite
    if isinstance(right, ast.Constant):
        if isinstance(tree.op, ast.Pow) and right.value == 1:
            return left
        if isinstance(tree.op, ast.Sub) and isinstance(left, ast.Constant):
            return ast.Constant(_number(left) - _number(right))
    return ast.BinOp(left, tree.op, right)


def _is_one(factor: ast.expr, known: Mapping[str, Any]) -> bool:
    if isinstance(factor, ast.Name):
        return factor.id in ("alpha", "beta", "n") and known.get(factor.id) == 1
    if not isinstance(factor, ast.Compare):
        return False
    (other,) = factor.comparators
    # A bound that was not given; an exponent that is not 0.
    if isinstance(other, ast.Name):
        return other.id in ("min", "max") and other.id in known and known[other.id] is None
    left = _simplified(factor.left, known)
    return (
        isinstance(factor.ops[0], ast.NotEq)
        and isinstance(left, ast.Constant)
        and _number(left) != 0
    )


def _number(constant: ast.Constant) -> float:
    assert isinstance(constant.value, (int, float))
    return constant.value


_LEVEL = {ast.Add: 1, ast.Sub: 1, ast.Mult: 2, ast.Div: 2, ast.MatMult: 2, ast.Pow: 4}
_SIGN = {ast.Add: "+", ast.Sub: "−", ast.Mult: "·", ast.Div: "/", ast.MatMult: "@"}
_COMPARED: dict[type[ast.cmpop], str] = {
    **{ast.Gt: ">", ast.GtE: "≥", ast.Lt: "<", ast.LtE: "≤", ast.Eq: "=", ast.NotEq: "≠"},
}
Names = Mapping[str, str]


def to_text(
    tree: ast.expr,
    known: Mapping[str, Any] | None = None,
    outer: int = 0,
    names: Names | None = None,
) -> str:
    """The expression in one line.

    Args:
        tree: an expression.
        known: numbers, which are written for the names.
        outer: how tightly what stands around it binds.
        names: what to write for the names that have no number.

    >>> to_text(ast.parse("g * (1 - result ** 2)", mode="eval").body, names={"result": "y"})
    'g · (1 − y²)'
    >>> to_text(ast.parse("g / n", mode="eval").body, {"g": 2.0, "n": 4})
    '2 / 4'
    """

    def text(one: ast.expr, level: int = 0) -> str:
        return to_text(one, known, level, names)

    if isinstance(tree, ast.Name):
        return _name_text(tree.id, known, names)
    if isinstance(tree, ast.Constant):
        return _constant_text(tree)
    if isinstance(tree, ast.UnaryOp):
        return "−" + text(tree.operand, 3)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        return f"{tree.func.id}({', '.join(map(text, tree.args))})"
    if isinstance(tree, ast.Attribute):
        return text(tree.value, 4) + "ᵀ"
    if isinstance(tree, ast.Compare):
        sign = _COMPARED[type(tree.ops[0])]
        return f"[{text(tree.left)} {sign} {text(tree.comparators[0])}]"
    if not isinstance(tree, ast.BinOp):
        raise TypeError(f"no way to write {ast.dump(tree)}")
    level = _LEVEL[type(tree.op)]
    if isinstance(tree.op, ast.Pow):
        power = text(tree.right)
        raised = "²" if power == "2" else f"^({power})" if " " in power else f"^{power}"
        whole = text(tree.left, level) + raised
    else:
        whole = f"{text(tree.left, level)} {_SIGN[type(tree.op)]} {text(tree.right, level + 1)}"
    return f"({whole})" if level < outer else whole


def _constant_text(constant: ast.Constant) -> str:
    value = _number(constant)
    return number_text(value) if value >= 0 else f"({number_text(value)})"


def _name_text(name: str, known: Mapping[str, Any] | None, names: Names | None) -> str:
    value = known.get(name) if known else None
    if value is None:
        return names.get(name, name) if names else name
    if isinstance(value, (int, float)):
        return number_text(value) if value >= 0 else f"({number_text(value)})"
    text = str(value)
    return f"({text})" if text.startswith("-") else text


def to_mathml(tree: ast.expr, names: Names | None = None) -> str:
    """The expression as the inside of a MathML ``<math>`` element."""
    return "<mrow>" + _mathml(tree, names or {}) + "</mrow>"


def _mathml(tree: ast.expr, names: Names, outer: int = 0) -> str:
    def inner(one: ast.expr, level: int = 0) -> str:
        return _mathml(one, names, level)

    if isinstance(tree, ast.Name):
        name = names.get(tree.id, tree.id)
        tag = "mi" if name.isidentifier() else "mn" if name[:1].isdigit() else "mtext"
        return f"<{tag}>{escape(name)}</{tag}>"
    if isinstance(tree, ast.Constant):
        return f"<mn>{_constant_text(tree)}</mn>"
    if isinstance(tree, ast.UnaryOp):
        return "<mo>−</mo>" + inner(tree.operand, 3)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        inside = "<mo>,</mo>".join(map(inner, tree.args))
        return f"<mi>{tree.func.id}</mi><mo>(</mo>{inside}<mo>)</mo>"
    if isinstance(tree, ast.Attribute):
        return f"<msup><mrow>{inner(tree.value, 4)}</mrow><mi>T</mi></msup>"
    if isinstance(tree, ast.Compare):
        sign = escape(_COMPARED[type(tree.ops[0])])
        inside = f"{inner(tree.left)}<mo>{sign}</mo>{inner(tree.comparators[0])}"
        return f"<mo>[</mo>{inside}<mo>]</mo>"
    if not isinstance(tree, ast.BinOp):
        raise TypeError(f"no way to write {ast.dump(tree)}")
    level = _LEVEL[type(tree.op)]
    if isinstance(tree.op, ast.Div):
        return f"<mfrac><mrow>{inner(tree.left)}</mrow><mrow>{inner(tree.right)}</mrow></mfrac>"
    if isinstance(tree.op, ast.Pow):
        return (
            f"<msup><mrow>{inner(tree.left, level)}</mrow><mrow>{inner(tree.right)}</mrow></msup>"
        )
    # A product of matrices is written side by side.
    sign = "" if isinstance(tree.op, ast.MatMult) else f"<mo>{_SIGN[type(tree.op)]}</mo>"
    text = inner(tree.left, level) + sign + inner(tree.right, level + 1)
    return f"<mo>(</mo>{text}<mo>)</mo>" if level < outer else text
