"""The exercises of *Kinks and nan* accept what is right, and name what is wrong."""

import numpy as np
import pytest
import torch

from gradbook.check import WrongAnswer, kinks_and_nans

OF_CLAMP = 2 if torch.__version__ < "2.14" else 0


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_three_slopes_are_accepted_in_each_form(form, capsys):
    """As this torch gives them."""
    kinks_and_nans.three_slopes(form([0, OF_CLAMP, 1]))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, 1, 1], "slope of the function"),
        ([0, OF_CLAMP / 2, 0.5], "first half alone"),
        ([0, 0, 0], "two minus signs"),
        ([0, 5, 1], "1 of 3 numbers are wrong"),
        (0, "Give three slopes"),
    ],
)
def test_wrong_slopes_are_explained(numbers, message):
    """The slope of the function, of one half, or with one minus sign."""
    with pytest.raises(WrongAnswer, match=message):
        kinks_and_nans.three_slopes(numbers)


def double_where(x):
    """Choose before, and after."""
    safe = torch.where(x == 0, 1.0, x)
    return torch.where(x == 0, 1.0, safe.sin() / safe)


def masked(x):
    """Fill what is left out."""
    out = torch.ones_like(x)
    hole = x == 0
    return out.masked_scatter(~hole, x[~hole].sin() / x[~hole])


@pytest.mark.parametrize("sinc", [double_where, masked])
def test_a_filled_hole_is_accepted(sinc, capsys):
    """With two choices, or with the quotient of the other elements only."""
    kinks_and_nans.filled_hole(sinc)
    assert capsys.readouterr().out.startswith("Right.")


def editing(x):
    """Put the safe number into the argument."""
    with torch.no_grad():
        x[x == 0] = 1.0
    return double_where(x)


@pytest.mark.parametrize(
    ("sinc", "message"),
    [
        (lambda x: torch.where(x == 0, 1.0, x.sin() / x), "gradient at 0 is nan"),
        (lambda x: x.sin() / x, "value at 0 is not 1"),
        (lambda x: (x + 1e-6).sin() / (x + 1e-6), "value at 0 is not 1|away from 0"),
        (
            lambda x: torch.where(x == 0, 1.0, (x + 1e-3).sin() / (x + 1e-3)),
            "do not add a small number",
        ),
        (lambda x: torch.sinc(x / torch.pi), "That is torch.sinc"),
        (lambda x: torch.special.sinc(x / torch.pi), "That is torch.sinc"),
        (lambda x: double_where(x.detach()), "has no graph"),
        (lambda x: double_where(x).sum(), "in the shape of x"),
        (lambda x: 1.0, "must return a tensor"),
        (
            lambda x: torch.where(x.abs() < 1, 1 - x**2 / 6, double_where(x)) + 0 * x,
            "away from 0",
        ),
        (lambda x: double_where(x) + (x == 0) * (x - x.detach()), "gradient at 0 is not 0"),
        (lambda x: double_where(x) + (x - x.detach()) * x**2, "gradient is wrong away"),
        (editing, "changes the values of x"),
    ],
)
def test_a_hole_that_is_not_filled_is_explained(sinc, message):
    """The value, the gradient at 0, the gradient elsewhere, or what was left behind."""
    with pytest.raises(WrongAnswer, match=message):
        kinks_and_nans.filled_hole(sinc)


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_single_draws_are_accepted_in_each_form(form, capsys):
    """Heads, tails and the average."""
    kinks_and_nans.single_draws(form([12, -4 / 3, 2]))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([4, -4 / 3, 0], "multiply each with its cost"),
        ([12, 4 / 3, 2], "slope of its logarithm is negative"),
        ([12, 5 / 3, 2], "1 of 3 numbers are wrong"),
        ([12, 4 / 3, 4], "slope is negative"),
        ([12, -4 / 3, 16 / 3], "not with a half each"),
        ([3, -1, 2], "those of their logarithms"),
        (2, "average alone"),
    ],
)
def test_wrong_draws_are_explained(numbers, message):
    """Each known slip has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        kinks_and_nans.single_draws(numbers)


def test_what_is_no_answer_is_a_type_error():
    """Functions and numbers are told apart."""
    with pytest.raises(TypeError, match="expected your function"):
        kinks_and_nans.filled_hole(1.0)
    with pytest.raises(TypeError, match="expected a number"):
        kinks_and_nans.three_slopes("0")


@pytest.mark.parametrize(
    "check",
    [kinks_and_nans.three_slopes, kinks_and_nans.filled_hole, kinks_and_nans.single_draws],
)
def test_three_dots_are_no_answer_yet(check, capsys):
    """An exercise that nobody has touched prints a hint and raises nothing."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_without_grad_mode_and_leave_it_as_it_was(mode, capsys):
    """A learner may call a check inside a block that records nothing."""
    with mode():
        kinks_and_nans.three_slopes([0, OF_CLAMP, 1])
        kinks_and_nans.filled_hole(double_where)
        kinks_and_nans.single_draws([12, -4 / 3, 2])
        assert not torch.is_grad_enabled()
    assert capsys.readouterr().out.count("Right.") == 3
