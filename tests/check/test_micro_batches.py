"""Tests of the exercises of the page *Micro-batches*."""

import numpy as np
import pytest
import torch

from gradbook import GradientAccumulator
from gradbook.check import WrongAnswer, micro_batches


@pytest.mark.parametrize(
    "answer", [[8, 104], (8, 104.0), torch.tensor([8, 104]), np.array([8, 104])]
)
def test_steps_and_rows_are_accepted_in_each_form(answer, capsys):
    """A list, a tuple, a tensor, an array."""
    micro_batches.steps_and_rows(answer)
    assert capsys.readouterr().out.startswith("Right. 63 micro-batches are 7 full windows")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([7, 128], "take a step too"),
        ([7, 104], "a step of its own"),
        ([8, 128], "is not full: take"),
        ([8, 112], "7 micro-batches, but the last of them is not full"),
        ([8, 96], "leaves out the last micro-batch"),
        ([8, 8], "rows of the last micro-batch"),
        ([8, 7], "count its rows"),
        ([1000 / 128, 104], "no part of one"),
        ([63, 8], "a step for each micro-batch"),
        ([8, 100], "too small"),
        ([8, 104.1], "whole number"),
        (8, "has 1 number"),
    ],
)
def test_wrong_steps_and_rows_are_recognised(answer, message):
    """Each usual mistake has its message."""
    with pytest.raises(WrongAnswer, match=message):
        micro_batches.steps_and_rows(answer)


@pytest.mark.parametrize("answer", [2, 2.0, [2.0], torch.tensor(2.0)])
def test_the_weighted_mean_is_accepted_in_each_form(answer, capsys):
    """A number, a list, a tensor."""
    micro_batches.whole_from_means(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (3.5, "mean of the means"),
        (7, "adds the two means"),
        (20, "sum over all rows: divide"),
        (10, "by the number of micro-batches"),
        (5, "the wrong way round"),
        (3, "too large"),
    ],
)
def test_a_wrong_mean_is_recognised(answer, message):
    """Each usual mistake has its message."""
    with pytest.raises(WrongAnswer, match=message):
        micro_batches.whole_from_means(answer)


def epoch(
    *,
    loss="sum",
    divide=lambda counts, every: sum(counts),
    clear="window",
    last=True,
    reset=True,
    each=False,
):
    """Build a loop with mistakes to choose from."""

    def train_epoch(model, loader, optimizer, every):
        counts = []

        def step():
            for p in model.parameters():
                p.grad /= divide(counts, every)
            optimizer.step()
            if clear == "window":
                optimizer.zero_grad()
            if reset:
                counts.clear()

        for number, (x, y) in enumerate(loader, start=1):
            if clear == "micro-batch":
                optimizer.zero_grad()
            getattr((model(x) - y) ** 2, loss)().backward()
            counts.append(len(y))
            if each or number % every == 0:
                step()
        if last and not each:
            step()

    return train_epoch


def by_accumulator(model, loader, optimizer, every):
    """Let the package do it."""
    accumulator = GradientAccumulator(optimizer, every, model=model)
    for x, y in accumulator(loader):
        accumulator.backward(((model(x) - y) ** 2).sum(), count=len(y))


def by_weighted_means(model, loader, optimizer, every):
    """Multiply each mean by its count again, and know the length from a list."""
    rows, loader = 0, list(loader)
    for number, (x, y) in enumerate(loader):
        loss = torch.nn.functional.mse_loss(model(x), y)
        (loss * len(x)).backward()
        rows += len(x)
        if (number + 1) % every == 0 or number == len(loader) - 1:
            for p in model.parameters():
                p.grad = p.grad / rows
            optimizer.step()
            model.zero_grad()
            rows = 0


def window_first(model, loader, optimizer, every):
    """Collect the batches of a window, not their graphs; then their count is known."""
    loader = list(loader)
    for first in range(0, len(loader), every):
        window = loader[first : first + every]
        rows = sum(len(y) for _, y in window)
        optimizer.zero_grad()
        for x, y in window:
            (torch.nn.functional.mse_loss(model(x), y, reduction="sum") / rows).backward()
        optimizer.step()


def by_grad(model, loader, optimizer, every):
    """Add up what autograd.grad returns, and look at the model without a graph in between."""
    loader = list(loader)
    parameters = list(model.parameters())
    for first in range(0, len(loader), every):
        window = loader[first : first + every]
        for p in parameters:
            p.grad = torch.zeros_like(p)
        for x, y in window:
            with torch.no_grad():
                model(x)
            loss = ((model(x) - y) ** 2).sum() / sum(len(y) for _, y in window)
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.grad += gradient
        optimizer.step()


