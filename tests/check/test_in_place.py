"""The checks of the page *In-place edits*."""

import numpy as np
import pytest
import torch

from gradbook import check
from gradbook.check import WrongAnswer


@pytest.mark.parametrize(
    "answer", [5, 5.0, [5], torch.tensor(5.0, requires_grad=True), np.array(5)]
)
def test_version_is_accepted_in_each_form(answer, capsys):
    """Five edits reach the counter of x, in whatever form the number comes."""
    check.in_place.version(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (6, "but not its counter"),
        (7, "y is a new tensor with its own counter"),
        (4, r"x\[0\] \+= 7 is two edits"),
        (3, "count too"),
        (2, "again"),
        (9, "too large"),
        (5.004, "whole number"),
    ],
)
def test_wrong_version_is_told_which_edit_it_missed(answer, message):
    """Each way to count wrongly has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        check.in_place.version(answer)


def test_version_takes_no_word():
    """A word is no number."""
    with pytest.raises(TypeError, match="expected a number"):
        check.in_place.version("four")


@pytest.mark.parametrize(
    "answer", ["bc", "CB", "b, c", "b and c", ["b", "c"], ("c", "b"), {"b", "c"}]
)
def test_letters_are_accepted_in_each_form(answer, capsys):
    """Order, case and separators of the letters do not matter."""
    check.in_place.edits_that_raise(answer)
    assert "Right. sin saved h[:1]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("abc", "a does not raise: tanh saved its result"),
        ("bcd", "d does not raise: h = h \\+ 1 edits nothing"),
        ("b", "One that raises is missing"),
        ([], "2 that raise are missing"),
        ("e", "'E' is not one of a, b, c, d"),
    ],
)
def test_wrong_letters_are_told_why(answer, message):
    """A letter too many is explained; a missing one is counted, not named."""
    with pytest.raises(WrongAnswer, match=message):
        check.in_place.edits_that_raise(answer)


@pytest.mark.parametrize("answer", [2, None, [1, 2]])
def test_letters_must_be_letters(answer):
    """Numbers and None are no letters."""
    with pytest.raises(TypeError, match="expected letters"):
        check.in_place.edits_that_raise(answer)


def in_place(x):
    """Raise in backward: exp saved the edited tensor."""
    y = x.exp()
    y /= y.sum()
    return y


def through_data(x):
    """Be silent and wrong, as in the exercise."""
    y = x.exp()
    y.data /= y.data.sum()
    return y


def off_for_good(x):
    """Leave recording off in the reader's session."""
    y = x.softmax(0)
    torch.set_grad_enabled(False)
    return y


def clone_first(x):
    """Edit a copy, which no node saved."""
    z = x.exp()
    y = z.clone()
    y /= z.sum()
    return y


@pytest.mark.parametrize(
    "answer",
    [lambda x: x.exp() / x.exp().sum(), lambda x: x.softmax(0), clone_first],
)
def test_each_repair_is_accepted(answer, capsys):
    """Out of place, by softmax, or on a clone: all give the right gradient."""
    check.in_place.repaired(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (through_data, "treats the sum as a constant"),
        (lambda x: x.exp() / x.exp().sum().detach(), "treats the sum as a constant"),
        (in_place, r"backward\(\) raises"),
        (lambda x: x.exp(), "values are wrong"),
        (off_for_good, "leaves the grad mode changed"),
        (lambda x: x.exp().sum(), "values are wrong"),
        (lambda x: x.detach().softmax(0), "has no graph"),
        (lambda x: x.detach().softmax(0) + 0 * x, "3 of 3 numbers are wrong"),
    ],
)
def test_a_function_that_is_not_repaired_is_told_why(answer, message):
    """The broken function, its ancestor and half repairs each get a message."""
    with pytest.raises(WrongAnswer, match=message):
        check.in_place.repaired(answer)


def test_repaired_must_return_a_tensor():
    """A list is not differentiable."""
    with pytest.raises(TypeError, match="must return a tensor, got list"):
        check.in_place.repaired(lambda x: x.tolist())


def test_other_errors_of_the_function_pass_through():
    """An error that has nothing to do with an edit reaches the reader unchanged."""
    with pytest.raises(RuntimeError, match="size"):
        check.in_place.repaired(lambda x: x + torch.ones(5))


def test_repaired_takes_a_function():
    """The result of a call is not a function."""
    with pytest.raises(TypeError, match="without calling it"):
        check.in_place.repaired(torch.ones(3))


@pytest.mark.parametrize(
    "exercise",
    [check.in_place.version, check.in_place.edits_that_raise, check.in_place.repaired],
)
def test_no_answer_yet(exercise, capsys):
    """Three dots are no answer, and no error."""
    exercise(...)
    assert "No answer yet" in capsys.readouterr().out


def test_checks_leave_no_state_behind():
    """Gradient mode and random numbers are as they were."""
    state = torch.get_rng_state()
    check.in_place.version(5)
    check.in_place.edits_that_raise("bc")
    check.in_place.repaired(clone_first)
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
