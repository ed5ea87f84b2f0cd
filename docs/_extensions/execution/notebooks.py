"""Run the pages' cells so that results are repeatable, never stale, and failures are found.

MyST-NB does the work; this extension closes what it leaves open:

- Outputs lose what differs from run to run (memory addresses, temporary folders, random cell ids).
- A failing cell is reported with its page and line.
- A build with warnings is forgotten, so that the next one reports them again.
- The cache stays whole when builds are interrupted, and when pages are put into it side by side.
"""

import functools
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from jupyter_cache import get_cache
from jupyter_cache.cache.db import NbCacheRecord
from jupyter_cache.cache.main import JupyterCacheBase
from jupyter_cache.executors.utils import ExecutionResult
from jupyter_client.manager import KernelManager
from myst_nb.core.execute.base import NotebookClientBase
from myst_nb.core.execute.cache import NotebookClientCache
from myst_nb.core.execute.direct import NotebookClientDirect
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from sphinx.application import ENV_PICKLE_FILENAME, Sphinx

from execution.figures import KERNEL_CONFIG, theme_figures

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_TEMPORARY = re.compile(rf"{re.escape(tempfile.gettempdir())}/tmp\w{{8}}")  # of the tempfile module
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_LINE_IN_CELL = re.compile(r"(?:Cell In\[\d+\], line |<cell \d+>:)(\d+)")
_drop_oldest = JupyterCacheBase.truncate_caches
# Read by every kernel of the build through IPYTHONDIR. Warnings and tracebacks name a cell by its
# number, not a temporary file; two cells do not share a name, or the source of one would be taken
# for that of the other.
_KERNEL_CONFIG = """\
c.HistoryManager.enabled = False
c.IPKernelApp.exec_lines = [
    "get_ipython().compile.get_code_name = lambda raw, code, number: f'<cell {number}>'"
]
"""


def make_repeatable(notebook: NotebookNode) -> None:
    """Replace what differs between two runs of the same page."""
    for number, cell in enumerate(notebook.cells):
        if "id" in cell:
            cell["id"] = f"c{number}"
        cell.get("metadata", {}).pop("execution", None)
        if "outputs" in cell:
            cell["outputs"] = join_streams(cell["outputs"])
        for output in cell.get("outputs", ()):
            if "text" in output:
                output["text"] = _without_chance(output["text"])
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/") and isinstance(value, str):
                    output["data"][kind] = _without_chance(value)


def _without_chance(text: str) -> str:
    return _TEMPORARY.sub("/tmp/…", _ADDRESS.sub("0x…", text))


