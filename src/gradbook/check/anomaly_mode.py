"""Exercises of the page *Anomaly mode*."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from gradbook.check.answers import WrongAnswer, answer_function, read_letters, unanswered
from gradbook.check.traces import leaves_no_trace

# Exercise 1: the number of which all programs are made.
POINT = 0


def stops(answer: object) -> None:
    """Check the letters of the programs in which anomaly mode raises an error.

    Raises:
        WrongAnswer: a letter too many or too few; the message says what happens there.
        TypeError: `answer` is neither a string nor a list of letters.

    >>> stops("AB")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: A does not stop: its gradient is inf, and no nan.
    """
    if unanswered(answer):
        return
    given = read_letters(answer, _PROGRAMS)
    stopped = {letter for letter, (program, _) in _PROGRAMS.items() if _raises(program)}
    for letter, (_, reason) in _PROGRAMS.items():
        if letter in given - stopped:
            raise WrongAnswer(f"{letter} does not stop: {reason}.")
        if letter in stopped - given:
            raise WrongAnswer(f"{letter} is missing: {reason}.")
    print("Right. Only a nan in a gradient counts: not an inf, and not a nan in a value.")


_PROGRAMS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "A": (lambda zero: zero.sqrt(), "its gradient is inf, and no nan"),
    "B": (
        lambda zero: zero / zero,
        "the slope by the divisor is 0 divided by 0, with a minus sign, and that is nan",
    ),
    "C": (lambda zero: (zero - 1).log(), "the value is nan, but the slope 1 / x is finite"),
    "D": (
        lambda zero: zero.sqrt().sin().sqrt(),
        "both roots send inf, the sine multiplies with 1, and inf times inf is inf",
    ),
}


def _raises(program: Callable[[Tensor], Tensor]) -> bool:
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.tensor(float(POINT), requires_grad=True)
        try:
            with torch.autograd.detect_anomaly(check_nan=True):
                torch.autograd.grad(program(x), x)
        except RuntimeError:
            return True
    return False


def guilty_node(answer: object) -> None:
    """Check ``guilty(loss)``: the first node that got finite gradients and sent inf or nan.

    Raises:
        WrongAnswer: another node; the message says of which kind of program.
        TypeError: `answer` is not a function.
    """
    guilty = answer_function(answer, "(loss)")
    if guilty is None:
        return
    cases: dict[str, tuple[Callable[[Tensor], Tensor], str | None]] = {
        "a loss whose gradient is finite": (lambda x: (x + 1).sqrt().sum(), None),
        "a gradient with inf": (lambda x: x.sqrt().sum(), "SqrtBackward0"),
        "a gradient with nan": (lambda x: (x.sqrt() * 0).sum(), "SqrtBackward0"),
        "an inf that a later product makes nan": (
            lambda x: (x * 0).sqrt().exp().sum(),
            "SqrtBackward0",
        ),
        "two nodes with inf, of which the one nearer to the loss comes first": (
            lambda x: ((x * x).pow(0.25) + 0).sqrt().sum(),
            "SqrtBackward0",
        ),
        "many elements": (lambda x: (x.repeat(50) * 0).rsqrt().mean(), "RsqrtBackward0"),
    }
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, (program, name) in cases.items():
            loss = program(torch.tensor([0.0, 0.0], requires_grad=True))
            with leaves_no_trace("guilty(loss)"):
                found = guilty(loss)
            if found is not None and not isinstance(found, str):
                raise WrongAnswer(
                    f"It returns {type(found).__name__}: the name of a node is wanted, or None."
                )
            if found != name:
                raise WrongAnswer(
                    f"For {kind} it returns {found!r}; {_hint(name)}. A node is guilty if all that "
                    "came in was finite, and something that went out was not."
                )
    print("Right. It finds inf and nan where they are made, not where they arrive.")


def _hint(name: str | None) -> str:
    return "none is guilty there" if name is None else f"it was {name!r}"
