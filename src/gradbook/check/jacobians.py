"""Exercises of the page *Jacobians, by rows and by columns*."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gradbook.check.answers import Numbers, WrongAnswer, answer_function, judge_numbers
from gradbook.check.traces import leaves_no_trace

# Exercise 1: the size of the function.
INPUTS, RESULTS = 20, 500


def passes(answer: Numbers) -> None:
    """Check the passes for a Jacobian by rows, by columns, and for one gradient.

    Raises:
        WrongAnswer: not these three; the message says which direction was mistaken.
        TypeError: `answer` holds no numbers.

    >>> passes([500, 20, 1])
    Right. A row for each result, a column for each input, and a loss has one row.
    >>> passes([20, 500, 1])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: Rows and columns are swapped: a row belongs to ...
    """
    judge_numbers(
        answer,
        torch.tensor([RESULTS, INPUTS, 1]),
        right="A row for each result, a column for each input, and a loss has one row.",
        mistakes={
            "Rows and columns are swapped: a row belongs to a result, a column to an input.": (
                torch.tensor([INPUTS, RESULTS, 1])
            ),
            "The loss is one number, and its gradient is one row: it needs no Jacobian.": (
                torch.tensor([RESULTS, INPUTS, RESULTS])
            ),
            "The gradient has a number for each input, but they come in one row.": torch.tensor(
                [RESULTS, INPUTS, INPUTS]
            ),
            "A pass gives a row or a column, not a single entry.": torch.tensor(
                [INPUTS * RESULTS, INPUTS * RESULTS, 1]
            ),
            "The third number is missing: the gradient of the loss.": torch.tensor(
                [RESULTS, INPUTS]
            ),
            "You counted the forward evaluations too: passes alone are wanted.": torch.tensor(
                [RESULTS + 1, INPUTS + 2, 1]
            ),
        },
        counts=True,
    )


def one_column(answer: object) -> None:
    """Check ``column_of(f, x, j)``: a column of the Jacobian, in one forward-mode pass.

    Raises:
        WrongAnswer: it is another part of the Jacobian, or took more than one pass.
        TypeError: `answer` is not a function, or does not return numbers.

    >>> def column_of(f, x, j):
    ...     direction = torch.zeros_like(x)
    ...     direction[j] = 1
    ...     return torch.func.jvp(f, (x,), (direction,))[1]
    >>> one_column(column_of)
    Right. The speed of the results when one input moves.
    """
    function = answer_function(answer, "(f, x, j)")
    if function is None:
        return
    size = 30
    with torch.inference_mode(False), torch.enable_grad():
        weights = torch.arange(size**2, dtype=torch.float64).view(size, size).cos()

        def f(x: Tensor) -> Tensor:
            # As a matrix of one column, because the counter counts products of matrices.
            return (weights @ x[:, None].sin())[:, 0]

        x = torch.linspace(-1, 1, size, dtype=torch.float64)
        jacobian = weights * x.cos()
        for j in (1, size - 2):
            with (
                leaves_no_trace("column_of(f, x, j)", x=x),
                FlopCounterMode(display=False) as counter,
            ):
                found = function(f, x, j)
            _judge_column(found, jacobian, j, f(x))
            if counter.get_total_flops() > 6 * 2 * size**2:
                raise WrongAnswer(
                    "The column is right, but you built the whole Jacobian for it: give jvp a "
                    "direction in which one input moves."
                )
    print("Right. The speed of the results when one input moves.")


def gradient_norms(answer: object) -> None:
    """Check ``norms(model, x, y)``: the norm of the gradient of each sample.

    Raises:
        WrongAnswer: the norms are wrong, a loop made them, or a ``.grad`` is changed.
        TypeError: `answer` is not a function, or does not return numbers.

    >>> def norms(model, x, y):
    ...     def loss(weights, row, target):
    ...         return (torch.func.functional_call(model, weights, (row,)) - target).square().sum()
    ...     weights = {name: p.detach() for name, p in model.named_parameters()}
    ...     found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    ...     return sum(one.flatten(1).square().sum(1) for one in found.values()).sqrt()
    >>> gradient_norms(norms)
    Right. vmap keeps the gradients of the samples apart.
    """
    function = answer_function(answer, "(model, x, y)")
    if function is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        model = _Model()
        x = torch.linspace(-1, 1, 5 * 3, dtype=torch.float64).view(5, 3)
        y = torch.linspace(0, 3, 5, dtype=torch.float64)[:, None]
        rows = []
        for row, target in zip(x, y, strict=True):
            loss = ((model(row) - target) ** 2).sum()
            rows.append(torch.autograd.grad(loss, list(model.parameters())))
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 7.0)
        calls: list[object] = []
        counted = model.register_forward_hook(lambda *call: calls.append(call))
        try:
            with leaves_no_trace("norms(model, x, y)", model=model, x=x, y=y):
                found = function(model, x, y)
        finally:
            counted.remove()
    if len(calls) > 1:
        raise WrongAnswer(
            f"The model was called {len(calls)} times. vmap(grad(...)) calls it once, for all "
            "samples."
        )
    flat = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    whole = flat.sum(0)
    judge_numbers(
        found,
        flat.norm(dim=1),
        right="vmap keeps the gradients of the samples apart.",
        mistakes={
            "Those are the squares of the norms.": flat.square().sum(1),
            "You added the norms of the parameters: add their squares, then take the root.": (
                torch.stack([sum(part.norm() for part in row) for row in rows])
            ),
            "That is the norm of the gradient of the whole batch.": whole.norm(),
            "That is the norm of the mean gradient of the batch.": (whole / len(x)).norm(),
            "Those are the norms for the first parameter alone: all of them together are "
            "wanted.": torch.stack([row[0].norm() for row in rows]),
            "Those are the norms for the last parameter alone: all of them together are "
            "wanted.": torch.stack([row[-1].norm() for row in rows]),
        },
        tolerance=1e-6,
    )


def _judge_column(found: object, jacobian: Tensor, j: int, values: Tensor) -> None:
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Tensor):
        raise WrongAnswer("jvp gives the result and the column: return the second.")
    if not isinstance(found, Tensor):
        raise TypeError(f"column_of must return a tensor, got {type(found).__name__}")
    wanted = jacobian[:, j]
    if found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-11, atol=1e-12):
        return
    mistakes = {
        "That is the whole Jacobian; column j of it is wanted.": jacobian,
        "That is row j: vjp multiplies from the left. A column takes jvp.": jacobian[j],
        "That is the sum of all columns: the direction has to be zero but at j.": jacobian.sum(1),
        "That is the sum of all rows: a backward pass with ones.": jacobian.sum(0),
        "That is the value of f: jvp returns the value first, then the column.": values,
        "Columns are counted from zero.": jacobian[:, j - 1],
        "That is one entry: the whole column is wanted.": jacobian[j, j],
    }
    for message, value in mistakes.items():
        if found.shape == value.shape and torch.allclose(found, value):
            raise WrongAnswer(message)
    if found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-2, atol=1e-4):
        raise WrongAnswer("Nearly: finite differences are not exact. jvp is.")
    raise WrongAnswer(
        f"The numbers are wrong, or the shape: {tuple(found.shape)}; a column has one number for "
        "each result."
    )


class _Model(nn.Module):
    """One number for each row, with parameters that are not random."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3).cos())
        self.outer = nn.Parameter(torch.linspace(0.5, 2, 4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return ((x @ self.inner.T).tanh() * self.outer).sum(-1, keepdim=True)
