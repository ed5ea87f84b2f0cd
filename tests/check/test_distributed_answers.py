"""The exercises of the page *Several processes* accept what is right, and name what is wrong."""

import numpy as np
import pytest
import torch

from gradbook.check import WrongAnswer, distributed


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (distributed.two_means, [4, 5]),
        (distributed.two_factors, [0.5, 1.5]),
        (distributed.all_reduces, [3, 24, 24]),
    ],
)
@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda numbers: [torch.tensor(float(number)) for number in numbers],
    ],
)
def test_the_right_numbers_are_accepted_in_each_form(check, right, form, capsys):
    """Lists, tuples, arrays and tensors count the same."""
    check(form(right))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    "check",
    [
        distributed.two_means,
        distributed.two_factors,
        distributed.all_reduces,
        distributed.weighted_loss,
    ],
)
def test_three_dots_are_no_answer_yet(check, capsys):
    """An exercise that nobody has touched prints a hint and raises nothing."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([5, 4], "swapped"),
        ([5, 5], "gives both means the same weight"),
        ([4, 4], "the mean of three rows counts more"),
        ([8, 5], "does not leave the sum"),
        ([4, 20], "divide by their number"),
        (5, "Give both gradients"),
        ([3, 5], "1 of 2 numbers"),
    ],
)
def test_wrong_means_are_explained(numbers, message):
    """What DDP averages, and what one process averages, are told apart."""
    with pytest.raises(WrongAnswer, match=message):
        distributed.two_means(numbers)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([0.25, 0.75], "DDP divides once more"),
        ([1, 3], "the means become sums"),
        ([1.5, 0.5], "swapped"),
        ([2, 2 / 3], "the wrong way round"),
        ([1, 1], "the mean of the two means"),
        (1.5, "one factor for each process"),
        ([0.5, 2], "1 of 2 numbers"),
    ],
)
def test_wrong_factors_are_explained(numbers, message):
    """Each known slip says what gradient it would give."""
    with pytest.raises(WrongAnswer, match=message):
        distributed.two_factors(numbers)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([3, 24, 3], "Around backward\\(\\) alone"),
        ([1, 8, 8], "one all-reduce for each bucket"),
        ([1, 8, 1], "passes, not all-reduces"),
        ([0, 24, 24], "the last one still exchanges"),
        ([24, 3, 24], "The first two are swapped"),
        ([21, 24, 24], "the number that no_sync saves"),
        (3, "Give three numbers"),
        ([3.001, 24, 24], "whole number"),
        ([3, 24, 23], "1 of 3 numbers"),
    ],
)
def test_wrong_counts_of_all_reduces_are_explained(numbers, message):
    """Passes, buckets and the place of no_sync are told apart."""
    with pytest.raises(WrongAnswer, match=message):
        distributed.all_reduces(numbers)


@pytest.mark.parametrize(
    "loss_of",
    [
        lambda errors, total, processes: errors.sum() / total * processes,
        lambda errors, total, processes: (errors / total).sum() * processes,
        lambda errors, total, processes: processes * errors.sum() / total.item(),
        lambda errors, total, processes: (errors.sum() * processes / total).reshape(1),
    ],
)
def test_a_right_loss_is_accepted(loss_of, capsys):
    """Each order of the three factors, and a tensor with one element."""
    distributed.weighted_loss(loss_of)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("loss_of", "message"),
    [
        (lambda errors, total, processes: errors.mean(), "mean of the means"),
        (lambda errors, total, processes: errors.sum(), "not divided by the number of rows"),
        (lambda errors, total, processes: errors.sum() / total, "so multiply by it"),
        (
            lambda errors, total, processes: errors.sum() / total * processes**2,
            "divides by the number of processes only once",
        ),
        (lambda errors, total, processes: errors.sum() * processes, "a sum over all rows"),
        (
            lambda errors, total, processes: errors.mean() * len(errors) / total * processes,
            "a process without rows has no mean",
        ),
        (lambda errors, total, processes: errors.sum() / total * 2, "With 4 and 1 and 3 rows"),
        (lambda errors, total, processes: errors.max(), "not that of the mean over all rows"),
        (lambda errors, total, processes: errors / total * processes, "a loss is one"),
        (lambda errors, total, processes: errors.detach().sum(), "has no graph"),
        (lambda errors, total, processes: errors.sum().item(), "must return a tensor, not float"),
        (lambda errors, total, processes: errors.sum() / total.mul_(2), "changes the values"),
    ],
)
def test_a_wrong_loss_is_explained(loss_of, message):
    """Means, sums, a missing and a doubled factor each have their own message."""
    with pytest.raises(WrongAnswer, match=message):
        distributed.weighted_loss(loss_of)


@pytest.mark.parametrize("wrong", ["4, 5", None, len])
def test_what_holds_no_numbers_is_a_type_error(wrong):
    """A string, None and a function are no numbers."""
    with pytest.raises(TypeError, match="expected a number"):
        distributed.two_means(wrong)


def test_what_is_no_function_is_a_type_error():
    """The function itself is asked for, not what it returned."""
    with pytest.raises(TypeError, match="expected your function"):
        distributed.weighted_loss(3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_without_grad_mode_and_leave_it_as_it_was(mode, capsys):
    """A learner may call a check inside a block that records nothing."""
    with mode():
        before = torch.get_rng_state()
        distributed.two_means([4, 5])
        distributed.weighted_loss(lambda e, total, n: e.sum() / total * n)
        assert not torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().out.count("Right.") == 2
