"""The exercises of *Saved tensors* accept what is right, and name what is wrong."""

import weakref

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from gradbook.check import WrongAnswer, saved_tensors


def pack(tensor):
    """Keep float32 as bfloat16."""
    if tensor.dtype == torch.float32:
        return True, tensor.to(torch.bfloat16)
    return False, tensor.detach()


def unpack(packed):
    """Give back what went in."""
    rounded, tensor = packed
    return tensor.float() if rounded else tensor


@pytest.mark.parametrize("form", [int, float, np.float64, torch.tensor, lambda n: [n]])
def test_bytes_are_accepted_in_each_form(form, capsys):
    """Four storages of 4000 bytes."""
    saved_tensors.kept_bytes(form(16000))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (20000, "both save x.* the product itself is kept by nobody"),
        (12000, "One tensor is missing"),
        (4000, "That is how many numbers are kept"),
        (16004, "too large"),
        (15999.5, "whole number"),
    ],
)
def test_wrong_bytes_are_explained(number, message):
    """What was counted twice, or not."""
    with pytest.raises(WrongAnswer, match=message):
        saved_tensors.kept_bytes(number)


def test_three_numbers_of_checkpoints_are_accepted(capsys):
    """Kept, peak and calls."""
    saved_tensors.segments([4, 9, 48])
    saved_tensors.segments(torch.tensor([4, 9, 48]))
    assert capsys.readouterr().out.count("Right.") == 2


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([4, 10, 48], "counts once"),
        ([4, 6, 48], "inputs of the segments before"),
        ([4, 24, 48], "Only one segment runs again"),
        ([6, 9, 48], "one input for each segment"),
        ([4, 9, 24], "second run is missing"),
        ([4, 9, 30], "All segments run again"),
        ([3, 9, 48], "1 of 3 numbers are wrong"),
        (4, "Your answer has 1 number"),
    ],
)
def test_wrong_numbers_of_checkpoints_are_explained(numbers, message):
    """Each known slip has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        saved_tensors.segments(numbers)


def test_the_numbers_are_those_of_a_real_chain():
    """Storages that are alive after the forward pass and, at most, while a layer goes back."""
    layers, segment = saved_tensors.DEEP["layers"], saved_tensors.DEEP["segment"]
    watched, alive = [], []

    def count():
        return len({storage for one in watched if (storage := one()) is not None})

    class Layer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            watched.append(weakref.ref(x.untyped_storage()))
            ctx.save_for_backward(x)
            return x + 1

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            alive.append(count())
            return gradient.expand_as(x)

    def run(x):
        for _ in range(segment):
            x = Layer.apply(x)
        return x

    x = torch.ones(3, requires_grad=True)
    for _ in range(layers // segment):
        x = checkpoint(run, x, use_reentrant=False)
    loss = x.sum()
    kept = count()
    loss.backward()
    saved_tensors.segments([kept, max(alive), len(watched)])


def test_a_right_pair_is_accepted(capsys):
    """With a flag, or told apart by the dtype that comes back."""
    saved_tensors.half_as_many_bytes(pack, unpack)
    saved_tensors.half_as_many_bytes(
        lambda t: (t.dtype, t.bfloat16() if t.dtype == torch.float32 else t.detach()),
        lambda packed: packed[1].to(packed[0]),
    )
    saved_tensors.half_as_many_bytes(
        lambda t: {"t": t.bfloat16() if t.dtype == torch.float32 else t.clone()},
        lambda p: p["t"].float() if p["t"].dtype == torch.bfloat16 else p["t"],
    )
    assert capsys.readouterr().out.count("Right.") == 3


def in_place(tensor):
    """Round what is not its own."""
    if tensor.dtype == torch.float32:
        tensor.copy_(tensor.to(torch.bfloat16))
    return tensor.detach()


@pytest.mark.parametrize(
    ("pack", "unpack", "message"),
    [
        (lambda t: t, lambda p: p, "returns its argument"),
        (lambda t: t.bfloat16(), lambda p: p, "float32 comes back as bfloat16"),
        (lambda t: t.bfloat16(), lambda p: p.float(), "int64 comes back as float32: an index"),
        (
            lambda t: t.bfloat16() if t.dtype == torch.float32 else t,
            lambda p: p.float() if p.dtype == torch.bfloat16 else p,
            "For int64, pack returns its argument",
        ),
        (
            lambda t: t.bfloat16() if t.is_floating_point() else t.detach(),
            lambda p: p.float() if p.dtype == torch.bfloat16 else p,
            "float64 comes back as float32: only float32",
        ),
        (
            lambda t: (t.dtype, t.bfloat16() if t.is_floating_point() else t.detach()),
            lambda p: p[1].to(p[0]),
            "float64 comes back with other values",
        ),
        (
            lambda t: (t.dtype, t.float().detach() * 1),
            lambda p: p[1].to(p[0]),
            "all its digits",
        ),
        (lambda t: (t, t.bfloat16()), lambda p: p[1].float(), "pack keeps 24 bytes"),
        (
            lambda t: (t.dtype, t.half() if t.dtype == torch.float32 else t.detach()),
            lambda p: p[1].to(p[0]),
            "not its bfloat16 ones",
        ),
        (lambda t: pack(t.flatten()), unpack, "another shape"),
        (pack, lambda p: p[1].float().numpy(), "unpack returns ndarray"),
        (in_place, lambda p: p, "changes the values of tensor"),
    ],
)
def test_a_wrong_pair_is_explained(pack, unpack, message):
    """What comes back changed, what is kept, and what was edited."""
    with pytest.raises(WrongAnswer, match=message):
        saved_tensors.half_as_many_bytes(pack, unpack)


def test_what_is_no_answer_is_a_type_error():
    """Functions and numbers are told apart."""
    with pytest.raises(TypeError, match="expected your function of \\(tensor\\)"):
        saved_tensors.half_as_many_bytes(3, unpack)
    with pytest.raises(TypeError, match="expected your function of \\(packed\\)"):
        saved_tensors.half_as_many_bytes(pack, 3)
    with pytest.raises(TypeError, match="expected a number"):
        saved_tensors.kept_bytes("16 kB")


@pytest.mark.parametrize(
    "check",
    [saved_tensors.kept_bytes, saved_tensors.segments, saved_tensors.half_as_many_bytes],
)
def test_three_dots_are_no_answer_yet(check, capsys):
    """An exercise that nobody has touched prints a hint and raises nothing."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_without_grad_mode_and_leave_it_as_it_was(mode, capsys):
    """A learner may call a check inside a block that records nothing."""
    with mode():
        saved_tensors.kept_bytes(16000)
        saved_tensors.half_as_many_bytes(pack, unpack)
        assert not torch.is_grad_enabled()
    assert capsys.readouterr().out.count("Right.") == 2
