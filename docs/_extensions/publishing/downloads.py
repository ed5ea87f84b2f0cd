"""Offer each page as a notebook with its outputs and as a script, and the whole book at once.

Both are made from the finished page, so they have what the Clinic takes from the catalogue, and the
language of the site. Cells that a reader does not see stay out. A page says at its top what it
needs, and links them; these are plain links to files beside it.
"""

import ast
import copy
import posixpath
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective

from execution.kept import file_for, kept
from publishing import installing, languages, plain_text, proving
from publishing.cells import home, is_cell, runs
from publishing.proving import Cell
from reading.slicing import Page, Scope

NOTEBOOKS, OFFLINE = "gradbook-notebooks.zip", "gradbook-offline.zip"
# Where the workflow that publishes the site puts the notebooks for Colab, which opens them from a
# branch of a repository on this host only.
BRANCH = "notebooks"
_HOST = "https://github.com/"
_METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}
_SVG = "image/svg+xml"
_HERE = '<div class="take-away-here"></div>'
_ENDINGS = ".ipynb", ".py"
# The same bytes from the same pages.
_DATE = (1980, 1, 1, 0, 0, 0)


def blocks_of(document: nodes.Element, address: str) -> list[str | int]:
    """The blocks of a page: Markdown, and in place of each cell its number.

    Args:
        document: as it is written to the page.
        address: of the page; links to other pages begin there.
    """
    inside = [
        (link, link.get("refuri"))
        for link in document.findall(nodes.reference)
        if link.get("refuri") or link.get("refid")
    ]
    for link, target in inside:
        link["refuri"] = urljoin(address, target or f"#{link['refid']}")
    try:
        return list(_blocks(document, 0))
    finally:
        for link, target in inside:
            if target is None:
                del link["refuri"]
            else:
                link["refuri"] = target


def _blocks(node: nodes.Element, level: int) -> Iterator[str | int]:
    for child in node.children:
        if isinstance(child, nodes.section):
            yield from _blocks(child, level + 1)
        elif is_cell(child):
            yield child["number"]
        else:
            block = "\n\n".join(plain_text.block(child, level)).strip("\n")
            if block:
                yield block


def make_notebook(blocks: Iterable[str | int], cells: Sequence[Cell]) -> NotebookNode:
    """A page as a notebook, with its outputs.

    Args:
        blocks: of the page.
        cells: by number.
    """
    made = []
    for is_text, some in groupby(blocks, lambda block: isinstance(block, str)):
        if is_text:
            made.append(new_markdown_cell("\n\n".join(map(str, some))))
        else:
            made += [_code_cell(cells[int(number)]) for number in some]
    notebook = new_notebook(metadata=_METADATA, cells=made)
    _number(notebook)
    return notebook


def _code_cell(cell: Cell) -> NotebookNode:
    made = new_code_cell(_source(cell), outputs=copy.deepcopy(list(cell.outputs)))
    if not cell.shown:
        made.metadata["jupyter"] = {"source_hidden": True}
    if not cell.heard:
        made.metadata["tags"] = ["remove-stderr"]
    return made


def _source(cell: Cell) -> str:
    """The code of a cell; of a drawing whose code is not on the page, the drawing itself.

    It is made by a module that a reader does not have.
    """
    drawn = [one.data[_SVG] for one in cell.outputs if _SVG in one.get("data", {})]
    if cell.shown or not drawn:
        return cell.source
    shown = "\n".join(f"display(SVG({_quoted(svg.strip())}))" for svg in drawn)
    return f"from IPython.display import SVG, display\n\n{shown}"


def _quoted(text: str) -> str:
    return f'r"""{text}"""' if '"""' not in text and not text.endswith('"') else repr(text)


def _number(notebook: NotebookNode) -> None:
    """Give cells names and numbers that are the same in each build."""
    count = 0
    for place, cell in enumerate(notebook.cells):
        cell.id = f"c{place}"
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count


def with_note(notebook: NotebookNode, text: str) -> NotebookNode:
    """The notebook with a first cell that says where it is from, and what it needs."""
    return _with_first(notebook, new_markdown_cell(text))


def for_colab(notebook: NotebookNode, repository: str) -> NotebookNode:
    """The notebook with a first cell that installs what it needs."""
    install = f'%pip install --quiet "{installing.requirement(repository)}"'
    return _with_first(notebook, new_code_cell(install))


def _with_first(notebook: NotebookNode, first: NotebookNode) -> NotebookNode:
    changed = copy.deepcopy(notebook)
    changed.cells.insert(0, first)
    _number(changed)
    return changed


