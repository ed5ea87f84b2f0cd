"""Through which variable a program reuses a part of a graph that backward has freed."""

import ast
from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

from gradbook.see import torch_internals
from gradbook.understand.culprit.case import Case, Finding, listed, quoted
from gradbook.understand.culprit.flow import cuts
from gradbook.understand.culprit.frames import Place, torch_locals
from gradbook.understand.culprit.names import function_of, is_container
from gradbook.understand.culprit.source import (
    Loop,
    Scope,
    bound,
    calls,
    dotted,
    last_name,
    line_in_words,
    own_parts,
    read_in,
    scope_of,
)

_MOST_NODES = 100_000  # that are looked at for what other results share


def graph_freed(case: Case) -> Finding:
    """The variable that carries the freed part, and which nodes that are."""
    if not case.roots:
        return _saved_tensors_read(case)
    shared = _Shared(case)
    if torch_locals(case.trace, {"backward": "utils/checkpoint.py"}):
        ways: list[Callable[[Place], _Found | None]] = [shared.by_checkpoint]
    else:
        ways = [
            shared.by_one_loss,
            shared.by_loop,
            shared.by_attribute,
            shared.by_global,
            shared.by_other_loss,
            shared.by_earlier_backward,
            shared.by_outside,
        ]
    found = next(
        (one for way in ways for place in case.places if (one := way(place)) is not None),
        shared.whole(),
    )
    finding = Finding()
    if found is not None:
        finding = Finding(found.name, [found.fact], found.variant)
        finding.complete = found.variant in ("E07c", "E07d")
        made = shared.made(found.name)
        if made is not None:
            finding.details["made at"] = made
            finding.facts.append(f"It is made in {made}.")
        finding.cures += [found.cure] if found.cure else []
    freed, every = shared.part(found)
    if freed:
        kinds = dict.fromkeys(torch_internals.node_name(node) for node in freed)
        finding.details["freed nodes"] = listed(kinds, code=False, most=20)
        among = "Freed before this backward began" if every else "Some that were freed before"
        finding.facts.append(f"{among}: {listed(kinds, code=False)}.")
    return finding


class _Found(NamedTuple):
    """The guilty variable, the variant of the entry, and what shows it."""

    name: str
    variant: str
    fact: str
    cure: str = ""


