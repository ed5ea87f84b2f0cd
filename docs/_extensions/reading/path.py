"""The Learn path: its map, each page's place on it, and the point of a page in its first screen.

The path is what stands below ``learn/`` in the front page's table of contents, in its order. The
page ``learn/index`` shows it through a directive:

    :::{learn-map}
    :::

The front page says how much there is:

    :::{book-facts}
    :::

Titles and descriptions are those of the pages; minutes and exercises are counted; beside them stand
the shapes of the picture with which a page begins. The section *In
one breath* at the end of a page is shown at its beginning too: a copy that is made when the page is
written, so that translations and the search meet the text once.
"""

import math
import re
from collections.abc import Iterator
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective

from gradbook.understand.catalogue import load

MAP = "learn/index"
# How fast a page is read: new ideas, and code to be understood.
WORDS_A_MINUTE, LINES_A_MINUTE = 200, 20
_NO_WORDS = (
    *(nodes.comment, nodes.literal_block, nodes.math, nodes.math_block, nodes.meta, nodes.raw),
)
# The panels of a picture (`execution.figures`), and their parts.
_PICTURE = re.compile(r'<div class="picture[\w ]*">(.*?)</div>', re.DOTALL)
_PANEL = re.compile(r"<svg [^>]*>(.*?)</svg>", re.DOTALL)
_LETTERS = re.compile(r"<text\b.*?</text>", re.DOTALL)
_GRADIENT = re.compile(r'class="[^"]*\bg\b')
_PLACES = re.compile(
    r'<rect [^>]*?x="(?P<x>[-\d.]+)" y="(?P<y>[-\d.]+)" '
    r'width="(?P<w>[\d.]+)" height="(?P<h>[\d.]+)"'
    r'|<circle [^>]*?cx="(?P<cx>[-\d.]+)" cy="(?P<cy>[-\d.]+)"'
    r'|(?<=[MLQ ])(?P<px>-?[\d.]+) (?P<py>-?[\d.]+)(?=[LQzv "])'
)
_WIDTH = 320  # of a panel, and of the room for it
_MARGIN = 8
_AFTER_THE_SEARCH = 950  # which collects at 900


class learn_map(nodes.General, nodes.Element):  # noqa: N801 -- as docutils names nodes
    """Stands for the map until all pages are read."""


class book_facts(nodes.General, nodes.Element):  # noqa: N801 -- as docutils names nodes
    """Stands for what the book has, until all pages are read."""


class BookFacts(SphinxDirective):
    """How many messages, traps, pages and exercises there are."""

    def run(self) -> list[nodes.Node]:
        """Leave the place."""
        return [book_facts()]


class LearnMap(SphinxDirective):
    """The pages of the path, with what each takes."""

    def run(self) -> list[nodes.Node]:
        """Leave the place."""
        return [learn_map()]


def path(env: BuildEnvironment) -> list[str]:
    """The pages of the path, in the order of reading.

    Args:
        env: with the front page read.
    """
    listed = env.toctree_includes.get(env.config.root_doc, [])
    return [name for name in listed if name.startswith("learn/") and name != MAP]


def words(node: nodes.Node) -> int:
    """How many words of prose are in `node`, at any depth; code and formulas are none."""
    if isinstance(node, nodes.Text):
        return len(node.split())
    if isinstance(node, _NO_WORDS) or _is_output(node):
        return 0
    return sum(words(child) for child in node.children)


def lines_of_code(node: nodes.Element) -> int:
    """How many lines of code are seen; those of folded cells are not."""
    blocks = node.findall(nodes.literal_block)
    return sum(
        sum(bool(line.strip()) for line in block.astext().splitlines())
        for block in blocks
        if not any(_is_output(one) or _is_folded(one) for one in _around(block))
    )


def minutes(words: int, lines: int) -> int:
    """How long reading takes, rounded up.

    >>> minutes(words=2000, lines=200), minutes(words=1, lines=0)
    (20, 1)
    """
    return math.ceil(words / WORDS_A_MINUTE + lines / LINES_A_MINUTE)


