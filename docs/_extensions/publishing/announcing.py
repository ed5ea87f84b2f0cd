"""Write what search engines and feed readers fetch: the list of pages, and the feed of changes.

sphinx-sitemap lists the pages that a build has *written*, so after a build of one page its list has
one page; ours has all of them. The feed is made from the page of changes, whose headings say when
and what, as in "2026-11-25: The Clinic".
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin
from xml.etree import ElementTree as ET

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from publishing.languages import alternates, root, tag_of

_LOGGER = logging.getLogger(__name__)
_CHANGES = "about/changes"
_FEED = "changes.xml"
# Anywhere in a heading: a translator may put something before it. Chinese has a colon of its own.
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:: |\N{FULLWIDTH COLON})(?=.)")


class Change(NamedTuple):
    """A section of the page of changes."""

    day: str
    title: str
    id: str
    text: str


def changes(doctree: nodes.document) -> Iterator[Change]:
    """The dated sections, as they stand on the page; a heading without a date is a warning."""
    for section in doctree.findall(nodes.section):
        if isinstance(section.parent, nodes.document):
            continue
        title, *rest = section.children
        heading = title.astext()
        found = _DAY.search(heading)
        try:
            day = date.fromisoformat(found[1] if found else "").isoformat()
        except ValueError:
            _LOGGER.warning(
                "a heading of this page must be a date and a title, as in "
                '"2026-11-25: The Clinic", got %r',
                heading,
                location=title,
            )
            continue
        assert found is not None
        text = "\n".join(" ".join(item.astext().split()) for item in _paragraphs(rest))
        name = heading[: found.start()] + heading[found.end() :]
        yield Change(day, name, section["ids"][0], text)


def _paragraphs(parts: list[nodes.Node]) -> Iterator[nodes.Node]:
    for part in parts:
        yield from part.findall(nodes.paragraph)


def feed(found: list[Change], *, base: str, title: str, author: str, tag: str) -> bytes:
    """An Atom feed.

    Args:
        found: at least one change, the newest first.
        base: address of the site, with a slash at its end.
        title: of the feed.
        author: of the feed.
        tag: of its language.
    """
    page = urljoin(base, f"{_CHANGES}.html")
    root = ET.Element("feed", {"xmlns": "http://www.w3.org/2005/Atom", "xml:lang": tag})
    _add(root, "title", title)
    _add(root, "id", page)
    _add(root, "updated", _moment(found[0].day))
    ET.SubElement(root, "link", href=page)
    ET.SubElement(root, "link", rel="self", href=urljoin(base, _FEED))
    _add(ET.SubElement(root, "author"), "name", author)
    for change in found:
        entry = ET.SubElement(root, "entry")
        address = f"{page}#{change.id}"
        _add(entry, "title", change.title)
        _add(entry, "id", address)
        _add(entry, "updated", _moment(change.day))
        ET.SubElement(entry, "link", href=address)
        _add(entry, "summary", change.text)
    return _bytes(root)


def sitemap(pages: list[tuple[str, list[tuple[str, str]]]]) -> bytes:
    """The list of pages for search engines.

    Args:
        pages: address of each, and tag and address of it in each language.
    """
    root = ET.Element("urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    root.set("xmlns:xhtml", "http://www.w3.org/1999/xhtml")
    for address, others in pages:
        url = ET.SubElement(root, "url")
        _add(url, "loc", address)
        for tag, other in others:
            ET.SubElement(url, "xhtml:link", rel="alternate", hreflang=tag, href=other)
    return _bytes(root)


def _add(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text


def _moment(day: str) -> str:
    return f"{day}T00:00:00Z"


def _bytes(root: ET.Element) -> bytes:
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _read(app: Sphinx, doctree: nodes.document) -> None:
    if app.env.docname == _CHANGES:
        app.env.metadata[_CHANGES]["changes"] = list(changes(doctree))


def _write(app: Sphinx, error: Exception | None) -> None:
    base = app.config.html_baseurl
    if error is not None or app.builder.name != "html" or not base:
        return  # without an address of the site none of these files can be written
    out = Path(app.outdir)
    targets = [app.builder.get_target_uri(page) for page in sorted(app.env.found_docs)]
    pages = [(urljoin(base, one), list(alternates(app.config, one))) for one in targets]
    (out / "sitemap.xml").write_bytes(sitemap(pages))
    if base == root(app.config):  # robots ask at the root alone
        lists = dict.fromkeys(path for _tag, path in alternates(app.config, "sitemap.xml"))
        lines = [f"Sitemap: {path}\n" for path in lists or [urljoin(base, "sitemap.xml")]]
        robots = "User-agent: *\nAllow: /\n\n" + "".join(lines)
        (out / "robots.txt").write_text(robots, encoding="utf-8")
    found = app.env.metadata.get(_CHANGES, {}).get("changes")
    if found:
        title = f"{app.config.project}: {app.env.titles[_CHANGES].astext()}"
        here = {"base": base, "author": app.config.author, "tag": tag_of(app.config)}
        (out / _FEED).write_bytes(feed(found, title=title, **here))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", _read)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
