"""Let every text of the site be translated, also those that are not prose of a page.

Sphinx extracts the prose of pages and puts translations in its place; code stays, so that the
cells of all languages come from one cache. This extension does the same for

- figures (their alternative text and the words in them): messages of the page,
- the sentences in the outputs of gradbook, the prompts of folded cells, the words of scripts, and
  what the theme says without asking: messages of ``sphinx.pot``,
- the texts of the catalogue (why, cure and variant in the Clinic): ``catalogue.pot``.
"""

import ast
import contextlib
import gettext
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from copy import copy
from functools import cache, partial, wraps
from html import escape, unescape
from importlib import resources
from pathlib import Path
from typing import Any

import furo
import sphinx_basic_ng
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po
from docutils import nodes
from docutils.frontend import Values
from myst_parser.mdit_to_docutils import base as mdit_to_docutils
from sphinx import addnodes, locale, package_dir
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.builders.gettext import MessageCatalogBuilder, MsgOrigin
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.locale import _
from sphinx.transforms import SphinxTransform
from sphinx.transforms.i18n import _NodeUpdater
from sphinx.util.i18n import docname_to_domain
from sphinx.util.nodes import extract_messages

from gradbook.understand.catalogue import load
from reading import wording

CATALOGUE = "catalogue"
_SCRIPT = "texts.js"
_SPHINX = Path(package_dir)

# Said by templates and scripts that ask for no translation.
FURO = (
    "Toggle navigation of {page}",
    "Toggle site navigation sidebar",
    "Toggle table of contents sidebar",
    "Toggle Light / Dark / Auto color theme",
    "Contents",
    "Menu",
    "Expand",
    "Light mode",
    "Dark mode",
    "Auto light/dark, in light mode",
    "Auto light/dark, in dark mode",
)
COPY_BUTTON = ("Copy", "Copy to clipboard", "Copied!", "Failed to copy")

_FIGURE = re.compile(r'<svg class="figure".*?</svg>', re.DOTALL)
_ALT = re.compile(r'(?<=aria-label=")[^"]*')
_DRAWN = re.compile(r"(?<=>)[^<>]+(?=</text>)")
_NO_PROSE = re.compile(r"(`+).+?\1|\$[^$]*\$|[^A-Za-z]+", re.DOTALL)


class figure_texts(nodes.Invisible, nodes.Element, addnodes.translatable):  # noqa: N801 -- as docutils names nodes
    """Stands before a figure and has its texts translated."""

    def preserve_original_messages(self) -> None:
        """Keep what the figure says, before anything is translated."""
        figure = self.next_node(siblings=True, descend=False)
        self["texts"] = list(dict.fromkeys(_texts_of_figure(figure.astext())))

    def extract_original_messages(self) -> list[str]:
        """What the figure says."""
        return list(self["texts"])

    def apply_translated_message(self, original_message: str, translated_message: str) -> None:
        """Put a translation into the figure."""
        figure = self.next_node(siblings=True, descend=False)
        text = figure.astext()
        for pattern in (_ALT, _DRAWN):
            text = pattern.sub(
                lambda found: (
                    escape(translated_message)
                    if unescape(found[0]) == original_message
                    else found[0]
                ),
                text,
            )
        figure.children = [nodes.Text(text)]


def _texts_of_figure(html: str) -> Iterator[str]:
    for svg in _FIGURE.findall(html):
        for found in (_ALT.search(svg), *_DRAWN.finditer(svg)):
            text = unescape(found[0]) if found else ""
            if is_prose(text):
                yield text


def is_prose(text: str) -> bool:
    """Whether there is anything to translate beside code, numbers and mathematics.

    >>> is_prose("`x.grad` is $2x$"), is_prose("`x.grad`, 3.5 and"), is_prose("1e-3, `x`, $2x$")
    (True, True, False)
    """
    return max(map(len, _NO_PROSE.sub(" ", text).split()), default=0) > 1


