"""Tests of `gradbook.data.line`."""

import pytest
import torch

from gradbook import data


def test_shapes_are_columns():
    """Both x and y have shape (n, 1), what nn.Linear takes and gives."""
    x, y = data.line(7)
    assert x.shape == y.shape == (7, 1)


def test_without_noise_the_points_lie_on_the_line():
    """Y is slope * x + intercept."""
    x, y = data.line(20, slope=-3.0, intercept=0.5, noise=0.0, dtype=torch.float64)
    torch.testing.assert_close(y, -3.0 * x + 0.5)


def test_noise_has_the_standard_deviation_that_was_asked_for():
    """Over many points the residuals spread by `noise`."""
    x, y = data.line(20_000, slope=1.0, noise=0.5, dtype=torch.float64)
    assert (y - x).std().item() == pytest.approx(0.5, rel=0.03)


def test_x_fills_the_interval():
    """X is uniform in [-1, 1)."""
    x, _ = data.line(20_000)
    assert x.min() >= -1
    assert x.max() < 1
    assert abs(x.mean()) < 0.02


def test_the_points_depend_on_the_seed_alone():
    """Torch's global generator is neither read nor moved."""
    torch.manual_seed(0)
    first = data.line(5)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    second = data.line(5)
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.y, second.y)
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())


def test_another_seed_gives_other_points():
    """Two data sets can be made."""
    assert not torch.equal(data.line(5, seed=0).x, data.line(5, seed=1).x)


def test_every_dtype_holds_the_same_points():
    """float32 is the rounded float64."""
    wide, narrow = data.line(5, dtype=torch.float64), data.line(5)
    assert torch.equal(wide.y.float(), narrow.y)


@pytest.mark.parametrize("n", [0, -1])
def test_no_points_are_refused(n):
    """The message names n and says what it is."""
    with pytest.raises(ValueError, match=f"n must be at least 1, got {n}"):
        data.line(n)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": 2.0}, TypeError, "n must be an integer, got float"),
        ({"n": True}, TypeError, "n must be an integer, got bool"),
        ({"noise": -1.0}, ValueError, "noise must be 0 or more"),
        ({"noise": float("nan")}, ValueError, "noise must be 0 or more"),
        ({"dtype": torch.int64}, TypeError, "floating-point"),
        ({"dtype": "float32"}, TypeError, "floating-point"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    """Each bad argument gets an error of the usual type that names it."""
    with pytest.raises(error, match=message):
        data.line(**arguments)
