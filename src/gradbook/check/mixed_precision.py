"""Exercises of the page *Mixed precision*."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
    unanswered,
)
from gradbook.check.traces import leaves_no_trace

# What the text of the exercise gives; the page holds its numbers against these.
TINY = {"slope": 1e-9, "power": 16}


def three_dtypes(answer: object) -> None:
    """Check the dtypes of ``h = layer(x)``, of a loss of it, and of ``layer.weight.grad``.

    The layer is linear and float32, the autocast to bfloat16 and on a CPU, the loss `mse_loss`.

    Raises:
        WrongAnswer: one is another; the message says which.
        TypeError: `answer` is not a list of dtypes or of their names.

    >>> three_dtypes(["bfloat16", "float32", "float32"])
    Right. The product runs in 16 bits, the loss is computed in float32, and a gradient has the ...
    >>> three_dtypes("bfloat16 float32 bfloat16")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: weight.grad is wrong: the conversion of the weight has ...
    """
    if unanswered(answer):
        return
    given = _dtypes(answer)
    with torch.inference_mode(False), torch.enable_grad():
        weight = torch.ones(2, 4, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = functional.linear(torch.ones(3, 4), weight)
            loss = functional.mse_loss(hidden, torch.zeros(3, 2))
        gradient = torch.autograd.grad(loss, weight)[0]
    expected = {"h": hidden.dtype, "loss": loss.dtype, "weight.grad": gradient.dtype}
    if len(given) != len(expected):
        raise WrongAnswer(
            f"Your answer has {len(given)} dtypes; three are asked for: {', '.join(expected)}."
        )
    reasons = {
        "h": "a linear layer is a matrix product, and those run in 16 bits here",
        "loss": "look for mse_loss in the table: what it computes in",
        "weight.grad": "the conversion of the weight has a node, which converts the gradient back",
    }
    for (name, dtype), one in zip(expected.items(), given, strict=True):
        if one != str(dtype).removeprefix("torch."):
            raise WrongAnswer(f"{name} is wrong: {reasons[name]}.")
    print(
        "Right. The product runs in 16 bits, the loss is computed in float32, and a gradient has "
        "the dtype of its parameter."
    )


def _dtypes(answer: object) -> list[str]:
    if isinstance(answer, str):
        answer = answer.replace(",", " ").split()
    if not isinstance(answer, (list, tuple)) or not all(
        isinstance(one, (str, torch.dtype)) for one in answer
    ):
        raise TypeError(
            f'expected dtypes such as ["float32", "float16"], got {type(answer).__name__}'
        )
    names = [str(one).strip().casefold().removeprefix("torch.") for one in answer]
    for name in names:
        if name not in ("float16", "bfloat16", "float32", "float64"):
            raise WrongAnswer(f"{name!r} is not one of float16, bfloat16, float32, float64.")
    return names


def through_half(answer: Numbers) -> None:
    """Check what is left of a gradient of 1e-9 that passes through float16: scaled, and not.

    Raises:
        WrongAnswer: not these two; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> through_half([1e-9, 0])
    Right. Scaled, it is among the numbers of float16; divided by the scale in float32, it is ...
    >>> through_half([0, 1e-9])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The two are swapped: the scale lifts the gradient into ...
    """
    scale = 2.0 ** TINY["power"]
    slope = TINY["slope"]
    scaled = (torch.tensor(slope * scale, dtype=torch.float16).double() / scale).item()
    plain = torch.tensor(slope, dtype=torch.float16).double().item()
    smallest = 2.0**-24

    def two(first: float, second: float) -> Tensor:
        return torch.tensor([first, second], dtype=torch.float64)

    judge_numbers(
        answer,
        two(scaled, plain) / slope,
        right="Scaled, it is among the numbers of float16; divided by the scale in float32, it is "
        "what it was. Without the scale it is rounded to zero.",
        mistakes={
            "The two are swapped: the scale lifts the gradient into the range of float16.": (
                two(plain, scaled) / slope
            ),
            "The first is not divided by the scale yet.": two(slope * scale, plain) / slope,
            "Without the scale, compare the gradient with half of the smallest float16.": (
                two(slope, slope) / slope
            ),
            "The smallest float16 is too large by far: zero is nearer.": (
                two(slope, smallest) / slope
            ),
            f"With the scale, compare {scale:g} times the gradient with the smallest float16.": (
                two(0, 0)
            ),
            "Give both: with the scale, and without.": two(1, 1)[0],
        },
        tolerance=2e-3,
        unit=slope,
    )


def overflowing_pair(p: Any, y: Any = ...) -> None:
    """Check that ``((p - y) ** 2).mean()`` is inf in float16, and ``F.mse_loss(p, y)`` is not.

    Raises:
        WrongAnswer: the pair does not show it; the message says why.
        TypeError: `p` and `y` are not tensors.

    >>> overflowing_pair(torch.tensor([300.0]).half(), torch.tensor([0.0]).half())
    Right. The square is above the largest float16; mse_loss computes it in float32.
    >>> overflowing_pair(torch.tensor([300.0]), torch.tensor([0.0]))
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: p is float32: make both float16.
    """
    if unanswered(p) or unanswered(y):
        return
    for name, tensor in {"p": p, "y": y}.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"expected two tensors, got {type(tensor).__name__} for {name}")
        if tensor.dtype != torch.float16:
            raise WrongAnswer(f"{name} is {str(tensor.dtype)[6:]}: make both float16.")
        if not tensor.isfinite().all():
            raise WrongAnswer(f"{name} itself is not finite: both losses start from there.")
    if p.shape != y.shape:
        raise WrongAnswer(f"The shapes differ: {tuple(p.shape)} and {tuple(y.shape)}.")
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        own = ((p - y) ** 2).mean()
        ready_made = functional.mse_loss(p, y)
    if not ready_made.isfinite():
        raise WrongAnswer("F.mse_loss is not finite either: take values that differ by less.")
    if not (p - y).isfinite().all():
        raise WrongAnswer("p - y overflows already: take values that differ by less.")
    if own.isfinite():
        raise WrongAnswer("Your loss is finite: the square must be above the largest float16.")
    print("Right. The square is above the largest float16; mse_loss computes it in float32.")


class _NoMseLoss(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") == "mse_loss":
            raise WrongAnswer("That is F.mse_loss: cure the formula itself.")
        return func(*args, **(kwargs or {}))


def cured_loss(answer: object) -> None:
    """Check ``loss_of(p, y)``: the mean square of ``p - y``, also where float16 overflows.

    Raises:
        WrongAnswer: it overflows, or is another number; the message says where.
        TypeError: `answer` is not a function.

    >>> cured_loss(lambda p, y: ((p.float() - y.float()) ** 2).mean())
    Right. What is converted first is subtracted and squared in float32.
    >>> cured_loss(lambda p, y: ((p - y) ** 2).float().mean())
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The square has overflowed before it is converted: ...
    """
    loss_of = answer_function(answer, "(p, y)")
    if loss_of is None:
        return
    cases = {
        "The square has overflowed before it is converted: convert p and y.": ([300.0], [0.0]),
        "p - y has overflowed before it is converted: convert p and y, not the difference.": (
            [60000.0],
            [-60000.0],
        ),
        "The sum of the squares has overflowed: convert before squaring.": ([200.0] * 8, [0.0] * 8),
    }
    with torch.inference_mode(False), torch.enable_grad():
        for message, (p_values, y_values) in cases.items():
            p = torch.tensor(p_values, dtype=torch.float16, requires_grad=True)
            y = torch.tensor(y_values, dtype=torch.float16)
            wanted = ((p.double() - y.double()) ** 2).mean()
            with (
                leaves_no_trace("loss_of(p, y)", p=p, y=y),
                torch.autocast("cpu", dtype=torch.float16),
                _NoMseLoss(),
            ):
                loss = loss_of(p, y)
            if not isinstance(loss, Tensor):
                raise WrongAnswer(f"loss_of must return a tensor, not {type(loss).__name__}.")
            if loss.numel() != 1:
                raise WrongAnswer(f"It returns {loss.numel()} numbers: take the mean.")
            if not loss.isfinite() and loss.dtype == torch.float16 and p_values == [300.0]:
                raise WrongAnswer(
                    "The square has overflowed: your loss is float16. Convert p and y first, and "
                    "return what comes, in float32."
                )
            if not loss.isfinite():
                raise WrongAnswer(message)
            if not torch.isclose(loss.double(), wanted.detach(), rtol=1e-3):
                raise WrongAnswer(
                    f"For p = {p_values[0]:g} and y = {y_values[0]:g} it is not the mean square: "
                    "it has to be the same loss, only computed in float32."
                )
            if not loss.requires_grad:
                raise WrongAnswer("The loss has no graph: convert with float(), not with item().")
    print("Right. What is converted first is subtracted and squared in float32.")
