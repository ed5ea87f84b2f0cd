"""Tests of `gradbook.see.values`."""

import math

import pytest
import torch

from gradbook.see.values import SMALL, format_numbers, number_text, value_of


def test_a_small_tensor_is_kept_whole():
    """Its numbers are those of the tensor, nested as its shape."""
    value = value_of(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert value.numbers == [[1.0, 2.0], [3.0, 4.0]]
    assert (value.shape, value.dtype) == ((2, 2), "float32")
    assert (value.min, value.max) == (1, 4)
    assert value.norm == pytest.approx(math.sqrt(30))


def test_a_large_tensor_is_summarised():
    """One element more than small."""
    value = value_of(torch.arange(SMALL + 1.0))
    assert value.numbers is None
    assert str(value) == f"float32 ({SMALL + 1},), norm 70, from 0 to 24"


def test_the_norm_does_not_overflow():
    """It is taken in float64."""
    assert value_of(torch.full((2,), 6e4, dtype=torch.float16)).norm == pytest.approx(
        84853, rel=1e-3
    )


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.tensor(2.0), "2"),
        (torch.tensor([1 / 3]), "[0.3333]"),
        (torch.tensor(True), "1"),
        (torch.tensor([1 - 2j]), "[1 - 2i]"),
        (torch.ones(0), "[]"),
        (torch.eye(2).to_sparse(), "[[1, 0], [0, 1]]"),
        (torch.eye(30).to_sparse(), "float32 (30, 30), norm 5.477, from 1 to 1"),
        (torch.ones(3, device="meta"), "float32 (3,)"),
        (torch.tensor([math.nan, math.inf]), "[nan, inf]"),
    ],
)
def test_every_kind_of_tensor_has_a_text(tensor, text):
    """Sparse, complex, empty, boolean, without data."""
    assert str(value_of(tensor)) == text


def test_the_tensor_is_left_alone():
    """Reading a tensor that requires grad records nothing."""
    x = torch.ones(3, requires_grad=True)
    value_of(x * 2)
    assert x.grad_fn is None


def test_numbers_have_four_digits():
    """And no trailing zeros."""
    assert [number_text(n) for n in (1.0, 0.1 + 0.2, 123456.0, -2.5)] == [
        "1",
        "0.3",
        "1.235e+05",
        "-2.5",
    ]
    assert format_numbers([]) == "[]"
