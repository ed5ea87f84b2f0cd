"""Where the graph of a result ends: which step, or which input, does not require grad."""

import ast
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from gradbook.understand.culprit import flow
from gradbook.understand.culprit.case import Case, Finding, listed, quoted, where
from gradbook.understand.culprit.flow import Flow, Stop, requires_grad
from gradbook.understand.culprit.frames import Place, passes_through
from gradbook.understand.culprit.names import (
    function_of,
    is_container,
    is_module,
    is_tensor,
    named_tensors,
    resolve,
)
from gradbook.understand.culprit.recording import Switch, in_force, left_off, truth
from gradbook.understand.culprit.source import (
    bound,
    calls,
    dotted,
    last_name,
    loaded,
    scope_of,
)

_MOST_STEPS = 200
_Carries = Callable[[Any], bool]


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


def explain_cut(
    place: Place,
    expression: ast.AST,
    value: object,
    name: str | None,
    carries: _Carries = requires_grad,
) -> Finding:
    """Follow an expression back to the place where its graph ends.

    Args:
        place: the line that reads it.
        expression: its source; a plain name for a variable.
        value: the tensor that it gave.
        name: the variable, if it is one.
        carries: whether a value carries the gradient that is looked for.
    """
    steps = [_Step(name, expression, value, place.number)]
    seen = {name}
    leaves: dict[str, Tensor] = {}
    frozen: dict[str, None] = {}
    cuts: list[Finding] = []
    asked: list[Finding] = []
    for step in steps:  # grows while it is walked
        origins = _origins(place, step)
        cut = None if carries(step.value) else _cut(place, step, origins, carries)
        if cut is not None and _is_real(step.value):
            if cut.cures == [_CURES["detach()"]]:
                asked.append(cut)  # somebody wrote detach(): what else was read may say more
            elif cut.cures or not asked or not requires_grad(step.value):
                return cut  # else it only does not lead to what is looked for, and says less
        elif cut is not None:  # indices, numbers: a better one may come
            cuts.append(cut)
            continue
        inputs = [pair for _, source in origins for pair in _inputs(place, step, source)]
        frozen |= dict.fromkeys(path for path, one in inputs if is_module(one) and _trains(one))
        following = [(path, one) for path, one in inputs if not is_module(one)]
        if not following and step.name is not None and is_tensor(step.value):
            leaves[step.name] = step.value
        number = origins[0][0].lineno if origins and origins[0][0] is not None else step.line
        if cut is not None:
            following = [(path, one) for path, one in following if not carries(one)]
        for path, one in following:
            if path not in seen and len(steps) < _MOST_STEPS:
                seen.add(path)
                steps.append(_Step(path, ast.Name(path, ast.Load()), one, number))
    if asked:
        return asked[0]
    if not cuts and list(leaves) == [name] and not frozen:  # made elsewhere
        known = bool(_origins(place, steps[0]))  # else what it was computed from is not known
        return Finding(name, [f"`{name}` does not require grad."], "E01" if known else "")
    return cuts[0] if cuts else _told_start(leaves, list(frozen))


@dataclass
class _Step:
    """An expression to look at: its name if it has one, its value, and the line that reads it."""

    name: str | None
    expression: ast.AST
    value: Any
    line: int


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
        if isinstance(node, ast.Call) and last_name(node.func) in flow.MAKES_NEW
        for one in node.args
        for name in loaded(one)
    }
    found = {}
    for name in loaded(source):
        path, value = place.resolve(name)
        # A number is of interest only where it becomes a tensor again.
        number = not (is_tensor(value) or is_module(value) or is_container(value))
        if number and name not in remade and is_tensor(step.value):
            continue
        if path != step.name and value is not None and not _carries_nothing(value):
            found[path] = value
    return list(found.items())


def _carries_nothing(value: object) -> bool:
    """Whether a value is a function, a class or a Python module."""
    return issubclass(type(value), ModuleType) or (callable(value) and not is_module(value))


