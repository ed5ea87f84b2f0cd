"""Which tensor was changed in place after an operation had saved it, and where."""

import ast
import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradbook.see import torch_internals
from gradbook.see.lines import SourceLine
from gradbook.understand.culprit.case import Case, Finding, listed, quoted
from gradbook.understand.culprit.frames import (
    Place,
    function_of,
    is_module,
    is_tensor,
    members,
    modules_in,
)
from gradbook.understand.culprit.source import (
    Scope,
    calls,
    changed_names,
    dotted,
    last_name,
    loaded,
    own_parts,
    says_inplace,
    scope_of,
)

_SAID = re.compile(r"\[[\w.]+ \[([\d, ]*)\]\].{0,200}is at version (\d+); expected version (\d+)")


def modified_in_place(case: Case) -> Finding:
    """The name of the tensor, the node that saved it, and the lines that change it."""
    finding = Finding(variant="E40")
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
        _tell_edits(names, found, finding)
        _tell_owner(case, every[0], finding)
    if "changed at" not in finding.details:
        _tell_suspects(case, found, finding)
    return finding


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


# ---------------------------------------------------------------------------------------- lines


def _tell_edits(names: dict[Place, list[str]], found: _Edited, finding: Finding) -> None:
    """Lines of the program that change one of the names, and what kind of change it is."""
    lines: dict[str, None] = {}
    for place, own in names.items():
        scope = place.scope
        variables = {name.partition("[")[0] for name in own}
        if scope is None:
            continue
        for statement in scope.statements:
            steps = _steps(place, statement, found.tensor)
            inside = _changed_in_call(place, statement, variables)
            if steps or inside or not variables.isdisjoint(changed_names(statement)):
                where = f" ({inside})" if inside else ""
                lines[quoted(statement) + where] = None
                kind = "E40b" if steps else _kind(scope, statement)
                finding.variant = kind or finding.variant
    if lines:
        finding.details["changed at"] = "; ".join(lines)
        finding.facts.append(f"It is changed in place in {listed(lines, code=False)}.")


def _steps(place: Place, statement: ast.stmt, tensor: Tensor) -> bool:
    """Whether a statement is the step of an optimizer that has the tensor."""
    for called, call in calls(statement):
        receiver, _, method = called.rpartition(".")
        if method == "step":
            for name in (receiver, *(name for one in call.args for name in loaded(one))):
                value = place.resolve(name)[1]
                held = [value, *members(value).values()]  # a wrapper has the optimizer inside
                if not _is(value, LRScheduler) and any(_owns(one, tensor) for one in held):
                    return True
    return False


def _is(value: object, kind: type) -> bool:
    return issubclass(type(value), kind)


def _owns(optimizer: object, tensor: Tensor) -> bool:
    key = torch_internals.storage_of(tensor)[0]
    groups = members(optimizer).get("param_groups", ()) if _is(optimizer, Optimizer) else ()
    return any(
        torch_internals.storage_of(one)[0] == key for group in groups for one in group["params"]
    )


def _changed_in_call(place: Place, statement: ast.stmt, variables: set[str]) -> str:
    """The line of a function of the program that changes what the statement gives to it."""
    for called, call in calls(statement):
        function = function_of(place.resolve(called)[1])
        scope = scope_of(function) if function is not None else None
        if scope is None or function is None:
            continue
        given = dict(zip(function.__code__.co_varnames, call.args, strict=False))
        given |= {word.arg: word.value for word in call.keywords if word.arg is not None}
        changed = {name for name, one in given.items() if dotted(one) in variables}
        for inner in scope.statements:
            if not changed.isdisjoint(changed_names(inner)):
                return f"{quoted(inner)} of {function.__name__}"
    return ""


