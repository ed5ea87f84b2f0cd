"""What a cell asserts in its last lines, set apart from what it shows.

A page asserts what its text says, and a reader reads the assertions past what the cell computes. So
those at the end of a cell, whose output says the same, are dimmed, and folded behind a mark that
unfolds them. Where no script runs they stand dimmed; on paper too. The text of the cell stays
whole: what is copied holds them.
"""

import ast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.writers.html5 import HTML5Translator

_PRE, _END = "<pre>", "</pre>"


def count_asserted(source: str) -> int:
    r"""How many lines at the end of a cell only assert; those between them and the rest count.

    0 if the cell does nothing else.

    >>> count_asserted("x = 1\nprint(x)\n\nassert x == 1\n")
    2
    >>> count_asserted("assert 1 == 1")
    0
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return 0
    last = next((one for one in reversed(statements) if not _asserts(one)), None)
    if last is None or last is statements[-1]:
        return 0
    return len(source.rstrip().splitlines()) - (last.end_lineno or 0)


def _asserts(statement: ast.stmt) -> bool:
    """Whether it is an assertion, or a call such as `torch.testing.assert_close(...)`."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return isinstance(statement, ast.Assert)
    called = statement.value.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name.startswith("assert_")


def set_apart(html: str, count: int) -> str:
    """Wrap the last `count` lines of highlighted code, and add the mark."""
    before, _pre, rest = html.partition(_PRE)
    code, _end, after = rest.rpartition(_END)
    # Pygments closes its elements at the end of each line.
    lines = code.removesuffix("\n").split("\n")
    shown, asserted = "\n".join(lines[:-count]), "\n" + "\n".join(lines[-count:])
    if asserted.startswith("\n</span>"):  # a marked line is a block, with its end of line
        shown, asserted = shown + "\n</span>", asserted.removeprefix("\n</span>")
    mark = (
        '<button type="button" class="checked" aria-expanded="false" '
        f'title="{_("The build asserts what the cell shows; the arrow keys go to the next mark")}">'
        f"{_('checked')}</button>"
    )
    span = f'<span class="checks">{asserted}\n</span>'
    return f"{before}{_PRE}{shown}{span}{_END}{mark}{after}"


def _visit(translator: HTML5Translator, node: nodes.literal_block) -> None:
    try:
        HTML5Translator.visit_literal_block(translator, node)
    except nodes.SkipNode:
        count = count_asserted(node.astext()) if _has_output(node) else 0
        if count:
            translator.body[-1] = set_apart(translator.body[-1], count)
        raise


def _has_output(node: nodes.Node) -> bool:
    """Whether it is the code of a cell that shows something."""
    if "cell_input" not in node.parent.get("classes", ()):
        return False
    cell = node.parent
    while cell is not None and cell.get("nb_element") != "cell_code":
        cell = cell.parent
    return cell is not None and any(
        "cell_output" in one["classes"] and one.children for one in cell.findall(nodes.container)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    leave = HTML5Translator.depart_literal_block
    app.add_node(nodes.literal_block, override=True, html=(_visit, leave))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
