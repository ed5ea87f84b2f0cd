"""data.digits: the digits of scikit-learn, split once and for all."""

import re
import sys

import pytest
import torch

from gradbook.data import digits

pytest.importorskip("sklearn")


def test_every_digit_is_in_one_part() -> None:
    """A third is held out; the two parts together are all 1797 images, none twice."""
    train_x, train_y, test_x, test_y = digits()
    assert (len(train_x), len(test_x)) == (len(train_y), len(test_y)) == (1198, 599)
    images = torch.cat([train_x, test_x]).flatten(1)
    # scikit-learn's images are all different, so a repeated row would be a repeated digit.
    assert len(images.unique(dim=0)) == 1797
    assert sorted(set(train_y.tolist())) == sorted(set(test_y.tolist())) == list(range(10))


def test_pixels_are_from_0_to_1() -> None:
    """One channel of 8 by 8, the darkest exactly 1, labels as a loss wants them."""
    train_x, train_y, _, _ = digits()
    assert train_x.shape[1:] == (1, 8, 8)
    assert (train_x.min().item(), train_x.max().item()) == (0.0, 1.0)
    assert (train_x.dtype, train_y.dtype) == (torch.float32, torch.int64)


def test_images_keep_their_labels() -> None:
    """After the shuffle, each image still stands beside its own label."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    known = {tuple(image): label for image, label in zip(images.tolist(), labels, strict=True)}
    _, _, test_x, test_y = digits(dtype=torch.float64)
    found = [known[tuple(image)] for image in (test_x.flatten(1) * 16).tolist()]
    assert found == test_y.tolist()


def test_the_seed_decides() -> None:
    """The same seed gives the same split, another one another; the global generator is still."""
    before = torch.get_rng_state()
    assert torch.equal(digits(seed=1).test_x, digits(seed=1).test_x)
    assert not torch.equal(digits(seed=1).test_x, digits(seed=2).test_x)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("fraction", "held_out"), [(0.5, 898), (1e-9, 1), (1 - 1e-9, 1796)])
def test_the_fraction_decides_how_many(fraction: float, held_out: int) -> None:
    """Rounded, with at least one digit in each part."""
    assert len(digits(test_fraction=fraction).test_y) == held_out


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    """Both parts need a digit."""
    with pytest.raises(ValueError, match="test_fraction must be above 0 and below 1, got"):
        digits(test_fraction=fraction)


@pytest.mark.parametrize("dtype", [torch.int64, "float32"])
def test_a_dtype_that_cannot_hold_fractions_is_refused(dtype: torch.dtype) -> None:
    """Pixels are fractions."""
    with pytest.raises(TypeError, match="dtype must be a floating-point"):
        digits(dtype=dtype)


def test_without_scikit_learn_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The digits are an extra."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=re.escape('pip install "gradbook[digits]"')):
        digits()
