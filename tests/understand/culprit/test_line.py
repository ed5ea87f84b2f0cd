"""Tests of `gradbook.understand.culprit.line`: which tensors of a line a message speaks of."""

import copy
import types
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradbook import explain
from gradbook.understand.culprit.case import Case
from gradbook.understand.culprit.line import (
    _choice,
    gave_nan,
    input_unused,
    input_without_grad,
    leaf_in_graph,
    outside_zero_to_one,
    two_tensors,
)


def raised(program):
    """The exception that a program ends with."""
    torch.manual_seed(0)
    try:
        program()
    except Exception as error:  # any kind may come
        return error
    raise AssertionError("nothing was raised")


def subject(program):
    """The guilty variable that is named."""
    explanation = explain(raised(program))
    assert explanation.kind == "error"
    return explanation.subject


def test_probabilities_are_looked_at_without_code_of_the_program():
    """Only plain tensors that have numbers."""
    assert outside_zero_to_one(torch.tensor([0.5, 1.5]))
    assert outside_zero_to_one(torch.tensor([0.5, float("nan")]))
    assert outside_zero_to_one(nn.Parameter(torch.tensor([-1.0])))
    assert not outside_zero_to_one(torch.tensor([0.0, 1.0]))
    assert not outside_zero_to_one(torch.tensor([2]))
    assert not outside_zero_to_one(torch.ones(2, device="meta"))
    assert not outside_zero_to_one(
        torch.full((2,), 5.0).as_subclass(type("T", (torch.Tensor,), {}))
    )


def test_operators_name_their_two_sides():
    """By name, by attribute, or by the source of what is computed on the line."""
    a, c = torch.ones(2, 3), torch.ones(2, 4)
    holder = type("Holder", (), {})()
    holder.b = torch.ones(2, 3)
    assert subject(lambda: a @ holder.b) == "a and holder.b"
    assert subject(lambda: a.T @ c.T) is None
    assert subject(lambda: torch.matmul(a, c.T[:3, :1].T)) == "a and c.T[:3, :1].T"
    assert subject(lambda: a + c) == "a and c"
    assert subject(lambda: a * 2 + c) == "a * 2 and c"


def test_several_arguments_are_told_by_shape():
    """Of three operands, the two that the message names."""
    bias, x, w = torch.ones(1), torch.ones(2, 3), torch.ones(4, 5)
    assert subject(lambda: torch.addmm(bias, x, w)) == "x and w"
    assert subject(lambda: torch.addmm(bias, x * 1, w)) is None


def test_a_tensor_with_itself():
    """Both sides are the same variable."""
    a = torch.ones(2, 3)
    assert subject(lambda: a @ a) == "a and a"


def test_two_dtypes():
    """Also where only the last one is to blame."""
    x, w = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.float64)
    assert subject(lambda: x @ w) == "x and w"
    logits, target = torch.ones(2, 3), torch.ones(2)
    assert subject(lambda: F.nll_loss(logits, target)) == "target"
    error = raised(lambda: torch.index_select(x, 0, target))
    case = Case(error.__traceback__, "expected scalar type Long but found Float")
    assert two_tensors(case).subject is None  # both `x` and `target` are Float
    case = Case(error.__traceback__, "expected scalar type Long but found Double")
    assert two_tensors(case).subject is None
    error = raised(lambda: torch.index_select(w, 0, target))
    case = Case(error.__traceback__, "expected scalar type Long but found Float")
    assert two_tensors(case).subject == "target"


def test_two_devices():
    """The meta device stands for a GPU."""
    model, x = nn.Linear(3, 1, device="meta"), torch.ones(2, 3)
    assert subject(lambda: model(x)) == "model.bias and x"
    a, b = torch.ones(3), torch.ones(3, device="meta")
    error = RuntimeError("Expected all tensors to be on the same device")
    error.__traceback__ = raised(lambda: (a.numpy(b), 1)).__traceback__
    assert two_tensors(Case(error.__traceback__, str(error))).subject == "a and b"
    assert two_tensors(Case(error.__traceback__, "nothing of the kind")).subject is None
    assert _choice([], []) == []