def _alive(place: Place, source: ast.AST, own: str | None, carries: _Carries) -> list[str]:
    """What an expression reads that has a graph, also through the functions that it calls."""
    alive: dict[str, None] = {}
    for name in loaded(source):
        path, value = place.resolve(name)
        function = _function(place, name) if path != name and not is_tensor(value) else None
        if function is not None:
            alive |= dict.fromkeys(_read_inside(function, path, value, carries))
        elif path == own:
            continue
        elif carries(value):
            alive[path] = None
        else:
            function = function_of(value)
            alive |= dict.fromkeys(_read_inside(function, None, None, carries) if function else ())
    return list(alive)


def _function(place: Place, name: str) -> FunctionType | None:
    """The Python function for which a dotted name stands: a plain one, or a method."""
    path, found = place.resolve(name)
    if path != name:
        owner, _, method = name.rpartition(".")
        found = inspect.getattr_static(type(found), method, None) if owner == path else None
    return function_of(found)


def _read_inside(
    function: FunctionType, path: str | None, owner: object, carries: _Carries
) -> Iterator[str]:
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
            if found != start and carries(value):
                yield f"{path}.{found.partition('.')[2]}"
        elif start in outside and start not in code.co_varnames:
            found, value = resolve(outside, name)
            if carries(value):
                yield found


def _cut(place: Place, step: _Step, origins: list[_Origin], carries: _Carries) -> Finding | None:
    """What to say if something with a graph was read on the way to a value that has none."""
    alive = [
        [one for one in _alive(place, source, step.name, carries) if not _rebound(place, made, one)]
        for made, source in origins
    ]
    names = list(dict.fromkeys(name for some in alive for name in some))
    if not names:
        return None
    flows = _flows(place, step, origins, carries)
    if not any(one.carries or one.stops for one in flows):
        return None  # what has a graph was read, and does not lead to the result
    ends = [bool(one.stops) and (not one.carries or one.perhaps) for one in flows]
    switches = [_switch(place, statement) for statement, _ in origins]
    off = [one is not None and one.off is True for one in switches]
    # The last origin that has a reason; each one, if the source does not tell which of them ran.
    chosen = [number for number in range(len(origins)) if ends[number] or off[number]]
    chosen = chosen or [next(number for number, some in enumerate(alive) if some)]
    if not any(_perhaps(place, origins[number][0]) for number in chosen):
        chosen = chosen[:1]
    finding = Finding(subject=step.name or names[0], excluded={"E01"})
    lines = [_line(place, origins[number][0]) for number in chosen]
    finding.details["cut at"] = "; ".join(lines)
    result = f"`{step.name}`" if step.name is not None else "the result"
    verb = "requires" if len(names) == 1 else "require"
    finding.facts.append(
        f"The graph ends in {' or '.join(lines)}: {listed(names)} {verb} grad, {result} does not."
    )
    for number in chosen:
        switch = switches[number]
        if off[number] and switch is not None:
            tell_switch(place, switch, finding)
        elif ends[number]:
            tell_stops(flows[number].stops, finding, place)
    if not finding.variant and carries is requires_grad:
        first = origins[chosen[-1]][0]
        line = first.lineno if first is not None else place.number
        _tell_what_is_left(place, [flows[number] for number in chosen], names, line, finding)
    return finding


def _flows(place: Place, step: _Step, origins: list[_Origin], carries: _Carries) -> list[Flow]:
    """What each origin gives, with those stops only that it adds itself.

    The origins are run in the order in which they stand: a name may be made from itself.
    """
    reader = flow.Reader(carries)
    found: dict[int, Flow] = {}
    local: dict[str, Flow] = {}
    for statement, source in origins:
        for name in loaded(source):
            if name != step.name and _rebound(place, statement, name):
                local[name] = flow.NOTHING
    known: set[Stop] = set()
    for number, (statement, source) in reversed([*enumerate(origins)]):
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and step.name:
            one = flow.of_statement(place, statement, step.name, reader, local)
        else:
            one = reader.expression(place, source, dict(local))
        found[number] = one._replace(stops=tuple(stop for stop in one.stops if stop not in known))
        known |= {*one.stops}
    return [found[number] for number in range(len(origins))]


