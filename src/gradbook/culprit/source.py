"""What the source of a program says: who binds a name, what stands in a loop, what cuts a graph."""

import ast
import inspect
import linecache
from collections.abc import Iterator
from types import CodeType
from typing import TypeGuard


def parse(lines: list[str], number: int) -> ast.Module | None:
    """The tree of a file; None if it is empty or no Python.

    Of a Markdown page it is the tree of the code block around line `number`.
    """
    for text in ("".join(lines), _block("".join(lines).splitlines(), number)):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # a cell with a %magic, too
            continue
        return tree if tree.body else None
    return None


def _block(lines: list[str], number: int) -> str:
    """The lines between two fences around a line, the others empty, so that numbers stay."""
    fences = [count for count, line in enumerate(lines, 1) if line.lstrip().startswith("```")]
    first = max((count for count in fences if count < number), default=0)
    last = min((count for count in fences if count > number), default=len(lines) + 1)
    return "\n".join(
        line if first < count < last and not line.startswith(":") else ""
        for count, line in enumerate(lines, 1)
    )


def scope_of(function: object) -> "Scope | None":
    """The source of a Python function; None if there is none."""
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    if not isinstance(code, CodeType):
        return None
    return scope_at(linecache.getlines(code.co_filename), code.co_firstlineno, code)


def scope_at(lines: list[str], number: int, code: CodeType) -> "Scope | None":
    """The function that `code` was compiled from, seen from one of its lines."""
    tree = parse(lines, number)
    if tree is None:
        return None
    return Scope(_function_at(tree, number, code.co_firstlineno), number)


class Scope:
    """The source of one function, or of a file outside of functions, seen from one line.

    Attributes:
        body: the function or the file.
        statement: the innermost statement on the line.
    """

    def __init__(self, body: ast.AST, number: int) -> None:
        self.body = body
        self._parents: dict[ast.AST, ast.AST] = {}
        self._statements: list[ast.stmt] = []
        stack: list[ast.AST] = [body]
        while stack:
            node = stack.pop()
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
                if isinstance(child, ast.stmt):
                    self._statements.append(child)
                if not isinstance(child, _NEW_SCOPE):
                    stack.append(child)
        self._statements.sort(key=lambda one: (one.lineno, one.col_offset))
        self.number = number
        self.statement = self._at(number)

    def _at(self, number: int) -> ast.stmt | None:
        around = [one for one in self._statements if one.lineno <= number <= (one.end_lineno or 0)]
        return min(around, key=lambda one: (one.end_lineno or 0) - one.lineno, default=None)

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """What the node stands in, innermost first."""
        while node in self._parents:
            node = self._parents[node]
            yield node

    def loop(self, statement: ast.stmt | None = None) -> ast.For | ast.While | None:
        """The innermost loop around a statement; by default the one on the line."""
        statement = statement or self.statement
        if statement is None:
            return None
        around = (statement, *self.parents(statement))
        return next((one for one in around if isinstance(one, (ast.For, ast.While))), None)

    def stores(self, name: str) -> list[ast.stmt]:
        """The statements that bind `name`, in their order."""
        return [one for one in self._statements if name in bound(one)]

    def definition(self, name: str, before: int) -> ast.stmt | None:
        """The last statement before a line that binds `name`; in a loop, also one after it."""
        found = self.stores(name)
        earlier = [one for one in found if (one.end_lineno or one.lineno) < before]
        chosen = earlier or found
        return chosen[-1] if chosen else None

    def statements(self) -> list[ast.stmt]:
        """All statements, in their order; those of inner functions are left out."""
        return self._statements

    def recording_off(self, statement: ast.stmt) -> ast.AST | None:
        """The block or decorator that switches recording off for a statement."""
        for one in self.parents(statement):
            if isinstance(one, ast.With):
                for item in one.items:
                    if _switches_off(item.context_expr):
                        return item.context_expr
        return self.decorated_off()

    def decorated_off(self) -> ast.AST | None:
        """The decorator that switches recording off for the whole function."""
        decorators: list[ast.AST] = getattr(self.body, "decorator_list", [])
        return next((one for one in decorators if _switches_off(one)), None)


_NEW_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def _function_at(tree: ast.Module, number: int, first: int) -> ast.AST:
    """The innermost function around a line that starts where the frame's code starts."""
    best: ast.AST = tree
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            start = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if start <= number <= (node.end_lineno or 0) and first in (start, node.lineno):
                best = node
    return best


def _switches_off(node: ast.AST) -> bool:
    """``torch.no_grad()``, ``inference_mode()``, ``set_grad_enabled(False)``."""
    if isinstance(node, ast.Call):
        called = last_name(node.func)
        off = [one for one in node.args if isinstance(one, ast.Constant)]
        if called == "set_grad_enabled":
            return bool(off) and off[0].value is False
        if called == "inference_mode" and off and off[0].value is False:
            return False
        return called in ("no_grad", "inference_mode")
    return last_name(node) in ("no_grad", "inference_mode")


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


def bound(statement: ast.stmt) -> set[str]:
    """The dotted names that a statement itself binds (not those of the statements inside it)."""
    targets: list[ast.AST] = []
    if isinstance(statement, ast.Assign):
        targets += statement.targets
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign, ast.For)):
        targets.append(statement.target)
    elif isinstance(statement, ast.With):
        targets += [item.optional_vars for item in statement.items if item.optional_vars]
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


def indexed(part: ast.AST) -> list[str]:
    """``w`` of ``w[0] = 1``, which reads nothing."""
    return [
        name
        for node in ast.walk(part)
        if isinstance(node, ast.Subscript) and (name := dotted(node.value)) is not None
    ]


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
    names: list[str | None] = []
    if isinstance(statement, ast.AugAssign):
        target = statement.target
        names.append(dotted(target.value if isinstance(target, ast.Subscript) else target))
    elif isinstance(statement, ast.Assign):
        targets = [one for one in statement.targets if isinstance(one, ast.Subscript)]
        names += [dotted(one.value) for one in targets]
    for _, call in calls(statement):
        if _is_in_place(call.func):
            names.append(dotted(call.func.value))
        if _says_inplace(call):
            names += [name for one in call.args for name in loaded(one)]
    return [name for name in names if name is not None]


def changes_in_place(statement: ast.stmt, name: str) -> bool:
    """Whether a statement changes what `name` stands for in place.

    A parameter, whose name has a dot, is changed by ``optimizer.step()`` too.
    """
    variable = name.partition("[")[0]
    if variable in changed_names(statement):
        return True
    return "." in name and any(called.endswith(".step") for called, _ in calls(statement))


def calls_in_place(statement: ast.stmt) -> bool:
    """Whether a statement calls a method whose name ends in ``_``, or says ``inplace=True``."""
    return any(_is_in_place(call.func) or _says_inplace(call) for _, call in calls(statement))


def _is_in_place(function: ast.expr) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(function, ast.Attribute)
        and function.attr.endswith("_")
        and not function.attr.endswith("__")
    )


def _says_inplace(call: ast.Call) -> bool:
    """``F.relu(x, inplace=True)``, and ``nn.ReLU(inplace=True)(x)``."""
    inner = call.func if isinstance(call.func, ast.Call) else call
    return any(
        word.arg == "inplace" and isinstance(word.value, ast.Constant) and bool(word.value.value)
        for word in inner.keywords
    )
