"""What a page says, what is code in it, and where its links lead, read from its HTML."""

import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

# Their text is code, or says nothing.
_SILENT = {"code", "kbd", "math", "pre", "samp", "script", "style"}
_VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
_SPOKEN = ("alt", "aria-label", "placeholder", "title")
# Translations of `pseudo`, innermost first; some stand in others.
_TRANSLATED = re.compile(r"⟦[^⟦⟧]*⟧")
_WORD = re.compile(r"[A-Za-z_]{2,}")
_NAMES = {"Gradbook", "pradyunsg", "torch"}
# Names of nodes, and of the columns of a History.
_GIVEN = re.compile(
    r"[A-Z]\w*Backward|AccumulateGrad|CopySlices|grad|None"
    r"|epoch|(train|val)_loss|lr|grad_norm|steps"
)


@dataclass
class Page:
    """One page.

    Attributes:
        said: its texts, with the place of each: names of elements and classes around it.
        code: texts of its code and of what the code printed.
        inline: code in its sentences.
        links: how often a link leads to a place; without those to another language.
        names: the places in it to which a link can lead.
    """

    said: list[tuple[str, str]] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    links: Counter[str] = field(default_factory=Counter)
    names: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self.open: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        classes = values.get("class", "")
        if tag == "pre":
            self.page.code.append("")
        if tag not in _VOID:
            self.open.append((tag, classes))
        if "id" in values:
            self.page.names.add(values["id"])
        if tag == "a" and "href" in values and "hreflang" not in values:
            self.page.links[values["href"]] += 1
        for name in _SPOKEN:
            if name in values:
                self.page.said.append((f"{self._place()} {name}", values[name]))
        if tag == "meta" and "description" in (values.get("name"), values.get("property")):
            self.page.said.append(("description", values["content"]))

    def handle_endtag(self, tag: str) -> None:
        if any(tag == name for name, _ in self.open):
            while self.open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        names = {name for name, _ in self.open}
        if "pre" in names:
            self.page.code[-1] += data
        elif names & {"code", "samp"}:
            self.page.inline.append(data)
        elif not names & _SILENT:
            self.page.said.append((self._place(), data))

    def _place(self) -> str:
        return " ".join(f"{name}.{kind}" if kind else name for name, kind in self.open)


def read(path: Path) -> Page:
    """Read the page in a file."""
    return read_html(path.read_text("utf-8"))


def read_html(html: str) -> Page:
    """Read a page, or a piece of one."""
    reader = _Reader()
    reader.feed(html)
    return reader.page


# Docstrings, which are part of the code, and the index of their names; a reference to a term of the
# glossary, to which a translator gives a title, or to a name of the package; code in a picture.
_STAYS = re.compile(r"dl\.py |genindextable|std-term|reference internal title|svg\.figure text\.c ")
# In the drawing of a model a box begins with a module: its name, its class, what it gives.
_MODULE = re.compile(r"^(?:[\w.]+ +)?[A-Z]\w*(?: \([\d, ]*\))?(?=$| )")


def untranslated(page: Page) -> list[tuple[str, str]]:
    """Texts of a page in the language of `pseudo` that are not in it, with their places.

    What gradbook displays speaks of variables and nodes by their names.
    """
    code = set(_WORD.findall(" ".join(page.code)))
    inline = set(_WORD.findall(" ".join(page.inline)))
    left = []
    for place, text in page.said:
        if _STAYS.search(place):
            continue
        rest, before = text, ""
        while rest != before:
            before, rest = rest, _TRANSLATED.sub(" ", rest)
        if "gb-frame" in place or "gb-fold" in place:
            rest = _MODULE.sub("", rest)
        words = set(_WORD.findall(rest)) - _NAMES
        if place == "description":  # it is a sentence of the page, without the marks of code
            words -= inline
        if "gradbook-" in place:
            words = {word for word in words - code if not _GIVEN.fullmatch(word)}
        if words:
            left.append((place, text))
    return left


def broken(pages: dict[Path, Page], site: Path) -> list[str]:
    """Links within a site that lead nowhere.

    Args:
        pages: all pages of the site, by their files.
        site: its folder.
    """
    found = []
    for path, page in pages.items():
        for link in page.links:
            address, _, name = link.partition("#")
            if ":" in address or address.startswith("/"):  # those of the 404 page are absolute
                continue
            target = (path.parent / address).resolve() if address else path
            ends = target in pages and (not name or unquote(name) in pages[target].names)
            if not ends and (name or not target.exists()):
                found.append(f"{path.relative_to(site)}: {link}")
    return found
