"""Whether a source text is still what running code was compiled from.

A file may have been edited since it was imported. Its lines would then be quoted, and followed, as
if they had run; so a text counts only if it compiles to the code at hand.
"""

import __future__

import ast
from collections.abc import Iterable, Iterator
from functools import lru_cache, reduce
from operator import or_
from pathlib import Path
from types import CodeType

_FUTURES: int = reduce(
    or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
_LONGEST_FILE = 3_000  # lines; a longer one takes too long to compile as a whole


def is_source_of(tree: ast.Module, code: CodeType) -> bool:
    """Whether a file with this tree compiles to `code`, its own or that of one of its functions.

    Assertions do not count, since pytest writes its own into the code; and of a cell or a block of
    a page, which is run statement by statement, `code` may be a part.
    """
    rewritten = any(name.startswith("@") for name in (*code.co_names, *code.co_varnames))
    partial = rewritten or (code.co_name == "<module>" and not _is_script(code.co_filename))
    for part in _parts_around(tree, code):
        for one in _codes(_compiled(part, code.co_filename, code.co_flags & _FUTURES)):
            if one.co_name == code.co_name and (
                one == code or (partial and _alike(one, code, _assertions(part)))
            ):
                return True
    return False


def _is_script(file: str) -> bool:
    return file.endswith(".py") and Path(file).is_file()


def _parts_around(tree: ast.Module, code: CodeType) -> tuple[ast.Module, ...]:
    """What has to be compiled: of a function the statement of the file in which it stands.

    And what the file imports, since Python compiles calls of imported functions differently.
    """
    if code.co_name == "<module>":
        return (tree,) if (tree.body[-1].end_lineno or 0) <= _LONGEST_FILE else ()
    return _parts(tree, code.co_firstlineno)


@lru_cache(maxsize=32)
def _parts(tree: ast.Module, first: int) -> tuple[ast.Module, ...]:
    around = [one for one in tree.body if _first_line(one) <= first <= (one.end_lineno or 0)]
    imports = [one for one in _at_top(tree.body) if isinstance(one, (ast.Import, ast.ImportFrom))]
    return tuple(ast.Module([*imports, one], []) for one in around)


def _at_top(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements outside of functions and classes."""
    pending = [*body]
    while pending:
        one = pending.pop(0)
        yield one
        if isinstance(one, (ast.If, ast.Try, ast.With)):
            pending += [inner for inner in ast.iter_child_nodes(one) if isinstance(inner, ast.stmt)]
            for handler in getattr(one, "handlers", []):
                pending += handler.body


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(one.lineno for one in decorators)])


@lru_cache(maxsize=32)
def _compiled(part: ast.Module, file: str, flags: int) -> CodeType | None:
    try:
        code: CodeType = compile(part, file, "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # `return` outside of a function
        return None
    return code


def _codes(code: CodeType | None) -> Iterator[CodeType]:
    pending = [code] if code is not None else []
    while pending:
        one = pending.pop()
        yield one
        pending += [constant for constant in one.co_consts if type(constant) is CodeType]


def _assertions(part: ast.AST) -> set[int]:
    """The lines of assertions."""
    return {
        number
        for one in ast.walk(part)
        if isinstance(one, ast.Assert)
        for number in range(one.lineno, (one.end_lineno or one.lineno) + 1)
    }


def _alike(one: CodeType, code: CodeType, aside: set[int]) -> bool:
    """Whether `code` does what `one` does, the lines `aside` left out; of a file, a part of it."""
    ours, theirs = _places(one, aside), _places(code, aside)
    same = theirs <= ours if code.co_name == "<module>" else theirs == ours
    names = {name for name in code.co_names if not name.startswith("@")}
    return same and (names <= set(one.co_names) or bool(aside))


def _places(code: CodeType, aside: Iterable[int]) -> set[tuple[int | None, ...]]:
    lines = set(aside)
    return {
        place
        for place in code.co_positions()
        if None not in place and place[0] not in lines and place[3]
    }
