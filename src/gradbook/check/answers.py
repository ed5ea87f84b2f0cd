"""Read an answer in any form that a learner would write, and judge it.

What a learner's function leaves behind it is judged in `traces`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from types import EllipsisType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class _Array(Protocol):
    def __array__(self) -> Any: ...


_Given = Tensor | float | list[Any] | tuple[Any, ...] | _Array


# What is said of an answer, beside what the check itself knows of it. The pages of the site judge
# by the same rules in the browser, and say the same.
SENTENCES = {
    "right": "Right. {why}",
    "wrong": "Not yet. {why}",
    "fraction": "A count is a whole number.",
    "no_option": "{given} is not one of {options}.",
    "not_it": "{given} is not it. Run the code and look at what it prints.",
    "entries_asked": "Your answer has {given}; {wanted} are asked for: {first} to {last}.",
    "entry_wrong": "{name} is wrong: {reason}.",
    "entries_wrong": "{count} are wrong; the first is {name}: {reason}.",
    "count": "Your answer has {given}, the right one has {wanted}.",
    "nan": "Your answer contains nan.",
    "shape": "Your answer has shape {given}, the right one {wanted}.",
    "sign": "Your answer has the wrong sign.",
    "side": "Your answer is {side}.",
    "factor": "All your numbers are wrong by one common factor.",
    "numbers_wrong": "{count} of {total} numbers are wrong; "
    "the first is number {first} (counted from 0), which is {side}.",
    "large": "too large",
    "small": "too small",
    "below": "too far below 0",
    "not_below": "not far enough below 0",
    "entry": "{count} entry",
    "entries": "{count} entries",
    "number": "{count} number",
    "numbers": "{count} numbers",
}


class Inquiry:
    """Given to a check in place of an answer, it takes down how an answer would be judged.

    Attributes:
        rules: for each judgement its kind and what it goes by; empty where the check judges in a
            way of its own.

    >>> inquiry = Inquiry()
    >>> judge_word(inquiry, "yes", right="It does.", options=("yes", "no"))
    >>> [rule["kind"] for rule in inquiry.rules]
    ['word']
    """

    def __init__(self) -> None:
        self.rules: list[dict[str, Any]] = []

    def take(self, kind: str, **rule: Any) -> None:
        """Take a judgement down."""
        self.rules.append({"kind": kind, **rule})


Numbers = _Given | EllipsisType | Inquiry


class WrongAnswer(AssertionError):  # noqa: N818 -- it is an answer, not an error of the program
    """An answer to an exercise that is not right; the message says what is wrong with it."""

    def _render_traceback_(self) -> list[str]:
        """IPython asks for this: a learner needs the message, not our stack."""
        return [_say("wrong", why=self)]


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
    counts: bool = False,
    unit: float = 1.0,
) -> None:
    """Print `right` if `answer` holds the `expected` numbers, else raise what is wrong.

    Args:
        answer: a number, a list (nested too), a tensor or an array.
        expected: what is right, of any shape; computed by the check, not typed in.
        right: why it is right, in one or two sentences.
        mistakes: what to say to an answer that is wrong in a known way: ``{message: value}``.
        tolerance: relative; an answer may be rounded to about four digits.
        counts: the numbers are counts: only the integers themselves are right.
        unit: what `expected` and the values of `mistakes` are multiples of: next to zero, all
            numbers are close to each other.

    Raises:
        WrongAnswer: the numbers differ; the message says how, without giving them away: no
            number in it is computed from `expected`.
        TypeError: `answer` does not hold numbers.

    >>> judge_numbers([1, 2.0], torch.tensor([1.0, 2.0]), right="Both agree.")
    Right. Both agree.
    >>> judge_numbers(4, 2.0, right="")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: Your answer is too large.
    >>> judge_numbers(2.001, 2, right="", counts=True)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: A count is a whole number.
    """
    if unanswered(answer):
        return
    wanted = torch.as_tensor(expected).detach().to(torch.float64)
    known = {
        message: torch.as_tensor(value).detach().to(torch.float64)
        for message, value in (mistakes or {}).items()
    }
    if isinstance(answer, Inquiry):
        answer.take(
            "numbers",
            expected=wanted,
            right=right,
            mistakes=known,
            tolerance=tolerance,
            counts=counts,
            unit=unit,
        )
        return
    given = _numbers(answer) / unit
    if _same(given, wanted, 0.0 if counts else tolerance):
        print(_say("right", why=right))
        return
    for message, value in known.items():
        if _same(given, value, tolerance):
            raise WrongAnswer(message)
    if counts and not torch.equal(given, given.round()):
        raise WrongAnswer(_say("fraction"))
    raise WrongAnswer(_difference(given, wanted, 0.0 if counts else tolerance))


def judge_word(
    answer: object,
    expected: str,
    *,
    right: str,
    options: tuple[str, ...],
    mistakes: Mapping[str, str] | None = None,
) -> None:
    """Print `right` if `answer` is the `expected` word, else raise what is wrong.

    Case, blanks and quotes do not matter. Where the options are yes and no, True and False, in
    words or as such, are taken alike.

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
    if isinstance(answer, Inquiry):
        answer.take(
            "word", expected=expected, right=right, options=options, mistakes=dict(mistakes or {})
        )
        return
    if set(options) == {"yes", "no"} and (flag := _flag(answer)) is not None:
        answer = "yes" if flag else "no"
    if not isinstance(answer, str):
        raise TypeError(
            f"expected one of {', '.join(map(repr, options))}, got {type(answer).__name__}"
        )
    word = answer.strip().strip("'\"").casefold()
    if word == expected.casefold():
        print(_say("right", why=right))
        return
    if word not in {option.casefold() for option in options}:
        raise WrongAnswer(
            _say("no_option", given=repr(answer), options=", ".join(map(repr, options)))
        )
    for option, message in (mistakes or {}).items():
        if word == option.casefold():
            raise WrongAnswer(message)
    raise WrongAnswer(_say("not_it", given=repr(answer)))


