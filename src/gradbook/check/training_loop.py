"""Exercises of the page *The training loop*."""

from typing import Any

import torch
from torch import nn

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
    unanswered,
)

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
    means = torch.tensor([0.5, 0.3, 1.2], dtype=torch.float64)
    counts = torch.tensor([4.0, 4.0, 2.0], dtype=torch.float64)
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
    """A model with dropout that notes how it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
        self.called = self.recorded = self.trained = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.called = True
        self.recorded |= torch.is_grad_enabled()
        self.trained |= self.training
        # As dropout does, but always the same: an exercise must not draw random numbers.
        return x @ self.weight * (2.0 if self.training else 1.0)


def fair_look(answer: object) -> None:
    """Check ``validation_loss(model, loader)``: mean squared error, no graph, mode as before.

    Raises:
        WrongAnswer: the number is wrong, a graph was recorded, or a mode is not as before.
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
    loader = list(zip(torch.split(x, 4), torch.split(y, 4), strict=True))
    expected = ((2 * x - y) ** 2).mean()
    for training in (True, False):
        model = _Spy().train(training)
        found: Any = function(model, loader)
        if not model.called:
            raise WrongAnswer("The model was not called.")
        if model.trained:
            raise WrongAnswer("Dropout was on: call model.eval() before you look.")
        if model.recorded:
            raise WrongAnswer("A graph was recorded: use torch.no_grad().")
        if model.training != training:
            raise WrongAnswer(
                f"The model is in {'train' if model.training else 'eval'} mode afterwards; before "
                f"it was in {'train' if training else 'eval'} mode."
            )
        means = torch.stack([((2 * a - b) ** 2).mean() for a, b in loader])
        if training:
            continue
        judge_numbers(
            found,
            expected,
            right="Every point counts once, no graph is recorded, and the mode is as before.",
            mistakes={
                "That is the mean of the batches' means: the last batch has fewer points, so its "
                "points count too much.": means.mean(),
                "That is the sum: divide by the number of points.": expected * len(x),
            },
            tolerance=1e-6,
        )
