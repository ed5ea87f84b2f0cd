"""Tests of `gradbook.seed_everything`."""

import random

import numpy as np
import pytest
import torch

from gradbook import seed_everything


def draw() -> tuple[float, float, float]:
    """One number from each generator."""
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_the_same_seed_gives_the_same_numbers():
    """Python, NumPy and torch all repeat after the same seed."""
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first


def test_another_seed_gives_other_numbers():
    """All three generators depend on the seed."""
    seed_everything(3)
    first = draw()
    seed_everything(4)
    assert all(a != b for a, b in zip(first, draw(), strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    """NumPy takes 0 to 2**32 - 1 only; the message says so."""
    with pytest.raises(ValueError, match=r"from 0 to 2\*\*32 - 1"):
        seed_everything(seed)


@pytest.mark.parametrize("seed", [1.0, "1", None, True])
def test_a_seed_that_is_no_integer_is_refused(seed):
    """A float or a string would seed the generators differently, or not at all."""
    with pytest.raises(TypeError, match="must be an integer"):
        seed_everything(seed)


def test_a_refused_seed_changes_nothing():
    """The generators stand where they stood before a bad call."""
    seed_everything(3)
    first = draw()
    seed_everything(3)
    with pytest.raises(ValueError, match="seed"):
        seed_everything(-1)
    assert draw() == first
