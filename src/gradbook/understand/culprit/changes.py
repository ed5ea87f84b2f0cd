"""Which lines of a program change a piece of memory in place, also inside the functions they call.

A line counts if it may have run since the memory was read: not one that is still running, nor one
behind the failing line that no loop leads back to. Names are followed to the tensors that they
stand for, so that an edit of another tensor is none of this one.
"""

import ast
import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler

from gradbook.see import torch_internals
from gradbook.understand.culprit.case import quoted
from gradbook.understand.culprit.frames import Place
from gradbook.understand.culprit.names import (
    buffers_of,
    function_of,
    is_container,
    is_module,
    is_optimizer,
    is_tensor,
    items_of,
    members,
    parameters_of,
    submodules,
)
from gradbook.understand.culprit.recording import switches
from gradbook.understand.culprit.source import (
    Scope,
    Span,
    calls,
    changed_expressions,
    last_name,
    read_in,
    says_inplace,
)
from gradbook.understand.culprit.views import Called, View, called, forwards_below, values_of

_DEEPEST = 6
_MOST_BODIES = 300


DDP = (
    "DistributedDataParallel overwrites the buffers in place before each forward pass, on every "
    "process but the first; here two came before one backward."
)


class Change(NamedTuple):
    """A line that changes the memory.

    Attributes:
        statement: the line of the running function.
        inner: the line in a function that it calls; the same one, or None, if there is none.
        title: that function; empty if there is none.
        variant: `Variant.source` of the kind of change.
        owner: a sentence about the object that makes the change, if there is one.
    """

    statement: ast.stmt
    inner: ast.stmt | None
    title: str
    variant: str
    owner: str = ""

    def __str__(self) -> str:
        """With the line in the called function in parentheses."""
        inside = f" ({quoted(self.inner)} of {self.title})" if self.title and self.inner else ""
        return quoted(self.statement) + inside


def changes_in(place: Place, tensor: Tensor, *, closures: bool = False) -> list[Change]:
    """The lines of a running function that change the memory of a tensor.

    Args:
        place: the function, and the line in which it is.
        tensor: any tensor in that memory.
        closures: whether an optimizer has called the program from inside its step.
    """
    scope = place.scope
    if scope is None:
        return []
    search = _Search(torch_internals.storage_of(tensor)[0])
    found: list[Change] = []
    for statement in scope.statements:
        if may_have_run(scope, statement):
            found += search.statement(place, statement)
        elif statement is scope.statement:
            found += search.running(place, statement, closures=closures)
    return _after_first_use(place, scope, tensor, found)


def ended_calls(place: Place) -> list[tuple[str, ast.Call]]:
    """The calls of the present statement that have ended: those inside of what is running."""
    scope, span = place.scope, place.span
    if scope is None or scope.statement is None or span is None:
        return []
    return [pair for pair in calls(scope.statement) if _ended_inside(pair[1], span)]


def may_have_run(scope: Scope, statement: ast.stmt) -> bool:
    """Whether a statement may have run, and ended, before the present one began."""
    now = scope.statement
    if now is None or statement is now or now in [*ast.walk(statement)]:
        return now is None
    shared = set(scope.loops(now)) & set(scope.loops(statement))
    if shared:
        return True
    before = (statement.lineno, statement.col_offset) < (now.lineno, now.col_offset)
    return before and not scope.exclusive(statement, now)


def _after_first_use(
    place: Place, scope: Scope, tensor: Tensor, found: list[Change]
) -> list[Change]:
    """Without the changes before anything else read the tensor, if there are later ones."""
    key = torch_internals.storage_of(tensor)[0]
    roots = {
        name.partition("[")[0].partition(".")[0]
        for name, one in place.tensors()
        if torch_internals.storage_of(one)[0] == key
    }
    changing = {one.statement for one in found}
    reads = [
        one.lineno
        for one in scope.statements
        if one not in changing
        and not roots.isdisjoint(read_in(*ast.iter_child_nodes(one)))
        and not isinstance(one, (ast.For, ast.While, ast.With, ast.If, ast.Try))
    ]
    first = min(reads, default=0)
    late = [one for one in found if one.statement.lineno > first or scope.loops(one.statement)]
    return late or found


