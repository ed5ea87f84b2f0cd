"""Exercises of the page *Complex numbers*."""

from collections.abc import Callable

import torch
from torch import Tensor

from gradbook.check.answers import Numbers, WrongAnswer, answer_function, judge_numbers
from gradbook.check.traces import leaves_no_trace

# Exercise 1: Re(z ** power) + factor * Im(z), and where its gradient is wanted.
LOSS = {"power": 2, "factor": 3}
POINT = 1 + 2j
# Exercise 3: z ** power times the conjugate of z.
POWER = 3


def by_hand(answer: Numbers) -> None:
    """Check real and imaginary part of the gradient of ``(z**2).real + 3 * z.imag`` at 1 + 2i.

    Raises:
        WrongAnswer: another number; the message says which convention it follows, or what is
            missing.
        TypeError: `answer` holds no numbers.

    >>> by_hand([2, -1])
    Right. The slope along the real axis is 2x, that along the imaginary axis is 3 - 2y.
    >>> by_hand([2, 1])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is the conjugate: torch adds i times the slope ...
    """
    with torch.inference_mode(False), torch.enable_grad():
        z = torch.tensor(POINT, dtype=torch.complex128, requires_grad=True)
        power = (z ** LOSS["power"]).real
        (of_power,) = torch.autograd.grad(power, z, retain_graph=True)
        (found,) = torch.autograd.grad(power + LOSS["factor"] * z.imag, z)
    right = torch.view_as_real(found)
    judge_numbers(
        answer,
        right,
        right="The slope along the real axis is 2x, that along the imaginary axis is 3 - 2y.",
        mistakes={
            "That is the conjugate: torch adds i times the slope along the imaginary axis.": (
                torch.view_as_real(found.conj().resolve_conj())
            ),
            "That is Wirtinger's derivative by the conjugate; torch gives twice that.": right / 2,
            "The second term is missing: it has the slope 3 along the imaginary axis.": (
                torch.view_as_real(of_power)
            ),
            "Re(z²) is x² - y²: its slope along the imaginary axis is negative.": torch.tensor(
                [right[0], 2 * POINT.imag + LOSS["factor"]]
            ),
            "That is the derivative of z² itself, 2z. The loss is its real part, and there is a "
            "second term.": torch.tensor([2 * POINT.real, 2 * POINT.imag]),
            "Give both parts, as a list of two numbers.": right[0],
        },
    )


def by_differences(answer: object) -> None:
    """Check ``measured(f, z)``: the gradient of a real f at a complex z, from values of f.

    Raises:
        WrongAnswer: another gradient; the message says which.
        TypeError: `answer` is not a function.

    >>> by_differences(lambda f, z: (f(z + 1e-6) - f(z - 1e-6)) / 2e-6)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is the slope along the real axis alone: ...
    """
    measured = answer_function(answer, "(f, z)")
    if measured is None:
        return
    cases: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda z: (z * z * (1 - 2j)).real,
        lambda z: (z - 1j).abs() ** 2 * 3,
        lambda z: z.exp().imag + z.real,
    )
    point = torch.tensor(0.7 - 0.4j, dtype=torch.complex128)
    with torch.inference_mode(False), torch.enable_grad():
        for case in cases:
            leaf = point.clone().requires_grad_()
            (right,) = torch.autograd.grad(case(leaf), leaf)
            given = point.clone()
            try:
                with leaves_no_trace("measured(f, z)", z=given):
                    found = measured(_values_only(case), given)
            except RuntimeError as error:
                if "does not require grad" not in str(error):
                    raise
                raise WrongAnswer(
                    "f gives values here, and no graph: move z a little, and look how much f "
                    "changes."
                ) from error
            found = found.detach() if isinstance(found, Tensor) else torch.as_tensor(found)
            if found.numel() != 1:
                raise WrongAnswer(f"It returns {found.numel()} numbers: one complex one is wanted.")
            _compare(found.reshape(()).to(torch.complex128), right)
    print("Right. A step along each axis, the second one times i.")


