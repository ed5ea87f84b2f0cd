"""Exercises of the page *Micro-batches*."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
)
from gradbook.check.traces import leaves_no_trace

_Part = tuple[Tensor, Tensor]


# What the texts of the exercises give; the page holds its numbers against these.
EPOCH = {"rows": 1000, "size": 16, "every": 8}
ROWS_AND_MEANS = [(8, 1.0), (2, 6.0)]


def steps_and_rows(answer: Numbers) -> None:
    """Check the steps of an epoch, and the rows of its last window, as a list of two numbers.

    There are 1000 rows in micro-batches of 16, and a window is 8 micro-batches.

    Raises:
        WrongAnswer: other numbers; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> steps_and_rows([8, 104])
    Right. 63 micro-batches are 7 full windows of 128 rows, and a last one with the rest.
    >>> steps_and_rows([7, 128])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The rows after the last full window take a step too.
    """
    rows, size, every = EPOCH["rows"], EPOCH["size"], EPOCH["every"]
    window = size * every
    full, rest = divmod(rows, window)
    parts = -(-rows // size)
    left = parts - full * every
    judge_numbers(
        answer,
        _pair(full + 1, rest),
        right=f"{parts} micro-batches are {full} full windows of {window} rows, and a last one "
        "with the rest.",
        mistakes={
            "The rows after the last full window take a step too.": _pair(full, window),
            "The last window has a step of its own: count it too.": _pair(full, rest),
            "The last window is not full: take the rows of the full ones from 1000.": _pair(
                full + 1, window
            ),
            f"The last window has {left} micro-batches, but the last of them is not full.": _pair(
                full + 1, left * size
            ),
            "That leaves out the last micro-batch, which is not full.": _pair(
                full + 1, (left - 1) * size
            ),
            "Those are the rows of the last micro-batch: the window has more of them.": _pair(
                full + 1, rows % size
            ),
            "Those are the micro-batches of the last window: count its rows.": _pair(
                full + 1, left
            ),
            "A step is taken or not: there is no part of one.": _pair(rows / window, rest),
            "That is a step for each micro-batch: there is one for each window of 8.": _pair(
                parts, rows % size
            ),
        },
        counts=True,
    )


def _pair(steps: float, rows: float) -> Tensor:
    return torch.tensor([steps, rows], dtype=torch.float64)


def whole_from_means(answer: Numbers) -> None:
    """Check the mean gradient over ten rows: 1.0 is that over 8 of them, 6.0 that over 2.

    Raises:
        WrongAnswer: another number; the message says what is wrong.
        TypeError: `answer` holds no number.

    >>> whole_from_means(2.0)
    Right. Each mean counts as often as its micro-batch has rows.
    >>> whole_from_means(3.5)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is the mean of the means: the 2 rows would count as ...
    """
    counts, means = torch.tensor(ROWS_AND_MEANS, dtype=torch.float64).unbind(dim=1)
    judge_numbers(
        answer,
        (means * counts).sum() / counts.sum(),
        right="Each mean counts as often as its micro-batch has rows.",
        mistakes={
            "That is the mean of the means: the 2 rows would count as much as the 8.": means.mean(),
            "That adds the two means: weight each with its number of rows, and divide by all "
            "rows.": means.sum(),
            "That is the sum over all rows: divide by their number.": (means * counts).sum(),
            "That divides the sum over all rows by the number of micro-batches: divide by the "
            "number of rows.": (means * counts).mean(),
            "The weights are the wrong way round: the first mean stands for 8 rows.": (
                means * counts.flip(0)
            ).sum()
            / counts.sum(),
        },
    )


def exact_epoch(answer: object) -> None:
    """Check ``train_epoch(model, loader, optimizer, every)``: exact steps, one graph at a time.

    The loss is the mean squared error over all rows of a window. The micro-batches have unequal
    sizes, the last window is shorter, and the loader has no length.

    Raises:
        WrongAnswer: steps are missing or too many, the weights are not those of exact steps, more
            than the graph of one micro-batch was held, or something is not as before; the message
            says which.
        TypeError: `answer` is not a function.

    >>> exact_epoch(lambda model, loader, optimizer, every: None)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: optimizer.step() was never called.
    """
    function = answer_function(answer, "(model, loader, optimizer, every)")
    if function is None:
        return
    parts, windows = _parts(), list(_windows(_parts()))
    model, optimizer = _start()
    memory = _MemoryWatch(max(len(target) for _, target in parts))
    model.register_forward_hook(memory.note)
    steps = 0

    def count(*_: Any) -> None:
        nonlocal steps
        steps += 1

    optimizer.register_step_post_hook(count)
    call = "train_epoch(model, loader, optimizer, every)"
    data = [tensor for part in parts for tensor in part]
    try:
        with (
            leaves_no_trace(call, may=("values", "grad"), model=model),
            leaves_no_trace(call, batches=data),
        ):
            function(model, (part for part in parts), optimizer, _EVERY)
    except TypeError as error:
        if "has no len()" not in str(error):
            raise
        raise WrongAnswer(
            "The loader has no length: step for what is left when the loop has ended."
        ) from None
    if steps == 0:
        raise WrongAnswer("optimizer.step() was never called.")
    if steps == len(windows) - 1:
        raise WrongAnswer(
            f"{steps} steps, but there are {len(windows)} windows: the last one, which is shorter, "
            "was forgotten."
        )
    if steps == len(parts):
        raise WrongAnswer("That is a step for each micro-batch: step once a window.")
    if steps != len(windows):
        raise WrongAnswer(f"{steps} steps, but there are {len(windows)} windows.")
    found = _weights(model)
    if not _equal(found, _Loop().weights()):
        for message, mistake in _MISTAKES:
            if _equal(found, mistake.weights()):
                raise WrongAnswer(message)
        raise WrongAnswer(
            "The number of steps is right, but the weights afterwards are not those of steps with "
            "the mean over all rows of each window."
        )
    print("Right. Each step has the gradient of its whole window, and one graph is held at a time.")


_EVERY = 3
_SIZES = [4, 4, 2, 3, 4, 4, 4, 1]


def _parts() -> list[_Part]:
    """Three windows: of 10 rows, of 11, and of 5 in two micro-batches."""
    rows = torch.linspace(-1, 2, 2 * sum(_SIZES), dtype=torch.float64).reshape(-1, 2)
    # Nothing is drawn: an exercise must not move the random generators.
    x = torch.stack([rows[:, 0], (5 * rows[:, 1]).sin()], dim=1)
    y = x[:, :1] ** 2 + x[:, 1:]
    return list(zip(torch.split(x, _SIZES), torch.split(y, _SIZES), strict=True))


def _windows(parts: list[_Part]) -> Iterator[list[_Part]]:
    for first in range(0, len(parts), _EVERY):
        yield parts[first : first + _EVERY]


def _start() -> tuple[nn.Module, torch.optim.Optimizer]:
    with torch.random.fork_rng(devices=[]):
        model = nn.Linear(2, 1, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.5, -0.25]], dtype=torch.float64))
        model.bias.fill_(0.125)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _equal(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, rtol=1e-8, atol=1e-10))


class _MemoryWatch:
    """Complains when a forward pass comes while the graph of another one waits."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._waiting = False

    def note(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if not output.requires_grad:
            return
        rows = len(inputs[0])
        if rows > self._largest:
            raise WrongAnswer(
                f"The model got {rows} rows at once, more than any micro-batch has: that holds a "
                "whole window in memory."
            )
        if self._waiting:
            raise WrongAnswer(
                "The graph of one micro-batch was still held when the next one came: call "
                "backward() for each."
            )
        self._waiting = True
        output.register_hook(self._end)  # type: ignore[no-untyped-call]

    def _end(self, _gradient: Tensor) -> None:
        self._waiting = False


@dataclass(frozen=True)
class _Loop:
    """A loop over windows, right by default, and with mistakes to choose from.

    Attributes:
        mean: add the means of the micro-batches, not the sums.
        divisor: of the gradient at the end of a window, from the numbers of rows of its
            micro-batches and the number of all rows in the windows before.
        clear: when the gradients are cleared.
    """

    mean: bool = False
    divisor: Callable[[list[int], int], float] = lambda counts, before: sum(counts)
    clear: Literal["window", "micro-batch", "never"] = "window"

    def weights(self) -> Tensor:
        """The weights after an epoch."""
        model, optimizer = _start()
        before = 0
        for window in _windows(_parts()):
            counts = [len(y) for _, y in window]
            for x, y in window:
                if self.clear == "micro-batch":
                    optimizer.zero_grad()
                errors = (model(x) - y) ** 2
                loss = errors.mean() if self.mean else errors.sum()
                loss.backward()
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.grad /= self.divisor(counts, before)
            optimizer.step()
            if self.clear == "window":
                optimizer.zero_grad()
            before += sum(counts)
        return _weights(model)


_TOO_LARGE = "The gradients are never divided: divide by the number of rows of the window."
_LAST_ALONE = (
    "Only the last micro-batch of a window counts: clear the gradients once a window, not once a "
    "micro-batch."
)
_MEAN_OF_MEANS = (
    "Those are means of the micro-batches' means: a row counts more where there are few beside it. "
    "Add sums, and divide once by all rows of the window."
)
_PARTS_FOR_ROWS = (
    "The sums are divided by the number of micro-batches: divide by the number of rows."
)
_MISTAKES = (
    (_TOO_LARGE, _Loop(divisor=lambda counts, before: 1)),
    (_TOO_LARGE, _Loop(mean=True, divisor=lambda counts, before: 1)),
    (_MEAN_OF_MEANS, _Loop(mean=True, divisor=lambda counts, before: len(counts))),
    (_MEAN_OF_MEANS, _Loop(mean=True, divisor=lambda counts, before: _EVERY)),
    (_PARTS_FOR_ROWS, _Loop(divisor=lambda counts, before: len(counts))),
    (_PARTS_FOR_ROWS, _Loop(divisor=lambda counts, before: _EVERY)),
    (
        "The means are divided by the number of rows too: add sums.",
        _Loop(mean=True),
    ),
    (
        "The gradients of one window are still there in the next: clear them after each step.",
        _Loop(clear="never"),
    ),
    (
        "The count goes on from one window to the next: set it back to 0 after each step.",
        _Loop(divisor=lambda counts, before: before + sum(counts)),
    ),
    (
        "All windows are divided by the rows of a full one: count the rows that there are.",
        _Loop(divisor=lambda counts, before: _EVERY * max(_SIZES)),
    ),
    (_LAST_ALONE, _Loop(clear="micro-batch")),
    (_LAST_ALONE, _Loop(mean=True, clear="micro-batch", divisor=lambda counts, before: 1)),
)
