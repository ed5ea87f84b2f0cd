"""Write the text of each page as Markdown beside it, and that of the whole book in one file.

For programs that read text (https://llmstxt.org), and for readers who search without JavaScript:
``llms.txt`` lists the pages, ``llms-full.txt`` has them all. The text is taken from the finished
page, so it has the outputs that the build computed, and what the Clinic takes from the catalogue.
"""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.locale import admonitionlabels

from publishing.languages import others
from publishing.languages import root as root_of

_ALL = "llms-full.txt"
_SKIPPED = (addnodes.index, addnodes.toctree, nodes.comment, nodes.meta, nodes.target)
_AROUND = {nodes.literal: "`", nodes.strong: "**", nodes.emphasis: "*", nodes.math: "$"}
# What a drawing says to a reader who does not see it, and the table of a player.
_NAMED = re.compile(r'<(?:svg|img)\b[^>]*?\b(?:aria-label|alt)="([^"]*)"[^>]*>')
_UNSEEN = re.compile(r"<(style|script|svg|button|select)\b.*?</\1>", flags=re.DOTALL)
_LINE_END = re.compile(r"</(?:p|tr|li|summary|div|caption)>")
_CELL_END = re.compile(r"</t[dh]>")
_TAG = re.compile(r"<[^>]+>")


def to_markdown(document: nodes.Element) -> str:
    """The text of a page.

    Args:
        document: as it is written to the page: references and outputs are in place.
    """
    return "\n\n".join(_blocks(document, 0)) + "\n"


def _blocks(node: nodes.Node, level: int) -> Iterator[str]:
    """The blocks inside a node; `level` is that of the last heading."""
    for child in node.children:
        text = "\n\n".join(block(child, level)).strip("\n")
        if text:
            yield text


def block(node: nodes.Node, level: int) -> Iterator[str]:
    """The blocks that a node stands for; `level` is that of the last heading."""
    match node:
        case nodes.section():
            yield from _blocks(node, level + 1)
        case nodes.Admonition() if node.tagname in admonitionlabels:
            yield f"**{admonitionlabels[node.tagname]}**"
            yield from _blocks(node, level)
        case nodes.title() if isinstance(node.parent, nodes.section):
            yield f"{'#' * level} {_inline(node)}"
        case nodes.title() | nodes.rubric():
            yield f"**{_inline(node)}**"
        case nodes.literal_block() | nodes.doctest_block():
            yield f"```{_language(node)}\n{node.astext().rstrip()}\n```"
        case nodes.math_block():
            yield f"$$\n{node.astext().strip()}\n$$"
        case nodes.bullet_list() | nodes.enumerated_list():
            numbered = isinstance(node, nodes.enumerated_list)
            marks = [f"{n}. " if numbered else "- " for n in range(1, len(node.children) + 1)]
            items = zip(marks, node.children, strict=True)
            yield "\n".join(_hang(mark, _blocks(item, level)) for mark, item in items)
        case nodes.definition_list_item() | nodes.field():
            head, *rest = _blocks(node, level)
            yield _hang("- ", [head, *rest])
        case nodes.table():
            yield from _table(node)
        case addnodes.desc_signature():
            yield f"**`{node.astext()}`**"
        case nodes.raw() if "html" in node.get("format", ""):
            yield _of_html(node.astext())
        case nodes.image():
            yield node.get("alt", "")
        case nodes.TextElement() if not isinstance(node, _SKIPPED):
            yield _inline(node)
        case nodes.Element() if not isinstance(node, _SKIPPED):
            yield from _blocks(node, level)


