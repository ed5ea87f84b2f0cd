"""One call that makes a run repeatable."""

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the random generators of Python, NumPy and torch (every device).

    Args:
        seed: an integer from 0 to 2**32 - 1, the range that NumPy accepts.

    Raises:
        TypeError: `seed` is not an integer.
        ValueError: `seed` is out of range.

    >>> seed_everything(0)
    >>> first = torch.randn(3)
    >>> seed_everything(0)
    >>> torch.equal(first, torch.randn(3))
    True
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed must be an integer, got {type(seed).__name__}: {seed!r}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be from 0 to 2**32 - 1, got {seed}: NumPy takes no other")
    random.seed(int(seed))
    np.random.seed(int(seed))
    torch.manual_seed(int(seed))
