"""The exercises of *Complex numbers* accept what is right, and name what is wrong."""

import numpy as np
import pytest
import torch

from gradbook.check import WrongAnswer
from gradbook.check import complex as checks


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_the_right_parts_are_accepted_in_each_form(form, capsys):
    """Real and imaginary part, as two numbers."""
    checks.by_hand(form([2, -1]))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([2, 1], "conjugate"),
        ([1, -0.5], "gives twice that"),
        ([2, -4], "second term is missing"),
        ([2, 7], "slope along the imaginary axis is negative"),
        ([2, 4], "derivative of z² itself"),
        (2, "Give both parts"),
        ([3, -1], "1 of 2 numbers are wrong"),
    ],
)
def test_wrong_parts_are_explained(numbers, message):
    """Another convention, or a term that is missing."""
    with pytest.raises(WrongAnswer, match=message):
        checks.by_hand(numbers)


def parts(f, z, h=1e-6):
    """Both slopes, by central differences."""
    return (f(z + h) - f(z - h)) / (2 * h), (f(z + h * 1j) - f(z - h * 1j)) / (2 * h)


def measured(f, z):
    """As torch defines it."""
    along_x, along_y = parts(f, z)
    return along_x + 1j * along_y


def as_python(f, z):
    """A Python number in place of a tensor."""
    return complex(measured(f, z))


@pytest.mark.parametrize(
    "answer",
    [measured, as_python, lambda f, z: torch.complex(*parts(f, z)), lambda f, z: [measured(f, z)]],
)
def test_right_differences_are_accepted(answer, capsys):
    """As a tensor, a Python number, or a list with one."""
    checks.by_differences(answer)
    assert capsys.readouterr().out.startswith("Right.")


def editing(f, z):
    """Move the point itself."""
    here = z.clone()
    z += 1e-6
    above = f(z)
    z -= 2e-6
    return (above - f(z)) / 2e-6 + (measured(f, here).imag) * 1j


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda f, z: parts(f, z)[0], "along the real axis alone"),
        (lambda f, z: parts(f, z)[1] * 1j, "along the imaginary axis alone"),
        (lambda f, z: sum(parts(f, z)), "multiply it by i"),
        (lambda f, z: measured(f, z).conj(), "That is the conjugate"),
        (lambda f, z: measured(f, z) / 2, "That is half of it"),
        (lambda f, z: measured(f, z).conj() / 2, "derivative by z"),
        (lambda f, z: measured(f, z) * 2, "divided by two steps"),
        (
            lambda f, z: (f(z + 1e-3) - f(z)) / 1e-3 + 1j * (f(z + 1e-3j) - f(z)) / 1e-3,
            "near, and not exact",
        ),
        (lambda f, z: measured(f, z) + 5, "another one"),
        (lambda f, z: torch.stack(parts(f, z)), "returns 2 numbers"),
        (editing, "changes the values of z"),
    ],
)
def test_wrong_differences_are_explained(answer, message):
    """Another convention, a missing axis, a coarse step, or an edited point."""
    with pytest.raises(WrongAnswer, match=message):
        checks.by_differences(answer)


def test_autograd_cannot_answer_in_place_of_differences():
    """The values that f gives have no graph, and the reader is told what to do instead."""

    def cheating(f, z):
        z = z.detach().requires_grad_()
        return torch.autograd.grad(f(z), z)[0]

    with pytest.raises(WrongAnswer, match="move z a little"):
        checks.by_differences(cheating)


def test_an_error_of_the_answer_itself_passes_through():
    """Only the missing graph is explained."""

    def broken(f, z):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        checks.by_differences(broken)


def right_rule(z, g):
    """Both terms."""
    return g * (3 * z**2 * z.conj()).conj() + g.conj() * z**3


def test_the_right_rule_is_accepted(capsys):
    """In two ways to write it."""
    checks.rule(right_rule)
    checks.rule(lambda z, g: 3 * g * z.conj() ** 2 * z + (g * z.conj() ** 3).conj())
    assert capsys.readouterr().out.count("Right.") == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda z, g: g * 3 * z**2 * z.conj() + g.conj() * z**3, "with the conjugate of"),
        (lambda z, g: g * (3 * z**2 * z.conj()).conj(), "second term is missing"),
        (lambda z, g: g * (3 * z**2 * z.conj()).conj() + g * z**3, "gradient is conjugated"),
        (
            lambda z, g: g * (3 * z**2 * z.conj()).conj() + g.conj() * (z**3).conj(),
            "derivative is not conjugated",
        ),
        (lambda z, g: g * (3 * z**2 * z.conj() + z**3).conj(), "two terms are needed"),
        (lambda z, g: g, "another one"),
        (lambda z, g: (right_rule(z, g),), "in the shape of z"),
        (lambda z, g: right_rule(z, g.mul_(1)) if g.add_(1) is None else g, "incoming"),
    ],
)
def test_a_wrong_rule_is_explained(answer, message):
    """Where a conjugate or a term is missing."""
    with pytest.raises(WrongAnswer, match=message):
        checks.rule(answer)


def test_what_is_no_answer_is_a_type_error():
    """Functions and numbers are told apart; a complex number is not two parts."""
    with pytest.raises(TypeError, match="expected your function of \\(f, z\\)"):
        checks.by_differences(1.0)
    with pytest.raises(TypeError, match="expected your function of \\(z, incoming\\)"):
        checks.rule(1.0)
    with pytest.raises(TypeError, match="expected"):
        checks.by_hand(2 - 1j)


@pytest.mark.parametrize("check", [checks.by_hand, checks.by_differences, checks.rule])
def test_three_dots_are_no_answer_yet(check, capsys):
    """An exercise that nobody has touched prints a hint and raises nothing."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_without_grad_mode_and_leave_it_as_it_was(mode, capsys):
    """A learner may call a check inside a block that records nothing."""
    with mode():
        checks.by_hand([2, -1])
        checks.by_differences(measured)
        checks.rule(right_rule)
        assert not torch.is_grad_enabled()
    assert capsys.readouterr().out.count("Right.") == 3
