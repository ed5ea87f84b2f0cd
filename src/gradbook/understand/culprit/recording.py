"""Where recording is switched off: in a line's own function, or in one that led to it."""

import ast
from collections.abc import Iterator, Sequence
from types import FunctionType, MethodType
from typing import Any, NamedTuple, cast

import torch

from gradbook.understand.culprit.frames import Line, Place, in_torch, names_of
from gradbook.understand.culprit.names import function_of, members, of_library
from gradbook.understand.culprit.source import Scope, calls, last_name, own_line, scope_of
from gradbook.understand.culprit.views import Called, View, bodies_below, values_of


class Switch(NamedTuple):
    """What switches recording on or off.

    Attributes:
        off: whether it is off behind it; None if that is not known.
        text: its source.
        line: where it stands.
        title: in which function; empty outside of functions.
        file: in which file.
        inference: whether it is inference mode, in which `enable_grad()` does nothing.
    """

    off: bool | None
    text: str
    line: int
    title: str
    file: str
    inference: bool = False


class _Mode(NamedTuple):
    off: bool | None
    inference: bool = False


def switches(view: View, statement: ast.stmt) -> Iterator[Switch]:
    """What has switched recording before a statement in its own function, in the order of time.

    A block counts while the statement stands in it, a call if it must have run.
    """
    scope = view.scope
    if scope is None:
        return
    decorators: list[ast.expr] = getattr(scope.body, "decorator_list", [])
    for decorator in reversed(decorators):
        mode = mode_of(view, decorator)
        if mode is not None:
            text = f"@{ast.unparse(decorator)}"
            yield Switch(mode.off, text, decorator.lineno, view.title, view.file, mode.inference)
    around = set(scope.parents(statement))
    for one in scope.statements:
        if one.lineno > statement.lineno or one is statement:
            break
        for mode, text in _modes(view, one, around):
            title = getattr(one, "cell", view.title)
            yield Switch(mode.off, text, own_line(one), title, view.file, mode.inference)


def _modes(view: View, statement: ast.stmt, around: set[ast.AST]) -> Iterator[tuple[_Mode, str]]:
    """The switches of one statement that hold for those that stand in `around`."""
    if isinstance(statement, (ast.With, ast.AsyncWith)) and statement in around:
        for item in statement.items:
            mode = mode_of(view, item.context_expr)
            if mode is not None:
                yield mode, f"with {ast.unparse(item.context_expr)}"
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        scope = cast("Scope", view.scope)
        blocks = (ast.If, ast.Try, ast.With, ast.For, ast.While)
        inside = [one for one in scope.parents(statement) if isinstance(one, blocks)]
        call = statement.value
        if last_name(call.func) == "enter_context" and call.args:
            call = cast("ast.Call", call.args[0])
        elif last_name(call.func) != "set_grad_enabled":
            return
        mode = mode_of(view, call)
        if mode is not None and all(one in around for one in inside):
            yield mode, ast.unparse(statement)


_ON_AND_OFF = {"no_grad": True, "inference_mode": True, "enable_grad": False}
_CLASSES = {
    torch.no_grad: "no_grad",
    torch.inference_mode: "inference_mode",
    torch.enable_grad: "enable_grad",
    torch.set_grad_enabled: "set_grad_enabled",
}


def mode_of(view: View, node: ast.AST) -> _Mode | None:
    """What a context manager, a decorator or a call does to recording; None if nothing."""
    if isinstance(node, ast.IfExp):
        known = truth(view, node.test)
        arms = [node.body, node.orelse] if known is None else [node.body if known else node.orelse]
        modes = [mode_of(view, one) for one in arms]
        if len(modes) == 1:
            return modes[0]
        return _Mode(None) if any(one is not None and one.off for one in modes) else None
    if not isinstance(node, ast.Call):
        return _mode_of_value(view, node)
    name = last_name(node.func)
    for value in values_of(view, node.func):
        if type(value) is type and value in _CLASSES:
            name = _CLASSES[value]
        elif type(value) is FunctionType:
            return _mode_of_generator(view, value)
    if name == "set_grad_enabled":
        return _Mode(_not(truth(view, node.args[0] if node.args else _word(node, "mode"))))
    if name == "inference_mode":
        given = node.args[0] if node.args else _word(node, "mode")
        off = True if given is None else truth(view, given)
        return _Mode(off, inference=off is not False)
    return _Mode(_ON_AND_OFF[name]) if name in _ON_AND_OFF else None


def _word(node: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in node.keywords if word.arg == name), None)


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _mode_of_value(view: View, node: ast.AST) -> _Mode | None:
    """Of a name: a context manager that was made before, or the class as a decorator."""
    for value in values_of(view, node):
        mode = mode_of_object(value)
        if mode is not None:
            return mode
    name = last_name(node)
    return _Mode(True, name == "inference_mode") if name in ("no_grad", "inference_mode") else None


def mode_of_object(value: object) -> _Mode | None:
    """What a context manager of torch, or its class, does to recording."""
    kind = cast("Any", value) if issubclass(type(value), type) else type(value)
    name = _CLASSES.get(kind)
    if name is None:
        return None
    if name == "set_grad_enabled":
        mode = members(value).get("mode")
        return _Mode(not mode if type(mode) is bool else None)
    off = members(value).get("mode", True) if name == "inference_mode" else _ON_AND_OFF[name]
    return _Mode(bool(off), inference=name == "inference_mode")


