"""The local rules of backward: what a node multiplies an incoming gradient with.

Each rule is a Python expression, one for each input of the operation, in the incoming gradient
``g`` and what the node saved. The expression is the one source: it is shown as mathematics, shown
again with the numbers of a step, and the tests evaluate it with torch and compare the result with
the gradient that the engine really sent.
"""

import ast
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from gradbook.see.values import Value, number_text


class Rule(NamedTuple):
    """Names of the inputs, and for each the expression of its gradient."""

    inputs: tuple[str, ...]
    gradients: tuple[str, ...]


def _rule(**gradients: str) -> Rule:
    names = tuple(name.rstrip("_") for name in gradients)
    return Rule(names, tuple(gradients.values()))


# Source of the formulas: torch's derivatives.yaml, in the names that it gives to inputs.
RULES: dict[str, Rule] = {
    "AbsBackward0": _rule(self_="g * sign(self)"),
    "AddBackward0": _rule(self_="g", other="g * alpha"),
    "AddmmBackward0": _rule(self_="g * beta", mat1="g @ mat2.T", mat2="mat1.T @ g"),
    "BmmBackward0": _rule(self_="g @ mat2.mT", mat2="self.mT @ g"),
    "CosBackward0": _rule(self_="-g * sin(self)"),
    "DivBackward0": _rule(self_="g / other", other="-g * self / other ** 2"),
    "DotBackward0": _rule(self_="g * tensor", tensor="g * self"),
    "ExpBackward0": _rule(self_="g * result"),
    "LogBackward0": _rule(self_="g / self"),
    "LogSoftmaxBackward0": _rule(self_="g - exp(result) * sum(g)"),
    "MeanBackward0": _rule(self_="g / n"),
    "MmBackward0": _rule(self_="g @ mat2.T", mat2="self.T @ g"),
    "MseLossBackward0": _rule(
        self_="g * 2 * (self - target) / n", target="g * 2 * (target - self) / n"
    ),
    "MulBackward0": _rule(self_="g * other", other="g * self"),
    "MvBackward0": _rule(self_="outer(g, vec)", vec="self.T @ g"),
    "NegBackward0": _rule(self_="-g"),
    "PowBackward0": _rule(self_="g * exponent * self ** (exponent - 1)"),
    "ReciprocalBackward0": _rule(self_="-g * result ** 2"),
    "ReluBackward0": _rule(self_="g * (result > 0)"),
    "RsubBackward1": _rule(self_="-g * alpha"),
    "SigmoidBackward0": _rule(self_="g * result * (1 - result)"),
    "SinBackward0": _rule(self_="g * cos(self)"),
    "SoftmaxBackward0": _rule(self_="result * (g - sum(g * result))"),
    "SqrtBackward0": _rule(self_="g / (2 * result)"),
    "SubBackward0": _rule(self_="g", other="-g * alpha"),
    "TanhBackward0": _rule(self_="g * (1 - result ** 2)"),
}

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


def symbols(
    name: str, incoming: Sequence[Value | None], saved: Mapping[str, Any]
) -> dict[str, Any]:
    """What the names in a rule stand for in one step.

    Args:
        name: of the node.
        incoming: the incoming gradients; ``g`` is the first.
        saved: what the node saved: values of tensors, and plain numbers.
    """
    found = {"g": incoming[0], **saved}
    # torch reads a missing alpha or beta as 1, and so do we.
    for factor in ("alpha", "beta"):
        found.setdefault(factor, 1)
    if name == "MeanBackward0":
        found["n"] = saved.get("self_sym_numel")
    if name == "MseLossBackward0" and isinstance(saved.get("self"), Value):
        # Reduction: 0 none, 1 mean, 2 sum; only the mean divides.
        found["n"] = math.prod(saved["self"].shape) if saved.get("reduction") == 1 else 1
    return found


def expression(name: str, position: int, known: Mapping[str, Any]) -> ast.expr | None:
    """The rule for input `position` of node `name`, without factors that are 1; None if unknown."""
    rule = RULES.get(name)
    if rule is None or position >= len(rule.gradients):
        return None
    tree = ast.parse(rule.gradients[position], mode="eval").body
    return _simplified(tree, known)


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
    """Leave out ``* alpha`` and ``/ n`` where they are 1: nobody wants to read them."""
    if isinstance(tree, ast.BinOp):
        left, right = _simplified(tree.left, known), _simplified(tree.right, known)
        if (
            isinstance(tree.op, (ast.Mult, ast.Div))
            and isinstance(right, ast.Name)
            and known.get(right.id) == 1
            and right.id in ("alpha", "beta", "n")
        ):
            return left
        return ast.BinOp(left, tree.op, right)
    return tree