class FindTexts(SphinxTransform):
    """Mark what is to be translated; before Sphinx keeps the original messages."""

    default_priority = 5

    def apply(self, **kwargs: Any) -> None:
        """Put `figure_texts` before figures; numbers, code and formulas are no messages."""
        for raw in list(self.document.findall(nodes.raw)):
            if raw.get("format") == "html" and _FIGURE.search(raw.astext()):
                texts = figure_texts()
                texts.source, texts.line = raw.source, raw.line
                raw.parent.insert(raw.parent.index(raw), texts)
        for node in self.document.findall(nodes.TextElement):
            text = node.rawsource or node.astext()
            formula = isinstance(node, nodes.math_block)
            if formula or not (isinstance(node, nodes.Inline) or is_prose(text)):
                node["translatable"] = False


class MarkUntranslated(SphinxTransform):
    """Say of each text that has no translation yet that it is English; before Sphinx translates."""

    default_priority = 19

    def apply(self, **kwargs: Any) -> None:
        """Browsers, screen readers and search engines learn it from the attribute ``lang``."""
        builder = self.env._builder_cls
        if self.config.language == "en" or issubclass(builder, MessageCatalogBuilder):
            return
        say = translations(
            [Path(self.env.srcdir, folder) for folder in self.config.locale_dirs],
            self.config.language,
            docname_to_domain(self.env.docname, self.config.gettext_compact),
        )
        for node, message in extract_messages(self.document):
            said = isinstance(node, nodes.TextElement) and not isinstance(node, nodes.meta)
            if said and not say(message):
                node["classes"] += wording.UNTRANSLATED
        for description in self.document.findall(addnodes.desc):  # from docstrings, a part of code
            description["classes"].append(wording.UNTRANSLATED[0])


class KeepHeadings(SphinxTransform):
    """Give links to headings their targets, and translated titles; after Sphinx has translated.

    MyST-Parser takes each translated title for a page with one heading, and forgets those of the
    page.
    """

    default_priority = 21

    def apply(self, **kwargs: Any) -> None:
        """Tell the headings of the page anew."""
        sections = {one["ids"][0]: one for one in self.document.findall(nodes.section)}
        slugs = getattr(self.document, "myst_slugs", {})
        if slugs and self.config.language != "en":
            self.env.metadata[self.env.docname]["myst_slugs"] = {
                slug: (line, place, sections[place][0].astext() if place in sections else text)
                for slug, (line, place, text) in slugs.items()
            }


class _Nothing(gettext.NullTranslations):
    def gettext(self, message: str) -> str:
        return ""


def translations(folders: list[Path], language: str, domain: str) -> Callable[[str], str]:
    """What gives the translation of a message; nothing where there is none."""
    for folder in folders:
        with contextlib.suppress(OSError):
            found = gettext.translation(domain, folder, [language])
            found.add_fallback(_Nothing())
            return found.gettext
    return lambda message: ""


def _skip(translator: nodes.NodeVisitor, node: nodes.Element) -> None:
    raise nodes.SkipNode


def _keep_anchors(update: Callable[[_NodeUpdater], None]) -> Callable[[_NodeUpdater], None]:
    """Of two links to one page, Sphinx would give the anchor of the last to both."""

    @wraps(update)
    def update_pending_xrefs(self: _NodeUpdater) -> None:
        links = list(self.patch.findall(addnodes.pending_xref))
        anchors = [link.get("reftargetid") for link in links]
        update(self)
        for link, anchor in zip(links, anchors, strict=True):
            if "reftargetid" in link:
                link["reftargetid"] = anchor

    return update_pending_xrefs


def _remember(settings: Callable[..., Values]) -> Callable[..., Values]:
    """MyST-Parser asks docutils for the same settings at each message, which takes long."""
    remembered = cache(settings)

    @wraps(settings)
    def get_default_settings(*parsers: type) -> Values:
        return copy(remembered(*parsers))

    return get_default_settings


