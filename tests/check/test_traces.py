"""What a learner's function leaves changed is refused, and the session is put back."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from gradbook.check import WrongAnswer
from gradbook.check.traces import leaves_no_trace


@pytest.fixture
def model():
    """A frozen layer in evaluation mode, and one that is being trained and has a gradient."""
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    model[0].requires_grad_(False).eval()
    model[2].weight.grad = torch.ones(1, 3)
    return model


def weights(model):
    """Every value of it."""
    return [value.clone() for value in model.state_dict().values()]


def set_weight(model):
    """As one edit outside of the record."""
    model[2].weight.detach().zero_()


def replace_layer(model):
    """A new layer of the same shape."""
    with torch.random.fork_rng(devices=[]):
        model[2] = nn.Linear(3, 1)


def drop_gradient(model):
    """As zero_grad() does."""
    model[2].weight.grad = None


def fill_gradient(model):
    """As backward() does."""
    model[2].bias.grad = torch.ones(1)


@pytest.mark.parametrize(
    ("change", "trace", "message"),
    [
        (set_weight, "values", r"f\(model\) changes the values of model\.2\.weight"),
        (lambda model: model[1](torch.ones(2, 3)), "values", r"model\.1\.running_mean"),
        (drop_gradient, "grad", r"changes the \.grad of model\.2\.weight"),
        (fill_gradient, "grad", r"changes the \.grad of model\.2\.bias"),
        (
            lambda model: model.requires_grad_(),
            "flags",
            r"leaves requires_grad=True on model\.0\.weight; before, it was False",
        ),
        (
            lambda model: model.train(),
            "modes",
            r"leaves model\.0 in training mode; before, it was in evaluation mode",
        ),
        (lambda model: model.eval(), "modes", "leaves model in evaluation mode"),
    ],
)
def test_a_change_of_the_model_is_refused_unless_it_may_be(model, change, trace, message):
    """Values, gradients, flags and the mode of each part are compared."""
    before = weights(model)
    with leaves_no_trace("f(model)", may=[trace], model=model):
        change(model)
    for value, old in zip(model.state_dict().values(), before, strict=True):
        value.copy_(old)
    model[2].weight.grad, model[2].bias.grad = torch.ones(1, 3), None
    model[0].requires_grad_(False)
    model.train()
    model[0].eval()
    others = {"values", "grad", "flags", "modes"} - {trace}
    with (
        pytest.raises(WrongAnswer, match=message),
        leaves_no_trace("f(model)", may=others, model=model),
    ):
        change(model)


def test_a_replaced_layer_is_refused_whatever_may_change(model):
    """It has the same names and shapes, but is not what was given."""
    with (
        pytest.raises(WrongAnswer, match="puts something else into model"),
        leaves_no_trace("f(model)", may=["values", "grad", "flags"], model=model),
    ):
        replace_layer(model)


def test_tensors_are_named_as_they_were_given():
    """One tensor by its name, several by their position; nan is equal to itself."""
    x, parts = torch.tensor([1.0, torch.nan]), [torch.ones(2), torch.ones(3)]
    with leaves_no_trace("f(x, parts)", x=x, parts=parts):
        _ = x * 2
    with (
        pytest.raises(WrongAnswer, match="changes the values of x: work on a copy"),
        leaves_no_trace("f(x, parts)", x=x, parts=parts),
    ):
        x[0] = 5
    with (
        pytest.raises(WrongAnswer, match=r"changes the values of parts\[1\]"),
        leaves_no_trace("f(x, parts)", x=x, parts=parts),
    ):
        parts[1].zero_()
    with (
        pytest.raises(WrongAnswer, match="puts something else into parts"),
        leaves_no_trace("f(x, parts)", x=x, parts=parts),
    ):
        parts.pop()
    with (
        pytest.raises(WrongAnswer, match="leaves requires_grad=True on x"),
        leaves_no_trace("f(x)", x=x),
    ):
        x.requires_grad_()


def test_a_result_can_be_watched_without_a_warning():
    """A non-leaf has no .grad to compare, unless it retains one."""
    y = torch.ones(2, requires_grad=True) * 2
    with leaves_no_trace("f(y)", y=y):
        y.sum().backward()
    y = torch.ones(2, requires_grad=True) * 2
    y.retain_grad()
    with pytest.raises(WrongAnswer, match=r"\.grad of y"), leaves_no_trace("f(y)", y=y):
        y.sum().backward()


@pytest.mark.parametrize(
    ("change", "read", "message"),
    [
        (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled, "grad mode"),
        (
            lambda: torch.set_default_dtype(torch.float64),
            torch.get_default_dtype,
            "default dtype",
        ),
        (
            lambda: torch.autograd.set_detect_anomaly(True),
            torch.is_anomaly_enabled,
            "anomaly detection",
        ),
        (lambda: torch.rand(1), lambda: torch.get_rng_state().tolist(), "random numbers"),
        (lambda: torch.manual_seed(0), torch.initial_seed, "random numbers"),
        (np.random.rand, lambda: np.random.get_state()[1:3], "random numbers"),
        (random.random, random.getstate, "random numbers"),
    ],
)
@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_the_session_is_as_before_even_after_an_error(change, read, message, fails):
    """A wrong answer does not break what the learner runs next; an error of its own goes first."""
    torch.rand(1), np.random.rand(), random.random()
    before = read()
    expected = pytest.raises(KeyError if fails else WrongAnswer, match="own" if fails else message)
    with expected, leaves_no_trace("f()"):
        change()
        if fails:
            raise KeyError("own")
    np.testing.assert_equal(read(), before)


def test_random_numbers_may_be_allowed_and_are_put_back_all_the_same():
    """Shuffling is no fault, but a check must not move the learner's generators."""
    before = torch.get_rng_state()
    with leaves_no_trace("f()", may=["random"]):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
