"""The texts of the Clinic's entries, taken from the catalogue of the package.

A page of the Clinic shows and cures a message live; why it comes, how to recognise it and what to
do is written once, in the catalogue, and stands on the page through directives:

    :::{why} no-graph
    :::
    :::{cure} no-graph
    :::
    :::{variant} E01b
    :::
    :::{clinic-index} errors
    :::

What they make is told apart by classes (``entry-because``, ``entry-cures``, ...), by which
`reading.entries` makes a page of each entry.

The message search of the Clinic's front page gets the same catalogue, as a script: a page that is
opened from a disk may not fetch a file.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.locale import _, get_translation
from sphinx.util.docutils import SphinxDirective

from gradbook.understand.catalogue import Entry, Variant, load, to_json
from reading.wording import UNTRANSLATED, in_a_row, in_script

_SEARCH_PAGE = "clinic/index"


class _Texts(SphinxDirective, ABC):
    """Has the id of an entry as its argument, and becomes Markdown from it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse what `parts` gives for the argument."""
        try:
            parts = [(name, "\n".join(lines)) for name, lines in self.parts(self.arguments[0])]
        except KeyError:
            raise self.error(f"the catalogue has no {self.name} {self.arguments[0]!r}") from None
        found: list[nodes.Node] = []
        for name, text in parts:
            made = self.parse_text_to_nodes(text)
            for node in made:
                for one in node.findall(nodes.TextElement):
                    one["translatable"] = False  # it is already
            if name:
                part = nodes.container("", *made, classes=[f"entry-{name}"])
                part["argument"] = self.arguments[0]
                made = [part]
            found += made
        return found

    def block(self, title: str, texts: tuple[str, ...]) -> Iterator[str]:
        """Texts of the catalogue under a title: a sentence, or a list."""
        if len(texts) == 1:
            yield _titled(title, self.said(texts[0]))
            return
        yield from (_titled(title), "")
        for text in texts:
            yield f"- {self.said(text)}"

    def said(self, text: str) -> str:
        """A text of the catalogue; one without a translation is marked as English."""
        said = _text(text)
        if self.config.language == "en" or said != text or not text:
            return said
        return f"[{text}]{{{' '.join(f'.{name}' for name in UNTRANSLATED)}}}"

    @abstractmethod
    def parts(self, argument: str) -> Iterator[tuple[str, Iterable[str]]]:
        """The lines that stand for the directive, by the name of their part."""


class Why(_Texts):
    """Causes of a message or trap, how to recognise it, and what older versions say."""

    def parts(self, argument: str) -> Iterator[tuple[str, Iterable[str]]]:
        """Causes as a sentence or a list."""
        entry = load()[argument]
        yield "because", self.block(_("Why"), entry.because)
        if entry.signal:
            yield "signal", [_titled(_("How to recognise it"), self.said(entry.signal))]
        if entry.possible:
            yield "possible", self.block(_("Possible causes"), entry.possible)
        if len(entry.examples) > 1:
            words = [f"- `{_inline(example)}`" for example in entry.examples[1:]]
            yield "wordings", [f"**{_('Also worded')}**", "", *words]


class Cure(_Texts):
    """What to do about a message or trap, and where to read on."""

    def parts(self, argument: str) -> Iterator[tuple[str, Iterable[str]]]:
        """Cures as a sentence or a list, and links to related entries."""
        entry = load()[argument]
        yield "cures", self.block(_("Cure"), entry.cures)
        if entry.related:
            links = _listed(_link(load()[one]) for one in entry.related)
            yield "related", [_("**{title}:** {text}").format(title=_("Related"), text=links)]


class VariantOf(_Texts):
    """Another cause of the same message."""

    def parts(self, argument: str) -> Iterator[tuple[str, Iterable[str]]]:
        """Its title, cause and cure; the argument is its source in the catalogue."""
        variant = _variants()[argument]
        because = in_a_row(self.said(variant.because), self.said(variant.tell))
        cure = _titled(_("Cure"), self.said(variant.cure))
        yield "variant", (_titled(_text(variant.title)), "", because, "", cure)


class Index(_Texts):
    """All entries of a folder (``errors``, ``traps``), by page; ``top``: those most asked."""

    def parts(self, argument: str) -> Iterator[tuple[str, Iterable[str]]]:
        """A list of links under each group's title."""
        yield "", self.lines(argument)

    @staticmethod
    def lines(argument: str) -> Iterator[str]:
        """The list as Markdown."""
        catalogue = load()
        if argument == "top":
            for entry in catalogue.entries:
                if entry.top:
                    yield f"- {_link(entry)}"
            return
        groups = [group for group in catalogue.groups if group.folder == argument]
        if not groups:
            raise KeyError(argument)
        for group in groups:
            page = f"{argument}/{group.id}"
            yield from ("", f"**{{doc}}`{_text(group.title)} <{page}>`**", "")
            for entry in catalogue.entries:
                if (entry.folder, entry.group) == (argument, group.id):
                    yield f"- {_link(entry)}"


def _link(entry: Entry) -> str:
    # A link with a text of its own: titles hold code, which an empty link would lose.
    title = _text(entry.title)
    return f"[{title[:1].upper()}{title[1:]}](#{entry.id})"


def _listed(parts: Iterable[str]) -> str:
    """Several things, with the mark that the language puts between them."""
    return _("{one}, {other}").format(one="", other="").join(parts)


def _titled(title: str, text: str = "") -> str:
    """A title within a paragraph, with the mark that the language puts after it."""
    return _("**{title}.** {text}").format(title=title, text=text).strip()


def _text(text: str) -> str:
    """A text of the catalogue in the language of the site; see the extension `translation`."""
    return str(get_translation("catalogue")(text)) if text else ""  # "" is the head of a catalogue


def _inline(text: str) -> str:
    return text.replace("`", "'")


def _variants() -> dict[str, Variant]:
    return {v.source: v for entry in load().entries for v in entry.variants}


def _load_search(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, object], doctree: object
) -> None:
    if pagename == _SEARCH_PAGE:
        app.add_js_file("clinic-catalogue.js", loading_method="defer")
    if pagename in (
        _SEARCH_PAGE,
        app.config.root_doc,
    ):  # the front page fetches it when it is asked
        app.add_js_file("clinic-search.js", loading_method="defer")


def _write_catalogue(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        path = Path(app.outdir, "_static", "clinic-catalogue.js")
        # Messages are English everywhere, so it is searched in English; it answers in the site's.
        script = f"const gradbookCatalogue = {to_json()};\n" + in_script(_answers())
        path.write_text(script, encoding="utf-8")


def _answers() -> dict[str, str]:
    """Translations of what the search shows."""
    shown = []
    for entry in load().entries:
        shown += [entry.title, entry.because[0], entry.cures[0]]
        for one in entry.variants:
            shown += [one.title, one.because, one.cure]
    return {text: _text(text) for text in shown if _text(text) != text}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("why", Why)
    app.add_directive("cure", Cure)
    app.add_directive("variant", VariantOf)
    app.add_directive("clinic-index", Index)
    app.connect("html-page-context", _load_search)
    app.connect("build-finished", _write_catalogue)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
