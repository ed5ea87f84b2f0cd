"""Explain uncaught errors where they appear: in a traceback, or below a notebook cell."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

from gradbook.understand.explain import explain
from gradbook.understand.explanation import Explanation

_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], Any]
_ThreadHook = Callable[[threading.ExceptHookArgs], Any]


@dataclass
class _Installed:
    """Our two hooks, and those that they stand before."""

    hook: _Hook
    thread_hook: _ThreadHook
    before: _Hook
    thread_before: _ThreadHook


_installed: _Installed | None = None


def install() -> None:
    """Add the explanation as a note to every uncaught error that the catalogue knows.

    The error itself, its traceback and its type stay as they are, and the hooks that were set
    before are called as before; errors in threads are covered too. Calling it again changes
    nothing. In IPython and Jupyter use ``%load_ext gradbook``.

    >>> install()
    >>> uninstall()
    """
    global _installed  # noqa: PLW0603 -- the hooks are global too
    if _installed is not None:
        return
    before, thread_before = sys.excepthook, threading.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
        if _installed is ours:
            annotate(error, rank="" if _torch_names_it() else _rank())
        return before(kind, error, trace)

    def thread_hook(arguments: threading.ExceptHookArgs) -> Any:
        if _installed is ours and arguments.exc_value is not None:
            annotate(arguments.exc_value)
        return thread_before(arguments)

    ours = _installed = _Installed(hook, thread_hook, before, thread_before)
    sys.excepthook, threading.excepthook = hook, thread_hook


def uninstall() -> None:
    """Undo `install`; without it, nothing happens.

    If another program has put its own hook before ours in the meantime, ours stays behind it and
    does nothing any more.
    """
    global _installed
    if _installed is None:
        return
    ours, _installed = _installed, None
    if sys.excepthook is ours.hook:
        sys.excepthook = ours.before
    if threading.excepthook is ours.thread_hook:
        threading.excepthook = ours.thread_before


def annotate(error: BaseException, rank: str | None = None) -> bool:
    """Add the explanation to `error` as a note, once; whether there is one now.

    Args:
        error: an exception of any kind.
        rank: which process of several it is, in words; by default what torchrun says.

    >>> error = RuntimeError("grad can be implicitly created only for scalar outputs")
    >>> annotate(error), annotate(error)
    (True, True)
    >>> error.__notes__[0].splitlines()[0]
    'gradbook: non-scalar-backward: `backward()` on more than one number'
    """
    try:
        notes = getattr(error, "__notes__", ())
        if any(isinstance(note, str) and note.startswith(_MARK) for note in notes):
            return True
        explanation = _explained(error)
        if explanation is not None:
            error.add_note(_MARK + (_rank() if rank is None else rank) + str(explanation))
    except Exception:  # a note is never worth a second error
        return False
    return explanation is not None


_MARK = "gradbook: "


def _rank() -> str:
    """Of one process of several, which one it is: ``rank 1 of 4: ``, else nothing."""
    rank, size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    several = rank.isdigit() and size.isdigit() and int(size) > 1
    return f"rank {rank} of {size}: " if several else ""


def _torch_names_it() -> bool:
    """Whether torch writes the rank before each line of an uncaught error itself."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _explained(error: BaseException) -> Explanation | None:
    explanation = explain(error)
    return None if explanation.kind == "unknown" else explanation


# ------------------------------------------------------------------------------------- IPython


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext gradbook``: show the explanation below the traceback of a failing cell.

    Args:
        shell: IPython's ``InteractiveShell``.
    """
    shell.events.register("post_run_cell", _after_cell)  # a second time changes nothing


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext gradbook``."""
    with contextlib.suppress(ValueError):  # it is not loaded
        shell.events.unregister("post_run_cell", _after_cell)


def _after_cell(result: Any) -> None:
    error = result.error_in_exec
    if not isinstance(error, BaseException):
        return
    try:
        explanation = _explained(error)
    except Exception:  # as above
        return
    if explanation is not None:
        from IPython.display import display  # it calls us, so it is there

        display(explanation)  # type: ignore[no-untyped-call]