def make_script(notebook: NotebookNode) -> str:
    """A notebook as a script: its text as comments, in the percent format.

    What a notebook shows without being asked, because it is the last line of a cell, is shown by
    `display`, which prints it where there is no notebook.
    """
    import jupytext  # takes long, and not every build makes scripts

    plain = new_notebook(cells=[])
    shows = False
    for cell in notebook.cells:
        if cell.cell_type == "code" and _is_drawing(cell):
            continue  # a script shows no drawings
        if cell.cell_type == "code":
            shown = any(one.output_type == "execute_result" for one in cell.outputs)
            shows |= shown
            plain.cells.append(new_code_cell(displayed(cell.source) if shown else cell.source))
        else:
            plain.cells.append(new_markdown_cell(cell.source))
    if shows:
        first = next(n for n, cell in enumerate(plain.cells) if cell.cell_type == "code")
        plain.cells.insert(first, new_code_cell("from IPython.display import display"))
    plain.metadata["jupytext"] = {
        "cell_metadata_filter": "-all",
        "notebook_metadata_filter": "-all",
    }
    return str(jupytext.writes(plain, fmt="py:percent"))


def _is_drawing(cell: NotebookNode) -> bool:
    """Whether a cell is a drawing in place of the code that made it."""
    return bool(cell.metadata.get("jupyter")) and "display(SVG(" in cell.source


def displayed(source: str) -> str:
    r"""Code whose last expression is shown.

    >>> print(displayed("x = 3\nx, 4  # a pair"))
    x = 3
    display((x, 4))  # a pair
    """
    last = ast.parse(source).body[-1]
    if not isinstance(last, ast.Expr):
        return source
    lines = source.encode().split(b"\n")
    value = last.value
    row, column = value.end_lineno - 1, value.end_col_offset
    pair = isinstance(value, ast.Tuple)  # display(a, b) would show two objects
    lines[row] = lines[row][:column] + (b"))" if pair else b")") + lines[row][column:]
    row, column = value.lineno - 1, value.col_offset
    lines[row] = lines[row][:column] + (b"display((" if pair else b"display(") + lines[row][column:]
    return b"\n".join(lines).decode()


# On the site


class TakeAway(SphinxDirective):
    """Keeps a place for the line that else stands below the title."""

    def run(self) -> list[nodes.Node]:
        """Mark the place; the line is known when the page is written."""
        return [nodes.raw("", _HERE, format="html")]


def needs(cells: Sequence[Cell]) -> list[list[tuple[int, int, str]]]:
    """For each cell what it needs of those before it: cell, line and text of each piece."""
    whole = Page([cell.source if cell.shown else "" for cell in cells])
    found = (whole.needs(number, Scope.LEAN) for number in range(len(cells)))
    return [[(one.cell, one.first, one.text) for one in pieces] for pieces in found]


def completed(
    blocks: Sequence[str | int],
    cells: Sequence[Cell],
    needed: Sequence[Sequence[tuple[int, int, str]]],
) -> tuple[list[str | int], list[Cell]]:
    """The blocks of a page that is a part of a file, with what its cells need of others.

    Args:
        blocks: of the page.
        cells: of the file, by number.
        needed: as `needs` gives it.

    Returns:
        Blocks, and the cells to which they refer: one more, if any is needed.
    """
    own = {block for block in blocks if isinstance(block, int)}
    pieces = {tuple(one) for number in own for one in needed[number]}
    missing = sorted(one for one in pieces if one[0] not in own)
    if not missing:
        return list(blocks), list(cells)
    first = missing[0][0]
    # After what it may itself need.
    after = next(at for at, one in enumerate(blocks) if isinstance(one, int) and one > first)
    source = "\n\n".join(text for *_, text in missing)
    made = Cell(source, cells[first].line, cells[first].number, ())
    return [*blocks[:after], len(cells), *blocks[after:]], [*cells, made]


@lru_cache(maxsize=4)
def _needs_of(path: Path, runs: Path, store: Path | None) -> Any:
    cells = proving.cells_again(path, runs) or []
    depends = proving.version(), *(f"{cell.shown}{cell.source}" for cell in cells)
    return kept(store, depends, lambda: needs(cells))


def _address(app: Sphinx, docname: str) -> str:
    return urljoin(app.config.html_baseurl or "", app.builder.get_target_uri(docname))