def _rebound(place: Place, statement: ast.stmt | None, name: str) -> bool:
    """Whether a name has been bound again since a statement read it: its value is another one."""
    scope = place.scope
    now = scope.statement if scope is not None else None
    if scope is None or now is None or statement is None:
        return False
    first, last = statement.lineno, now.lineno
    root = name.partition(".")[0]
    between = (
        one
        for one in scope.statements
        if one is not statement
        and (first < one.lineno < last if first <= last else not last <= one.lineno <= first)
    )
    return any(root in bound(one) or name in bound(one) for one in between)


def _switch(place: Place, statement: ast.stmt | None) -> Switch | None:
    if statement is None and place.scope is not None:
        statement = place.scope.statement
    return in_force(place, statement)


def _perhaps(place: Place, statement: ast.stmt | None) -> bool:
    scope = place.scope
    return scope is not None and statement is not None and scope.perhaps(statement, scope.statement)


def _line(place: Place, statement: ast.stmt | None) -> str:
    return quoted(statement) if statement is not None else f"line {place.number}"


def tell_switch(place: Place, switch: Switch, finding: Finding) -> None:
    """Recording was off, and what had switched it."""
    finding.variant, finding.complete = "E01b", True
    finding.details["recording off at"] = where(switch, place)
    if (switch.title, switch.file) == (place.title, place.file):
        before = "after" if switch.text.startswith("torch.set_grad") else "under"
        finding.facts.append(f"That line stands {before} `{switch.text}` in line {switch.line}.")
    else:
        finding.facts.append(f"Recording was off: {where(switch, place)}.")
    if switch.inference:
        finding.cures.append(
            "Leave inference mode out, or take `torch.no_grad()` in its place, and "
            "`with torch.enable_grad():` around the forward pass; inside inference mode "
            "`enable_grad()` does nothing."
        )
    else:
        finding.cures.append(
            "Take the forward pass out of it, or put `with torch.enable_grad():` around the "
            "forward pass."
        )


_DIFFERENTIABLE = "Use a step with a derivative in its place: "
_CURES = {
    "detach()": "Leave out `detach()` where the gradient has to pass.",
    ".data": "Use the tensor itself, without `.data`.",
    ".indices": _DIFFERENTIABLE + "the values that stand beside the indices.",
    "sample()": "`rsample()` where the distribution has it; or a loss from `log_prob(sample)`.",
    "tensor()": "Keep tensors: `torch.stack(tensors)` in place of `torch.tensor(tensors)`.",
    "new_tensor()": "`t.clone()` in place of `t.new_tensor(t)`: a copy that stays in the graph.",
    "item()": "Keep the tensor: leave out `item()`.",
    "tolist()": "Keep the tensor: leave out `tolist()`.",
    "numpy()": "Keep the tensor: write the step with functions of torch.",
}


def tell_stops(stops: tuple[Stop, ...], finding: Finding, place: Place | None) -> None:
    """The steps through which no gradient passes, each in its place."""
    here = (place.title, place.file) if place is not None else None
    own = [one.text for one in stops if one.kind == "step" and (one.title, one.file) == here]
    if own:
        finding.facts.append(f"No gradient passes through {listed(own)}.")
    for stop in stops:
        if stop.kind != "step" or (stop.title, stop.file) != here:
            finding.facts.append(_told_stop(stop))
        finding.variant = finding.variant or _VARIANTS[stop.kind]
        cure = _CURES.get(stop.text, "")
        if cure and cure not in finding.cures:
            finding.cures.append(cure)


_VARIANTS = {"step": "E01c", "off": "E01b", "reentrant": "E01d", "gradient": "E01e"}