class _Shared:
    """Ways to tell the shared part; each looks at one frame."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.order = {node: number for number, node in enumerate(case.graph)}
        self.saving: set[Node] = set()
        self.freed: set[Node] = set()
        for node in case.graph:
            fields = torch_internals.saved_fields(node).values()
            if fields:
                self.saving.add(node)
            if any(saved.released for saved in fields):
                self.freed.add(node)
        self.root_names = case.names(lambda one: any(one is root for root in case.roots))
        self.budget = _MOST_NODES
        self._candidates: dict[Place, dict[str, Node]] = {}

    @cached_property
    def stale(self) -> set[Node]:
        """The nodes that are freed, or lead to one that is."""
        found: set[Node] = set()
        for node in reversed(self.case.graph):
            if node in self.freed or any(one in found for one, _ in self.case.graph[node]):
                found.add(node)
        return found

    def candidates(self, place: Place) -> dict[str, Node]:
        """Named results inside the graph from which something freed is reached, nearest first."""
        if place not in self._candidates:
            found = {
                name: node
                for name, tensor in place.tensors()
                if (node := tensor.grad_fn) in self.stale and name not in self.root_names
            }
            nearest = sorted(found.items(), key=lambda pair: self.order[pair[1]])
            self._candidates[place] = dict(nearest)
        return self._candidates[place]

    def part(self, found: _Found | None) -> tuple[list[Node], bool]:
        """The nodes that were freed before this backward began, and whether these are all.

        It has freed nodes itself, from the last recorded one on, until it met the first of those.
        """
        if self.case.keeps_graph or (found is not None and found.variant == "E07"):
            return [node for node in self.case.graph if node in self.freed], True
        if found is not None and found.variant in ("E07c", "E07d", "E07e"):
            nodes = (self.candidates(place).get(found.name) for place in self.case.places)
            node = next((one for one in nodes if one is not None), None)
            below = torch_internals.walk([node]) if node is not None else {}
            if below:
                return [one for one in self.case.graph if one in self.freed and one in below], True
        numbers = {node: torch_internals.node_number(node) for node in self.saving}
        left = [numbers[node] for node in self.saving if node not in self.freed]
        newest = max(left, default=0)
        freed = sorted(self.freed, key=lambda node: numbers[node])
        # What is older than a node that is not freed, this backward has not reached.
        sure = [node for number, node in enumerate(freed) if not number or numbers[node] < newest]
        return sure, False

    def made(self, name: str) -> str | None:
        """The last line that binds a name, in the innermost frame that has one."""
        for place in self.case.places:
            if place.scope is not None:
                variable = name.partition("[")[0]
                found = place.scope.definitions(variable, place.source.number)
                if found:
                    return quoted(found[0])
        return None

    # ---------------------------------------------------------------------------------- ways

    def by_one_loss(self, place: Place) -> _Found | None:
        """Backward is called on one loss again."""
        scope = place.scope
        for name in self.root_names:
            again = _backward_again(scope, place, name) if scope is not None else None
            if again is not None:
                return _Found(name, "E07", again)
        return None

    def by_loop(self, place: Place) -> _Found | None:
        """A constant made before a loop, or a state carried through it."""
        scope = place.scope
        names = list(self.candidates(place))
        for loop in scope.loops(scope.statement) if scope is not None else ():
            inside = {
                name for one in (loop, *_statements(loop)) for name in bound(one) | _added_to(one)
            }
            read = read_in(loop)
            for name in names:
                variable = name.partition("[")[0]
                if variable not in inside and variable in read:
                    fact = (
                        f"`{name}` was computed before the loop; every turn uses it, and the first "
                        "backward freed its graph."
                    )
                    return _Found(name, "E07c", fact, self.cure_of_constant(place, name))
            carried = carried_names(_statements(loop))
            for name in (*self.root_names, *names, *self.beside(place, carried)):
                variable = name.partition("[")[0]
                if variable in carried:
                    fact = f"`{variable}` is carried from one turn of the loop to the next."
                    return _Found(variable, "E07b", fact, self.cure_of_state(place, variable))
        carried = carried_names([*scope.again]) if scope is not None else set()
        for name in (*self.root_names, *names, *self.beside(place, carried)):
            variable = name.partition("[")[0]
            if variable in carried:
                fact = f"`{variable}` is carried from one run of the cell to the next."
                return _Found(variable, "E07b", fact, self.cure_of_state(place, variable))
        return None

    def cure_of_constant(self, place: Place, name: str) -> str:
        """Computed in the loop it helps only if what it is made from has no freed graph itself."""
        variable = name.partition("[")[0]
        scope = place.scope
        made = scope.definitions(variable, place.number) if scope is not None else []
        read = read_in(*own_parts(made[0])) if made else set()
        others = [
            one for one in self.candidates(place) if one.partition("[")[0] in read - {variable}
        ]
        if not others or not self.leads_elsewhere(name):
            return ""
        return (
            f"Detach it where it is made, as nothing behind it can be computed again from "
            f"`{others[0]}`, whose graph is freed too: {_detached(place, variable)}."
        )

    def leads_elsewhere(self, name: str) -> bool:
        """Whether the loss reaches a leaf without a result too; else detaching it ends training."""
        nodes = (self.candidates(place).get(name) for place in self.case.places)
        aside = next((one for one in nodes if one is not None), None)
        pending = [root.grad_fn for root in self.case.roots if root.grad_fn is not None]
        seen = {aside}
        while pending:
            node = pending.pop()
            if node in seen:
                continue
            seen.add(node)
            if torch_internals.leaf_of(node) is not None:
                return True
            pending += [child for child, _ in self.case.graph.get(node, ()) if child is not None]
        return False

    def cure_of_state(self, place: Place, variable: str) -> str:
        """What has to stand behind backward."""
        if variable in {name.partition("[")[0] for name in self.root_names}:
            return (
                "Call `backward()` on the loss of this turn alone, and add up numbers: "
                "`total += loss.item()`; or call it once, on the sum, after the loop."
            )
        return (
            f"After `backward()`: {_detached(place, variable)}; the next step then starts from "
            "the numbers alone."
        )

    def beside(self, place: Place, carried: set[str]) -> Iterator[str]:
        """Carried results outside this graph that have a part in common with it.

        The hidden state of an LSTM is such a one: the loss is computed from the output beside it.
        """
        for name, tensor in self.others(place):
            shares = name.partition("[")[0] in carried and self.walked(tensor)
            if shares and not self.order.keys().isdisjoint(shares):
                yield name

    def others(self, place: Place) -> Iterator[tuple[str, Tensor]]:
        """Named results that are not in this graph."""
        for name, tensor in place.tensors():
            if tensor.grad_fn is not None and tensor.grad_fn not in self.order:
                yield name, tensor

    def walked(self, tensor: Tensor) -> set[Node]:
        """The nodes behind a result; none once too many were looked at."""
        if self.budget <= 0 or tensor.grad_fn is None:
            return set()
        found = set(torch_internals.walk([tensor.grad_fn]))
        self.budget -= len(found)
        return found

    def by_attribute(self, place: Place) -> _Found | None:
        """A result that an object keeps from one call of its methods to the next."""
        within = list(self.candidates(place))
        for name in (*within, *(name for name, _ in self.others(place))):
            kept = name.partition("[")[0]
            path, attribute, owner = _attribute_of(place, kept)
            makers = _makers(owner, attribute) if path else {}
            if any(makers.values()) and (name in within or any(self.beside(place, {kept}))):
                container = place.resolve(kept)[1]
                called = kept if issubclass(type(container), (list, deque)) else name
                fact = f"`{called}` keeps its graph from one call to the next."
                cure = self.cure_of_state(place, f"{path}.{attribute}")
                return _Found(called, "E07b", fact, cure)
            if name in within and _is_cache(owner, attribute):
                full = f"{path}.{attribute}"
                fact = f"`{full}` is kept from the first call on, and every later call uses it."
                cure = (
                    f"Compute it again in each step: `{full} = None` after `backward()`; or "
                    "`detach()` it if it needs no gradient."
                )
                return _Found(name, "E07c", fact, cure)
            if name in within and list(makers) == ["__init__"]:
                fact = f"`{name}` was computed once, in `__init__`; every call uses it."
                cure = "Compute it in each call, or `detach()` it if it needs no gradient."
                return _Found(name, "E07c", fact, cure)
        return None

    def by_global(self, place: Place) -> _Found | None:
        """A global variable, or one of the function around, that is computed from its old value."""
        scope = place.scope
        if scope is None:
            return None
        outer = {
            name
            for one in scope.statements
            if isinstance(one, (ast.Global, ast.Nonlocal))
            for name in one.names
        }
        carried = carried_names(scope.statements) & outer
        for name in (*self.candidates(place), *self.beside(place, carried)):
            variable = name.partition("[")[0]
            if variable in carried:
                fact = f"`{variable}` keeps its graph from one call to the next."
                return _Found(variable, "E07b", fact, self.cure_of_state(place, variable))
        return None

    def by_other_loss(self, place: Place) -> _Found | None:
        """A result inside this graph and inside that of another loss that is freed."""
        candidates = self.candidates(place)
        for other, tensor in self.others(place) if candidates else ():
            theirs = self.walked(tensor)
            if any(_saves(node) for node in theirs if node not in self.order):
                continue
            for name, shared in candidates.items():
                if shared in theirs:
                    fact = (
                        f"`{name}` belongs to the graph of `{other}` too, whose backward freed it."
                    )
                    return _Found(name, "E07d", fact, _cure_of_shared(place, name))
        return None

    def by_earlier_backward(self, place: Place) -> _Found | None:
        """A result made before an earlier backward, and used again after it."""
        scope = place.scope
        if scope is None or scope.statement is None:
            return None
        now = scope.statement.lineno
        for name in self.candidates(place):
            stores = [one.lineno for one in scope.stores(name.partition("[")[0])]
            for one, _ in _backwards(scope):
                if stores and max(stores) < one.lineno < now:
                    fact = (
                        f"`{name}` was made before the backward in {line_in_words(one)}, "
                        "and is used again after it."
                    )
                    return _Found(name, "E07d", fact, _cure_of_shared(place, name))
        return None

    def by_outside(self, place: Place) -> _Found | None:
        """A result from another cell, or from outside of the function that fails."""
        scope = place.scope
        if scope is None:
            return None
        for name in self.candidates(place):
            variable = name.partition("[")[0]
            local = scope.stores(variable) or variable.partition(".")[0] in place.arguments
            if not local and variable in read_in(scope.body):
                return _Found(name, "E07c", f"`{name}` was computed outside of this code.")
        return None

    def by_checkpoint(self, place: Place) -> _Found | None:
        """What the function of a reentrant checkpoint sees without being given it."""
        for name in self.candidates(place):
            fact = f"`{name}` is used in a reentrant checkpoint that does not see it as an input."
            return _Found(name, "E07e", fact)
        return None

    def whole(self) -> _Found | None:
        """Everything is freed, and no part of it can be to blame but the loss itself."""
        for place in self.case.places:
            for name in self.root_names:
                if place.name_of(self.case.roots[0]) == name:
                    local = name in place.arguments or (place.scope and place.scope.stores(name))
                    others = any(map(self.candidates, self.case.places))
                    if local or others or self.freed != self.saving:
                        return None
                    return _Found(name, "E07", f"The whole graph of `{name}` is freed.")
        return None


def _saves(node: Node) -> bool:
    """Whether a node still has what it saved."""
    return any(not saved.released for saved in torch_internals.saved_fields(node).values())


def _statements(loop: Loop) -> list[ast.stmt]:
    """The statements inside a loop, in their order."""
    inside = [one for one in ast.walk(loop) if isinstance(one, ast.stmt) and one is not loop]
    return sorted(inside, key=lambda one: one.lineno)


def _attribute_of(place: Place, name: str) -> tuple[str, str, object]:
    """Of a name such as ``self.memory.hidden`` the nearest object whose methods bind the rest."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        path, owner = place.resolve(".".join(parts[:count]))
        if path == ".".join(parts[:count]) and _makers(owner, parts[count]):
            return path, parts[count], owner
    return "", "", None


