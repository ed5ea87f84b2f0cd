"""Every script and every notebook that the site offers runs, each by itself."""

import re

import nbformat
import pytest
from conftest import SITE
from nbclient import NotebookClient
from nbformat import NotebookNode

from execution.fresh import difference, repeatable
from publishing.languages import LANGUAGES
from publishing.proving import without_stderr

# The code is the same in every language.
OTHERS = {one.folder.strip("/") for one in LANGUAGES} - {""}
NOTEBOOKS = sorted(
    path for path in SITE.rglob("*.ipynb") if path.relative_to(SITE).parts[0] not in OTHERS
)
# A warning names the file that the kernel gave the cell; those of the build are named by number.
FILE_OF_CELL = re.compile(r"<cell \d+>|[^\s\"]*ipykernel_\d+/\d+\.py")
SCRIPTS = sorted(path.with_suffix(".py") for path in NOTEBOOKS)


def name(path):
    """Of the page."""
    return path.relative_to(SITE).with_suffix("").as_posix()


def test_there_are_downloads():
    """One pair for each page with cells; no notebook without its script."""
    assert len(NOTEBOOKS) > 40
    assert all(path.exists() for path in SCRIPTS)


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_runs(path, tmp_path, run_script):
    """In a process of its own that sees nothing but what is installed, and an empty folder."""
    code, printed = run_script(path, tmp_path)
    assert code == 0, printed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_runs_and_says_what_it_said(path, tmp_path, warm):
    """From its first cell to its last, without the cells that a reader does not see."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    expected = [list(cell.get("outputs", ())) for cell in notebook.cells]
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    for cell, outputs in zip(notebook.cells, expected, strict=True):
        if cell.cell_type == "code" and not drawn(outputs):
            said = repeatable(cell.outputs)
            if "remove-stderr" in cell.metadata.get("tags", ()):
                said = without_stderr(said)
            assert difference(unnamed(outputs), unnamed(said)) == "", cell.source


def unnamed(outputs):
    """Outputs whose streams do not say in which file a cell stands."""
    found = [NotebookNode(one) for one in outputs]
    for one in found:
        if "text" in one:
            one.text = FILE_OF_CELL.sub("<cell>", one.text)
    return found


def drawn(outputs):
    """Whether there is a figure, whose looks are those of the reader's notebook."""
    return any("image/svg+xml" in output.get("data", {}) for output in outputs)
