"""Read an answer in any form that a learner would write, and judge it."""

from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class _Array(Protocol):
    def __array__(self) -> Any: ...


_Given = Tensor | float | list[Any] | tuple[Any, ...] | _Array
Numbers = _Given | EllipsisType


class WrongAnswer(AssertionError):  # noqa: N818 -- it is an answer, not an error of the program
    """An answer to an exercise that is not right; the message says what is wrong with it."""

    def _render_traceback_(self) -> list[str]:
        """IPython asks for this: a learner needs the message, not our stack."""
        return [f"Not yet. {self}"]


def unanswered(answer: object) -> bool:
    """Say so if the three dots of the exercise are still in place.

    >>> unanswered(...)
    No answer yet: put yours in place of the three dots.
    True
    """
    if answer is ...:
        print("No answer yet: put yours in place of the three dots.")
        return True
    return False


def judge_numbers(
    answer: Numbers,
    expected: Tensor | float,
    *,
    right: str,
    mistakes: Mapping[str, Tensor | float] | None = None,
    tolerance: float = 1e-3,
) -> None:
    """Print `right` if `answer` holds the `expected` numbers, else raise what is wrong.

    Args:
        answer: a number, a list (nested too), a tensor or an array.
        expected: what is right, of any shape; computed by the check, not typed in.
        right: why it is right, in one or two sentences.
        mistakes: what to say to an answer that is wrong in a known way: ``{message: value}``.
        tolerance: relative; an answer may be rounded to about four digits.

    Raises:
        WrongAnswer: the numbers differ; the message says how, without giving them away.
        TypeError: `answer` does not hold numbers.

    >>> judge_numbers([1, 2.0], torch.tensor([1.0, 2.0]), right="Both agree.")
    Right. Both agree.
    >>> judge_numbers(4, 2.0, right="")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: Your answer is 2 times too large.
    """
    if unanswered(answer):
        return
    given = _numbers(answer)
    wanted = torch.as_tensor(expected).detach().to(torch.float64)
    if _same(given, wanted, tolerance):
        print(f"Right. {right}".rstrip())
        return
    for message, value in (mistakes or {}).items():
        if _same(given, torch.as_tensor(value).detach().to(torch.float64), tolerance):
            raise WrongAnswer(message)
    raise WrongAnswer(_difference(given, wanted, tolerance))


def judge_word(
    answer: object,
    expected: str,
    *,
    right: str,
    options: tuple[str, ...],
    mistakes: Mapping[str, str] | None = None,
) -> None:
    """Print `right` if `answer` is the `expected` word, else raise what is wrong.

    Case, blanks and quotes do not matter.

    Args:
        answer: a string.
        expected: the right one of `options`.
        right: why it is right.
        options: all words that make sense as an answer.
        mistakes: what to say to a wrong option: ``{option: message}``.

    Raises:
        WrongAnswer: another option, or a word that is none.
        TypeError: `answer` is not a string.

    >>> judge_word("YES ", "yes", right="It does.", options=("yes", "no"))
    Right. It does.
    """
    if unanswered(answer):
        return
    if isinstance(answer, bool) and set(options) == {"yes", "no"}:
        answer = "yes" if answer else "no"
    if not isinstance(answer, str):
        raise TypeError(
            f"expected one of {', '.join(map(repr, options))}, got {type(answer).__name__}"
        )
    word = answer.strip().strip("'\"").casefold()
    if word == expected.casefold():
        print(f"Right. {right}".rstrip())
        return
    if word not in {option.casefold() for option in options}:
        raise WrongAnswer(f"{answer!r} is not one of {', '.join(map(repr, options))}.")
    for option, message in (mistakes or {}).items():
        if word == option.casefold():
            raise WrongAnswer(message)
    raise WrongAnswer(f"{answer!r} is not it. Run the code and look at what it prints.")


def answer_function(answer: object, takes: str) -> Callable[..., Any] | None:
    """Return `answer` if it is a function, None if there is no answer yet.

    Args:
        answer: what the learner gave.
        takes: the arguments, for the message: ``"(x, y)"``.

    Raises:
        TypeError: `answer` cannot be called.

    >>> answer_function(3, "(x)")
    Traceback (most recent call last):
    TypeError: expected your function of (x), got int: give its name, without calling it
    """
    if unanswered(answer):
        return None
    if not callable(answer):
        raise TypeError(
            f"expected your function of {takes}, got {type(answer).__name__}: "
            "give its name, without calling it"
        )
    return answer


def _numbers(answer: object) -> Tensor:
    if isinstance(answer, Tensor):
        found = answer.detach()
    elif isinstance(answer, (bool, str, bytes, type(None))) or callable(answer):
        raise TypeError(f"expected a number, a list or a tensor, got {_shown(answer)}")
    else:
        try:
            if isinstance(answer, (list, tuple)):
                # Lists of tensors are common: [w.grad, b.grad].
                answer = [_numbers(one).tolist() for one in answer]
            found = torch.as_tensor(np.asarray(answer, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"expected a number, a list or a tensor, got {_shown(answer)}"
            ) from error
    if found.is_complex():
        raise TypeError("expected real numbers, got complex ones")
    return found.to(torch.float64)


def _shown(answer: object) -> str:
    if answer is None:
        return "None (was backward() called?)"
    text = repr(answer)
    return f"{type(answer).__name__}: {text if len(text) < 60 else text[:57] + '...'}"


def _same(given: Tensor, wanted: Tensor, tolerance: float) -> bool:
    if given.numel() != wanted.numel() or (
        given.dim() and wanted.dim() > 1 and given.shape != wanted.shape
    ):
        return False
    return bool(_close(given.reshape(-1), wanted.reshape(-1), tolerance).all())


def _close(a: Tensor, b: Tensor, tolerance: float) -> Tensor:
    return torch.isclose(a, b, rtol=tolerance, atol=tolerance * 1e-3)


def _difference(given: Tensor, wanted: Tensor, tolerance: float) -> str:
    if given.numel() != wanted.numel():
        return f"Your answer has {_count(given)}, the right one has {_count(wanted)}."
    if given.isnan().any():
        return "Your answer contains nan."
    if given.shape != wanted.shape and given.dim() and wanted.dim() > 1:
        return f"Your answer has shape {tuple(given.shape)}, the right one {tuple(wanted.shape)}."
    a, b = given.reshape(-1), wanted.reshape(-1)
    if _close(a, -b, tolerance).all():
        return "Your answer has the wrong sign."
    if b.abs().min() > 0 and a.abs().min() > 0:
        ratio = a / b
        factor = ratio[0].item()
        if factor > 0 and _close(ratio, ratio[:1].expand_as(ratio), tolerance).all():
            if factor > 1:
                return f"Your answer is {factor:.4g} times too large."
            return f"Your answer is {1 / factor:.4g} times too small."
    wrong = (~_close(a, b, tolerance)).nonzero().flatten().tolist()
    if a.numel() > 1:
        first = wrong[0]
        side = "large" if a[first] > b[first] else "small"
        return (
            f"{len(wrong)} of {a.numel()} numbers are wrong; "
            f"the first is number {first} (counted from 0), which is too {side}."
        )
    return f"Your answer is too {'large' if a[0] > b[0] else 'small'}."


def _count(numbers: Tensor) -> str:
    return "1 number" if numbers.numel() == 1 else f"{numbers.numel()} numbers"