def _told_stop(stop: Stop) -> str:
    """A sentence about a step that stands in another function, or is of a kind of its own."""
    place = f"line {stop.line}" + (f" of `{stop.title}`" if stop.title else "")
    perhaps = "If it ran, " if stop.perhaps else ""
    if stop.kind == "off" and stop.text.startswith("@"):
        return f"`{stop.title}` stands under `{stop.text}`."
    if stop.kind == "off":
        sentence = f"{place} switches recording off: `{stop.text}`."
    elif stop.kind == "reentrant":
        sentence = (
            f"{place} is a reentrant checkpoint, and none of its inputs requires grad: "
            f"such a checkpoint gives no graph, whatever its parameters are."
        )
    elif stop.kind == "gradient":
        sentence = f"{place} computes a gradient: without `create_graph=True` it has no graph."
    else:
        sentence = f"{place} has `{stop.text}`, and no gradient passes through that."
    return perhaps + (sentence if perhaps else sentence[0].upper() + sentence[1:])


def _tell_what_is_left(
    place: Place, flows: list[Flow], names: list[str], line: int, finding: Finding
) -> None:
    """The source shows no reason: what it excludes, and what remains."""
    if not torch.is_grad_enabled():
        finding.variant = "E01b"
        finding.facts.append("Recording is off (`torch.is_grad_enabled()` is False).")
        switch = left_off(place)
        if switch is not None:
            finding.details["recording off at"] = where(switch, place)
            finding.facts.append(f"It was switched off by {where(switch, place)}.")
        return
    later = _flag_set_later(place, names, line)
    if later is not None:
        finding.variant = "E01"
        finding.facts.append(f"They require grad only since {quoted(later)}, which ran later.")
        finding.cures.append("Set `requires_grad` before the first operation on them.")
        return
    opaque = list(dict.fromkeys(name for one in flows for name in one.opaque))
    if opaque:
        finding.facts.append(f"What {listed(opaque)} does inside cannot be seen from here.")
    elif all(one.carries and not one.perhaps for one in flows):
        finding.excluded |= {"E01c", "E01d", "E01e"}
        finding.facts.append(
            "Every step of it has a derivative. So recording was off when it ran, or its inputs "
            "began to require grad only afterwards."
        )


def _flag_set_later(place: Place, names: list[str], line: int) -> ast.stmt | None:
    """A statement between a line and the failing one that makes one of the names require grad."""
    roots = {name.partition(".")[0] for name in names}
    for statement in place.scope.statements if place.scope is not None else ():
        if not line < statement.lineno < place.number:
            continue
        set_by_call = any(
            called.endswith(".requires_grad_") and called.partition(".")[0] in roots
            for called, call in calls(statement)
            if not call.args or truth(place, call.args[0])
        )
        bound_flag = any(
            name.endswith(".requires_grad")
            and (name.partition(".")[0] in roots or _turns_through(place, statement, name, roots))
            for name in bound(statement)
        )
        if set_by_call or (bound_flag and truth(place, getattr(statement, "value", None))):
            return statement
    return None


def _turns_through(place: Place, statement: ast.stmt, name: str, roots: set[str]) -> bool:
    """Whether a name is that of a loop over what one of the roots holds."""
    variable = name.partition(".")[0]
    loops = place.scope.loops(statement) if place.scope is not None else []
    return any(
        isinstance(loop, ast.For)
        and variable in bound(loop)
        and any(one.partition(".")[0] in roots for one in loaded(loop.iter))
        for loop in loops
    )


def _told_start(leaves: dict[str, Tensor], frozen: list[str]) -> Finding:
    """Nothing was cut: nothing that the computation starts from requires grad."""
    finding = Finding()
    if frozen:
        finding.subject = frozen[0]
        finding.variant = "E01"
        finding.facts.append(f"Every parameter of {listed(frozen)} is frozen.")
        return finding
    names = [name for name, one in leaves.items() if _is_real(one)] or list(leaves)
    names.sort(key=lambda name: leaves[name].numel())  # what is trained is smaller than the data
    if names:
        finding.subject = names[0]
        finding.variant = "E01"
        none = "it does not require grad" if len(names) == 1 else "none of them requires grad"
        finding.facts.append(f"The computation starts from {listed(names)}, and {none}.")
    return finding
