"""The languages of the book: where each stands, and the way from a page to itself in another.

A build writes the book in one language, `language`; `nox -s docs` makes one for each. The site has
English at its root and every other language in a folder below it, with the same pages at the same
names. Each page names itself in the others, for search engines, and has a link to each of them. A
reader without JavaScript who has gone to a section finds the link beside its heading, too: a link
at the top of the page cannot know the section.

What concerns readers of one language alone stands on the page, in English, for translators:

    :::{only-in} zh_TW
    The article from which this book grew is written in your language.
    :::
"""

from collections.abc import Iterator
from html import escape
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders.gettext import MessageCatalogBuilder
from sphinx.config import Config
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective


class Language(NamedTuple):
    """One language of the site.

    Attributes:
        code: what Sphinx and the folders of translations call it.
        folder: where it stands below the root, with a slash at its end; empty for the root.
        tag: what the web calls it.
        name: what its readers call it.
    """

    code: str
    folder: str
    tag: str
    name: str


DEFAULT = Language("en", "", "en", "English")
LANGUAGES = (DEFAULT, Language("zh_TW", "zh-tw/", "zh-Hant-TW", "繁體中文"))
_BUTTONS = '<div class="content-icon-container">'  # of the theme, at the top of every page
_AFTER_THE_SEARCH = 960  # and after the plain text, which both take what a page says


def own(config: Config) -> Language | None:
    """The language of a build; None for one that is none of the site's, as in tests."""
    return next((one for one in LANGUAGES if one.code == config.language), None)


def others(config: Config) -> list[Language]:
    """The languages that the site has beside that of the build."""
    here = own(config)
    return [one for one in LANGUAGES if one != here] if here else []


def tag_of(config: Config) -> str:
    """What the web calls the language of a build."""
    here = own(config)
    return here.tag if here else str(config.language).replace("_", "-")


def root(config: Config) -> str:
    """The address of the site, at which English stands; empty if it is not known."""
    here = own(config)
    return str(config.html_baseurl).removesuffix(here.folder if here else "")


def alternates(config: Config, target: str) -> Iterator[tuple[str, str]]:
    """Tag and full address of a page in each language; ``x-default`` for readers of any other.

    Args:
        config: with the address of the site; without one there is nothing to give.
        target: address of the page below the root of its language.
    """
    if root(config) and own(config):
        for one in LANGUAGES:
            yield one.tag, f"{root(config)}{one.folder}{target}"
        yield "x-default", f"{root(config)}{target}"


def _locate(app: Sphinx, config: Config) -> None:
    """The other languages stand below the first."""
    here = own(config)
    if here and here.folder and config.html_baseurl:
        config.html_baseurl = f"{config.html_baseurl.rstrip('/')}/{here.folder}"


def _address(app: Sphinx, page: str, language: Language) -> str:
    """From a page to itself in another language."""
    here = own(app.config)
    assert here is not None
    target = app.builder.get_target_uri(page)
    if page == getattr(app.config, "notfound_pagename", None):  # shown at addresses of any depth
        return f"{urlsplit(root(app.config)).path or '/'}{language.folder}{target}"
    ups = page.count("/") + here.folder.count("/")
    return "../" * ups + language.folder + target


def _tell(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    here = own(app.config)
    if here is None or app.builder.format != "html":
        return
    context["language"] = here.tag
    target = app.builder.get_target_uri(page)
    context["alternates"] = list(alternates(app.config, target))
    links = (_link("switch-language", one, _address(app, page, one)) for one in others(app.config))
    # A place of its own, which a screen reader lists.
    context["switch"] = f'<nav aria-label="{escape(_("Language"))}">{"".join(links)}</nav>'


def _link(kind: str, to: Language, address: str) -> str:
    tags = f'hreflang="{to.tag}" lang="{to.tag}"'
    return f'<a class="{kind}" {tags} href="{escape(address)}">{to.name}</a>'


def _switch_all(app: Sphinx) -> None:
    """Put the links among the buttons of each page: the theme's template has no place for them."""
    if app.builder.format != "html" or own(app.config) is None:
        return
    templates = app.builder.templates
    render = templates.render

    def rendered(template: str, context: dict[str, Any]) -> str:
        html = str(render(template, context))
        return html.replace(_BUTTONS, _BUTTONS + context.get("switch", ""), 1)

    templates.render = rendered


def _add_links(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Beside each heading below the first; hidden unless the reader has gone there."""
    if app.builder.name != "html":
        return
    for section in doctree.findall(nodes.section):
        if isinstance(section.parent, nodes.document):
            continue
        for one in others(app.config):
            address = f"{_address(app, page, one)}#{section['ids'][0]}"
            html = f" {_link('other-language', one, address)}"
            section[0] += nodes.raw("", html, format="html")


class OnlyIn(SphinxDirective):
    """A text for readers of one language; translators get it, other readers do not."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the text, or drop it."""
        (language,) = self.arguments
        if language not in (one.code for one in LANGUAGES):
            raise self.error(f"the book has no language {language!r}")
        wanted = self.config.language == language
        if not wanted and not issubclass(self.env._builder_cls, MessageCatalogBuilder):
            return []
        return self.parse_content_to_nodes()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("only-in", OnlyIn)
    app.connect("builder-inited", _switch_all)
    app.connect("config-inited", _locate, priority=50)  # before others look at the address
    app.connect("doctree-resolved", _add_links, priority=_AFTER_THE_SEARCH)
    app.connect("html-page-context", _tell)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
