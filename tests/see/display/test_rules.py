"""Tests of the local rules: each one is evaluated and held against the engine."""

import ast

import pytest
import torch
import torch.nn.functional as F

from gradbook.see.display import rules
from gradbook.see.lines import record_lines
from gradbook.see.replay import replay

A = torch.tensor([0.5, -1.5, 2.0], dtype=torch.float64)
B = torch.tensor([1.5, 0.25, 3.0], dtype=torch.float64)
TIED = torch.tensor([0.5, 2.0, 2.0], dtype=torch.float64)
M = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], dtype=torch.float64)
N = torch.tensor([[1.0, -2.0], [0.5, 1.0], [2.0, 0.25]], dtype=torch.float64)

EXAMPLES = {
    "AbsBackward0": (torch.abs, A),
    "AddBackward0": (lambda a, b: torch.add(a, b, alpha=3), A, B),
    "AddmmBackward0": (lambda c, m, n: torch.addmm(c, m, n, beta=2), torch.eye(2).double(), M, N),
    "AmaxBackward0": (torch.amax, TIED),
    "BmmBackward0": (torch.bmm, M[None], N[None]),
    "ClampBackward1": (lambda a: a.clamp(-1.5, 1), A),
    "ClampMaxBackward0": (lambda a: a.clamp_max(0.5), A),
    "ClampMinBackward0": (lambda a: a.clamp_min(0.5), A),
    "CosBackward0": (torch.cos, A),
    "DivBackward0": (torch.div, A, B),
    "DotBackward0": (torch.dot, A, B),
    "ExpBackward0": (torch.exp, A),
    "LogBackward0": (torch.log, B),
    "LogSoftmaxBackward0": (lambda a: a.log_softmax(0), A),
    "MaxBackward0": (lambda a: a.max(0).values, TIED),
    "MaxBackward1": (torch.max, TIED),
    "MaximumBackward0": (torch.maximum, A, TIED),
    "MeanBackward0": (torch.mean, A),
    "MeanBackward1": (lambda m: m.mean(1, keepdim=True), M),
    "MinimumBackward0": (torch.minimum, A, TIED),
    "MmBackward0": (torch.mm, M, N),
    "MseLossBackward0": (F.mse_loss, A, B),
    "MulBackward0": (torch.mul, A, B),
    "MvBackward0": (torch.mv, M, A),
    "NegBackward0": (torch.neg, A),
    "PowBackward0": (lambda a: a**3, A),
    "PowBackward1": (torch.pow, B, A),
    "PowBackward2": (lambda a: 2**a, A),
    "ReciprocalBackward0": (torch.reciprocal, A),
    "ReluBackward0": (torch.relu, A),
    "RsubBackward1": (lambda a: 1 - a, A),
    "SigmoidBackward0": (torch.sigmoid, A),
    "SinBackward0": (torch.sin, A),
    "SoftmaxBackward0": (lambda a: a.softmax(0), A),
    "SqrtBackward0": (torch.sqrt, B),
    "SubBackward0": (lambda a, b: torch.sub(a, b, alpha=0.5), A, B),
    "SumBackward0": (torch.sum, A),
    "SumBackward1": (lambda m: m.sum(1, keepdim=True), M),
    "TBackward0": (torch.t, M),
    "TanhBackward0": (torch.tanh, A),
    "WhereBackward0": (lambda a, b: torch.where(a > 0, a, b), A, B),
}


def first(wanted):
    """Nothing but the first True."""
    return wanted & (wanted.cumsum(0) == 1)


FUNCTIONS = {
    **{name: getattr(torch, name) for name in ("abs", "amax", "cos", "exp", "outer", "sign")},
    **{name: getattr(torch, name) for name in ("sigmoid", "sin", "sqrt", "sum", "tanh", "where")},
    "clamp": torch.clamp,
    "first": first,
    "log": lambda a: torch.as_tensor(a, dtype=torch.float64).log(),
    "maximum": lambda a, b: torch.maximum(a, torch.as_tensor(b, dtype=a.dtype)),
    "minimum": lambda a, b: torch.minimum(a, torch.as_tensor(b, dtype=a.dtype)),
}


def test_every_rule_has_an_example():
    """A new rule without one would not be checked."""
    assert set(EXAMPLES) == set(rules.RULES)


def step_of(name):
    """The step of an example, and what the names in its rule stand for, as tensors."""
    function, *values = EXAMPLES[name]
    leaves = [value.clone().requires_grad_() for value in values]
    with record_lines():
        out = function(*leaves)
    seed = torch.arange(1.0, out.numel() + 1, dtype=torch.float64).reshape(out.shape)
    (step,) = [s for s in replay(out, gradient=seed).steps if s.node.name == name]
    known = rules.symbols(name, step.incoming, step.saved, step.operands, step.value)
    names = {key: as_tensor(value) for key, value in known.items()}
    return step, known, names, out.detach()


def as_tensor(value):
    """The numbers of a `Value`; anything else as it is."""
    if not hasattr(value, "numbers"):
        return value
    dtype = torch.bool if value.dtype == "bool" else torch.float64
    return torch.tensor(value.numbers, dtype=dtype)


def evaluate(tree, names):
    """The value of a rule."""
    code = compile(ast.fix_missing_locations(ast.Expression(tree)), "rule", "eval")
    return eval(code, {**FUNCTIONS, **names})


@pytest.mark.parametrize("name", [name for name, rule in rules.RULES.items() if rule.forward])
def test_the_rule_gives_what_the_operation_made(name):
    """The forward expression, evaluated with the operands, is the real result."""
    _, known, names, out = step_of(name)
    if name in ("MeanBackward1", "SumBackward1"):  # one of the sums
        names["self"], out = names["self"][0], out[0, 0]
    made = evaluate(rules.simplified(rules.RULES[name].forward, known), names)
    torch.testing.assert_close(made, out)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rule_gives_the_gradient_that_the_engine_sends(name):
    """The shown expression, evaluated with the shown numbers, is the real gradient."""
    step, known, names, _ = step_of(name)
    for position, sent in enumerate(step.outgoing):
        if sent is None:
            continue
        tree = rules.expression(name, position, known)
        result = torch.as_tensor(evaluate(tree, names), dtype=torch.float64)
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
    assert "to   bias: g, summed to (3,) = [2, 2, 2]" in str(r)


def test_an_input_of_the_same_shape_is_not_summed():
    """Nothing is said where nothing happens, and a product of matrices has its own shapes."""
    m = torch.ones(1, 3, requires_grad=True)
    assert "summed" not in str(replay((m * 2 + 1).sum()))
    assert "summed" not in str(replay(m @ torch.ones(3, 50), gradient=torch.ones(1, 50)))
