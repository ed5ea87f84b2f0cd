"""Exercises of the page *Build your own autograd*."""

from collections.abc import Callable
from typing import Any

import numpy as np
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

# Exercise 1: `a = first * x`, `b = a * a`, `c = last * b`.
CHAIN = {"x": 1, "first": 2, "last": 5}


def second_call(answer: Numbers) -> None:
    """Check what is in ``x.grad`` after two passes: as in torch, and if each number keeps its own.

    Raises:
        WrongAnswer: not these two; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> second_call([80, 160])
    Right. torch adds the same gradient twice. Where numbers on the way keep theirs, ...
    >>> second_call([80, 120])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: Three times holds for one number on the way; here ...
    """
    once, kept = _kept_everywhere(passes=1), _kept_everywhere(passes=2)
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.tensor(float(CHAIN["x"]), requires_grad=True)
        c = CHAIN["last"] * (CHAIN["first"] * x).square()
        for _ in range(2):
            torch.autograd.backward(c, retain_graph=True)
        assert x.grad is not None
        added = x.grad.item()
    judge_numbers(
        answer,
        torch.tensor([added, kept]),
        right="torch adds the same gradient twice. Where numbers on the way keep theirs, each of "
        "them sends its sum again: once for a, once for b.",
        mistakes={
            "Three times holds for one number on the way; here there are two, a and b.": (
                torch.tensor([added, 3 * once])
            ),
            "The two are swapped.": torch.tensor([kept, added]),
            "The first is the gradient of one pass: two passes add up.": (
                torch.tensor([once, kept])
            ),
            "That is what one pass gives; there are two.": torch.tensor([once, once]),
            "Those are one pass and two passes in torch. Both numbers are after two passes: by the "
            "rule of torch, and where each number keeps its gradient.": torch.tensor([once, added]),
            "Both are what torch gives. Where a and b keep their gradients, the second pass starts "
            "from more.": torch.tensor([added, added]),
            "Give both: as in torch, and where each number keeps its gradient.": (
                torch.tensor(added)
            ),
        },
    )


def _kept_everywhere(passes: int) -> float:
    """The gradient of x, by hand, where a and b keep what they had."""
    x, first, last = CHAIN["x"], CHAIN["first"], CHAIN["last"]
    of_a = of_b = of_x = 0.0
    for _ in range(passes):
        of_b += last
        of_a += 2 * first * x * of_b
        of_x += first * of_a
    return of_x


def too_early(answer: object) -> None:
    """Check the letters of the results whose gradient is wrong if numbers run as they are found.

    Raises:
        WrongAnswer: a letter too many or too few; the message says which.
        TypeError: `answer` is neither a string nor a list of letters.

    >>> too_early("CD")
    Right. There y, or a number before it, runs before another one that still owes it a gradient.
    >>> too_early("BCD")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: B is right: both products are found, and run, before y.
    """
    if unanswered(answer):
        return
    given = read_letters(answer, _RESULTS)
    wrong = {letter for letter, (result, _) in _RESULTS.items() if not _right_as_found(result)}
    for letter in _RESULTS:
        if letter in given - wrong:
            raise WrongAnswer(f"{letter} is right: {_RESULTS[letter][1]}.")
        if letter in wrong - given:
            raise WrongAnswer(f"{letter} is missing: {_RESULTS[letter][1]}.")
    print(
        "Right. There y, or a number before it, runs before another one that still owes it a "
        "gradient."
    )


_RESULTS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "A": (lambda y: y * y, "both gradients of y come from the same product"),
    "B": (lambda y: y * 5 + y * 7, "both products are found, and run, before y"),
    "C": (
        lambda y: y + y * 5,
        "the sum finds y and y * 5 at once, and y runs first, with the gradient of the sum alone",
    ),
    "D": (
        lambda y: y * 5 + (y * 7) * 3,
        "y is found through y * 5, and runs before y * 7, which is one step farther away",
    ),
}


def _right_as_found(expression: Callable[[Tensor], Tensor]) -> bool:
    """Whether torch's own nodes give the right gradient if each runs when it is found."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = torch.tensor(1.0, requires_grad=True)
        result = expression(leaf * 2)
        (right,) = torch.autograd.grad(result, leaf, retain_graph=True)
        first: Any = result.grad_fn
        order, arrived, at_leaf = [first], {first: torch.ones(())}, 0.0
        for node in order:
            incoming = arrived.pop(node)
            if not node.next_functions:
                at_leaf += incoming.item()
                continue
            outgoing = node(incoming)
            if isinstance(outgoing, Tensor):
                outgoing = (outgoing,)
            for (source, _), its in zip(node.next_functions, outgoing, strict=True):
                if source is None:
                    continue
                if source not in order:
                    order.append(source)
                # What comes after a node has run stays here, and is lost.
                arrived[source] = arrived.get(source, torch.zeros(())) + its
    return bool(at_leaf == right.item())


def new_operation(answer: object, tensor_class: Any = ...) -> None:
    """Check ``take(x, index)``: an operation for the engine of the page, with its rule.

    Args:
        answer: the function.
        tensor_class: the class `Tensor` of the engine.

    Raises:
        WrongAnswer: value or gradient are wrong; the message says how.
        TypeError: `answer` is not a function, or `tensor_class` not a class.
    """
    take = answer_function(answer, "(x, index)")
    if take is None:
        return
    if not isinstance(tensor_class, type):
        raise TypeError("give the class too: new_operation(take, Tensor)")
    make: Any = tensor_class
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    index = np.array([2, 0, 2])
    x = make(values.copy(), requires_grad=True)
    result: Any = take(x, index)
    if not isinstance(result, make):
        raise WrongAnswer(f"take must return a Tensor, not {type(result).__name__}.")
    if result.data.shape != (3, 2) or not np.array_equal(result.data, values[index]):
        raise WrongAnswer("The value is not x.data[index].")
    if not result.requires_grad or not result.inputs:
        raise WrongAnswer("The result remembers nothing: make it with record(...).")
    weights = np.array([[1.0, 10.0], [100.0, 1000.0], [0.5, 0.25]])
    overwritten, added = np.zeros_like(values), np.zeros_like(values)
    overwritten[index] = weights
    np.add.at(added, index, weights)
    for attempt in (1, 2):
        # Behind another operation, so that the gradient does not come as it was made.
        x = make(values.copy(), requires_grad=True)
        factor = make(np.array(float(attempt)))
        given = weights.copy()
        try:
            (take(x, index) * factor).backward(given)
        except (ValueError, TypeError, IndexError) as error:
            raise WrongAnswer(
                f"backward() fails: {type(error).__name__}: {error}. A rule returns a tuple with "
                "one gradient for each input, in the shape of that input."
            ) from error
        found = np.asarray(x.grad)
        if np.array_equal(found, attempt * overwritten):
            raise WrongAnswer(
                "An index that stands there twice gets the last gradient only: `outgoing[index] = "
                "g` writes. Each use adds: np.add.at(outgoing, index, g)."
            )
        if np.array_equal(found, attempt * (added > 0)):
            raise WrongAnswer("The rule leaves out the incoming gradient.")
        if not np.array_equal(found, attempt * added):
            raise WrongAnswer(
                "The gradient is wrong: number i of x gets the sum of the incoming gradients of "
                "all places at which index is i, and 0 if there is none."
            )
        if not np.array_equal(x.data, values):
            raise WrongAnswer("take changes the values of x: make a new array.")
    if take(make(values), index).requires_grad:
        raise WrongAnswer("Without requires_grad nothing is to be remembered: use record(...).")
    print("Right. Each use of a number adds its gradient, also where an index stands there twice.")
