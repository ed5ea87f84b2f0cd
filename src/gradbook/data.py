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


class Digits(NamedTuple):
    """Handwritten digits: images of shape (n, 1, 8, 8) and labels from 0 to 9 of shape (n,)."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def digits(
    *, test_fraction: float = 1 / 3, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Digits:
    """The 1797 digits that scikit-learn ships, in random order, a part of them held out.

    Each is 8 by 8 pixels, from 0 (white) to 1. They are the test part of "Optical Recognition of
    Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998). Nothing
    is downloaded, and torch's global generator is neither read nor moved.

    Args:
        test_fraction: the part held out, above 0 and below 1; at least one digit is in each part.
        seed: decides which are held out, and the order.
        dtype: a floating-point dtype for the images.

    Returns:
        `Digits(train_x, train_y, test_x, test_y)`; images of shape (n, 1, 8, 8), labels int64.

    Raises:
        TypeError: `dtype` is not a floating-point dtype.
        ValueError: `test_fraction` is out of range.
        ImportError: scikit-learn is not installed.

    >>> train_x, train_y, test_x, test_y = digits()
    >>> train_x.shape, test_x.shape, train_y[:5].dtype
    (torch.Size([1198, 1, 8, 8]), torch.Size([599, 1, 8, 8]), torch.int64)
    """
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype must be a floating-point torch.dtype, got {dtype!r}")
    if not 0 < test_fraction < 1:
        raise ValueError(
            f"test_fraction must be above 0 and below 1, got {test_fraction}: it is the part of "
            "the digits that is held out"
        )
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(
            'digits() needs scikit-learn, which ships them: pip install "gradbook[digits]"'
        ) from error
    images, labels = load_digits(return_X_y=True)
    x = (torch.from_numpy(images) / 16).to(dtype).reshape(-1, 1, 8, 8)
    y = torch.from_numpy(labels).to(torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held_out = min(max(round(len(x) * test_fraction), 1), len(x) - 1)
    test, train = order[:held_out], order[held_out:]
    return Digits(x[train], y[train], x[test], y[test])
