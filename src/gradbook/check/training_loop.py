"""Exercises of the page *The training loop*."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
    unanswered,
)
from gradbook.check.traces import leaves_no_trace

_CALLS = ("zero_grad", "forward", "backward", "step")


def order(answer: object) -> None:
    """Check the order of the four calls of a step, as a list of words.

    Raises:
        WrongAnswer: another order; the message says what would happen.
        TypeError: `answer` is not a list of words.

    >>> order(["zero_grad", "forward", "backward", "step"])
    Right. backward() needs the forward pass, and step() needs the gradients.
    >>> order(["forward", "backward", "zero_grad", "step"])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: step() would find no gradient: nothing moves.
    """
    if unanswered(answer):
        return
    if not isinstance(answer, (list, tuple)) or not all(isinstance(one, str) for one in answer):
        raise TypeError(f"expected a list of the words {', '.join(_CALLS)}, got {answer!r}")
    words = [one.strip().casefold().removesuffix("()") for one in answer]
    if sorted(words) != sorted(_CALLS):
        raise WrongAnswer(f"Each of {', '.join(_CALLS)} must be there once.")
    at = {word: position for position, word in enumerate(words)}
    if at["backward"] < at["forward"]:
        raise WrongAnswer("backward() needs the graph that the forward pass records.")
    if at["step"] < at["backward"]:
        raise WrongAnswer("step() would use the gradients of the step before.")
    if at["backward"] < at["zero_grad"] < at["step"]:
        raise WrongAnswer("step() would find no gradient: nothing moves.")
    print("Right. backward() needs the forward pass, and step() needs the gradients.")


# What the text of the exercise gives; the page holds its numbers against these.
EPOCH = {"points": [4.0, 4.0, 2.0], "means": [0.5, 0.3, 1.2]}


def epoch_loss(answer: Numbers) -> None:
    """Check the mean loss over batches of 4, 4 and 2 points with means 0.5, 0.3 and 1.2.

    Raises:
        WrongAnswer: another number; the message says what is wrong.
        TypeError: `answer` holds no number.

    >>> epoch_loss(0.56)
    Right. Each mean counts as often as its batch has points.
    >>> epoch_loss(2 / 3)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is the mean of the means: the batch of 2 points ...
    """
    means = torch.tensor(EPOCH["means"], dtype=torch.float64)
    counts = torch.tensor(EPOCH["points"], dtype=torch.float64)
    judge_numbers(
        answer,
        (means * counts).sum() / counts.sum(),
        right="Each mean counts as often as its batch has points.",
        mistakes={
            "That is the mean of the means: the batch of 2 points would count as much as the "
            "others.": means.mean(),
            "That is the sum over all points: divide by their number.": (means * counts).sum(),
        },
    )


class _Spy(nn.Module):
    """A layer as dropout is: other numbers while training. It reports how it is used."""

    def __init__(self, factor: float, report: Callable[[bool, bool], None]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[factor]], dtype=torch.float64))
        self._report = report  # a function, so that a deep copy reports to the same place

    def forward(self, x: Tensor) -> Tensor:
        self._report(self.training, torch.is_grad_enabled())
        # Not at random as dropout: an exercise must not draw random numbers.
        return x @ self.weight * (2.0 if self.training else 1.0)


def fair_look(answer: object) -> None:
    """Check ``validation_loss(model, loader)``: mean squared error, no graph, modes as before.

    Raises:
        WrongAnswer: the number is wrong, a graph was recorded, or something is not as before.
        TypeError: `answer` is not a function.

    >>> fair_look(lambda model, loader: 0.0)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The model was not called.
    """
    function = answer_function(answer, "(model, loader)")
    if function is None:
        return
    x = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(10, 1)
    y = x**2 + x
    # A generator of its own, since a DataLoader draws a number whenever it begins.
    loader = DataLoader(TensorDataset(x, y), batch_size=4, generator=torch.Generator())
    squares = (6 * x - y) ** 2
    found: Any = None
    # The whole model and its two parts: all learn, the first one is frozen, nothing learns.
    for modes in ((True, True, True), (True, False, True), (False, False, False)):
        found = _look(function, loader, modes)
    judge_numbers(
        found,
        squares.mean(),
        right="Every point counts once, no graph is recorded, and each part is in its mode.",
        mistakes={
            "That is the mean of the batches' means: the last batch has fewer points, so its "
            "points count too much.": torch.stack(
                [part.mean() for part in torch.split(squares, 4)]
            ).mean(),
            "That is the sum: divide by the number of points.": squares.sum(),
        },
        tolerance=1e-6,
    )


def _look(function: Callable[..., Any], loader: DataLoader[Any], modes: tuple[bool, ...]) -> Any:
    """What `function` returns for a model in these modes, if it looks fairly."""
    seen: set[tuple[bool, bool]] = set()
    model = nn.Sequential(*(_Spy(factor, lambda *use: seen.add(use)) for factor in (2.0, 3.0)))
    for part, mode in zip(model.modules(), modes, strict=True):
        part.training = mode
    with leaves_no_trace("validation_loss(model, loader)", model=model):
        found = function(model, loader)
        if not seen:
            raise WrongAnswer("The model was not called.")
        if any(training for training, _ in seen):
            raise WrongAnswer("Dropout was on: call model.eval() before you look.")
        if any(recorded for _, recorded in seen):
            raise WrongAnswer("A graph was recorded: use torch.no_grad().")
    return found
