"""Show an error on purpose, and fail when it does not come."""

import linecache
import re
import traceback
import warnings
from types import TracebackType
from typing import Self

import torch


class expect_error:  # noqa: N801 -- used as `with expect_error(...)`, like pytest.raises
    """Run a block that must fail, and print its error as a reader would see it.

    Works for warnings too: given a `Warning` class, the block must warn.

    Args:
        type: the exception or warning class, or a tuple of exception classes.
        match: a regular expression that `re.search` must find in the message.

    Attributes:
        error: the exception or warning, once the block has ended.
        message: its text.

    Raises:
        AssertionError: nothing was raised, or the message does not match. An exception
            of another type passes through unchanged.
        TypeError: `type` is not an exception class.

    >>> x = torch.ones(3)
    >>> with expect_error(RuntimeError, match="does not require grad") as caught:
    ...     x.sum().backward()
    ----> 2     x.sum().backward()
    RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn
    >>> caught.message.startswith("element 0")
    True
    """

    error: BaseException | None
    message: str

    def __init__(
        self,
        type: type[BaseException] | tuple[type[BaseException], ...],  # noqa: A002 -- as in pytest.raises
        match: str | None = None,
    ) -> None:
        expected = type if isinstance(type, tuple) else (type,)
        for one in expected:
            if not (isinstance(one, _CLASS) and issubclass(one, BaseException)):
                raise TypeError(
                    f"expect_error needs an exception class such as RuntimeError, got {one!r}"
                )
        kinds = {issubclass(one, Warning) for one in expected}
        if len(kinds) != 1:
            raise TypeError(
                "expect_error needs an exception class, or a tuple of them; "
                "errors and warnings cannot be mixed"
            )
        self._expected = expected
        self._warns = kinds == {True}
        self._pattern = re.compile(match) if match is not None else None
        self._recorder: warnings.catch_warnings[list[warnings.WarningMessage]] | None = None
        self.error = None
        self.message = ""

    def __enter__(self) -> Self:
        if self._warns:
            self._recorder = warnings.catch_warnings(record=True)
            self._recorded = self._recorder.__enter__()
            warnings.simplefilter("always")
            # torch issues some warnings once a process; a page must see them each time.
            self._was_always = torch.is_warn_always_enabled()
            torch.set_warn_always(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if self._recorder is not None:
            torch.set_warn_always(self._was_always)
            self._recorder.__exit__(kind, error, trace)
            return self._end_warning(error)
        if error is None:
            raise AssertionError(f"expected {self._names()}, but nothing was raised")
        if not isinstance(error, self._expected):
            return False
        self._keep(error)
        for frame in traceback.extract_tb(trace, limit=1):
            _print_line(frame.lineno, frame.line)
        print("".join(traceback.format_exception_only(error)).rstrip())
        return True

    def _end_warning(self, error: BaseException | None) -> bool:
        if error is not None:
            return False
        ours = [w for w in self._recorded if issubclass(w.category, self._expected)]
        for other in self._recorded:
            if other not in ours:
                warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        if not ours:
            raise AssertionError(f"expected {self._names()}, but no such warning was issued")
        first = ours[0]
        assert isinstance(first.message, Warning)
        self._keep(first.message)
        _print_line(first.lineno, linecache.getline(first.filename, first.lineno))
        # Where torch was compiled says nothing to a reader.
        print(f"{first.category.__name__}: {_TRIGGERED.sub('', self.message)}")
        return False

    def _keep(self, error: BaseException) -> None:
        self.error = error
        self.message = str(error)
        if self._pattern is not None and not self._pattern.search(self.message):
            raise AssertionError(
                f"expected a message that matches {self._pattern.pattern!r}, "
                f"got {type(error).__name__}: {self.message}"
            ) from error

    def _names(self) -> str:
        return " or ".join(one.__name__ for one in self._expected)


_CLASS = type
_TRIGGERED = re.compile(r"\s*\(Triggered internally at .*\)\s*$")


def _print_line(number: int | None, source: str | None) -> None:
    """Point at the failing line, as IPython does."""
    if source and source.strip():
        print(f"----> {number}     {source.strip()}")
