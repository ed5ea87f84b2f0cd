"""What the source of a program says about the operation that a frame is running."""

import ast
import linecache
from functools import lru_cache
from types import CodeType
from typing import NamedTuple


def parse(lines: list[str], number: int) -> ast.Module | None:
    """The tree of a file; None if it is empty or no Python.

    Of a Markdown page it is the tree of the code block around line `number`.
    """
    text = "".join(lines)
    return _tree(text) or _tree(_block(text.splitlines(), number))


@lru_cache(maxsize=8)  # the frames of a traceback are mostly in a few files
def _tree(text: str) -> ast.Module | None:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a cell with a %magic, too
        return None
    return tree if tree.body else None


def _block(lines: list[str], number: int) -> str:
    """The lines between two fences around a line, the others empty, so that numbers stay."""
    fences = [count for count, line in enumerate(lines, 1) if line.lstrip().startswith("```")]
    first = max((count for count in fences if count < number), default=len(lines))
    last = min((count for count in fences if count > number), default=0)
    return "\n".join(
        line if first < count < last and not line.startswith(":") else ""
        for count, line in enumerate(lines, 1)
    )


class Written(NamedTuple):
    """The expression that a frame is running, as its author wrote it, on one line.

    Attributes:
        text: the expression; with the variable, if it is all that is assigned: ``y = x + 2``.
        name: that variable, or None.
        operands: what it works on: both sides, or the object of a method and the arguments; None
            if they cannot be told apart, as with ``f(*a)``.
        keywords: the arguments that are given by name.
        infix: whether an operator stands between two operands.
    """

    text: str
    name: str | None
    operands: tuple[str, ...] | None
    keywords: dict[str, str]
    infix: bool


_Place = tuple[int, int, int, int]  # first line, last line, first column, last column


@lru_cache(maxsize=1024)
def written(code: CodeType, instruction: int) -> Written | None:
    """The expression at an instruction of a code object; None if its source is not there.

    Args:
        code: of a frame.
        instruction: ``frame.f_lasti``.

    >>> import sys
    >>> code = compile("y = x * (2 + 3)", "<none>", "exec")
    >>> written(code, 0)
    """
    position = _positions(code)[instruction // 2]
    if None in position:
        return None
    lines = linecache.getlines(code.co_filename)
    tree = parse(lines, position[0] or 0)
    if tree is None:
        return None
    found = _expressions(tree).get(position)  # type: ignore[arg-type] # None is out by now
    return None if found is None else _read("".join(lines), *found)


@lru_cache(maxsize=64)
def _positions(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    return list(code.co_positions())


@lru_cache(maxsize=8)
def _expressions(tree: ast.Module) -> dict[_Place, tuple[ast.expr | ast.AugAssign, str | None]]:
    """Every expression by its place, with the variable to which its value goes as it is."""
    found: dict[_Place, tuple[ast.expr | ast.AugAssign, str | None]] = {}
    for node in ast.walk(tree):  # a statement comes before what stands in it
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target, value = node.target, node.value
        elif isinstance(node, ast.AugAssign):
            if isinstance(node.target, ast.Name):
                found[_place(node)] = node, node.target.id
            continue
        elif isinstance(node, ast.expr):
            found.setdefault(_place(node), (node, None))
            continue
        else:
            continue
        if isinstance(target, ast.Name):
            found[_place(value)] = value, target.id
    return found


def _place(node: ast.expr | ast.stmt) -> _Place:
    end_line, end_column = node.end_lineno, node.end_col_offset
    assert end_line is not None
    assert end_column is not None
    return node.lineno, end_line, node.col_offset, end_column


def _read(source: str, node: ast.expr | ast.AugAssign, name: str | None) -> Written:
    def text(one: ast.expr | ast.stmt) -> str:
        return " ".join((ast.get_source_segment(source, one) or "").split())

    operands: list[ast.expr] | None = []
    keywords: dict[str, str] = {}
    if isinstance(node, ast.BinOp):
        operands = [node.left, node.right]
    elif isinstance(node, ast.AugAssign):
        return Written(text(node), name, (text(node.target), text(node.value)), {}, True)
    elif isinstance(node, ast.UnaryOp):
        operands = [node.operand]
    elif isinstance(node, (ast.Attribute, ast.Subscript)):
        operands = [node.value]
    elif isinstance(node, ast.Compare) and len(node.comparators) == 1:
        operands = [node.left, node.comparators[0]]
    elif isinstance(node, ast.Call):
        starred = any(isinstance(one, ast.Starred) for one in node.args)
        starred = starred or any(one.arg is None for one in node.keywords)
        operands = None if starred else node.args
        if isinstance(node.func, ast.Attribute) and operands is not None:
            operands = [node.func.value, *operands]
        keywords = {one.arg: text(one.value) for one in node.keywords if one.arg is not None}
    else:
        operands = None
    return Written(
        f"{name} = {text(node)}" if name else text(node),
        name,
        None if operands is None else tuple(map(text, operands)),
        keywords,
        isinstance(node, (ast.BinOp, ast.Compare)),
    )
