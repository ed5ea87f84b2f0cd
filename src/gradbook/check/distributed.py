"""Exercises of the page *Several processes*."""

from collections.abc import Callable
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

# What the texts of the exercises give; the page holds its numbers against these.
MEANS = {"rows": [1.0, 3.0], "gradients": [2.0, 6.0]}
WINDOW = {"buckets": 3, "micro_batches": 8}


def two_means(answer: Numbers) -> None:
    """Check the gradient with DDP and that of one process: 1 and 3 rows, means of 2 and 6.

    Raises:
        WrongAnswer: not these two; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> two_means([4, 5])
    Right. DDP averages the two means; one process averages the four rows.
    >>> two_means([5, 4])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The two are swapped: DDP does not know how many rows ...
    """
    rows, gradients = torch.tensor(MEANS["rows"]), torch.tensor(MEANS["gradients"])
    by_ddp, of_all = _two_gradients()
    total = (rows * gradients).sum()
    judge_numbers(
        answer,
        torch.stack([by_ddp, of_all]),
        right="DDP averages the two means; one process averages the four rows.",
        mistakes={
            "The two are swapped: DDP does not know how many rows a process has.": torch.stack(
                [of_all, by_ddp]
            ),
            "They differ: DDP gives both means the same weight, whatever they are means of.": (
                of_all.expand(2)
            ),
            "They differ: in one process each row has the same weight, so the mean of three rows "
            "counts more.": by_ddp.expand(2),
            "DDP averages over the processes: it does not leave the sum.": torch.stack(
                [gradients.sum(), of_all]
            ),
            "The second one is a sum over the rows: divide by their number.": torch.stack(
                [by_ddp, total]
            ),
            "Give both gradients, as a list of two numbers.": of_all,
        },
    )


def two_factors(answer: Numbers) -> None:
    """Check the factor of each mean loss with which DDP gives the gradient of one process.

    Raises:
        WrongAnswer: not these two; the message says what they give.
        TypeError: `answer` holds no numbers.

    >>> two_factors([0.5, 1.5])
    Right. The share of the rows, times the number of processes, which DDP divides by.
    >>> two_factors([0.25, 0.75])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: With the shares of the rows the gradient is too small: ...
    """
    rows = torch.tensor(MEANS["rows"])
    share = rows / rows.sum()
    right = share * len(rows)
    judge_numbers(
        answer,
        right,
        right="The share of the rows, times the number of processes, which DDP divides by.",
        mistakes={
            "With the shares of the rows the gradient is too small: DDP divides once more, by the "
            "number of processes.": share,
            "With the numbers of rows the means become sums: divide by the number of all rows as "
            "well.": rows,
            "The two are swapped: the process with more rows counts more.": right.flip(0),
            "That is the wrong way round: the process with fewer rows would count more.": 1 / right,
            "With these DDP gives the mean of the two means, as before.": torch.ones(2),
            "Give one factor for each process, as a list of two numbers.": right[1],
        },
    )


def _two_gradients() -> tuple[Tensor, Tensor]:
    rows, gradients = torch.tensor(MEANS["rows"]), torch.tensor(MEANS["gradients"])
    return gradients.mean(), (rows * gradients).sum() / rows.sum()


def all_reduces(answer: Numbers) -> None:
    """Check how many all-reduces a step costs, for three places of ``no_sync``.

    Around all micro-batches but the last; nowhere; around the backward passes of all but the last.

    Raises:
        WrongAnswer: not these three; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> all_reduces([3, 24, 24])
    Right. Each backward pass that exchanges costs one for each bucket, and the forward pass ...
    >>> all_reduces([3, 24, 3])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: Around backward() alone, no_sync changes nothing: what ...
    """
    buckets, passes = WINDOW["buckets"], WINDOW["micro_batches"]
    once, each = buckets, buckets * passes

    def three(*counts: int) -> Tensor:
        return torch.tensor(counts)

    judge_numbers(
        answer,
        three(once, each, each),
        right="Each backward pass that exchanges costs one for each bucket, and the forward pass "
        "decides whether it exchanges.",
        mistakes={
            "Around backward() alone, no_sync changes nothing: what the forward pass prepared is "
            "done.": three(once, each, once),
            "These are the backward passes that exchange. Each costs one all-reduce for each "
            "bucket.": three(1, passes, passes),
            "These are passes, not all-reduces, and around backward() alone no_sync changes "
            "nothing.": three(1, passes, 1),
            "Around all but the last, the last one still exchanges.": three(0, each, each),
            "The first two are swapped: under no_sync nothing is exchanged.": three(
                each, once, each
            ),
            "The first is the number that no_sync saves: the last micro-batch is what is left.": (
                three(each - once, each, each)
            ),
            "Give three numbers: around all but the last, nowhere, around backward() alone.": (
                three(once)
            ),
        },
        counts=True,
    )