class _Inner(NamedTuple):
    """A change as of `Change`, without the line of the running function."""

    inner: ast.stmt | None
    title: str
    variant: str
    owner: str


class _Search:
    """Looks for changes of one piece of memory."""

    def __init__(self, key: object) -> None:
        self.key = key
        self.seen: set[tuple[object, ...]] = set()

    def holds(self, value: object) -> bool:
        """Whether a value is a tensor in the memory, or a container with one."""
        if is_tensor(value):
            return bool(torch_internals.storage_of(value)[0] == self.key)
        return is_container(value) and any(
            is_tensor(one) and torch_internals.storage_of(one)[0] == self.key
            for _, one in items_of(value)
        )

    def statement(self, place: Place, statement: ast.stmt) -> Iterator[Change]:
        """The changes by a statement that has ended."""
        self.seen.clear()
        for found in self._inside(place, statement, calls(statement), _DEEPEST):
            yield Change(statement, *found)

    def running(self, place: Place, statement: ast.stmt, *, closures: bool) -> Iterator[Change]:
        """The changes by those calls of the present statement that have ended.

        An optimizer that calls the program several times in a step may have changed it before.
        """
        self.seen.clear()
        given = calls(statement)
        if closures and any(self._by_object(place, call) == ("E40b", "") for _, call in given):
            yield Change(statement, statement, "", "E40b")
            return
        ended = ended_calls(place)
        for found in self._inside(place, None, ended, _DEEPEST):
            yield Change(statement, *found)

    def _inside(
        self,
        view: View,
        statement: ast.stmt | None,
        given: list[tuple[str, ast.Call]],
        levels: int,
    ) -> Iterator["_Inner"]:
        """The changes by a statement itself, if it is one, and by calls that stand in it."""
        if statement is not None:
            for expression in changed_expressions(statement):
                if self._changes(view, expression):
                    yield _Inner(statement, "", kind_of_change(view, statement), "")
                    break
        for _, call in given:
            found = self._by_object(view, call)
            if found is not None:
                yield _Inner(statement, "", *found)
                continue
            for body in self._bodies(view, call):
                yield from self._in_body(body, levels - 1)

    def _bodies(self, view: View, call: ast.Call) -> Iterator[Called]:
        yield from called(view, call)
        for value in values_of(view, call.func):
            if is_module(value):
                yield from forwards_below(value)

    def _in_body(self, body: Called, levels: int) -> Iterator["_Inner"]:
        if body.identity in self.seen or len(self.seen) >= _MOST_BODIES or levels <= 0:
            return
        self.seen.add(body.identity)
        for statement in body.scope.statements if body.scope is not None else ():
            for one in self._inside(body, statement, calls(statement), levels):
                kind = self._of_owner(body, one.variant)
                yield one._replace(title=one.title or body.title, variant=kind)

    def _of_owner(self, body: Called, variant: str) -> str:
        """A module that writes into its own buffer is a cause of its own."""
        owners = [one for values in list(body.given.values())[:1] for one in values]
        own = any(
            self.holds(one)
            for owner in owners
            if is_module(owner)
            for one in buffers_of(owner).values()
        )
        return "E213" if own and variant in ("E40", "E40c", "E40f") else variant

    # -------------------------------------------------------------------------------- by source

    def _changes(self, view: View, expression: ast.AST) -> bool:
        base = memory_of(expression)
        return base is not None and any(self.holds(one) for one in values_of(view, base))

    # -------------------------------------------------------------------------------- by object

    def _by_object(self, view: View, call: ast.Call) -> tuple[str, str] | None:
        """The change that an object of a library makes when it is called: variant, and words."""
        method = last_name(call.func)
        if isinstance(call.func, ast.Attribute):
            owners = values_of(view, call.func.value)
            if method == "step" and self._steps(view, call, owners):
                return "E40b", ""
            if method == "load_state_dict" and any(self._in_module(one) for one in owners):
                return "E40f", ""
        for value in values_of(view, call.func):
            found = self._by_module(value) if is_module(value) else None
            if found is not None:
                return found
        return None

    def _steps(self, view: View, call: ast.Call, owners: list[Any]) -> bool:
        """Whether a call is the step of an optimizer that holds the memory."""
        given = [one for part in call.args for one in values_of(view, part)]
        for one in owners:
            if issubclass(type(one), LRScheduler):
                return False
            if function_of(inspect.getattr_static(type(one), "step", None)) is not None:
                continue  # its source tells more
            if any(self.owns(inner) for inner in (one, *members(one).values())):
                return True
        return any(self.owns(one) for one in given)

    def owns(self, optimizer: object) -> bool:
        """Whether a value is an optimizer that holds the memory."""
        groups = members(optimizer).get("param_groups", ()) if is_optimizer(optimizer) else ()
        return any(
            torch_internals.storage_of(one)[0] == self.key
            for group in groups
            for one in group["params"]
        )

    def _in_module(self, value: object) -> bool:
        if not is_module(value):
            return False
        kept = (*parameters_of(value).values(), *buffers_of(value).values())
        return any(self.holds(one) for one in kept)

    def _by_module(self, module: nn.Module) -> tuple[str, str] | None:
        """What the forward pass of torch's own modules changes."""
        for one in submodules(module).values():
            kept = members(one)
            if issubclass(type(one), nn.Embedding) and kept.get("max_norm") is not None:
                if self.holds(kept.get("weight")):
                    return "E40d", ""
            elif issubclass(type(one), DistributedDataParallel) and any(
                self.holds(inner) for inner in buffers_of(one).values()
            ):
                return "E213", DDP
        return None


