"""Through which variable a program reuses a part of a graph that backward has freed."""

import ast
from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor
from torch.autograd.graph import Node

from gradbook import internals
from gradbook.culprit.case import Case, Finding, listed
from gradbook.culprit.frames import Place, torch_locals
from gradbook.culprit.source import Scope, bound, calls, loaded, own_parts

_MOST_NODES = 20_000


def graph_freed(case: Case) -> Finding:
    """The variable that carries the freed part, and which nodes that are."""
    if not case.roots:
        return _saved_tensors_read(case)
    finding = Finding(variant="E07")
    freed = {
        node
        for node, _ in zip(case.graph, range(_MOST_NODES), strict=False)
        if any(saved.released for saved in internals.saved_fields(node).values())
    }
    root_names = case.names(lambda one: any(one is root for root in case.roots))
    shared = _Shared(case, freed, root_names)
    found = (
        next(filter(None, (shared.by_loop(place) for place in case.places)), None)
        or next(filter(None, (shared.by_attribute(place) for place in case.places)), None)
        or next(filter(None, (shared.by_other_loss(place) for place in case.places)), None)
        or next(filter(None, (shared.by_state(place) for place in case.places)), None)
    )
    if found is not None:
        finding.subject, finding.variant, fact = found
        finding.facts.append(fact)
    elif root_names:
        finding.subject = root_names[0]
    if freed:
        kinds = dict.fromkeys(internals.node_name(node) for node in case.graph if node in freed)
        finding.details["freed nodes"] = listed(kinds, code=False, most=20)
        finding.facts.append(
            f"{len(freed)} of the {len(case.graph)} nodes of its graph are freed: "
            f"{listed(kinds, code=False)}."
        )
    if finding.subject and torch_locals(case.trace, {"backward": "utils/checkpoint.py"}):
        finding.variant = "E07e"
        finding.facts.append("The backward that fails is the inner one of a reentrant checkpoint.")
    return finding


_Found = tuple[str, str, str] | None  # name, variant, fact


class _Shared:
    """Ways to tell the shared part; each looks at one frame."""

    def __init__(self, case: Case, freed: set[Node], root_names: list[str]) -> None:
        self.graph = case.graph
        self.freed = freed
        self.root_names = root_names
        self.order = {node: number for number, node in enumerate(case.graph)}

    def candidates(self, place: Place) -> dict[str, Node]:
        """Named results inside the graph, those nearest to the loss first."""
        found = {
            name: tensor.grad_fn
            for name, tensor in place.tensors()
            if tensor.grad_fn in self.order and name not in self.root_names
        }
        nodes = {name: node for name, node in found.items() if node is not None}
        return dict(sorted(nodes.items(), key=lambda pair: self.order[pair[1]]))

    def by_loop(self, place: Place) -> _Found:
        """One loss twice, a constant made before the loop, or a state carried through it."""
        scope = place.scope
        if scope is None:
            return None
        loop = scope.loop()
        for name in self.root_names:
            again = _backward_again(scope, loop, name)
            if again is not None:
                return name, "E07", again
        if loop is None:
            return None
        inside = {
            name for one in ast.walk(loop) if isinstance(one, ast.stmt) for name in bound(one)
        }
        read = loaded(loop)
        names = list(self.candidates(place))
        for name in names:
            if name.isidentifier() and name not in inside and _reads(read, name):
                return name, "E07c", f"`{name}` was computed before the loop; every turn uses it."
        for name in [*self.root_names, *names, *self.beside(place, loop)]:
            if _carried(loop, name.partition("[")[0]):
                return name, "E07b", f"`{name}` is carried from one turn of the loop to the next."
        return None

    def beside(self, place: Place, loop: ast.For | ast.While) -> Iterator[str]:
        """Carried results outside this graph that have a part in common with it.

        The hidden state of an LSTM is such a one: the loss is computed from the output beside it.
        """
        for name, tensor in place.tensors():
            node = tensor.grad_fn
            if (
                node is not None
                and node not in self.order
                and _carried(loop, name)
                and not self.order.keys().isdisjoint(internals.walk([node]))
            ):
                yield name

    def by_attribute(self, place: Place) -> _Found:
        """A result that an object keeps: it outlives the step."""
        for name in self.candidates(place):
            if "." in name:
                return name, "E07b", f"`{name}` keeps its graph from one step to the next."
        return None

    def by_other_loss(self, place: Place) -> _Found:
        """A result inside this graph and inside that of another named loss."""
        candidates = self.candidates(place)
        for other, tensor in place.tensors():
            node = tensor.grad_fn
            if node is None or node in self.order or other in self.root_names:
                continue
            theirs = internals.walk([node])
            for name, shared in candidates.items():
                if shared in theirs:
                    return name, "E07d", f"`{name}` belongs to the graph of `{other}` too."
        return None

    def by_state(self, place: Place) -> _Found:
        """A result whose node is freed, best one that the source reads more than once."""
        below = [name for name, node in self.candidates(place).items() if node in self.freed]
        if not below:
            return None
        best = next((name for name in below if _read_often(place.scope, name)), below[0])
        return best, "E07d", f"`{best}` belongs to the part that is freed."


def _backward_again(scope: Scope, loop: ast.AST | None, name: str) -> str | None:
    """One loss, and two calls of backward on it."""
    lines = [
        statement
        for statement in scope.statements()
        if any(called == f"{name}.backward" for called, _ in calls(statement))
    ]
    stores = scope.stores(name)
    for first, second in pairwise(lines):
        if not any(first.lineno < one.lineno < second.lineno for one in stores):
            return (
                f"`{name}.backward()` is called twice, in lines {first.lineno} and {second.lineno}."
            )
    if loop is not None and lines and not any(loop in scope.parents(one) for one in stores):
        return f"`{name}` was computed before the loop, and not again in it."
    return None


def _reads(read: list[str], name: str) -> bool:
    return any(one == name or one.startswith(name + ".") for one in read)


def _carried(loop: ast.For | ast.While, name: str) -> bool:
    """Whether a loop reads `name` before, or where, it binds it anew."""
    read = False
    inside = [one for one in ast.walk(loop) if isinstance(one, ast.stmt) and one is not loop]
    for statement in sorted(inside, key=lambda one: one.lineno):
        read = read or any(_reads(loaded(part), name) for part in own_parts(statement))
        if name in bound(statement):
            return read or isinstance(statement, ast.AugAssign)
    return False


def _read_often(scope: Scope | None, name: str) -> bool:
    if scope is None:
        return False
    readers = [
        statement
        for statement in scope.statements()
        if any(_reads(loaded(part), name) for part in own_parts(statement))
    ]
    return len(readers) > 1


def _saved_tensors_read(case: Case) -> Finding:
    """No backward is running: the program itself read what a node had saved."""
    for name, value in case.on_the_line():
        if isinstance(value, Tensor) and value.grad_fn is not None:
            node = internals.node_name(value.grad_fn)
            fact = f"Backward has freed what the node of `{name}`, {node}, had saved."
            return Finding(subject=name, facts=[fact], variant="E115")
    return Finding(variant="E115")
