"""Let exercises that want a function or a class be taken away: a program that lacks the answer.

A field on the page can take a number, not a function. Such an exercise stands in a cell that names
what is wanted (`name = ...  # your function of (x)`) and calls its check; below is a folded
solution. From the two comes a program that runs anywhere: what the solution needs of the cells
above, the skeleton of what is wanted, and the call of the check. A button copies it.
"""

import ast
import base64
import re
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from docutils import nodes
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from sphinx.application import Sphinx
from sphinx.locale import _

from execution.kept import file_for, kept, text_of
from reading.slicing import Page, Scope, join

_WANTED = re.compile(r"^(\w+(?:, \w+)*) = \.\.\.(?:, \.\.\.)*  # your (?:function|class).*\n", re.M)
_CALL = re.compile(r"^check\.(\w+\.\w+)\(", re.M)
_AFTER_THE_SEARCH = 950  # which collects at 900
# What the programs of a page depend on beside the page.
_OURS = [Path(__file__).with_name(name) for name in ("effects.py", "slicing.py", "stubs.py")]


def skeleton(name: str, solution: str) -> str:
    r"""The definition of `name` in a solution, without what it does.

    Raises:
        ValueError: the solution defines no such function or class.

    >>> print(skeleton("twice", "def twice(x, by=2):\n    return by * x"))
    def twice(x, by=2):
        ...  # your answer
    """
    for node in ast.parse(solution).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return "\n".join(_without_body(node))
    raise ValueError(f"the solution defines no function or class {name!r}")


def _without_body(node: ast.stmt, indent: str = "") -> Iterator[str]:
    """Lines of a definition; of a class, those of its methods."""
    if isinstance(node, ast.ClassDef):
        bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
        yield f"{indent}class {node.name}{bases}:"
        methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
        for number, method in enumerate(methods):
            if number:
                yield ""
            yield from _without_body(method, f"{indent}    ")
    elif isinstance(node, ast.FunctionDef):
        for decorator in node.decorator_list:
            yield f"{indent}@{ast.unparse(decorator)}"
        yield f"{indent}def {node.name}({ast.unparse(node.args)}):"
        yield f"{indent}    ...  # your answer"


def programs(cells: Sequence[tuple[str, Sequence[str]]]) -> dict[str, tuple[str, str]]:
    """For each exercise of a page that wants a function: its program, and that of the solution.

    Args:
        cells: source and tags of each cell of the page.

    Returns:
        By the name of the check: `accumulation.mean_from_parts`.
    """
    sources = [source for source, _tags in cells]
    found = {}
    page = None
    for tried in sources:
        wanted, call = _WANTED.search(tried), _CALL.search(tried)
        if wanted is None or call is None:
            continue
        place = next(
            at
            for at, (source, tags) in enumerate(cells)
            if "hide-cell" in tags and f"check.{call[1]}(" in source
        )
        page = page or Page(sources)
        before = "".join(join(page.needs(place, Scope.DRAWS)))
        stubs = "\n\n\n".join(skeleton(name, sources[place]) for name in wanted[1].split(", "))
        after = tried[wanted.end() :].strip("\n")
        before = before.rstrip("\n")
        found[call[1]] = (
            f"{before}\n\n\n{stubs}\n\n\n{after}\n",
            f"{before}\n\n\n{sources[place].strip()}\n",
        )
    return found


def cells_of(path: Path) -> list[tuple[str, list[str]]]:
    """Source and tags of the cells of a page."""
    notebook = read_myst_markdown_notebook(path.read_text("utf-8"), MdParserConfig())
    return [
        (cell.source, cell.metadata.get("tags", []))
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _asked(doctree: nodes.document) -> Iterator[tuple[nodes.Element, str]]:
    """The cells that want a function or a class, and the names of their checks."""
    if "your " not in doctree.astext():
        return
    for cell in list(doctree.findall(nodes.container)):
        if cell.get("nb_element") != "cell_code":
            continue
        code = cell.next_node(nodes.literal_block)
        source = "" if code is None else code.astext()
        if _WANTED.search(source) and (call := _CALL.search(source)):
            yield cell, call[1]


def _find(app: Sphinx, doctree: nodes.document) -> None:
    """Where pages are read: the processes that do it wait for cells in the meantime."""
    docname = app.env.docname
    if app.builder.format != "html" or not any(_asked(doctree)):
        return
    path = Path(app.env.doc2path(docname))
    depends = path.read_text("utf-8"), text_of(*_OURS)
    store = file_for(app, f"programs/{docname}")
    found = kept(store, depends, lambda: programs(cells_of(path)))
    app.env.metadata[docname]["programs"] = {name: program for name, (program, _) in found.items()}


def _put(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    found = app.env.metadata[docname].get("programs")
    if app.builder.format != "html" or not found:
        return
    for cell, name in list(_asked(doctree)):
        html = _button(f"# {app.builder.get_target_uri(docname)}\n{found[name]}")
        cell.parent.insert(cell.parent.index(cell) + 1, nodes.raw("", html, format="html"))


def _button(program: str) -> str:
    encoded = base64.b64encode(program.encode()).decode()
    return (
        f'<p class="take-stub"><button type="button" data-program="{encoded}">'
        f"{escape(_('Copy to run'))}</button> <output></output></p>"
    )


def _load(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, object], doctree: object
) -> None:
    if 'class="take-stub"' in str(context.get("body", "")):
        app.add_js_file("stubs.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("execution.kept")
    app.connect("doctree-read", _find)
    app.connect("doctree-resolved", _put, priority=_AFTER_THE_SEARCH)
    app.connect("html-page-context", _load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
