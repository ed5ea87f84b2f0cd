"""A process that has the slow imports behind it, and runs each program in a new process of its own.

Run by `fresh`. A program sees what it would see in a new session of IPython: a namespace of its
own, an empty folder, random generators as they are at the start. What it prints and shows is sent
back, apart from what it said before a given line.
"""

import ast
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

sys.path.insert(0, str(Path(__file__).parent))
from state import digest  # -- found through the line above
from warm_server import end_with_parent, load, serve  # -- as above

sys.path.pop(0)
_MARK = "__gradbook_from_here__"


def prepare(modules: list[str], config: str) -> Any:
    """Import `modules`, and set up a session of IPython as the kernels of the build are."""
    load(modules)
    settings = Config()
    exec(config, {"c": settings})
    settings.HistoryManager.enabled = False
    settings.InteractiveShell.colors = "nocolor"
    settings.InteractiveShell.xmode = "Plain"
    shell = InteractiveShell.instance(config=settings)
    shell.enable_gui = lambda gui=None: None  # no window is opened
    shell.enable_matplotlib("inline")
    # As in the build, see `notebooks`.
    shell.compile.get_code_name = lambda raw, code, number: f"<cell {number}>"
    return shell


class Streams:
    """What this process and its children print, kept in files instead of the streams' own."""

    def __init__(self) -> None:
        self._files = {}
        for name, number in (("stdout", 1), ("stderr", 2)):
            getattr(sys, name).flush()
            descriptor, path = tempfile.mkstemp()
            Path(path).unlink()
            os.dup2(descriptor, number)
            self._files[name] = descriptor
            setattr(sys, name, os.fdopen(os.dup(number), "w", encoding="utf-8"))

    def sizes(self) -> dict[str, int]:
        """How many bytes each has."""
        for name in self._files:
            getattr(sys, name).flush()
        return {name: os.fstat(file).st_size for name, file in self._files.items()}

    def since(self, sizes: dict[str, int]) -> dict[str, str]:
        """What was printed after they had these sizes."""
        now = self.sizes()
        return {
            name: os.pread(file, now[name], sizes.get(name, 0)).decode("utf-8", "replace")
            for name, file in self._files.items()
        }


def run(
    shell: InteractiveShell, source: str, first: int, number: int, names: list[str]
) -> dict[str, Any]:
    """Run a program; what it said from line `first` on, and what it left.

    Args:
        shell: as `prepare` made it.
        source: of the program.
        first: the line with which the part begins whose output is wanted.
        number: of the cell, for what names it.
        names: of which the state at the end is asked.
    """
    streams = Streams()
    shell.display_pub = publisher = CapturingDisplayPublisher()
    shell.displayhook = shell.display_trap.hook = _Shown(shell=shell)
    before: dict[str, int] = {}

    def mark() -> None:
        before.update(streams.sizes(), outputs=len(publisher.outputs))

    shell.user_ns[_MARK] = mark
    shell.ast_transformers.append(_Marker(first))
    shell.execution_count = number
    done = shell.run_cell(source, store_history=True)
    error = done.error_before_exec or done.error_in_exec
    said = streams.since(before)
    outputs = publisher.outputs[before.get("outputs", 0) :]
    text = "".join(traceback.format_exception_only(error)).strip() if error else None
    there = [name for name in names if error is None and name in shell.user_ns]
    state = {name: digest(shell.user_ns[name]) for name in there}
    return {"before": before, "error": text, "outputs": outputs, "state": state, **said}


class _Shown(DisplayHook):
    """Keeps the value of a last line with what `display` was given."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: Any = None) -> None:
        """Keep it."""
        self.shell.display_pub.outputs.append({"data": format_dict, "metadata": md_dict})

    def start_displayhook(self) -> None:
        """Print nothing around it."""

    write_output_prompt = finish_displayhook = start_displayhook


class _Marker(ast.NodeTransformer):
    """Puts a call before the first statement that stands in line `first`, or after it."""

    def __init__(self, first: int) -> None:
        self.first = first

    def visit_Module(self, node: ast.Module) -> ast.Module:
        """Insert the call."""
        body = node.body
        lines = (min([one.lineno, *_decorators(one)]) for one in body)
        place = next((n for n, line in enumerate(lines) if line >= self.first), None)
        if place is not None:
            call = ast.parse(f"{_MARK}()").body[0]
            body.insert(place, ast.copy_location(call, body[place]))
            ast.fix_missing_locations(node)
        return node


def _decorators(node: ast.stmt) -> list[int]:
    return [one.lineno for one in getattr(node, "decorator_list", [])]


def become_program(
    shell: Any, request: dict[str, Any], connection: socket.socket, listener: socket.socket
) -> None:
    """Run one program, answer, and end."""
    folder = tempfile.mkdtemp(prefix="snippet-")
    try:
        listener.close()
        os.setsid()
        end_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        connection.sendall(os.getpid().to_bytes(8, "big"))
        os.chdir(folder)
        if "numpy" in sys.modules:  # Python's generator seeds itself anew after a fork
            sys.modules["numpy"].random.seed()
        try:
            answer = run(shell, **request)
        except BaseException as error:
            answer = {"error": repr(error)}
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(answer, default=repr).encode())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            connection.close()
        os.killpg(0, signal.SIGKILL)  # this one, and whatever the program has started


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the build ends this process when it ends
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no program is waited for
    settings = json.loads(sys.argv[2])
    session = prepare(settings["modules"], settings["config"])
    serve(
        socket.socket(fileno=int(sys.argv[1])),
        lambda *request: become_program(session, *request),
    )
