"""Give each cell of a page what it needs to run alone, for the button that copies code.

`proving` finds and proves it. A build that was asked to (`snippets_prove`) proves what is not
proved yet; any other takes what it finds in the folder `snippets_path`. A cell whose snippet is not
proved has none: no snippet rather than a wrong one.

The snippets of a page stand in a script beside the site's others, which a page loads when a reader
opens the menu of a cell. It works from a disk too, where a page may not fetch a file.
"""

import json
import os
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from execution.fresh import FreshProcesses
from publishing import installing, proving
from publishing.proving import Broken, Cell, Proofs, Snippet
from reading.slicing import Scope

_LOGGER = logging.getLogger(__name__)
_FILES = Path(__file__).parent / "copying_files"
_BEFORE, _AFTER = "gradbookSnippets(", ");\n"
_FAULT = {"type": "gradbook", "subtype": "snippet"}


def as_script(cells: list[Cell], snippets: list[Snippet | None], digest: str) -> str:
    """The script of a page: each piece of text once, and for each cell which of them it needs.

    Args:
        cells: those that a reader sees.
        snippets: of each, None where there is none.
        digest: of all that the script depends on.
    """
    pieces: dict[str, int] = {}
    installs: dict[tuple[str, str], int] = {}
    found: list[Any] = []
    for cell, snippet in zip(cells, snippets, strict=True):
        if not cell.shown:
            continue
        if snippet is None:
            found.append(cell.reason or None)
            continue
        needed = installing.packages("".join([*snippet.needs, cell.source]))
        install = (", ".join(needed), installing.command(needed, installing.repository()))
        numbers = [pieces.setdefault(piece, len(pieces)) for piece in snippet.needs]
        found.append([installs.setdefault(install, len(installs)), *numbers])
    content = {
        "digest": digest,
        "complete": not _missing(cells, snippets),
        "ran": {"Python": python_version(), "torch": metadata.version("torch").partition("+")[0]},
        "pieces": list(pieces),
        "installs": list(installs),
        "cells": found,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"{_BEFORE}{text}{_AFTER}"


def _missing(cells: list[Cell], snippets: list[Any]) -> int:
    """How many cells want a snippet, and have none."""
    pairs = zip(cells, snippets, strict=True)
    return sum(cell.wants_snippet and not isinstance(one, Snippet) for cell, one in pairs)


def read_script(path: Path) -> dict[str, Any]:
    """What `as_script` wrote; empty if there is no such file."""
    try:
        text = path.read_text("utf-8")
        return dict(json.loads(text.removeprefix(_BEFORE).removesuffix(_AFTER)))
    except (OSError, ValueError):
        return {}


@dataclass
class Report:
    """What is known of all snippets.

    Attributes:
        proved: page, cell, snippet, and lines that stand above the cell.
        broken: how many are broken.
        excused: page, cell.
    """

    proved: list[tuple[str, Cell, Snippet, int]] = field(default_factory=list)
    broken: int = 0
    excused: list[tuple[str, Cell]] = field(default_factory=list)

    def add(self, name: str, cells: list[Cell], snippets: list[Snippet | Broken | None]) -> None:
        """Add a page."""
        above = 0
        for cell, snippet in zip(cells, snippets, strict=True):
            if isinstance(snippet, Snippet):
                self.proved.append((name, cell, snippet, above))
            elif cell.wants_snippet:
                self.broken += 1
            elif cell.reason:
                self.excused.append((name, cell))
            above += len(cell.source.splitlines())

    def text(self) -> str:
        """For a person."""
        lines = [
            f"{len(self.proved)} snippets are proved, {self.broken} are broken or not proved, "
            f"{len(self.excused)} cells say why they have none"
        ]
        if self.proved:
            own = [snippet.lines for _, _, snippet, _ in self.proved]
            above = [lines for *_, lines in self.proved]
            says = sum(snippet.says_before for _, _, snippet, _ in self.proved)
            lines += [
                f"lines before a cell: median {statistics.median(own):g}; "
                f"on its page stand above it: median {statistics.median(above):g}",
                f"{says} print something before the cell does",
                "enough was: "
                + ", ".join(
                    f"{scope.name} {sum(one.scope == scope for _, _, one, _ in self.proved)}"
                    for scope in Scope
                ),
                "the longest:",
            ]
            longest = sorted(self.proved, key=lambda one: -one[2].lines)[:10]
            lines += [
                f"  {snippet.lines:4} of {above:4} lines  {name}.md:{cell.line}"
                for name, cell, snippet, above in longest
            ]
        lines += [
            f"no snippet: {name}.md:{cell.line}: {cell.reason}" for name, cell in self.excused
        ]
        return "\n".join(lines)


def _remember(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    app.gradbook_read = set(names)


def _add(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Have pages with cells load what copies them, and say where their snippets are."""
    if doctree is None or not _has_cells(doctree):
        return
    app.add_css_file("copying/copying.css")
    app.add_js_file("copying/copying.js", loading_method="defer")
    path = context["pathto"](f"_static/snippets/{page}.js", 1)
    context["metatags"] += f'<meta name="gradbook-snippets" content="{path}" />\n'


def _has_cells(doctree: Any) -> bool:
    return any(
        node.get("nb_element") == "cell_code" for node in doctree.findall() if hasattr(node, "get")
    )


def _prepare(app: Sphinx) -> None:
    if app.builder.name == "html":
        # Before pages name it by its content.
        folder = Path(app.outdir, "_static", "copying")
        shutil.copytree(_FILES, folder, dirs_exist_ok=True)


def _write(app: Sphinx, error: Exception | None) -> None:
    """Prove and write the snippets of the pages that were read, or have none yet."""
    if error is not None or app.builder.name != "html" or not app.config.snippets_path:
        return
    digest = proving.digest(
        proving.version(), app.config.snippets_path, python_version(), installing.repository()
    )
    folder = Path(app.outdir, "_static", "snippets")
    report = Report() if app.config.snippets_report else None
    can_prove = bool(app.config.snippets_prove) and hasattr(os, "pidfd_open")
    with ExitStack() as stack:
        processes: FreshProcesses | None = None
        pool = stack.enter_context(ThreadPoolExecutor(max(app.parallel, 1)))
        for name in sorted(app.env.found_docs):
            path = folder / f"{name}.js"
            known = read_script(path)
            done = known.get("digest") == digest and (known["complete"] or not can_prove)
            if done and name not in getattr(app, "gradbook_read", ()) and report is None:
                continue
            cells = proving.cells_of(
                app.env.doc2path(name), Path(app.config.nb_execution_cache_path)
            )
            if cells is None:
                path.unlink(missing_ok=True)
                continue
            proofs = Proofs(Path(app.config.snippets_path, f"{name}.json"))
            snippets: list[Any] = list(proofs.of(cells))
            missing = _missing(cells, snippets)
            if missing and can_prove:
                if processes is None:
                    warm = "warm_kernels_modules" in app.config
                    modules = app.config.warm_kernels_modules if warm else []
                    processes = stack.enter_context(FreshProcesses(modules))
                _LOGGER.info("snippets of %s: %d to prove", name, missing)
                snippets = proving.prove(cells, snippets, processes.run, pool)
                proofs.keep(cells, snippets)
                _warn(name, cells, snippets)
            if report is not None:
                report.add(name, cells, snippets)
            proved = [one if isinstance(one, Snippet) else None for one in snippets]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(as_script(cells, proved, digest), encoding="utf-8")
    if report is not None:
        _LOGGER.info("%s", report.text())


def _warn(name: str, cells: list[Cell], snippets: list[Any]) -> None:
    for cell, snippet in zip(cells, snippets, strict=True):
        if isinstance(snippet, Broken):
            text = (
                "this cell does not say alone, after all that is seen above it, what its page says"
            )
            _LOGGER.warning("%s: %s", text, snippet.why, location=(name, cell.line), **_FAULT)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("snippets_path", "", "")
    app.add_config_value("snippets_prove", False, "", (bool, int, str))
    app.add_config_value("snippets_report", False, "", (bool, int, str))
    app.connect("builder-inited", _prepare)
    app.connect("env-before-read-docs", _remember)
    app.connect("html-page-context", _add)
    app.connect("build-finished", _write, priority=400)  # before a failed build is forgotten
    return {"parallel_read_safe": True, "parallel_write_safe": True}
