"""Small data sets that are made on the spot: nothing is downloaded."""

from typing import NamedTuple

import torch
from torch import Tensor


class Line(NamedTuple):
    """Points along a line: ``x`` and ``y``, each of shape (n, 1)."""

    x: Tensor
    y: Tensor


def line(
    n: int = 100,
    *,
    slope: float = 2.0,
    intercept: float = 0.0,
    noise: float = 0.1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Line:
    """Points of ``y = slope * x + intercept`` with normal noise; x is uniform in [-1, 1).

    The points depend on `seed` alone: torch's global generator is neither read nor moved.

    Args:
        n: number of points, at least 1.
        slope: the w of the line.
        intercept: the b of the line.
        noise: standard deviation of what is added to y; 0 puts every point on the line.
        seed: of a generator that only this call uses.
        dtype: a floating-point dtype for x and y.

    Returns:
        `Line(x, y)`, both of shape (n, 1), without a gradient.

    Raises:
        TypeError: `n` is not an integer, or `dtype` is not a floating-point dtype.
        ValueError: `n` is below 1, or `noise` is negative.

    >>> x, y = line(4, slope=3.0, noise=0.0)
    >>> x.shape, torch.equal(y, 3 * x)
    (torch.Size([4, 1]), True)
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n must be an integer, got {type(n).__name__}: it is the number of points")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}: it is the number of points")
    if not noise >= 0:
        raise ValueError(
            f"noise must be 0 or more, got {noise}: it is the standard deviation of what is added"
        )
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype must be a floating-point torch.dtype, got {dtype!r}")
    generator = torch.Generator().manual_seed(seed)
    # Drawn in float64 and rounded once, so that every dtype holds the same points.
    x = torch.rand(n, 1, generator=generator, dtype=torch.float64) * 2 - 1
    y = slope * x + intercept + noise * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    return Line(x.to(dtype), y.to(dtype))
