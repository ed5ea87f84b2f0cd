"""Exercises of the page *Saved tensors*."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gradbook.check.answers import Numbers, WrongAnswer, answer_function, judge_numbers
from gradbook.check.traces import leaves_no_trace
from gradbook.see.memory import saved_memory

# Exercise 1: how many numbers the leaf has.
NUMBERS = 1000
# Exercise 3.
DEEP = {"layers": 24, "segment": 6}


def kept_bytes(answer: Numbers) -> None:
    """Check the bytes that the graph of ``(x.sin() * x.cos()).exp().sum()`` keeps.

    Raises:
        WrongAnswer: another number; the message says what was counted.
        TypeError: `answer` is no number.

    >>> kept_bytes(16000)
    Right. x for the sine and the cosine, both factors for the product, and the result of exp.
    >>> kept_bytes(20000)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: sin and cos both save x: one storage, so it counts once. ...
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.ones(NUMBERS, requires_grad=True)
        report = saved_memory((x.sin() * x.cos()).exp().sum())
    one = x.nbytes
    judge_numbers(
        answer,
        report.nbytes,
        right="x for the sine and the cosine, both factors for the product, and the result of exp.",
        mistakes={
            "sin and cos both save x: one storage, so it counts once. exp saves its result only: "
            "the product itself is kept by nobody.": report.references * one,
            "One tensor is missing: sin and cos save x, the product its factors, exp its result.": (
                report.nbytes - one
            ),
            "That is how many numbers are kept; each has 4 bytes.": report.nbytes // 4,
            "That is one tensor: sin, cos, the product and exp save more than one.": one,
        },
        counts=True,
    )


def half_as_many_bytes(pack: object, unpack: object = ...) -> None:
    """Check a pair of hooks that keeps float32 as bfloat16, and all else as it is.

    Raises:
        WrongAnswer: something comes back changed, or is not smaller; the message says what.
        TypeError: `pack` or `unpack` is not a function.

    >>> half_as_many_bytes(lambda t: t.to(torch.bfloat16), lambda packed: packed.float())
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: A tensor of int64 comes back as float32: an index, ...
    """
    packing = answer_function(pack, "(tensor)")
    unpacking = None if packing is None else answer_function(unpack, "(packed)")
    if packing is None or unpacking is None:
        return
    cases = (
        torch.tensor([[0.1, -2.7], [3.3, 1e-3]]),
        torch.tensor([2**40 + 1, 3, -5]),
        torch.tensor([True, False]),
        torch.tensor([0.1, 1e200], dtype=torch.float64),
        torch.tensor([0.1 + 0.2j], dtype=torch.complex64),
    )
    with torch.inference_mode(False), torch.no_grad():
        for tensor in cases:
            dtype = str(tensor.dtype).removeprefix("torch.")
            with leaves_no_trace("pack", tensor=tensor):
                packed = packing(tensor)
            if packed is tensor:
                raise WrongAnswer(
                    f"For {dtype}, pack returns its argument. A result of the node would then keep "
                    "itself for good: return tensor.detach()."
                )
            back = unpacking(packed)
            if not isinstance(back, Tensor):
                raise WrongAnswer(
                    f"For {dtype}, unpack returns {type(back).__name__}: a tensor is needed."
                )
            _compare(tensor, back, dtype)
            kept = sum(one.nbytes for one in _tensors(packed))
            if dtype == "float32" and kept > tensor.nbytes // 2:
                raise WrongAnswer(
                    f"pack keeps {kept} bytes of a tensor with {tensor.nbytes}: keep the bfloat16 "
                    "tensor, and nothing else."
                )
    print("Right. What is not float32 comes back exactly, float32 rounded, in half the bytes.")


def _compare(tensor: Tensor, back: Tensor, dtype: str) -> None:
    what = {
        "int64": "an index, for example",
        "bool": "a mask, for example",
        "float32": "the dtype that went in must come back",
    }.get(dtype, "only float32 is to change")
    if back.dtype != tensor.dtype:
        found = str(back.dtype).removeprefix("torch.")
        raise WrongAnswer(f"A tensor of {dtype} comes back as {found}: {what}.")
    if back.shape != tensor.shape:
        raise WrongAnswer(f"A tensor of {dtype} comes back in another shape.")
    if dtype != "float32":
        if not torch.equal(back, tensor):
            raise WrongAnswer(f"A tensor of {dtype} comes back with other values: {what}.")
    elif torch.equal(back, tensor):
        raise WrongAnswer("float32 comes back with all its digits: it was not kept as bfloat16.")
    elif not torch.equal(back, tensor.to(torch.bfloat16).to(torch.float32)):
        raise WrongAnswer("float32 comes back with values that are not its bfloat16 ones.")


def _tensors(packed: Any) -> Iterator[Tensor]:
    """The tensors in what a node would keep."""
    if isinstance(packed, Tensor):
        yield packed
    elif isinstance(packed, Mapping):
        for one in packed.values():
            yield from _tensors(one)
    elif isinstance(packed, (list, tuple)):
        for one in packed:
            yield from _tensors(one)


def segments(answer: Numbers) -> None:
    """Check what a chain of layers in checkpoints keeps after forward, at its peak, and calls.

    Raises:
        WrongAnswer: a number is another; the message says which.
        TypeError: `answer` holds no numbers.

    >>> segments([4, 9, 48])
    Right. One input for each segment; five more while a segment runs again; each layer twice.
    >>> segments([4, 10, 48])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The input of the segment that runs again is kept ...
    """
    layers, segment = DEEP["layers"], DEEP["segment"]
    kept, calls = layers // segment, 2 * layers
    peak = kept + segment - 1

    def three(*numbers: float) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64)

    judge_numbers(
        answer,
        three(kept, peak, calls),
        right="One input for each segment; five more while a segment runs again; each layer twice.",
        mistakes={
            "The input of the segment that runs again is kept already: it counts once.": three(
                kept, kept + segment, calls
            ),
            "At its peak there are also the inputs of the segments before.": three(
                kept, segment, calls
            ),
            "Only one segment runs again at a time; the others are not in memory then.": three(
                kept, layers, calls
            ),
            "A checkpoint keeps one input for each segment, not one for each layer in it.": three(
                segment, peak, calls
            ),
            "The second run is missing: each layer is called in the forward pass, and again in the "
            "backward pass.": three(kept, peak, layers),
            "All segments run again, one after the other, not only one.": three(
                kept, peak, layers + segment
            ),
        },
        counts=True,
    )
