"""Where the graph of a result ends: which step, or which input, does not require grad."""

import ast
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradbook.culprit.case import Case, Finding, listed
from gradbook.culprit.frames import Place, passes_through
from gradbook.culprit.source import Scope, calls, last_name, loaded, own_parts, scope_of

_MOST_STEPS = 200


def no_graph(case: Case) -> Finding:
    """Follow the loss back through the source, in the innermost frame that tells something."""
    best = Finding()
    for root in case.roots:
        if root.requires_grad:
            continue
        for place in case.places:
            name = next((name for name, one in place.tensors() if one is root), None)
            expression = ast.Name(name, ast.Load()) if name is not None else _asked(place)
            if expression is None:
                continue
            finding = explain_cut(place, expression, root, name)
            if finding.subject is None:
                finding.subject = name
            if "cut at" in finding.details or finding.variant == "E01b":
                best = finding
                break
            if best.subject is None or best.subject == name:
                best = finding
        break
    if passes_through(case.trace, "_functorch/vmap.py"):
        best.variant = "E154b"
        best.facts.insert(0, "This runs inside `vmap`: tensors of the outside are not recorded.")
    return best


def _asked(place: Place) -> ast.AST | None:
    """The expression on the line whose backward is asked for; else all that the line computes."""
    if place.scope is None or place.scope.statement is None:
        return None
    parts = own_parts(place.scope.statement)
    for called, node in calls(place.scope.statement):
        if called.endswith(("autograd.grad", "autograd.backward")) and node.args:
            return node.args[0]
        if isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
            return node.func.value
    return ast.Tuple([one for one in parts if isinstance(one, ast.expr)], ast.Load())


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
    seen: set[str] = set()
    leaves: dict[str, Tensor] = {}
    frozen: dict[str, None] = {}
    for step in steps:  # grows while it is walked
        if len(steps) > _MOST_STEPS:
            break
        statement, source = _definition(place.scope, step)
        if step.name is not None:
            if step.name in seen:
                continue
            seen.add(step.name)
        if source is None:
            if step.name is not None and isinstance(step.value, Tensor):
                leaves[step.name] = step.value
            continue
        inputs = [
            (path, one)
            for path, one in (place.resolve(name) for name in loaded(source))
            if path != step.name
        ]
        alive = [path for path, one in inputs if _wants_grad(one)]
        if alive and not _wants_grad(step.value):
            return _told_cut(place, statement, source, step.name, alive)
        for path, one in inputs:
            if isinstance(one, nn.Module) and list(one.parameters()):
                frozen[path] = None
        tensors = [(path, one) for path, one in inputs if isinstance(one, Tensor)]
        line = statement.lineno if statement is not None else step.line
        steps += [_Step(path, ast.Name(path, ast.Load()), one, line) for path, one in tensors]
        if not tensors and step.name is not None and isinstance(step.value, Tensor):
            leaves[step.name] = step.value
    return _told_start(leaves, list(frozen))


def _definition(scope: Scope | None, step: _Step) -> tuple[ast.stmt | None, ast.AST | None]:
    """The statement that made a variable, and the expression in it; an expression is its own."""
    if not isinstance(step.expression, ast.Name) or step.name is None:
        return None, step.expression
    statement = scope.definition(step.name, step.line) if scope is not None else None
    if isinstance(statement, ast.For):
        return statement, statement.iter
    source = getattr(statement, "value", None)
    return statement, source


def _wants_grad(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.requires_grad
    if isinstance(value, nn.Module):
        return any(parameter.requires_grad for parameter in value.parameters())
    return False


def _told_cut(
    place: Place,
    statement: ast.stmt | None,
    source: ast.AST,
    name: str | None,
    alive: list[str],
) -> Finding:
    finding = Finding(subject=name or alive[0])
    where = ""
    if statement is not None:
        where = f" in line {statement.lineno}, `{ast.unparse(statement).splitlines()[0]}`"
    finding.details["cut at"] = (
        f"line {statement.lineno}" if statement is not None else f"line {place.source.number}"
    )
    result = f"`{name}`" if name is not None else "the result"
    verb = "requires" if len(alive) == 1 else "require"
    finding.facts.append(f"The graph ends{where}: {listed(alive)} {verb} grad, {result} does not.")
    scope = place.scope
    off = scope.recording_off(statement) if scope is not None and statement is not None else None
    steps = steps_without_derivative(source)
    if off is not None:
        finding.variant = "E01b"
        finding.facts.append(f"That line stands under `{ast.unparse(off)}`.")
    elif steps:
        finding.variant = "E01c"
        finding.facts.append(f"No gradient passes through {listed(steps)}.")
    elif not _told_call(place, source, finding) and not torch.is_grad_enabled():
        finding.variant = "E01b"
        finding.facts.append("Recording is off (`torch.is_grad_enabled()` is False).")
    return finding


def _told_call(place: Place, source: ast.AST, finding: Finding) -> bool:
    """Look into the functions and modules of the program that the expression calls."""
    for node in ast.walk(source):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        called = place.resolve(name)[1]
        if isinstance(called, nn.Module):
            bodies = [
                (type(one).__name__ + ".forward", getattr(type(one), "forward", None))
                for one in called.modules()
                if not type(one).__module__.startswith("torch.")
            ]
        else:
            bodies = [(name, called)]
        for title, body in bodies:
            scope = scope_of(body)
            if scope is None:
                continue
            decorator = scope.decorated_off()
            if decorator is not None:
                finding.variant = "E01b"
                finding.facts.append(f"`{title}` stands under `@{ast.unparse(decorator)}`.")
                return True
            for statement in scope.statements():
                if _told_inside(scope, statement, title, finding):
                    return True
    return False


def _told_inside(scope: Scope, statement: ast.stmt, title: str, finding: Finding) -> bool:
    off = scope.recording_off(statement)
    steps = [one for part in own_parts(statement) for one in steps_without_derivative(part)]
    if off is not None:
        finding.variant = "E01b"
        finding.facts.append(
            f"Line {statement.lineno} of `{title}` stands under `{ast.unparse(off)}`."
        )
    elif steps and not isinstance(statement, (ast.If, ast.While, ast.Assert)):
        finding.variant = "E01c"
        finding.facts.append(
            f"Line {statement.lineno} of `{title}` has {listed(steps)}, "
            "and no gradient passes through that."
        )
    return off is not None or bool(steps)


def _told_start(leaves: dict[str, Tensor], frozen: list[str]) -> Finding:
    """Nothing was cut: nothing that the computation starts from requires grad."""
    finding = Finding(variant="E01")
    if frozen:
        finding.subject = frozen[0]
        finding.facts.append(f"Every parameter of {listed(frozen)} is frozen.")
        return finding
    real = {
        name: one for name, one in leaves.items() if one.is_floating_point() or one.is_complex()
    }
    names = list(real or leaves)
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
