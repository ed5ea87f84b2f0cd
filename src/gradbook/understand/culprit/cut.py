"""Where the graph of a result ends: which step, or which input, does not require grad."""

import ast
import inspect
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from gradbook.understand.culprit.case import Case, Finding, listed, quoted
from gradbook.understand.culprit.frames import (
    Place,
    function_of,
    is_module,
    is_tensor,
    modules_in,
    named_tensors,
    passes_through,
    resolve,
)
from gradbook.understand.culprit.source import (
    Scope,
    calls,
    dotted,
    last_name,
    loaded,
    own_parts,
    scope_of,
)

_MOST_STEPS = 200


def no_graph(case: Case) -> Finding:
    """Follow the loss back through the source, in the innermost frame that tells something."""
    root = next((root for root in case.roots if not root.requires_grad), None)
    best = Finding()
    inner: Place | None = None
    for place in case.places if root is not None else ():
        name = place.name_of(root)
        expression = ast.Name(name, ast.Load()) if name is not None else _asked(place, inner)
        inner = place
        if expression is None:
            continue
        finding = explain_cut(place, expression, root, name)
        if "cut at" in finding.details:
            best = finding
            break
        if best.subject is None:
            best = finding
        if best.subject not in place.arguments:  # the caller tells where an argument comes from
            break
    if passes_through(case.trace, "_functorch/vmap.py"):
        best.variant = "E154b"
        best.facts.insert(0, "This runs inside `vmap`: tensors of the outside are not recorded.")
    return best


def _asked(place: Place, inner: Place | None) -> ast.AST | None:
    """The expression whose backward is asked for, or which the helper that asks was given."""
    if place.scope is None or place.scope.statement is None:
        return None
    for called, node in calls(place.scope.statement):
        if inner is not None:
            if called.rpartition(".")[2] == inner.code.co_name and node.args:
                return ast.Tuple(node.args, ast.Load())
        elif last_name(node.func) in ("backward", "grad") and isinstance(node.func, ast.Attribute):
            receiver = node.func.value
            name = dotted(receiver)
            of_result = name is None or is_tensor(place.resolve(name)[1])
            return receiver if of_result or not node.args else node.args[0]
    return None


@dataclass
class _Step:
    """An expression to look at: its name if it has one, its value, and the line that reads it."""

    name: str | None
    expression: ast.AST
    value: Any
    line: int


def explain_cut(place: Place, expression: ast.AST, value: object, name: str | None) -> Finding:
    """Follow an expression back to the place where its graph ends.

    Args:
        place: the line that reads it.
        expression: its source; a plain name for a variable.
        value: the tensor that it gave.
        name: the variable, if it is one.
    """
    steps = [_Step(name, expression, value, place.source.number)]
    seen = {name}
    leaves: dict[str, Tensor] = {}
    frozen: dict[str, None] = {}
    cuts: list[Finding] = []
    for step in steps:  # grows while it is walked
        origins = _origins(place, step)
        cut = None if _wants_grad(step.value) else _cut(place, step, origins)
        if cut is not None and _is_real(step.value):
            return cut
        if cut is not None:  # indices, numbers: a better one may come
            cuts.append(cut)
            continue
        inputs = [pair for _, source in origins for pair in _inputs(place, step, source)]
        frozen |= dict.fromkeys(path for path, one in inputs if is_module(one) and _trains(one))
        following = [(path, one) for path, one in inputs if not is_module(one)]
        if not following and step.name is not None and is_tensor(step.value):
            leaves[step.name] = step.value
        number = origins[0][0].lineno if origins and origins[0][0] is not None else step.line
        for path, one in following:
            if path not in seen and len(steps) < _MOST_STEPS:
                seen.add(path)
                steps.append(_Step(path, ast.Name(path, ast.Load()), one, number))
    if not cuts and list(leaves) == [name] and not frozen:  # made elsewhere
        return Finding(name, [f"`{name}` does not require grad."], "E01")
    return cuts[0] if cuts else _told_start(leaves, list(frozen))


def _is_real(value: object) -> bool:
    return is_tensor(value) and (value.is_floating_point() or value.is_complex())


def _trains(module: nn.Module) -> bool:
    """Whether a module has parameters."""
    return any(issubclass(type(one), nn.Parameter) for _, one in named_tensors({"it": module}))


_Origin = tuple[ast.stmt | None, ast.AST]


