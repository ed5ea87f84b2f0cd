"""Give each cell of a page what it needs to run alone, for the button that copies code.

`proving` finds and proves it. A build that was asked to (`snippets_prove`) proves what is not
proved yet; any other takes what it finds in the folder `snippets_path`. A cell whose snippet is not
proved has none, and its menu says so: no snippet rather than a wrong one.

The snippets of a file stand in a script beside the site's others, which a page loads when a reader
opens the menu of a cell. It works from a disk too, where a page may not fetch a file.
"""

import json
import os
import shutil
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any, Self

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from execution.fresh import FreshProcesses
from publishing import installing, proving
from publishing.cells import home, is_cell, runs
from publishing.proving import Broken, Cell, Proofs, Snippet
from reading.slicing import Scope

_LOGGER = logging.getLogger(__name__)
_FILES = Path(__file__).parent / "copying_files"
_BEFORE, _AFTER = "gradbookSnippets(", ");\n"
_FAULT = {"type": "gradbook", "subtype": "snippet"}


def as_script(
    cells: Sequence[Cell], snippets: Sequence[Snippet | Broken | None], digest: str
) -> str:
    """The script of a file: each piece of text once, and for each cell which of them it needs.

    Args:
        cells: by number.
        snippets: of each; another thing where there is none.
        digest: of all that the script depends on.
    """
    pieces: dict[str, int] = {}
    installs: dict[tuple[str, str], int] = {}
    found: list[Any] = []
    for cell, snippet in zip(cells, snippets, strict=True):
        if not isinstance(snippet, Snippet):
            found.append(cell.reason or None)
            continue
        needed = installing.packages("".join([*snippet.needs, cell.source]))
        install = (", ".join(needed), installing.command(needed, installing.repository()))
        # The page shows a program as it is told; what runs, to its end, is among the pieces.
        texts = [*snippet.needs, cell.source] if cell.program else snippet.needs
        numbers = [pieces.setdefault(piece, len(pieces)) for piece in texts]
        found.append([installs.setdefault(install, len(installs)), *numbers])
    content = {
        "digest": digest,
        "missing": _missing(cells, snippets),
        "ran": {"Python": python_version(), "torch": metadata.version("torch").partition("+")[0]},
        "pieces": list(pieces),
        "installs": list(installs),
        "cells": found,
        "programs": [number for number, cell in enumerate(cells) if cell.program],
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"{_BEFORE}{text}{_AFTER}"


def _missing(cells: Sequence[Cell], snippets: Sequence[Snippet | Broken | None]) -> int:
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

    def add(
        self, name: str, cells: Sequence[Cell], snippets: Sequence[Snippet | Broken | None]
    ) -> None:
        """Add a file."""
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
    if doctree is None or not any(map(is_cell, doctree.findall(nodes.container))):
        return
    app.add_css_file("copying/copying.css")
    app.add_js_file("copying/copying.js", loading_method="defer")
    path = context["pathto"](f"_static/snippets/{home(app.env, page)}.js", 1)
    context["metatags"] += f'<meta name="gradbook-snippets" content="{path}" />\n'


def _prepare(app: Sphinx) -> None:
    if app.builder.name == "html":
        # Before pages name it by its content.
        folder = Path(app.outdir, "_static", "copying")
        shutil.copytree(_FILES, folder, dirs_exist_ok=True)


def _write_beside(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Write the snippets of a file where its pages are written; those to be proved come later."""
    known = page in app.env.found_docs and home(app.env, page) == page
    if not known or app.builder.name != "html" or not app.config.snippets_path or _proves(app):
        return
    cells = proving.cells_again(Path(app.env.doc2path(page)), runs(app))
    if cells is None:
        _script(app, page).unlink(missing_ok=True)
    else:
        proofs = _proofs(app, page)
        _write_script(app, page, cells, proofs.of(cells), proofs)


def _proves(app: Sphinx) -> bool:
    return bool(app.config.snippets_prove or app.config.snippets_report)


def _proofs(app: Sphinx, name: str) -> Proofs:
    return Proofs(Path(app.config.snippets_path, f"{name}.json"))


def _script(app: Sphinx, name: str) -> Path:
    return Path(app.outdir, "_static", "snippets", f"{name}.js")


def _write_script(
    app: Sphinx,
    name: str,
    cells: Sequence[Cell],
    snippets: Sequence[Snippet | Broken | None],
    proofs: Proofs,
) -> None:
    path = _script(app, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_script(cells, snippets, _digest(proofs)), encoding="utf-8")


def _write(app: Sphinx, error: Exception | None) -> None:
    """Write the snippets that are proved now, or whose proofs are others than those written."""
    if error is not None or app.builder.name != "html" or not app.config.snippets_path:
        return
    report = Report() if app.config.snippets_report else None
    missing = 0
    with _Prover(app) as prover:
        for name in sorted(name for name in app.env.found_docs if home(app.env, name) == name):
            proofs = _proofs(app, name)
            known = read_script(_script(app, name))
            as_it_was = known.get("digest") == _digest(proofs)
            if _proves(app) and name in app.gradbook_read:
                as_it_was = False  # else it was written with its page
            if as_it_was and report is None and not (prover.can and known["missing"]):
                missing += known["missing"]
                continue
            cells = proving.cells_of(Path(app.env.doc2path(name)), runs(app))
            if cells is None:
                _script(app, name).unlink(missing_ok=True)
                continue
            snippets = prover.of(name, cells, proofs)
            missing += _missing(cells, snippets)
            if report is not None:
                report.add(name, cells, snippets)
            _write_script(app, name, cells, snippets, proofs)
    if report is not None:
        _LOGGER.info("%s", report.text())
    elif missing:
        _LOGGER.info("%d cells have no snippet yet; with snippets_prove=1 they get one", missing)


def _digest(proofs: Proofs) -> str:
    """Of all that the script of a file depends on beside its cells."""
    return proving.digest(proving.version(), proofs.text, python_version(), installing.repository())


class _Prover:
    """Finds the snippets of a file, and proves them where the build was asked to.

    Attributes:
        can: whether it proves.
    """

    def __init__(self, app: Sphinx) -> None:
        self.can = bool(app.config.snippets_prove) and hasattr(os, "pidfd_open")
        warm = "warm_kernels_modules" in app.config
        self._modules = app.config.warm_kernels_modules if warm else []
        self._jobs = max(app.parallel, 1)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @cached_property
    def _start(self) -> tuple[FreshProcesses, ThreadPoolExecutor]:
        """What runs the proofs; started for the first."""
        os.environ.pop("GRADBOOK_DATA", None)  # which a reader does not have
        pool = self._stack.enter_context(ThreadPoolExecutor(self._jobs))
        return self._stack.enter_context(FreshProcesses(self._modules)), pool

    def of(self, name: str, cells: list[Cell], proofs: Proofs) -> list[Snippet | Broken | None]:
        """For each cell; None where none is wanted, or it is not proved."""
        known = proofs.of(cells)
        missing = _missing(cells, known)
        if not (self.can and missing):
            return list(known)
        _LOGGER.info("snippets of %s: %d to prove", name, missing)
        processes, pool = self._start
        found = proving.prove(cells, known, processes.run, pool)
        proofs.keep(cells, found)
        _warn(name, cells, found)
        return found


def _warn(name: str, cells: Sequence[Cell], snippets: Sequence[Snippet | Broken | None]) -> None:
    for cell, snippet in zip(cells, snippets, strict=True):
        if isinstance(snippet, Broken):
            text = (
                "this cell does not say alone, after all that is seen above it, what its page says"
            )
            _LOGGER.warning("%s: %s", text, snippet.why, location=(name, cell.line), **_FAULT)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("publishing.cells")
    app.add_config_value("snippets_path", "", "")
    app.add_config_value("snippets_prove", False, "", (bool, int, str))
    app.add_config_value("snippets_report", False, "", (bool, int, str))
    app.connect("builder-inited", _prepare)
    app.connect("env-before-read-docs", _remember)
    app.connect("html-page-context", _add)
    app.connect("html-page-context", _write_beside)
    app.connect("build-finished", _write, priority=400)  # before a failed build is forgotten
    return {"parallel_read_safe": True, "parallel_write_safe": True}
