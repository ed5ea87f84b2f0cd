"""Run programs each in a fresh process, and compare what they said with a page.

The process is forked from one that has torch loaded (`fresh_server`), so that a thousand programs
take minutes.
"""

import contextlib
import difflib
import itertools
import json
import os
import re
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from nbformat import NotebookNode
from nbformat.v4 import new_output

from execution.figures import KERNEL_CONFIG
from execution.kernel_server import Server
from execution.notebooks import make_repeatable

# With what outputs name a line: a traceback, a warning, `expect_error`.
_LINE = re.compile(r"(?<=----> )\d+|(?<=\bline )\d+|(?<=>:)\d+")
_UNSEEN = re.compile(r"<(style|script)\b.*?</\1>", flags=re.DOTALL)
_TAG = re.compile(r"(?:\s*<[^>]+>)+\s*")


@dataclass(frozen=True)
class Answer:
    """How a program went.

    Attributes:
        outputs: from the asked line on, as in a notebook.
        said_before: whether anything was printed or shown before that line.
        error: what ended it, or None.
        state: digests of what the names that were asked for stand for at the end, see `state`.
    """

    outputs: list[NotebookNode]
    said_before: bool
    error: str | None
    state: dict[str, str | None] = field(default_factory=dict)


class FreshProcesses:
    """Runs programs, as many at a time as are asked for; a context manager.

    Args:
        modules: imported once, before the first program.
        timeout: seconds for a program.
    """

    def __init__(self, modules: Sequence[str], timeout: float = 120) -> None:
        self.timeout = timeout
        settings = {"modules": list(modules), "config": KERNEL_CONFIG}
        self._server = Server.start([json.dumps(settings)], "fresh_server.py")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()

    def run(
        self, source: str, first: int = 1, number: int = 1, names: Sequence[str] = ()
    ) -> Answer:
        """Run a program.

        Args:
            source: of the program.
            first: the line with which the part begins whose output is wanted.
            number: by which warnings and tracebacks name the program.
            names: of which the state at the end is asked.
        """
        request = {"source": source, "first": first, "number": number, "names": list(names)}
        process, pieces = 0, []
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self.timeout)
            try:
                process = self._server.ask(connection, request)
                pieces = list(iter(lambda: connection.recv(1 << 16), b""))
            except TimeoutError:
                if process:
                    with contextlib.suppress(OSError):
                        os.killpg(process, signal.SIGKILL)
                return Answer([], False, f"it runs for more than {self.timeout:g} seconds")
            except OSError as error:  # one program that cannot start does not end the build
                return Answer([], False, f"its process could not be reached: {error}")
        try:
            return _answer(json.loads(b"".join(pieces)))
        except ValueError:
            return Answer([], False, "its process died")


def _answer(said: dict[str, Any]) -> Answer:
    outputs = [
        new_output("stream", name=name, text=said[name])
        for name in ("stdout", "stderr")
        if said.get(name)
    ]
    outputs += [
        new_output("display_data", data=one["data"], metadata=one["metadata"])
        for one in said.get("outputs", [])
    ]
    before = any(said.get("before", {}).values())
    return Answer(repeatable(outputs), before, said["error"], said.get("state", {}))


def repeatable(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs without what differs from run to run."""
    # Not by the functions of nbformat: they validate what they make, which takes long.
    notebook = NotebookNode(cells=[NotebookNode(outputs=outputs)])
    make_repeatable(notebook)
    return list(notebook.cells[0].outputs)


def difference(
    expected: Sequence[NotebookNode], found: Sequence[NotebookNode], offset: int = 0
) -> str:
    """What differs between the output of a cell and that of a program; empty if nothing does.

    The order between what is printed and what is shown does not count.

    Args:
        expected: of the cell.
        found: of the program.
        offset: lines that stand before the cell in the program, and make its lines others.
    """
    for name in ("stdout", "stderr"):
        wanted, said = _stream(expected, name), _stream(found, name)
        if not _same(wanted, said, offset):
            return f"{name} differs:\n{_compared(wanted, said)}"
    shown, others = _shown(expected), _shown(found)
    if len(shown) != len(others):
        return f"the page shows {len(shown)} objects, the snippet {len(others)}"
    for one, other in zip(shown, others, strict=True):
        for kind in sorted({*one, *other}):
            wanted, said = str(one.get(kind, "")), str(other.get(kind, ""))
            if kind == "text/html" and wanted != said:
                wanted, said = _words(wanted), _words(said)
            if not _same(wanted, said, offset):
                return f"{kind} differs:\n{_compared(wanted, said)}"
    return ""


def _same(wanted: str, said: str, offset: int) -> bool:
    """Whether two texts are equal, but for numbers of lines that are `offset` larger."""
    if wanted == said:
        return True
    lines = zip(_LINE.findall(wanted), _LINE.findall(said), strict=False)
    return _LINE.sub("", wanted) == _LINE.sub("", said) and all(
        int(other) in (int(one), int(one) + offset) for one, other in lines
    )


def _words(html: str) -> str:
    """What is read in HTML. A drawing that names a line is as wide as the line's number."""
    return " ".join(_TAG.sub("\n", _UNSEEN.sub("", html)).split(" "))


def _compared(wanted: str, said: str) -> str:
    lines = difflib.unified_diff(
        wanted.splitlines(), said.splitlines(), "page", "snippet", lineterm="", n=1
    )
    return "\n".join(line[:200] for line in itertools.islice(lines, 30))


def _stream(outputs: Sequence[NotebookNode], name: str) -> str:
    return "".join(one.text for one in outputs if one.get("name") == name)


def _shown(outputs: Sequence[NotebookNode]) -> list[dict[str, Any]]:
    kinds = ("display_data", "execute_result")
    return [dict(one.data) for one in outputs if one.output_type in kinds]