def _origins(place: Place, step: _Step) -> list[_Origin]:
    """The statements that made a variable, with the expression in each; an expression is its own.

    A list is made by what was put into it, too.
    """
    if step.name is None:
        return [(None, step.expression)]
    scope = place.scope
    if scope is None:
        return []
    origins: list[_Origin] = []
    for statement in scope.definitions(step.name, step.line):
        source = (
            statement.iter if isinstance(statement, ast.For) else getattr(statement, "value", 0)
        )
        if isinstance(source, ast.AST):
            origins.append((statement, source))
    if type(step.value) is list:
        for statement in scope.statements:
            for called, call in calls(statement):
                if called in (f"{step.name}.append", f"{step.name}.extend"):
                    origins += [(statement, one) for one in call.args]
    return origins


def _inputs(place: Place, step: _Step, source: ast.AST) -> list[tuple[str, Any]]:
    """The named values that an expression reads and a graph could have come through."""
    remade = {
        name
        for node in ast.walk(source)
        if isinstance(node, ast.Call) and last_name(node.func) in _MAKES_NEW
        for one in node.args
        for name in loaded(one)
    }
    found = {}
    for name in loaded(source):
        path, value = place.resolve(name)
        # A number is of interest only where it becomes a tensor again.
        number = not (is_tensor(value) or is_module(value) or type(value) in _SEVERAL)
        if number and name not in remade and is_tensor(step.value):
            continue
        if path != step.name and value is not None and not _carries_nothing(value):
            found[path] = value
    return list(found.items())


_SEVERAL = (list, tuple, dict)


def _carries_nothing(value: object) -> bool:
    """Whether a value is a function, a class or a Python module."""
    return issubclass(type(value), ModuleType) or (callable(value) and not is_module(value))


def _wants_grad(value: object) -> bool:
    if is_tensor(value):
        return value.requires_grad
    if is_module(value) or type(value) in _SEVERAL:
        return any(one.requires_grad for _, one in named_tensors({"it": value}))
    return False


def _alive(place: Place, source: ast.AST, own: str | None) -> list[str]:
    """What an expression reads that has a graph, also through the functions that it calls."""
    alive: dict[str, None] = {}
    for name in loaded(source):
        path, value = place.resolve(name)
        function = _function(place, name) if path != name and not is_tensor(value) else None
        if function is not None:
            alive |= dict.fromkeys(_read_inside(function, path, value))
        elif path == own:
            continue
        elif _wants_grad(value):
            alive[path] = None
        else:
            function = function_of(value)
            alive |= dict.fromkeys(_read_inside(function, None, None) if function else ())
    return list(alive)


def _function(place: Place, name: str) -> FunctionType | None:
    """The Python function for which a dotted name stands: a plain one, or a method."""
    path, found = place.resolve(name)
    if path != name:
        owner, _, method = name.rpartition(".")
        found = inspect.getattr_static(type(found), method, None) if owner == path else None
    return function_of(found)


def _read_inside(function: FunctionType, path: str | None, owner: object) -> Iterator[str]:
    """What has a graph among what a function of the program reads of its owner and from outside."""
    scope = scope_of(function)
    code = function.__code__
    outside = {name: function.__globals__.get(name) for name in code.co_names}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not bound yet
            outside[name] = cell.cell_contents
    first = code.co_varnames[0] if path is not None and code.co_argcount else None
    for name in loaded(scope.body) if scope is not None else ():
        start = name.partition(".")[0]
        if start == first:
            found, value = resolve({start: owner}, name)
            if found != start and _wants_grad(value):
                yield f"{path}.{found.partition('.')[2]}"
        elif start in outside and start not in code.co_varnames:
            found, value = resolve(outside, name)
            if _wants_grad(value):
                yield found


def _cut(place: Place, step: _Step, origins: list[_Origin]) -> Finding | None:
    """What to say if something with a graph was read on the way to a value that has none."""
    alive = [_alive(place, source, step.name) for _, source in origins]
    names = list(dict.fromkeys(name for some in alive for name in some))
    if not names:
        return None
    reasons = [_reason(place, *origin) for origin in origins]
    # The last origin that has a reason; each one, if the source does not tell which of them ran.
    chosen = [number for number, reason in enumerate(reasons) if reason is not None]
    chosen = chosen or [next(number for number, some in enumerate(alive) if some)]
    if not any(_perhaps(place, origins[number][0]) for number in chosen):
        chosen = chosen[:1]
    finding = Finding(subject=step.name or names[0])
    lines = [_line(place, origins[number][0]) for number in chosen]
    finding.details["cut at"] = "; ".join(lines)
    result = f"`{step.name}`" if step.name is not None else "the result"
    verb = "requires" if len(names) == 1 else "require"
    finding.facts.append(
        f"The graph ends in {' or '.join(lines)}: {listed(names)} {verb} grad, {result} does not."
    )
    for number in chosen:
        reason = reasons[number]
        if reason is not None:
            finding.variant = reason[0]
            finding.facts.append(reason[1])
    if not any(reasons) and not torch.is_grad_enabled():
        finding.variant = "E01b"
        finding.facts.append("Recording is off (`torch.is_grad_enabled()` is False).")
    return finding