def shapes(html: str) -> str:
    """The shapes of a picture, without its words, which would be too small; "" for other HTML.

    Of several panels it is the one with most of a gradient, or else the first.

    >>> box = '<rect x="9" y="9" width="82" height="9"/>'
    >>> panel = f'<svg width="320"><text x="0">y</text>{box}</svg>'
    >>> print(shapes(f'<div class="picture">{panel}</div>'))
    <svg viewBox="1 1 98 25" width="31%"><rect x="9" y="9" width="82" height="9"/></svg>
    """
    picture = _PICTURE.search(html)
    if picture is None:
        return ""
    panels = [_LETTERS.sub("", panel) for panel in _PANEL.findall(picture[1])]
    drawn = max(panels, key=lambda panel: len(_GRADIENT.findall(panel)))
    places = list(_corners(drawn))
    if not places:
        return ""
    (left, right), (top, bottom) = ((min(one), max(one)) for one in zip(*places, strict=True))
    wide, high = right - left + 2 * _MARGIN, bottom - top + 2 * _MARGIN
    box = f"{left - _MARGIN:.0f} {top - _MARGIN:.0f} {wide:.0f} {high:.0f}"
    return f'<svg viewBox="{box}" width="{min(100 * wide / _WIDTH, 100):.0f}%">{drawn}</svg>'


def _corners(drawn: str) -> Iterator[tuple[float, float]]:
    for found in _PLACES.finditer(drawn):
        one = {name: float(value) for name, value in found.groupdict("0").items()}
        yield (
            one["x"] + one["cx"] + one["px"],
            one["y"] + one["cy"] + one["py"],
        )
        if found["w"]:
            yield one["x"] + one["w"], one["y"] + one["h"]


def _around(node: nodes.Node) -> Iterator[nodes.Element]:
    while (node := node.parent) is not None:
        yield node


def _is_output(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Element) and node.get("nb_element") == "cell_code_output"


def _is_folded(node: nodes.Element) -> bool:
    return any(name.startswith("tag_hide-") for name in node.get("classes", []))


def _measure(app: Sphinx, doctree: nodes.document) -> None:
    docname = app.env.docname
    found = doctree.findall(nodes.Admonition)
    app.env.metadata[docname]["exercises"] = sum("exercise" in one["classes"] for one in found)
    if docname.startswith("learn/") and docname != MAP:
        app.env.metadata[docname]["minutes"] = minutes(words(doctree), lines_of_code(doctree))
        drawn = (shapes(one.astext()) for one in doctree.findall(nodes.raw))
        app.env.metadata[docname]["shapes"] = next(filter(None, drawn), "")


def _write_again(app: Sphinx, env: BuildEnvironment) -> list[str]:
    return [name for name in (MAP, env.config.root_doc) if name in env.found_docs]