def _makers(owner: object, attribute: str) -> dict[str, bool]:
    """The methods that bind an attribute, and whether they compute it from what it was before."""
    makers = {}
    for kind in reversed(type(owner).__mro__):
        for key, value in vars(kind).items():
            function = function_of(value)
            scope = scope_of(function) if function is not None else None
            if function is not None and scope is not None and function.__code__.co_argcount:
                name = f"{function.__code__.co_varnames[0]}.{attribute}"
                if scope.stores(name) or any(name in _added_to(one) for one in scope.statements):
                    makers[key] = name in carried_names(scope.statements)
    return makers


def _is_cache(owner: object, attribute: str) -> bool:
    """Whether a method binds an attribute only where it holds None."""
    for kind in type(owner).__mro__:
        for value in vars(kind).values():
            function = function_of(value)
            scope = scope_of(function) if function is not None else None
            if function is None or scope is None or not function.__code__.co_argcount:
                continue
            name = f"{function.__code__.co_varnames[0]}.{attribute}"
            for store in scope.stores(name):
                tests = [one.test for one in scope.parents(store) if isinstance(one, ast.If)]
                if any(ast.unparse(one) in (f"{name} is None", f"not {name}") for one in tests):
                    return True
    return False


def _detached(place: Place, variable: str) -> str:
    """The assignment that takes a state out of its graph."""
    path, value = place.resolve(variable)
    if path == variable and issubclass(type(value), dict):
        return f"`{variable} = {{key: one.detach() for key, one in {variable}.items()}}`"
    if path == variable and issubclass(type(value), (list, deque)):
        return f"`{variable} = [one.detach() for one in {variable}]`"
    if path == variable and issubclass(type(value), tuple):
        return f"`{variable} = tuple(one.detach() for one in {variable})`"
    return f"`{variable} = {variable}.detach()`"


