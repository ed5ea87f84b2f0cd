"""The checks of the page *Linear regression, four times*."""

import numpy as np
import pytest
import torch
from torch import nn

from gradbook import check, data
from gradbook.check import WrongAnswer


@pytest.mark.parametrize("answer", [1, 1.0, [1], torch.tensor(1.0, requires_grad=True), np.ones(1)])
def test_one_step_is_accepted_in_each_form(answer, capsys):
    """The weight after one step may come as any kind of number."""
    check.linear_regression.one_step(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (-1, "against the gradient"),
        (-10, "That is the gradient"),
        (2, "the loss is their mean"),
        (0.5, "factor 2"),
        (3, "too large"),
    ],
)
def test_wrong_step_is_told_why(answer, message):
    """Sign, rate, mean and factor each have a message."""
    with pytest.raises(WrongAnswer, match=message):
        check.linear_regression.one_step(answer)


def test_one_step_takes_numbers():
    """None is what backward() returns, not a weight."""
    with pytest.raises(TypeError, match="was backward"):
        check.linear_regression.one_step(None)


def right_step(model, x, y, optimizer):
    """Take the step as the page does."""
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def step_by_hand(model, x, y, optimizer):
    """Clear last, to None, and write the loss out."""
    loss = ((model(x) - y) ** 2).mean()
    loss.backward()
    optimizer.step()
    for parameter in model.parameters():
        parameter.grad = None
    return float(loss.detach())


@pytest.mark.parametrize("answer", [right_step, step_by_hand])
def test_right_training_step_is_accepted(answer, capsys):
    """Where the gradients are cleared does not matter, as long as each step has its own."""
    check.linear_regression.training_step(answer)
    assert capsys.readouterr().out.startswith("Right.")


def never_clears(model, x, y, optimizer):
    """Forget zero_grad."""
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def clears_between(model, x, y, optimizer):
    """Throw the gradient away before the step."""
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def steps_first(model, x, y, optimizer):
    """Step before backward."""
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def sums(model, x, y, optimizer):
    """Use the sum where the mean is asked for."""
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), y, reduction="sum").backward()
    optimizer.step()
    return 0.0


def steps_twice(model, x, y, optimizer):
    """Take two steps in one call."""
    right_step(model, x, y, optimizer)
    return right_step(model, x, y, optimizer)


def without_the_optimizer(model, x, y, optimizer):
    """Step by hand, with the rate that the optimizer happens to have."""
    loss = nn.functional.mse_loss(model(x), y)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.sub_(0.2 * gradient)
    return loss.item()


def leaves_eval_mode(model, x, y, optimizer):
    """Take the step, and leave the model in eval mode."""
    model.eval()
    return right_step(model, x, y, optimizer)


def returns_loss_after(model, x, y, optimizer):
    """Return the loss of the new weights."""
    right_step(model, x, y, optimizer)
    return nn.functional.mse_loss(model(x), y).item()


def returns_zero(model, x, y, optimizer):
    """Return a number that is no loss."""
    right_step(model, x, y, optimizer)
    return 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (never_clears, "Clear them before backward"),
        (clears_between, "did not move"),
        (steps_first, "step.. comes after backward"),
        (sums, "the loss is their mean"),
        (steps_twice, "wrong after 4 calls"),
        (leaves_eval_mode, "leaves model in evaluation mode"),
        (without_the_optimizer, r"not by the optimizer: call optimizer\.step\(\)"),
        (returns_loss_after, "return the one before it"),
        (returns_zero, "not the loss"),
    ],
)
def test_wrong_training_step_is_told_why(answer, message):
    """Each known way to write the step wrongly has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        check.linear_regression.training_step(answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *given: nn.functional.mse_loss(given[0](given[1]), given[2]), "returned a tensor"),
        (lambda *given: None, "must return the loss, got NoneType"),
        (lambda *given: True, "must return the loss, got bool"),
        (1.5, "without calling it"),
    ],
)
def test_training_step_returns_a_number(answer, message):
    """A tensor would keep its graph alive; None and truth values are no loss."""
    with pytest.raises(TypeError, match=message):
        check.linear_regression.training_step(answer)


def best_parabola():
    """Fit by the normal equations, another way than the check takes."""
    x, _ = data.line(100, dtype=torch.float64)
    y = x.exp()
    a = torch.cat([x, x**2, torch.ones_like(x)], dim=1)
    return torch.linalg.solve(a.T @ a, a.T @ y).flatten()


@pytest.mark.parametrize("form", [lambda t: t, torch.Tensor.tolist, np.asarray, nn.Parameter])
def test_parabola_is_accepted_in_each_form(form, capsys):
    """The three numbers may be a tensor, a list, an array or a parameter."""
    check.linear_regression.parabola(form(best_parabola()))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([1, 0.5, 1], "Taylor's parabola"),
        (best_parabola()[[1, 0, 2]], "swapped"),
        (best_parabola()[[2, 0, 1]], "The order is"),
        (best_parabola()[:2], "has 2 numbers"),
        (-best_parabola(), "wrong sign"),
    ],
)
def test_wrong_parabola_is_told_why(answer, message):
    """Taylor's numbers and wrong orders each have a message."""
    with pytest.raises(WrongAnswer, match=message):
        check.linear_regression.parabola(answer)


def test_parabola_without_intercept_is_recognised():
    """A layer with bias=False gives two factors that are wrong too."""
    x, _ = data.line(100, dtype=torch.float64)
    y = x.exp()
    two = torch.linalg.lstsq(torch.cat([x, x**2], dim=1), y).solution.flatten().tolist()
    with pytest.raises(WrongAnswer, match="keep bias=True"):
        check.linear_regression.parabola([*two, 0.0])


def test_parabola_takes_numbers():
    """A model is not its numbers."""
    with pytest.raises(TypeError, match="expected a number"):
        check.linear_regression.parabola(nn.Linear)


@pytest.mark.parametrize(
    "exercise",
    [
        check.linear_regression.one_step,
        check.linear_regression.training_step,
        check.linear_regression.parabola,
    ],
)
def test_no_answer_yet(exercise, capsys):
    """Three dots are no answer, and no error."""
    exercise(...)
    assert "No answer yet" in capsys.readouterr().out


def test_checks_leave_no_state_behind():
    """Random numbers are as they were."""
    state = torch.get_rng_state()
    check.linear_regression.one_step(1)
    check.linear_regression.training_step(right_step)
    check.linear_regression.parabola(best_parabola())
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
