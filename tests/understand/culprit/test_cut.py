"""Tests of `gradbook.understand.culprit.cut`: where a graph ends, seen from the source."""

import ast
import contextlib
import linecache
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradbook import explain
from gradbook.understand.culprit import cut_of
from gradbook.understand.culprit.flow import NOWHERE, Flow, Reader, requires_grad
from gradbook.understand.culprit.frames import Place, calling_place

SCALE = torch.ones(3, requires_grad=True)


def found(program, *arguments):
    """The explanation of a program that has no graph."""
    with pytest.raises(RuntimeError) as caught:
        program(*arguments)
    explanation = explain(caught.value)
    assert explanation.code == "no-graph"
    return explanation


def told(explanation, text):
    """Whether one of the facts has a text in it."""
    return any(text in fact for fact in explanation.because)


def step(value):
    """Call backward in a helper."""
    value.backward()


def step_scaled(value):
    """Call backward on something without a name."""
    (value * 1).backward()


def test_a_helper_is_given_an_expression():
    """The caller's line says what was given; the helper's argument has no more to tell."""

    def program():
        model, x = nn.Linear(3, 1), torch.ones(2, 3)
        step(F.mse_loss(model(x).detach(), torch.zeros(2, 1)))

    explanation = found(program)
    assert explanation.subject == "model"
    assert told(explanation, "No gradient passes through `detach()`.")


def test_a_helper_computes_on_its_argument():
    """The loss itself has no name anywhere; what it was made from has one in the caller."""

    def program():
        weight = torch.ones(3, requires_grad=True)
        loss = weight.detach().sum()
        step_scaled(loss)

    explanation = found(program)
    assert explanation.subject == "loss"
    assert explanation.details["cut at"].endswith("`loss = weight.detach().sum()`")


def test_a_helper_under_another_name():
    """Nothing is claimed of a line that does not show what it gives."""

    def program():
        model, go = nn.Linear(3, 1), step
        go(model(torch.ones(2, 3)).detach().sum())

    explanation = found(program)
    assert explanation.subject == "value"
    assert "cut at" not in explanation.details


def test_a_framework_that_calls_backward():
    """`engine.backward(loss)` is a method with an argument, not the backward of `engine`."""

    class Engine:
        def backward(self, given):
            (given / 2).backward()

    def program():
        engine, weight = Engine(), torch.ones(3, requires_grad=True)
        loss = weight.long().float().sum()
        engine.backward(loss)

    assert found(program).subject == "loss"


def test_backward_of_what_a_method_returns():
    """As with a gradient scaler: the loss is the argument, its multiple has no name."""
    scaler = SimpleNamespace(scale=lambda loss: loss * 2)

    def program():
        weight = torch.ones(3, requires_grad=True)
        with torch.no_grad():
            loss = weight.sum()
        scaler.scale(loss).backward()

    explanation = found(program)
    assert explanation.subject == "loss"
    assert told(explanation, "That line stands under `with torch.no_grad()` in line ")


def test_autograd_backward_and_grad():
    """The first argument is what is differentiated."""

    def backward():
        torch.autograd.backward((SCALE.detach() * 2).sum())

    def grad():
        torch.autograd.grad(SCALE.detach().sum(), SCALE)

    assert found(backward).subject == "SCALE"
    assert found(grad).subject == "SCALE"


def test_backward_is_given_the_gradient_of_its_result():
    """The loss is what stands before the dot, not the tensor in the parentheses."""

    def program():
        scale = torch.ones(3, requires_grad=True)
        loss = (scale * 2).detach()
        weights = torch.ones(3)
        loss.backward(weights)

    explanation = found(program)
    assert explanation.subject == "loss"
    assert told(explanation, "No gradient passes through `detach()`.")


