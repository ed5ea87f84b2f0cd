"""Let nodes remember the source line that made them."""

import linecache
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gradbook.see import torch_internals

# With the separator: torchvision lies beside torch.
_LIBRARIES = tuple(
    str(path) + os.sep for path in (Path(torch.__file__).parent, Path(__file__).parents[1])
)


class SourceLine(NamedTuple):
    """A line of a program: ``file``, ``number`` from 1, and its ``text`` without indentation."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        """``train.py:12: y = x + 2``; for a notebook cell ``line 2: y = x + 2``."""
        path = Path(self.file)
        in_cell = path.suffix != ".py" or path.parent.name.startswith("ipykernel_")
        place = f"line {self.number}" if in_cell else f"{path.name}:{self.number}"
        return f"{place}: {self.text}" if self.text else place


@contextmanager
def record_lines() -> Iterator[None]:
    """Nodes recorded inside remember the source line that made them.

    `graph` and `replay` show it. Unlike anomaly mode this keeps one line, not a traceback, and
    checks nothing in backward. A line inside torch or gradbook counts for the line that called it.

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

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        first = torch_internals.sequence_number()
        result = func(*args, **(kwargs or {}))
        if torch_internals.sequence_number() != first:
            _mark(result, first)
        return result


def _mark(result: object, first: int) -> None:
    """Put the caller's line on all new nodes behind `result`."""
    stack = [tensor.grad_fn for tensor in _tensors(result)]
    line: SourceLine | None = None
    while stack:
        node = stack.pop()
        # One function may record several nodes; older ones have a line, or belong to others.
        if (
            node is None
            or torch_internals.leaf_of(node) is not None
            or torch_internals.node_number(node) < first
            or torch_internals.line_of(node) is not None
        ):
            continue
        if line is None:
            line = _calling_line(sys._getframe(2))
        torch_internals.set_line(node, line)
        stack.extend(child for child, _ in node.next_functions)


def _tensors(result: object) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, (list, tuple)):
        for one in result:
            yield from _tensors(one)


def _calling_line(frame: FrameType | None) -> SourceLine:
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_LIBRARIES):
            text = linecache.getline(file, frame.f_lineno, frame.f_globals).strip()
            return SourceLine(file, frame.f_lineno, text)
        frame = frame.f_back
    return SourceLine("<unknown>", 0, "")
