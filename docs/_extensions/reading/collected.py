"""What the pages say together: facts that are collected from each and shown on one.

    :::{torch-versions}
    :::
    :::{book-in-numbers}
    :::

The first is a table of the statements that depend on the version of torch. A page marks each with a
comment in its section, where the cells beside it assert what holds in which version:

    % torch before 2.14: `fmax` gives the whole gradient to one of two equal numbers.

(``since`` and ``with`` go too; the last says in which version something was seen.) The catalogue of
the Clinic says such things in its sentences. Both are messages of ``sphinx.pot``, as what the site
itself says. The second table counts what the pages have. And each object of the API page gets a
list of the pages that use it.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.gettext import MessageCatalogBuilder, MsgOrigin
from sphinx.environment import BuildEnvironment
from sphinx.locale import _
from sphinx.util.docutils import SphinxDirective

from gradbook.understand.catalogue import load
from reading import entries

_CELL = re.compile(
    r"^```\{code-cell\}[^\n]*\n(?:---\n.*?\n---\n|(?::[^\n]*\n)*)(.*?)^```",
    re.DOTALL | re.MULTILINE,
)
_HELD = re.compile(r"^\s*% held: (.+)$", re.MULTILINE)
_EXERCISE = re.compile(r"^:::\{admonition\} Exercise", re.MULTILINE)
_TAG = re.compile(r"torch (before|since|with) (\d+\.\d+): (.+)", re.DOTALL)
_IN_A_SENTENCE = re.compile(
    r"\b(before|since|in|with|of|for) (?:Py)?Torch (\d+\.\d+)", re.IGNORECASE
)
# The parts of the book, as its front page has them.
_PARTS = ("", "learn", "clinic", "howto", "deeper", "reference", "about")
_CLAIMS = {"assert_close", "assert_allclose", "assert_array_equal", "expect_error"}
_LISTED = 8  # pages that an object of the API names


@dataclass(frozen=True)
class Statement:
    """One that depends on the version of torch.

    Attributes:
        text: with code in backquotes.
        kind: "before", "since" or "with".
        version: as 2.14.
        place: id of its section; empty for the top of the page.
    """

    text: str
    kind: str
    version: str
    place: str

    def holds(self, version: str) -> bool:
        """Whether it is about a version of torch such as 2.13.0."""
        here, limit = _release(version), _release(self.version)
        return {"before": here < limit, "since": here >= limit, "with": here == limit}[self.kind]


@dataclass(frozen=True)
class Facts:
    """Of one page: counts by name, names of the package that it uses, statements."""

    counts: Counter[str]
    names: frozenset[str]
    statements: tuple[Statement, ...]


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


def count(text: str) -> Counter[str]:
    """Count cells, assertions, held numbers and exercises of a page.

    Args:
        text: of the page's file.

    Returns:
        Counts for "cells", "assertions" (calls that assert, and errors that are expected, too),
        "held" (numbers of the text that are held against the run) and "exercises".
    """
    cells = _CELL.findall(text)
    found = Counter(cells=len(cells), exercises=len(_EXERCISE.findall(text)))
    found["assertions"] = sum(_claims(node) for cell in cells for node in _walk(cell))
    for line in _HELD.findall(text):
        for claim in ast.parse(f"({line},)", mode="eval").body.elts:
            reason = isinstance(claim, ast.Constant) and isinstance(claim.value, str)
            found["held"] += 1 if reason else _held(claim)
    return found


def _walk(cell: str) -> Iterator[ast.AST]:
    lines = (line for line in cell.splitlines() if not line.startswith("%"))  # of IPython
    return ast.walk(ast.parse("\n".join(lines)))


def _claims(node: ast.AST) -> bool:
    match node:
        case ast.Assert():
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _CLAIMS:
            return True
        case ast.Call(func=ast.Attribute(value=ast.Attribute(value=ast.Name(id="check")))):
            return True
    return False


def _held(node: ast.AST) -> int:
    """Numbers in an expression of a held line; tests/held.py says which count."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int | float | complex) and not isinstance(value, bool)
        case ast.Call(func=ast.Name(id="at")):
            return 0
        case ast.Call(func=ast.Name(id="round"), args=[inner, _]):
            return _held(inner)
        case ast.keyword(arg="decimals" | "ndigits"):
            return 0
    return sum(map(_held, ast.iter_child_nodes(node)))


@lru_cache(maxsize=4)  # a file of the Clinic has many pages
def used(text: str) -> frozenset[str]:
    """The names of gradbook that the cells of a page import or take from it."""
    found = set()
    for cell in _CELL.findall(text):
        for node in _walk(cell):
            match node:
                case ast.ImportFrom(module="gradbook", names=names):
                    found.update(alias.name for alias in names)
                case ast.Attribute(value=ast.Name(id="gradbook"), attr=name):
                    found.add(name)
                case ast.Attribute(value=ast.Name(id="data"), attr=name):
                    found.add(f"data.{name}")
    return frozenset(found)