def test_what_a_function_reads_from_outside():
    """A global name and a closure count as inputs of a call; local names do not."""
    offset = torch.ones(3, requires_grad=True)

    def compute():
        scale = 1  # not the global one
        return (offset * scale).detach().sum()

    def compute_globally():
        return (SCALE * 2).detach().sum()

    def later():
        return never.sum()

    def program(function):
        loss = function()
        loss.backward()

    explanation = found(program, compute)
    assert explanation.subject == "loss"
    assert told(explanation, "`offset` requires grad")
    assert told(explanation, "Line ")
    assert told(found(program, compute_globally), "`SCALE` requires grad")

    def unbound():
        loss = torch.ones(()) if later else 0
        loss.backward()

    assert found(unbound).subject == "loss"
    never = None
    assert never is None


def test_a_block_inside_a_forward_pass():
    """The line of the module's own forward is told."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(3, 1)

        def forward(self, x):
            with torch.no_grad():
                return self.body(x)

    def program():
        net = Net()
        out = net(torch.ones(2, 3))
        out.sum().backward()

    explanation = found(program)
    assert explanation.subject == "out"
    assert told(explanation, "of `Net.forward` switches recording off: `with torch.no_grad()`.")


def test_a_call_that_tells_nothing():
    """The graph ends there; why, the source does not say."""

    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_non_differentiable(x)
            return x

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    def program():
        weight = torch.ones(3, requires_grad=True)
        out = Opaque.apply(weight * 1)
        out.sum().backward()

    explanation = found(program)
    assert explanation.subject == "out"
    assert told(explanation, "`weight` requires grad, `out` does not.")
    assert "cause" not in explanation.details


def test_recording_is_off_for_good():
    """A call in a function that led to the failing one is named."""
    torch.set_grad_enabled(False)
    try:

        def program():
            weight = torch.ones(3, requires_grad=True)
            loss = weight.sum()
            loss.backward()

        line = "`torch.set_grad_enabled(False)` in line "
        assert told(found(program), f"Recording was off: {line}")
    finally:
        torch.set_grad_enabled(True)


def test_the_last_of_several_definitions():
    """A name that is bound twice is followed to the later line, and `+=` to both."""

    def rebound():
        weight = torch.ones(3, requires_grad=True)
        loss = weight.sum()
        loss = loss.detach()
        loss = loss * 2
        loss.backward()

    def added():
        weight = torch.ones(3, requires_grad=True)
        total = weight.detach().sum()
        total += 1
        total.backward()

    assert found(added).details["cut at"].endswith("`total = weight.detach().sum()`")
    assert found(rebound).details["cut at"].endswith("`loss = loss.detach()`")


@pytest.mark.parametrize("frozen", [True, False])
def test_lines_that_perhaps_ran(frozen):
    """The source does not tell which arm of an `if` ran: both lines with a reason are told."""

    def program():
        weight = torch.ones(3, requires_grad=True)
        if frozen:
            out = weight
            out = out.detach()
        else:
            print()
            out = weight.data
        out.sum().backward()

    explanation = found(program)
    assert explanation.subject == "out"
    lines = explanation.details["cut at"]
    assert "`out = weight.data`" in lines
    assert "; line " in lines
    assert "`out = out.detach()`" in lines


def test_the_other_arm_did_not_run():
    """Seen from inside an arm, the other one does not count."""

    def program(frozen):
        weight = torch.ones(3, requires_grad=True)
        out = weight.detach()
        if frozen:
            out.sum().backward()
        else:
            out = weight.data

    assert found(program, True).details["cut at"].endswith("`out = weight.detach()`")


def test_a_name_that_is_made_from_itself():
    """`out = out.detach()`: what had the graph is read in the line before."""

    def program():
        model, out = nn.Linear(3, 3), torch.ones(2, 3)
        out = model(out)
        out = out.detach()
        out = out * 2
        out.sum().backward()

    explanation = found(program)
    assert explanation.subject == "out"
    assert explanation.details["cut at"].endswith("`out = out.detach()`")
    assert told(explanation, "`model` requires grad, `out` does not.")


def test_a_loop_over_cut_results():
    """The loop's variable comes from what it runs over."""

    def program():
        weight = torch.ones(3, requires_grad=True)
        for part in weight.detach():
            part.backward()

    explanation = found(program)
    assert explanation.subject == "part"
    assert "for part in weight.detach()" in explanation.details["cut at"]


