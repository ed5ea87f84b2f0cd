"""What `record_lines` notes of an operation beside its line: its numbers, and where they come from.

The graph does not hold all of it. An addition forgets the constant that it added, and no node knows
what its operands are called. Nor does the graph say whether a constant was itself computed from the
leaves, by ``detach()`` or a comparison: with other leaves it would be another one.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils.weak import WeakTensorKeyDictionary

from gradbook.see import torch_internals
from gradbook.see.source import Written
from gradbook.see.values import Operand, Value, small_value

Look = Callable[[str], Any]
Source = tuple[Node, int] | Tensor | Value
"""Where an operand comes from: the output of a node, a leaf, or a constant."""


@dataclass(frozen=True, slots=True)
class Made:
    """What is known of the operation that a node stands for.

    Attributes:
        value: what it made, if it is small.
        names: how the program writes its operands, by their position among the node's inputs.
        constants: the operands that need no gradient, in the order of the call.
        condition: of ``where``, if it is one comparison: its sign and its two sides.
        doubt: why the constants may be others for other leaves; None if they are not.
    """

    value: Value | None
    names: tuple[str | None, ...] = ()
    constants: tuple[Operand, ...] = ()
    condition: tuple[str, Source | None, Source | None] | None = None
    doubt: str | None = None


# Results of these are plain Python values, which nobody can follow.
_LEAVES_TORCH = {
    *("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__complex__"),
    *("__array__", "__contains__", "equal", "allclose", "is_nonzero", "any", "all"),
}
_SIGNS = {
    **dict.fromkeys(("gt", "greater", "__gt__"), ">"),
    **dict.fromkeys(("ge", "greater_equal", "__ge__"), ">="),
    **dict.fromkeys(("lt", "less", "__lt__"), "<"),
    **dict.fromkeys(("le", "less_equal", "__le__"), "<="),
    **dict.fromkeys(("eq", "__eq__"), "=="),
    **dict.fromkeys(("ne", "not_equal", "__ne__"), "!="),
}
# What these make hangs on the shape of a tensor alone.
_OF_SHAPE = {
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"),
}
_NUMBER = re.compile(r"-?[\d.]+(e[+-]?\d+)?")
_PLAIN = (float, int)  # asked first: torch's answer to isinstance(2.0, Tensor) takes its time
_NO_OPERANDS = {"alpha", "beta", "out", "dim", "keepdim", "dtype", "reduction"}


class Origins:
    """Follows what is computed from the leaves without a gradient."""

    def __init__(self) -> None:
        self._doubts: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._comparisons: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._doubt: str | None = None

    def passed(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], made: Any
    ) -> None:
        """Look at a call that recorded no node."""
        name = getattr(func, "__name__", "")
        given = [*tensors((*args, *kwargs.values()))]
        if name in _OF_SHAPE or not any(one.requires_grad or one in self._doubts for one in given):
            return
        results = [*tensors(made)]
        if name == "__setitem__":
            results = given[:1]
        doubt = f"a constant was computed from a leaf, by {_plain(name)}"
        for one in results:
            if not one.requires_grad:
                self._doubts[one] = doubt
        if not results and name in _LEAVES_TORCH:
            self._doubt = f"a number was taken out of a tensor, by {_plain(name)}"
        if name in _SIGNS and len(args) == 2 and isinstance(made, Tensor):
            self._comparisons[made] = (_SIGNS[name], *map(self._source, args))

    def made(
        self,
        node: Node,
        result: Tensor,
        written: Written | None,
        look: Look,
        call: tuple[Any, tuple[Any, ...], Mapping[str, Any]],
        *,
        alone: bool,
    ) -> Made:
        """What to note of `node`, which has just been recorded.

        Args:
            node: of the result.
            result: what the call gave.
            written: the source of the call, if the program itself calls.
            look: gives what a name stands for where the call was written.
            call: the function, its arguments and those given by name.
            alone: whether the call recorded no other node.
        """
        func, args, kwargs = call
        name = getattr(func, "__name__", "")
        doubt = self._doubt
        condition = None
        if self._doubts:
            for one in tensors((*args, *kwargs.values())):
                if name == "where" and one in self._comparisons:
                    condition = self._comparisons[one]
                elif not one.requires_grad and one in self._doubts:
                    doubt = self._doubts[one]
        value = small_value(result)
        if not alone:
            return Made(value, doubt=doubt)
        operands = _operands(func, args, kwargs, written, look)
        left = [one for one in operands if one[0] is result or _is_input(one[0])]
        names: list[str | None] = []
        for child, number in node.next_functions:
            found = None
            for position, (one, text) in enumerate(left):
                # An operation in place has its own result as the first operand.
                if child is not None and (one is result or _leads_to(one, child, number)):
                    found = text
                    del left[position]
                    break
            names.append(found)
        constants = tuple(
            Operand(text, _constant(one))
            for one, text in operands
            if not _is_input(one) and getattr(one, "dtype", None) != torch.bool
        )
        return Made(value, tuple(names), constants, condition, doubt)

    def doubt_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Why the constants among the arguments of a call may be others for other leaves."""
        if not self._doubts:
            return self._doubt
        given = tensors((*args, *kwargs.values()))
        return next((self._doubts[one] for one in given if one in self._doubts), self._doubt)

    def _source(self, operand: Any) -> Source | None:
        if _is_input(operand):
            return operand if operand.grad_fn is None else (operand.grad_fn, operand.output_nr)
        if isinstance(operand, Tensor) and operand in self._doubts:
            return None
        return _constant(operand)


