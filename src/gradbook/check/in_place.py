"""Exercises of the page *In-place edits*."""

from types import EllipsisType

import torch
from torch import Tensor

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
    read_letters,
    unanswered,
)
from gradbook.check.traces import leaves_no_trace


def version(answer: Numbers) -> None:
    """Check ``x._version`` after the lines of exercise 1.

    Raises:
        WrongAnswer: not the version; the message says which edit is counted wrongly.
        TypeError: `answer` holds no number.

    >>> version(6)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: x.data shares the memory of x, but not its counter.
    >>> version(5.0)
    Right. One edit, two in x[0] += 7, one through a view, one through detach().
    """
    x = torch.zeros(4)
    x += 1
    whole = x._version
    x[0] += 7
    by_name = x._version
    y = x * 2
    x[:2].mul_(3)
    x.detach().sub_(1)
    x.data.zero_()
    y.relu_()
    once = x._version - (by_name - whole) + 1
    judge_numbers(
        answer,
        x._version,
        right="One edit, two in x[0] += 7, one through a view, one through detach().",
        mistakes={
            "x[0] += 7 is two edits: one of the view x[0], and one that assigns it.": once,
            "x.data shares the memory of x, but not its counter.": x._version + 1,
            "y is a new tensor with its own counter, and x.data has no part in the counter of x.": (
                x._version + 1 + y._version
            ),
            "Edits through x[:2] and x.detach() count too: both share the counter of x.": by_name,
            "Count x[0] += 7 again, and what goes through x[:2] and x.detach().": whole + 1,
        },
        counts=True,
    )


def edits_that_raise(answer: str | list[str] | tuple[str, ...] | set[str] | EllipsisType) -> None:
    """Check the letters of the edits of exercise 2 after which ``backward()`` raises.

    Raises:
        WrongAnswer: a letter is missing, or one too many; the message says why.
        TypeError: `answer` is not a string, nor a collection of strings.

    >>> edits_that_raise("bc")
    Right. sin saved h[:1], which shares the counter of h[1:]; sqrt saved its result, which is y.
    >>> edits_that_raise("a")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: a does not raise: tanh saved its result, not its input h.
    """
    if unanswered(answer):
        return
    given = read_letters(answer, _EDITS)
    raising = {letter for letter in _EDITS if _raises(letter)}
    for letter in sorted(given - raising):
        raise WrongAnswer(f"{letter} does not raise: {_EDITS[letter]}.")
    if missing := raising - given:
        count = "One that raises is" if len(missing) == 1 else f"{len(missing)} that raise are"
        raise WrongAnswer(f"{count} missing: ask of each line what its node saved.")
    print("Right. " + "; ".join(_EDITS[letter] for letter in sorted(raising)) + ".")


def repaired(answer: object) -> None:
    """Check ``shares(x)``: shares that add up to 1, with the right gradient.

    Raises:
        WrongAnswer: it raises in ``backward()``, or a value or the gradient is wrong.
        TypeError: `answer` is not a function, or does not return a tensor.

    >>> repaired(lambda x: x.exp() / x.exp().sum())
    Right. The result is a new tensor, so exp keeps what it saved.
    >>> repaired(lambda x: x.exp() / x.exp().sum().item())
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The gradient treats the sum as a constant ...
    """
    shares = answer_function(answer, "(x)")
    if shares is None:
        return
    numbers = [0.5, -1.0, 2.0]
    factors = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)

    def leaf() -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)

    def gradient(result: Tensor, x: Tensor) -> Tensor:
        return torch.autograd.grad((result * factors).sum(), x)[0]

    x = leaf()
    try:
        with leaves_no_trace("shares(x)", x=x):
            result = shares(1 * x)
        if not isinstance(result, Tensor):
            raise TypeError(f"shares(x) must return a tensor, got {type(result).__name__}")
        values = result.detach().clone()
        if not result.requires_grad:
            raise WrongAnswer("The result has no graph: stay in torch, without detach or no_grad.")
        found = gradient(result, x)
    except RuntimeError as error:
        if "inplace operation" not in str(error):
            raise
        raise WrongAnswer(
            "backward() raises: exp saved its result, and you edit it in place."
        ) from error
    right = leaf()
    expected = right.softmax(0)
    if values.shape != expected.shape or not torch.allclose(values, expected):
        raise WrongAnswer("The values are wrong: they are e to the x[i], divided by their sum.")
    constant = leaf()
    exponentials = constant.exp()
    judge_numbers(
        found,
        gradient(expected, right),
        right="The result is a new tensor, so exp keeps what it saved.",
        mistakes={
            "The gradient treats the sum as a constant (or comes from an edit that "
            "the version counter did not see).": gradient(
                exponentials / exponentials.sum().detach(), constant
            ),
        },
        tolerance=1e-6,
    )


_EDITS = {
    "a": "tanh saved its result, not its input h",
    "b": "sin saved h[:1], which shares the counter of h[1:]",
    "c": "sqrt saved its result, which is y",
    "d": "h = h + 1 edits nothing: it makes a new tensor",
}


def _raises(letter: str) -> bool:
    x = torch.tensor([0.5, 1.0], requires_grad=True)
    h = 1 * x
    if letter == "a":
        y = h.tanh()
        h.add_(1)
    elif letter == "b":
        y = h[:1].sin()
        h[1:].add_(1)
    elif letter == "c":
        y = h.sqrt()
        y.mul_(2)
    else:
        y = h.cos()
        h = h + 1
    try:
        torch.autograd.grad(y.sum(), x)
    except RuntimeError:
        return True
    return False
