"""The checks of the page *Second derivatives with autograd.grad*."""

import numpy as np
import pytest
import torch

from gradbook import check
from gradbook.check import WrongAnswer

grad = torch.autograd.grad


@pytest.mark.parametrize(
    "answer", [[2, 12, 24], (2.0, 12.0, 24.0), torch.tensor([2, 12, 24]), np.array([2, 12, 24])]
)
def test_second_derivatives_are_accepted_in_each_form(answer, capsys):
    """xx, xy, yy, as a list, a tensor or an array."""
    check.autograd_grad.second_derivatives(answer)
    assert "Right. The mixed one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([4, 12], "Those are the first derivatives"),
        ([2, 24], "The mixed one is missing"),
        ([14, 36], "You added the two second derivatives"),
        ([24, 12, 2], "The order is xx, xy, yy"),
        ([2, 12, 12, 24], "twice"),
        ([2, 12, 23], "1 of 3 numbers are wrong"),
    ],
)
def test_wrong_second_derivatives_are_told_why(answer, message):
    """First derivatives, forgotten or doubled mixed ones, and the order have messages."""
    with pytest.raises(WrongAnswer, match=message):
        check.autograd_grad.second_derivatives(answer)


def slope_of(f, x):
    """Return the gradient with a graph."""
    return grad(f(x), x, create_graph=True)[0]


def two_passes(f, x, v):
    """Return v·Hv by two passes."""
    return grad(slope_of(f, x) @ v, x)[0] @ v


def forward_over_reverse(f, x, v):
    """Return v·Hv by the other way."""
    _, product = torch.func.jvp(torch.func.grad(f), (x.detach(),), (v,))
    return product @ v


def as_a_float(f, x, v):
    """Return a float."""
    return two_passes(f, x, v).item()


@pytest.mark.parametrize("answer", [two_passes, forward_over_reverse, as_a_float])
def test_curvature_is_accepted(answer, capsys):
    """A tensor with a single element, or a float."""
    check.autograd_grad.curvature(answer)
    assert "Right. Two passes" in capsys.readouterr().out


def whole_matrix(f, x, v):
    """Build the Hessian."""
    return v @ torch.autograd.functional.hessian(f, x) @ v


def row_by_row(f, x, v):
    """Build the Hessian by hand."""
    slope = slope_of(f, x)
    rows = [grad(one, x, retain_graph=True)[0] for one in slope]
    return v @ torch.stack(rows) @ v


def without_graph(f, x, v):
    """Forget create_graph."""
    return grad(grad(f(x), x)[0] @ v, x)[0] @ v


def by_backward(f, x, v):
    """Fill x.grad."""
    (slope_of(f, x) @ v).backward()
    return x.grad @ v


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (whole_matrix, "you built the matrix"),
        (row_by_row, "you built the matrix"),
        (without_graph, "create_graph=True"),
        (by_backward, "changes the .grad of x"),
        (lambda f, x, v: grad(slope_of(f, x) @ v, x)[0], "That is H v"),
        (lambda f, x, v: grad(slope_of(f, x) @ v, x)[0].sum(), "v comes in twice"),
        (lambda f, x, v: grad(slope_of(f, x).sum(), x)[0] @ v, "v comes in twice"),
        (lambda f, x, v: slope_of(f, x) @ v, "a first derivative"),
        (lambda f, x, v: 2 * two_passes(f, x, v), "Your answer is"),
    ],
)
def test_wrong_curvature_is_told_why(answer, message):
    """A matrix, a vector, a first derivative and a missing flag each have a message."""
    with pytest.raises(WrongAnswer, match=message):
        check.autograd_grad.curvature(answer)


def right(critic, x):
    """Differentiate by a copy, with a graph."""
    x = x.detach().requires_grad_()
    (gradient,) = grad(critic(x).sum(), x, create_graph=True)
    return gradient.square().sum(1).mean()


def by_norm(critic, x):
    """Square the norm, on a clone."""
    x = x.clone().requires_grad_()
    (gradient,) = grad(critic(x), x, torch.ones(len(x), 1, dtype=x.dtype), create_graph=True)
    return (gradient.norm(dim=1) ** 2).mean()


@pytest.mark.parametrize("answer", [right, by_norm])
def test_penalty_is_accepted(answer, capsys):
    """With grad_outputs as well as with the sum."""
    check.autograd_grad.gradient_penalty(answer)
    assert "Right. The gradient has a graph" in capsys.readouterr().out


def of(function, *, of_mean=False, **flags):
    """A penalty that makes one mistake."""

    def penalty(critic, x):
        x = x.detach().requires_grad_()
        out = critic(x).mean() if of_mean else critic(x).sum()
        (gradient,) = grad(out, x, **{"create_graph": True, **flags})
        return function(gradient)

    return penalty


def squared(gradient):
    """The right function of the gradient."""
    return gradient.square().sum(1).mean()


def flag_left_on(critic, x):
    """Change x itself."""
    return squared(grad(critic(x.requires_grad_()).sum(), x, create_graph=True)[0])


def writes_grad(critic, x):
    """Use backward, which fills every .grad."""
    x = x.detach().requires_grad_()
    critic(x).sum().backward()
    return squared(x.grad)


def no_copy(critic, x):
    """Differentiate by an x that requires no gradient."""
    return squared(grad(critic(x).sum(), x, create_graph=True)[0])


def no_sum(critic, x):
    """Differentiate several numbers."""
    x = x.detach().requires_grad_()
    return squared(grad(critic(x), x, create_graph=True)[0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (of(squared, create_graph=False), "trains nothing"),
        (of(lambda g: squared(g.detach())), "trains nothing"),
        (of(lambda g: (g * g.detach()).sum(1).mean()), "its gradient with respect to the weights"),
        (of(lambda g: g.square().mean()), "mean over all numbers"),
        (of(lambda g: g.norm(dim=1).mean()), "mean norm"),
        (of(lambda g: g.square().sum()), "sum over the rows"),
        (of(squared, of_mean=True), "You differentiated the mean"),
        (of(lambda g: ((g.norm(dim=1) - 1) ** 2).mean()), "pulls the norm to 1"),
        (of(lambda g: g.square().sum(1)), r"yours has shape \(4,\)"),
        (of(lambda g: 3 * squared(g)), "The value is wrong"),
        (flag_left_on, "leaves requires_grad=True on x"),
        (writes_grad, "changes the .grad of critic"),
        (no_copy, "x requires no gradient"),
        (no_sum, "critic\\(x\\) has several numbers"),
    ],
)
def test_wrong_penalty_is_told_why(answer, message):
    """Each usual mistake has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        check.autograd_grad.gradient_penalty(answer)


def test_penalty_must_be_a_tensor():
    """A float cannot train."""
    with pytest.raises(TypeError, match="must return a tensor, got float"):
        check.autograd_grad.gradient_penalty(of(lambda g: squared(g).item()))


@pytest.mark.parametrize("exercise", ["curvature", "gradient_penalty"])
def test_other_errors_pass_through(exercise):
    """The reader's own error is shown as it is."""

    def broken(*arguments):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        getattr(check.autograd_grad, exercise)(broken)


def test_checks_leave_the_random_state_alone():
    """A check draws no random number."""
    before = torch.get_rng_state()
    check.autograd_grad.gradient_penalty(right)
    check.autograd_grad.curvature(two_passes)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("exercise", ["second_derivatives", "curvature", "gradient_penalty"])
def test_three_dots_are_no_answer(exercise, capsys):
    """An exercise that nobody has tried yet raises nothing."""
    getattr(check.autograd_grad, exercise)(...)
    assert "No answer yet" in capsys.readouterr().out
