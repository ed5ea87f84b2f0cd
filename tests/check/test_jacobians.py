"""The checks of the page *Jacobians, by rows and by columns*."""

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vjp, vmap

from gradbook import check
from gradbook.check import WrongAnswer


@pytest.mark.parametrize(
    "answer", [[500, 20, 1], (500.0, 20.0, 1.0), torch.tensor([500, 20, 1]), np.array([500, 20, 1])]
)
def test_passes_are_accepted_in_each_form(answer, capsys):
    """By rows, by columns, and for one number."""
    check.jacobians.passes(answer)
    assert "Right. A row for each result" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([20, 500, 1], "Rows and columns are swapped"),
        ([500, 20, 500], "The loss is one number"),
        ([500, 20, 20], "they come in one row"),
        ([10_000, 10_000, 1], "not a single entry"),
        ([500, 20], "The third number is missing"),
        ([500.5, 20, 1], "whole number"),
        ([501, 22, 1], "counted the forward evaluations"),
        ([502, 22, 1], "2 of 3 numbers are wrong"),
    ],
)
def test_wrong_passes_are_told_why(answer, message):
    """Swapped directions and passes for single entries have messages."""
    with pytest.raises(WrongAnswer, match=message):
        check.jacobians.passes(answer)


def direction_of(x, j):
    """Return a vector in which one place is 1."""
    return torch.eye(len(x), dtype=x.dtype)[j]


def one_pass(f, x, j):
    """Return a column by forward mode."""
    return jvp(f, (x,), (direction_of(x, j),))[1]


def by_dual_numbers(f, x, j):
    """Return a column by dual numbers."""
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, direction_of(x, j))
        return torch.autograd.forward_ad.unpack_dual(f(dual)).tangent


@pytest.mark.parametrize("answer", [one_pass, by_dual_numbers])
def test_a_column_in_one_pass_is_accepted(answer, capsys):
    """With torch.func and with dual numbers."""
    check.jacobians.one_column(answer)
    assert "Right. The speed of the results" in capsys.readouterr().out


def finite_difference(f, x, j):
    """Move one input a little to both sides."""
    h = 1e-6 * direction_of(x, j)
    return (f(x + h) - f(x - h)) / 2e-6


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda f, x, j: jacfwd(f)(x)[:, j], "you built the whole Jacobian"),
        (lambda f, x, j: jacrev(f)(x)[:, j], "you built the whole Jacobian"),
        (lambda f, x, j: vjp(f, x)[1](direction_of(x, j))[0], "That is row j"),
        (lambda f, x, j: jvp(f, (x,), (direction_of(x, j),)), "return the second"),
        (lambda f, x, j: jvp(f, (x,), (direction_of(x, j),))[0], "That is the value of f"),
        (lambda f, x, j: jvp(f, (x,), (torch.ones_like(x),))[1], "sum of all columns"),
        (lambda f, x, j: vjp(f, x)[1](torch.ones_like(x))[0], "sum of all rows"),
        (lambda f, x, j: one_pass(f, x, j - 1), "counted from zero"),
        (lambda f, x, j: one_pass(f, x, j)[j], "one entry"),
        (lambda f, x, j: jacfwd(f)(x), "whole Jacobian; column j"),
        (finite_difference, "finite differences are not exact"),
        (lambda f, x, j: 2 * one_pass(f, x, j), "The numbers are wrong, or the shape"),
    ],
)
def test_another_part_of_the_jacobian_is_named(answer, message):
    """Rows, sums, entries, the value and the whole matrix each have a message."""
    with pytest.raises(WrongAnswer, match=message):
        check.jacobians.one_column(answer)


def test_a_column_must_be_a_tensor():
    """A list is none."""
    with pytest.raises(TypeError, match="must return a tensor, got list"):
        check.jacobians.one_column(lambda f, x, j: one_pass(f, x, j).tolist())


def loss_of(model):
    """The loss of one sample as a function of the weights."""

    def loss(weights, row, target):
        return ((functional_call(model, weights, (row,)) - target) ** 2).sum()

    return loss


def weights_of(model):
    """The parameters as a dictionary, detached."""
    return {name: p.detach() for name, p in model.named_parameters()}


def samples(model, x, y):
    """Gradients of each sample, by name."""
    return vmap(grad(loss_of(model)), in_dims=(None, 0, 0))(weights_of(model), x, y)


def right(model, x, y):
    """Add up squares, then take the root."""
    return sum(one.flatten(1).square().sum(1) for one in samples(model, x, y).values()).sqrt()


def as_one_matrix(model, x, y):
    """Put all gradients of a sample into one row."""
    found = samples(model, x, y)
    return torch.cat([one.flatten(1) for one in found.values()], dim=1).norm(dim=1).tolist()


@pytest.mark.parametrize("answer", [right, as_one_matrix])
def test_norms_are_accepted(answer, capsys):
    """However the parts are put together, as a tensor or a list."""
    check.jacobians.gradient_norms(answer)
    assert "Right. vmap keeps" in capsys.readouterr().out


def of_batch(model, x, y):
    """Return the norm of the gradient of the batch."""
    found = grad(loss_of(model))(weights_of(model), x, y)
    return torch.cat([one.flatten() for one in found.values()]).norm()


def by_a_loop(model, x, y):
    """Call the model for each row."""
    norms = []
    for row, target in zip(x, y, strict=True):
        loss = ((model(row) - target) ** 2).sum()
        found = torch.autograd.grad(loss, list(model.parameters()))
        norms.append(torch.cat([one.flatten() for one in found]).norm())
    return norms


def by_backward(model, x, y):
    """Fill .grad."""
    ((model(x) - y) ** 2).sum().backward()
    return right(model, x, y)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (by_a_loop, "The model was called 5 times"),
        (by_backward, "changes the .grad of model"),
        (of_batch, "gradient of the whole batch"),
        (lambda model, x, y: of_batch(model, x, y) / len(x), "mean gradient of the batch"),
        (lambda model, x, y: right(model, x, y) ** 2, "squares of the norms"),
        (
            lambda model, x, y: sum(
                one.flatten(1).norm(dim=1) for one in samples(model, x, y).values()
            ),
            "You added the norms of the parameters",
        ),
        (
            lambda model, x, y: samples(model, x, y)["inner"].flatten(1).norm(dim=1),
            "first parameter alone",
        ),
        (lambda model, x, y: samples(model, x, y)["outer"].norm(dim=1), "last parameter alone"),
        (lambda model, x, y: right(model, x, y) + 1, "numbers are wrong"),
    ],
)
def test_wrong_norms_are_told_why(answer, message):
    """Batch gradients, squares, loops and single parameters each have a message."""
    with pytest.raises(WrongAnswer, match=message):
        check.jacobians.gradient_norms(answer)


@pytest.mark.parametrize("exercise", ["passes", "one_column", "gradient_norms"])
def test_three_dots_are_no_answer(exercise, capsys):
    """An exercise that nobody has tried yet raises nothing."""
    getattr(check.jacobians, exercise)(...)
    assert "No answer yet" in capsys.readouterr().out
