"""Tests of `gradbook.compare_gradients`."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradbook import compare_gradients


def f64(*values: float) -> torch.Tensor:
    """A float64 vector."""
    return torch.tensor(values, dtype=torch.float64)


class Wrong(torch.autograd.Function):
    """Squares, and forgets the 2 in its backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=4))
def test_a_right_gradient_agrees(values):
    """For smooth functions autograd and central differences agree to 1e-6 in float64."""
    report = compare_gradients(lambda x: (x.sin() * x).sum(), f64(*values))
    assert report
    assert len(report.entries) == len(values)
    assert report.advice == ()


def test_a_wrong_backward_is_found():
    """The report is false, and its worst element names the place and both numbers."""
    report = compare_gradients(lambda x: Wrong.apply(x).sum(), f64(0.0, 0.1, 0.3))
    assert not report
    worst = report.worst
    assert (worst.input, worst.index) == (0, (2,))
    assert worst.autograd == 0.3
    assert worst.numeric == pytest.approx(0.6)
    assert "DISAGREE on 3 elements" in str(report)
    assert "the backward of f is wrong" in str(report)


def test_entries_come_worst_first():
    """The largest error stands at the top."""
    report = compare_gradients(lambda x: Wrong.apply(x).sum(), f64(0.1, 0.3, 0.2))
    errors = [entry.error for entry in report.entries]
    assert errors == sorted(errors, reverse=True)
    assert [entry.index for entry in report.entries] == [(1,), (2,), (0,)]


def test_all_inputs_are_compared():
    """An element is named by its input and its position there."""
    report = compare_gradients(lambda a, b: (a @ b).sum(), torch.rand(2, 3).double(), f64(1, 2, 3))
    assert {(entry.input, len(entry.index)) for entry in report.entries} == {(0, 2), (1, 1)}
    assert len(report.entries) == 9


def test_a_kink_is_recognised():
    """At 0 the slopes of abs stay apart however small the step is; the report says so."""
    report = compare_gradients(lambda x: x.abs().sum(), f64(0.0, 2.0))
    (kink,) = report.kinks
    assert kink.index == (0,)
    assert (kink.left, kink.right) == (pytest.approx(-1), pytest.approx(1))
    assert "kink" in str(report)
    assert [str(entry) for entry in report.entries] == [
        "input 0[0]: autograd 0, differences 0, error 0.0e+00; a kink: slope -1 on the left, 1 on "
        "the right",
        "input 0[1]: autograd 1, differences 1, error 0.0e+00",
    ]


def test_strong_curvature_is_no_kink():
    """Its one-sided slopes differ too, but they meet as the step shrinks."""
    report = compare_gradients(lambda x: (1e5 * x**2).sum(), f64(0.0))
    assert report.kinks == ()


def test_float32_inputs_get_an_advice():
    """They are compared with a wider step and tolerance, and told that float64 is sharper."""
    report = compare_gradients(lambda x: (x**2).sum(), torch.tensor([1.0, 2.0]))
    assert report
    assert "double()" in report.advice[0]


def test_a_cut_graph_is_told():
    """With detach inside, autograd sees zeros; the advice names the usual causes."""
    report = compare_gradients(lambda x: (x.detach() ** 2).sum(), f64(1.0))
    assert not report
    assert "detach()" in report.advice[0]


def test_an_input_without_influence_has_gradient_zero():
    """An unused input is legitimate: both sides are 0."""
    report = compare_gradients(lambda a, b: a.sum(), f64(1.0), f64(2.0))
    assert report
    assert report.entries[-1].autograd == 0.0


def test_nothing_of_the_caller_changes():
    """Values, .grad and requires_grad of the inputs stay, and so do the grad modes."""
    x = f64(1.0, 2.0).requires_grad_()
    x.grad = torch.full_like(x, 7.0)
    with torch.no_grad():
        assert compare_gradients(lambda x: (x**3).sum(), x)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert compare_gradients(lambda x: (x**3).sum(), x)
        assert torch.is_inference_mode_enabled()
    assert x.tolist() == [1.0, 2.0]
    assert x.grad.tolist() == [7.0, 7.0]


def test_an_f_may_ask_for_a_gradient_itself():
    """A gradient penalty is compared by its second derivatives, also under no_grad."""

    def penalty(w):
        x = f64(1.0, 2.0).requires_grad_()
        (slope,) = torch.autograd.grad((w * x**2).sum(), x, create_graph=True)
        return slope.square().sum()

    with torch.no_grad():
        report = compare_gradients(penalty, f64(3.0, -1.0))
    assert report
    assert [entry.autograd for entry in sorted(report.entries, key=lambda e: e.index)] == [24, -32]


def test_an_f_that_edits_its_input_does_no_harm():
    """It gets a copy each time."""
    assert compare_gradients(lambda x: x.clone().mul_(2).sum(), f64(1.0))


def test_eps_and_tolerance_can_be_set():
    """A looser tolerance accepts what a sharper one refuses."""
    coarse = {"eps": 0.1}
    assert not compare_gradients(lambda x: (x**3).sum(), f64(1.0), **coarse)
    assert compare_gradients(lambda x: (x**3).sum(), f64(1.0), tolerance=0.1, **coarse)


def test_nan_is_reported_first():
    """An element that is not finite is the worst of all."""
    report = compare_gradients(lambda x: x.sqrt().sum(), f64(4.0, -1.0))
    assert not report
    assert report.worst.index == (0,) or report.worst.error != report.worst.error
    assert any("nan" in text for text in report.advice)


def test_a_number_as_input_has_no_index():
    """The text of a scalar input names the input alone."""
    text = str(compare_gradients(lambda x: x**2, torch.tensor(3.0, dtype=torch.float64)))
    assert "input 0: autograd 6" in text
    assert "on 1 element " in text


@pytest.mark.parametrize(
    ("f", "inputs", "error", "message"),
    [
        (torch.sum, [torch.tensor([1, 2])], TypeError, "float64 or float32, got torch.int64"),
        (torch.sum, [torch.ones(2, dtype=torch.cfloat)], TypeError, "real and imaginary"),
        (torch.sum, [[1.0]], TypeError, "input 0 must be a tensor, got list"),
        (torch.sum, [], ValueError, "at least one input"),
        (torch.sum, [torch.ones(0).double()], ValueError, "no element"),
        (lambda x: x * 2, [f64(1, 2)], ValueError, r"one number, got a tensor of shape \(2,\)"),
        (lambda x: 3.0, [f64(1)], TypeError, "got float"),
        (lambda x: x.sum() * 1j, [f64(1)], TypeError, "real number"),
        (3, [f64(1)], TypeError, "f must be a function"),
    ],
)
def test_bad_input_is_named(f, inputs, error, message):
    """Each gets an error of the usual type that says what to do."""
    with pytest.raises(error, match=message):
        compare_gradients(f, *inputs)


@pytest.mark.parametrize("name", ["eps", "tolerance"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_step_that_is_not_positive_is_refused(name, value):
    """The message names the argument."""
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        compare_gradients(torch.sum, f64(1.0), **{name: value})


def test_a_random_function_is_refused():
    """Differences of a function with randomness say nothing."""
    with pytest.raises(ValueError, match="without randomness"):
        compare_gradients(lambda x: (x * torch.rand(())).sum(), f64(1.0))
