"""Tests of `gradbook.expect_error`."""

import sys
import warnings

import pytest
import torch

from gradbook import expect_error


def test_the_error_is_shown_with_its_line(capsys):
    """The reader sees the failing line and the message, and the block does not stop the program."""
    with expect_error(RuntimeError):
        torch.ones(2).sum().backward()
    shown = capsys.readouterr().out
    assert "torch.ones(2).sum().backward()" in shown
    assert "RuntimeError: element 0 of tensors does not require grad" in shown


def test_the_error_can_be_looked_at_afterwards():
    """`error` and `message` hold what was raised."""
    with expect_error(ValueError) as caught:
        raise ValueError("seven")
    assert isinstance(caught.error, ValueError)
    assert caught.message == "seven"


def test_nothing_raised_is_a_failure():
    """This is what a raises-exception tag does not notice."""
    with pytest.raises(AssertionError, match="expected ValueError, but nothing was raised"):
        with expect_error(ValueError):
            pass


def test_another_error_passes_through():
    """It is not the one that the page shows, so the page must fail with it."""
    with pytest.raises(KeyError), expect_error(ValueError):
        raise KeyError("x")


def test_a_message_that_does_not_match_is_a_failure():
    """The text of an error is part of what a page claims; the failure shows the real text."""
    with pytest.raises(AssertionError, match="got ValueError: eight") as caught:
        with expect_error(ValueError, match="seven"):
            raise ValueError("eight")
    assert isinstance(caught.value.__cause__, ValueError)


def test_several_types_can_be_expected(capsys):
    """A tuple of classes works as in an except clause."""
    with expect_error((KeyError, IndexError)):
        raise IndexError("out")
    assert "IndexError: out" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="KeyError or IndexError"):
        with expect_error((KeyError, IndexError)):
            pass


def test_a_warning_is_shown(capsys):
    """Given a warning class, the block must warn; torch's text loses where it was compiled."""
    y = torch.ones(2, requires_grad=True) * 2
    with expect_error(UserWarning, match="not a leaf") as caught:
        _ = y.grad
    shown = capsys.readouterr().out
    assert "UserWarning: The .grad attribute of a Tensor that is not a leaf" in shown
    assert "Triggered internally" not in shown
    assert isinstance(caught.error, UserWarning)


def test_a_missing_warning_is_a_failure():
    """A page that promises a warning fails when none comes."""
    with pytest.raises(AssertionError, match="expected UserWarning, but no such warning"):
        with expect_error(UserWarning):
            pass


def test_other_warnings_are_passed_on():
    """Only the expected one is kept from the reader's own filters."""
    with warnings.catch_warnings(record=True) as passed:
        warnings.simplefilter("always")
        with expect_error(UserWarning):
            warnings.warn("old", DeprecationWarning, stacklevel=1)
            warnings.warn("mine", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in passed] == ["old"]


def test_an_error_in_a_warning_block_passes_through():
    """An error is not a warning."""
    with pytest.raises(KeyError), expect_error(UserWarning):
        raise KeyError("x")


def test_the_warning_filters_are_as_before():
    """Neither Python's filters nor torch's switch are left changed."""
    filters, always = list(warnings.filters), torch.is_warn_always_enabled()
    with expect_error(UserWarning):
        warnings.warn("mine", UserWarning, stacklevel=1)
    assert warnings.filters == filters
    assert torch.is_warn_always_enabled() == always


@pytest.mark.parametrize("bad", [3, "RuntimeError", int, ValueError("x")])
def test_something_that_is_no_exception_class_is_refused(bad):
    """The message says what is needed."""
    with pytest.raises(TypeError, match="needs an exception class"):
        expect_error(bad)


def test_errors_and_warnings_cannot_be_mixed():
    """They are caught in different ways."""
    with pytest.raises(TypeError, match="cannot be mixed"):
        expect_error((ValueError, UserWarning))


def test_an_error_without_source_is_shown_too(capsys):
    """Code that has no file (exec) shows its message alone."""
    code = compile("with expect_error(ZeroDivisionError):\n    1 / 0", "<nowhere>", "exec")
    exec(code, {"expect_error": expect_error})
    assert capsys.readouterr().out == "ZeroDivisionError: division by zero\n"
    assert sys.exc_info() == (None, None, None)
