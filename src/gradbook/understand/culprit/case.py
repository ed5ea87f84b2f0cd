"""One failed program: its traceback, and what is read off it when it is needed."""

import ast
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple, Protocol, cast

from torch import Tensor, nn
from torch.autograd.graph import Node

from gradbook.see import torch_internals
from gradbook.understand.culprit.frames import Place, last_torch_calls, places, torch_locals
from gradbook.understand.culprit.names import is_tensor, named_tensors
from gradbook.understand.culprit.source import dotted, line_in_words, operands


@dataclass
class Finding:
    """What was found out.

    Attributes:
        subject: name of the guilty variable; None if it was not found.
        facts: sentences, most telling first.
        variant: `Variant.source` of the cause, if the program shows it.
        details: more, by name.
        excluded: `Variant.source` of causes that the program excludes.
        likely: `Variant.source` of causes that are left, likeliest first.
        cures: what to do in this very program, best first.
        complete: whether the facts tell all that the words of the variant would.
    """

    subject: str | None = None
    facts: list[str] = field(default_factory=list)
    variant: str = ""
    details: dict[str, str] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)
    likely: list[str] = field(default_factory=list)
    cures: list[str] = field(default_factory=list)
    complete: bool = False


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
    def keeps_graph(self) -> bool:
        """Whether this backward pass frees nothing itself."""
        for names in torch_locals(self.trace, _ENGINE):
            for key in ("retain_graph", "create_graph"):
                if names.get(key) is True:
                    return True
        return False

    @cached_property
    def inputs(self) -> list[Any]:
        """What autograd.grad() was asked to differentiate by."""
        for names in torch_locals(self.trace, {"grad": "autograd/__init__.py"}):
            given = names.get("t_inputs", names.get("inputs"))
            return list(given) if isinstance(given, (list, tuple)) else [given]
        return []

    @cached_property
    def graph(self) -> dict[Node, torch_internals.Edges]:
        """The nodes behind `roots`, each after all that point at it."""
        return torch_internals.walk(
            [root.grad_fn for root in self.roots if root.grad_fn is not None]
        )

    def names(self, wanted: Callable[[Tensor], bool]) -> list[str]:
        """Names of the tensors that are wanted, the innermost frame's first."""
        return list(
            dict.fromkeys(
                name for place in self.places for name, one in place.tensors() if wanted(one)
            )
        )

    def name_of(self, tensor: object) -> str | None:
        """The best name of one tensor object.

        The innermost frame's, but not that of a loop, or of an element, if there is another.
        """
        found = [
            (is_passing(place, name), name)
            for place in self.places
            for name, one in place.tensors()
            if one is tensor
        ]
        return min(found, key=lambda pair: pair[0], default=(0, None))[1]

    @cached_property
    def operands(self) -> "list[Operand]":
        """What the failing expression works on, as far as its source tells."""
        scope = self.place.scope if self.place is not None else None
        if self.place is None or scope is None:
            return []
        found = scope.expression(self.place.span) or scope.statement
        if found is None:
            return []
        parts = (one for one in operands(found) if not isinstance(one, ast.Constant))
        given = [_operand(self.place, one) for one in parts]
        return [_called(self.place, found.func), *given] if isinstance(found, ast.Call) else given

    @cached_property
    def inside_torch(self) -> list[list[Tensor]]:
        """The tensors in each frame of torch below the failing line, innermost first."""
        found = [
            list({id(one): one for _, one in named_tensors(names)}.values())
            for names in last_torch_calls(self.trace)
        ]
        return [one for one in found if one]

    def at_hand(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors that may be meant, by name.

        Those on which the failing expression works come first, then what its modules and lists
        hold, then what torch was working on and has a name. Without source it is all of the frame.
        """
        values = {one.name: one.value for one in self.operands if one.name is not None}
        yield from ((name, one) for name, one in values.items() if is_tensor(one))
        yield from named_tensors(
            {name: one for name, one in values.items() if issubclass(type(one), _HOLDERS)}
        )
        for tensors in self.inside_torch:
            for one in tensors:
                name = self.name_of(one)
                if name is not None:
                    yield name, one


def is_passing(place: Place, name: str) -> int:
    """Whether a name stands for something else in the next turn of a loop; 2 for an element."""
    if "[" in name:
        return 2
    stores = place.scope.stores(name) if place.scope is not None else []
    turns = any(isinstance(one, ast.For) for one in stores)
    return int(turns or place.code.co_name in ("<listcomp>", "<genexpr>", "<dictcomp>"))


_HOLDERS = (nn.Module, list, tuple, dict)


class Operand(NamedTuple):
    """A part of an expression.

    Attributes:
        text: its source.
        name: the longest beginning of it that is a name with a value; None for a computed one.
        value: the value of that name.
    """

    text: str
    name: str | None
    value: Any

    @property
    def tensor(self) -> Tensor | None:
        """The value, if the source is nothing but the name of a tensor."""
        return self.value if self.name == self.text and is_tensor(self.value) else None


def _operand(place: Place, node: ast.expr) -> Operand:
    text = ast.unparse(node)
    return (
        Operand(text, None, None) if dotted(node) is None else Operand(text, *place.resolve(text))
    )


def _called(place: Place, function: ast.expr) -> Operand:
    """A module that is called, or the object whose method is called."""
    found = _operand(place, function)
    if isinstance(function, ast.Attribute) and found.name != found.text:
        return _operand(place, function.value)
    return found


# Where torch holds the tensors whose backward was asked for.
_ENGINE = {
    "_engine_run_backward": "autograd/graph.py",
    "backward": "autograd/__init__.py",
    "grad": "autograd/__init__.py",
    "_make_grads": "autograd/__init__.py",
}


def _tensors_of(value: object) -> list[Tensor]:
    several = value if type(value) in (list, tuple) else [value]
    return [one for one in cast("Iterable[object]", several) if is_tensor(one)]


# --------------------------------------------------------------------------------------- words


class Located(Protocol):
    """A piece of source and where it stands."""

    @property
    def text(self) -> str:
        """The source."""

    @property
    def line(self) -> int:
        """Its line."""

    @property
    def title(self) -> str:
        """Its function; empty outside of functions."""

    @property
    def file(self) -> str:
        """Its file."""


def listed(names: Iterable[str], *, code: bool = True, most: int = 6) -> str:
    """Names in backquotes, and how many more.

    >>> listed(["a", "b", "c"], most=2)
    '`a`, `b` and 1 more'
    """
    every = [f"`{name}`" if code else name for name in names]
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")


def quoted(statement: ast.stmt) -> str:
    """The first line of a statement, with its number.

    >>> quoted(ast.parse("y += 1").body[0])
    'line 1, `y += 1`'
    """
    return f"{line_in_words(statement)}, `{ast.unparse(statement).splitlines()[0]}`"


def where(one: Located, place: Place | None = None) -> str:
    """The source of something with its line, and with its file if that is another one.

    >>> from types import SimpleNamespace
    >>> where(SimpleNamespace(text="with no_grad()", line=6, title="evaluate", file="a.py"))
    '`with no_grad()` in line 6 of `evaluate` (a.py)'
    """
    function = f" of `{one.title}`" if one.title else ""
    near = place is not None and place.file == one.file
    file = "" if near else f" ({one.file.replace(os.sep, '/').rpartition('/')[2]})"
    return f"`{one.text}` in line {one.line}{function}{file}"


def describe(tensor: Tensor) -> str:
    """Dtype, shape and device in words.

    >>> import torch
    >>> describe(torch.ones(4, 3))
    'float32 of shape (4, 3)'
    """
    shape = torch_internals.shape_of(tensor)
    dtype = str(tensor.dtype).removeprefix("torch.")
    place = "" if tensor.device.type == "cpu" else f" on {tensor.device}"
    return f"{dtype}{place}" if shape is None else f"{dtype} of shape {tuple(shape)}{place}"


def made_by(tensor: Tensor) -> str:
    """Where a tensor comes from: ``a leaf``, or ``made by MulBackward0``."""
    node = tensor.grad_fn
    return "a leaf" if node is None else f"made by {torch_internals.node_name(node)}"
