"""What the source of a program says: who binds a name, what stands in a loop, what cuts a graph."""

import ast
import linecache
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from types import CodeType, FunctionType, MethodType
from typing import TypeGuard, cast

from gradbook.see.source import parse
from gradbook.understand.culprit.fresh import is_source_of


def unwrapped(value: object) -> FunctionType | None:
    """The Python function behind a method, a partial or a decorated function."""
    for _ in range(_MOST_WRAPPERS):
        if type(value) in (staticmethod, classmethod, MethodType):
            value = cast("MethodType", value).__func__
        elif type(value) is partial:
            value = value.func
        elif type(value) is FunctionType:
            if "__wrapped__" not in value.__dict__:
                return value
            value = value.__dict__["__wrapped__"]
    return None


_MOST_WRAPPERS = 20


def scope_of(function: FunctionType) -> "Scope | None":
    """The source of a Python function; None if there is none."""
    code = function.__code__
    return scope_at(linecache.getlines(code.co_filename), code.co_firstlineno, code)


def scope_at(
    lines: list[str], number: int, code: CodeType, column: int | None = None
) -> "Scope | None":
    """The function that `code` was compiled from, seen from one of its lines.

    None where there is no source, or another one now than that which was compiled.
    """
    tree = parse(lines, number)
    if tree is None or not is_source_of(tree, code):
        return None
    return Scope(_function_at(tree, number, code), number, column)


Loop = ast.For | ast.While
Span = tuple[int | None, int | None, int | None, int | None]
_SPAN = ("lineno", "end_lineno", "col_offset", "end_col_offset")


class Scope:
    """The source of one function, or of a file outside of functions, seen from one line.

    Attributes:
        body: the function or the file.
        statements: all statements, in their order; those of inner functions are left out.
        statement: the innermost statement on the line, and around the column if it is given.
        again: the statements of a notebook's cell, if it ran before; they count as a loop.
    """

    again: Sequence[ast.stmt] = ()

    def __init__(self, body: ast.AST, number: int, column: int | None = None) -> None:
        self.body = body
        self.statements: list[ast.stmt] = []
        self._parents: dict[ast.AST, ast.AST] = {}
        stack: list[ast.AST] = [body]
        while stack:
            node = stack.pop()
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
                if isinstance(child, ast.stmt):
                    self.statements.append(child)
                if not isinstance(child, _NEW_SCOPE):
                    stack.append(child)
        self.statements.sort(key=lambda one: (one.lineno, one.col_offset))
        self._number = number
        self.statement = self._at(number, column)

    def _at(self, number: int, column: int | None = None) -> ast.stmt | None:
        if column is None and number == self._number and hasattr(self, "statement"):
            return self.statement
        around = [one for one in self.statements if one.lineno <= number <= (one.end_lineno or 0)]
        if column is not None:
            around = [one for one in around if _holds(one, number, column)]
        return min(around, key=lambda one: (one.end_lineno or 0) - one.lineno, default=None)

    def expression(self, span: Span | None) -> ast.AST | None:
        """The expression, or the statement, that stands exactly there."""
        for node in ast.walk(self.statement) if self.statement is not None else ():
            place = [getattr(node, name, None) for name in _SPAN]
            if span is not None and tuple(place) == span:
                return node.value if isinstance(node, ast.Expr) else node
        return None

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """What the node stands in, innermost first."""
        while node in self._parents:
            node = self._parents[node]
            yield node

    def loops(self, statement: ast.stmt | None) -> list[Loop]:
        """The loops around a statement, itself counted, innermost first."""
        around = (statement, *self.parents(statement)) if statement is not None else ()
        return [one for one in around if isinstance(one, (ast.For, ast.While))]

    def stores(self, name: str) -> list[ast.stmt]:
        """The statements that bind `name`, in their order."""
        return self._stores.get(name, [])

    @cached_property
    def _stores(self) -> dict[str, list[ast.stmt]]:
        """By name: a search through the cells of a long notebook for each would take seconds."""
        found: dict[str, list[ast.stmt]] = {}
        for one in self.statements:
            for name in bound(one):
                found.setdefault(name, []).append(one)
        return found

    def definitions(self, name: str, before: int) -> list[ast.stmt]:
        """The statements that made what `name` stands for on a line, the last one first.

        A statement that only perhaps ran, or that computes the name from what it was before, is
        followed by those before it. In a loop, statements after the line count as well.
        """
        now = self._at(before)
        found = [one for one in self.stores(name) if now is None or not self.exclusive(one, now)]
        earlier = [one for one in found if _header_end(one) < before or _left_of(one, now)]
        if not earlier:
            loops = self.loops(now)
            earlier = [one for one in found if any(loop in loops for loop in self.loops(one))]
        made = []
        for one in reversed(earlier):
            made.append(one)
            again = isinstance(one, ast.AugAssign) or name in read_in(*own_parts(one))
            if not again and not self.perhaps(one, now):
                break
        return made

    def perhaps(self, one: ast.stmt, now: ast.stmt | None) -> bool:
        """Whether a statement stands in an `if` or `try` that does not hold the present one."""
        around = set(self.parents(now)) if now is not None else set()
        return any(
            isinstance(node, (ast.If, ast.Try)) and node not in around for node in self.parents(one)
        )

    def exclusive(self, one: ast.stmt, other: ast.stmt) -> bool:
        """Whether two statements stand in the two arms of one `if`."""
        around = [node for node in self.parents(other) if isinstance(node, ast.If)]
        return any(
            self._in_else(node, one) != self._in_else(node, other)
            for node in self.parents(one)
            if node in around and isinstance(node, ast.If)
        )

    def _in_else(self, node: ast.If, statement: ast.stmt) -> bool:
        chain = {statement, *self.parents(statement)}
        return any(one in chain for one in node.orelse)