def _keep_blocks(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Read a page in the order of its file; what is made of it is made where it is written."""
    if app.builder.name == "html" and any(map(is_cell, document.findall(nodes.container))):
        document.gradbook_blocks = blocks_of(document, _address(app, docname))


def _offer(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Write the files of a page beside it, and put a line of what it needs below its title."""
    blocks = getattr(doctree, "gradbook_blocks", None)
    if blocks is None:
        return
    file = Path(app.env.doc2path(page))
    cells = proving.cells_again(file, runs(app)) or []
    if cells and (group := home(app.env, page)) != page:
        needed = _needs_of(file, runs(app), file_for(app, f"needs/{group}"))
        blocks, cells = completed(blocks, cells, needed)
    chosen = [cells[block] for block in blocks if isinstance(block, int) and cells]
    out = Path(app.outdir, page)
    # Of what failed the build says so; what runs in the repository alone is to be read.
    if all(cell.reason for cell in chosen) or any(cell.failed for cell in chosen):
        for ending in _ENDINGS:
            out.with_suffix(ending).unlink(missing_ok=True)
        return
    command = install_command(chosen)
    _write(app, page, make_notebook(blocks, cells), command)
    body = context["body"]
    place = _HERE if _HERE in body else "</h1>"
    kept = "" if place == _HERE else place
    context["body"] = body.replace(place, kept + _bar(app, page, command), 1)


def _write(app: Sphinx, page: str, bare: NotebookNode, command: str) -> None:
    note = _("This page: %s. It needs:") % _address(app, page)
    noted = with_note(bare, f"{note}\n\n```\n{command}\n```")
    nbformat.validate(noted)
    out = Path(app.outdir, page)
    out.parent.mkdir(parents=True, exist_ok=True)
    notebook, script = (out.with_suffix(ending) for ending in _ENDINGS)
    nbformat.write(noted, notebook)
    script.write_text(make_script(noted), encoding="utf-8")
    if _is_hosted():
        root = _root(app)
        colab = root.parent / "colab" / out.relative_to(root).with_suffix(".ipynb")
        colab.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(for_colab(bare, installing.repository()), colab)


def install_command(cells: Iterable[Cell]) -> str:
    """The command that installs what the cells of a page import."""
    needed = [name for cell in cells for name in installing.packages(_source(cell))]
    return installing.command(needed, installing.repository())


def _is_hosted() -> bool:
    return installing.repository().startswith(_HOST)


def _bar(app: Sphinx, page: str, command: str) -> str:
    name = posixpath.basename(page)
    links = [
        (f"{name}.ipynb", _("Notebook"), " download"),
        (f"{name}.py", _("Script"), " download"),
    ]
    if _is_hosted():
        place = installing.repository().removeprefix(_HOST)
        path = Path(app.outdir, page).relative_to(_root(app)).as_posix()
        colab = f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/{path}.ipynb"
        links.append((colab, _("Open in Colab"), ""))
    if page == app.config.root_doc:
        links += [
            (NOTEBOOKS, _("All notebooks"), " download"),
            (_up(app) + OFFLINE, _("Offline copy"), " download"),
        ]
    items = "".join(f'<li><a href="{escape(to)}"{how}>{text}</a></li>' for to, text, how in links)
    return (
        f'\n<div class="take-away" role="group" aria-label="{_("Run this page yourself")}">'
        '<div class="highlight-console notranslate"><div class="highlight">'
        f"<pre>{escape(command)}\n</pre></div></div><ul>{items}</ul></div>\n"
    )


def _up(app: Sphinx) -> str:
    """The way from the front page of a language to the folder of the site."""
    return "" if _root(app) == Path(app.outdir) else "../"


def zip_files(path: Path, folder: Path, files: Iterable[Path]) -> None:
    """Pack files; the same files give the same bytes.

    Args:
        path: of the archive.
        folder: in which they lie; their names in the archive begin there.
        files: in any order.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files):
            name = Path(path.stem, file.relative_to(folder)).as_posix()
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, file.read_bytes())


def _root(app: Sphinx) -> Path:
    """The folder of the whole site, in which a language may have a folder of its own."""
    out, here = Path(app.outdir), languages.own(app.config)
    return out.parent if here and here.folder == f"{out.name}/" else out


def _pack(app: Sphinx, error: Exception | None) -> None:
    """Make the archives, when everything else is there and has changed."""
    if error is not None or app.builder.name != "html":
        return
    out, root = Path(app.outdir), _root(app)
    files = {path for path in root.rglob("*") if path.is_file() and not _is_private(path, root)}
    files = {path for path in files if path.name not in (NOTEBOOKS, OFFLINE)}
    newest = max(path.stat().st_mtime for path in files)
    archives = out / NOTEBOOKS, root / OFFLINE
    if all(path.exists() and path.stat().st_mtime > newest for path in archives):
        return
    notebooks = {out / f"{name}.ipynb" for name in app.env.found_docs}
    zip_files(archives[0], out, files & notebooks)
    zip_files(archives[1], root, files)


def _is_private(path: Path, folder: Path) -> bool:
    """Whether Sphinx keeps it for the next build."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("publishing.cells")
    app.setup_extension("execution.kept")
    app.add_directive("take-away", TakeAway)
    app.connect("doctree-resolved", _keep_blocks, priority=900)  # as the page will be
    app.connect("html-page-context", _offer)
    app.connect("build-finished", _pack, priority=900)  # after all others have written
    return {"parallel_read_safe": True, "parallel_write_safe": True}
