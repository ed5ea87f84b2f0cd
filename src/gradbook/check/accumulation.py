"""Exercises of the page *Gradients add up*."""

import torch

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
)


def two_losses(answer: Numbers) -> None:
    """Check ``w.grad`` after ``(w**2).backward()`` and then ``(5 * w).backward()``, at w = 3.

    Raises:
        WrongAnswer: not the gradient; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> two_losses(11)
    Right. The first call adds 2 * 3 = 6, the second adds 5.
    >>> two_losses(5.0)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is the second call alone; backward() adds to .grad.
    """
    w = torch.tensor(3.0, requires_grad=True)
    first = torch.autograd.grad(w**2, w)[0]
    second = torch.autograd.grad(5 * w, w)[0]
    judge_numbers(
        answer,
        first + second,
        right="The first call adds 2 * 3 = 6, the second adds 5.",
        mistakes={
            "That is the second call alone; backward() adds to .grad.": second,
            "That is the first call alone; the second adds to it.": first,
            "That multiplies the two; backward() adds.": first * second,
        },
    )


def mean_from_parts(answer: object) -> None:
    """Check ``collect(w, parts)``: it leaves the gradient of the mean over all rows in ``w.grad``.

    The loss of a row is ``(w * row - 1) ** 2``; `parts` is a list of tensors of unequal length.

    Raises:
        WrongAnswer: ``w.grad`` is not that gradient; the message says what is wrong.
        TypeError: `answer` is not a function.

    >>> mean_from_parts(lambda w, parts: None)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: collect(w, parts) left w.grad as it was: call backward().
    """
    collect = answer_function(answer, "(w, parts)")
    if collect is None:
        return
    rows = torch.linspace(-1, 2, 10, dtype=torch.float64)
    parts = list(torch.split(rows, 4))

    def gradient(value: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, w)[0]

    w = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    right = gradient(((w * rows - 1) ** 2).mean())
    stale = torch.tensor(100.0, dtype=torch.float64)
    w.grad = stale.clone()
    collect(w, parts)
    if w.grad is None:
        raise WrongAnswer("collect(w, parts) left no gradient in w.grad: call backward().")
    if torch.equal(w.grad, stale):
        raise WrongAnswer("collect(w, parts) left w.grad as it was: call backward().")
    means = sum((gradient(((w * part - 1) ** 2).mean()) for part in parts), torch.zeros_like(w))
    judge_numbers(
        w.grad,
        right,
        right="The sums of all parts, divided by the count of all rows.",
        mistakes={
            "w.grad still holds what was in it before: clear it first.": right + stale,
            "That is the sum over all rows: divide by their number.": right * len(rows),
            "That adds the means of the parts: divide each sum by the number of all rows.": means,
            "That is the mean of the parts' means; the last part has fewer rows than the others, "
            "so its rows count too much.": means / len(parts),
        },
        tolerance=1e-6,
    )
