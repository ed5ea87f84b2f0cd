"""The pages of the book, and their cells as MyST-NB reads them."""

import re
from pathlib import Path

from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
LEARN = sorted(path for path in (DOCS / "learn").glob("*.md") if path.stem != "index")
DEEPER = sorted((DOCS / "deeper").glob("*.md"))
HOWTO = sorted((DOCS / "howto").glob("*.md"))
# The pages of the Learn path, as the front page lists them.
PATH = re.findall(
    r"^learn/(?!index$)[\w-]+$", (DOCS / "index.md").read_text("utf-8"), flags=re.MULTILINE
)


def cells(page: Path) -> list[tuple[str, list[str]]]:
    """Source and tags of each code cell."""
    notebook = read_myst_markdown_notebook(page.read_text("utf-8"), MdParserConfig())
    return [
        (cell.source, cell.metadata.get("tags", []))
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
