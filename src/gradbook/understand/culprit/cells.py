"""The cells of IPython and Jupyter as one source: those that have run, in the order of running.

That is the order of ``In``, not that of the page; a cell that ran twice is there twice.
"""

import ast
from collections.abc import Mapping
from types import CodeType
from typing import Any, NamedTuple

from gradbook.see.source import parse
from gradbook.understand.culprit.source import Scope

_MOST_CELLS = 300


class Cells(NamedTuple):
    """The source of a session, seen from a line of its last cell.

    Attributes:
        scope: all cells; each node knows its cell and its line there, see `Scope.place_of`.
        offset: what is to be added to a line of the cell that runs.
    """

    scope: Scope
    offset: int


def cells_at(
    namespace: Mapping[str, Any], lines: list[str], number: int, code: CodeType, column: int | None
) -> Cells | None:
    """The cells up to the one that `code` is of; None outside of IPython, or in a function.

    Args:
        namespace: the global names.
        lines: the source of the cell that runs.
        number: its line.
        code: what runs.
        column: where in the line, if that is known.
    """
    ran = namespace.get("In")
    if code.co_name != "<module>" or type(ran) is not list or "get_ipython" not in namespace:
        return None
    text = "".join(lines).strip()
    last = next((n for n in range(len(ran) - 1, 0, -1) if _same(ran[n], text)), None)
    if last is None:
        return None
    body: list[ast.stmt] = []
    offset = 0
    own: list[ast.stmt] = []
    start = 0
    for count in range(max(1, last - _MOST_CELLS), last + 1):
        source = ran[count] if type(ran[count]) is str else ""
        tree = parse(source.splitlines(keepends=True), 1)
        if tree is not None:
            # The tree may be a cached one, which others see: a copy is shifted.
            copy = ast.parse(source)
            for node in ast.walk(copy):
                if hasattr(node, "lineno"):
                    node.cell = f"In [{count}]"  # type: ignore[attr-defined]
                    node.own_line = node.lineno  # type: ignore[attr-defined]
            ast.increment_lineno(copy, offset)
            body += copy.body
            own, start = copy.body, offset
        offset += source.count("\n") + 1
    if not own:
        return None
    scope = Scope(ast.Module(body, []), number + start, column)
    scope.again = own if sum(_same(one, text) for one in ran[1 : last + 1]) > 1 else []
    return Cells(scope, start)


def _same(one: object, text: str) -> bool:
    return type(one) is str and one.strip() == text