def _perhaps(place: Place, statement: ast.stmt | None) -> bool:
    scope = place.scope
    return scope is not None and statement is not None and scope.perhaps(statement, scope.statement)


def _line(place: Place, statement: ast.stmt | None) -> str:
    return quoted(statement) if statement is not None else f"line {place.source.number}"


_Reason = tuple[str, str]  # variant, fact


def _reason(place: Place, statement: ast.stmt | None, source: ast.AST) -> _Reason | None:
    """Why the graph ends in an expression, if it does."""
    scope = place.scope
    off = scope.recording_off(statement) if scope is not None and statement is not None else None
    if off is not None:
        return "E01b", f"That line stands under `{ast.unparse(off)}`."
    steps = steps_without_derivative(source)
    if steps:
        return "E01c", f"No gradient passes through {listed(steps)}."
    return _reason_in_call(place, source)


def _reason_in_call(place: Place, source: ast.AST) -> _Reason | None:
    """Look into the functions and modules of the program that an expression calls."""
    for node in ast.walk(source):
        if not isinstance(node, ast.Call):
            continue
        if last_name(node.func) == "grad" and not any(
            word.arg == "create_graph" for word in node.keywords
        ):
            return "", "Without `create_graph=True` a gradient has no graph of its own."
        name = dotted(node.func)
        if name is None:
            continue
        called = place.resolve(name)[1]
        bodies = [(name, _function(place, name))]
        if is_module(called):
            bodies = [
                (
                    f"{type(one).__name__}.forward",
                    function_of(inspect.getattr_static(one, "forward")),
                )
                for _, one in modules_in({"it": called})
            ]
        for title, body in bodies:
            scope = scope_of(body) if body is not None else None
            reason = _reason_inside(scope, title) if scope is not None else None
            if reason is not None:
                return reason
    return None


def _reason_inside(scope: Scope, title: str) -> _Reason | None:
    """The first line of a function that ends a graph."""
    decorator = scope.decorated_off()
    if decorator is not None:
        return "E01b", f"`{title}` stands under `@{ast.unparse(decorator)}`."
    for statement in scope.statements:
        line = f"Line {statement.lineno} of `{title}`"
        off = scope.recording_off(statement)
        if off is not None:
            return "E01b", f"{line} stands under `{ast.unparse(off)}`."
        steps = [one for part in own_parts(statement) for one in steps_without_derivative(part)]
        if steps and not isinstance(statement, (ast.If, ast.While, ast.Assert)):
            return "E01c", f"{line} has {listed(steps)}, and no gradient passes through that."
    return None


def _told_start(leaves: dict[str, Tensor], frozen: list[str]) -> Finding:
    """Nothing was cut: nothing that the computation starts from requires grad."""
    finding = Finding(variant="E01")
    if frozen:
        finding.subject = frozen[0]
        finding.facts.append(f"Every parameter of {listed(frozen)} is frozen.")
        return finding
    names = [name for name, one in leaves.items() if _is_real(one)] or list(leaves)
    if names:
        finding.subject = names[0]
        none = "it does not require grad" if len(names) == 1 else "none of them requires grad"
        finding.facts.append(f"The computation starts from {listed(names)}, and {none}.")
    return finding


_NO_DERIVATIVE = {
    *("detach", "item", "tolist", "numpy", "argmax", "argmin", "argsort", "nonzero", "bincount"),
    *("long", "int", "bool", "byte", "short", "heaviside", "eq", "ne", "lt", "gt", "le", "ge"),
    *("isnan", "isfinite", "histc", "searchsorted", "bucketize", "one_hot"),
}
_MAKES_NEW = {"tensor", "as_tensor", "Tensor", "FloatTensor", "from_numpy", "array", "float", "int"}


def steps_without_derivative(expression: ast.AST) -> list[str]:
    """The steps of an expression that end a graph.

    >>> steps_without_derivative(ast.parse("(x.detach() > 0).float()"))
    ['x.detach() > 0', 'detach()']
    """
    found = []
    for node in ast.walk(expression):
        if isinstance(node, ast.Call):
            called = last_name(node.func)
            method = isinstance(node.func, ast.Attribute)
            conversion = called in ("float", "int") and method  # x.float() is differentiable
            if (called in _NO_DERIVATIVE and method) or (called in _MAKES_NEW and not conversion):
                found.append(f"{called}()")
        elif isinstance(node, ast.Attribute) and node.attr == "data":
            found.append(".data")
        elif isinstance(node, ast.Compare):
            found.append(ast.unparse(node))
    return list(dict.fromkeys(found))