@pytest.mark.parametrize(
    "answer", [epoch(), by_accumulator, by_weighted_means, window_first, by_grad]
)
def test_each_exact_loop_is_accepted(answer, capsys):
    """Dividing at the end, before each backward, or by the accumulator."""
    micro_batches.exact_epoch(answer)
    assert capsys.readouterr().out.startswith("Right.")


MEAN = {"loss": "mean"}


@pytest.mark.parametrize(
    ("mistakes", "message"),
    [
        ({"last": False}, "2 steps, but there are 3 windows: the last one"),
        ({"each": True}, "a step for each micro-batch"),
        ({"divide": lambda counts, every: 1}, "never divided"),
        (MEAN | {"divide": lambda counts, every: 1}, "never divided"),
        (MEAN | {"divide": lambda counts, every: len(counts)}, "means of the micro-batches' means"),
        (MEAN | {"divide": lambda counts, every: every}, "means of the micro-batches' means"),
        ({"divide": lambda counts, every: len(counts)}, "by the number of micro-batches"),
        ({"divide": lambda counts, every: every}, "by the number of micro-batches"),
        (MEAN, "divided by the number of rows too"),
        ({"clear": "never"}, "still there in the next"),
        ({"reset": False}, "set it back to 0"),
        ({"divide": lambda counts, every: 4 * every}, "the rows of a full one"),
        ({"clear": "micro-batch"}, "Only the last micro-batch"),
        (
            MEAN | {"clear": "micro-batch", "divide": lambda counts, every: 1},
            "Only the last micro-batch",
        ),
        ({"divide": lambda counts, every: 1000}, "the weights afterwards are not"),
    ],
)
def test_a_loop_that_is_not_exact_is_told_why(mistakes, message):
    """Each usual mistake has its message."""
    with pytest.raises(WrongAnswer, match=message):
        micro_batches.exact_epoch(epoch(**mistakes))


def test_a_loop_that_needs_a_length_is_told():
    """The loader is a generator; another TypeError passes through."""

    def asks(model, loader, optimizer, every):
        len(loader)

    with pytest.raises(WrongAnswer, match="no length"):
        micro_batches.exact_epoch(asks)
    with pytest.raises(TypeError, match="positional argument"):
        micro_batches.exact_epoch(lambda model: None)


def test_a_whole_window_in_memory_is_told():
    """One forward pass for all rows, or one backward for all losses, is no micro-batch."""

    def joined(model, loader, optimizer, every):
        model(torch.cat([x for x, _ in loader]))

    def one_backward(model, loader, optimizer, every):
        sum(((model(x) - y) ** 2).sum() for x, y in loader).backward()

    with pytest.raises(WrongAnswer, match="got 26 rows at once"):
        micro_batches.exact_epoch(joined)
    with pytest.raises(WrongAnswer, match="still held when the next one came"):
        micro_batches.exact_epoch(one_backward)


def test_a_loop_that_leaves_something_behind_is_told():
    """Weights and gradients may change; modes and batches may not."""

    def in_eval_mode(model, loader, optimizer, every):
        by_accumulator(model.eval(), loader, optimizer, every)

    def on_scaled_batches(model, loader, optimizer, every):
        by_accumulator(model, ((x, y.mul_(2)) for x, y in loader), optimizer, every)

    with pytest.raises(WrongAnswer, match="leaves model in evaluation mode"):
        micro_batches.exact_epoch(in_eval_mode)
    with pytest.raises(WrongAnswer, match=r"changes the values of batches\[1\]"):
        micro_batches.exact_epoch(on_scaled_batches)


def test_a_wrong_number_of_steps_is_counted():
    """None at all, or one too many."""

    def twice(model, loader, optimizer, every):
        by_accumulator(model, loader, optimizer, every)
        optimizer.step()

    with pytest.raises(WrongAnswer, match="never called"):
        micro_batches.exact_epoch(lambda model, loader, optimizer, every: None)
    with pytest.raises(WrongAnswer, match="4 steps, but there are 3 windows"):
        micro_batches.exact_epoch(twice)


def test_no_answer_is_told_and_nothing_is_drawn(capsys):
    """Three dots are no answer yet; a check leaves the random generator where it was."""
    before = torch.get_rng_state()
    micro_batches.exact_epoch(by_accumulator)
    assert torch.equal(torch.get_rng_state(), before)
    micro_batches.steps_and_rows(...)
    micro_batches.whole_from_means(...)
    micro_batches.exact_epoch(...)
    assert capsys.readouterr().out.count("No answer yet") == 3
    with pytest.raises(TypeError, match="without calling it"):
        micro_batches.exact_epoch(0.5)
