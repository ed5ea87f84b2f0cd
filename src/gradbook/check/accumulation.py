"""Exercises of the page *Gradients add up*."""

import weakref
from typing import Any

import torch
from torch import Tensor

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
)
from gradbook.check.traces import leaves_no_trace

PARTS = [4, 4, 2]
"""Rows in each part of exercise 2."""


def kept_and_grad(answer: Numbers) -> None:
    """Check what `kept` and ``w.grad`` hold after the lines of exercise 1: two numbers.

    Raises:
        WrongAnswer: not these two; the message says what is wrong.
        TypeError: `answer` does not hold numbers.

    >>> kept_and_grad([12, 4])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: kept is no copy: the second call adds to that tensor.
    >>> kept_and_grad([16, 4])
    Right. kept is the tensor that the first call made and the second added to; w.grad is a new one.
    """
    with torch.inference_mode(False), torch.enable_grad():
        w = torch.tensor(2.0, requires_grad=True)
        cubed, times_4, squared = (torch.autograd.grad(y, w)[0] for y in (w**3, 4 * w, w**2))
    both = cubed + times_4

    def pair(kept: Tensor, grad: Tensor) -> Tensor:
        return torch.stack([kept, grad])

    judge_numbers(
        answer,
        pair(both, squared),
        right="kept is the tensor that the first call made and the second added to; w.grad is a "
        "new one.",
        mistakes={
            "kept is no copy: the second call adds to that tensor.": pair(cubed, squared),
            "kept is no copy, and None clears: the third call starts anew.": pair(
                cubed, both + squared
            ),
            "After w.grad = None the third call makes a new tensor: kept is not in it.": pair(
                both + squared, both + squared
            ),
            "w.grad = None clears: the third call does not add to the old sum.": pair(
                both, both + squared
            ),
            "w.grad = None takes the name away; it does not change the tensor.": pair(
                squared, squared
            ),
            "The other way round: first kept, then w.grad.": pair(squared, both),
        },
    )


def mean_from_parts(answer: object) -> None:
    """Check ``collect(w, parts)``: it leaves the gradient of the mean over all rows in ``w.grad``.

    The loss of a row is ``(w * row - 1) ** 2``; `parts` is a list of tensors of unequal length.
    ``w.grad`` holds something before, or nothing.

    Raises:
        WrongAnswer: ``w.grad`` is not that gradient, or the graphs of several parts were held at
            once; the message says what is wrong.
        TypeError: `answer` is not a function.

    >>> mean_from_parts(lambda w, parts: None)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: collect(w, parts) left w.grad as it was: call backward().
    """
    collect = answer_function(answer, "(w, parts)")
    if collect is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        rows = torch.linspace(-1, 2, sum(PARTS), dtype=torch.float64)
        stale = torch.tensor(100.0, dtype=torch.float64)
        found = [_collected(collect, rows, before) for before in (stale, None)]
        w = _new_w()

        def gradient(value: Tensor) -> Tensor:
            return torch.autograd.grad(value, w)[0]

        right = gradient(((w * rows - 1) ** 2).mean())
        means = torch.stack(
            [gradient(((w * part - 1) ** 2).mean()) for part in torch.split(rows, PARTS)]
        )
    mistakes: dict[str, Tensor | float] = {
        "w.grad still holds what was in it before: clear it first.": right + stale,
        "That is the sum over all rows: divide by their number.": right * len(rows),
        "That adds the means of the parts: divide each sum by the number of all rows.": means.sum(),
        "That is the mean of the parts' means; the last part has fewer rows than the others, "
        "so its rows count too much.": means.mean(),
    }
    for one in found[:0:-1]:  # the plainer case first, without a word if it is right
        if not torch.allclose(one, right):
            judge_numbers(one, right, right="", mistakes=mistakes)
    judge_numbers(
        found[0],
        right,
        right="The sums of all parts, divided by the count of all rows.",
        mistakes=mistakes,
        tolerance=1e-6,
    )


def _new_w() -> Tensor:
    return torch.tensor(0.5, dtype=torch.float64, requires_grad=True)


def _collected(collect: Any, rows: Tensor, before: Tensor | None) -> Tensor:
    """What `collect` leaves in ``w.grad``, in which was `before`."""
    w, parts = _new_w(), [part.clone() for part in torch.split(rows, PARTS)]
    w.grad = None if before is None else before.clone()
    watch = _Watch(parts)
    hooks = torch.autograd.graph.saved_tensors_hooks(watch.pack, lambda box: box.tensor)
    with leaves_no_trace("collect(w, parts)", may={"grad"}, w=w, parts=parts):
        try:
            with hooks:
                collect(w, parts)
        except AttributeError as error:
            if before is None and "NoneType" in str(error):
                raise WrongAnswer(
                    "w.grad can be None before the first backward(), and then it has no zero_(): "
                    "w.grad = None clears in both cases."
                ) from error
            raise
    if w.grad is None:
        raise WrongAnswer("collect(w, parts) left no gradient in w.grad: call backward().")
    if before is not None and torch.equal(w.grad, before):
        raise WrongAnswer("collect(w, parts) left w.grad as it was: call backward().")
    return w.grad.detach()


class _Box:
    """Holds one tensor for a graph, so that its end can be noticed."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()


class _Watch:
    """Complains when the graph of one part is held while that of another is recorded."""

    def __init__(self, parts: list[Tensor]) -> None:
        self._parts = {part.untyped_storage().data_ptr(): n for n, part in enumerate(parts)}
        self._largest = max(len(part) for part in parts)
        self._held: weakref.WeakKeyDictionary[_Box, int] = weakref.WeakKeyDictionary()

    def pack(self, tensor: Tensor) -> _Box:
        if tensor.numel() > self._largest:
            raise WrongAnswer(
                "A graph over more rows than any part has: that holds the whole batch in memory. "
                "Call backward() for each part."
            )
        box = _Box(tensor)
        part = self._parts.get(tensor.untyped_storage().data_ptr())
        if part is not None:
            if any(other != part for other in self._held.values()):
                raise WrongAnswer(
                    "The graph of one part is still held while that of the next is recorded: "
                    "call backward() for each part, before the next one."
                )
            self._held[box] = part
        return box
