"""Which tensor was changed in place after an operation had saved it, and where."""

import ast
import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import Node

from gradbook.see import torch_internals
from gradbook.see.lines import SourceLine
from gradbook.understand.culprit.case import Case, Finding, listed, quoted
from gradbook.understand.culprit.changes import (
    Change,
    changes_in,
    ended_calls,
    kind_of_change,
    may_have_run,
    memory_of,
)
from gradbook.understand.culprit.frames import Place, passes_through
from gradbook.understand.culprit.line import SIGNS
from gradbook.understand.culprit.names import (
    function_of,
    is_module,
    is_tensor,
    members,
    modules_in,
    optimizers_in,
    registered,
)
from gradbook.understand.culprit.source import (
    calls,
    changed_expressions,
    dotted,
    last_name,
    own_parts,
    says_inplace,
)
from gradbook.understand.culprit.views import Called, bodies_below, values_of

_SAID = re.compile(r"\[[\w.]+ \[([\d, ]*)\]\].{0,200}is at version (\d+); expected version (\d+)")


def modified_in_place(case: Case) -> Finding:
    """The name of the tensor, the node that saved it, and the lines that change it."""
    finding = Finding()
    said = _SAID.search(case.message)
    if said is not None:
        finding.details |= {"found version": said[2], "expected version": said[3]}
    found = _edited(case, said)
    if found is None:
        return finding
    operation = torch_internals.node_name(found.node)
    finding.details |= {"node": operation, "saved as": found.saved_as}
    names = _names_of(case, found.tensor)
    line = torch_internals.line_of(found.node)
    where = f" ({line})" if isinstance(line, SourceLine) else ""
    every = list(dict.fromkeys(name for own in names.values() for name in own))
    # An element of a list is a worse name than a variable, even if that holds more.
    every.sort(key=lambda name: "[" in name)
    called = f"`{every[0]}`" if every else "a tensor that has no name any more"
    finding.facts.append(
        f"{operation}{where} saved {called} as `{found.saved_as}` at version {found.version}; "
        f"it is at version {found.now} now."
    )
    if every:
        finding.subject = every[0]
        if every[1:]:
            finding.details["same memory"] = ", ".join(every)
            finding.facts.append(f"The same memory is also called {listed(every[1:])}.")
    _tell_changes(case, found, finding)
    if "changed at" not in finding.details:
        _tell_suspects(case, found, finding)
    if not finding.variant:
        _tell_what_is_left(case, found, every, finding)
    return finding


def _tell_changes(case: Case, found: "_Edited", finding: Finding) -> None:
    """Lines of the program that change the memory, and what kind of change it is."""
    closures = passes_through(case.trace, "optim/lbfgs.py")
    changes: dict[str, Change] = {}
    for place in case.places:
        for one in changes_in(place, found.tensor, closures=closures):
            changes.setdefault(str(one), one)
    if not changes:
        return
    finding.details["changed at"] = "; ".join(changes)
    finding.facts.append(f"It is changed in place in {listed(changes, code=False)}.")
    owners = dict.fromkeys(one.owner for one in changes.values() if one.owner)
    finding.facts += owners
    if owners:
        finding.complete = True
        finding.cures.append(_CURE_OF_DDP)
    kinds = {one.variant for one in changes.values()}
    finding.variant = next(kind for kind in _ORDER if kind in kinds)
    if len(changes) == 1 and not owners:
        cure = _cure_of(*changes.values())
        finding.cures += [cure] if cure else []
    finding.complete = finding.complete or finding.variant == "E40b"


# A step counts more than a line that changes the same parameter by hand.
_ORDER = ("E40b", "E40d", "E213", "E40c", "E40e", "E40f", "E40")

_CURE_OF_DDP = (
    "One forward pass, on the joined batch; or `forward_sync_buffers=False` (before torch 2.13 "
    "`broadcast_buffers=False`)."
)


def _cure_of(change: Change) -> str:
    """The cure in the names of the program, where one line makes the change."""
    line = change.inner if change.inner is not None else change.statement
    expressions = changed_expressions(line)
    base = memory_of(expressions[0]) if len(expressions) == 1 else None
    name = dotted(base) if base is not None else None
    if name is None:
        return ""
    text = ast.unparse(line).splitlines()[0]
    if change.variant == "E213":
        return f"Compute with a copy, `{name}.clone()`, where `forward` reads it."
    if change.variant != "E40":
        return ""
    if isinstance(line, ast.AugAssign) and dotted(line.target) == name:
        sign, value = SIGNS.get(type(line.op), ""), ast.unparse(line.value)
        return f"`{name} = {name} {sign} {value}` instead of `{text}`." if sign else ""
    return f"A new tensor first: `{name} = {name}.clone()` before `{text}`."