def _cure_of_shared(place: Place, name: str) -> str:
    """Where an optimizer steps between two backward passes, both losses cannot keep one graph."""
    scope = place.scope
    now = scope.statement if scope is not None else None
    if scope is None or now is None:
        return ""
    first = min((one.lineno for one, _ in _backwards(scope)), default=now.lineno)
    steps = [
        one
        for one in scope.statements
        if first <= one.lineno < now.lineno
        for called, _ in calls(one)
        if called.rpartition(".")[2] == "step"
    ]
    if not steps:
        return ""
    return (
        f"Give the first loss `{name}.detach()`, if it is not to train what made `{name}`. "
        f"Else all backward passes first, with `retain_graph=True` for all but the last, and then "
        f"the steps."
    )


def _backwards(scope: Scope) -> list[tuple[ast.stmt, str | None]]:
    """The statements that run a backward pass and free its graph, with the name of the loss."""
    return [
        (statement, _loss_of(call))
        for statement in scope.statements
        for _, call in calls(statement)
        if last_name(call.func) in ("backward", "grad") and not _retains(call)
    ]


def _loss_of(call: ast.Call) -> str | None:
    """`loss` of ``loss.backward()``, and of ``torch.autograd.grad(loss, x)``."""
    if call.args:
        return dotted(call.args[0])
    return dotted(call.func.value) if isinstance(call.func, ast.Attribute) else None


