"""The search of the site: one entry for each place a reader may look for, not one for each page.

Sphinx's own search knows pages only and wants all words of a query on one of them, so that a pasted
message with the reader's own shapes finds nothing. Here each section, each term of the glossary and
each function of the API page is an entry, and those of the Clinic carry their messages. They are
written to a script, which only the search page loads, and which works from a disk too, where a page
may not fetch a file; ``search_files/search.js`` looks them up with MiniSearch 7.2.0.
"""

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from gradbook.understand.catalogue import load
from reading import entries

_FOLDER = Path(__file__).parent / "search_files"
_BEFORE, _AFTER = "const gradbookPlaces = ", ";\n"
# Of these a reader sees a drawing, or nothing.
_SKIPPED = (
    *(nodes.comment, nodes.math_block, nodes.meta, nodes.raw, nodes.title, nodes.term),
    *(addnodes.desc_signature, addnodes.index),
)
_NAME = re.compile(r"[A-Za-z_]\w{2,}")
_OWN_ENTRY = (nodes.section, addnodes.desc, addnodes.glossary)


class Place(NamedTuple):
    """Something that a search can find.

    Attributes:
        id: of the element on the page; empty for the top of the page.
        kind: "page", "section", "term", "name" or "message".
        title: a heading, a term, or a name.
        text: the prose there, without what has an entry of its own.
        code: the names in its code and outputs that the prose does not have, each once.
        keys: what else it is found by: the messages of an entry of the Clinic, on one line, and
            its symptoms, each on a line; the description of a page.
    """

    id: str
    kind: str
    title: str
    text: str
    code: str = ""
    keys: str = ""


def places(doctree: nodes.document) -> Iterator[Place]:
    """All places on a page, in their order."""
    for node in doctree.findall(lambda one: isinstance(one, _OWN_ENTRY)):
        if isinstance(node, nodes.section):
            if not _is_other_cause(node):
                yield _of_section(node)
        elif isinstance(node, addnodes.desc):
            yield from _of_description(node)
        else:
            for item in node.findall(nodes.definition_list_item):
                for term in item.findall(nodes.term):
                    yield Place(term["ids"][0], "term", term.astext(), *_contents(item))


def _of_section(section: nodes.section) -> Place:
    title = next(section.findall(nodes.title)).astext()
    messages = {
        one.id: "\n".join((_flat(" ".join(one.examples)), *one.symptoms)) for one in load().entries
    }
    entry = next((name for name in section["ids"] if name in messages), None)
    is_page = isinstance(section.parent, nodes.document)
    if entry:
        place = "" if is_page else entry
        return Place(place, "message", title, *_contents(section), messages[entry])
    if is_page:
        # The list of a group is no more than a heading over its entries.
        kind = "section" if any(map(_is_list, section.children)) else "page"
        return Place("", kind, title, *_contents(section), _description(section.parent))
    return Place(section["ids"][0], "section", title, *_contents(section))


def _is_list(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Element) and entries.LIST in node["classes"]


def _is_setup(node: nodes.Node) -> bool:
    """Whether a cell stands on the pages of all entries of a group."""
    return isinstance(node, nodes.Element) and entries.SETUP in node["classes"]


def _is_other_cause(node: nodes.Node) -> bool:
    """Whether a section is a part of an entry: it is found by the words of the message."""
    return isinstance(node, nodes.section) and entries.OTHER in node["classes"]


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _description(document: nodes.document) -> str:
    found = (node for node in document.findall(nodes.meta) if node.get("name") == "description")
    return next((node["content"] for node in found), "")


def _of_description(description: addnodes.desc) -> Iterator[Place]:
    contents = _contents(next(description.findall(addnodes.desc_content)))
    for signature in description.findall(addnodes.desc_signature):
        if signature.parent is description and signature["ids"]:
            yield Place(signature["ids"][0], "name", signature["ids"][0], *contents)


