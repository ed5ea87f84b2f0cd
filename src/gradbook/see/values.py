"""Gradients as plain numbers: small ones whole, large ones summarised."""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

SMALL = 24
"""A tensor with at most so many elements is kept whole."""


@dataclass(frozen=True, slots=True)
class Value:
    """The numbers of a tensor at one moment; no tensor is kept.

    Attributes:
        shape: its shape; None where there is no such thing, as for a nested tensor.
        dtype: its dtype, as ``"float32"``.
        numbers: its elements, nested as its shape, if it is small (at most 24); else None.
        norm: the Euclidean norm over all elements; None if it has no numbers to take it of.
        min: the smallest element; None for complex and empty tensors.
        max: the largest element.
    """

    shape: tuple[int, ...] | None
    dtype: str
    numbers: Any
    norm: float | None
    min: float | None
    max: float | None

    def __str__(self) -> str:
        """The numbers with four digits, or the summary."""
        if self.numbers is not None:
            return format_numbers(self.numbers)
        parts = [f"{self.dtype} {shape_text(self.shape)}"]
        if self.norm is not None:
            parts.append(f"norm {number_text(self.norm)}")
        if self.min is not None and self.max is not None:
            parts.append(f"from {number_text(self.min)} to {number_text(self.max)}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Operand:
    """What an operation was computed from: one of its inputs, or a constant.

    Attributes:
        name: how the program writes it, ``"y"`` or ``"x + 2"``; None if that was not recorded.
        value: its numbers, where they are known.
    """

    name: str | None
    value: Value | None


def value_of(tensor: Tensor) -> Value:
    """Read a tensor of any kind; nothing is kept of it.

    >>> print(value_of(torch.tensor([1.0, 2 / 3])))
    [1, 0.6667]
    >>> print(value_of(torch.ones(10, 10)))
    float32 (10, 10), norm 10, from 1 to 1
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    shape, whole, norm, low, high = None, None, None, None, None
    # Whatever cannot be read (meta, wrappers) is left out: a value is read during a backward pass.
    with torch.no_grad(), suppress(Exception):
        plain = tensor.detach()
        if plain.is_nested:
            plain = torch.cat([part.flatten() for part in plain.unbind()])
        else:
            shape = tuple(int(size) for size in tensor.shape)
            small = math.prod(shape) <= SMALL
            if plain.layout is not torch.strided:
                # What a sparse gradient does not store is zero.
                if small:
                    plain = plain.to_dense()
                elif plain.layout is torch.sparse_coo:
                    plain = plain.coalesce().values()
            whole = plain.tolist() if small else None
        if plain.numel():
            norm = _norm(plain)
            if not plain.is_complex():
                low, high = map(float, torch.aminmax(plain))
    return Value(shape, dtype, whole, norm, low, high)


Glance = Value | np.ndarray[Any, Any]
"""The numbers of a tensor, taken down in passing: `settled` makes a `Value` of them."""
_COPIED = 256  # elements; to copy so many takes less time than to look at them
_PLAIN = (Tensor, torch.nn.Parameter)


def glance(tensor: Tensor) -> Glance:
    """What `value_of` reads, in much less time for a tensor that is not large; nothing is kept.

    >>> settled(glance(torch.ones(3))) == value_of(torch.ones(3))
    True
    """
    if type(tensor) in _PLAIN:
        with suppress(Exception):  # what has no plain numbers is read with more care
            if tensor.numel() <= _COPIED:
                plain = tensor.detach() if tensor.requires_grad else tensor
                return plain.numpy().copy()
    return value_of(tensor)


def settled(one: Any) -> Any:
    """The `Value` of what was glanced at; anything else as it is."""
    return value_of(torch.from_numpy(one)) if isinstance(one, np.ndarray) else one


def small_value(tensor: Tensor) -> Value | None:
    """What `value_of` reads of a small tensor, in less time; None for any other.

    >>> print(small_value(torch.tensor([3.0, 4.0])), small_value(torch.ones(100)))
    [3, 4] None
    """
    try:
        if tensor.numel() > SMALL or tensor.layout is not torch.strided:
            return None
        numbers = tensor.tolist()
    except (RuntimeError, NotImplementedError):  # on the meta device, inside of vmap
        return None
    flat = [*flattened(numbers)]
    if not flat or isinstance(flat[0], complex):
        return value_of(tensor)
    dtype = str(tensor.dtype).removeprefix("torch.")
    low, high = float(min(flat)), float(max(flat))
    if any(map(math.isnan, flat)):
        low = high = math.nan
    return Value(tuple(tensor.shape), dtype, numbers, math.hypot(*flat), low, high)


def flattened(numbers: Any) -> Iterator[Any]:
    """The numbers in nested lists, in order."""
    if isinstance(numbers, (list, tuple)):
        for one in numbers:
            yield from flattened(one)
    else:
        yield numbers


def _norm(tensor: Tensor) -> float:
    """The Euclidean norm, in a precision in which it does not overflow."""
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    if not (tensor.is_floating_point() or tensor.is_complex()):
        tensor = tensor.to(wide)
    return float(torch.linalg.vector_norm(tensor, dtype=wide))


def number_text(number: complex | float) -> str:
    """Four significant digits, without a trailing ``.0``.

    >>> number_text(2.0), number_text(2 / 3), number_text(1e-9)
    ('2', '0.6667', '1e-09')
    """
    if isinstance(number, complex):
        sign = "-" if number.imag < 0 or str(number.imag).startswith("-") else "+"
        return f"{number_text(number.real)} {sign} {number_text(abs(number.imag))}i"
    return f"{number:.4g}"


def format_numbers(numbers: Any) -> str:
    """Nested lists of numbers as text.

    >>> format_numbers([[1.0, 0.5]])
    '[[1, 0.5]]'
    """
    if isinstance(numbers, (list, tuple)):
        return "[" + ", ".join(format_numbers(one) for one in numbers) + "]"
    return number_text(numbers)


def shape_text(shape: tuple[int, ...] | None) -> str:
    """``(3,)`` as Python writes it; a number has ``()``, a nested tensor has none.

    >>> shape_text((3,)), shape_text(None)
    ('(3,)', 'without a shape')
    """
    return "without a shape" if shape is None else str(tuple(shape))