def _inline(node: nodes.Node) -> str:
    parts = []
    for child in node.children:
        match child:
            case nodes.Text():
                parts.append(child.astext())
            case nodes.image():
                parts.append(child.get("alt", ""))
            case nodes.raw():
                parts.append(_TAG.sub("", child.astext()))
            case nodes.reference() if "://" in child.get("refuri", ""):
                parts.append(f"[{_inline(child)}]({child['refuri']})")
            case _ if type(child) in _AROUND:
                mark = _AROUND[type(child)]
                parts.append(f"{mark}{child.astext()}{mark}")
            case _ if not isinstance(child, _SKIPPED):
                parts.append(_inline(child))
    return "".join(parts)


def _hang(mark: str, blocks: Iterator[str] | list[str]) -> str:
    """A list item: its first line after the mark, the others below it."""
    text = "\n\n".join(blocks)
    return mark + text.replace("\n", "\n" + " " * len(mark)).replace("\n  \n", "\n\n")


def _table(table: nodes.table) -> Iterator[str]:
    for title in table.findall(nodes.title):
        yield _inline(title)
    rows = [
        [" ".join(" ".join(_blocks(entry, 0)).split()) for entry in row.findall(nodes.entry)]
        for row in table.findall(nodes.row)
    ]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    yield "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _language(node: nodes.Element) -> str:
    language = str(node.get("language", ""))
    if isinstance(node, nodes.doctest_block):
        return "pycon"
    return "python" if language.startswith(("ipython", "python")) else "text"


def _of_html(html: str) -> str:
    names = [unescape(name) for name in _NAMED.findall(html) if name]
    html = _LINE_END.sub("\n", _CELL_END.sub(" | ", _UNSEEN.sub("", html)))
    lines = (" ".join(line.split()) for line in unescape(_TAG.sub("", html)).splitlines())
    return "\n".join([*names, *(line for line in lines if line.strip("| "))])


def _write_page(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.name == "html":
        path = _path(app, docname)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_markdown(doctree), encoding="utf-8")


def _path(app: Sphinx, docname: str) -> Path:
    return Path(app.outdir, f"{docname}.md")


def _parts(env: BuildEnvironment) -> Iterator[tuple[str, list[str]]]:
    """The pages below each caption of the front page, in the order of reading."""
    for toctree in env.get_doctree(env.config.root_doc).findall(addnodes.toctree):
        yield str(toctree.get("caption", "")), list(_below(env, toctree["includefiles"]))


def _below(env: BuildEnvironment, docnames: list[str]) -> Iterator[str]:
    for docname in docnames:
        yield docname
        yield from _below(env, env.toctree_includes.get(docname, []))


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    env = app.env
    root = env.config.root_doc
    for docname in sorted(env.found_docs):
        if not _path(app, docname).exists():
            env.get_and_resolve_doctree(docname, app.builder)  # writes it
    lines = [f"# {app.config.project}", "", f"> {_description(env, root)}"]
    for one in others(env.config):
        place = f"{root_of(env.config)}{one.folder}llms.txt"
        lines += ["", f"{one.name}: {place}"]
    texts = [_path(app, root).read_text("utf-8")]
    for caption, docnames in _parts(env):
        lines += ["", f"## {caption}", ""]
        for docname in docnames:
            address = urljoin(app.config.html_baseurl or "", f"{docname}.md")
            title = env.titles[docname].astext()
            lines.append(f"- [{title}]({address}): {_description(env, docname)}")
            texts.append(_path(app, docname).read_text("utf-8"))
    out = Path(app.outdir)
    (out / "llms.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    (out / _ALL).write_text("\n\n".join(texts), encoding="utf-8")


def _name_file(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    context["text_of_all"] = _ALL  # for the search page


def _description(env: BuildEnvironment, docname: str) -> str:
    return str(env.metadata[docname].get("described", ""))


def _keep_description(app: Sphinx, doctree: nodes.document) -> None:
    for node in doctree.findall(nodes.meta):
        if node.get("name") == "description":
            app.env.metadata[app.env.docname]["described"] = node["content"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", _keep_description)
    app.connect("doctree-resolved", _write_page, priority=900)  # as the page will be
    app.connect("html-page-context", _name_file)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