def _retains(call: ast.Call) -> bool:
    return any(word.arg in ("retain_graph", "create_graph") for word in call.keywords)


def _backward_again(scope: Scope, place: Place, name: str) -> str | None:
    """What shows that backward was called on one loss before."""
    now = scope.statement
    if now is None:
        return None
    stores = scope.stores(name)
    for first, loss in _backwards(scope):
        same = loss == name and first.lineno < now.lineno and name in read_in(*own_parts(now))
        anew = any(first.lineno < one.lineno < now.lineno for one in stores)
        if same and not anew and not scope.exclusive(first, now):
            return f"Backward has run on `{name}` before, in {line_in_words(first)}."
    for loop in scope.loops(now)[:1]:
        if name in bound(loop) and isinstance(loop, ast.For):
            path, given = place.resolve(ast.unparse(loop.iter))
            several = given if is_container(given) else ()
            loss = place.resolve(name)[1]
            if sum(one is loss for one in several) > 1:
                return f"`{path}` holds one loss more than once."
        elif name in read_in(*own_parts(now)) and not any(
            loop in scope.parents(one) for one in stores
        ):
            return f"`{name}` was computed before the loop, and not again in it."
    return None


def carried_names(statements: list[ast.stmt]) -> set[str]:
    """The names that statements, run again and again, compute from what they were before.

    Such a name is read before, or where, it is bound; its new value comes from the old one,
    perhaps through other names; and nothing detaches it.
    """
    reads = [read_in(*own_parts(one)) | _added_to(one) for one in statements]
    binds = [bound(one) | _added_to(one) for one in statements]
    carried = set()
    for name in set().union(*binds):
        first = next(number for number, names in enumerate(binds) if name in names)
        detached = any(_detaches(one, name) for one in statements)
        if detached or not any(name in read for read in reads[: first + 1]):
            continue
        reached = {name}
        derived: set[str] = set()
        while reached:
            derived |= reached
            found = (new for read, new in zip(reads, binds, strict=True) if read & reached)
            reached = set().union(*found)
            if name in reached:
                carried.add(name)
                break
            reached -= derived
    return carried


def _added_to(statement: ast.stmt) -> set[str]:
    """``y`` of ``y += x``, ``y.append(x)`` and ``y[0] = x``, which keep what it was before."""
    if isinstance(statement, ast.AugAssign):
        return bound(statement)
    called = (called.rpartition(".") for called, _ in calls(statement))
    added = {name for name, _, method in called if name and method in ("append", "extend")}
    for target in statement.targets if isinstance(statement, ast.Assign) else ():
        name = dotted(target.value) if isinstance(target, ast.Subscript) else None
        added |= {name} if name is not None else set()
    return added


def _detaches(statement: ast.stmt, name: str) -> bool:
    """``hidden = hidden.detach()``, and ``hidden.detach_()``."""
    if any(called == f"{name}.detach_" for called, _ in calls(statement)):
        return True
    stopped = name in bound(statement) and not isinstance(statement, (ast.For, ast.With))
    return stopped and name in read_in(*own_parts(statement)) and cuts(statement, name)


def _saved_tensors_read(case: Case) -> Finding:
    """No backward is running: the program itself read what a node had saved."""
    for name, tensor in case.at_hand():
        if tensor.grad_fn is not None:
            node = torch_internals.node_name(tensor.grad_fn)
            fact = f"Backward has freed what the node of `{name}`, {node}, had saved."
            return Finding(subject=name, facts=[fact], variant="E115")
    return Finding(variant="E115")