def join_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Make one of neighbouring pieces of a stream: where it was cut depends on the moment.

    MyST-NB does this too, with a line break after each piece.
    """
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        kinds = [(one.output_type, one.get("name")) for one in (last, output) if one is not None]
        if last is not None and output.output_type == "stream" and kinds[0] == kinds[1]:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def failing_line(notebook: NotebookNode, source: str) -> tuple[int, str] | None:
    """Line of the page, counted from 1, at which its first failing cell failed, and the error.

    Args:
        notebook: as executed; MyST-NB left the line of each cell in its metadata.
        source: the text of the page.
    """
    starts = notebook.metadata.get("source_map", [])
    for cell, start in zip(notebook.cells, starts, strict=False):
        errors = [out for out in cell.get("outputs", ()) if out.output_type == "error"]
        if not errors:
            continue
        # `start` counts from 1 and is the line of the fence or after it; options may follow.
        lines = source.splitlines()
        code = cell.source.splitlines()
        places = range(max(start - 1, 0), len(lines))
        before = next((n for n in places if lines[n : n + len(code)] == code), start)
        trace = _ANSI.sub("", "\n".join(errors[0].traceback))
        within = _LINE_IN_CELL.search(trace)
        error = f"{errors[0].ename}: {errors[0].evalue}".splitlines()[0]
        return before + (int(within[1]) if within else 1), error
    return None


def _survive(module: ModuleType) -> None:
    """Have a kernel that dies be the failure of its page alone: MyST-NB lets it end the build."""
    execute = module.single_nb_execution

    @functools.wraps(execute)
    def single_nb_execution(notebook: NotebookNode, *args: Any, **options: Any) -> ExecutionResult:
        try:
            return execute(notebook, *args, **options)
        except DeadKernelError as error:
            return ExecutionResult(notebook, options.get("cwd", ""), 0.0, error, str(error))

    module.single_nb_execution = single_nb_execution


def _finish(client: type[NotebookClientBase]) -> None:
    """After each execution (or its cached result): make it repeatable, name a failing line."""
    start = client.start_client

    def start_client(self: NotebookClientBase) -> None:
        start(self)
        make_repeatable(self.notebook)
        theme_figures(self.notebook, lambda text, line: self.logger.warning(text, line=line))
        if self.path is not None:
            failed = failing_line(self.notebook, self.path.read_text("utf-8"))
            if failed is not None:
                line, error = failed
                self.logger.warning(f"this line failed: {error}", subtype="exec", line=line)

    client.start_client = functools.wraps(start)(start_client)  # MyST-NB has no hook here


def _configure_kernels(app: Sphinx) -> None:
    """Have the build's kernels read our settings, and none of the user's own."""
    folder = Path(app.doctreedir, "ipython")  # what is beside a site may be published
    profile = folder / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    config = KERNEL_CONFIG + _KERNEL_CONFIG
    (profile / "ipython_kernel_config.py").write_text(config, encoding="utf-8")
    os.environ["IPYTHONDIR"] = str(folder)


def _keep_unpublished(app: Sphinx) -> None:
    """Put what MyST-NB writes for each page, its notebook, where it is not published.

    It has no setting: the folder is beside that of the site. A site in another language stands
    within the one at the root.
    """
    folder = str(Path(app.doctreedir, "jupyter_execute"))
    app.env.mystnb_config = app.env.mystnb_config.copy(output_folder=folder)


def _prepare_cache(app: Sphinx) -> None:
    """Do what must happen before the workers fork: they would race."""
    if app.config.nb_execution_mode != "cache":
        return
    cache = get_cache(app.env.mystnb_config.execution_cache_path)
    for record in cache.list_cache_records():  # creates the tables
        file = Path(cache.path, "executed", record.hashkey, "base.ipynb")
        try:
            json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):  # an interrupted build left it so; MyST-NB would stop at it
            shutil.rmtree(file.parent, ignore_errors=True)
            NbCacheRecord.remove_record(record.pk, cache.db)
    _drop_oldest(cache)


def _forget_if_failed(app: Sphinx, error: Exception | None) -> None:
    """Drop what Sphinx remembers of a build with warnings: it would not repeat them."""
    if error is not None or app._warncount:
        Path(app.doctreedir, ENV_PICKLE_FILENAME).unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # Sets of strings keep their order.
    os.environ.setdefault("PYTHONHASHSEED", "0")
    # The profiler writes two lines for each use, past the cell's output, into what a build says.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    # A theme of colours sets up the root logger when it is imported: what each client says of
    # itself at level INFO, a line a page, would be shown.
    logging.getLogger("traitlets").setLevel(logging.WARNING)
    # Kernels hold nothing that a graceful end would save: half a second a page.
    NotebookClient.shutdown_kernel.default_value = "immediate"
    # ipykernel warns on every start that loopback is not encrypted.
    KernelManager.transport_encryption.default_value = "auto"
    _configure_kernels(app)
    if not hasattr(NotebookClientCache.start_client, "__wrapped__"):  # a process may build twice
        for client in (NotebookClientCache, NotebookClientDirect):
            _finish(client)
            _survive(sys.modules[client.__module__])
    # Each page that comes into the cache would do it: list the records to keep, and then delete all
    # others, with what another process has put there in between.
    JupyterCacheBase.truncate_caches = lambda _: None
    app.connect(
        "builder-inited", _keep_unpublished, priority=900
    )  # after MyST-NB read its settings
    app.connect("builder-inited", _prepare_cache, priority=900)
    app.connect("build-finished", _forget_if_failed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