def prompts(doctree: nodes.document) -> Iterator[tuple[nodes.Element, str]]:
    """The folded cells of a page, and the names of their prompts."""
    for node in doctree.findall(nodes.Element):
        for name in ("prompt_show", "prompt_hide"):
            if node.get(name):
                yield node, name


def _resolved(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Translate, or extract, what is no prose of the page."""
    if isinstance(app.builder, MessageCatalogBuilder):
        for node, name in prompts(doctree):
            _add(app.builder, "sphinx", [node[name]], app.env.doc2path(docname))
    elif app.config.language != "en":
        for node, name in prompts(doctree):
            node[name] = _(node[name])
        for raw in doctree.findall(nodes.raw):
            html = raw.astext()
            if "gradbook-" in html:
                html = wording.translate(html, _, locale.get_translation(CATALOGUE))
                raw.children = [nodes.Text(html)]


def catalogue_texts() -> list[str]:
    """Every text of the catalogue that a page shows."""
    catalogue = load()
    found = [group.title for group in catalogue.groups]
    for entry in catalogue.entries:
        found += [entry.title, *entry.because, *entry.possible, *entry.cures, entry.signal]
        for one in entry.variants:
            found += [one.title, one.because, one.cure, one.tell]
    return [text for text in dict.fromkeys(found) if text]


def scripts(app: Sphinx) -> list[Path]:
    """Our own scripts, and those of Sphinx."""
    folders = [Path(app.srcdir, folder) for folder in app.config.html_static_path]
    folders.append(Path(__file__).parents[1] / "publishing" / "copying_files")
    folders.append(_SPHINX / "themes" / "basic" / "static")
    found = [path for folder in folders for path in sorted(folder.glob("*.js"))]
    players = resources.files("gradbook.see.display")
    return [*(Path(str(players / name)) for name in ("player.js", "modules.js")), *found]


def words_of(path: Path) -> list[str]:
    """What a script asks translations for."""
    if path.suffix == ".py":  # Babel would pass over what stands in an f-string
        calls = [one for one in ast.walk(ast.parse(path.read_bytes())) if isinstance(one, ast.Call)]
        asks = [one for one in calls if isinstance(one.func, ast.Name) and one.func.id == "_"]
        first = [one.args[0] for one in asks]
        return [one.value for one in first if isinstance(one, ast.Constant)]
    within = {"parse_template_string": True}
    found = extract_from_file("javascript", path, keywords={"_": None}, options=within)
    return [message for _line, message, *_rest in found if isinstance(message, str)]


def _add(builder: MessageCatalogBuilder, domain: str, texts: list[str], source: object) -> None:
    for text in texts:
        if text:  # an empty message stands for the head of a catalogue
            builder.catalogs[domain].add(text, MsgOrigin(str(source), 1))


def _extract(app: Sphinx) -> None:
    """Add what is not on pages to the messages; Sphinx has those of our templates itself."""
    builder = app.builder
    if not isinstance(builder, MessageCatalogBuilder):
        return
    known = {message.id for message in _read(_SPHINX / "locale" / "sphinx.pot")}
    environment = builder.templates.environment
    for theme in (furo, sphinx_basic_ng):
        for path in sorted(Path(str(theme.__file__)).parent.rglob("*.html")):
            found = environment.extract_translations(path.read_text("utf-8"))
            texts = [text for _line, _name, text in found if isinstance(text, str)]
            _add(builder, "sphinx", [text for text in texts if text not in known], path.name)
    _add(builder, "sphinx", [*FURO, *COPY_BUTTON], __file__)
    _add(builder, "sphinx", list(wording.messages()), wording.__file__)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        _add(builder, "sphinx", words_of(path), path)
    for path in scripts(app):
        if _SPHINX not in path.parents:
            _add(builder, "sphinx", words_of(path), path)
    catalogue = resources.files("gradbook.understand") / "catalogue.toml"
    _add(builder, CATALOGUE, catalogue_texts(), catalogue)


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        return read_po(file)


def _stamp(app: Sphinx, config: Config) -> None:
    """Pages depend on what Sphinx does not watch for them."""
    digest = hashlib.sha256()
    for folder in config.locale_dirs:
        for name in ("LC_MESSAGES/sphinx.po", f"LC_MESSAGES/{CATALOGUE}.po", "symptoms.toml"):
            path = Path(app.srcdir, folder, config.language, name)
            digest.update(path.read_bytes() if path.exists() else b"")
    config.translation_stamp = digest.hexdigest()
    # Where an output has several forms, messages are taken from the one that a page shows.
    config.nb_mime_priority_overrides = [
        *config.nb_mime_priority_overrides,
        ("gettext", "text/html", 5),  # before all others
    ]


def _load(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Find the translated catalogue, which Sphinx has compiled by now."""
    folders = [Path(app.srcdir, folder) for folder in app.config.locale_dirs]
    locale.init(folders, app.config.language, CATALOGUE)


def say(html: str) -> str:
    """Translate what the theme says without asking."""
    for text in FURO:
        start, name, end = re.fullmatch(r"([^{]*)(?:\{(\w+)\})?(.*)", text).groups()
        value = r"[^\"]+" if name else ""
        for before, after in (('aria-label="', '"'), ("<title>", "</title>")):
            pattern = f"{before}{re.escape(start)}({value}){re.escape(end)}{after}"
            said = before + escape(_(text)) + after
            html = re.sub(pattern, partial(_fill, said, f"{{{name}}}"), html)
    return html


def _fill(text: str, name: str, found: re.Match[str]) -> str:
    return text.replace(name, found[1])


def _say_all(app: Sphinx) -> None:
    if app.builder.format != "html" or app.config.language == "en":
        return
    app.add_js_file(_SCRIPT)  # after those of Sphinx, before those of pages and ours
    templates = app.builder.templates
    render = templates.render

    def rendered(template: str, context: dict[str, Any]) -> str:
        html = str(render(template, context))
        return say(html) if template.endswith(".html") else html

    templates.render = rendered


def _write(app: Sphinx, builder: Builder) -> None:
    """Give the scripts of the site their words, before a page tells the digest of the file."""
    if builder.format != "html" or app.config.language == "en":
        return
    words = [word for path in scripts(app) for word in words_of(path)]
    table = {word: _(word) for word in words if _(word) != word}
    static = Path(app.outdir, "_static")
    static.mkdir(parents=True, exist_ok=True)
    (static / _SCRIPT).write_text(wording.in_script(table), encoding="utf-8")


def _label_buttons(app: Sphinx, error: Exception | None) -> None:
    """Translate the copy buttons, whose script has words of its own for a few languages."""
    button = Path(app.outdir, "_static", "copybutton.js")
    if error is None and app.config.language != "en" and button.exists():
        script = button.read_text("utf-8")
        for text in COPY_BUTTON:
            script = script.replace(f"'{text}'", json.dumps(_(text), ensure_ascii=False))
        button.write_text(script, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("translation_stamp", "", "env")
    app.add_node(
        figure_texts,
        **dict.fromkeys(("html", "latex", "text", "man", "texinfo"), (_skip, None)),
    )
    app.add_transform(FindTexts)
    app.add_transform(MarkUntranslated)
    app.add_transform(KeepHeadings)
    if not hasattr(_NodeUpdater.update_pending_xrefs, "__wrapped__"):  # a process may build twice
        _NodeUpdater.update_pending_xrefs = _keep_anchors(_NodeUpdater.update_pending_xrefs)
        mdit_to_docutils.get_default_settings = _remember(mdit_to_docutils.get_default_settings)
    app.connect("config-inited", _stamp)
    app.connect("builder-inited", _extract)
    app.connect("builder-inited", _say_all, priority=600)
    app.connect("env-before-read-docs", _load)
    app.connect("doctree-resolved", _resolved)
    app.connect("write-started", _write)
    app.connect("build-finished", _label_buttons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