def _mode_of_generator(view: View, function: FunctionType) -> _Mode | None:
    """Of a context manager of the program: what holds where it yields."""
    inner = function_of(function)
    scope = scope_of(inner) if inner is not None else None
    if inner is None or scope is None:
        return None
    for statement in scope.statements:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield):
            found = [*switches(Called(inner, {}), statement)]
            return _Mode(found[-1].off, found[-1].inference) if found else None
    return None


# --------------------------------------------------------------------------------------- tests


_PLAIN = (bool, int, float, str, type(None))


def truth(view: View, node: ast.AST | None) -> bool | None:
    """Whether a test holds, where it reads settings only; None if that is not known.

    >>> truth(cast("View", None), ast.parse("not 'train' == 'val'").body[0].value)
    True
    """
    if node is None:
        return None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _not(truth(view, node.operand))
    if isinstance(node, ast.BoolOp):
        every = [truth(view, one) for one in node.values]
        ends = isinstance(node.op, ast.Or)
        if ends in every:
            return ends
        return None if None in every else not ends
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        sides = [_setting(view, one) for one in (node.left, node.comparators[0])]
        if None in sides:
            return None
        same = sides[0] == sides[1]
        if isinstance(node.ops[0], (ast.Eq, ast.Is)):
            return same
        return not same if isinstance(node.ops[0], (ast.NotEq, ast.IsNot)) else None
    found = _setting(view, node)
    return bool(found[0]) if found is not None else None


def _setting(view: View, node: ast.AST) -> tuple[Any] | None:
    """The plain value of an expression, in a tuple."""
    found = values_of(view, node)
    return (found[0],) if len(found) == 1 and type(found[0]) in _PLAIN else None


# --------------------------------------------------------------------------------------- stacks


def in_force(place: Place, statement: ast.stmt | None) -> Switch | None:
    """The switch that recording obeyed at a statement of a running function; None if there is none.

    What led to the function held all the time, so its lines count as they stand.
    """
    last: Switch | None = None
    for number, line in enumerate(place.around):
        for switch in _of_frame(line, place.around[:number]):
            last = switch
    if statement is not None:
        for switch in switches(place, statement):
            last = switch
    return last


def left_off(place: Place) -> Switch | None:
    """A call that has switched recording off for good, in a function that has returned."""
    outer = [line for line in place.around[-_MOST_CALLERS:] if not of_library(line.frame.f_code)]
    for one in (place, *(Place(*line) for line in reversed(outer))):
        switch = _left_off_in(one)
        if switch is not None:
            return switch
    return None


_MOST_CALLERS = 20


def _left_off_in(place: Place) -> Switch | None:
    scope = place.scope
    for statement in scope.statements if scope is not None else ():
        for body in bodies_below(place, calls(statement)):
            for one in body.scope.statements if body.scope is not None else ():
                call = one.value if isinstance(one, ast.Expr) else None
                if isinstance(call, ast.Call) and last_name(call.func) == "set_grad_enabled":
                    mode = mode_of(body, call)
                    if mode is not None and mode.off:
                        return Switch(True, ast.unparse(one), one.lineno, body.title, body.file)
    return None


def _of_frame(line: Line, around: Sequence[Line]) -> Iterator[Switch]:
    frame = line.frame
    code = frame.f_code
    if in_torch(frame):
        yield from _of_torch(line)
        return
    names = {*code.co_names, *code.co_varnames, *code.co_freevars}
    local = names_of(frame).values()
    speaks = not names.isdisjoint((*_ON_AND_OFF, "set_grad_enabled", "enter_context"))
    if not speaks and not any(mode_of_object(one) for one in local) and of_library(code):
        return
    place = Place(*line, around)
    if place.scope is not None and place.scope.statement is not None:
        yield from switches(place, place.scope.statement)


def _of_torch(line: Line) -> Iterator[Switch]:
    """What torch's own frames switch: decorators, a Function's forward, a backward pass."""
    frame = line.frame
    name, file = frame.f_code.co_name, frame.f_code.co_filename.replace("\\", "/")
    local = names_of(frame)
    if name == "decorate_context":
        made = local.get("ctx_factory")
        mode = mode_of_object(made.__self__) if type(made) is MethodType else None
        function = local.get("func")
        if mode is not None and type(function) is FunctionType:
            kind = "inference_mode" if mode.inference else "no_grad"
            text = f"@torch.{kind}()" if mode.off else "@torch.enable_grad()"
            code = function.__code__
            title = code.co_qualname.rpartition("<locals>.")[2]
            yield Switch(mode.off, text, code.co_firstlineno, title, code.co_filename, *mode[1:])
    elif name == "apply" and file.endswith("autograd/function.py"):
        yield Switch(True, "the `forward` of a Function", line.number, "", file)
    elif name == "_engine_run_backward":
        given = local.get("args", ())
        records = type(given) is tuple and len(given) > 2 and given[2] is True
        yield Switch(not records, "a backward pass", line.number, "", file)
    elif name in ("forward", "backward") and file.endswith("utils/checkpoint.py"):
        yield Switch(name == "forward", "a reentrant checkpoint", line.number, "", file)
