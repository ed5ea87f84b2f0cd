"""Which tensor was changed in place after an operation had saved it, and where."""

import ast
import re
from collections.abc import Iterator

from torch import Tensor, nn
from torch.autograd.graph import Node

from gradbook import internals
from gradbook.culprit.case import Case, Finding, listed
from gradbook.culprit.frames import modules_in
from gradbook.culprit.source import (
    Scope,
    calls_in_place,
    changed_names,
    changes_in_place,
    scope_of,
)
from gradbook.lines import SourceLine

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
    node, saved_as, tensor, version, now = found
    operation = internals.node_name(node)
    finding.details |= {"node": operation, "saved as": saved_as}
    names = _names_of(case, tensor)
    line = internals.line_of(node)
    where = f" ({line})" if isinstance(line, SourceLine) else ""
    called = f"`{names[0]}`" if names else "a tensor that has no name any more"
    finding.facts.append(
        f"{operation}{where} saved {called} as `{saved_as}` at version {version}; "
        f"it is at version {now} now."
    )
    if names:
        finding.subject = names[0]
        if names[1:]:
            finding.details["same memory"] = ", ".join(names)
            finding.facts.append(f"The same memory is also called {listed(names[1:])}.")
        _tell_edits(case, names, finding)
    else:
        _tell_modules(case, finding)
    return finding


def _edited(
    case: Case, said: re.Match[str] | None
) -> tuple[Node, str, Tensor, int | None, int] | None:
    """The saved tensor that the message speaks of, else the first one that was changed."""
    first = None
    shape = (
        tuple(int(size) for size in said[1].split(",") if size.strip()) if said is not None else ()
    )
    for node in case.graph:
        for name, saved in internals.saved_fields(node).items():
            if saved.edited is None or saved.tensor is None:
                continue
            found = node, name, saved.tensor, saved.version, saved.edited
            if said is None or (str(saved.version), internals.shape_of(saved.tensor)) == (
                said[3],
                shape,
            ):
                return found
            first = first or found
    return first


def _names_of(case: Case, tensor: Tensor) -> list[str]:
    """Names of the very same elements first, then of others in the same memory."""
    key = internals.storage_of(tensor)[0]
    same: dict[str, None] = {}
    sharing: dict[str, None] = {}
    for place in case.places:
        for name, one in place.tensors():
            if internals.storage_of(one)[0] == key:
                alike = one.shape == tensor.shape and one.data_ptr() == tensor.data_ptr()
                (same if alike else sharing)[name] = None
    # An element of a list is a worse name than a variable, even if that holds more.
    return sorted(dict.fromkeys([*same, *sharing]), key=lambda name: "[" in name)


def _tell_edits(case: Case, names: list[str], finding: Finding) -> None:
    """Lines of the program that change one of the names, and what kind of change it is."""
    lines = []
    for place in case.places:
        scope = place.scope
        for statement in scope.statements() if scope is not None else ():
            if scope is not None and any(changes_in_place(statement, name) for name in names):
                lines.append(_quoted(statement))
                finding.variant = _kind(scope, statement) or finding.variant
    _tell_owner(case, names[0], finding)
    if not lines:
        finding.facts += list(_suspects(case).values())[:_MOST_SUSPECTS]
    else:
        lines = list(dict.fromkeys(lines))
        finding.details["changed at"] = "; ".join(lines)
        finding.facts.append(f"It is changed in place in {listed(lines, code=False)}.")


def _quoted(statement: ast.stmt) -> str:
    """The first line of a statement, with its number."""
    return f"line {statement.lineno}, `{ast.unparse(statement).splitlines()[0]}`"


def _kind(scope: Scope, statement: ast.stmt) -> str:
    """The variant to which a change belongs."""
    if ".step(" in ast.unparse(statement):
        return "E40b"
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if any(isinstance(one, ast.Subscript) for one in targets) and scope.loop(statement):
        return "E40c"
    if scope.recording_off(statement):
        return "E40f"
    return "E40e" if calls_in_place(statement) else ""


def _tell_owner(case: Case, subject: str, finding: Finding) -> None:
    """What the module does with the parameter or buffer that was changed."""
    owner_name, _, attribute = subject.rpartition(".")
    if not owner_name:
        return
    for place in case.places:
        owner = place.resolve(owner_name)[1]
        if isinstance(owner, nn.Embedding) and owner.max_norm is not None:
            finding.variant = "E40d"
            finding.facts.append(
                f"`{owner_name}` has max_norm={owner.max_norm}: its forward pass rescales it."
            )
            return
        if isinstance(owner, nn.Module) and attribute in dict(owner.named_buffers(recurse=False)):
            finding.variant = "E213"
            finding.facts.append(f"`{subject}` is a buffer of {type(owner).__name__}.")
            return


_MOST_SUSPECTS = 6


def _tell_modules(case: Case, finding: Finding) -> None:
    """The tensor has no name: look into the modules for what works in place."""
    suspects = _suspects(case)
    if len(suspects) == 1:
        finding.subject, finding.variant = next(iter(suspects)), "E40e"
    finding.facts += list(suspects.values())[:_MOST_SUSPECTS]


def _suspects(case: Case) -> dict[str, str]:
    """What works in place in the modules at hand: a name, and a sentence."""
    suspects: dict[str, str] = {}
    for place in case.places:
        for name, module in modules_in({**place.namespace, **place.visible}):
            if getattr(module, "inplace", False) is True:
                suspects.setdefault(
                    name, f"`{name}` ({type(module).__name__}) works in place: inplace=True."
                )
            for where, variable in _edits_in_forward(module):
                suspects.setdefault(variable, f"`{variable}` is changed in place in {where}.")
    return suspects


def _edits_in_forward(module: nn.Module) -> Iterator[tuple[str, str]]:
    """In-place changes in the forward pass of a module that the program defines."""
    kind = type(module)
    if kind.__module__.startswith("torch."):
        return
    scope = scope_of(getattr(kind, "forward", None))
    for statement in scope.statements() if scope is not None else ():
        for name in changed_names(statement):
            yield f"{_quoted(statement)} of {kind.__name__}.forward", name