def _values_only(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """`f` without a graph, so that autograd cannot answer in place of the differences."""

    def values(z: Tensor) -> Tensor:
        return f(z.detach() if isinstance(z, Tensor) else torch.as_tensor(z)).detach()

    return values


def _compare(found: Tensor, right: Tensor) -> None:
    def close(other: Tensor, tolerance: float = 1e-4) -> bool:
        return bool((found - other).abs() <= tolerance * right.abs())

    if close(right):
        return
    messages = {
        "That is the slope along the real axis alone: move z along the imaginary axis too.": (
            right.real + 0j
        ),
        "That is the conjugate: add i times the slope along the imaginary axis.": right.conj(),
        "That is half of it: torch does not have the factor 1/2 of Wirtinger's derivatives.": (
            right / 2
        ),
        "That is Wirtinger's derivative by z: twice its conjugate is wanted.": right.conj() / 2,
        "That is twice the gradient: a central difference is divided by two steps.": 2 * right,
        "That is the slope along the imaginary axis alone.": right.imag * 1j,
        "The slope along the imaginary axis is a real number: multiply it by i, and add.": (
            right.real + right.imag + 0j
        ),
    }
    for message, value in messages.items():
        if close(value):
            raise WrongAnswer(message)
    if close(right, 0.05):
        raise WrongAnswer(
            "It is near, and not exact: use a step near 1e-6, to both sides, in complex128."
        )
    raise WrongAnswer("The gradient is another one. Try it on f(z) = |z|², where it is 2z.")


def rule(answer: object) -> None:
    """Check ``outgoing(z, incoming)``: the backward rule of ``z**3 * z.conj()``.

    Raises:
        WrongAnswer: another rule; the message says which part is wrong.
        TypeError: `answer` is not a function.

    >>> rule(lambda z, g: g * 3 * z**2 * z.conj() + g.conj() * z**3)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The incoming gradient is multiplied with the conjugate ...
    """
    outgoing = answer_function(answer, "(z, incoming)")
    if outgoing is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        z = torch.tensor([0.7 - 0.4j, -1.2 + 0.5j], dtype=torch.complex128, requires_grad=True)
        incoming = torch.tensor([1.1 + 0.3j, 0.2 - 0.9j], dtype=torch.complex128)
        (right,) = torch.autograd.grad(z**POWER * z.conj(), z, incoming)
        at, g = z.detach(), incoming.clone()
        with leaves_no_trace("outgoing(z, incoming)", z=at, incoming=g):
            found = outgoing(at, g)
        if not isinstance(found, Tensor) or found.shape != right.shape:
            raise WrongAnswer("It must return a tensor in the shape of z.")
        by_z, by_conjugate = POWER * at ** (POWER - 1) * at.conj(), at**POWER
        messages = {
            "The incoming gradient is multiplied with the conjugate of the derivative by z.": (
                g * by_z + g.conj() * by_conjugate
            ),
            "The second term is missing: the operation depends on the conjugate of z too.": (
                g * by_z.conj()
            ),
            "In the second term, the incoming gradient is conjugated.": (
                g * by_z.conj() + g * by_conjugate
            ),
            "In the second term, the derivative is not conjugated.": (
                g * by_z.conj() + g.conj() * by_conjugate.conj()
            ),
            "That rule would be right for a function with a complex derivative. For this one, two "
            "terms are needed.": g * (by_z + by_conjugate).conj(),
        }
        for message, value in messages.items():
            if torch.allclose(found.to(value.dtype), value):
                raise WrongAnswer(message)
        if not torch.allclose(found.to(right.dtype), right):
            raise WrongAnswer("The gradient is another one: take the two derivatives first.")
    print(
        "Right. Each derivative goes into one term: conjugated for z, as it is for the conjugate."
    )
