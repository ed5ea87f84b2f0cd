"""Prove that a cell runs alone, with what it needs, and says what it says on its page.

What it needs comes from the code (`slicing`), in several answers from a lean one to all cells
above. Each is run in a fresh process; the first that says what the page says is taken. Of it, those
statements are left out without which the cell says the same, and leaves the same in all names that
it mentions: from the code alone, a call may change what it is given.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from jupyter_cache import get_cache
from myst_nb.core.config import NbParserConfig
from myst_nb.core.read import create_nb_reader
from myst_parser.config.main import MdParserConfig
from nbformat import NotebookNode
from nbformat.v4 import new_output

from execution.fresh import Answer, difference, repeatable
from publishing import plain_forms
from reading.slicing import Page, Scope, join

# The reason why a cell, or a page, has no snippets stands in its metadata under this name.
_NONE = "no-snippet"
# A line that leaves a program without the package.
_BLOCK = "import sys; sys.modules['gradbook'] = None\n"
# What a proof depends on beside the page and what all its outputs depend on.
_HERE = Path(__file__).parents[1]
# Python 3.11 counts the depth of a syntax tree for all threads together: two that make one at the
# same time can fail with a SystemError.
_READING = Lock()
Needs = tuple[str, ...]
_OURS = (
    *(_HERE / "execution" / name for name in ("fresh.py", "fresh_server.py", "state.py")),
    *(_HERE / "reading" / name for name in ("effects.py", "slicing.py")),
    *(_HERE / "publishing" / name for name in ("plain_forms.py", "proving.py")),
)


@dataclass(frozen=True)
class Cell:
    """A cell of which a reader sees the code, or what it shows alone.

    Attributes:
        source: its code.
        line: of the page, from 1, at which its fence stands.
        number: by which tracebacks name it.
        outputs: those on the page, without what differs from run to run.
        reason: why it has no snippet, from its metadata; empty if it has one.
        shown: whether its code is on the page.
        heard: whether what it prints to stderr is.
        program: whether its code is that of a program which it shows, in place of its own.
    """

    source: str
    line: int
    number: int
    outputs: tuple[NotebookNode, ...]
    reason: str = ""
    shown: bool = True
    heard: bool = True
    program: bool = False

    @property
    def wants_snippet(self) -> bool:
        """Whether it must have one."""
        return self.shown and not self.reason

    @property
    def failed(self) -> bool:
        """Whether it failed on the page."""
        return any(output.output_type == "error" for output in self.outputs)


@dataclass(frozen=True)
class Snippet:
    """What a cell needs before it, proved.

    Attributes:
        needs: pieces of text, to be put together without anything between, before the cell.
        scope: of the slice that was enough, see `slicing.Scope`.
        says_before: whether the earlier lines print or show something themselves.
    """

    needs: tuple[str, ...]
    scope: int
    says_before: bool

    @property
    def lines(self) -> int:
        """How many lines stand before the cell, comments of ours left out."""
        lines = "".join(self.needs).splitlines()
        return sum(not line.startswith("# ") for line in lines)


@dataclass(frozen=True)
class Broken:
    """That no slice was enough: a fault of the page.

    Attributes:
        why: what differs when all earlier cells have run.
    """

    why: str


def cells_of(path: Path, cache: Path) -> list[Cell] | None:
    """The cells of a file that a reader sees, by number, with the outputs of its last run.

    Args:
        path: of the file.
        cache: folder in which the build keeps its runs.

    Returns:
        None if the file has no cells, or has not run.
    """
    text = path.read_text("utf-8")
    reader = create_nb_reader(str(path), MdParserConfig(), NbParserConfig(), text)
    if reader is None or not cache.exists():
        return None
    notebook = reader.read(text)
    starts = notebook.metadata.get("source_map", [])
    runs = get_cache(cache)
    try:
        ran = runs.get_cache_bundle(runs.match_cache_notebook(notebook).pk).nb.cells
    except KeyError:
        return None
    code = (one for one in ran if one.cell_type == "code")
    found, number = [], 0
    for cell, start in zip(notebook.cells, starts, strict=True):
        if cell.cell_type != "code":
            continue
        number += 1
        outputs = tuple(repeatable(next(code).outputs))
        tags = set(cell.metadata.get("tags", []))
        if not ("remove-cell" in tags or {"remove-input", "remove-output"} <= tags):
            heard = "remove-stderr" not in tags
            outputs = outputs if heard else without_stderr(outputs)
            reason = str(cell.metadata.get(_NONE, notebook.metadata.get(_NONE, "")))
            source, shown = cell.source, "remove-input" not in tags
            if program := {} if shown else _program(outputs):
                source, outputs, shown = program["source"], _result(program), True
            one = Cell(source, start, number, outputs, reason, shown, heard, bool(program))
            found.append(one)
    return found


def _program(outputs: Sequence[NotebookNode]) -> dict[str, Any]:
    """The program that a cell shows: its source, and its result.

    It stands in the metadata of what the cell shows, under the name "program". A line of it that
    raises on purpose is guarded there, so that the program runs to its end.
    """
    found = (output.get("metadata", {}).get("program") for output in outputs)
    return next(filter(None, found), {})


def _result(program: dict[str, Any]) -> tuple[NotebookNode, ...]:
    """What a program shows, as an output."""
    result = {"text/plain": program["result"]}
    return (new_output("execute_result", result),) if program["result"] else ()


# For where the pages of a file are written one after the other, when nothing runs any more.
cells_again = lru_cache(maxsize=4)(cells_of)


def without_stderr(outputs: Sequence[NotebookNode]) -> tuple[NotebookNode, ...]:
    """Outputs without what was printed there."""
    return tuple(one for one in outputs if one.get("name") != "stderr")


def key(cells: Sequence[Cell], index: int) -> str:
    """What the proof of a cell depends on, as a digest."""
    sources = [one.source for one in cells[: index + 1]]
    return digest(version(), json.dumps([sources, cells[index].number, cells[index].outputs]))


@cache
def version() -> str:
    """Digest of the code that finds and proves snippets."""
    return digest(*(path.read_text("utf-8") for path in _OURS))


def digest(*parts: str) -> str:
    """A short digest of some texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class Proofs:
    """The proofs of a page, kept in a file.

    Args:
        path: of the file; it need not be there yet.

    Attributes:
        text: what stands in the file.
        known: snippets by the key of their cell.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.text = path.read_text("utf-8")
            known: dict[str, Any] = json.loads(self.text)
        except (OSError, ValueError):
            self.text, known = "", {}
        self.known = {
            name: Snippet(tuple(one["needs"]), one["scope"], one["says_before"])
            for name, one in known.items()
        }

    def of(self, cells: Sequence[Cell]) -> list[Snippet | None]:
        """The snippet of each cell, None where none is proved."""
        return [self.known.get(key(cells, index)) for index in range(len(cells))]

    def keep(self, cells: Sequence[Cell], snippets: Sequence[Snippet | Broken | None]) -> None:
        """Keep those that are proved, and forget all others."""
        self.known = {
            key(cells, index): one for index, one in enumerate(snippets) if isinstance(one, Snippet)
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.text = json.dumps({name: asdict(one) for name, one in self.known.items()})
        self.path.write_text(self.text, encoding="utf-8")


def prove(
    cells: Sequence[Cell],
    known: Sequence[Snippet | None],
    run: Callable[..., Answer],
    pool: ThreadPoolExecutor,
) -> list[Snippet | Broken | None]:
    """A snippet for each cell, or what is wrong.

    Args:
        cells: of a page, all those that a reader sees.
        known: proofs that need not be made again.
        run: runs a program in a fresh process, see `FreshProcesses.run`.
        pool: how many at a time.

    Returns:
        For each cell; None where its metadata says that it has none, or its code is not shown.
    """
    # What a reader does not see may need modules that lie in the book's repository.
    page = Page([cell.source if cell.shown else "" for cell in cells])

    def try_out(index: int, before: str) -> tuple[str, Answer]:
        """What is wrong when a cell runs after `before`, and how that went."""
        cell, source = cells[index], before + page.whole(index).text
        offset = before.count("\n")
        answer = run(source, offset + 1, cell.number, sorted(page.mentioned(index)))
        said = answer.outputs if cell.heard else without_stderr(answer.outputs)
        return answer.error or difference(cell.outputs, said, offset), answer

    def shorten(index: int, scope: Scope, needs: Needs, whole: Answer) -> tuple[Needs, Answer]:
        """What is left without statements whose changes the cell does not feel."""
        out: set[int] = set()
        left = [() if None in whole.state.values() else page.changes(index, scope)]
        while left:
            some = left.pop()
            if not some:
                continue
            with _READING:
                fewer = _before(page, index, scope, out | set(some))
            why, answer = try_out(index, "".join(fewer))
            if not why and answer.state == whole.state:
                out |= set(some)
                needs, whole = fewer, answer
            elif len(some) > 1:
                middle = len(some) // 2
                left += [some[:middle], some[middle:]]
        return needs, whole

    def prove_cell(index: int) -> Snippet | Broken | None:
        cell, ready = cells[index], known[index]
        if not cell.wants_snippet or ready is not None:
            return ready
        tried: set[str] = set()
        why = ""
        for scope in Scope:
            with _READING:
                needs = _before(page, index, scope)
            if "".join(needs) in tried:
                continue
            tried.add("".join(needs))
            why, answer = try_out(index, "".join(needs))
            if not why:
                needs, answer = shorten(index, scope, needs, answer)
                plain = _plain("".join(needs) + page.whole(index).text, run)
                return Snippet((*needs, *plain), int(scope), answer.said_before)
        return Broken(why)

    return list(pool.map(prove_cell, range(len(cells))))


def _plain(snippet: str, run: Callable[..., Answer]) -> tuple[str, ...]:
    """How it does without the package, as a comment, if a run shows that it does."""
    with _READING:
        if not plain_forms.needs_package(snippet):
            return ()
        plain = plain_forms.to_plain(snippet)
        forms = plain_forms.as_comment(snippet)
        if not forms or plain_forms.needs_package(plain):
            return ()
    return (forms,) if run(f"{_BLOCK}{plain}", 1, 1).error is None else ()


def _before(page: Page, index: int, scope: Scope, without: Collection[int] = ()) -> Needs:
    """What stands before a cell, with what parts it from the cell."""
    whole = page.whole(index)
    *needs, cell = join([*page.needs(index, scope, without), whole])
    return (*needs, cell.removesuffix(whole.text)) if needs else ()
