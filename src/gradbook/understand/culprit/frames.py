"""Frames of a running or failed program, and what its tensors are called there.

Everything here reads, and nothing is kept: namespaces are copied, no code of the program runs
(no property, no ``__getattr__``, no ``__class__``), and a `Place` is meant to live as long as one
call.
"""

import inspect
import linecache
import os
import re
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MappingProxyType,
    ModuleType,
    TracebackType,
)
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradbook.see.lines import SourceLine
from gradbook.understand.culprit.source import Scope, scope_at, unwrapped

_TORCH = str(Path(torch.__file__).parent) + os.sep
_OWN = str(Path(__file__).parents[2]) + os.sep
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
_INSTALLED = ("/site-packages/", "/dist-packages/")

# More is not looked at: a name is worth little if it takes minutes to find.
_MOST_PLACES = 50
_MOST_VALUES = 20_000
_MOST_ITEMS = 100


# The type alone decides what a value is: isinstance would ask the value for its __class__.


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a tensor, and no proxy that says so."""
    return issubclass(type(value), Tensor)


def is_module(value: object) -> TypeGuard[nn.Module]:
    """Whether a value is an ``nn.Module``, and no proxy that says so."""
    return issubclass(type(value), nn.Module)


class Place:
    """One line of the program in one frame.

    Attributes:
        source: file, number and text of the line.
        code: what runs in the frame.
        namespace: a copy of the local names; outside of a function, of the global ones.
        visible: names of outer scopes that the code of this frame uses.
    """

    def __init__(self, frame: FrameType, number: int, instruction: int = -1) -> None:
        self.code = frame.f_code
        file = self.code.co_filename
        text = linecache.getline(file, number, frame.f_globals).strip()
        self.source = SourceLine(file, number, text)
        self.namespace = _names_of(frame)
        outside = _plain(frame.f_globals)
        self.visible = {
            name: outside[name]
            for name in _names_used(self.code)
            if name in outside and name not in self.namespace
        }
        self._lines = linecache.getlines(file, frame.f_globals)
        self._instruction = instruction

    def resolve(self, name: str) -> tuple[str, Any]:
        """The longest beginning of a dotted name that stands for something, and for what.

        Of ``model.weight.exp`` that is ``model.weight``. No property is read.
        """
        first = name.partition(".")[0]
        space = self.namespace if first in self.namespace else self.visible
        return resolve(space, name)

    def tensors(self) -> list[tuple[str, Tensor]]:
        """All tensors that have a name here, plain names first."""
        return self._tensors

    @cached_property
    def _tensors(self) -> list[tuple[str, Tensor]]:
        return list(named_tensors({**self.namespace, **self.visible}))

    def name_of(self, tensor: object) -> str | None:
        """The name of one tensor object."""
        return next((name for name, one in self._tensors if one is tensor), None)

    @cached_property
    def scope(self) -> Scope | None:
        """The function's source; None if there is none, or it cannot be parsed."""
        return scope_at(self._lines, self.source.number, self.code)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the function's arguments."""
        several = (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS)
        count = self.code.co_argcount + self.code.co_kwonlyargcount
        count += sum(bool(self.code.co_flags & flag) for flag in several)
        return self.code.co_varnames[:count]

    @property
    def span(self) -> tuple[int | None, int | None, int | None, int | None] | None:
        """Where the expression that failed stands: first and last line, first and last column."""
        if self._instruction < 0:
            return None
        return next(islice(self.code.co_positions(), self._instruction // 2, None), None)


def _names_used(code: CodeType) -> Iterator[str]:
    """The global names in a function, and in the comprehensions and functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _names_used(constant)


def places(trace: TracebackType | None) -> list[Place]:
    """The lines of the user's program in a traceback, innermost first.

    Code of libraries is left out, unless there is nothing else.
    """
    every = [
        (one.tb_frame, one.tb_lineno, one.tb_lasti)
        for one in chain(trace)
        if not _in_library(one.tb_frame.f_code)
    ]
    own = [one for one in every if not _installed(one[0].f_code.co_filename)]
    return [Place(*one) for one in (own or every)[: -_MOST_PLACES - 1 : -1]]


def calling_place() -> Place | None:
    """The line of the program that called this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _in_library(frame.f_code):
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
        if ending is not None and in_torch(one.tb_frame) and _path(one.tb_frame).endswith(ending):
            found.append(_names_of(one.tb_frame))
    return found[::-1]


def last_torch_calls(trace: TracebackType | None) -> list[dict[str, Any]]:
    """Local names of torch's own Python code at the end of a traceback, innermost first."""
    found: list[dict[str, Any]] = []
    for one in chain(trace):
        found = [_names_of(one.tb_frame), *found] if in_torch(one.tb_frame) else []
    return found[:_MOST_PLACES]


def in_torch(frame: FrameType) -> bool:
    """Whether a frame runs code of torch."""
    return frame.f_code.co_filename.startswith(_TORCH)


def passes_through(trace: TracebackType | None, ending: str) -> bool:
    """Whether a traceback has a frame of torch in a file whose path ends in `ending`."""
    return any(
        in_torch(one.tb_frame) and _path(one.tb_frame).endswith(ending) for one in chain(trace)
    )


def _path(frame: FrameType) -> str:
    return frame.f_code.co_filename.replace(os.sep, "/")


def function_of(value: object) -> FunctionType | None:
    """The function of the program behind a value; None for one of a library, or none at all."""
    function = unwrapped(value)
    if function is None or _in_library(function.__code__):
        return None
    return None if _installed(function.__code__.co_filename) else function


def _in_library(code: CodeType) -> bool:
    file = code.co_filename
    # What dataclasses and the like generate is called "<string>", as is `python -c` and exec.
    generated = file == "<string>" and code.co_name.startswith("__")
    return (
        generated
        or file.startswith((_TORCH, _OWN, "<frozen "))
        or (file.startswith(_LIBRARIES) and not _installed(file))
    )


def _installed(file: str) -> bool:
    return any(part in file.replace(os.sep, "/") for part in _INSTALLED)


def _names_of(frame: FrameType) -> dict[str, Any]:
    """A copy of the frame's namespace.

    Up to Python 3.12 asking for it leaves a snapshot in the frame, which would keep every local
    value alive until the function ends. Unless somebody else holds it, it is emptied again.
    """
    snapshot: Any = frame.f_locals
    if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return _plain(snapshot)
    names = dict(snapshot)
    if type(snapshot) is dict and sys.getrefcount(snapshot) <= _OWN_REFERENCES:
        snapshot.clear()
    return names


_OWN_REFERENCES = 3  # the frame, the variable, the argument of getrefcount


def _plain(namespace: object) -> dict[str, Any]:
    """A copy of a dict, whose class may be the program's; of anything else, nothing."""
    if type(namespace) is MappingProxyType:  # of a class
        namespace = dict(namespace)
    if not issubclass(type(namespace), dict):
        return {}
    items = dict.items(cast("dict[object, Any]", namespace))
    return {name: value for name, value in items if type(name) is str}


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
        own = _plain(object.__getattribute__(value, "__dict__"))
    except AttributeError:  # a class with __slots__, or written in C
        return {}
    if is_module(value):
        # Where a module keeps what it registers; empty before Module.__init__ has run.
        for kept in ("_parameters", "_buffers", "_modules"):
            own.update(_plain(own.pop(kept, None)))
    return own


def resolve(namespace: Mapping[str, Any], name: str) -> tuple[str, Any]:
    """The longest beginning of a dotted name that stands for something, and for what."""
    path, *rest = name.split(".")
    found = namespace.get(path)
    for part in rest:
        inside = members(found)
        if part not in inside:
            break
        found, path = inside[part], f"{path}.{part}"
    return path, found


# The old results of a notebook.
_OLD_RESULT = re.compile(r"_+\d*|_i+\d*|In|Out|_[iod]h")
# Nothing is looked for in these; what an optimizer holds has better names.
_CLOSED = (type, str, bytes, int, float, FunctionType, BuiltinFunctionType, Optimizer)


def named_tensors(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Tensors in a namespace with the names under which they can be reached.

    Plain names come first, then attributes and elements of lists and dicts, level by level.
    """
    for path, value in _reachable(namespace):
        if is_tensor(value):
            yield path, value


def modules_in(namespace: Mapping[str, Any]) -> Iterator[tuple[str, nn.Module]]:
    """All modules in a namespace, with their children, by dotted names."""
    for path, value in _reachable(namespace):
        if is_module(value):
            yield path, value


def _reachable(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    queue = deque(
        (name, value) for name, value in namespace.items() if not _OLD_RESULT.fullmatch(name)
    )
    seen: set[int] = set()
    while queue and len(seen) < _MOST_VALUES:
        path, value = queue.popleft()
        kind = type(value)
        if is_tensor(value):
            yield path, value
        elif not issubclass(kind, _CLOSED) and id(value) not in seen:
            seen.add(id(value))
            yield path, value
            queue.extend(_parts(path, value))


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What a value holds, with the names of its parts."""
    kind = type(value)
    if kind in (list, tuple):
        for number, one in enumerate(value[:_MOST_ITEMS]):
            yield f"{path}[{number}]", one
    elif kind is dict:
        for key, one in islice(list(value.items()), _MOST_ITEMS):
            if type(key) in (str, int):
                yield f"{path}[{key!r}]", one
    elif not issubclass(kind, ModuleType) or _of_the_program(value):
        for key, one in members(value).items():
            if not key.startswith("__"):
                yield f"{path}.{key}", one


def _of_the_program(module: object) -> bool:
    """Whether a Python module is a file of the program."""
    file = members(module).get("__file__")
    if type(file) is not str:
        return False
    return not (_installed(file) or file.startswith((_TORCH, _OWN, *_LIBRARIES)))