_LEVEL = {ast.Add: 1, ast.Sub: 1, ast.Mult: 2, ast.Div: 2, ast.MatMult: 2, ast.Pow: 4}
_SIGN = {ast.Add: "+", ast.Sub: "−", ast.Mult: "·", ast.Div: "/", ast.MatMult: "@"}


def to_text(tree: ast.expr, known: Mapping[str, Any] | None = None, outer: int = 0) -> str:
    """The expression in one line, with numbers for the names in `known`.

    >>> to_text(ast.parse("g * (1 - result ** 2)", mode="eval").body)
    'g · (1 − result²)'
    >>> to_text(ast.parse("g / n", mode="eval").body, {"g": 2.0, "n": 4})
    '2 / 4'
    """
    if isinstance(tree, ast.Name):
        return _name_text(tree.id, known)
    if isinstance(tree, ast.Constant):
        return str(tree.value)
    if isinstance(tree, ast.UnaryOp):
        return "−" + to_text(tree.operand, known, 3)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        return f"{tree.func.id}({', '.join(to_text(one, known) for one in tree.args)})"
    if isinstance(tree, ast.Attribute):
        return to_text(tree.value, known, 4) + "ᵀ"
    if isinstance(tree, ast.Compare):
        right = to_text(tree.comparators[0], known)
        return f"[{to_text(tree.left, known)} > {right}]"
    if not isinstance(tree, ast.BinOp):
        raise TypeError(f"no way to write {ast.dump(tree)}")
    level = _LEVEL[type(tree.op)]
    if isinstance(tree.op, ast.Pow):
        power = to_text(tree.right, known)
        raised = "²" if power == "2" else f"^({power})" if " " in power else f"^{power}"
        text = to_text(tree.left, known, level) + raised
    else:
        sign = _SIGN[type(tree.op)]
        text = f"{to_text(tree.left, known, level)} {sign} {to_text(tree.right, known, level + 1)}"
    return f"({text})" if level < outer else text


def _name_text(name: str, known: Mapping[str, Any] | None) -> str:
    value = known.get(name) if known else None
    if value is None:
        return name
    if isinstance(value, (int, float)):
        return number_text(value) if value >= 0 else f"({number_text(value)})"
    text = str(value)
    return f"({text})" if text.startswith("-") else text


def to_mathml(tree: ast.expr) -> str:
    """The expression as the inside of a MathML ``<math>`` element."""
    return "<mrow>" + _mathml(tree) + "</mrow>"


def _mathml(tree: ast.expr, outer: int = 0) -> str:
    if isinstance(tree, ast.Name):
        return f"<mi>{escape(tree.id)}</mi>"
    if isinstance(tree, ast.Constant):
        return f"<mn>{tree.value!r}</mn>"
    if isinstance(tree, ast.UnaryOp):
        return "<mo>−</mo>" + _mathml(tree.operand, 3)
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        inside = "<mo>,</mo>".join(_mathml(one) for one in tree.args)
        return f"<mi>{tree.func.id}</mi><mo>(</mo>{inside}<mo>)</mo>"
    if isinstance(tree, ast.Attribute):
        return f"<msup><mrow>{_mathml(tree.value, 4)}</mrow><mi>T</mi></msup>"
    if isinstance(tree, ast.Compare):
        inside = _mathml(tree.left) + "<mo>&gt;</mo>" + _mathml(tree.comparators[0])
        return f"<mo>[</mo>{inside}<mo>]</mo>"
    if not isinstance(tree, ast.BinOp):
        raise TypeError(f"no way to write {ast.dump(tree)}")
    level = _LEVEL[type(tree.op)]
    if isinstance(tree.op, ast.Div):
        return f"<mfrac><mrow>{_mathml(tree.left)}</mrow><mrow>{_mathml(tree.right)}</mrow></mfrac>"
    if isinstance(tree.op, ast.Pow):
        return (
            f"<msup><mrow>{_mathml(tree.left, level)}</mrow>"
            f"<mrow>{_mathml(tree.right)}</mrow></msup>"
        )
    # A product of matrices is written side by side.
    sign = "" if isinstance(tree.op, ast.MatMult) else f"<mo>{_SIGN[type(tree.op)]}</mo>"
    text = _mathml(tree.left, level) + sign + _mathml(tree.right, level + 1)
    return f"<mo>(</mo>{text}<mo>)</mo>" if level < outer else text