def mentioned(text: str) -> frozenset[str]:
    """The names that stand in the cells of a page, or of a part of it."""
    found = set()
    for cell in _CELL.findall(text):
        for node in _walk(cell):
            match node:
                case ast.Attribute(value=ast.Name(id="data"), attr=name):
                    found.add(f"data.{name}")
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    found.add(name)
    return frozenset(found)


def statements(document: nodes.document) -> Iterator[Statement]:
    """The statements that the comments of a page mark."""
    for comment in document.findall(nodes.comment):
        if match := _TAG.fullmatch(comment.astext().strip()):
            section = comment.parent
            while not isinstance(section, nodes.section):
                section = section.parent
            kind, version, text = match.groups()
            # The last id is the one that the author gave.
            yield Statement(" ".join(text.split()), kind, version, section["ids"][-1])


def of_catalogue() -> Iterator[tuple[str, Statement]]:
    """The sentences of the catalogue that name a version of torch, each with its page."""
    for entry in load().entries:
        texts = [*entry.because, *entry.possible, *entry.cures, entry.signal]
        for variant in entry.variants:
            texts += [variant.because, variant.cure]
        for text in texts:
            for sentence in re.split(r"(?<=[.!?])\s+", text):
                if match := _IN_A_SENTENCE.search(sentence):
                    word = match[1].lower()
                    kind = word if word in ("before", "since") else "with"
                    yield entries.docname_of(entry), Statement(sentence, kind, match[2], "")


class _Placeholder(nodes.General, nodes.Element):
    """Stands for a table until all pages are read."""


