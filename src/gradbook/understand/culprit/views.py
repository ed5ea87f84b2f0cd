"""What the expressions of a function stand for, as it runs now or as it was called before.

A `View` has the source of a function and knows what its names stand for. That of a running function
is a `Place`; a function that has returned is seen as `Called`: its arguments are those expressions
of its caller that have a value. Nothing of the program runs.
"""

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from types import FunctionType, MethodType
from typing import Any, Protocol, cast

from torch import nn

from gradbook.understand.culprit.names import (
    buffers_of,
    is_container,
    is_module,
    is_tensor,
    items_of,
    of_program,
    parameters_of,
    registered,
    resolve,
    submodules,
)
from gradbook.understand.culprit.source import Scope, calls, last_name, scope_of, unwrapped

_MOST_VALUES = 200
_MOST_STEPS = 12  # from a name to what made it, and on


class View(Protocol):
    """One function of the program, and what its names stand for."""

    @property
    def scope(self) -> Scope | None:
        """Its source; None if there is none."""

    @property
    def title(self) -> str:
        """How it is called in a sentence; empty outside of functions."""

    @property
    def file(self) -> str:
        """Where its source is."""

    def known(self, name: str) -> list[Any]:
        """What a plain name stands for; empty if that is not known."""


class Called:
    """A function of the program that may have returned.

    Attributes:
        function: the function.
        given: what its arguments stand for, as far as it is known; one of several, perhaps.
        expressions: the caller's expression for each argument.
        title: its name, with its class.
        file: where its source is.
    """

    def __init__(
        self,
        function: FunctionType,
        given: Mapping[str, list[Any]],
        expressions: Mapping[str, ast.expr] | None = None,
    ) -> None:
        self.function = function
        self.given = given
        self.expressions = expressions or {}
        self.title = function.__qualname__.rpartition("<locals>.")[2]
        self.file = function.__code__.co_filename
        self.scope = scope_of(function)

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two calls of one function with the same arguments, as far as they are known."""
        ids = (tuple(id(one) for one in values) for values in self.given.values())
        return (self.function.__code__, *ids)

    def known(self, name: str) -> list[Any]:
        """As of `View`."""
        if name in self.given:
            return self.given[name]
        code = self.function.__code__
        if name in code.co_freevars:
            cells = dict(zip(code.co_freevars, self.function.__closure__ or (), strict=True))
            with suppress(ValueError):  # not bound yet
                return [cells[name].cell_contents]
        if name not in code.co_varnames and name not in code.co_cellvars:
            outside = self.function.__globals__
            return [outside[name]] if name in outside else []
        return []


def values_of(view: View, node: ast.AST, steps: int = _MOST_STEPS) -> list[Any]:
    """What an expression may stand for; empty where that cannot be read.

    Names of variables that are gone are followed to what made them.
    """
    if steps <= 0:
        return []
    if isinstance(node, ast.Constant):
        return [node.value]
    if isinstance(node, ast.Name):
        return _distinct(_values_of_name(view, node.id, steps))
    if isinstance(node, ast.Attribute):
        owners = values_of(view, node.value, steps)
        return _distinct(one for owner in owners for one in _attribute(owner, node.attr))
    if isinstance(node, ast.Subscript):
        return _distinct(_elements(view, node, steps))
    if isinstance(node, (ast.List, ast.Tuple)):
        return [[one for part in node.elts for one in values_of(view, part, steps - 1)]]
    if isinstance(node, ast.IfExp):
        arms = (node.body, node.orelse)
        return _distinct(one for arm in arms for one in values_of(view, arm, steps - 1))
    if isinstance(node, ast.NamedExpr):
        return values_of(view, node.value, steps)
    if isinstance(node, ast.Call):
        return _distinct(_results(view, node, steps))
    return []


def _distinct(values: Iterator[Any]) -> list[Any]:
    return list({id(one): one for one in islice(values, _MOST_VALUES)}.values())


def _values_of_name(view: View, name: str, steps: int) -> Iterator[Any]:
    known = view.known(name)
    yield from known
    if view.scope is None:
        return
    for statement in view.scope.stores(name):
        if isinstance(statement, ast.For):
            yield from _bound_by(view, statement.target, statement.iter, name, steps - 1)
        elif not known and isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield from values_of(view, statement.value, steps - 1)


def _bound_by(view: View, target: ast.AST, source: ast.AST, name: str, steps: int) -> Iterator[Any]:
    """What the target `name` of a loop stands for in its turns."""
    for several in values_of(view, source, steps):
        for one in _turns(several):
            yield from _unpacked(target, one, name)


def _turns(value: object) -> list[Any]:
    if issubclass(type(value), dict):
        return list(islice(dict.keys(cast("dict[Any, Any]", value)), _MOST_VALUES))
    if is_container(value):
        return [one for _, one in items_of(value)]
    return [*_children(value).values()]


def _children(value: object) -> dict[str, Any]:
    """What a module that serves as a container holds."""
    if issubclass(type(value), (nn.ModuleList, nn.Sequential, nn.ModuleDict)):
        return registered(cast("nn.Module", value), "_modules")
    if issubclass(type(value), (nn.ParameterList, nn.ParameterDict)):
        return registered(cast("nn.Module", value), "_parameters")
    return {}


def _unpacked(target: ast.AST, value: object, name: str) -> Iterator[Any]:
    if isinstance(target, ast.Name):
        if target.id == name:
            yield value
    elif isinstance(target, (ast.Tuple, ast.List)) and is_container(value):
        for part, (_, one) in zip(target.elts, items_of(value), strict=False):
            yield from _unpacked(part, one, name)


def _attribute(owner: object, name: str) -> list[Any]:
    path, value = resolve({"it": owner}, f"it.{name}")
    if path != "it":
        return [value]
    value = inspect.getattr_static(type(owner), name, None)  # a setting of the class
    return [value] if type(value) in (bool, int, float, str) else []


def _elements(view: View, node: ast.Subscript, steps: int) -> Iterator[Any]:
    """An element of a container; each one, if the index is not known. A part of a tensor is it."""
    keys = values_of(view, node.slice, steps - 1)
    for owner in values_of(view, node.value, steps):
        if is_tensor(owner):
            continue
        if is_container(owner):
            wanted = {f"[{key!r}]" for key in keys if type(key) in (str, int)}
            every = items_of(owner)
            chosen = [one for step, one in every if step in wanted]
            yield from chosen or (one for _, one in every)
        else:
            inside = _children(owner)
            yield from [inside[key] for key in map(str, keys) if key in inside] or inside.values()


# What the methods of a module give.
_OF_MODULE: dict[str, Callable[[nn.Module], list[Any]]] = {
    "parameters": lambda module: list(parameters_of(module).values()),
    "buffers": lambda module: list(buffers_of(module).values()),
    "modules": lambda module: list(submodules(module).values()),
    "children": lambda module: list(registered(module, "_modules").values()),
    "named_parameters": lambda module: list(parameters_of(module).items()),
    "named_buffers": lambda module: list(buffers_of(module).items()),
    "named_modules": lambda module: list(submodules(module).items()),
    "named_children": lambda module: list(registered(module, "_modules").items()),
}
_PASSES_ON = {"list", "tuple", "iter", "reversed", "sorted", "set", "tqdm", "filter"}


def _results(view: View, node: ast.Call, steps: int) -> Iterator[Any]:
    """What a few well-known calls give; each value is what the call may give."""
    called = last_name(node.func)
    if isinstance(node.func, ast.Attribute):
        for owner in values_of(view, node.func.value, steps - 1):
            yield from _of_method(owner, called)
    given = [values_of(view, one, steps - 1) for one in node.args]
    if called in _PASSES_ON and given:
        yield from given[-1]
    elif called == "enumerate" and given:
        yield from ([(n, one) for n, one in enumerate(_turns(several))] for several in given[0])
    elif called == "zip" and all(given) and given:
        yield list(zip(*(_turns(several[0]) for several in given), strict=False))
    elif called == "chain":
        yield [one for several in given if several for one in _turns(several[0])]
    elif called == "getattr" and len(given) > 1 and given[1]:
        for owner in given[0]:
            yield from _attribute(owner, str(given[1][0]))


def _of_method(owner: object, method: str) -> Iterator[Any]:
    if is_module(owner) and method in _OF_MODULE:
        yield _OF_MODULE[method](owner)
    elif method in ("values", "items"):
        pairs = _pairs(owner)
        yield pairs if method == "items" else [one for _, one in pairs]


def _pairs(owner: object) -> list[tuple[Any, Any]]:
    if issubclass(type(owner), dict):
        return list(islice(dict.items(cast("dict[Any, Any]", owner)), _MOST_VALUES))
    return [*_children(owner).items()]


# --------------------------------------------------------------------------------- what is called


def called(view: View, node: ast.Call) -> list[Called]:
    """The functions of the program that a call runs, with what they are given.

    Of a module that is its ``forward``, of a class its ``__init__``, of an object its ``__call__``.
    """
    found = []
    for value, owner in _targets(view, node.func):
        first: list[list[Any]] = []
        for function, before in _functions(value, owner):
            first = [[one] for one in before]
            found.append(_bound(view, node, function, first))
    return list({one.identity: one for one in found}.values())


def bodies_below(
    view: View, given: Iterable[tuple[str, ast.Call]], levels: int = 4
) -> Iterator[Called]:
    """The functions of the program that some calls run, and those that these run, and so on."""
    seen: set[tuple[object, ...]] = set()
    queue: list[tuple[View, ast.Call, int]] = [(view, call, levels) for _, call in given]
    for caller, one, left in queue:  # grows while it is walked
        for body in called(caller, one):
            if body.identity not in seen and len(seen) < _MOST_VALUES:
                seen.add(body.identity)
                yield body
                if left > 1 and body.scope is not None:
                    inner = (pair for part in body.scope.statements for pair in calls(part))
                    queue += [(body, call, left - 1) for _, call in inner]


def forwards_below(module: nn.Module) -> Iterator[Called]:
    """The forward passes of the program's modules inside another one, which may run with it."""
    for inner in submodules(module).values():
        if inner is not module:
            for function, before in _functions(inner, None):
                name = function.__code__.co_varnames[0]
                yield Called(function, {name: before})


