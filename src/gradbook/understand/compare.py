"""Hold the gradients of autograd against central differences, element by element."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientEntry:
    """One element of one input: what autograd says, and what the differences say.

    Attributes:
        input: position of the input in the call, from 0.
        index: position of the element in that input.
        autograd: the derivative that autograd computed.
        numeric: the central difference ``(f(x + eps) - f(x - eps)) / (2 * eps)``.
        left: the one-sided slope ``(f(x) - f(x - eps)) / eps``.
        right: the one-sided slope ``(f(x + eps) - f(x)) / eps``.
        error: ``|autograd - numeric|`` over the larger of 1 and the two magnitudes.
        kink: the one-sided slopes differ and stay apart as the step shrinks: f has no
            derivative here.
    """

    input: int
    index: tuple[int, ...]
    autograd: float
    numeric: float
    left: float
    right: float
    error: float
    kink: bool

    def __str__(self) -> str:
        """One line for a terminal."""
        place = f"input {self.input}{list(self.index) if self.index else ''}"
        text = (
            f"{place}: autograd {self.autograd:.6g}, differences {self.numeric:.6g}, "
            f"error {self.error:.1e}"
        )
        if self.kink:
            text += f"; a kink: slope {self.left:.6g} on the left, {self.right:.6g} on the right"
        return text


@dataclass(frozen=True)
class GradientReport:
    """The comparison of all elements, worst first; true when all agree.

    Attributes:
        entries: one `GradientEntry` an element, largest error first.
        tolerance: the largest error that counts as agreement.
        advice: what to change so that the comparison says more; empty if nothing.
    """

    entries: tuple[GradientEntry, ...]
    tolerance: float
    advice: tuple[str, ...]

    @property
    def worst(self) -> GradientEntry:
        """The element with the largest error."""
        return self.entries[0]

    @property
    def kinks(self) -> tuple[GradientEntry, ...]:
        """The elements at which f has no derivative."""
        return tuple(entry for entry in self.entries if entry.kink)

    @property
    def ok(self) -> bool:
        """Whether every element agrees within the tolerance."""
        return all(entry.error <= self.tolerance for entry in self.entries)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        """A short text for a terminal: the verdict, the worst elements, the advice."""
        count = len(self.entries)
        verdict = "agree" if self.ok else "DISAGREE"
        lines = [
            f"autograd and central differences {verdict} on {count} element"
            f"{'s' if count != 1 else ''} (tolerance {self.tolerance:.0e})"
        ]
        shown = self.entries[:_SHOWN]
        shown += tuple(entry for entry in self.kinks[:_SHOWN] if entry not in shown)
        lines += [f"  {entry}" for entry in shown]
        if count > len(shown):
            lines.append(f"  and {count - len(shown)} more with an error no larger")
        lines += [f"  advice: {text}" for text in self.advice]
        return "\n".join(lines)

    __repr__ = __str__


_SHOWN = 3

# Step and tolerance by dtype. The step is near the cube root of the machine epsilon, where
# rounding and truncation of a central difference balance (Press et al., Numerical Recipes, 5.7).
_DEFAULTS = {torch.float64: (1e-6, 1e-6), torch.float32: (5e-3, 1e-3)}


def compare_gradients(
    f: Callable[..., Tensor],
    *inputs: Tensor,
    eps: float | None = None,
    tolerance: float | None = None,
) -> GradientReport:
    """Compare the gradient of `f` by autograd with central differences.

    Every element of every input is moved by `eps` to both sides, so `f` is called about
    four times an element: meant for small inputs. The inputs are copied; neither their values
    nor their ``.grad`` change.

    Args:
        f: takes as many tensors as there are `inputs`, returns one real number (a tensor with
            one element), and always the same one for the same inputs.
        *inputs: float64 (advised) or float32 tensors of any shape.
        eps: the step; by default 1e-6 for float64, 5e-3 for float32.
        tolerance: the largest error that counts as agreement; by default 1e-6 for float64,
            1e-3 for float32.

    Raises:
        TypeError: an input is not a float32 or float64 tensor, `f` is not callable or returns
            something other than a real tensor.
        ValueError: no input, an input with no element, `f` returns more than one number or
            different numbers for the same inputs, or `eps` or `tolerance` is not positive.

    >>> x = torch.tensor([1.0, -2.0], dtype=torch.float64)
    >>> print(compare_gradients(lambda x: (x**3).sum(), x))
    autograd and central differences agree on 2 elements (tolerance 1e-06)
      input 0[...]: autograd ...
      input 0[...]: autograd ...
    >>> report = compare_gradients(lambda x: x.abs().sum(), 0 * x)
    >>> report.worst.kink, report.worst.left, report.worst.right
    (True, -1.0, 1.0)
    """
    if not callable(f):
        raise TypeError(f"f must be a function of tensors, got {type(f).__name__}")
    dtype = _check_inputs(inputs)
    eps = _positive("eps", eps, _DEFAULTS[dtype][0])
    tolerance = _positive("tolerance", tolerance, _DEFAULTS[dtype][1])

    # Both modes are set here so that the caller's no_grad or inference_mode changes nothing.
    with torch.inference_mode(False), torch.enable_grad():
        points = [value.detach().clone().requires_grad_() for value in inputs]
        loss = _scalar(f(*points))
        if loss.requires_grad:
            found = torch.autograd.grad(loss, points, allow_unused=True, materialize_grads=True)
        else:
            found = tuple(torch.zeros_like(point) for point in points)
    here = loss.item()

    entries: list[GradientEntry] = []
    with torch.inference_mode(False), torch.no_grad():
        moved = [point.detach().clone() for point in points]

        def value() -> float:
            # Fresh copies: an f that edits its input must not move the point. With grad mode: an f
            # may itself ask for a gradient, as a gradient penalty does.
            with torch.enable_grad():
                return _scalar(f(*(tensor.clone() for tensor in moved))).item()

        again = value()
        if again != here and not (math.isnan(again) and math.isnan(here)):
            raise ValueError(
                f"f gave {here:g} and then {again:g} for the same inputs: differences need a "
                "function without randomness (call eval() on the module, or seed inside f)"
            )
        for position, (tensor, gradient) in enumerate(zip(moved, found, strict=True)):
            entries += [
                _entry(position, index, tensor, gradient[index].item(), here, eps, value)
                for index in _indices(tensor)
            ]

    entries.sort(key=lambda entry: (-_rank(entry.error), entry.input, entry.index))
    return GradientReport(tuple(entries), tolerance, _advice(dtype, loss, entries, tolerance))


def _check_inputs(inputs: tuple[Tensor, ...]) -> torch.dtype:
    if not inputs:
        raise ValueError("give at least one input: compare_gradients(f, x)")
    for position, value in enumerate(inputs):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"input {position} must be a tensor, got {type(value).__name__}: "
                "wrap it in torch.tensor(..., dtype=torch.float64)"
            )
        if value.dtype not in _DEFAULTS:
            cure = (
                "compare the real and imaginary parts (torch.view_as_real)"
                if value.is_complex()
                else "call .double() on it"
            )
            raise TypeError(
                f"input {position} must be float64 or float32, got {value.dtype}: {cure}"
            )
        if value.numel() == 0:
            raise ValueError(f"input {position} has no element (shape {tuple(value.shape)})")
    return torch.float32 if any(value.dtype == torch.float32 for value in inputs) else torch.float64


def _positive(name: str, given: float | None, default: float) -> float:
    if given is None:
        return default
    if not given > 0:
        raise ValueError(f"{name} must be positive, got {given}")
    return float(given)


def _scalar(result: Tensor) -> Tensor:
    if not isinstance(result, Tensor):
        raise TypeError(
            f"f must return a tensor with one element, got {type(result).__name__}: "
            "stay in torch (no .item(), no float())"
        )
    if result.numel() != 1:
        raise ValueError(
            f"f must return one number, got a tensor of shape {tuple(result.shape)}: "
            "add .sum() or .mean(), or compare one element at a time"
        )
    if result.is_complex():
        raise TypeError(f"f must return a real number, got {result.dtype}: take .real or .abs()")
    return result.reshape(())


def _indices(tensor: Tensor) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.ones(tensor.shape).nonzero().tolist()]


def _entry(
    position: int,
    index: tuple[int, ...],
    tensor: Tensor,
    autograd: float,
    here: float,
    eps: float,
    value: Callable[[], float],
) -> GradientEntry:
    origin = tensor[index].item()

    def slopes(step: float) -> tuple[float, float, float]:
        tensor[index] = origin + step
        up, above = value(), tensor[index].item()
        tensor[index] = origin - step
        down, below = value(), tensor[index].item()
        tensor[index] = origin
        # Divide by the step that was really made: origin + step is rounded to the dtype.
        width = above - below
        if width == 0:
            return float("nan"), float("nan"), float("nan")
        return (
            (up - down) / width,
            (here - down) / (origin - below) if origin != below else float("nan"),
            (up - here) / (above - origin) if above != origin else float("nan"),
        )

    numeric, left, right = slopes(eps)
    error = abs(autograd - numeric) / max(1.0, abs(autograd), abs(numeric))
    kink = False
    gap = abs(right - left)
    if gap > _KINK * max(1.0, abs(left), abs(right)):
        # Curvature shrinks the gap with the step; a kink keeps it.
        _, wide_left, wide_right = slopes(10 * eps)
        kink = gap > abs(wide_right - wide_left) / 3
    return GradientEntry(position, index, autograd, numeric, left, right, error, kink)


_KINK = 1e-2


def _rank(error: float) -> float:
    return math.inf if math.isnan(error) else error


def _advice(
    dtype: torch.dtype, loss: Tensor, entries: list[GradientEntry], tolerance: float
) -> tuple[str, ...]:
    advice = []
    if dtype == torch.float32:
        advice.append("inputs are float32: call .double() on them for a sharper comparison")
    if not loss.requires_grad:
        advice.append(
            "the result of f has no graph, so autograd sees only zeros: "
            "look for detach(), no_grad() or .data inside f"
        )
    if any(entry.kink for entry in entries):
        advice.append(
            "f has a kink here: no derivative exists, and autograd returns a value by convention"
        )
    if any(math.isnan(entry.error) for entry in entries):
        advice.append("some values are nan: f or its gradient is not finite near this point")
    elif dtype == torch.float64 and any(
        entry.error > tolerance and not entry.kink for entry in entries
    ):
        advice.append(
            "if the disagreement is small, try another eps; else the backward of f is wrong"
        )
    return tuple(advice)