def line_in_words(node: ast.AST) -> str:
    """``line 3``; of a notebook ``cell In [4]``, or ``line 3 of cell In [4]``.

    >>> line_in_words(ast.parse("x = 1").body[0])
    'line 1'
    """
    cell = getattr(node, "cell", "")
    if cell:
        own = getattr(node, "own_line", 1)
        return f"line {own} of cell {cell}" if own > 1 else f"cell {cell}"
    return f"line {getattr(node, 'lineno', 0)}"


def own_line(node: ast.AST) -> int:
    """The line in its own file or cell."""
    return int(getattr(node, "own_line", getattr(node, "lineno", 0)))


def _holds(statement: ast.stmt, number: int, column: int) -> bool:
    """Whether a place in the file lies inside a statement."""
    start = statement.lineno, statement.col_offset
    end = statement.end_lineno or 0, statement.end_col_offset or 0
    return start <= (number, column) < end


def _left_of(one: ast.stmt, other: ast.stmt | None) -> bool:
    """Whether a statement ends before another on the same line."""
    return (
        other is not None
        and one.end_lineno == other.lineno
        and (one.end_col_offset or 0) <= other.col_offset
    )


def _header_end(statement: ast.stmt) -> int:
    """The last line of a statement without the statements inside it."""
    body: list[ast.stmt] = getattr(statement, "body", [])
    end = body[0].lineno - 1 if body else statement.end_lineno
    return max(statement.lineno, end or 0)


_NEW_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def _function_at(tree: ast.Module, number: int, code: CodeType) -> ast.AST:
    """The innermost function around a line that starts where the frame's code starts.

    A comprehension or a lambda counts for the function around it.
    """
    best: ast.AST = tree
    inner = code.co_name.startswith("<")
    for node in ast.walk(tree) if code.co_name != "<module>" else ():
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            start = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            same = inner or code.co_firstlineno in (start, node.lineno)
            if same and start <= number <= (node.end_lineno or 0):
                best = node
    return best


def last_name(node: ast.AST) -> str:
    """``backward`` of ``loss.sum().backward``; empty for what has no name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def dotted(node: ast.AST) -> str | None:
    """``self.hidden`` of a chain of attributes on a name; None for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def loaded(node: ast.AST) -> list[str]:
    """The dotted names that are read in a piece of source, in their order, each once."""
    found: dict[str, None] = {}
    stack: list[ast.AST] = [node]
    while stack:
        one = stack.pop()
        name = dotted(one)
        if name is not None:
            if isinstance(getattr(one, "ctx", None), ast.Load):
                found[name] = None
            continue
        # Children in reverse, so that the first is popped first.
        stack.extend(reversed(list(ast.iter_child_nodes(one))))
    return list(found)


def read_in(*nodes: ast.AST) -> set[str]:
    """The names that are read in pieces of source: of ``self.a.b`` also ``self`` and ``self.a``."""
    names = [name.split(".") for node in nodes for name in loaded(node)]
    return {".".join(parts[: count + 1]) for parts in names for count in range(len(parts))}


