"""Exercises of the page *requires_grad*."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gradbook.check.answers import WrongAnswer, answer_function, judge_flags, judge_numbers
from gradbook.check.traces import leaves_no_trace


def asking(answer: object) -> None:
    """Check which of the tensors a to f of exercise 1 have ``requires_grad`` True.

    Takes True and False, yes and no, 1 and 0, in a list, a tensor or an array.

    Raises:
        WrongAnswer: one is wrong, or the count; the message says which one and why.
        TypeError: `answer` is not a list of True and False.

    >>> asking([True, False, True, False, False, True])
    Right. One input suffices for c, and a Parameter asks by default.
    >>> asking(["yes", "no", "no", "no", "no", "yes"])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: c is wrong: one input that requires a gradient suffices.
    """
    judge_flags(
        answer,
        {name: tensor.requires_grad for name, tensor in _six().items()},
        right="One input suffices for c, and a Parameter asks by default.",
        reasons={
            "a": "it was made with requires_grad=True",
            "b": "the default is False",
            "c": "one input that requires a gradient suffices",
            "d": "nothing in it requires a gradient",
            "e": "a comparison has no derivative, so nothing is recorded",
            "f": "a Parameter requires a gradient by default",
        },
    )


def leaves(answer: object) -> None:
    """Check which of the tensors a to f of exercise 1 are leaves.

    Takes True and False, yes and no, 1 and 0, in a list, a tensor or an array.

    Raises:
        WrongAnswer: one is wrong, or the count; the message says which one and why.
        TypeError: `answer` is not a list of True and False.

    >>> leaves([True, True, False, True, True, True])
    Right. Only c was made by a recorded operation.
    >>> leaves([1, 1, 0, 0, 1, 1])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: d is wrong: it is a result, but not a recorded one.
    """
    judge_flags(
        answer,
        {name: tensor.is_leaf for name, tensor in _six().items()},
        right="Only c was made by a recorded operation.",
        reasons={
            "a": "no operation made it",
            "b": "every tensor with requires_grad=False is a leaf",
            "c": "a recorded addition made it",
            "d": "it is a result, but not a recorded one",
            "e": "it is a result, but not a recorded one",
            "f": "nn.Parameter makes a new tensor, outside of the record of c",
        },
    )


def leaf_from_list(answer: object) -> None:
    """Check ``start(values)``: a leaf that requires grad, a tenth of the values in float64.

    Raises:
        WrongAnswer: it returns something else; the message says what is wrong.
        TypeError: `answer` is not a function.

    >>> leaf_from_list(lambda v: (torch.tensor(v, dtype=torch.float64) / 10).requires_grad_())
    Right. It computes first and asks last.
    >>> leaf_from_list(lambda v: torch.tensor(v, dtype=torch.float64, requires_grad=True) / 10)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: start(values) returns a non-leaf: ask after the division.
    """
    start = answer_function(answer, "(values)")
    if start is None:
        return
    values = [1.0, 0.1, -2.5]
    with torch.enable_grad(), leaves_no_trace("start(values)"):
        result = start(list(values))
    if not isinstance(result, Tensor):
        raise WrongAnswer(f"start(values) returns {type(result).__name__}, not a tensor.")
    if not result.requires_grad:
        raise WrongAnswer("start(values) returns a tensor that does not require a gradient.")
    if not result.is_leaf:
        if result.retains_grad:
            raise WrongAnswer("retain_grad() keeps the gradient, but the tensor is a non-leaf.")
        raise WrongAnswer("start(values) returns a non-leaf: ask after the division.")
    if result.dtype != torch.float64:
        raise WrongAnswer(f"start(values) returns {result.dtype}, not torch.float64.")
    expected = torch.tensor(values, dtype=torch.float64) / 10
    given = result.detach()
    if (
        given.shape == expected.shape
        and torch.allclose(given, expected, rtol=1e-6, atol=0)
        and not torch.allclose(given, expected, rtol=1e-12, atol=0)
    ):
        raise WrongAnswer(
            "The numbers were rounded to float32 on the way: give dtype= where the list "
            "becomes a tensor."
        )
    judge_numbers(
        given,
        expected,
        right="It computes first and asks last.",
        mistakes={"The division by 10 is missing.": 10 * expected},
        tolerance=1e-12,
    )


def trained_parameters(answer: object) -> None:
    """Check ``trained(module)``: the list of the parameters that require a gradient.

    Raises:
        WrongAnswer: it returns something else; the message says what is wrong.
        TypeError: `answer` is not a function.

    >>> trained_parameters(lambda module: [p for p in module.parameters() if p.requires_grad])
    Right. The frozen ones are left out, in inner modules too.
    >>> trained_parameters(lambda module: list(module.parameters()))
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: '0.weight' is frozen: it does not require a gradient.
    """
    trained = answer_function(answer, "(module)")
    if trained is None:
        return
    with torch.random.fork_rng(devices=[]):  # the layers draw their first weights
        module = nn.Sequential(
            nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), nn.Linear(3, 1)
        )
    module[0].requires_grad_(False)
    module.get_parameter("1.0.bias").requires_grad_(False)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    expected = {name for name, parameter in module.named_parameters() if parameter.requires_grad}

    with leaves_no_trace("trained(module)", module=module):
        result = trained(module)
    if not isinstance(result, Iterable) or isinstance(result, (Tensor, str)):
        raise WrongAnswer(f"trained(module) returns {type(result).__name__}, not a list.")
    given = list(result)
    for one in given:
        if id(one) not in names:
            raise WrongAnswer(
                f"The list holds {type(one).__name__}, not only parameters of the module: "
                "take them from module.parameters()."
            )
    found = [names[id(one)] for one in given]
    if not found:
        raise WrongAnswer(
            "The list is empty. Do not ask for .grad: before backward() it is None everywhere."
        )
    for name in found:
        if name not in expected:
            raise WrongAnswer(f"{name!r} is frozen: it does not require a gradient.")
    for name in names.values():
        if name in expected and name not in found:
            raise WrongAnswer(f"{name!r} is missing: it requires a gradient.")
    if len(found) > len(expected):
        raise WrongAnswer("A parameter is in the list twice.")
    print("Right. The frozen ones are left out, in inner modules too.")


def _six() -> dict[str, Tensor]:
    """The tensors of exercise 1."""
    with torch.enable_grad():
        a = torch.ones(3, requires_grad=True)
        b = torch.ones(3)
        c = a + b
        return {"a": a, "b": b, "c": c, "d": b * 2, "e": a > 0, "f": nn.Parameter(c)}