def judge_flags(
    answer: object,
    expected: Mapping[str, bool],
    *,
    right: str,
    reasons: Mapping[str, str],
) -> None:
    """Print `right` if `answer` holds the `expected` flags, else raise which one is wrong.

    Args:
        answer: a list, tuple, tensor or array of True and False, yes and no, or 1 and 0.
        expected: the right flag of each thing, by its name, in the order of the exercise.
        right: why it is right.
        reasons: what to say to a wrong flag: ``{name: reason}``, without a full stop.

    Raises:
        WrongAnswer: a flag is wrong, or the number of flags.
        TypeError: `answer` does not hold flags.

    >>> judge_flags(["yes", False], {"a": True, "b": False}, right="", reasons={})
    Right.
    >>> judge_flags([1, 1], {"a": True, "b": False}, right="", reasons={"b": "it is a constant"})
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: b is wrong: it is a constant.
    """
    if unanswered(answer):
        return
    if isinstance(answer, Inquiry):
        answer.take("flags", expected=dict(expected), right=right, reasons=dict(reasons))
        return
    given = _flags(answer)
    names = list(expected)
    if len(given) != len(names):
        entries = _plural(len(given), "entry", "entries")
        raise WrongAnswer(
            _say(
                "entries_asked",
                given=entries,
                wanted=len(names),
                first=names[0],
                last=names[-1],
            )
        )
    wrong = [name for name, flag in zip(names, given, strict=True) if flag != expected[name]]
    if not wrong:
        print(_say("right", why=right))
        return
    first = wrong[0]
    how = "entry_wrong" if len(wrong) == 1 else "entries_wrong"
    raise WrongAnswer(_say(how, count=len(wrong), name=first, reason=reasons[first]))


