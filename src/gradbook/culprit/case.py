"""One failed program: its traceback, and what is read off it when it is needed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from gradbook import internals
from gradbook.culprit.frames import Place, named_tensors, places, torch_locals
from gradbook.culprit.source import bound, indexed, loaded, own_parts


@dataclass
class Finding:
    """What was found out.

    Attributes:
        subject: name of the guilty variable; None if it was not found.
        facts: sentences, most telling first.
        variant: `Variant.source` of the cause, if it is known.
        details: more, by name.
    """

    subject: str | None = None
    facts: list[str] = field(default_factory=list)
    variant: str = ""
    details: dict[str, str] = field(default_factory=dict)


class Case:
    """A traceback, and what is read off it when it is needed.

    Attributes:
        message: the text of the exception.
    """

    def __init__(self, trace: TracebackType | None, message: str) -> None:
        self.trace = trace
        self.message = message

    @cached_property
    def places(self) -> list[Place]:
        """The lines of the user's program, innermost first."""
        return places(self.trace)

    @property
    def place(self) -> Place | None:
        """The line that failed."""
        return self.places[0] if self.places else None

    @cached_property
    def roots(self) -> list[Tensor]:
        """The tensors on which backward() or autograd.grad() was called, in the innermost call."""
        for names in torch_locals(self.trace, _ENGINE):
            for key in ("t_outputs", "tensors", "outputs"):
                found = _tensors_of(names.get(key))
                if found:
                    return found
        return []

    @cached_property
    def inputs(self) -> list[Any]:
        """What autograd.grad() was asked to differentiate by."""
        for names in torch_locals(self.trace, {"grad": "autograd/__init__.py"}):
            given = names.get("t_inputs", names.get("inputs"))
            return list(given) if isinstance(given, (list, tuple)) else [given]
        return []

    @cached_property
    def graph(self) -> dict[Node, internals.Edges]:
        """The nodes behind `roots`, each after all that point at it."""
        return internals.walk([root.grad_fn for root in self.roots if root.grad_fn is not None])

    def names(self, wanted: Callable[[Tensor], bool]) -> list[str]:
        """Names of the tensors that are wanted, the innermost frame's first."""
        return list(
            dict.fromkeys(
                name for place in self.places for name, one in place.tensors() if wanted(one)
            )
        )

    def name_of(self, tensor: object) -> str | None:
        """The name of one tensor object."""
        return next(iter(self.names(lambda one: one is tensor)), None)

    def on_the_line(self) -> Iterator[tuple[str, Any]]:
        """Tensors and modules that the failing statement reads, then those that it writes to."""
        scope = self.place.scope if self.place is not None else None
        if self.place is None or scope is None or scope.statement is None:
            return
        parts = own_parts(scope.statement)
        names = [
            *(name for part in parts for name in loaded(part)),
            *sorted(bound(scope.statement)),
            *(name for part in parts for name in indexed(part)),
        ]
        seen = set()
        for name in names:
            path, value = self.place.resolve(name)
            if path not in seen and isinstance(value, (Tensor, nn.Module)):
                seen.add(path)
                yield path, value

    def tensors_at_hand(self) -> list[tuple[str, Tensor]]:
        """Tensors of the failing statement, then of its modules; if none, those of the frame."""
        found: list[tuple[str, Tensor]] = []
        inside: list[tuple[str, Tensor]] = []
        for name, value in self.on_the_line():
            if isinstance(value, Tensor):
                found.append((name, value))
            else:
                inside += named_tensors({name: value})
        found += inside
        if not found and self.place is not None:
            found = list(self.place.tensors())
        return found


# Where torch holds the tensors whose backward was asked for.
_ENGINE = {
    "_engine_run_backward": "autograd/graph.py",
    "backward": "autograd/__init__.py",
    "grad": "autograd/__init__.py",
    "_make_grads": "autograd/__init__.py",
}


def _tensors_of(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [one for one in value if isinstance(one, Tensor)]
    return []


# --------------------------------------------------------------------------------------- words


def listed(names: Iterable[str], *, code: bool = True, most: int = 6) -> str:
    """Names in backquotes, and how many more.

    >>> listed(["a", "b", "c"], most=2)
    '`a`, `b` and 1 more'
    """
    every = [f"`{name}`" if code else name for name in names]
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")


def describe(tensor: Tensor) -> str:
    """Dtype, shape and device in words.

    >>> import torch
    >>> describe(torch.ones(4, 3))
    'float32 of shape (4, 3)'
    """
    shape = internals.shape_of(tensor)
    dtype = str(tensor.dtype).removeprefix("torch.")
    place = "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    return f"{dtype}{place}" if shape is None else f"{dtype} of shape {tuple(shape)}{place}"


def made_by(tensor: Tensor) -> str:
    """Where a tensor comes from: ``a leaf``, or ``made by MulBackward0``."""
    node = tensor.grad_fn
    return "a leaf" if node is None else f"made by {internals.node_name(node)}"
