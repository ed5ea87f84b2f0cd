"""The exercises of *Gradients add up* judge each kind of answer."""

import numpy as np
import pytest
import torch

from gradbook.check import WrongAnswer
from gradbook.check.accumulation import PARTS, kept_and_grad, mean_from_parts


@pytest.mark.parametrize("check", [kept_and_grad, mean_from_parts])
def test_three_dots_are_no_answer(check, capsys):
    """The three dots of the page are told apart from an answer."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize(
    "answer",
    [
        [16, 4],
        (16.0, 4.0),
        [torch.tensor(16.0), torch.tensor(4.0, requires_grad=True)],
        torch.tensor([16.0, 4.0]),
        np.array([16, 4]),
    ],
    ids=["list", "tuple", "tensors", "tensor", "array"],
)
def test_two_numbers_are_taken_in_each_form(answer, capsys):
    """The two gradients may come as numbers, tensors or an array."""
    kept_and_grad(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([12, 4], "kept is no copy: the second"),
        ([12, 20], "kept is no copy, and None clears"),
        ([20, 20], "kept is not in it"),
        ([16, 20], "does not add to the old sum"),
        ([4, 4], "takes the name away"),
        ([4, 16], "other way round"),
        ([16, 8], "1 of 2 numbers are wrong"),
        (16, "has 1 number"),
    ],
)
def test_a_wrong_pair_is_told_why(answer, message):
    """Each known mistake with names and sums has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        kept_and_grad(answer)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_answers_are_judged_under_any_mode(mode, capsys):
    """A mode that the reader left on does not change what is right."""
    with mode():
        kept_and_grad([16, 4])
        mean_from_parts(_collect)
    assert capsys.readouterr().out.count("Right.") == 2


def _loss(w, part):
    return (w * part - 1) ** 2


def _collect(w, parts):
    w.grad = None
    count = sum(len(part) for part in parts)
    for part in parts:
        (_loss(w, part).sum() / count).backward()


def _divide_at_the_end(w, parts):
    w.grad = None
    for part in parts:
        _loss(w, part).sum().backward()
    w.grad /= sum(len(part) for part in parts)


def _weighted_means(w, parts):
    count = sum(map(len, parts))
    w.grad = torch.zeros_like(w)
    for part in parts:
        w.grad += torch.autograd.grad(_loss(w, part).mean(), w)[0] * len(part) / count


def _row_by_row(w, parts):
    w.grad = None
    for part in parts:
        for row in part:
            (_loss(w, row) / sum(PARTS)).backward()


@pytest.mark.parametrize("answer", [_collect, _divide_at_the_end, _weighted_means, _row_by_row])
def test_each_way_to_collect_a_mean_is_right(answer, capsys):
    """Where the division stands does not matter, nor who adds."""
    mean_from_parts(answer)
    assert capsys.readouterr().out.startswith("Right.")


def _never_clear(w, parts):
    count = sum(len(part) for part in parts)
    for part in parts:
        (_loss(w, part).sum() / count).backward()


def _zero_in_place(w, parts):
    w.grad.zero_()
    _never_clear(w, parts)


def _sum(w, parts):
    w.grad = None
    for part in parts:
        _loss(w, part).sum().backward()


def _sum_of_means(w, parts):
    w.grad = None
    for part in parts:
        _loss(w, part).mean().backward()


def _mean_of_means(w, parts):
    w.grad = None
    for part in parts:
        (_loss(w, part).mean() / len(parts)).backward()


def _whole_at_once(w, parts):
    w.grad = None
    _loss(w, torch.cat(parts)).mean().backward()


def _one_backward(w, parts):
    w.grad = None
    total = sum(_loss(w, part).sum() for part in parts)
    (total / sum(len(part) for part in parts)).backward()


def _clear_only(w, parts):
    w.grad = None


def _only_the_stale_case(w, parts):
    if w.grad is not None:
        _collect(w, parts)
    else:
        _sum(w, parts)


def _step_too(w, parts):
    _collect(w, parts)
    w.data -= 0.1 * w.grad


def _stop_recording(w, parts):
    _collect(w, parts)
    torch.set_grad_enabled(False)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda w, parts: None, "left w.grad as it was"),
        (_clear_only, "left no gradient"),
        (_never_clear, "still holds what was in it before"),
        (_zero_in_place, "can be None before the first backward"),
        (_sum, "the sum over all rows"),
        (_sum_of_means, "adds the means of the parts"),
        (_mean_of_means, "mean of the parts' means"),
        (_whole_at_once, "more rows than any part has"),
        (_one_backward, "still held while that of the next"),
        (_only_the_stale_case, "the sum over all rows"),
        (_step_too, "changes the values of w"),
        (_stop_recording, "leaves the grad mode changed"),
    ],
)
def test_a_wrong_collection_is_told_why(answer, message):
    """Each known mistake of collect() has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        mean_from_parts(answer)
    assert torch.is_grad_enabled()


def test_other_errors_of_the_function_pass_through():
    """An error that has nothing to do with a missing gradient reaches the reader unchanged."""
    with pytest.raises(AttributeError, match="no attribute 'shap'"):
        mean_from_parts(lambda w, parts: w.shap)
