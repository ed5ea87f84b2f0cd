"""Tests of the local rules: each one is evaluated and held against the engine."""

import ast

import pytest
import torch
import torch.nn.functional as F

from gradbook.see.display import rules
from gradbook.see.replay import replay

A = torch.tensor([0.5, -1.5, 2.0], dtype=torch.float64)
B = torch.tensor([1.5, 0.25, 3.0], dtype=torch.float64)
M = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], dtype=torch.float64)
N = torch.tensor([[1.0, -2.0], [0.5, 1.0], [2.0, 0.25]], dtype=torch.float64)

EXAMPLES = {
    "AbsBackward0": (torch.abs, A),
    "AddBackward0": (lambda a, b: torch.add(a, b, alpha=3), A, B),
    "AddmmBackward0": (lambda c, m, n: torch.addmm(c, m, n, beta=2), torch.eye(2).double(), M, N),
    "BmmBackward0": (torch.bmm, M[None], N[None]),
    "CosBackward0": (torch.cos, A),
    "DivBackward0": (torch.div, A, B),
    "DotBackward0": (torch.dot, A, B),
    "ExpBackward0": (torch.exp, A),
    "LogBackward0": (torch.log, B),
    "LogSoftmaxBackward0": (lambda a: a.log_softmax(0), A),
    "MeanBackward0": (torch.mean, A),
    "MmBackward0": (torch.mm, M, N),
    "MseLossBackward0": (F.mse_loss, A, B),
    "MulBackward0": (torch.mul, A, B),
    "MvBackward0": (torch.mv, M, A),
    "NegBackward0": (torch.neg, A),
    "PowBackward0": (lambda a: a**3, A),
    "ReciprocalBackward0": (torch.reciprocal, A),
    "ReluBackward0": (torch.relu, A),
    "RsubBackward1": (lambda a: 1 - a, A),
    "SigmoidBackward0": (torch.sigmoid, A),
    "SinBackward0": (torch.sin, A),
    "SoftmaxBackward0": (lambda a: a.softmax(0), A),
    "SqrtBackward0": (torch.sqrt, B),
    "SubBackward0": (lambda a, b: torch.sub(a, b, alpha=0.5), A, B),
    "TanhBackward0": (torch.tanh, A),
}
FUNCTIONS = {
    "cos": torch.cos,
    "exp": torch.exp,
    "outer": torch.outer,
    "sign": torch.sign,
    "sin": torch.sin,
    "sum": torch.sum,
}


def test_every_rule_has_an_example():
    """A new rule without one would not be checked."""
    assert set(EXAMPLES) == set(rules.RULES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rule_gives_the_gradient_that_the_engine_sends(name):
    """The shown expression, evaluated with the shown numbers, is the real gradient."""
    function, *values = EXAMPLES[name]
    leaves = [value.clone().requires_grad_() for value in values]
    out = function(*leaves)
    seed = torch.arange(1.0, out.numel() + 1, dtype=torch.float64).reshape(out.shape)
    (step,) = [s for s in replay(out, gradient=seed).steps if s.node.name == name]
    known = rules.symbols(name, step.incoming, step.saved)
    names = {
        key: torch.tensor(value.numbers, dtype=torch.float64)
        if hasattr(value, "numbers")
        else value
        for key, value in known.items()
    }
    for position, sent in enumerate(step.outgoing):
        if sent is None:
            continue
        tree = rules.expression(name, position, known)
        code = compile(ast.fix_missing_locations(ast.Expression(tree)), name, "eval")
        result = eval(code, {**FUNCTIONS, **names})
        wanted = torch.tensor(sent.numbers, dtype=torch.float64)
        # What a mean sends is one number, repeated.
        torch.testing.assert_close(result.expand_as(wanted), wanted)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_rule_can_be_shown(name):
    """As a text, in numbers, and as well-formed MathML."""
    import xml.etree.ElementTree as ET

    for position in range(len(rules.RULES[name].gradients)):
        tree = rules.expression(name, position, {})
        assert "g" in rules.to_text(tree)
        assert ET.fromstring(rules.to_mathml(tree)).tag == "mrow"


def test_factors_that_are_one_are_left_out():
    """The alpha of torch is nearly always 1, and a sum reduction divides by nothing."""
    tree = rules.expression("AddBackward0", 1, {"alpha": 1})
    assert rules.to_text(tree) == "g"
    tree = rules.expression("AddBackward0", 1, {"alpha": 2})
    assert rules.to_text(tree) == "g · alpha"


def test_numbers_stand_for_the_names():
    """Negative numbers get parentheses."""
    tree = rules.expression("MulBackward0", 0, {})
    assert rules.to_text(tree, {"g": 2.0, "other": -3.0}) == "2 · (-3)"
    assert rules.to_text(tree, {"g": 2.0, "other": 0.0}) == "2 · 0"


def test_unknown_nodes_have_no_rule():
    """Nothing is invented for them."""
    assert rules.expression("FancyBackward0", 0, {}) is None
    assert rules.expression("ExpBackward0", 5, {}) is None


def test_text_keeps_the_order_of_operations():
    """Parentheses stand only where they are needed."""
    found = [
        rules.to_text(ast.parse(t, mode="eval").body)
        for t in ("a * (b + c)", "a * b + c", "a - (b - c)", "(a @ b).T", "a ** (b - 1)", "f(a, b)")
    ]
    assert found == ["a · (b + c)", "a · b + c", "a − (b − c)", "(a @ b)ᵀ", "a^(b − 1)", "f(a, b)"]


def test_what_cannot_be_written_is_refused():
    """A rule uses a small part of Python's expressions."""
    with pytest.raises(TypeError, match="no way to write"):
        rules.to_text(ast.parse("[1]", mode="eval").body)
    with pytest.raises(TypeError, match="no way to write"):
        rules.to_mathml(ast.parse("[1]", mode="eval").body)


def test_cross_entropy_without_a_mean_divides_by_nothing():
    """The n of a rule is what the reduction divides by."""
    a = A.clone().requires_grad_()
    for reduction, n in [("mean", 3), ("sum", 1)]:
        (step, *_) = replay(F.mse_loss(a, B, reduction=reduction)).steps
        assert rules.symbols("MseLossBackward0", step.incoming, step.saved)["n"] == n


def test_a_broadcast_input_is_told_to_be_summed():
    """The bias of a layer gets the sum over the rows; the shown rule alone would be wrong."""
    bias = torch.zeros(3, requires_grad=True)
    r = replay((torch.ones(2, 3) + bias).sum(), params={"bias": bias})
    assert "to   bias (as other), summed to (3,): g = [2, 2, 2]" in str(r)


def test_an_input_of_the_same_shape_is_not_summed():
    """Nothing is said where nothing happens, and a product of matrices has its own shapes."""
    m = torch.ones(1, 3, requires_grad=True)
    assert "summed" not in str(replay((m * 2 + 1).sum()))
    assert "summed" not in str(replay(m @ torch.ones(3, 50), gradient=torch.ones(1, 50)))