def tensors(values: Any) -> Iterator[Tensor]:
    """The tensors in a value: itself, or what lists, tuples and dictionaries hold."""
    if isinstance(values, (list, tuple)):
        for one in values:
            yield from tensors(one)
    elif type(values) in _PLAIN:
        return
    elif isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for one in values.values():
            yield from tensors(one)


def _operands(
    func: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    written: Written | None,
    look: Look,
) -> list[tuple[Any, str | None]]:
    """The operands of a call, each with how the program writes it."""
    plain = [one for one in args if _is_number(one)]
    texts: list[str | None] = [None] * len(plain)
    if written is not None and written.operands is not None:
        wrote = [*written.operands]
        if written.infix and _turned(func, args, wrote, look):
            wrote.reverse()
        if len(wrote) == len(args) + 1:  # torch.exp(x): what stands before the dot is no operand
            wrote = wrote[1:]
        if len(wrote) == len(args) == len(plain):
            texts = list(wrote)
    found = list(zip(plain, texts, strict=True))
    for name, value in kwargs.items():
        if name not in _NO_OPERANDS and _is_number(value):
            found.append((value, written.keywords.get(name) if written is not None else None))
    return found


def _turned(func: Any, args: tuple[Any, ...], wrote: Sequence[str], look: Look) -> bool:
    """Whether the tensor, which torch puts first, is written last: ``2 * x``."""
    if getattr(func, "__name__", "").startswith("__r"):
        return True
    if len(args) != 2 or type(args[1]) not in _PLAIN:
        return False
    return look(wrote[1]) is args[0] or not (
        look(wrote[0]) is args[0] or _NUMBER.fullmatch(wrote[1]) or look(wrote[1]) == args[1]
    )


def _is_number(operand: Any) -> bool:
    return type(operand) in _PLAIN or isinstance(operand, Tensor)


def _is_input(operand: Any) -> bool:
    return type(operand) not in _PLAIN and isinstance(operand, Tensor) and operand.requires_grad


def _leads_to(operand: Tensor, child: Node, number: int) -> bool:
    """Whether an edge to output `number` of a node is the one of this operand."""
    if operand.grad_fn is None:
        return torch_internals.leaf_of(child) is operand
    return operand.grad_fn == child and operand.output_nr == number


def _constant(operand: Any) -> Value | None:
    if type(operand) in _PLAIN:
        return Value((), "float64", operand, abs(operand), operand, operand)
    return small_value(operand)


def _plain(name: str) -> str:
    return {"__bool__": "if", "__get__": "an attribute"}.get(name, name.strip("_"))
