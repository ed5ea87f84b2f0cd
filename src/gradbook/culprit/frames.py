"""Frames of a running or failed program, and what its tensors are called there.

Everything here reads, and nothing is kept: namespaces are copied, no code of the program runs
(no property, no ``__getattr__``), and a `Place` is meant to live as long as one call.
"""

import inspect
import linecache
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from gradbook.culprit.source import Scope, scope_at
from gradbook.lines import SourceLine

_TORCH = str(Path(torch.__file__).parent)
_OWN = str(Path(__file__).parent.parent)
_LIBRARIES = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_INSTALLED = ("site-packages", "dist-packages")

# More is not looked at: a name is worth little if it takes minutes to find.
_MOST_NAMES = 20_000
_MOST_ITEMS = 100


class Place:
    """One line of the program in one frame.

    Attributes:
        source: file, number and text of the line.
        function: name of the function, ``"<module>"`` outside of any.
        namespace: a copy of the local names; outside of a function, of the global ones.
        visible: names of outer scopes that the code of this frame uses.
    """

    def __init__(self, frame: FrameType, number: int) -> None:
        code = frame.f_code
        text = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        self.source = SourceLine(code.co_filename, number, text)
        self.function = code.co_name
        self.namespace = _names_of(frame)
        self.visible = {
            name: frame.f_globals[name]
            for name in code.co_names
            if name in frame.f_globals and name not in self.namespace
        }
        self._code = code
        self._lines = linecache.getlines(code.co_filename, frame.f_globals)

    def resolve(self, name: str) -> tuple[str, Any]:
        """The longest beginning of a dotted name that stands for something, and for what.

        Of ``model.weight.exp`` that is ``model.weight``. No property is read.
        """
        first, *rest = name.split(".")
        found = self.namespace.get(first, self.visible.get(first))
        path = first
        for part in rest:
            inside = members(found)
            if part not in inside:
                break
            found, path = inside[part], f"{path}.{part}"
        return path, found

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors that have a name here, plain names first."""
        yield from named_tensors({**self.namespace, **self.visible})

    @cached_property
    def scope(self) -> Scope | None:
        """The function's source; None if there is none, or it cannot be parsed."""
        return scope_at(self._lines, self.source.number, self._code)


def places(trace: TracebackType | None) -> list[Place]:
    """The lines of the user's program in a traceback, innermost first.

    Code of libraries is left out, unless there is nothing else.
    """
    every = [(one.tb_frame, one.tb_lineno) for one in chain(trace)]
    every.reverse()
    chosen = [pair for pair in every if not _in_library(pair[0].f_code.co_filename)]
    own = [pair for pair in chosen if not _installed(pair[0].f_code.co_filename)]
    return [Place(frame, number) for frame, number in own or chosen]


