"""Exercises of the page *A custom Function with your own backward*."""

from types import EllipsisType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, gradcheck, gradgradcheck

from gradbook.check.answers import WrongAnswer, judge_word, unanswered
from gradbook.see.graph import graph

_OPTIONS = ("A", "B", "C", "D")


def report(answer: str | EllipsisType) -> None:
    """Check the letter of what a report of ``gradcheck`` shows.

    Raises:
        WrongAnswer: another letter; the message says what such a report would look like.
        TypeError: `answer` is not a string.

    >>> report("B")
    Right. Yours is the measured one, mirrored at the diagonal.
    >>> report("A")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: Two entries are equal: a factor would change all of them.
    """
    judge_word(
        answer,
        "B",
        right="Yours is the measured one, mirrored at the diagonal.",
        options=_OPTIONS,
        mistakes={
            "A": "Two entries are equal: a factor would change all of them.",
            "C": "No entry of yours is zero: a path that is cut off leaves zeros.",
            "D": "The difference is not one of the last digits, and the report says float64.",
        },
    )


def scale_gradient(answer: object) -> None:
    """Check a Function with ``apply(x, factor)`` that scales a gradient.

    Raises:
        WrongAnswer: a value or a gradient is wrong, or ``torch.func.grad`` raises.
        TypeError: `answer` is not a Function.

    >>> class Scale(Function):
    ...     @staticmethod
    ...     def forward(x, factor):
    ...         return x.view_as(x)
    ...     @staticmethod
    ...     def setup_context(ctx, inputs, output):
    ...         ctx.factor = inputs[1]
    ...     @staticmethod
    ...     def backward(ctx, gradient):
    ...         return ctx.factor * gradient, None
    >>> scale_gradient(Scale)
    Right. The values stay, and only this gradient is scaled.
    """
    apply = _apply(answer)
    if apply is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
        y = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        slopes = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
        result = apply(x, 3.0)
        if not isinstance(result, Tensor):
            raise WrongAnswer("forward must return a tensor.")
        if not torch.equal(result, x):
            raise WrongAnswer("forward must give the values of x: the factor is for the gradient.")
        try:
            of_x, of_y = torch.autograd.grad(((result + y) * slopes).sum(), [x, y])
        except RuntimeError as error:
            if "number of gradients" not in str(error):
                raise
            raise WrongAnswer(
                "backward returns a value for each argument: None for the factor."
            ) from error
        if not torch.equal(of_y, slopes):
            raise WrongAnswer(
                "Another tensor got the scaled gradient: you edited the one that came in place. "
                "Return a new one."
            )
        if torch.equal(of_x, slopes):
            raise WrongAnswer("The gradient is not scaled: backward returns factor * gradient.")
        if not torch.allclose(of_x, 3 * slopes):
            raise WrongAnswer(
                f"The gradient of {slopes.tolist()} with factor 3 came as {of_x.tolist()}."
            )
        try:
            found = torch.func.grad(lambda x: (apply(x, 3.0) * slopes).sum())(x.detach())
        except RuntimeError as error:
            if "setup_context" not in str(error):
                raise
            raise WrongAnswer(
                "Right, but torch.func.grad raises: write forward(x, factor) without ctx, and "
                "setup_context(ctx, inputs, output)."
            ) from error
        if not torch.allclose(found, 3 * slopes):
            raise WrongAnswer("torch.func.grad gives another gradient.")
    print("Right. The values stay, and only this gradient is scaled.")


def sigmoid(answer: object) -> None:
    """Check a Function for the sigmoid that saves its output, and nothing else.

    Raises:
        WrongAnswer: a value or a derivative is wrong, or something else is kept.
        TypeError: `answer` is not a Function.

    >>> class Sigmoid(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         s = torch.sigmoid(x)
    ...         ctx.save_for_backward(s)
    ...         return s
    ...     @staticmethod
    ...     def backward(ctx, gradient):
    ...         (s,) = ctx.saved_tensors
    ...         return gradient * s * (1 - s)
    >>> sigmoid(Sigmoid)
    Right. The result is enough, and it is there anyway.
    """
    apply = _apply(answer)
    if apply is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, requires_grad=True)
        result = apply(x)
        if not isinstance(result, Tensor) or not torch.allclose(result, torch.sigmoid(x)):
            raise WrongAnswer("The values are not those of torch.sigmoid.")
        if not gradcheck(apply, (x,), raise_exception=False):
            raise WrongAnswer(
                "The first derivative is wrong: it is s * (1 - s), times the gradient that comes "
                "in."
            )
        if not gradgradcheck(apply, (x,), raise_exception=False):
            raise WrongAnswer(
                "The second derivative is wrong: backward must be made of differentiable "
                "operations on the saved output; what forward computed on the way has no history."
            )
        (node, *_) = graph(apply(1 * x)).nodes
        if len(node.saved) > 1:
            raise WrongAnswer(f"It keeps {len(node.saved)} tensors; the output is enough.")
        first = 1 * x
        edited = apply(first)
        with torch.no_grad():
            first.mul_(2)
        try:
            torch.autograd.grad(edited.sum(), x)
        except RuntimeError as error:
            if "inplace operation" not in str(error):
                raise
            raise WrongAnswer("It saves the input: the output is enough.") from error
        second = apply(1 * x)
        second.detach().mul_(2)
        try:
            torch.autograd.grad(second.sum(), x)
        except RuntimeError as error:
            if "inplace operation" not in str(error):
                raise
        else:
            raise WrongAnswer(
                "An edit of the result in place goes unnoticed: save it with "
                "ctx.save_for_backward, not as an attribute of ctx, and save what you return."
            )
    print("Right. The result is enough, and it is there anyway.")


def _apply(answer: object) -> Any:
    """The ``apply`` of a Function, None if there is no answer yet."""
    if unanswered(answer):
        return None
    if not (isinstance(answer, type) and issubclass(answer, Function)):
        shown = answer.__name__ if isinstance(answer, type) else type(answer).__name__
        raise TypeError(
            f"expected your class, made from torch.autograd.Function, got {shown}: give its name, "
            "without apply"
        )
    return answer.apply
