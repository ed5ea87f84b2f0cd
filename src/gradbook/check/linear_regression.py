"""Exercises of the page *Linear regression, four times*."""

from typing import Any

import torch
from torch import Tensor, nn

from gradbook import data
from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
)
from gradbook.check.traces import leaves_no_trace

# What the text of the exercise gives; the page holds its numbers against these.
ONE_STEP: dict[str, Any] = {"x": [1.0, 2.0], "y": [2.0, 4.0], "w": 0.0, "rate": 0.1}


def one_step(answer: Numbers) -> None:
    """Check ``w`` after one step at rate 0.1 from 0, for x = [1, 2] and y = [2, 4].

    Raises:
        WrongAnswer: not the weight; the message says what is wrong.
        TypeError: `answer` holds no number.

    >>> one_step(1)
    Right. The gradient is the mean of -4 and -16, and w moves against it.
    >>> one_step(-1.0)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: A step goes against the gradient: subtract it.
    """
    x, y, w = (torch.tensor(ONE_STEP[name]) for name in "xyw")
    rate = ONE_STEP["rate"]
    each = 2 * (w * x - y) * x
    gradient = each.mean()
    step = -rate * gradient
    judge_numbers(
        answer,
        w + step,
        right=f"The gradient is the mean of {each[0]:g} and {each[1]:g}, and w moves against it.",
        mistakes={
            "A step goes against the gradient: subtract it.": -step,
            "That is the gradient; the step is the rate times it, subtracted.": gradient,
            "That takes the sum of the squares: the loss is their mean.": len(x) * step,
            "The derivative of a square brings down a factor 2.": step / 2,
        },
    )


def training_step(answer: object) -> None:
    """Check ``train_step(model, x, y, optimizer)``: one step each call, and the loss before it.

    Raises:
        WrongAnswer: the weights or the losses are wrong, or something else is not as before; the
            message says what.
        TypeError: `answer` is not a function, or it returns something else than a number.

    >>> def train_step(model, x, y, optimizer):
    ...     loss = nn.functional.mse_loss(model(x), y)
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss.item()
    >>> training_step(train_step)
    Right. Forward, clear, backward, step, and a number that holds no graph.
    >>> training_step(lambda model, x, y, optimizer: 0.0)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The parameters did not move: call backward() and ...
    """
    train_step = answer_function(answer, "(model, x, y, optimizer)")
    if train_step is None:
        return
    x, y = data.line(20, intercept=0.5, dtype=torch.float64)
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE)
    steps: list[None] = []
    optimizer.register_step_post_hook(lambda *_: steps.append(None))
    returned: list[float] = []
    found: list[list[float]] = []
    for _ in range(_CALLS):
        with (
            leaves_no_trace(
                "train_step(model, x, y, optimizer)",
                may=("values", "grad"),
                model=model,
            ),
            leaves_no_trace("train_step(model, x, y, optimizer)", x=x, y=y),
        ):
            loss = train_step(model, x, y, optimizer)
        if isinstance(loss, Tensor):
            raise TypeError(
                "train_step returned a tensor: return a Python number, loss.item(), "
                "else the caller keeps the graph alive"
            )
        if isinstance(loss, bool) or not isinstance(loss, (int, float)):
            raise TypeError(f"train_step must return the loss, got {type(loss).__name__}")
        returned.append(float(loss))
        found.append(_flat(model))

    start = _flat(_model())
    losses, right = _reference(x, y)
    if _equal(found[-1], start):
        raise WrongAnswer(
            "The parameters did not move: call backward() and then optimizer.step(), "
            "and clear before backward()."
        )
    if not steps:
        raise WrongAnswer(
            "The parameters moved, but not by the optimizer: call optimizer.step(), so that the "
            "step is right for any optimizer and any rate."
        )
    if not _equal(found, right):
        _, never_cleared = _reference(x, y, clear=False)
        _, one_late = _reference(x, y, late=True)
        _, summed = _reference(x, y, factor=len(x))
        if _equal(found, never_cleared):
            raise WrongAnswer(
                "The first call is right, the second is not: it steps along the gradients of "
                "both. Clear them before backward()."
            )
        if _equal(found, one_late):
            raise WrongAnswer(
                "Each call steps along the gradient of the call before: optimizer.step() comes "
                "after backward()."
            )
        if _equal(found, summed):
            raise WrongAnswer("That is the sum of the squared errors: the loss is their mean.")
        raise WrongAnswer(
            f"The parameters are wrong after {_CALLS} calls: take one step a call, on the mean "
            "squared error of model(x) and y."
        )
    if not _equal(returned, losses):
        if _equal(returned[:-1], losses[1:]):
            raise WrongAnswer("That is the loss after the step: return the one before it.")
        raise WrongAnswer("The steps are right, but the number that you return is not the loss.")
    print("Right. Forward, clear, backward, step, and a number that holds no graph.")


def parabola(answer: Numbers) -> None:
    """Check the factor of x, the factor of x^2 and the intercept of the parabola for e^x.

    Raises:
        WrongAnswer: not these numbers; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> parabola([1.0980, 0.5420, 0.9952])
    Right. It is linear in the weights: x squared is one more input.
    >>> parabola([1.0, 0.5, 1.0])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is Taylor's parabola, ...
    """
    x, _ = data.line(100, dtype=torch.float64)
    y = x.exp()
    powers = torch.cat([x, x**2, torch.ones_like(x)], dim=1)
    best = torch.linalg.lstsq(powers, y).solution.flatten()
    without = torch.linalg.lstsq(powers[:, :2], y).solution.flatten()
    judge_numbers(
        answer,
        best,
        right="It is linear in the weights: x squared is one more input.",
        mistakes={
            "That is Taylor's parabola, which is best near 0; least squares weighs all points.": (
                torch.tensor([1.0, 0.5, 1.0])
            ),
            "The first two are swapped: the factor of x comes first.": best[[1, 0, 2]],
            "The order is: the factor of x, of x squared, then the intercept.": best[[2, 0, 1]],
            "The intercept is missing: keep bias=True.": torch.cat([without, torch.zeros(1)]),
        },
    )


_CALLS = 4
_RATE = 0.2


def _model() -> nn.Linear:
    # Made without memory, so that no random number is drawn for its start.
    model = nn.Linear(1, 1, device="meta", dtype=torch.float64).to_empty(device="cpu")
    with torch.no_grad():
        model.weight.fill_(0.25)
        model.bias.fill_(-0.5)
    return model


def _flat(model: nn.Linear) -> list[float]:
    return [model.weight.item(), model.bias.item()]


def _equal(a: object, b: object) -> bool:
    return torch.allclose(torch.tensor(a), torch.tensor(b), rtol=1e-6)


def _reference(
    x: Tensor, y: Tensor, *, clear: bool = True, late: bool = False, factor: float = 1.0
) -> tuple[list[float], list[list[float]]]:
    """Losses and parameters, by hand; `late` steps along the gradient of the call before."""
    w, b = _flat(_model())
    total = torch.zeros(2, dtype=torch.float64)
    losses, path = [], []
    for _ in range(_CALLS):
        difference = w * x + b - y
        losses.append((difference**2).mean().item())
        gradient = factor * torch.stack([(2 * difference * x).mean(), (2 * difference).mean()])
        step = total if late else gradient if clear else total + gradient
        total = gradient if late or clear else total + gradient
        w -= _RATE * step[0].item()
        b -= _RATE * step[1].item()
        path.append([w, b])
    return losses, path