def _targets(view: View, function: ast.AST) -> Iterator[tuple[Any, Any]]:
    """What is called, and the object whose method it is."""
    if not isinstance(function, ast.Attribute):
        yield from ((one, None) for one in values_of(view, function))
        return
    if _is_super(function.value):
        for owner in view.known("self"):
            for kind in type(owner).__mro__[1:]:
                if function.attr in vars(kind):
                    yield vars(kind)[function.attr], owner
                    break
        return
    for owner in values_of(view, function.value):
        held = _attribute(owner, function.attr)
        if held:
            yield held[0], None
        elif issubclass(type(owner), type):
            yield inspect.getattr_static(owner, function.attr, None), owner
        else:
            yield inspect.getattr_static(type(owner), function.attr, None), owner


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and last_name(node.func) == "super"


def _functions(value: object, owner: object) -> Iterator[tuple[FunctionType, list[Any]]]:
    before: list[Any] = []
    if type(value) is classmethod:
        before = [owner if issubclass(type(owner), type) else type(owner)]
    elif type(value) is MethodType:
        before = [value.__self__]
    elif type(value) is partial:
        before = list(value.args)
        owner = None
    elif type(value) is FunctionType and owner is not None and not issubclass(type(owner), type):
        before = [owner]
    elif is_module(value):
        before = [value]
        value = inspect.getattr_static(type(value), "forward", None)
    elif issubclass(type(value), type):
        before = [_UNKNOWN]
        value = inspect.getattr_static(cast("type", value), "__init__", None)
    elif value is not None and type(value) not in (FunctionType, staticmethod):
        before = [value]
        value = inspect.getattr_static(type(value), "__call__", None)
    function = unwrapped(value)
    if function is not None and of_program(function):
        yield function, before


class _Unknown:
    """Stands for an argument of which nothing is known."""


_UNKNOWN = _Unknown()


def _bound(view: View, node: ast.Call, function: FunctionType, before: list[list[Any]]) -> Called:
    """A function with what a call gives it."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    given: dict[str, list[Any]] = {}
    expressions: dict[str, ast.expr] = {}
    for name, one in zip(names, before, strict=False):
        given[name] = [value for value in one if value is not _UNKNOWN]
    for name, expression in zip(names[len(before) :], node.args, strict=False):
        if isinstance(expression, ast.Starred):
            break
        expressions[name] = expression
    keywords = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for word in node.keywords:
        if word.arg in keywords:
            expressions[str(word.arg)] = word.value
    for name, expression in expressions.items():
        given[name] = values_of(view, expression)
    for name, value in zip(names[::-1], (function.__defaults__ or ())[::-1], strict=False):
        given.setdefault(name, [value])
    for name, value in (function.__kwdefaults__ or {}).items():
        given.setdefault(name, [value])
    return Called(function, given, expressions)


def root_of(node: ast.AST) -> str:
    """The name with which an expression begins: `h` of ``h[k].data``; empty for any other."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