def kind_of_change(view: View, statement: ast.stmt) -> str:
    """The variant to which a change belongs."""
    scope = view.scope
    last = [*switches(view, statement)][-1:]
    if last and last[0].off:
        return "E40f"
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AugAssign):
        targets = [statement.target]
    in_loop = scope is not None and scope.loops(statement)
    if any(isinstance(one, ast.Subscript) for one in _flat(targets)) and in_loop:
        return "E40c"
    activated = any(
        says_inplace(call) or last_name(call.func) in _ACTIVATIONS for _, call in calls(statement)
    )
    return "E40e" if activated else "E40"


_ACTIVATIONS = {
    *("relu_", "leaky_relu_", "rrelu_", "elu_", "celu_", "selu_", "hardtanh_", "threshold_"),
    *("sigmoid_", "tanh_", "softmax_", "dropout_"),
}


def _flat(targets: list[ast.expr]) -> Iterator[ast.expr]:
    for one in targets:
        if isinstance(one, (ast.Tuple, ast.List)):
            yield from _flat(one.elts)
        else:
            yield one


_VIEWS = {
    *("view", "reshape", "t", "transpose", "permute", "squeeze", "unsqueeze", "expand", "detach"),
    *("flatten", "narrow", "select", "view_as", "expand_as", "diagonal", "unfold", "T", "mT", "H"),
    *("real", "imag", "ravel", "swapaxes", "movedim"),
}


def memory_of(expression: ast.AST) -> ast.AST | None:
    """The expression whose memory a target lies in; None where a change does not count there.

    What is written through ``.data`` is not counted by torch, and ``.grad`` is another tensor.
    """
    while True:
        if isinstance(expression, ast.Subscript):
            expression = expression.value
        elif isinstance(expression, ast.Call) and last_name(expression.func) in _VIEWS:
            if not isinstance(expression.func, ast.Attribute):
                return expression
            expression = expression.func.value
        elif isinstance(expression, ast.Attribute) and expression.attr in ("data", "grad"):
            return None
        elif isinstance(expression, ast.Attribute) and expression.attr in _VIEWS:
            expression = expression.value
        else:
            return expression


def _ended_inside(call: ast.Call, span: Span) -> bool:
    """Whether a call stands inside of the expression that is running, so that it has ended."""
    first, last, left, right = span
    if None in span:
        return False
    start = call.lineno, call.col_offset
    end = call.end_lineno or 0, call.end_col_offset or 0
    whole = start == (first, left) and end == (last, right)
    return not whole and (first, left) <= start and end <= (last, right)
