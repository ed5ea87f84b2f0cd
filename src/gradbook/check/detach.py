"""Exercises of the page *detach()*."""

import torch
from torch import Tensor, nn

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
)
from gradbook.check.traces import leaves_no_trace

X = 3.0
"""Where exercise 1 asks for the gradient."""
FACTOR = 2.0
"""Of the gradient in exercise 3."""


def one_factor(answer: Numbers) -> None:
    """Check ``x.grad`` of ``x**2 * x.detach()`` at x = 3.

    Raises:
        WrongAnswer: not the gradient; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> one_factor(18)
    Right. The detached factor is the number 3: the derivative of 3 * x**2 is 6 * x.
    >>> one_factor(27)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is the derivative of x**3: the detached factor is a ...
    """

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, x)[0]

    with torch.inference_mode(False), torch.enable_grad():
        x = torch.tensor(X, requires_grad=True)
        right = gradient(x**2 * x.detach())
        mistakes: dict[str, Tensor | float] = {
            "That is the derivative of x**3: the detached factor is a constant.": gradient(x**3),
            "That is the path through the detached factor, the one that is cut.": gradient(
                x.detach() ** 2 * x
            ),
            "That is the derivative of x**2 alone: the detached factor still multiplies it.": (
                gradient(x**2)
            ),
            "Only one factor is detached: x**2 still has its graph.": 0.0,
        }
    judge_numbers(
        answer,
        right,
        right="The detached factor is the number 3: the derivative of 3 * x**2 is 6 * x.",
        mistakes=mistakes,
    )


def parameter_snapshot(answer: object) -> None:
    """Check ``snapshot(model)``: the values of all parameters by name, as they are now.

    Raises:
        WrongAnswer: it holds something else, or does not last; the message says what.
        TypeError: `answer` is not a function.

    >>> parameter_snapshot(lambda model: model.state_dict())
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The snapshot changes when the model is trained: it ...
    """
    snapshot = answer_function(answer, "(model)")
    if snapshot is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        with torch.random.fork_rng(devices=[]):
            model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        # Not all alike, so that what sets them all is noticed.
        model[0].requires_grad_(False).eval()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        with leaves_no_trace("snapshot(model)", model=model):
            kept = snapshot(model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)
    if not isinstance(kept, dict):
        raise WrongAnswer(f"snapshot(model) must return a dictionary, not {type(kept).__name__}.")
    for name, value in before.items():
        if name not in kept:
            raise WrongAnswer(f"The snapshot has no {name!r}: take model.named_parameters().")
        found = kept[name]
        if not isinstance(found, Tensor):
            raise WrongAnswer(f"{name!r} must be a tensor, not {type(found).__name__}.")
        if torch.equal(found, value + 1):
            raise WrongAnswer(
                "The snapshot changes when the model is trained: it shares storage with the "
                "parameters. Add clone()."
            )
        if not torch.equal(found, value):
            raise WrongAnswer(f"{name!r} does not hold the values of the parameter.")
        if found.requires_grad:
            raise WrongAnswer(
                "The snapshot requires grad: a clone stays in the graph. Add detach()."
            )
    print("Right. detach() leaves the graph, clone() leaves the storage.")


def straight_through(answer: object) -> None:
    """Check ``sign_through(x)``: the value of ``x.sign()`` and the gradient of ``2 * x``.

    Raises:
        WrongAnswer: the value or the gradient is another one; the message says which.
        TypeError: `answer` is not a function.

    >>> straight_through(lambda x: x.sign())
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The gradient is 0: x.sign() is still in the graph, ...
    """
    sign_through = answer_function(answer, "(x)")
    if sign_through is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        values = torch.tensor([0.5, -1.5, 3.0, 0.0], dtype=torch.float64)
        x = values.clone().requires_grad_()
        incoming = torch.tensor([1.0, 10.0, -1.0, 5.0], dtype=torch.float64)
        with leaves_no_trace("sign_through(x)", x=x):
            result = sign_through(x)
        if not isinstance(result, Tensor):
            raise WrongAnswer(f"sign_through(x) must return a tensor, not {type(result).__name__}.")
        _judge_value(result, values)
        if not result.requires_grad:
            raise WrongAnswer("The result has no graph: leave one term outside of detach().")
        found = torch.autograd.grad((result * incoming).sum(), x, allow_unused=True)[0]
    if found is None or not found.any():
        raise WrongAnswer("The gradient is 0: x.sign() is still in the graph, and nothing else is.")
    if torch.allclose(found, incoming):
        raise WrongAnswer("That has the gradient of x; the gradient of 2 * x is asked for.")
    judge_numbers(
        found,
        FACTOR * incoming,
        right="The value is that of the detached sum, the gradient that of the term outside.",
    )


def _judge_value(result: Tensor, x: Tensor) -> None:
    wrong = "The value is not that of x.sign()."
    if result.shape != x.shape:
        raise WrongAnswer(wrong)
    good = torch.isclose(result.detach(), x.sign())
    if good.all():
        return
    if good[x != 0].all():
        raise WrongAnswer("The value is wrong where x is 0: there x.sign() is 0.")
    if torch.allclose(result.detach(), 2 * x):
        raise WrongAnswer("The value is that of 2 * x: the part that cancels must be detached.")
    raise WrongAnswer(wrong)