def _contents(node: nodes.Element) -> tuple[str, str]:
    """Prose of a node, and names in its code; without those of entries inside."""
    prose: list[str] = []
    code: list[str] = []
    _gather(node, prose, code)
    text = _flat(" ".join(prose))
    names = dict.fromkeys(_NAME.findall(" ".join(code)))
    return text, " ".join(name for name in names if name not in text)


def _gather(node: nodes.Element, prose: list[str], code: list[str]) -> None:
    for child in node.children:
        if isinstance(child, nodes.literal_block | nodes.doctest_block):
            code.append(child.astext())
        elif isinstance(child, nodes.Text) or (
            isinstance(child, nodes.TextElement) and not isinstance(child, _SKIPPED)
        ):
            # Its parts belong together.
            texts = child.findall(nodes.Text)
            prose.append("".join(one for one in texts if not isinstance(one.parent, nodes.math)))
        elif _is_other_cause(child) or not (
            isinstance(child, (*_SKIPPED, *_OWN_ENTRY)) or _is_list(child) or _is_setup(child)
        ):
            _gather(child, prose, code)


class _Store:
    """The entries of all pages; the script of the last build remembers the unchanged ones."""

    def __init__(self, path: Path, typed: dict[str, str]) -> None:
        self.path = path
        self.typed = typed
        self.pages: dict[str, list[Any]] = {}
        if path.exists():
            text = path.read_text("utf-8")
            self.pages = json.loads(text.removeprefix(_BEFORE).removesuffix(_AFTER))

    def write(self) -> None:
        """Keep them for the page, and for the next build."""
        text = json.dumps(self.pages, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        self.path.write_text(f"{_BEFORE}{text}{_AFTER}", encoding="utf-8")


def _prepare(app: Sphinx) -> None:
    if app.builder.name == "html":
        app.builder.search = False  # Sphinx's own
        folder = Path(app.outdir, "_static", "search")
        # Both before the search page is written: it names its files by their contents.
        shutil.copytree(_FOLDER, folder, dirs_exist_ok=True)
        words = typed(Path(app.srcdir, "locale"), app.config.language)
        app.builder.site_search = _Store(folder / "places.js", words)


def typed(folder: Path, language: str) -> dict[str, str]:
    """What people type in a language to find a place, by the place's address.

    Args:
        folder: of all languages.
        language: as Sphinx has it; there may be no words for it, as for English.
    """
    path = folder / language / "symptoms.toml"
    if not path.exists():
        return {}
    tables = tomllib.loads(path.read_text("utf-8"))
    found = tables["pages"] | {load()[name].path: said for name, said in tables["entries"].items()}
    return {place: "\n".join(said) for place, said in found.items()}


def _collect(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if app.builder.name == "html":
        more = app.builder.site_search.typed
        found = []
        for place in places(doctree):
            address = f"{docname}.html{'#' if place.id else ''}{place.id}"
            keys = f"{place.keys}\n{more[address]}" if address in more else place.keys
            found.append(list(place._replace(keys=keys)))
        app.builder.site_search.pages[docname] = found


def _add_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    if app.builder.name == "html":
        _save(app)
        yield "search", {}, "search.html"


def _load(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    if page == "search":
        app.add_css_file("search/search.css")
        for name in ("minisearch.js", "places.js", "search.js"):
            app.add_js_file(f"search/{name}", loading_method="defer")


def _save(app: Sphinx) -> None:
    store = app.builder.site_search
    for docname in app.env.found_docs - store.pages.keys():
        app.env.get_and_resolve_doctree(docname, app.builder)  # collects them
    for docname in store.pages.keys() - app.env.found_docs:
        del store.pages[docname]
    store.write()


def _restore(app: Sphinx, error: Exception | None) -> None:
    """Make the file again where it was lost and no page has changed: no page is written then."""
    if error is None and app.builder.name == "html" and not app.builder.site_search.path.exists():
        _save(app)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _prepare)
    app.connect("doctree-resolved", _collect, priority=900)  # as the page will be
    app.connect("html-collect-pages", _add_page)
    app.connect("html-page-context", _load)
    app.connect("build-finished", _restore)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