def bound(statement: ast.stmt) -> set[str]:
    """The dotted names that a statement itself binds (not those of the statements inside it)."""
    targets: list[ast.AST] = []
    if isinstance(statement, ast.Assign):
        targets += statement.targets
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign, ast.For)):
        targets.append(statement.target)
    elif isinstance(statement, ast.With):
        targets += [item.optional_vars for item in statement.items if item.optional_vars]
    targets += [
        node.target
        for part in own_parts(statement)
        for node in ast.walk(part)
        if isinstance(node, ast.NamedExpr)
    ]
    names = set()
    while targets:
        target = targets.pop()
        if isinstance(target, (ast.Tuple, ast.List)):
            targets += target.elts
        elif isinstance(target, ast.Starred):
            targets.append(target.value)
        else:
            name = dotted(target)
            if name is not None:
                names.add(name)
    return names


def own_parts(statement: ast.stmt) -> list[ast.AST]:
    """The expressions of a statement without the statements inside it."""
    return [
        child
        for child in ast.iter_child_nodes(statement)
        if not isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case))
    ]


def operands(node: ast.AST) -> list[ast.expr]:
    """What an expression works on: the two sides of `@`, the arguments of a call.

    >>> [ast.unparse(one) for one in operands(ast.parse("f(x, [y, z.exp()])").body[0].value)]
    ['x', 'y', 'z.exp()']
    """
    if isinstance(node, ast.Call):
        found = [*node.args, *(word.value for word in node.keywords)]
    elif isinstance(node, (ast.Attribute, ast.Subscript)):
        found = [node.value]
    elif isinstance(node, ast.Assign):
        found = [*(one for target in node.targets for one in operands(target)), node.value]
    elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Subscript):
        found = [*operands(node.target), node.value]
    else:
        found = [one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)]
    flat: list[ast.expr] = []
    for one in found:
        inside = isinstance(one, (ast.List, ast.Tuple, ast.Starred, ast.Dict))
        flat += operands(one) if inside else [one]
    return flat


def calls(statement: ast.stmt) -> list[tuple[str, ast.Call]]:
    """The calls in a statement itself, with the dotted name of what is called, or ''."""
    return [
        (dotted(node.func) or "", node)
        for part in own_parts(statement)
        for node in ast.walk(part)
        if isinstance(node, ast.Call)
    ]


def changed_names(statement: ast.stmt) -> list[str]:
    """The dotted names whose tensor a statement changes in place.

    ``y += 1``, ``y[...] = 1``, ``y.relu_()``, ``F.relu(y, inplace=True)``. Of ``y += 1`` the
    source cannot tell whether `y` is a tensor.
    """
    names = []
    for one in changed_expressions(statement):
        inner = one
        while isinstance(inner, ast.Subscript):
            inner = inner.value
        names.append(dotted(inner))
    return [name for name in names if name is not None]


def changed_expressions(statement: ast.stmt) -> list[ast.expr]:
    """The expressions whose tensor a statement changes in place."""
    found: list[ast.expr] = []
    targets: list[ast.expr] = []
    if isinstance(statement, ast.AugAssign):
        found.append(statement.target)
    elif isinstance(statement, ast.Assign):
        targets += statement.targets
    for one in targets:  # grows while it is walked
        if isinstance(one, (ast.Tuple, ast.List)):
            targets += one.elts
        elif isinstance(one, ast.Subscript):
            found.append(one)
    for _, call in calls(statement):
        if _is_in_place(call.func) and call.func.attr not in _NO_CHANGE:
            of_module = last_name(call.func.value) in _MODULES and call.args
            found.append(call.args[0] if of_module else call.func.value)
        if says_inplace(call):
            found += call.args
        found += [word.value for word in call.keywords if word.arg == "out"]
    return found


# Methods that change a flag, or what a tensor is connected with, not its numbers.
_NO_CHANGE = {"requires_grad_", "detach_", "share_memory_", "rename_", "retain_grad_"}
_MODULES = ("torch", "F", "functional", "init")  # `torch.relu_(y)` changes `y`


def _is_in_place(function: ast.expr) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(function, ast.Attribute)
        and function.attr.endswith("_")
        and not function.attr.endswith("__")
    )


def says_inplace(call: ast.Call) -> bool:
    """``F.relu(x, inplace=True)``, and ``nn.ReLU(inplace=True)(x)``."""
    inner = call.func if isinstance(call.func, ast.Call) else call
    return any(
        word.arg == "inplace" and isinstance(word.value, ast.Constant) and bool(word.value.value)
        for word in inner.keywords
    )
