"""Exercises of the page *The gradient by hand*."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
    judge_word,
    unanswered,
)
from gradbook.check.traces import leaves_no_trace

# Exercise 1: the points, and w.
POINTS = ((1, 3), (3, 7))
W = 1


def two_points(answer: Numbers) -> None:
    """Check dJ/dw of the model w * x at w = 1, for the points (1, 3) and (3, 7).

    Raises:
        WrongAnswer: not the derivative; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> two_points(-14)
    Right. The terms are 2 * 1 * (-2) = -4 and 2 * 3 * (-4) = -24, and their mean is -14.
    >>> two_points(-28.0)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is the sum over the points: divide by their number.
    """
    x, y = torch.tensor(POINTS, dtype=torch.float64).T
    w = torch.tensor(W, dtype=torch.float64)
    loss, right = _slope(lambda w: ((w * x - y) ** 2).mean(), w)
    error = w * x - y
    judge_numbers(
        answer,
        right,
        right="The terms are 2 * 1 * (-2) = -4 and 2 * 3 * (-4) = -24, and their mean is -14.",
        mistakes={
            "That is the sum over the points: divide by their number.": len(x) * right,
            "The factor 2 is missing: the derivative of e**2 is 2 * e.": right / 2,
            "The chain rule has a second factor: the error w * x - y has the derivative x.": (
                2 * error
            ).mean(),
            "Those are the terms of the two points: take their mean.": 2 * x * error,
            "That is the loss itself, not its derivative.": loss,
        },
    )


def intercept(answer: object) -> None:
    """Check ``slope_b(w, b, x, y)``: dJ/db of the model w * x + b with the mean squared error.

    Raises:
        WrongAnswer: the function returns something else; the message says what is wrong.
        TypeError: `answer` is not a function, or it returns no numbers.

    >>> intercept(lambda w, b, x, y: (2 * (w * x + b - y)).mean())
    Right. b enters each error as it is, so the inner derivative is 1.
    >>> intercept(lambda w, b, x, y: (2 * x * (w * x + b - y)).mean())
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is dJ/dw: the derivative of the error with respect \
to b is 1, not x.
    """
    slope_b = answer_function(answer, "(w, b, x, y)")
    if slope_b is None:
        return
    results, rows = [], []
    for count in (3, 5):  # two lengths: a division by a fixed number is not a mean
        x = torch.linspace(-1, 2, count, dtype=torch.float64)
        y = 3 * x - 2
        with leaves_no_trace("slope_b(w, b, x, y)", x=x, y=y):
            result = slope_b(1.5, 0.5, x.numpy(), y.numpy())
        if result is None:
            raise WrongAnswer("slope_b(w, b, x, y) returned None: end it with `return`.")
        size = result.numel() if isinstance(result, Tensor) else np.size(result)
        if size != 1:
            raise WrongAnswer(
                f"slope_b(w, b, x, y) returned {size} numbers for {count} points: take their mean."
            )
        results.append(result)
        with_intercept = partial(_loss_of_line, x=x, y=y)
        _, slopes = _slope(with_intercept, torch.tensor([1.5, 0.5], dtype=torch.float64))
        rows.append(torch.stack([*slopes, count * slopes[1]]))
    slope_w, expected, total = torch.stack(rows, dim=1)
    judge_numbers(
        results,
        expected,
        right="b enters each error as it is, so the inner derivative is 1.",
        mistakes={
            "That is dJ/dw: the derivative of the error with respect to b is 1, not x.": slope_w,
            "That is the sum over the points: take the mean.": total,
            "The factor 2 is missing: the derivative of e**2 is 2 * e.": expected / 2,
        },
    )


def right_formula(answer: object) -> None:
    """Check which of three formulas is dJ/dw of the model w**2 * x: ``"a"``, ``"b"`` or ``"c"``.

    Raises:
        WrongAnswer: another one; the message says where it differs.
        TypeError: `answer` is not a string.

    >>> right_formula("c")
    Right. It agrees with the measured slope at every w.
    >>> right_formula("b")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: b leaves out the derivative of w**2.
    """
    if unanswered(answer):
        return
    x = torch.arange(1.0, 5.0, dtype=torch.float64)
    y = 2 * x
    agreeing = {"a", "b", "c"}
    for at in (0.5, 1.0, 2.0):
        w = torch.tensor(at, dtype=torch.float64)
        _, slope = _slope(lambda w: ((w**2 * x - y) ** 2).mean(), w)
        common = ((w**2 * x - y) * x).mean()
        formulas = {"a": 4 * common, "b": 2 * common, "c": 4 * w * common}
        agreeing -= {name for name, value in formulas.items() if not torch.isclose(value, slope)}
    (right,) = agreeing
    judge_word(
        answer,
        right,
        right="It agrees with the measured slope at every w.",
        options=("a", "b", "c"),
        mistakes={
            "a": "a agrees at w = 1 and differs elsewhere: compare at several w.",
            "b": "b leaves out the derivative of w**2.",
        },
    )


def _loss_of_line(parameters: Tensor, x: Tensor, y: Tensor) -> Tensor:
    w, b = parameters
    loss: Tensor = ((w * x + b - y) ** 2).mean()
    return loss


def _slope(f: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """The value and the gradient of f; works under no_grad too."""
    with torch.enable_grad():
        point = at.clone().requires_grad_()
        value = f(point)
        (slope,) = torch.autograd.grad(value, point)
    return value.detach(), slope