def _kind(scope: Scope, statement: ast.stmt) -> str:
    """The variant to which a change belongs."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if any(isinstance(one, ast.Subscript) for one in targets) and scope.loops(statement):
        return "E40c"
    if scope.recording_off(statement):
        return "E40f"
    activated = any(
        says_inplace(call) or last_name(call.func) in _ACTIVATIONS for _, call in calls(statement)
    )
    return "E40e" if activated else ""


_ACTIVATIONS = {
    *("relu_", "leaky_relu_", "rrelu_", "elu_", "celu_", "selu_", "hardtanh_", "threshold_"),
    *("sigmoid_", "tanh_", "softmax_", "dropout_"),
}


def _tell_owner(case: Case, subject: str, finding: Finding) -> None:
    """What the module does with the parameter or buffer that was changed."""
    path, _, attribute = subject.rpartition(".")
    owners = (place.resolve(path) for place in case.places if path)
    owner = next((value for found, value in owners if found == path and is_module(value)), None)
    if isinstance(owner, nn.Embedding) and members(owner).get("max_norm") is not None:
        finding.variant = "E40d"
        finding.facts.append(
            f"`{path}` has max_norm={owner.max_norm}: its forward pass rescales it."
        )
    elif owner is not None and attribute in object.__getattribute__(owner, "_buffers"):
        finding.variant = "E213"
        finding.facts.append(f"`{subject}` is a buffer of {type(owner).__name__}.")


# ------------------------------------------------------------------------------------- suspects


class _Suspect(NamedTuple):
    """What may have changed a tensor that no line at hand changes."""

    name: str
    operation: str
    fact: str


def _tell_suspects(case: Case, found: _Edited, finding: Finding) -> None:
    """Look into the modules for what works in place, and has left its node behind the tensor."""
    after = _nodes_after(case, found)
    suspects = {
        one.name: one
        for place in case.places
        for one in _suspects(place)
        if any(name.startswith(one.operation) for name in after)
    }
    finding.facts += [one.fact for one in suspects.values()][:_MOST_SUSPECTS]
    if finding.subject is None and len(suspects) == 1:
        finding.subject = next(iter(suspects))
        finding.variant = "E40e"


_MOST_SUSPECTS = 6


def _nodes_after(case: Case, found: _Edited) -> set[str]:
    """Names of the operations on the tensor: that of the change is among them."""
    made_by = (
        {found.node}
        if found.saved_as == "result"
        else {child for child, _ in case.graph[found.node]}
    )
    return {
        torch_internals.node_name(node).casefold()
        for node, edges in case.graph.items()
        if any(child in made_by for child, _ in edges)
    }


def _suspects(place: Place) -> Iterator[_Suspect]:
    for name, module in modules_in({**place.namespace, **place.visible}):
        kind = type(module)
        if members(module).get("inplace") is True:
            operation = _NODES.get(kind.__name__, kind.__name__).casefold()
            fact = f"`{name}` ({kind.__name__}) works in place: inplace=True."
            yield _Suspect(name, operation, fact)
        forward = function_of(inspect.getattr_static(module, "forward"))
        scope = scope_of(forward) if forward is not None else None
        for statement in scope.statements if scope is not None else ():
            for variable in changed_names(statement):
                where = f"{quoted(statement)} of {kind.__name__}.forward"
                fact = f"`{variable}` is changed in place in {where}."
                yield _Suspect(variable, _operation(statement), fact)


# Modules whose node has another name.
_NODES = {"ReLU6": "Hardtanh"} | dict.fromkeys(
    ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"), "Mul"
)
_OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}


def _operation(statement: ast.stmt) -> str:
    """How the name of the node begins that a change in place records."""
    if isinstance(statement, ast.AugAssign) and not isinstance(statement.target, ast.Subscript):
        return _OPERATORS.get(type(statement.op), "?")
    for part in own_parts(statement):
        for node in ast.walk(part):
            if isinstance(node, ast.Call):
                called = last_name(node.func)
                if called.endswith("_") or says_inplace(node):
                    return called.replace("_", "").casefold()
    return "copyslices"