def read_letters(answer: object, options: Iterable[str]) -> set[str]:
    """The letters that `answer` names, in any form, each as it stands in `options`.

    Args:
        answer: a string or a collection of strings: ``"AC"``, ``"a, c"``, ``"A and C"``,
            ``["A", "C"]``. ``""`` and ``"none"`` name no letter.
        options: the letters of the exercise.

    Raises:
        WrongAnswer: a letter is not among the options.
        TypeError: `answer` is of another type.

    >>> sorted(read_letters("a and C", "ABC"))
    ['A', 'C']
    """
    known = {option.casefold(): option for option in options}
    if isinstance(answer, Inquiry):
        answer.take("letters", options=list(known.values()))
        return set()
    if isinstance(answer, str):
        given = [answer]
    elif isinstance(answer, Collection) and all(isinstance(one, str) for one in answer):
        given = list(answer)
    else:
        raise TypeError(f'expected letters such as "AB", got {type(answer).__name__}: {answer!r}')
    found = set()
    for word in re.findall(r"\w+", " ".join(given).casefold()):
        if word in ("and", "none"):
            continue
        for letter in word:
            if letter not in known:
                raise WrongAnswer(
                    _say("no_option", given=repr(letter.upper()), options=", ".join(known.values()))
                )
            found.add(known[letter])
    return found


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


_WORDS = {"yes": True, "true": True, "no": False, "false": False}


def _flag(one: object) -> bool | None:
    """True, False, yes, no, 1 or 0 as a bool; None if it is something else."""
    if isinstance(one, str):
        return _WORDS.get(one.strip().strip("'\"").casefold())
    if isinstance(one, (bool, int, float, np.bool, np.number)) and one in (0, 1):
        return bool(one)
    if isinstance(one, Tensor) and one.numel() == 1:
        return _flag(one.item())
    return None


def _flags(answer: object) -> list[bool]:
    if isinstance(answer, Tensor):
        answer = answer.detach().tolist()
    elif isinstance(answer, np.ndarray):
        answer = answer.tolist()
    if not isinstance(answer, (list, tuple)):
        raise TypeError(f"expected a list of True and False, got {type(answer).__name__}")
    flags = []
    for one in answer:
        flag = _flag(one)
        if flag is None:
            raise TypeError(f"expected a list of True and False, got {one!r} in it")
        flags.append(flag)
    return flags


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
        return _say("count", given=_count(given), wanted=_count(wanted))
    if given.isnan().any():
        return _say("nan")
    if given.shape != wanted.shape and given.dim() and wanted.dim() > 1:
        return _say("shape", given=tuple(given.shape), wanted=tuple(wanted.shape))
    a, b = given.reshape(-1), wanted.reshape(-1)
    if _close(a, -b, tolerance).all():
        return _say("sign")
    if a.numel() == 1:
        return _say("side", side=_side(a[0], b[0]))
    # How large a common factor is would give the answer away: one guess and one division.
    if b.abs().min() > 0 and a.abs().min() > 0:
        ratio = a / b
        if ratio[0] > 0 and _close(ratio, ratio[:1].expand_as(ratio), tolerance).all():
            return _say("factor")
    wrong = (~_close(a, b, tolerance)).nonzero().flatten().tolist()
    first = wrong[0]
    side = _side(a[first], b[first])
    return _say("numbers_wrong", count=len(wrong), total=a.numel(), first=first, side=side)


def _side(given: Tensor, wanted: Tensor) -> str:
    if given < 0 and wanted < 0:
        return _say("below" if given < wanted else "not_below")
    return _say("large" if given > wanted else "small")


def _count(numbers: Tensor) -> str:
    return _plural(numbers.numel(), "number", "numbers")


def _plural(count: int, one: str, several: str) -> str:
    return _say(one if count == 1 else several, count=count)


def _say(sentence: str, **values: object) -> str:
    return SENTENCES[sentence].format(**values).rstrip()
