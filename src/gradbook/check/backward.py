"""Exercises of the page *backward()*."""

from collections.abc import Callable

import torch
from torch import Tensor

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    judge_numbers,
    read_letters,
    unanswered,
)
from gradbook.see.graph import graph

# Exercise 1: where the derivatives are wanted.
A, B = 2, 3


def by_hand(answer: Numbers) -> None:
    """Check the derivatives of ``(a * b + 1) ** 2`` with respect to a and b, at a = 2, b = 3.

    Raises:
        WrongAnswer: not these two; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> by_hand([42, 28])
    Right. 2 * (2 * 3 + 1) = 14, times b for a, and times a for b.
    >>> by_hand([28, 42])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The two are swapped: the local derivative of a * b ...
    """
    with torch.inference_mode(False), torch.enable_grad():
        a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
        b = torch.tensor(B, dtype=torch.float64, requires_grad=True)
        inner = a * b + 1
        right = torch.stack(torch.autograd.grad(inner**2, [a, b], retain_graph=True))
        of_inner = torch.stack(torch.autograd.grad(inner, [a, b]))
    outer = 2 * inner.detach()
    judge_numbers(
        answer,
        right,
        right="2 * (2 * 3 + 1) = 14, times b for a, and times a for b.",
        mistakes={
            "The two are swapped: the local derivative of a * b with respect to a is b.": (
                right.flip(0)
            ),
            "That is the derivative of the square alone: multiply by that of a * b + 1.": (
                outer.expand(2)
            ),
            "That is the derivative of a * b + 1: multiply by that of the square.": of_inner,
            "The square of u has the derivative 2u: a factor 2 is missing.": right / 2,
            "Give both derivatives, as a list of two numbers.": right[0],
        },
    )


def second_row(answer: Numbers) -> None:
    """Check ``v``: ``h(x).backward(gradient=v)`` leaves the second row of the Jacobian of h.

    ``h(x)`` holds ``x[0] * x[1]`` and ``x[1] * x[2]``.

    Raises:
        WrongAnswer: another v; the message says what it gives.
        TypeError: `answer` holds no numbers.

    >>> second_row([0, 1])
    Right. One weight for each result: 0 for the first row, 1 for the second.
    >>> second_row([0, 1, 0])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: v has one weight for each result of h, not for each ...
    """

    def h(x: Tensor) -> Tensor:
        return torch.stack([x[0] * x[1], x[1] * x[2]])

    with torch.inference_mode(False), torch.enable_grad():
        x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
        rows = torch.stack([torch.autograd.grad(h(x)[row], x)[0] for row in (0, 1)])
    # The v that solves v @ rows = rows[1]; a zero is zero, whatever the solver leaves of it.
    wanted = torch.linalg.lstsq(rows.T, rows[1]).solution.round(decimals=9)
    judge_numbers(
        answer,
        wanted,
        right="One weight for each result: 0 for the first row, 1 for the second.",
        mistakes={
            "v has one weight for each result of h, not for each element of x.": torch.tensor(
                [0.0, 1.0, 0.0]
            ),
            "v has one weight for each result of h: two, not three.": torch.ones(3),
            "That gives the sum of both rows.": torch.ones(2),
            "That gives the first row.": torch.tensor([1.0, 0.0]),
            "That is the second row itself, which is what x.grad should hold. Which weights "
            "give it?": rows[1],
        },
    )


def works_twice(answer: object) -> None:
    """Check the letters of the expressions on which a second ``backward()`` works.

    Raises:
        WrongAnswer: a letter too many or too few; the message says which.
        TypeError: `answer` is neither a string nor a list of letters.

    >>> works_twice("A C")
    Right. Sums and differences have constant local derivatives: their nodes save no tensor.
    >>> works_twice("ABC")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: A second call on B fails: DivBackward0 saved a tensor.
    """
    if unanswered(answer):
        return
    given = read_letters(answer, _EXPRESSIONS)
    fails: dict[str, str] = {}
    for letter, expression in _EXPRESSIONS.items():
        with torch.inference_mode(False), torch.enable_grad():
            result = expression(torch.tensor([1.0, 2.0, 3.0], requires_grad=True))
            nodes = [node.name for node in graph(result).nodes if node.saved]
            torch.autograd.backward(result)
            try:
                torch.autograd.backward(result)
            except RuntimeError:
                fails[letter] = nodes[0]
    for letter in _EXPRESSIONS:
        if letter in given and letter in fails:
            raise WrongAnswer(f"A second call on {letter} fails: {fails[letter]} saved a tensor.")
    missing = [letter for letter in _EXPRESSIONS if letter not in given and letter not in fails]
    if missing:
        raise WrongAnswer(
            f"{len(missing)} more can be called twice: look for local derivatives that do not "
            "depend on any tensor."
        )
    print(
        "Right. Sums and differences have constant local derivatives: their nodes save no tensor."
    )


_EXPRESSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "A": lambda x: (4 - x).sum(),
    "B": lambda x: (x / 2).sum(),
    "C": lambda x: (x + x).mean(),
    "D": lambda x: x.sin().sum(),
    "E": lambda x: x.sum() * x.sum(),
}
