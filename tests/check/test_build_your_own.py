"""The exercises of *Build your own autograd* accept what is right, and name what is wrong."""

import numpy as np
import pytest
import torch
from engine import Tensor, record

from gradbook.check import WrongAnswer, build_your_own


def scattered(index, shape, g):
    """What the right rule gives."""
    outgoing = np.zeros(shape)
    np.add.at(outgoing, index, g)
    return outgoing


def take(x, index):
    """Take rows, with the right rule."""
    shape = x.data.shape
    return record(x.data[index], (x,), lambda g: (scattered(index, shape, g),))


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_two_calls_are_accepted_in_each_form(form, capsys):
    """80 as in torch, 160 where each number keeps its gradient."""
    build_your_own.second_call(form([80.0, 160.0]))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([80, 120], "Three times holds for one number on the way"),
        ([160, 80], "swapped"),
        ([40, 160], "first is the gradient of one pass"),
        ([40, 40], "what one pass gives"),
        ([40, 80], "Both numbers are after two passes"),
        ([80, 80], "Both are what torch gives"),
        (80, "Give both"),
        ([80, 150], "1 of 2 numbers are wrong"),
    ],
)
def test_wrong_numbers_after_two_calls_are_explained(numbers, message):
    """Each known confusion has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        build_your_own.second_call(numbers)


@pytest.mark.parametrize("answer", ["CD", "c and d", ["D", "C"], "C, D"])
def test_what_runs_too_early_is_accepted_in_each_form(answer, capsys):
    """Letters in any form and order."""
    build_your_own.too_early(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("ABCD", "A is right: both gradients of y come from the same product"),
        ("BCD", "B is right: both products"),
        ("C", "D is missing: y is found through y \\* 5"),
        ("D", "C is missing: the sum finds y"),
        ("", "C is missing"),
        ("CE", "'E' is not one of"),
    ],
)
def test_wrong_letters_are_explained(answer, message):
    """The first wrong letter, and what happens there."""
    with pytest.raises(WrongAnswer, match=message):
        build_your_own.too_early(answer)


def test_a_right_operation_is_accepted(capsys):
    """With np.add.at, and as a product with a one-hot matrix."""

    def by_product(x, index):
        one_hot = np.eye(len(x.data))[index]
        return Tensor(one_hot) @ x

    build_your_own.new_operation(take, Tensor)
    build_your_own.new_operation(by_product, Tensor)
    assert capsys.readouterr().out.count("Right.") == 2


def overwriting(x, index):
    """Write where it should add."""

    def rule(g):
        outgoing = np.zeros_like(x.data)
        outgoing[index] = g
        return (outgoing,)

    return record(x.data[index], (x,), rule)


def with_rule(rule):
    """Make a take whose rule is another one; it gets x, index and g."""
    return lambda x, index: record(x.data[index], (x,), lambda g: rule(x, index, g))


def editing(x, index):
    """Use the values of x as a scratch pad."""
    result = take(x, index)

    def rule(g):
        x.data[:] = 0
        np.add.at(x.data, index, g)
        return (x.data.copy(),)

    return record(result.data, (x,), rule)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (overwriting, "An index that stands there twice"),
        (lambda x, index: x.data[index], "must return a Tensor, not ndarray"),
        (lambda x, index: Tensor(x.data[index]), "remembers nothing"),
        (lambda x, index: Tensor(x.data[index], requires_grad=True), "remembers nothing"),
        (lambda x, index: x * 1.0, "value is not"),
        (lambda x, index: take(x, index) * 2.0, "value is not"),
        (with_rule(lambda x, index, g: (g,)), "in the shape of that input"),
        (with_rule(lambda x, index, g: scattered(index, (4, 2), g)), "returns a tuple"),
        (with_rule(lambda x, index, g: None), "returns a tuple"),
        (
            with_rule(lambda x, index, g: (scattered(index, (4, 2), 1) > 0,)),
            "leaves out the incoming gradient",
        ),
        (with_rule(lambda x, index, g: (np.ones_like(x.data),)), "The gradient is wrong"),
        (with_rule(lambda x, index, g: (2 * scattered(index, (4, 2), g),)), "gradient is wrong"),
        (editing, "changes the values of x"),
    ],
)
def test_a_wrong_operation_is_explained(answer, message):
    """Its value, its memory, the form of its rule, or the numbers of its gradient."""
    with pytest.raises(WrongAnswer, match=message):
        build_your_own.new_operation(answer, Tensor)


def test_an_operation_that_always_records_is_refused():
    """A constant needs no graph."""

    def always(x, index):
        result = take(x, index)
        result.requires_grad, result.inputs = True, (x,)
        result.rule, result.saved = (lambda g: (scattered(index, x.data.shape, g),)), ()
        return result

    with pytest.raises(WrongAnswer, match="Without requires_grad"):
        build_your_own.new_operation(always, Tensor)


def test_what_is_no_answer_is_a_type_error():
    """A function is given by its name, with the class; numbers are numbers, letters are letters."""
    with pytest.raises(TypeError, match="expected your function"):
        build_your_own.new_operation(3, Tensor)
    with pytest.raises(TypeError, match="give the class too"):
        build_your_own.new_operation(take)
    with pytest.raises(TypeError, match="expected a number"):
        build_your_own.second_call("80")
    with pytest.raises(TypeError, match="expected letters"):
        build_your_own.too_early(3)


@pytest.mark.parametrize(
    "check", [build_your_own.second_call, build_your_own.too_early, build_your_own.new_operation]
)
def test_three_dots_are_no_answer_yet(check, capsys):
    """An exercise that nobody has touched prints a hint and raises nothing."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_without_grad_mode_and_leave_it_as_it_was(mode, capsys):
    """A learner may call a check inside a block that records nothing."""
    with mode():
        build_your_own.second_call([80, 160])
        build_your_own.too_early("CD")
        assert not torch.is_grad_enabled()
    assert capsys.readouterr().out.count("Right.") == 2