def _tell_what_is_left(case: Case, found: "_Edited", names: list[str], finding: Finding) -> None:
    """No line was found: what the tensor is excludes some causes, and makes others likely."""
    tensor = found.tensor
    owner, attribute = _owner(case, names)
    is_buffer = owner is not None and attribute in registered(owner, "_buffers")
    holders = [
        name
        for place in case.places
        for name, optimizer in optimizers_in({**place.namespace, **place.visible})
        if _owns(optimizer, tensor)
    ]
    if not (isinstance(owner, nn.Embedding) and members(owner).get("max_norm") is not None):
        finding.excluded.add("E40d")
    if not is_buffer:
        finding.excluded.add("E213")
    if holders:
        finding.facts.append(
            f"`{holders[0]}` holds it: each `{holders[0]}.step()` changes it in place."
        )
        finding.likely += ["E40b", "E40f"]
    if tensor.is_leaf and tensor.requires_grad:  # while autograd records, torch refuses the change
        finding.excluded |= {"E40", "E40c", "E40e"}
    if is_buffer:
        finding.likely += ["E213", "E40f"]
    if found.saved_as != "result":
        finding.likely += ["E40b", "E40f"] if tensor.is_leaf else []


def _owner(case: Case, names: list[str]) -> tuple[nn.Module | None, str]:
    """The module whose parameter or buffer one of the names is, and which."""
    for name in names:
        path, _, attribute = name.rpartition(".")
        for place in case.places if path else ():
            found, value = place.resolve(path)
            if found == path and is_module(value):
                return value, attribute
    return None, ""


class _Edited(NamedTuple):
    """A saved tensor that was changed: who saved it, under which name, and its two versions."""

    node: Node
    saved_as: str
    tensor: Tensor
    version: int | None
    now: int


def _edited(case: Case, said: re.Match[str] | None) -> _Edited | None:
    """The saved tensor that the message speaks of, else the first one that was changed."""
    first = None
    for node in case.graph:
        for name, saved in torch_internals.saved_fields(node).items():
            if saved.edited is None or saved.tensor is None:
                continue
            found = _Edited(node, name, saved.tensor, saved.version, saved.edited)
            if said is not None:
                sizes = tuple(int(size) for size in said[1].split(",") if size.strip())
                expected = str(saved.version), str(saved.edited)
                if expected == (said[3], said[2]) and sizes == torch_internals.shape_of(
                    saved.tensor
                ):
                    return found
            first = first or found
    return first


def _names_of(case: Case, tensor: Tensor) -> dict[Place, list[str]]:
    """In each frame, names of the very same elements first, then of others in the same memory."""
    key = torch_internals.storage_of(tensor)[0]
    found = {}
    for place in case.places:
        sharing = [
            (name, one)
            for name, one in place.tensors()
            if torch_internals.storage_of(one)[0] == key
        ]
        same = [name for name, one in sharing if _first_element(one) == _first_element(tensor)]
        names = list(dict.fromkeys([*same, *(name for name, _ in sharing)]))
        if names:
            found[place] = names
    return found


def _first_element(tensor: Tensor) -> tuple[object, ...]:
    return tensor.storage_offset(), torch_internals.shape_of(tensor)


def detached_in_place(case: Case) -> Finding:
    """The saved tensor that a line of the program has taken out of the graph."""
    kept = {
        torch_internals.storage_of(saved.tensor)[0]
        for node in case.graph
        for saved in torch_internals.saved_fields(node).values()
        if saved.tensor is not None
    }
    for place in case.places:
        for statement in place.scope.statements if place.scope is not None else ():
            for called, _ in calls(statement):
                name, method = place.resolve(called)[0], called.rpartition(".")[2]
                tensor = place.resolve(name)[1]
                known = is_tensor(tensor) and torch_internals.storage_of(tensor)[0] in kept
                if known and method == "detach_":
                    fact = f"`{name}` is detached in {quoted(statement)}."
                    return Finding(name, [fact], "", {"changed at": quoted(statement)})
    return Finding()


def _owns(optimizer: object, tensor: Tensor) -> bool:
    key = torch_internals.storage_of(tensor)[0]
    return any(
        torch_internals.storage_of(one)[0] == key
        for group in members(optimizer).get("param_groups", ())
        for one in group["params"]
    )


# ------------------------------------------------------------------------------------- suspects


class _Suspect(NamedTuple):
    """What may have changed a tensor that no line at hand changes."""

    name: str
    operation: str
    fact: str
    line: str
    variant: str