def _draw(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.format != "html":
        return
    for place in list(doctree.findall(learn_map)):
        place.replace_self(list(_map(app, docname)))
    for place in list(doctree.findall(book_facts)):
        place.replace_self(nodes.paragraph("", _facts(app), classes=["facts"]))
    if docname in path(app.env):
        _repeat_breath(doctree)
    if docname == app.config.root_doc:
        _put_below(doctree)


def _map(app: Sphinx, docname: str) -> Iterator[nodes.Node]:
    env = app.env
    pages = path(env)
    taken = [env.metadata[page] for page in pages]
    items = nodes.enumerated_list("", classes=["learn-map"], enumtype="arabic", suffix=".")
    for page, one in zip(pages, taken, strict=True):
        title = nodes.inline("", "", *env.titles[page].deepcopy().children)
        address = app.builder.get_relative_uri(docname, page)
        link = nodes.reference("", "", title, internal=True, refuri=address)
        takes = _takes(one["minutes"], one["exercises"])
        items += nodes.list_item(
            "",
            *_picture(one["shapes"]),
            nodes.paragraph("", "", nodes.strong("", "", link)),
            nodes.paragraph("", one.get("described", "")),
            nodes.paragraph("", "", nodes.Text(takes), *_done(env, page), classes=["learn-takes"]),
        )
    yield items
    all_of = {name: sum(one[name] for one in taken) for name in ("minutes", "exercises")}
    rule = _("Minutes are counted: {words} words of text and {lines} lines of code take one.")
    yield nodes.paragraph(
        "",
        _("Together: {takes}.").format(takes=_takes(**all_of))
        + " "
        + rule.format(words=WORDS_A_MINUTE, lines=LINES_A_MINUTE),
    )
    if any(_done(env, page) for page in env.found_docs):
        button = f'<button type="button">{escape(_("Forget my answers"))}</button>'
        html = f'<p class="exercise-progress"><span></span> {button}</p>'
        yield nodes.raw("", html, format="html")


def _facts(app: Sphinx) -> str:
    entries = load().entries
    traps = sum(entry.kind == "trap" for entry in entries)
    said = _(
        "{messages} error messages, {traps} traps without one, {pages} pages to learn from, "
        "{exercises} exercises. Outputs are those of torch {torch}."
    )
    return said.format(
        messages=len(entries) - traps,
        traps=traps,
        pages=len(path(app.env)),
        exercises=sum(one.get("exercises", 0) for one in app.env.metadata.values()),
        torch=app.config.html_context["torch_version"],
    )


def _picture(drawn: str) -> list[nodes.Node]:
    """Shapes as decoration: what they show is told on their page."""
    html = f'<div class="picture learn-shapes" aria-hidden="true">{drawn}</div>'
    return [nodes.raw("", html, format="html")] if drawn else []


def _done(env: BuildEnvironment, page: str) -> list[nodes.Node]:
    """Where a script says how many exercises of the page are answered; see `reading.exercises`."""
    if "answers" not in env.metadata[page]:
        return []
    html = f' <span class="exercise-done" data-page="{escape(page)}"></span>'
    return [nodes.raw("", html, format="html")]


def _takes(minutes: int, exercises: int) -> str:
    many = _("{count} minutes") if minutes != 1 else _("{count} minute")
    others = _("{count} exercises") if exercises != 1 else _("{count} exercise")
    return f"{many.format(count=minutes)}, {others.format(count=exercises)}"


def _put_below(doctree: nodes.document) -> None:
    """Let a cell with the tag `below` stand after the next one, which it makes.

    A style sheet that changed their order would do so when the first is seen already.
    """
    for cell in list(doctree.findall(nodes.container)):
        if "tag_below" in cell["classes"]:
            place = cell.parent.index(cell)
            _, after = cell.parent.children[place : place + 2]
            cell.parent[place : place + 2] = [after, cell]


def _repeat_breath(doctree: nodes.document) -> None:
    """Put a copy of the last section before the first one, without its way on."""
    page = next(doctree.findall(nodes.section), None)
    sections = [one for one in page.children if isinstance(one, nodes.section)] if page else []
    if not sections:
        return
    title, *rest = sections[-1].children
    texts = [one for one in rest if isinstance(one, nodes.paragraph)][:-1]
    box = nodes.container(classes=["breath"])
    # Not those of the module `copy`: they copy the whole page, to which a node has a way.
    box += nodes.paragraph("", "", nodes.strong("", "", *title.deepcopy().children))
    box += [one.deepcopy() for one in texts]
    for node in box.findall(nodes.Element):
        node["ids"] = []
    first = next(
        index
        for index, one in enumerate(page.children)
        if isinstance(one, (nodes.section, nodes.Admonition))
    )
    page.insert(first, box)


def _tell_place(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    if pagename == app.config.root_doc:
        app.add_css_file("home.css", priority=900)  # after those of all pages
    pages = path(app.env)
    if pagename in pages:
        context["step"], context["steps"] = pages.index(pagename) + 1, len(pages)
        context["map_of_steps"] = MAP


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_node(learn_map)
    app.add_node(book_facts)
    app.add_directive("learn-map", LearnMap)
    app.add_directive("book-facts", BookFacts)
    app.connect("doctree-read", _measure)
    app.connect("env-updated", _write_again)
    app.connect("doctree-resolved", _draw, priority=_AFTER_THE_SEARCH)
    app.connect("html-page-context", _tell_place)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