def calling_place() -> Place | None:
    """The line of the program that called this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _in_library(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else Place(frame, frame.f_lineno)


def chain(trace: TracebackType | None) -> Iterator[TracebackType]:
    """The entries of a traceback, outermost first."""
    while trace is not None:
        yield trace
        trace = trace.tb_next


def torch_locals(trace: TracebackType | None, functions: Mapping[str, str]) -> list[dict[str, Any]]:
    """Local names in frames of torch, innermost first.

    Args:
        trace: a traceback.
        functions: names of functions, with the end of the path of their file.
    """
    found = []
    for one in chain(trace):
        ending = functions.get(one.tb_frame.f_code.co_name)
        if (
            ending is not None
            and one.tb_frame.f_code.co_filename.startswith(_TORCH)
            and _path(one.tb_frame).endswith(ending)
        ):
            found.append(_names_of(one.tb_frame))
    return found[::-1]


def passes_through(trace: TracebackType | None, ending: str) -> bool:
    """Whether a traceback has a frame of a file whose path ends in `ending`."""
    return any(_path(one.tb_frame).endswith(ending) for one in chain(trace))


def _path(frame: FrameType) -> str:
    return frame.f_code.co_filename.replace("\\", "/")


def _in_library(file: str) -> bool:
    return (
        file.startswith((_TORCH, _OWN, "<frozen "))
        or file == "<string>"
        or (file.startswith(_LIBRARIES) and not _installed(file))
    )


def _installed(file: str) -> bool:
    return any(part in file for part in _INSTALLED)


def _names_of(frame: FrameType) -> dict[str, Any]:
    """A copy of the frame's namespace.

    Up to Python 3.12 asking for it leaves a snapshot in the frame, which would keep every local
    value alive until the function ends. Unless somebody else holds it, it is emptied again.
    """
    snapshot: Any = frame.f_locals
    names = dict(snapshot)
    if (
        frame.f_code.co_flags & inspect.CO_OPTIMIZED
        and type(snapshot) is dict
        and sys.getrefcount(snapshot) <= _OWN_REFERENCES
    ):
        snapshot.clear()
    return names


_OWN_REFERENCES = 3  # the frame, the variable, the argument of getrefcount


# ---------------------------------------------------------------------- private names of torch


def plain_tensors() -> AbstractContextManager[None]:
    """Inside, reading an attribute of a tensor runs no code of a subclass or of a mode."""
    return torch._C.DisableTorchFunction()


def version_of(tensor: Tensor) -> int | None:
    """How many in-place changes there were; None for a tensor that does not count them."""
    try:
        return tensor._version
    except RuntimeError:  # made in inference mode
        return None


# --------------------------------------------------------------------------------------- names


def members(value: object) -> dict[str, Any]:
    """Attributes that can be read without running code of the program."""
    try:
        own = dict(object.__getattribute__(value, "__dict__"))
    except (AttributeError, TypeError, ValueError):
        return {}
    if isinstance(value, nn.Module):
        # Where a module keeps what it registers; empty before Module.__init__ has run.
        for kept in ("_parameters", "_buffers", "_modules"):
            registered = own.pop(kept, None)
            if isinstance(registered, dict):
                own.update(registered)
    return own


def named_tensors(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Tensors in a namespace with the names under which they can be reached.

    Plain names come first, then attributes, then elements of lists and dicts. Names that start
    with an underscore, such as the old results of a notebook, are left out.
    """
    later: list[tuple[str, Any]] = []
    for name, value in namespace.items():
        if name.startswith("_") or name in ("In", "Out"):
            continue
        if isinstance(value, Tensor):
            yield name, value
        elif not isinstance(value, (type, str, bytes, int, float)) and not inspect.ismodule(value):
            later.append((name, value))
    count = 0
    inside: list[tuple[str, Any]] = []
    for name, value in later:
        for found in _inside(name, value, inside):
            yield found
            count += 1
            if count >= _MOST_NAMES:
                return
    for name, value in inside:
        for found in _inside(name, value, []):
            yield found
            count += 1
            if count >= _MOST_NAMES:
                return


def _inside(name: str, value: Any, deeper: list[tuple[str, Any]]) -> Iterator[tuple[str, Tensor]]:
    """The tensors in one object; what else is in it, and may hold some, goes to `deeper`."""
    if isinstance(value, nn.Module):
        yield from _of_module(name, value)
        return
    items: Iterator[tuple[str, Any]]
    if type(value) in (list, tuple):
        items = ((f"{name}[{number}]", one) for number, one in enumerate(value[:_MOST_ITEMS]))
    elif type(value) is dict:
        few = list(value.items())[:_MOST_ITEMS]
        items = ((f"{name}[{key!r}]", one) for key, one in few if isinstance(key, (str, int)))
    else:
        few = list(members(value).items())[:_MOST_ITEMS]
        items = ((f"{name}.{key}", one) for key, one in few if not key.startswith("_"))
    for path, one in items:
        if isinstance(one, Tensor):
            yield path, one
        elif isinstance(one, (nn.Module, list, tuple, dict)):
            deeper.append((path, one))


def modules_in(namespace: Mapping[str, Any]) -> Iterator[tuple[str, nn.Module]]:
    """All modules in a namespace, with their children, by dotted names."""
    for name, value in namespace.items():
        if isinstance(value, nn.Module) and not name.startswith("_"):
            yield from value.named_modules(prefix=name)


def _of_module(name: str, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    stack = [(name, module)]
    seen = set()
    while stack:
        path, one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        children = []
        for key, value in members(one).items():
            if isinstance(value, Tensor):
                yield f"{path}.{key}", value
            elif isinstance(value, nn.Module):
                children.append((f"{path}.{key}", value))
        stack.extend(reversed(children))
