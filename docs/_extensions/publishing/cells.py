"""Number the cells of each page, so that a cell is known wherever on the site it stands.

A page of the site need not be a whole file: an entry of the Clinic is a part of the file of its
group. So a cell has the number that it has among the cells of its file, and a page says whose cells
it has.
"""

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def is_cell(node: nodes.Node) -> bool:
    """Whether a node of a page is a code cell."""
    return isinstance(node, nodes.Element) and node.get("nb_element") == "cell_code"


def numbers(document: nodes.Element) -> Iterator[int]:
    """The numbers of the cells of a page, in its order."""
    return (cell["number"] for cell in document.findall(is_cell))


def home(env: BuildEnvironment, docname: str) -> str:
    """The document that was read from the file from which a page comes."""
    return str(env.metadata[docname].get("group", docname))


def runs(app: Sphinx) -> Path:
    """The folder in which MyST-NB keeps what pages said when they ran."""
    return Path(app.env.mystnb_config.execution_cache_path)


def number(app: Sphinx | None, document: nodes.document) -> None:
    """Number the cells of a document that are not numbered; they say so by a class, too."""
    for number, cell in enumerate(document.findall(is_cell)):
        if "number" not in cell:  # else it was cut from a file whose cells have theirs
            cell["number"] = number
            cell["classes"].append(f"cell-{number}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", number, priority=5)  # before a file is cut into pages
    return {"parallel_read_safe": True, "parallel_write_safe": True}
