"""Exercises of the page *When a graph is freed*."""

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
from gradbook.see.graph import graph

# Exercise 2: how many numbers x has.
NUMBERS = 1000


def walked_again(answer: str | list[str] | tuple[str, ...] | set[str] | EllipsisType) -> None:
    """Check the letters of the results on which ``backward()`` works, after that of ``p.sum()``.

    Raises:
        WrongAnswer: a letter too many or too few; the message says why.
        TypeError: `answer` is neither a string nor a collection of letters.

    >>> walked_again("ACE")
    Right. The pass of p.sum() freed what the product of p saved, and nothing else.
    >>> walked_again("ABCE")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: B fails: it leads through MulBackward0, which has lost ...
    """
    if unanswered(answer):
        return
    given = read_letters(answer, "ABCDE")
    lost = {letter: _freed(one) for letter, one in _results().items()}
    works = set()
    for letter in lost:
        result = _results()[letter]  # a pass changes what the others would find
        try:
            torch.autograd.backward(result)
        except RuntimeError:
            continue
        works.add(letter)
    for letter in sorted(given - works):
        raise WrongAnswer(
            f"{letter} fails: it leads through {lost[letter][0]}, which has lost what it saved."
        )
    for letter in sorted(works - given):
        raise WrongAnswer(f"{letter} is missing: {_WHY[letter]}.")
    print("Right. The pass of p.sum() freed what the product of p saved, and nothing else.")


def bytes_held(answer: Numbers) -> None:
    """Check the bytes that the saved tensors hold before and after ``torch.autograd.grad``.

    Raises:
        WrongAnswer: not these two; the message says what was counted wrongly.
        TypeError: `answer` holds no numbers.

    >>> bytes_held([8000, 8000])
    Right. The product frees its references, but exp and exp still hold the same two storages.
    >>> bytes_held([16000, 8000])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: You counted saved tensors. Those that share a storage ...
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.zeros(NUMBERS, requires_grad=True)
        y = x.exp()
        z = y.exp()
        loss = (y * z).sum()
        before = graph(loss).saved_nbytes
        torch.autograd.grad(loss, z)
        after = graph(loss).saved_nbytes
    one = x.nbytes
    judge_numbers(
        answer,
        torch.tensor([before, after]),
        right="The product frees its references, but exp and exp still hold the same two storages.",
        mistakes={
            "You counted saved tensors. Those that share a storage count once: exp saves its "
            "result, and that is the tensor which the product saves.": torch.tensor(
                [4 * one, 2 * one]
            ),
            "Before is right. After it, the product has freed what it saved; but who else "
            "holds y and z?": torch.tensor([before, 0]),
            "Before is right. The product has freed y and z, but exp saved y and z as well, "
            "and neither exp has run.": torch.tensor([before, one]),
            "x is not saved: exp saves its result.": torch.tensor([3 * one, 3 * one]),
            "Before: x is not saved, exp saves its result.": torch.tensor([3 * one, after]),
            "That is how many numbers are held; each has 4 bytes.": torch.tensor(
                [before // 4, after // 4]
            ),
            "Give two numbers: before the last line, and after it.": before,
        },
        counts=True,
    )


def two_gradients(answer: object) -> None:
    """Check ``both(one, other, x)``: two gradients from one graph, and nothing left behind.

    Raises:
        WrongAnswer: a gradient is wrong, ``x.grad`` changes, or saved tensors stay.
        TypeError: `answer` is not a function, or does not return two tensors.

    >>> def both(one, other, x):
    ...     (of_one,) = torch.autograd.grad(one, x, retain_graph=True)
    ...     return of_one, torch.autograd.grad(other, x)[0]
    >>> two_gradients(both)
    Right. The first pass keeps the shared part, the last one frees it.
    """
    function = answer_function(answer, "(one, other, x)")
    if function is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
        x.grad = torch.full_like(x, 7.0)
        shared = x.exp()
        one, other = shared.sum(), (shared * shared).sum()
        of_one, of_other = shared.detach().clone(), 2 * (shared * shared).detach()
        try:
            with leaves_no_trace("both(one, other, x)", x=x):
                found = function(one, other, x)
        except RuntimeError as error:
            if "graph a second time" not in str(error):
                raise
            raise WrongAnswer(
                "The second pass fails: the first one freed the shared part. Let the first one "
                "keep it."
            ) from error
        held = graph(shared).saved_nbytes
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        shown = type(found).__name__
        if isinstance(found, (tuple, list)):
            shown += f" of {len(found)}"
        raise TypeError(
            f"both(one, other, x) must return two tensors, got {shown}: return of_one, of_other"
        )
    first, second = found
    if isinstance(first, tuple) or isinstance(second, tuple):
        raise WrongAnswer(
            "torch.autograd.grad returns a tuple, for one tensor too: take its first element."
        )
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        raise TypeError(
            "both(one, other, x) must return two tensors, got "
            f"{type(first).__name__} and {type(second).__name__}"
        )
    if torch.equal(first, of_one + of_other) or torch.equal(second, of_one + of_other):
        raise WrongAnswer("That is the gradient of the sum; each by itself is wanted.")
    for name, got, wanted in (("one", first, of_one), ("other", second, of_other)):
        if got.shape != wanted.shape or not torch.allclose(got, wanted):
            raise WrongAnswer(
                f"The gradient of {name} is wrong: its pass starts at {name} and ends at x."
            )
    if held:
        raise WrongAnswer(
            "The gradients are right, but the graph still holds what it saved: the last pass "
            "must not keep it."
        )
    print("Right. The first pass keeps the shared part, the last one frees it.")


_WHY = {
    "A": "x + 1 saved no tensor, so there was nothing to free",
    "C": "its exp is not part of p, so no pass has run it",
    "E": "its product is a new one, and the exp behind it has not run",
}


def _results() -> dict[str, Tensor]:
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        s = x + 1
        p = s * s
        q = s.exp()
        torch.autograd.backward(p.sum())
        return {
            "A": s.sum(),
            "B": p.mean(),
            "C": q.sum(),
            "D": (p + q).sum(),
            "E": (s * q).sum(),
        }


def _freed(tensor: Tensor) -> list[str]:
    return [
        node.name
        for node in graph(tensor).nodes
        if any(saved.released for saved in node.saved.values())
    ]
