"""Tests of the exercises of the page *Digits*."""

import pytest
import torch

from gradbook.check import WrongAnswer, digits


@pytest.mark.parametrize("answer", [4640, 4640.0, [4640], torch.tensor(4640)])
def test_the_right_count_is_accepted_in_each_form(answer, capsys):
    """A number, a list, a tensor."""
    digits.conv_parameters(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (4608, "biases are missing"),
        (9216, "One bias"),
        (320, "16 channels"),
        (4640.001, "whole number"),
    ],
)
def test_a_wrong_count_is_recognised(answer, message):
    """The usual mistakes have their own message."""
    with pytest.raises(WrongAnswer, match=message):
        digits.conv_parameters(answer)


def shares(answers, labels):
    """A right solution."""
    return [(answers == labels)[labels == digit].float().mean() for digit in range(10)]


@pytest.mark.parametrize("form", [list, torch.stack, lambda s: [float(one) for one in s]])
def test_shares_are_accepted_in_each_form(form, capsys):
    """A list of tensors, a tensor, a list of floats."""
    digits.accuracy_by_class(lambda answers, labels: form(shares(answers, labels)))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda a, b: [(a == b).float().mean()] * 10, "all digits together"),
        (lambda a, b: [(a == b)[a == d].float().mean() for d in range(10)], "among the answers"),
        (lambda a, b: [(a == b)[b == d].sum() for d in range(10)], "Those are counts"),
        (lambda a, b: 0.5, "1 number"),
    ],
)
def test_wrong_shares_are_recognised(function, message):
    """The usual mistakes have their own message."""
    with pytest.raises(WrongAnswer, match=message):
        digits.accuracy_by_class(function)


def by_grad(model, image):
    """A right solution."""
    leaf = image.detach().requires_grad_()
    return torch.autograd.grad(model(leaf[None]).max(), leaf)[0]


def by_backward(model, image):
    """Leaves gradients behind."""
    leaf = image.detach().requires_grad_()
    model(leaf[None]).max().backward()
    return leaf.grad


def by_clearing(model, image):
    """Clear what was left, and with it the gradients that waited for a step."""
    gradient = by_backward(model, image)
    model.zero_grad()
    return gradient


def by_freezing(model, image):
    """Switch the flags of the parameters off for good."""
    model.requires_grad_(False)
    return by_backward(model, image)


def by_freezing_for_a_while(model, image):
    """A right solution: the flags are put back."""
    model.requires_grad_(False)
    gradient = by_backward(model, image)
    model.requires_grad_(True)
    return gradient


def on_the_image(model, image):
    """Changes the flag of what it was given."""
    image.requires_grad_()
    return torch.autograd.grad(model(image[None]).max(), image)[0]


@pytest.mark.parametrize("answer", [by_grad, by_freezing_for_a_while])
def test_a_quiet_gradient_is_accepted(answer, capsys):
    """Each .grad and each flag is as it was."""
    digits.quiet_saliency(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (by_backward, r"changes the \.grad of model\.1\.weight"),
        (by_clearing, r"changes the \.grad of model\.1\.weight"),
        (by_freezing, r"leaves requires_grad=False on model\.1\.weight"),
        (on_the_image, "leaves requires_grad=True on image"),
        (lambda model, image: by_grad(model, image)[0], "has shape"),
        (lambda model, image: -by_grad(model, image), "not the gradient"),
    ],
)
def test_a_loud_or_wrong_gradient_is_told(function, message):
    """The message says what was left behind, or that the numbers are wrong."""
    with pytest.raises(WrongAnswer, match=message):
        digits.quiet_saliency(function)


def test_shares_leave_the_answers_alone():
    """A function that sorts its arguments in place is refused."""

    def sorts(answers, labels):
        found = shares(answers, labels)
        answers.copy_(answers.sort().values)
        return found

    with pytest.raises(WrongAnswer, match="changes the values of answers"):
        digits.accuracy_by_class(sorts)


def test_wrong_types_are_type_errors(capsys):
    """No function, or a function that returns no numbers."""
    for exercise in (digits.accuracy_by_class, digits.quiet_saliency):
        with pytest.raises(TypeError, match="without calling it"):
            exercise(0.5)
        with pytest.raises(TypeError):
            exercise(lambda *_: None)
        exercise(...)
    assert capsys.readouterr().out.count("No answer yet") == 2


def test_no_random_number_is_drawn():
    """The checks leave the generator as it was."""
    state = torch.get_rng_state()
    digits.conv_parameters(4640)
    digits.quiet_saliency(by_grad)
    assert torch.equal(state, torch.get_rng_state())
