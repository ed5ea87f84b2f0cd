"""Let nodes remember the source line that made them."""

import linecache
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from gradbook.see import torch_internals
from gradbook.see.origins import Made, Origins, tensors
from gradbook.see.source import Written, written

_TORCH = Path(torch.__file__).parent
# With the separator: torchvision lies beside torch.
_LIBRARIES = tuple(str(path) + os.sep for path in (_TORCH, Path(__file__).parents[1]))
# Functions and methods that hand on what they are given.
_FRONTS = tuple(
    str(_TORCH / name)
    for name in ("overrides.py", "_tensor.py", "functional.py", "nn/functional.py")
)


class SourceLine(NamedTuple):
    """A line of a program.

    Attributes:
        file: its file, as the program names it.
        number: from 1.
        text: without indentation.
        part: the expression in it that made a node, with the variable if it is all that was
            assigned, ``y = x + 2``; empty if another node was made there too, or in a library.
    """

    file: str
    number: int
    text: str
    part: str = ""

    def __str__(self) -> str:
        """``train.py:12: y = x + 2``; for a notebook cell ``line 2: y = x + 2``."""
        path = Path(self.file)
        in_cell = path.suffix != ".py" or path.parent.name.startswith("ipykernel_")
        place = f"line {self.number}" if in_cell else f"{path.name}:{self.number}"
        return f"{place}: {self.text}" if self.text else place


@contextmanager
def record_lines() -> Iterator[None]:
    """Nodes recorded inside remember the source line that made them, and its numbers.

    `graph` and `replay` show them: the expression, how the program calls its operands, and the
    result if it has at most 24 elements. `replay` lets one change the leaves then. Unlike anomaly
    mode this keeps one line, not a traceback, and checks nothing in backward. A line inside torch
    or gradbook counts for the line that called it.

    >>> x = torch.ones(2, requires_grad=True)
    >>> with record_lines():
    ...     y = (x + 2) * x
    >>> from gradbook import graph
    >>> graph(y).nodes[0].line.text
    'y = (x + 2) * x'
    """
    with _Recorder():
        yield


class _Recorder(TorchFunctionMode):
    """Marks the nodes that each torch function adds to the graph."""

    def __init__(self) -> None:
        super().__init__()
        self._origins = Origins()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        first = torch_internals.sequence_number()
        result = func(*args, **kwargs)
        if torch_internals.sequence_number() != first:
            self._mark(result, first, (func, args, kwargs))
        else:
            self._origins.passed(func, args, kwargs, result)
        return result

    def _mark(
        self, result: object, first: int, call: tuple[Any, tuple[Any, ...], Mapping[str, Any]]
    ) -> None:
        """Put the caller's line on all new nodes behind `result`."""
        results = [*tensors(result)]
        new = _new_nodes(results, first)
        if not new:
            return
        line, source, frame = _calling_line(sys._getframe(2))
        doubt = self._origins.doubt_of(*call[1:])
        for node in new:
            tensor = next((one for one in results if one.grad_fn == node), None)
            if tensor is None:
                torch_internals.set_line(node, line, Made(None, doubt=doubt))
                continue
            look = partial(_look, frame)
            made = self._origins.made(node, tensor, source, look, call, alone=len(new) == 1)
            part = SourceLine(*line[:3], source.text) if source else line
            torch_internals.set_line(node, part, made)


def _new_nodes(results: list[Tensor], first: int) -> list[Node]:
    """The nodes behind `results` from number `first` on that have no line yet."""
    found: dict[Node, None] = {}
    stack = [tensor.grad_fn for tensor in results]
    while stack:
        node = stack.pop()
        # One function may record several nodes; older ones have a line, or belong to others.
        if (
            node is None
            or node in found
            or torch_internals.leaf_of(node) is not None
            or torch_internals.node_number(node) < first
            or torch_internals.line_of(node) is not None
        ):
            continue
        found[node] = None
        stack.extend(child for child, _ in node.next_functions)
    return [*found]


def _look(frame: FrameType | None, name: str) -> object:
    """What a name stands for in a frame; None if it is no name there."""
    if frame is None:
        return None
    return frame.f_locals.get(name, frame.f_globals.get(name))


def _calling_line(
    frame: FrameType | None,
) -> tuple[SourceLine, Written | None, FrameType | None]:
    """The line that called torch, its expression if it made the nodes itself, and its frame."""
    direct = True
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_LIBRARIES):
            text = linecache.getline(file, frame.f_lineno, frame.f_globals).strip()
            source = written(frame.f_code, frame.f_lasti) if direct else None
            return SourceLine(file, frame.f_lineno, text), source, frame
        direct = direct and file in _FRONTS
        frame = frame.f_back
    return SourceLine("<unknown>", 0, ""), None, None
