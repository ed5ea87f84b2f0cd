"""The exercises of the page *Mixed precision* accept what is right, and name what is wrong."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradbook.check import WrongAnswer, mixed_precision

RIGHT_DTYPES = ["bfloat16", "float32", "float32"]


def half(*values):
    """Make a float16 tensor."""
    return torch.tensor(values, dtype=torch.float16)


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT_DTYPES,
        tuple(RIGHT_DTYPES),
        "bfloat16, float32, float32",
        [torch.bfloat16, torch.float32, torch.float32],
        ["torch.bfloat16", "Float32", torch.float32],
    ],
)
def test_dtypes_are_accepted_in_each_form(answer, capsys):
    """Names, a text and dtypes themselves count the same."""
    mixed_precision.three_dtypes(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("float32 float32 float32", "h is wrong: a linear layer is a matrix product"),
        ("bfloat16 bfloat16 float32", "loss is wrong"),
        ("bfloat16 float32 bfloat16", "weight.grad is wrong: the conversion"),
        ("bfloat16 float32", "has 2 dtypes; three are asked for"),
        ("half float32 float32", "'half' is not one of"),
    ],
)
def test_a_wrong_dtype_is_named(answer, message):
    """The first wrong one, with the place to look."""
    with pytest.raises(WrongAnswer, match=message):
        mixed_precision.three_dtypes(answer)


@pytest.mark.parametrize("wrong", [3, None, [16, 32, 32]])
def test_what_holds_no_dtypes_is_a_type_error(wrong):
    """Numbers are no dtypes."""
    with pytest.raises(TypeError, match="expected dtypes"):
        mixed_precision.three_dtypes(wrong)


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_gradients_through_half_are_accepted_in_each_form(form, capsys):
    """Also with the digits that float16 leaves."""
    mixed_precision.through_half(form([1e-9, 0.0]))
    scaled = (torch.tensor(1e-9 * 2**16).half().float() / 2**16).item()
    mixed_precision.through_half(form([scaled, 0.0]))
    assert capsys.readouterr().out.count("Right.") == 2


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([0, 1e-9], "swapped"),
        ([1e-9 * 2**16, 0], "not divided by the scale"),
        ([1e-9, 1e-9], "half of the smallest float16"),
        ([1e-9, 2.0**-24], "zero is nearer"),
        ([1e-9, 6e-8], "numbers are wrong"),
        ([0, 0], "65536 times the gradient"),
        (1e-9, "Give both"),
        (torch.tensor(1e-9), "Give both"),
        ([2e-9, 0], "numbers are wrong"),
    ],
)
def test_wrong_gradients_through_half_are_explained(numbers, message):
    """What vanishes, what is lifted and what is divided again are told apart."""
    with pytest.raises(WrongAnswer, match=message):
        mixed_precision.through_half(numbers)


def test_an_overflowing_pair_is_accepted(capsys):
    """Where the square overflows and mse_loss does not; one such element is enough."""
    mixed_precision.overflowing_pair(half(300), half(0))
    mixed_precision.overflowing_pair(half(300, 1), half(0, 1))
    mixed_precision.overflowing_pair(half(1, 2), half(500, 2))
    assert capsys.readouterr().out.count("Right.") == 3


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        (torch.tensor([300.0]), half(0), "p is float32"),
        (half(300), torch.tensor([0.0], dtype=torch.bfloat16), "y is bfloat16"),
        (half(float("inf")), half(0), "p itself is not finite"),
        (half(300), half(float("nan")), "y itself is not finite"),
        (half(300, 1), half(0), "shapes differ"),
        (half(200), half(0), "Your loss is finite"),
        (half(60000), half(-60000), "p - y overflows already"),
    ],
)
def test_a_pair_that_does_not_show_it_is_explained(p, y, message):
    """The dtype, the values and their difference."""
    with pytest.raises(WrongAnswer, match=message):
        mixed_precision.overflowing_pair(p, y)


@pytest.mark.parametrize(
    "loss_of",
    [
        lambda p, y: ((p.float() - y.float()) ** 2).mean(),
        lambda p, y: (p.double() - y.double()).square().mean(),
        lambda p, y: torch.mean((p.to(torch.float32) - y) ** 2),
    ],
)
def test_a_cured_loss_is_accepted(loss_of, capsys):
    """Converted before the subtraction, in each way to write it."""
    mixed_precision.cured_loss(loss_of)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("loss_of", "message"),
    [
        (lambda p, y: ((p - y) ** 2).mean(), "square has overflowed: your loss is float16"),
        (lambda p, y: ((p.float() - y.float()) ** 2).mean().half(), "return what comes"),
        (lambda p, y: ((p - y) ** 2).float().mean(), "square has overflowed"),
        (lambda p, y: ((p - y).float() ** 2).mean(), "p - y has overflowed"),
        (F.mse_loss, "That is F.mse_loss"),
        (torch.nn.MSELoss(), "That is F.mse_loss"),
        (lambda p, y: (p.float() - y.float()).abs().mean(), "not the mean square"),
        (lambda p, y: ((p.float() - y.float()) ** 2).sum(), "not the mean square"),
        (
            lambda p, y: (p.bfloat16().float() - y.bfloat16().float()).square().mean(),
            "not the mean",
        ),
        (lambda p, y: ((p / 300 - y / 300) ** 2).mean(), "not the mean square"),
        (lambda p, y: (p.float() - y.float()) ** 2, "It returns 8 numbers"),
        (lambda p, y: ((p.float() - y.float()) ** 2).mean().item(), "tensor, not float"),
        (lambda p, y: ((p.detach().float() - y.float()) ** 2).mean(), "has no graph"),
    ],
)
def test_a_loss_that_is_not_cured_is_explained(loss_of, message):
    """The place where it overflows, or what it computes instead."""
    with pytest.raises(WrongAnswer, match=message):
        mixed_precision.cured_loss(loss_of)


def test_arguments_of_another_type_are_type_errors():
    """Numbers are no tensors, and a loss is not its function."""
    with pytest.raises(TypeError, match="expected two tensors, got float for p"):
        mixed_precision.overflowing_pair(300.0, half(0))
    with pytest.raises(TypeError, match="expected your function"):
        mixed_precision.cured_loss(torch.tensor(3.0))
    with pytest.raises(TypeError, match="expected a number"):
        mixed_precision.through_half("1e-9")


@pytest.mark.parametrize(
    "check",
    [
        mixed_precision.three_dtypes,
        mixed_precision.through_half,
        mixed_precision.overflowing_pair,
        mixed_precision.cured_loss,
    ],
)
def test_three_dots_are_no_answer_yet(check, capsys):
    """An exercise that nobody has touched prints a hint and raises nothing."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_without_grad_mode_and_leave_it_as_it_was(mode, capsys):
    """A learner may call a check inside a block that records nothing; autocast is off after it."""
    with mode():
        before = torch.get_rng_state()
        mixed_precision.three_dtypes(RIGHT_DTYPES)
        mixed_precision.through_half([1e-9, 0])
        mixed_precision.overflowing_pair(half(300), half(0))
        mixed_precision.cured_loss(lambda p, y: ((p.float() - y.float()) ** 2).mean())
        assert not torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")
        assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().out.count("Right.") == 4