def test_a_value_from_a_block_is_where_the_source_ends():
    """What `with ... as` gives has no expression to look into."""

    @contextlib.contextmanager
    def batch():
        yield torch.ones(3)

    def program():
        with batch() as x:
            loss = (x * 2).sum()
            loss.backward()

    assert found(program).subject == "x"


def test_several_starting_points():
    """None of them requires grad; the integers are left out."""

    def program():
        inputs, target = torch.ones(3), torch.zeros(3)
        index = torch.tensor([0, 1, 2])
        loss = F.mse_loss(inputs[index], target)
        loss.backward()

    explanation = found(program)
    assert explanation.subject == "inputs"
    assert told(explanation, "starts from `inputs`, `target`, and none of them requires grad.")


def test_a_loss_with_class_weights_is_not_a_frozen_model():
    """A buffer is no parameter."""

    def program():
        criterion = nn.CrossEntropyLoss(weight=torch.ones(3))
        logits, target = torch.zeros(2, 3), torch.tensor([0, 1])
        loss = criterion(logits, target)
        loss.backward()

    assert found(program).subject == "logits"


def test_a_number_in_a_product_is_not_followed():
    """A scale read with item() cuts nothing off: the product starts from `x`."""

    def program():
        weight, x = torch.ones(1, requires_grad=True), torch.ones(3)
        scale = weight.item()
        loss = (x * scale).sum()
        loss.backward()

    assert found(program).subject == "x"


def test_many_steps_end():
    """A program of a thousand lines is followed for some hundred steps."""
    lines = ["x0 = torch.ones(3)", *(f"x{n} = x{n - 1} + 1" for n in range(1, 1000))]
    code = "\n".join([*lines, "x999.sum().backward()"])
    linecache.cache["<steps>"] = (len(code), None, code.splitlines(keepends=True), "<steps>")
    explanation = found(exec, compile(code, "<steps>", "exec"), {"torch": torch})
    assert explanation.subject is None


def test_why_a_variable_of_a_running_program_has_no_graph():
    """`cut_of` serves explain(tensor); a name that is unknown, or no tensor, gives nothing."""
    weight = torch.ones(3, requires_grad=True)
    out = weight.detach()
    place = calling_place_here()
    assert cut_of(place, "out").subject == "out"
    assert "`out = weight.detach()`" in cut_of(place, "out").details["cut at"]
    assert cut_of(place, "unknown").subject is None
    assert not out.requires_grad


def calling_place_here():
    """The line that called this function."""
    frame = sys._getframe(1)
    assert calling_place() is not None
    return Place(frame, frame.f_lineno)


def test_a_failure_while_a_variable_is_followed(monkeypatch):
    """Explain must not fail because a source cannot be read."""
    monkeypatch.setattr("gradbook.understand.culprit.explain_cut", None)
    assert cut_of(calling_place_here(), "out").facts == []


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("x.data * 2", [".data"]),
        ("torch.tensor(loss)", ["tensor()"]),
        ("float(loss)", ["float()"]),
        ("loss.float()", []),
        ("long(x)", []),
        ("model(x).exp()", []),
    ],
)
def test_steps_that_end_a_graph(source, steps):
    """Some by their name alone, some only as a method."""
    local = dict.fromkeys(("x", "loss", "model"), Flow(carries=True))
    flow = Reader(requires_grad).expression(NOWHERE, ast.parse(source).body[0].value, local)
    assert [stop.text for stop in flow.stops] == steps
    assert flow.carries is not bool(steps)