class _Table(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        """Leave its place free."""
        return [_Placeholder(kind=self.name)]


def _all(env: BuildEnvironment) -> dict[str, Facts]:
    if not hasattr(env, "gradbook_facts"):
        env.gradbook_facts = {}
    return env.gradbook_facts


def _collect(app: Sphinx, document: nodes.document) -> None:
    path = Path(app.env.doc2path(app.env.docname))
    text = path.read_text("utf-8") if path.suffix == ".md" else ""
    # Of the Clinic, the file of a group is counted, and its entries use the names.
    counts: Counter[str] = Counter()
    names: frozenset[str] = frozenset()
    if entry := app.env.metadata[app.env.docname].get("entry"):
        names = used(text) & mentioned(entries.source_of(text, entry))
    else:
        counts = count(text)
        names = names if app.env.docname in entries.children(app.env) else used(text)
    _all(app.env)[app.env.docname] = Facts(counts, names, tuple(statements(document)))


def _purge(app: Sphinx, env: BuildEnvironment, name: str) -> None:
    _all(env).pop(name, None)


def _merge(app: Sphinx, env: BuildEnvironment, names: Iterable[str], other: object) -> None:
    _all(env).update({name: _all(other)[name] for name in names if name in _all(other)})


def _write_again(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """The pages that show facts, when these have changed."""
    if getattr(env, "gradbook_facts_written", None) == _all(env):
        return []
    env.gradbook_facts_written = dict(_all(env))
    shown = app.config.collected_shown
    return [name for name in shown if name in env.found_docs]


def _show(app: Sphinx, document: nodes.document, name: str) -> None:
    facts = _all(app.env)
    if isinstance(app.builder, MessageCatalogBuilder):
        _extract(app.builder, document, facts)
        return
    for place in list(document.findall(_Placeholder)):
        make = _versions if place["kind"] == "torch-versions" else _numbers
        place.replace_self(make(app, name, facts))
    for description in document.findall(addnodes.desc):
        _add_uses(app, name, description, facts)


def _extract(
    builder: MessageCatalogBuilder, document: nodes.document, facts: dict[str, Facts]
) -> None:
    """Have the statements translated, where a page shows them."""
    places = document.findall(_Placeholder)
    if any(place["kind"] == "torch-versions" for place in places):
        # Those of the catalogue stand on pages of entries, and this builder makes none.
        for page, one in [*_statements(facts), *of_catalogue()]:
            builder.catalogs["sphinx"].add(_shown(one), MsgOrigin(page, 1))


def _statements(facts: dict[str, Facts]) -> list[tuple[str, Statement]]:
    """Those of the pages and of the catalogue, each with its page, in order."""
    found = [(page, one) for page in facts for one in facts[page].statements]
    found += [(page, one) for page, one in of_catalogue() if page in facts]
    return sorted(
        found,
        key=lambda pair: (_release(pair[1].version), pair[1].kind, pair[1].text, pair[0]),
    )


def _shown(statement: Statement) -> str:
    return statement.text[:1].upper() + statement.text[1:]


def _part(page: str) -> str:
    return page.rpartition("/")[0].partition("/")[0]


def _link(app: Sphinx, name: str, target: str, text: str, place: str = "") -> nodes.reference:
    address = app.builder.get_relative_uri(name, target) + (f"#{place}" if place else "")
    return nodes.reference("", text, internal=True, refuri=address, translatable=False)


def _title(app: Sphinx, name: str) -> str:
    return app.env.titles[name].astext()


def _inline(text: str) -> Iterator[nodes.Node]:
    for number, part in enumerate(text.split("`")):
        if part:
            yield nodes.literal("", part) if number % 2 else nodes.Text(part)


def _table(head: list[str], rows: Iterable[list[list[nodes.Node]]]) -> nodes.table:
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]

    def row(cells: Iterable[list[nodes.Node]]) -> nodes.row:
        entries = (nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells)
        return nodes.row("", *entries)

    group += nodes.thead("", row([nodes.Text(text)] for text in head))
    group += nodes.tbody("", *map(row, rows))
    return nodes.table("", group, classes=["docutils"])


def _versions(app: Sphinx, name: str, facts: dict[str, Facts]) -> nodes.Node:
    here = metadata.version("torch").partition("+")[0]
    kinds = {"before": _("before"), "since": _("since"), "with": _("with")}
    said = {
        ("before", True): _("so it is here"),
        ("since", True): _("so it is here"),
        ("before", False): _("no longer so"),
        ("since", False): _("not yet so"),
        ("with", True): _("seen"),
        ("with", False): _("another version"),
    }
    rows = [
        [
            list(_inline(_(_shown(one)))),
            [nodes.Text(f"{kinds[one.kind]} {one.version}")],
            [nodes.Text(said[one.kind, one.holds(here)])],
            [_link(app, name, page, _title(app, page), one.place)],
        ]
        for page, one in _statements(facts)
    ]
    return _table([_("What"), "torch", _("torch {} here").format(here), _("Where")], rows)


def _numbers(app: Sphinx, name: str, facts: dict[str, Facts]) -> nodes.Node:
    parts = {part: Counter[str]() for part in _PARTS}
    for page, its in facts.items():
        parts.setdefault(_part(page), Counter()).update(its.counts, pages=1)
    titles = {"": _("Home"), "learn": _("Learn"), "clinic": _("Clinic"), "howto": _("How-to")}
    titles |= {"deeper": _("Deeper"), "reference": _("Reference"), "about": _("About")}
    columns = {"pages": _("pages"), "cells": _("cells"), "assertions": _("assertions")}
    columns |= {"held": _("held numbers"), "exercises": _("exercises")}

    def row(title: str, counts: Counter[str]) -> list[list[nodes.Node]]:
        return [[nodes.Text(title)], *([nodes.Text(f"{counts[one]:,}")] for one in columns)]

    rows = [row(titles.get(part, part), counts) for part, counts in parts.items() if counts]
    rows.append(row(_("All"), sum(parts.values(), Counter())))
    return _table(["", *columns.values()], rows)


def listed(count: int) -> int:
    """How many of some pages are named; one more is named, too, in place of a count.

    >>> [listed(count) for count in (3, 8, 9, 10)]
    [3, 8, 9, 8]
    """
    return count if count <= _LISTED + 1 else _LISTED


def _add_uses(app: Sphinx, name: str, description: addnodes.desc, facts: dict[str, Facts]) -> None:
    """Say below an object of the package which pages use it."""
    signature = description.next_node(addnodes.desc_signature)
    ids = signature["ids"] if signature is not None else []
    if description["domain"] != "py" or not ids or not ids[0].startswith("gradbook."):
        return
    wanted = ids[0].removeprefix("gradbook.")
    pages = sorted(
        (page for page in facts if wanted in facts[page].names),
        key=lambda page: (_PARTS.index(_part(page)) if _part(page) in _PARTS else 0, page),
    )
    if not pages:
        return
    text = nodes.paragraph("", "", nodes.strong("", _("Used on")), nodes.Text(" "))
    for number, page in enumerate(pages[: listed(len(pages))]):
        if number:
            text += nodes.Text(" · ")  # titles have commas
        text += _link(app, name, page, _title(app, page))
    if more := len(pages) - listed(len(pages)):
        text += nodes.Text(" " + _("and {} more pages").format(more))
    text["classes"].append("used-on")
    description[-1] += text


def setup(app: Sphinx) -> dict[str, object]:
    """Register with Sphinx."""
    app.add_config_value("collected_shown", [], "env")
    app.add_node(_Placeholder)
    app.add_directive("torch-versions", _Table)
    app.add_directive("book-in-numbers", _Table)
    app.connect("doctree-read", _collect)
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    app.connect("env-updated", _write_again)
    app.connect("doctree-resolved", _show)
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