def test_an_input_without_a_name():
    """Its number is told."""
    x = torch.ones(3, requires_grad=True)
    y = (x * 2).sum()
    error = raised(lambda: torch.autograd.grad(y, [x, torch.ones(1, requires_grad=True)]))
    finding = input_unused(Case(error.__traceback__, str(error)))
    assert finding.subject is None
    assert finding.facts == ["Input 1 is not in the graph of the output; it is a leaf."]


def test_an_input_that_is_not_in_sight():
    """A number that is too large, or no input at all."""
    case = Case(None, "at index 3")
    assert input_unused(case).subject is None
    assert input_without_grad(case).subject is None
    x = torch.ones(3, requires_grad=True)
    error = raised(lambda: torch.autograd.grad((x * 2).sum(), torch.ones(1)))
    assert input_without_grad(Case(error.__traceback__, "")).facts == [
        "An input does not require grad."
    ]


def test_a_copied_result():
    """A tensor without a name is not told."""
    result = torch.ones(3, requires_grad=True) * 2
    assert subject(lambda: copy.deepcopy(result)) == "result"
    assert subject(lambda: copy.deepcopy(result * 2)) is None


def test_a_leaf_without_a_name():
    """That it is a result now is told all the same."""

    def program():
        def loss_of(weight):
            loss = (weight * 2).sum()
            weight.requires_grad_(False)
            weight += torch.ones(3, requires_grad=True)
            return loss

        loss_of(torch.ones(3, requires_grad=True)).backward()

    error = raised(program)
    finding = leaf_in_graph(Case(error.__traceback__, str(error)))
    assert finding.subject is None
    assert finding.facts == ["A leaf of the graph is made by AddBackward0 now."]
    assert leaf_in_graph(Case(None, "")).facts == []


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_origin_of_a_nan():
    """The result that the node was computed from; else the one that it made; else the node."""

    def program(keep_input, keep_output):
        x = torch.zeros(1, requires_grad=True)
        inner = x * 1
        out = inner.sqrt()
        loss = (out * 0).sum()
        if not keep_input:
            del inner
        if not keep_output:
            del out
        with torch.autograd.set_detect_anomaly(True):
            loss.backward()

    for keep_input, keep_output, name in (
        (True, True, "inner"),
        (False, True, "out"),
        (False, False, None),
    ):
        error = raised(lambda: program(keep_input, keep_output))  # noqa: B023 -- called at once
        finding = gave_nan(Case(error.__traceback__, str(error)))
        assert finding.subject == name
        assert finding.details == {"node": "SqrtBackward0"}
    assert gave_nan(Case(None, "no function")).details == {}


def test_a_gradient_that_was_not_filled():
    """A leaf that requires no grad is told as such."""
    frozen = torch.ones(3)
    filled = torch.ones(3, requires_grad=True)
    filled.grad = torch.ones(3)
    kept = filled * 2
    kept.retain_grad()
    explanation = explain(raised(lambda: 1 * frozen.grad.zero_()))
    assert explanation.subject == "frozen"
    assert "it requires no grad" in explanation.because[0]
    assert subject(lambda: 1 * (filled.grad + kept.grad)) == "kept"


def test_a_module_that_works_in_place_inside_another():
    """The part is named with its path."""

    def program():
        block = nn.Sequential(nn.Tanh(), nn.Sequential(nn.ReLU(inplace=True)))
        block[1].register_full_backward_hook(lambda *_: None)
        block(torch.ones(2, requires_grad=True))

    assert subject(program) == "block.1.0"


def test_the_output_of_a_hooked_module():
    """The program itself changes it; what stands beside it on the line is not to blame."""

    def program():
        layer, one = nn.Linear(2, 2), torch.ones(1)
        layer.register_full_backward_hook(lambda *_: None)
        out = layer(torch.ones(1, 2, requires_grad=True))
        out += one

    def unnamed():
        layer = nn.Linear(2, 2)
        layer.register_full_backward_hook(lambda *_: None)
        layer(torch.ones(1, 2, requires_grad=True)).add_(1)

    assert subject(program) == "out"
    assert subject(unnamed) is None


