"""Turn a page of the book into what sphinx-gallery and nbsphinx read.

Every cell comes along as it is, in order; text becomes rST or stays Markdown. What only MyST knows
(directives, labels, tags that hide a cell) is left as plain text or left out: it does not run.
"""

import re
from collections.abc import Callable, Iterator

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from nbformat import NotebookNode

_LINK = re.compile(r"\[([^\]]*)\]\(([\w./-]+)\.md(#[\w-]+)?\)")
_LABEL = re.compile(r"^\([\w-]+\)=\n", flags=re.MULTILINE)
_CELL = "GRADBOOK-CELL"


def read(page: str) -> NotebookNode:
    """The cells of a page, as MyST-NB reads them, in a notebook that any tool can read."""
    found = read_myst_markdown_notebook(page, MdParserConfig())
    cells = []
    for cell in found.cells:
        if cell.cell_type == "code":
            cells.append(nbformat.v4.new_code_cell(cell.source))
        else:
            text = _LABEL.sub("", cell.source)
            # A link needs a text, and has no page to go to: only the pages that run are converted.
            cells.append(nbformat.v4.new_markdown_cell(_LINK.sub(r"\1 (\2)", text)))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def to_ipynb(page: str) -> str:
    """A notebook without outputs."""
    return nbformat.writes(read(page))


def to_script(page: str, to_rst: Callable[[str], str]) -> str:
    """A script for sphinx-gallery: a docstring, cells as code, text as comments between them.

    Args:
        page: text of the page.
        to_rst: makes rST from Markdown; is called once, since pandoc takes long to start.
    """
    cells = read(page).cells
    # The texts are converted together, with a mark where code stood, and taken apart again.
    markdown = "\n\n".join(_CELL if c.cell_type == "code" else c.source for c in cells)
    texts = iter(to_rst(markdown).split(_CELL))
    return "\n".join(_blocks([c.source for c in cells if c.cell_type == "code"], texts))


def _blocks(codes: list[str], texts: Iterator[str]) -> Iterator[str]:
    opening = next(texts).strip().replace("\\", "\\\\").replace('"""', "'''")
    yield f'"""\n{opening}\n"""\n'
    for code, text in zip(codes, texts, strict=True):
        yield f"# %%\n{code}\n"
        if text.strip():
            commented = "\n".join(f"# {line}".rstrip() for line in text.strip().splitlines())
            yield f"# %%\n{commented}\n"
