"""Exercises of the page *Kinks and nan*."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradbook.check.answers import Numbers, WrongAnswer, answer_function, judge_numbers
from gradbook.check.traces import leaves_no_trace

# Exercise 1: where the slopes are wanted.
POINT = 0
# Exercise 3.
COIN = {"p": 0.25, "heads": 3, "tails": 1}


def three_slopes(answer: Numbers) -> None:
    """Check the slopes that torch gives at 0 to three ways to write ``x``.

    They are ``relu(x) - relu(-x)``, the same with ``clamp(min=0)``, and with ``maximum(x, 0)``.

    Raises:
        WrongAnswer: another slope; the message says of which.
        TypeError: `answer` holds no numbers.

    >>> three_slopes([1, 1, 1])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is the slope of the function. Autograd adds what it ...
    """
    halves: tuple[Callable[[Tensor], Tensor], ...] = (
        torch.relu,
        lambda x: x.clamp(min=0),
        lambda x: torch.maximum(x, torch.zeros(())),
    )
    picked: list[Tensor] = []
    slopes: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad():
        for half in halves:
            x = torch.tensor(float(POINT), requires_grad=True)
            slopes += torch.autograd.grad(half(x) - half(-x), x)
            picked += torch.autograd.grad(half(x), x)
    right = torch.stack(slopes)
    judge_numbers(
        answer,
        right,
        right="Twice the slope that was picked for one half: -x brings a second minus sign.",
        mistakes={
            "That is the slope of the function. Autograd adds what it picks for the two halves.": (
                torch.ones(3)
            ),
            "Those are the slopes of the first half alone; the second one has its kink at 0 too.": (
                torch.stack(picked)
            ),
            "The second half is subtracted, and its argument is -x: two minus signs.": (
                torch.zeros(3)
            ),
            "Give three slopes, one for each function.": right[0],
        },
    )


class _NoSinc(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if "sinc" in getattr(func, "__name__", ""):
            raise WrongAnswer("That is torch.sinc: fill the hole yourself.")
        return func(*args, **(kwargs or {}))


def filled_hole(answer: object) -> None:
    """Check ``sinc(x)``: ``sin(x) / x``, and 1 at 0, with the right gradient everywhere.

    Raises:
        WrongAnswer: a value or a gradient is wrong; the message says where.
        TypeError: `answer` is not a function.

    >>> filled_hole(lambda x: torch.where(x == 0, 1.0, x.sin() / x))
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The gradient at 0 is nan: the quotient still sees the 0, ...
    """
    sinc = answer_function(answer, "(x)")
    if sinc is None:
        return
    points = torch.tensor([[-3.0, -1e-2, 0.0], [1e-2, 0.5, 20.0]], dtype=torch.float64)
    with torch.inference_mode(False), torch.enable_grad():
        for x in (points.clone().requires_grad_(), torch.zeros(2, requires_grad=True)):
            with leaves_no_trace("sinc(x)", x=x), _NoSinc():
                y = sinc(x)
            if not isinstance(y, Tensor) or y.shape != x.shape:
                raise WrongAnswer("sinc(x) must return a tensor in the shape of x.")
            wanted = torch.sinc(x / torch.pi)
            _values(x.detach(), y.detach(), wanted.detach())
            if not y.requires_grad:
                raise WrongAnswer("The result has no graph: compute it with torch, from x.")
            (found,) = torch.autograd.grad(y.sum(), x, allow_unused=True, materialize_grads=True)
            at_zero = found[x == 0]
            if at_zero.isnan().any():
                raise WrongAnswer(
                    "The gradient at 0 is nan: the quotient still sees the 0, and its slope there "
                    "is infinite. Put a safe number in its place before you divide."
                )
            if not torch.allclose(at_zero, torch.zeros_like(at_zero), atol=1e-6):
                raise WrongAnswer("The gradient at 0 is not 0.")
            (right,) = torch.autograd.grad(wanted.sum(), x)
            if not torch.allclose(found, right, rtol=1e-4, atol=1e-6):
                raise WrongAnswer("The gradient is wrong away from 0: keep the quotient there.")
    print("Right. The quotient never sees the 0, so nothing infinite is multiplied with 0.")


def _values(x: Tensor, y: Tensor, wanted: Tensor) -> None:
    at_zero = x == 0
    if not torch.equal(y[at_zero], torch.ones_like(y[at_zero])):
        raise WrongAnswer("The value at 0 is not 1.")
    if not torch.allclose(y, wanted.to(y.dtype), rtol=1e-7, atol=1e-9):
        raise WrongAnswer(
            "A value away from 0 is not sin(x) / x: do not add a small number to x, and leave all "
            "points but 0 as they are."
        )


def single_draws(answer: Numbers) -> None:
    """Check what the score function estimates from heads, from tails, and on average.

    Raises:
        WrongAnswer: another number; the message says which step is missing.
        TypeError: `answer` holds no numbers.

    >>> single_draws([12, -4 / 3, 2])
    Right. Each draw is far off, and the average is the slope of the expected cost, 3 - 1.
    >>> single_draws([4, -4 / 3, 0])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: Those are the slopes of the log-probabilities; multiply ...
    """
    chance, heads, tails = COIN["p"], COIN["heads"], COIN["tails"]
    with torch.inference_mode(False), torch.enable_grad():
        p = torch.tensor(chance, dtype=torch.float64, requires_grad=True)
        (of_heads,) = torch.autograd.grad(p.log(), p)
        (of_tails,) = torch.autograd.grad((1 - p).log(), p)
        (mean,) = torch.autograd.grad(p * heads + (1 - p) * tails, p)

    def three(first: Tensor, second: Tensor, third: Tensor | float) -> Tensor:
        return torch.stack([first, second, torch.as_tensor(third, dtype=torch.float64)])

    one, other = heads * of_heads, tails * of_tails
    judge_numbers(
        answer,
        three(one, other, mean),
        right="Each draw is far off, and the average is the slope of the expected cost, 3 - 1.",
        mistakes={
            "Those are the slopes of the log-probabilities; multiply each with its cost.": three(
                of_heads, of_tails, 0
            ),
            "The probability of tails is 1 - p: its slope is negative.": three(
                one, -other, chance * one - (1 - chance) * other
            ),
            "The probability of tails is 1 - p: the slope of its logarithm is negative.": three(
                one, -other, mean
            ),
            "The average is taken with the probabilities p and 1 - p, not with a half each.": three(
                one, other, (one + other) / 2
            ),
            "The slopes of the probabilities are 1 and -1; the score function takes those of "
            "their logarithms.": three(
                torch.full_like(one, heads), torch.full_like(one, -tails), mean
            ),
            "That is the average alone: give all three.": mean,
        },
    )