def weighted_loss(answer: object) -> None:
    """Check ``loss_of(errors, total, processes)``: with DDP, each row counts the same.

    `errors` are those of one process, `total` the number of rows of all of them.

    Raises:
        WrongAnswer: the gradient that DDP would give is another one; the message says why.
        TypeError: `answer` is not a function.

    >>> weighted_loss(lambda errors, total, processes: errors.sum() / total * processes)
    Right. The sum, divided by the count of all, times the number that DDP divides by.
    >>> weighted_loss(lambda errors, total, processes: errors.mean())
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: With 1 and 4 rows it gives the mean of the means: a row ...
    """
    loss_of = answer_function(answer, "(errors, total, processes)")
    if loss_of is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        for sizes in ([1, 4], [3, 3], [4, 1, 3], [0, 5], [6]):
            _judge_sizes(loss_of, sizes)
    print("Right. The sum, divided by the count of all, times the number that DDP divides by.")


def _judge_sizes(loss_of: Callable[..., Any], sizes: list[int]) -> None:
    total, processes = sum(sizes), len(sizes)
    rows = torch.arange(1.0, total + 1, dtype=torch.float64) ** 2
    told = " and ".join(map(str, sizes)) + " rows"
    parts = [
        _gradient(loss_of, part, torch.tensor(float(total)), processes, told)
        for part in torch.split(rows, sizes)
    ]
    found = torch.stack(parts).mean()
    wanted = rows.mean()
    means = torch.stack([part.mean() for part in torch.split(rows, sizes)])
    if torch.isclose(found, wanted):
        return
    known = {
        "the mean of the means: a row of a small part counts more": means.mean(),
        "a gradient that is not divided by the number of rows: DDP divides by that of processes": (
            rows.sum() / processes
        ),
        "a gradient that is too small: DDP divides by the number of processes, so multiply by "
        "it": wanted / processes,
        "a gradient that is too large: DDP divides by the number of processes only once": (
            wanted * processes
        ),
        "a sum over all rows: divide by their number": rows.sum(),
    }
    for what, value in known.items():
        if torch.isclose(found, value.to(found.dtype)):
            raise WrongAnswer(f"With {told} it gives {what}.")
    raise WrongAnswer(f"With {told} the gradient is not that of the mean over all rows.")


def _gradient(
    loss_of: Callable[..., Any], rows: Tensor, total: Tensor, processes: int, told: str
) -> Tensor:
    """The gradient of one process, of a weight that multiplies the errors of all rows."""
    w = torch.ones((), dtype=torch.float64, requires_grad=True)
    with leaves_no_trace("loss_of(errors, total, processes)", errors=rows, total=total):
        loss = loss_of(w * rows, total, processes)
    if not isinstance(loss, Tensor):
        raise WrongAnswer(f"loss_of must return a tensor, not {type(loss).__name__}.")
    if loss.numel() != 1:
        raise WrongAnswer(f"With {told} it returns {loss.numel()} numbers: a loss is one.")
    if loss.isnan().any():
        raise WrongAnswer(
            f"With {told} the loss is nan: a process without rows has no mean. Divide a sum."
        )
    if not loss.requires_grad:
        raise WrongAnswer("The loss has no graph: compute it from errors, without item().")
    return torch.autograd.grad(loss.sum(), w)[0]
