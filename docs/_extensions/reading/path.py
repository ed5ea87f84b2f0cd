"""The Learn path: its map, each page's place on it, and the point of a page in its first screen.

The path is what stands below ``learn/`` in the front page's table of contents, in its order. The
page ``learn/index`` shows it through a directive:

    :::{learn-map}
    :::

Titles and descriptions are those of the pages; minutes and exercises are counted. The section *In
one breath* at the end of a page is shown at its beginning too: a copy that is made when the page is
written, so that translations and the search meet the text once.
"""

import math
from collections.abc import Iterator
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective

MAP = "learn/index"
# How fast a page is read: new ideas, and code to be understood.
WORDS_A_MINUTE, LINES_A_MINUTE = 200, 20
_NO_WORDS = (
    *(nodes.comment, nodes.literal_block, nodes.math, nodes.math_block, nodes.meta, nodes.raw),
)
_AFTER_THE_SEARCH = 950  # which collects at 900


class learn_map(nodes.General, nodes.Element):  # noqa: N801 -- as docutils names nodes
    """Stands for the map until all pages are read."""


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


def _around(node: nodes.Node) -> Iterator[nodes.Element]:
    while (node := node.parent) is not None:
        yield node


def _is_output(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Element) and node.get("nb_element") == "cell_code_output"


def _is_folded(node: nodes.Element) -> bool:
    return any(name.startswith("tag_hide-") for name in node.get("classes", []))


def _measure(app: Sphinx, doctree: nodes.document) -> None:
    docname = app.env.docname
    if docname.startswith("learn/") and docname != MAP:
        app.env.metadata[docname]["minutes"] = minutes(words(doctree), lines_of_code(doctree))
        found = doctree.findall(nodes.Admonition)
        app.env.metadata[docname]["exercises"] = sum("exercise" in one["classes"] for one in found)


def _write_map_again(app: Sphinx, env: BuildEnvironment) -> list[str]:
    return [MAP] if MAP in env.found_docs else []


def _draw(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.format != "html":
        return
    for place in list(doctree.findall(learn_map)):
        place.replace_self(list(_map(app, docname)))
    if docname in path(app.env):
        _repeat_breath(doctree)


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
    pages = path(app.env)
    if pagename in pages:
        context["step"], context["steps"] = pages.index(pagename) + 1, len(pages)
        context["map_of_steps"] = MAP


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_node(learn_map)
    app.add_directive("learn-map", LearnMap)
    app.connect("doctree-read", _measure)
    app.connect("env-updated", _write_map_again)
    app.connect("doctree-resolved", _draw, priority=_AFTER_THE_SEARCH)
    app.connect("html-page-context", _tell_place)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
