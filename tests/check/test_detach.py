"""The exercises of *detach()* judge each kind of answer."""

import copy

import numpy as np
import pytest
import torch

from gradbook.check import WrongAnswer
from gradbook.check.detach import one_factor, parameter_snapshot, straight_through


@pytest.mark.parametrize("check", [one_factor, parameter_snapshot, straight_through])
def test_three_dots_are_no_answer(check, capsys):
    """The three dots of the page are told apart from an answer."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("check", [parameter_snapshot, straight_through])
def test_what_cannot_be_called_is_no_function(check):
    """A value in place of a function is the wrong type, not a wrong answer."""
    with pytest.raises(TypeError, match="expected your function"):
        check([1.0])


@pytest.mark.parametrize(
    "answer",
    [18, 18.0, [18.0], torch.tensor(18.0), torch.tensor(18.0, requires_grad=True), np.array(18.0)],
    ids=["int", "float", "list", "tensor", "tensor with grad", "array"],
)
def test_a_gradient_is_taken_in_each_form(answer, capsys):
    """The gradient may come as a number, a list, a tensor or an array."""
    one_factor(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (27, "derivative of x\\*\\*3"),
        (9, "path through the detached factor"),
        (6, "derivative of x\\*\\*2 alone"),
        (0, "Only one factor is detached"),
        (36, "too large"),
    ],
)
def test_a_wrong_gradient_is_told_why(answer, message):
    """Each known mistake with the detached factor has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        one_factor(answer)


def test_no_gradient_is_the_wrong_type():
    """None, the .grad before backward(), holds no number."""
    with pytest.raises(TypeError, match="was backward"):
        one_factor(None)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_answers_are_judged_under_any_mode(mode, capsys):
    """A mode that the reader left on does not change what is right."""
    with mode():
        one_factor(18)
        parameter_snapshot(_snapshot)
        straight_through(_sign_through)
    assert capsys.readouterr().out.count("Right.") == 3


def _snapshot(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    "answer",
    [_snapshot, lambda model: copy.deepcopy(model.state_dict())],
    ids=["detach and clone", "deepcopy"],
)
def test_a_snapshot_that_lasts_is_right(answer, capsys):
    """Any dictionary of copies outside of the graph will do."""
    parameter_snapshot(answer)
    assert capsys.readouterr().out.startswith("Right.")


def _of(make):
    return lambda model: {name: make(p) for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_of(lambda p: p), "changes when the model is trained"),
        (_of(lambda p: p.detach()), "changes when the model is trained"),
        (lambda model: model.state_dict(), "changes when the model is trained"),
        (_of(lambda p: p.clone()), "requires grad"),
        (_of(torch.zeros_like), "does not hold the values"),
        (_of(lambda p: p.tolist()), "must be a tensor, not list"),
        (lambda model: [p.detach().clone() for p in model.parameters()], "must return a dict"),
        (lambda model: {}, "has no '0.weight'"),
        (lambda model: _snapshot(model.eval()), "leaves model in evaluation mode"),
        (lambda model: _snapshot(model.requires_grad_(False)), "leaves requires_grad=False"),
    ],
)
def test_a_snapshot_that_does_not_last_is_told_why(answer, message):
    """Each known mistake of snapshot() has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        parameter_snapshot(answer)


def test_random_numbers_are_left_alone():
    """The test model is made without moving the reader's generator."""
    before = torch.get_rng_state()
    parameter_snapshot(_snapshot)
    assert torch.equal(torch.get_rng_state(), before)


def _sign_through(x):
    return 2 * x + (x.sign() - 2 * x).detach()


@pytest.mark.parametrize(
    "answer",
    [_sign_through, lambda x: x.sign().detach() + 2 * (x - x.detach())],
    ids=["cancel the value", "add a zero"],
)
def test_both_forms_of_straight_through_are_right(answer, capsys):
    """Where the detached part stands does not matter."""
    straight_through(answer)
    assert capsys.readouterr().out.startswith("Right.")


def _in_place(x):
    return x.data.mul_(0) + x


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x.sign(), "The gradient is 0"),
        (lambda x: x.sign().detach(), "has no graph"),
        (lambda x: x + (x.sign() - x).detach(), "gradient of x;"),
        (lambda x: 3 * x + (x.sign() - 3 * x).detach(), "one common factor"),
        (lambda x: 2 * x, "value is that of 2 \\* x"),
        (lambda x: x.sign() + (2 * x - x.sign()).detach(), "value is that of 2 \\* x"),
        (lambda x: x.round(), "not that of x.sign"),
        (lambda x: x.sum(), "not that of x.sign"),
        (lambda x: x.tolist(), "must return a tensor, not list"),
        (_in_place, "changes the values of x"),
        (lambda x: 2 * x + (x / x.abs() - 2 * x).detach(), "wrong where x is 0"),
        (lambda x: 2 * x + (torch.where(x > 0, 1, -1) - 2 * x).detach(), "wrong where x is 0"),
    ],
)
def test_a_wrong_straight_through_is_told_why(answer, message):
    """Each known mistake of sign_through() has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        straight_through(answer)
