"""Frames of a running or failed program.

Everything here reads, and nothing is kept: namespaces are copied, no code of the program runs, and
a `Place` is meant to live as long as one call.
"""

import inspect
import linecache
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple

from torch import Tensor

from gradbook.see.lines import SourceLine
from gradbook.see.source import parse
from gradbook.understand.culprit.cells import Cells, cells_at
from gradbook.understand.culprit.names import (
    installed,
    members,
    named_tensors,
    of_library,
    of_torch,
    own,
    plain,
    resolve,
)
from gradbook.understand.culprit.source import Scope, scope_at

_MOST_PLACES = 50


class Place:
    """One line of the program in one frame.

    Attributes:
        code: what runs in the frame.
        namespace: a copy of the local names; outside of a function, of the global ones.
        visible: names of outer scopes that the code of this frame uses.
        around: the frames that led to this one, outermost first, each with its line.
    """

    def __init__(
        self,
        frame: FrameType,
        number: int,
        instruction: int = -1,
        around: Sequence["Line"] = (),
    ) -> None:
        self.code = frame.f_code
        self._own_number = number
        self.around = around
        self.namespace = names_of(frame)
        outside = plain(frame.f_globals)
        self.visible = {
            name: outside[name]
            for name in _names_used(self.code)
            if name in outside and name not in self.namespace
        }
        self._lines = linecache.getlines(self.code.co_filename, frame.f_globals)
        self._instruction = instruction
        self._cells = self._find_cells()

    def _find_cells(self) -> Cells | None:
        """In IPython, the cells that have run."""
        place = self._own_span
        column = place[2] if place is not None and place[0] == self._own_number else None
        return cells_at(self.namespace, self._lines, self._own_number, self.code, column)

    @property
    def number(self) -> int:
        """The line; in IPython, of all cells that have run."""
        return self._own_number + (self._cells.offset if self._cells is not None else 0)

    @cached_property
    def source(self) -> SourceLine:
        """File, number and text of the line; no text where the file has changed since it ran."""
        number = self._own_number
        readable = parse(self._lines, number) is not None or self.file.endswith(".py")
        changed = self.scope is None and readable
        text = "" if changed else "".join(self._lines[number - 1 : number]).strip()
        return SourceLine(self.file, number, text)

    @property
    def title(self) -> str:
        """The function, with its class; empty outside of functions."""
        name = self.code.co_qualname
        return "" if name == "<module>" else name.rpartition("<locals>.")[2]

    @property
    def file(self) -> str:
        """The file of the source."""
        return self.code.co_filename

    def known(self, name: str) -> list[Any]:
        """What a plain name stands for; empty if it is bound to nothing."""
        spaces = (self.namespace, self.visible)
        return next(([space[name]] for space in spaces if name in space), [])

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
        if self._cells is not None:
            return self._cells.scope
        span = self.span
        column = span[2] if span is not None and span[0] == self.number else None
        return scope_at(self._lines, self.number, self.code, column)

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
        own = self._own_span
        if own is None or self._cells is None:
            return own
        first, last, left, right = own
        shift = self._cells.offset
        return (first and first + shift, last and last + shift, left, right)

    @property
    def _own_span(self) -> tuple[int | None, int | None, int | None, int | None] | None:
        if self._instruction < 0:
            return None
        return next(islice(self.code.co_positions(), self._instruction // 2, None), None)


def _names_used(code: CodeType) -> Iterator[str]:
    """The global names in a function, and in the comprehensions and functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _names_used(constant)


class Line(NamedTuple):
    """A frame, and the line in which it is."""

    frame: FrameType
    number: int
    instruction: int = -1


def stack_of(trace: TracebackType | None) -> list[Line]:
    """The frames of a traceback, outermost first, behind those that called the first one.

    A function that has returned has no callers any more: they may have gone on since.
    """
    found = [Line(one.tb_frame, one.tb_lineno, one.tb_lasti) for one in chain(trace)]
    running = running_stack()
    first = found[0].frame if found else None
    start = next((n for n, line in enumerate(running) if line.frame is first), 0)
    return [*running[:start], *found]


def running_stack() -> list[Line]:
    """The frames that are running now, outermost first, without our own.

    A list that holds the frame in which it is held would stay until the garbage is collected.
    """
    found: list[Line] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if found or not own(frame.f_code.co_filename):
            found.append(Line(frame, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def places(trace: TracebackType | None) -> list[Place]:
    """The lines of the user's program in a traceback, innermost first.

    Code of libraries is left out, unless there is nothing else.
    """
    stack = stack_of(trace)
    callers = len(stack) - sum(1 for _ in chain(trace))
    every = [
        Placed(line, stack[: callers + number])
        for number, line in enumerate(stack[callers:])
        if not of_library(line.frame.f_code)
    ]
    ours = [one for one in every if not installed(one.line.frame.f_code.co_filename)]
    return [Place(*line, around) for line, around in (ours or every)[: -_MOST_PLACES - 1 : -1]]


class Placed(NamedTuple):
    """A line, and the frames that led to it."""

    line: Line
    around: list[Line]


def calling_place() -> Place | None:
    """The line of the program that called this package; at a breakpoint, where it stands."""
    stack = running_stack()
    while stack and of_library(stack[-1].frame.f_code):
        stack.pop()
    stopped = _stopped_at(stack)
    if stopped is not None:
        stack = stopped
    return Place(*stack[-1], stack[:-1]) if stack else None


def _stopped_at(stack: list[Line]) -> list[Line] | None:
    """Of what is typed into a debugger the frames up to that which it looks at."""
    debuggers = sys.modules.get("bdb")
    if debuggers is None or len(stack) < 2 or stack[-2].frame.f_code.co_name not in _TYPED:
        return None
    debugger = names_of(stack[-2].frame).get("self")
    frame = members(debugger).get("curframe")
    if not issubclass(type(debugger), debuggers.Bdb) or type(frame) is not FrameType:
        return None
    return [*_frames_before(frame), Line(frame, frame.f_lineno)]


_TYPED = {"default", "_getval", "_getval_except"}  # where pdb runs what is typed


def _frames_before(frame: FrameType) -> list[Line]:
    found = []
    caller = frame.f_back
    while caller is not None:
        found.append(Line(caller, caller.f_lineno))
        caller = caller.f_back
    return found[::-1]


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
            found.append(names_of(one.tb_frame))
    return found[::-1]


def last_torch_calls(trace: TracebackType | None) -> list[dict[str, Any]]:
    """Local names of torch's own Python code at the end of a traceback, innermost first."""
    found: list[dict[str, Any]] = []
    for one in chain(trace):
        found = [names_of(one.tb_frame), *found] if in_torch(one.tb_frame) else []
    return found[:_MOST_PLACES]


def in_torch(frame: FrameType) -> bool:
    """Whether a frame runs code of torch."""
    return of_torch(frame.f_code.co_filename)


def passes_through(trace: TracebackType | None, ending: str) -> bool:
    """Whether a traceback has a frame of torch in a file whose path ends in `ending`."""
    return any(
        in_torch(one.tb_frame) and _path(one.tb_frame).endswith(ending) for one in chain(trace)
    )


def _path(frame: FrameType) -> str:
    return frame.f_code.co_filename.replace(os.sep, "/")


def names_of(frame: FrameType) -> dict[str, Any]:
    """A copy of the frame's namespace.

    Up to Python 3.12 asking for it leaves a snapshot in the frame, which would keep every local
    value alive until the function ends. Unless somebody else holds it, it is emptied again.
    """
    snapshot: Any = frame.f_locals
    if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return plain(snapshot)
    names = dict(snapshot)
    if type(snapshot) is dict and sys.getrefcount(snapshot) <= _OWN_REFERENCES:
        snapshot.clear()
    return names


_OWN_REFERENCES = 3  # the frame, the variable, the argument of getrefcount
