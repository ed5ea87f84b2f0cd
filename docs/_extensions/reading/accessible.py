"""Mend what keeps the pages of the theme from everyone, in the pages themselves.

Each repair is a pattern in the HTML that Furo or Sphinx writes. It is made when the site is built,
so it holds without JavaScript; a test finds the repairs that a newer Furo no longer needs.
"""

import re
from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx
from sphinx.locale import _

_SKIP_LINK = r'<a class="skip-to-content.*?</a>\s*'

# A name, the pattern, and what stands in its place.
REPAIRS: dict[str, tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = {
    "the caption of a table of contents is a heading of a level": (
        re.compile(r'(<p class="caption" role="heading")>'),
        lambda match: f'{match[1]} aria-level="2">',
    ),
    "the site's side bar has a name": (
        re.compile(r'(<aside class="sidebar-drawer")>'),
        lambda match: f'{match[1]} aria-label="{_("Site")}">',
    ),
    "the page's side bar has a name": (
        re.compile(r'(<aside class="toc-drawer(?: no-toc)?")>'),
        lambda match: f'{match[1]} aria-label="{_("This page")}">',
    ),
    "the logo is not read beside the name": (
        re.compile(r'(<img class="sidebar-logo[^>]* alt=")Logo"'),
        lambda match: f'{match[1]}"',
    ),
    "the link to the content comes first": (
        re.compile(rf'(<input type="checkbox" class="sidebar-toggle".*?)({_SKIP_LINK})', re.DOTALL),
        lambda match: match[2] + match[1],
    ),
    "the empty corner of a table is no header": (
        re.compile(r'<th class="head"><p></p></th>'),
        lambda match: '<td class="head"></td>',
    ),
    "a folded cell is called by the words that are seen": (
        re.compile(r'<summary aria-label="Toggle hidden content">'),
        lambda _match: "<summary>",
    ),
    "the header of a phone says the page, and leads to its top": (
        re.compile(
            r'(<title>([^<]*?) - ([^<]*)</title>.*?<div class="header-center">\s*)'
            r'<a href="[^"]*"><div class="brand">\3</div></a>',
            re.DOTALL,
        ),
        lambda match: f'{match[1]}<a href="#"><div class="brand">{match[2]}</div></a>',
    ),
    "the header of a phone has the search": (
        re.compile(r'(<div class="header-right">)(?!<button)'),
        lambda match: (
            f'{match[1]}<button type="button" class="header-search" data-palette '
            f'aria-label="{_("Search")}"></button>'
        ),
    ),
    "scripts do not hold up the page": (
        re.compile(r"<script src="),
        lambda match: "<script defer src=",
    ),
}


def mend(html: str) -> str:
    """Make every repair in a page."""
    for pattern, repair in REPAIRS.values():
        html = pattern.sub(repair, html)
    return html


def _mend_all(app: Sphinx) -> None:
    """Have each page mended on its way from the template to its file."""
    if app.builder.format != "html":
        return
    templates = app.builder.templates
    render = templates.render

    def rendered(template: str, context: dict[str, Any]) -> str:
        html = str(render(template, context))
        return mend(html) if template.endswith(".html") else html

    templates.render = rendered


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _mend_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