def _tell_suspects(case: Case, found: _Edited, finding: Finding) -> None:
    """Look into modules and into functions that have returned for what works in place.

    Its node has to stand behind the tensor in the graph.
    """
    after = _nodes_after(case, found)
    suspects = {
        one.fact: one
        for place in case.places
        for one in (*_suspects(place), *_suspects_below(place))
        if any(name.startswith(one.operation) for name in after)
    }
    finding.facts += [*suspects][:_MOST_SUSPECTS]
    if not suspects:
        return
    names, lines, variants = (
        {getattr(one, field) for one in suspects.values()} for field in ("name", "line", "variant")
    )
    if len(names) == 1 and finding.subject is None:
        finding.subject = names.pop()
    if len(lines) == 1:
        finding.details["changed at"] = lines.pop()
    if finding.subject is not None or "changed at" in finding.details:
        finding.variant = next(kind for kind in _ORDER if kind in variants)


_MOST_SUSPECTS = 6


def _nodes_after(case: Case, found: _Edited) -> set[str]:
    """Names of the operations on the tensor: that of the change is among them.

    The change of a view is one of its base, so the way from a view down to its base counts.
    """
    made_by = {found.node}
    if found.saved_as != "result":
        made_by = {child for child, _ in case.graph[found.node] if child is not None}
        pending = [*made_by]
        for node in pending:  # grows while it is walked
            if _is_view(node):
                below = [child for child, _ in case.graph.get(node, ()) if child is not None]
                pending += [child for child in below if child not in made_by]
                made_by |= {*below}
    filled = {node for node in made_by if torch_internals.node_name(node) == "CopySlices"}
    after = (node for node, edges in case.graph.items() if any(one in made_by for one, _ in edges))
    # What is changed again and again was made by the same operation before.
    again = made_by if found.saved_as != "result" else set()
    return {torch_internals.node_name(node).casefold() for node in (*after, *filled, *again)}


_VIEWS = (
    *("Select", "Slice", "AsStrided", "View", "Alias", "Unbind", "Split", "Transpose", "T"),
    *("Unsqueeze", "Squeeze", "Expand", "Permute", "UnsafeView", "ReshapeAlias"),
)


def _is_view(node: Node) -> bool:
    name = torch_internals.node_name(node)
    return any(re.fullmatch(rf"{kind}Backward\d+", name) for kind in _VIEWS)


def _suspects(place: Place) -> Iterator[_Suspect]:
    """Modules in reach that work in place, or write into a local variable of their forward."""
    for name, module in modules_in({**place.namespace, **place.visible}):
        kind = type(module)
        if members(module).get("inplace") is True:
            operation = _NODES.get(kind.__name__, kind.__name__).casefold()
            fact = f"`{name}` ({kind.__name__}) works in place: inplace=True."
            yield _Suspect(name, operation, fact, f"`{name}`", "E40e")
        forward = function_of(inspect.getattr_static(module, "forward"))
        if forward is not None and forward.__code__.co_argcount:
            first = forward.__code__.co_varnames[0]
            yield from _in_body(Called(forward, {first: [module]}))


def _suspects_below(place: Place) -> Iterator[_Suspect]:
    """Functions of the program that a line has called, which write into a local variable."""
    scope = place.scope
    if scope is None:
        return
    ran = [calls(one) for one in scope.statements if may_have_run(scope, one)]
    for body in bodies_below(place, [pair for some in (*ran, ended_calls(place)) for pair in some]):
        yield from _in_body(body)


def _in_body(body: Called) -> Iterator[_Suspect]:
    scope = body.scope
    for statement in scope.statements if scope is not None else ():
        for expression in changed_expressions(statement):
            base = memory_of(expression)
            variable = dotted(base) if base is not None else None
            # What is known to be another tensor is none of this one.
            if base is None or variable is None or values_of(body, base):
                continue
            line = f"{quoted(statement)} of {body.title}"
            fact = f"`{variable}` is changed in place in {line}."
            kind = kind_of_change(body, statement)
            yield _Suspect(variable, _operation(statement, expression), fact, line, kind)


# Modules whose node has another name.
_NODES = {"ReLU6": "Hardtanh"} | dict.fromkeys(
    ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"), "Mul"
)
_OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}


def _operation(statement: ast.stmt, expression: ast.expr) -> str:
    """How the name of the node begins that a change in place records."""
    if isinstance(expression, ast.Subscript):
        return "copyslices"
    if isinstance(statement, ast.AugAssign):
        return _OPERATORS.get(type(statement.op), "?")
    for part in own_parts(statement):
        for node in ast.walk(part):
            if isinstance(node, ast.Call):
                called = last_name(node.func)
                if called.endswith("_") or says_inplace(node):
                    return called.replace("_", "").casefold()
    return "?"
