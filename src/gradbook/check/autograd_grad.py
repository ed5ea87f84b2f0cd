"""Exercises of the page *Second derivatives with autograd.grad*."""

import torch
from torch import Tensor, nn

from gradbook.check.answers import Numbers, WrongAnswer, answer_function, judge_numbers
from gradbook.check.traces import leaves_no_trace

# Exercise 1: where the derivatives are wanted.
X, Y = 2, 1
# Exercise 2: how many numbers x has; with a Hessian that many passes more.
_SIZE = 40


def f(x: Tensor, y: Tensor) -> Tensor:
    """The function of exercise 1.

    >>> f(torch.tensor(2.0), torch.tensor(1.0))
    tensor(4.)
    """
    return x**2 * y**3


def second_derivatives(answer: Numbers) -> None:
    """Check the second derivatives of ``x**2 * y**3`` at x = 2, y = 1: xx, xy, yy.

    Raises:
        WrongAnswer: not these three; the message says what is wrong.
        TypeError: `answer` holds no numbers.

    >>> second_derivatives([2, 12, 24])
    Right. The mixed one is the same in either order.
    >>> second_derivatives([2, 24])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The mixed one is missing: differentiate that of x by y.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.tensor(float(X), dtype=torch.float64, requires_grad=True)
        y = torch.tensor(float(Y), dtype=torch.float64, requires_grad=True)
        of_x, of_y = torch.autograd.grad(f(x, y), [x, y], create_graph=True)
        xx, xy = torch.autograd.grad(of_x, [x, y], retain_graph=True)
        yy, mixed = torch.autograd.grad(of_y, [y, x])
    right = torch.stack([xx, xy, yy])
    judge_numbers(
        answer,
        right,
        right="The mixed one is the same in either order.",
        mistakes={
            "Those are the first derivatives: differentiate each of them again.": torch.stack(
                [of_x, of_y]
            ),
            "The mixed one is missing: differentiate that of x by y.": torch.stack([xx, yy]),
            "You added the two second derivatives of each variable: call grad with one of x and "
            "y at a time, or take both results.": torch.stack([xx + mixed, xy + yy]),
            "The order is xx, xy, yy.": right.flip(0),
            "You have the mixed one twice: three numbers are wanted.": torch.stack(
                [xx, xy, mixed, yy]
            ),
        },
    )


def curvature(answer: object) -> None:
    """Check ``curvature(f, x, v)``: the number v·Hv, without the matrix H.

    Raises:
        WrongAnswer: the number is wrong, it has no single element, a matrix was built, or
            ``x`` is changed.
        TypeError: `answer` is not a function, or does not return a number.

    >>> def curvature_of(f, x, v):
    ...     (gradient,) = torch.autograd.grad(f(x), x, create_graph=True)
    ...     return torch.autograd.grad(gradient @ v, x)[0] @ v
    >>> curvature(curvature_of)
    Right. Two passes, whatever the length of x.
    """
    function = answer_function(answer, "(f, x, v)")
    if function is None:
        return
    passes: list[Tensor] = []

    def quartic(x: Tensor) -> Tensor:
        inside = 1 * x
        inside.register_hook(passes.append)  # type: ignore[no-untyped-call] # torch has no types
        return (weights * inside**4).sum() + (inside[1:] * inside[:-1]).sum()

    with torch.inference_mode(False), torch.enable_grad():
        weights = torch.linspace(0.5, 1.5, _SIZE, dtype=torch.float64)
        x = torch.linspace(-1, 1, _SIZE, dtype=torch.float64, requires_grad=True)
        v = torch.linspace(0.2, 1, _SIZE, dtype=torch.float64)
        diagonal = 12 * weights * x.detach() ** 2
        beside = torch.ones(_SIZE - 1, dtype=torch.float64)
        hessian = torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1)
        slope = 4 * weights * x.detach() ** 3
        slope[1:] += x.detach()[:-1]
        slope[:-1] += x.detach()[1:]
        try:
            with leaves_no_trace("curvature(f, x, v)", x=x, v=v):
                found = function(quartic, x, v)
        except RuntimeError as error:
            if "does not require grad" not in str(error):
                raise
            raise WrongAnswer(
                "The gradient has no graph, so it cannot be differentiated: create_graph=True."
            ) from error
    if len(passes) >= _SIZE:
        raise WrongAnswer(
            f"It took {len(passes)} passes for {_SIZE} numbers: you built the matrix. The product "
            "of the gradient with v is one number; differentiate that."
        )
    judge_numbers(
        found,
        v @ hessian @ v,
        right="Two passes, whatever the length of x.",
        mistakes={
            "That is H v, a vector: its product with v is wanted.": hessian @ v,
            "That is the slope along v, a first derivative: differentiate it once more.": (
                slope @ v
            ),
            "v comes in twice: in the number that you differentiate, and in the product with "
            "the result.": (hessian @ v).sum(),
        },
        tolerance=1e-6,
    )


def gradient_penalty(answer: object) -> None:
    """Check ``penalty_of(critic, x)``: the mean squared norm of the gradient of each row.

    Raises:
        WrongAnswer: the value is wrong, it does not train the critic, or something is changed.
        TypeError: `answer` is not a function, or does not return a tensor.

    >>> def penalty_of(critic, x):
    ...     x = x.detach().requires_grad_()
    ...     (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    ...     return gradient.square().sum(1).mean()
    >>> gradient_penalty(penalty_of)
    Right. The gradient has a graph, so its norm trains the weights.
    """
    function = answer_function(answer, "(critic, x)")
    if function is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        critic = _Critic()
        x = torch.linspace(-1, 1, 4 * 3, dtype=torch.float64).view(4, 3)
        for parameter in critic.parameters():
            parameter.grad = torch.full_like(parameter, 7.0)
        try:
            with leaves_no_trace("penalty_of(critic, x)", critic=critic, x=x):
                found = function(critic, x)
        except RuntimeError as error:
            if "does not require grad" in str(error):
                raise WrongAnswer(
                    "x requires no gradient: differentiate by a copy that does, "
                    "x.detach().requires_grad_()."
                ) from error
            if "scalar outputs" in str(error):
                raise WrongAnswer(
                    "critic(x) has several numbers. Each row has an influence on its own output "
                    "only, so the gradient of their sum is right for each."
                ) from error
            raise
        if not isinstance(found, Tensor):
            raise TypeError(f"penalty_of must return a tensor, got {type(found).__name__}")
        rows = critic.slope(x)
        wanted = rows.square().sum(1).mean()
        norm = rows.norm(dim=1)
        _judge_value(
            found,
            wanted,
            {
                "That is the mean over all numbers: add the squares of a row first.": (
                    rows.square().mean()
                ),
                "That is the mean norm; the mean of the squared norms is wanted.": norm.mean(),
                "That is the sum over the rows, or the squared norm of the whole batch: take the "
                "mean over the rows.": rows.square().sum(),
                "You differentiated the mean of critic(x), so each gradient is too small: take "
                "the sum.": wanted / len(x) ** 2,
                "That pulls the norm to 1, as on the page; here the squared norm itself is "
                "wanted.": ((norm - 1) ** 2).mean(),
            },
        )
        if not found.requires_grad:
            raise WrongAnswer(
                "The value is right, and trains nothing: the gradient needs create_graph=True, "
                "and no detach or no_grad after it."
            )
        weights = list(critic.parameters())
        got = torch.autograd.grad(found, weights, materialize_grads=True)
        true = torch.autograd.grad(wanted, weights, materialize_grads=True)
    if not all(torch.allclose(a, b) for a, b in zip(got, true, strict=True)):
        raise WrongAnswer(
            "The value is right, but its gradient with respect to the weights is not: is a part "
            "of it cut off, by detach() or .item()?"
        )
    print("Right. The gradient has a graph, so its norm trains the weights.")


def _judge_value(found: Tensor, wanted: Tensor, mistakes: dict[str, Tensor]) -> None:
    if found.shape != ():
        raise WrongAnswer(f"One number is wanted, yours has shape {tuple(found.shape)}.")
    if torch.allclose(found, wanted):
        return
    for message, value in mistakes.items():
        if torch.allclose(found, value):
            raise WrongAnswer(message)
    raise WrongAnswer("The value is wrong: the mean over the rows of the squared norm of each.")


class _Critic(nn.Module):
    """One number for each row, with a slope that is known; random numbers are not touched."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Parameter(torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3).cos())
        self.outer = nn.Parameter(torch.linspace(0.5, 2, 5, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.inner.T).tanh() @ self.outer[:, None]

    def slope(self, x: Tensor) -> Tensor:
        """The gradient of each output with respect to its row, by the formula."""
        return (self.outer * (1 - (x @ self.inner.T).tanh() ** 2)) @ self.inner