# ------------------------------------------------------------------------- .grad that is None


def none_grad(program):
    """The explanation of a `.grad` that is None, and the first cure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the same, a line before
        explanation = explain(raised(program))
    assert explanation.code == "grad-is-none"
    return explanation, explanation.cure.splitlines()[0]


def test_a_result_is_no_update():
    """A view that was read: the line that makes it is told, and the cure is the leaf's gradient."""

    def program():
        x = torch.ones(3, requires_grad=True)
        y = x.unsqueeze(0)
        y.sum().backward()
        y.grad.data  # noqa: B018 -- it raises

    explanation, cure = none_grad(program)
    assert explanation.subject == "y"
    assert any("It is made in line" in fact for fact in explanation.because)
    assert "no_grad" not in str(explanation)
    assert cure.startswith("Read the gradient of the leaf")


def test_an_update_in_a_loop():
    """The name is bound to what is computed from itself."""

    def program():
        w = torch.ones(3, requires_grad=True)
        for _ in range(2):
            (w * w).sum().backward()
            w = w - 0.1 * w.grad

    explanation, cure = none_grad(program)
    assert explanation.details["cause"].startswith("`w = w - lr * w.grad`")
    assert "torch.no_grad()" in cure


def test_a_gradient_that_was_cleared_since():
    """`zero_grad()` stands between."""

    def program():
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.ones(1, 2)).sum().backward()
        optimizer.zero_grad()
        return model.weight.grad.norm()

    explanation, cure = none_grad(program)
    assert any("`optimizer.zero_grad()`" in fact for fact in explanation.because)
    assert cure == "Read it between `backward()` and `zero_grad()`."


def test_a_backward_that_left_it_out():
    """Another model's loss."""

    def program():
        model, other = nn.Linear(2, 1), nn.Linear(2, 1)
        other(torch.ones(1, 2)).sum().backward()
        model.weight.grad.zero_()

    explanation, _ = none_grad(program)
    assert any(
        "`other(torch.ones(1, 2)).sum().backward()` left it out" in one
        for one in explanation.because
    )


def test_a_library_may_have_run_a_backward():
    """Nothing is said of what cannot be seen."""

    def program():
        model = nn.Linear(2, 1)
        statistics.fit(model)
        model.weight.grad.zero_()

    statistics = types.SimpleNamespace(fit=len)
    explanation = explain(raised(program))
    assert explanation.code != "grad-is-none" or explanation.possible


def test_a_loop_variable_has_a_better_name():
    """The parameter's name in its module."""

    def program():
        model = nn.Linear(2, 1)
        for p in model.parameters():
            p.grad.zero_()

    explanation, _ = none_grad(program)
    assert explanation.subject == "model.weight"


def test_an_augmented_assignment_to_a_part():
    """`b[:, 4] += 1` names `b`."""

    def columns():
        b = torch.ones(2, 5, requires_grad=True)
        b[:, 4] += 1

    def bias():
        layer = nn.Linear(3, 3)
        layer.bias[2:] *= 0.5

    assert subject(columns) == "b"
    assert subject(bias) == "layer.bias"


class Plain(torch.autograd.Function):
    """Returns a gradient of a shape of its own."""

    @staticmethod
    def forward(ctx, x, w):
        return x * w

    @staticmethod
    def backward(ctx, gradient):
        return None, gradient.reshape(3, 1).expand(3, 2)


def test_a_gradient_of_the_wrong_shape_without_a_broadcast():
    """Nothing was broadcast: the cure is to return the right shape."""
    w = torch.ones(3, requires_grad=True)
    explanation = explain(raised(lambda: Plain.apply(torch.ones(3), w).sum().backward()))
    assert explanation.code == "function-gradient-shape"
    assert explanation.subject == "w"
    assert "sum_to_size" not in explanation.cure.splitlines()[0]
    assert "`Plain.backward`" in explanation.cure.splitlines()[0]
