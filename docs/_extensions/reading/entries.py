"""Give each entry of the Clinic a page of its own, and make the page of its group their index.

A group of entries is one file. Its cells run in one kernel, its prose has one file of messages for
translators, and what is said about its numbers is held there. When it has been read, its sections
become documents of their own, as if each had been a file: Sphinx numbers, lists, links, writes and
forgets them as it does any other. The group keeps a list, whose items have the anchors that the
sections had, so that an old address leads on.

A document has the order of its file, and so have the search, the text of the page and what can be
downloaded. On the page itself the answer stands first: the message, the cause, the cure, and what
raises beside what works, with the lines marked in which they differ.
"""

import difflib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils import new_document
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.gettext import MessageCatalogBuilder
from sphinx.environment import BuildEnvironment
from sphinx.locale import _, get_translation

from gradbook.understand.catalogue import Entry, load
from reading.wording import UNTRANSLATED, in_a_row

LIST, SETUP, OTHER = "clinic-entries", "entry-setup", "entry-other"
_FIRST, _AFTER_THE_SEARCH = 10, 950  # the search, texts and downloads are made at 900
_LONGEST_MESSAGE, _LONGEST_DESCRIPTION, _SHORTEST_DESCRIPTION = 240, 160, 40
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])")  # those of Chinese, too
# A line of these says what an example shows, and is no part of it.
_SHOWS = re.compile(r"(?:with )?expect_error\(|assert\b|torch\.testing\.|print\(|#|$")


# ------------------------------------------------------------------------- what a page says


def docname_of(entry: Entry) -> str:
    """The document of an entry."""
    return entry.path.removesuffix(".html")


def source_of(text: str, name: str) -> str:
    """The section of an entry in the file of its group; empty if there is none."""
    found = re.search(rf"^\({re.escape(name)}\)=\n.*?(?=^\([\w-]+\)=\n|\Z)", text, re.M | re.S)
    return found[0] if found else ""


@cache
def _groups() -> dict[str, dict[str, Entry]]:
    """The documents of groups, each with its entries by id."""
    found = {group.path.removesuffix(".html"): {} for group in load().groups}
    for entry in load().entries:
        found[f"clinic/{entry.folder}/{entry.group}"][entry.id] = entry
    return found


def message(entry: Entry) -> str:
    """The message as torch prints it, with the class before it; cut where it is long."""
    if not entry.examples:
        return ""
    text = " ".join(f"{entry.type[0]}: {entry.examples[0]}".split())
    if len(text) <= _LONGEST_MESSAGE:
        return text
    return text[:_LONGEST_MESSAGE].rpartition(" ")[0] + " …"


def description(entry: Entry) -> str:
    """What the page says, in a sentence or several: the cause, and the cure if there is room."""
    title = _plain(_text(entry.title))
    texts = [_plain(_text(one)) for one in (*entry.because, *entry.cures)]
    sentences = [one for text in texts for one in _SENTENCE.split(text)]
    for first in ("", f"{title[:1].upper()}{title[1:]}."):
        said = first
        for sentence in sentences:
            longer = in_a_row(said, sentence).strip()
            if len(longer) > _LONGEST_DESCRIPTION:
                break
            said = longer
        if len(said) >= _SHORTEST_DESCRIPTION:
            return said
    whole = in_a_row(f"{title}.", *sentences)
    cut = whole[: _LONGEST_DESCRIPTION - 2]
    words = cut.rpartition(" ")[0]  # Chinese has few spaces
    return f"{words if len(words) >= _SHORTEST_DESCRIPTION else cut} …"


def changed_lines(one: str, other: str) -> tuple[list[int], list[int]]:
    r"""The lines, from 1, in which two pieces of code differ; none if they have no line in common.

    Lines that only show something, indentation and comments do not count.

    >>> changed_lines("x = f()\nwith expect_error(E):\n    x.g()", "x = f().h()\nx.g()")
    ([1], [1])
    """
    texts = [
        [
            (number, line.partition("  #")[0].strip())
            for number, line in enumerate(code.splitlines(), start=1)
            if not _SHOWS.match(line.strip())
        ]
        for code in (one, other)
    ]
    left, right = ([line for _, line in text] for text in texts)
    blocks = difflib.SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
    if not any(block.size for block in blocks):
        return [], []
    same = [
        {start + n for start, size in pairs for n in range(size)}
        for pairs in (
            [(block.a, block.size) for block in blocks],
            [(block.b, block.size) for block in blocks],
        )
    ]
    here, there = (
        [number for place, (number, _) in enumerate(text) if place not in kept]
        for text, kept in zip(texts, same, strict=True)
    )
    return here, there


def _text(text: str) -> str:
    return str(get_translation("catalogue")(text))


def _plain(text: str) -> str:
    return text.replace("`", "")


def _inline(text: str) -> Iterator[nodes.Node]:
    """A text of the catalogue, with code in backquotes."""
    for number, part in enumerate(text.split("`")):
        if part:
            yield nodes.literal("", part) if number % 2 else nodes.Text(part)


def _paragraph(*children: nodes.Node, name: str) -> nodes.paragraph:
    return nodes.paragraph("", "", *children, classes=[name], translatable=False)


# ----------------------------------------------------------------------- parts of a section


def _is(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Element) and name in node.get("classes", ())


def _is_cell(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Element) and node.get("nb_element") == "cell_code"


@dataclass
class _Sides:
    """An example that raises and one that works, each with the text before its cell."""

    raises: list[nodes.Node] = field(default_factory=list)
    works: list[nodes.Node] = field(default_factory=list)

    def __iter__(self) -> Iterator[nodes.Node]:
        yield from (*self.raises, *self.works)


@dataclass
class _Parts:
    """The children of an entry's section, by what they are.

    Attributes:
        named: what comes from the catalogue, and the message, by class.
        setup: the cells that all entries of the group need.
        sides: the two examples.
        depth: everything else, up to the other causes.
        variants: a section for each.
    """

    named: dict[str, nodes.Node]
    setup: list[nodes.Node]
    sides: _Sides
    depth: list[nodes.Node]
    variants: list[nodes.section]

    @classmethod
    def of(cls, section: nodes.section) -> "_Parts":
        """Tell them apart; titles stay where they are."""
        parts = cls({}, [], _Sides(), [], [])
        into = parts.sides.raises
        for node in section.children[1:]:
            names = [name for name in node.get("classes", ()) if name.startswith("entry-")]
            if isinstance(node, nodes.section):
                parts.variants.append(node)
            elif SETUP in names:
                parts.setup.append(node)
            elif names:
                parts.named[names[0]] = node
                into = {"entry-because": parts.depth, "entry-cures": parts.sides.works}.get(
                    names[0], into
                )
            else:
                into.append(node)
                if into is parts.sides.works and _is_cell(node):
                    into = parts.depth
        return parts


def _of_variant(section: nodes.section) -> tuple[_Sides, list[nodes.Node]]:
    """Its examples, and what comes after them."""
    sides, rest = _Sides(), []
    into = sides.raises
    for node in section.children[1:]:
        if not _is(node, "entry-variant"):
            into.append(node)
            if _is_cell(node):
                into = sides.works if into is sides.raises else rest
    return sides, rest


def _shown(section: nodes.section) -> Iterator[nodes.Node]:
    """What has cells, in the order of the page."""
    parts = _Parts.of(section)
    yield from (*parts.sides, *parts.setup, *parts.depth, *parts.variants)


def _numbers(section: nodes.section) -> list[int]:
    """The numbers that its cells have in the group, in the order of the page."""
    return [cell["number"] for node in _shown(section) for cell in node.findall(_is_cell)]


# --------------------------------------------------------------------------------- splitting


def _split(app: Sphinx, document: nodes.document) -> None:
    """Make documents of the sections of a group, before anything else has looked at it."""
    env = app.env
    group = env.docname
    entries = _groups().get(group)
    page = next((one for one in document.children if isinstance(one, nodes.section)), None)
    # Translators have the messages of a group in one file.
    if not entries or page is None or isinstance(app.builder, MessageCatalogBuilder):
        return
    for number, cell in enumerate(document.findall(_is_cell)):
        cell["number"] = number
    sections = {
        next(name for name in one["ids"] if name in entries): one
        for one in page.children
        if isinstance(one, nodes.section) and not entries.keys().isdisjoint(one["ids"])
    }
    if not sections:
        return
    setup = [one for one in page.children if _is_cell(one)]
    for node in (*setup, *sections.values()):
        page.remove(node)
    anchors = {name: section["ids"][:] for name, section in sections.items()}
    home = {
        anchor: name
        for name, section in sections.items()
        for node in section.findall(nodes.Element)
        for anchor in node["ids"]
    }
    _move_labels(env, group, home, entries)
    _link(document, group, group, home)
    for table in (document.ids, document.refids, document.refnames):
        for key in table.keys() & {*home, *entries}:
            del table[key]
    for name, section in sections.items():
        _complete(section, entries[name], setup)
        _link(section, group, docname_of(entries[name]), home)
        _register(app, document, section, entries[name], group)
    page += _index(env, [entries[name] for name in sections], anchors, group)
    children(env)[group] = [docname_of(entries[name]) for name in sections]


def _complete(section: nodes.section, entry: Entry, setup: list[nodes.Node]) -> None:
    """Add the message and the cells that all need, and make sections of other causes."""
    first: list[nodes.Node] = []
    if said := message(entry):
        first.append(_paragraph(nodes.literal("", said), name="entry-message"))
    first += [one.deepcopy() for one in setup]
    for cell in first[-len(setup) :] if setup else ():
        cell["classes"].append(SETUP)
    section[1:1] = first
    places = [n for n, node in enumerate(section.children) if _is(node, "entry-variant")]
    ends = [*places, len(section.children)]
    moved = [section.children[start:end] for start, end in pairwise(ends)]
    for texts in moved:
        for node in texts:
            section.remove(node)
        head = texts[0].pop(0)  # its title, strong and with a full stop
        words = [one for one in next(head.findall(nodes.strong)).children if one.astext()]
        words[-1] = nodes.Text(words[-1].astext().removesuffix("."))
        title = nodes.title("", "", *words, translatable=False)
        # In every language the same.
        name = next(one for one in entry.variants if one.source == texts[0]["argument"]).anchor
        made = nodes.section("", title, *texts, ids=[name], names=[], classes=[OTHER])
        made.source, made.line = section.source, section.line
        section += made


def _move_labels(
    env: BuildEnvironment, group: str, home: dict[str, str], entries: dict[str, Entry]
) -> None:
    """Have links by label lead to the new documents; to their tops, where that is meant."""
    domain = env.domains.standard_domain
    for store in (domain.labels, domain.anonlabels):
        for label, (docname, anchor, *title) in list(store.items()):
            if docname == group and anchor in home:
                name = home[anchor]
                place = "" if anchor == name else anchor
                store[label] = (docname_of(entries[name]), place, *title)


def _link(node: nodes.Element, group: str, docname: str, home: dict[str, str]) -> None:
    """Links inside of the group, and to other entries, lead to documents now."""
    for link in list(node.findall(addnodes.pending_xref)):
        if link.get("refdoc") == group:
            link["refdoc"] = docname
        target = link.get("reftarget")
        if link.get("reftype") == "myst" and link.get("refdomain") != "doc":
            entry = next((one for one in load().entries if one.id == target), None)
            if entry is not None:
                _to_document(link, entry, docname, link[0].children)
    for link in list(node.findall(nodes.reference)):
        name = home.get(link.get("refid", ""))
        if name is not None and docname_of(load()[name]) != docname:
            _to_document(link, load()[name], docname, link.children)


def _to_document(link: nodes.Element, entry: Entry, docname: str, text: list[nodes.Node]) -> None:
    link.replace_self(_reference(entry, docname, text))


def _reference(entry: Entry, docname: str, text: list[nodes.Node]) -> addnodes.pending_xref:
    """A link to an entry, as MyST makes one to a document."""
    return addnodes.pending_xref(
        "",
        nodes.inline("", "", *text),
        refdomain="doc",
        reftype="myst",
        reftarget=docname_of(entry),
        reftargetid=None,
        refexplicit=bool(text),
        refdoc=docname,
    )


def _register(
    app: Sphinx, group: nodes.document, section: nodes.section, entry: Entry, parent: str
) -> None:
    """Have Sphinx take a section for a document that it has read."""
    env, docname = app.env, docname_of(entry)
    document = new_document(group["source"], group.settings)
    document += nodes.meta("", name="description", content=description(entry))
    document += section
    _cut_off(document, section)
    env.metadata[docname] = {
        "entry": entry.id,
        "group": parent,
        "cells": _numbers(section),
        "hide-toc": "",
    }
    reading = env.current_document
    env.prepare_settings(docname)
    for domain in env.domains.sorted():
        domain.process_doc(env, docname, document)
    app.emit("doctree-read", document)
    env.current_document = reading
    env.all_docs[docname] = time.time_ns() // 1_000
    _make_known(env, parent, docname)
    # Not with the others that are in memory: in a parallel build this is a process that ends.
    app.builder.write_doctree(docname, document, _cache=False)


def _cut_off(document: nodes.document, section: nodes.section) -> None:
    """Drop every way back to the group: the file of each document would hold the whole of it."""
    for target in list(section.findall(nodes.target)):
        if "refid" in target:  # the label of the section that followed
            target.parent.remove(target)
    for node in section.findall():
        node.document = document
        for name in ("expect_referenced_by_name", "expect_referenced_by_id"):
            vars(node).pop(name, None)


def _index(
    env: BuildEnvironment, entries: list[Entry], anchors: dict[str, list[str]], group: str
) -> nodes.bullet_list:
    """The entries of a group: title, message and cause."""
    found = nodes.bullet_list("", classes=[LIST])
    for entry in entries:
        text = _text(entry.title)
        title = list(_inline(text[:1].upper() + text[1:]))
        link = _reference(entry, group, title)
        item = nodes.list_item("", ids=anchors[entry.id])
        item += _paragraph(nodes.strong("", "", link), name="entry-title")
        if said := message(entry):
            item += _paragraph(nodes.literal("", said), name="entry-message")
        cause = _text(entry.because[0])
        item += _paragraph(*_inline(cause), name="entry-cause")
        if env.config.language != "en" and cause == entry.because[0]:
            item[-1]["classes"] += UNTRANSLATED
        found += item
    return found


# --------------------------------------------------------------- what Sphinx keeps of a build


def children(env: BuildEnvironment) -> dict[str, list[str]]:
    """The documents that were made of each group."""
    if not hasattr(env, "gradbook_entries"):
        env.gradbook_entries = {}
    return env.gradbook_entries


def _make_known(env: BuildEnvironment, group: str, docname: str) -> None:
    """Let Sphinx find a document, whose source is that of its group."""
    env.found_docs.add(docname)
    paths = env.project._docname_to_path
    paths[docname] = paths[group]


def _list(app: Sphinx, document: nodes.document) -> None:
    """Put the documents of a group below it; the trees that pages show end at the group."""
    env = app.env
    ours = children(env).get(env.docname)
    if ours:
        env.toctree_includes[env.docname] = list(ours)
        for child in ours:
            env.files_to_rebuild.setdefault(child, set()).add(env.docname)


def _forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """The documents of a group go with it."""
    for child in children(env).pop(docname, ()):
        app.emit("env-purge-doc", env, child)
        env.clear_doc(child)
        env.found_docs.discard(child)
        env.project._docname_to_path.pop(child, None)


def _merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: Any) -> None:
    """Take them over from a process that read their group."""
    for group in docnames & children(other).keys():
        ours = children(env)[group] = children(other)[group]
        for child in ours:
            _make_known(env, group, child)
        env.merge_info_from(ours, other, app)


def _find(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """They are there as long as their group is; it is read again where one has been lost."""
    again = []
    for group, ours in children(env).items():
        if group not in env.found_docs:
            continue
        for child in ours:
            _make_known(env, group, child)
            removed.discard(child)
        if not all(Path(app.doctreedir, f"{child}.doctree").exists() for child in ours):
            again.append(group)
    return again


def _read_groups_only(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    ours = {child for some in children(env).values() for child in some}
    docnames[:] = [name for name in docnames if name not in ours]
    app.gradbook_groups = [name for name in docnames if name in _groups()]


def _write_too(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """What comes from a group that was read has to be written."""
    return [child for name in app.gradbook_groups for child in children(env).get(name, ())]


# ------------------------------------------------------------------------------- on the page


def _arrange(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Put the answer first."""
    about = app.env.metadata[docname]
    if "entry" not in about or app.builder.format != "html":
        return
    entry, group = load()[about["entry"]], about["group"]
    section = next(document.findall(nodes.section))
    parts = _Parts.of(section)
    title = section[0]
    section.children = []
    # Where one is: the group, above the title.
    name = nodes.inline("", "", *app.env.titles[group].deepcopy().children)
    address = app.builder.get_relative_uri(docname, group)
    link = nodes.reference("", "", name, internal=True, refuri=address)
    section += [_paragraph(link, name="entry-group"), title]
    named = parts.named
    for one in ("entry-message", "entry-because", "entry-cures"):
        if one in named:
            section += named[one]
    section += _side_by_side(parts.sides, entry)
    section += _folded(_("What this code needs"), parts.setup)
    for one in ("entry-signal", "entry-possible"):
        if one in named:
            section += named[one]
    section += parts.depth
    for variant in parts.variants:
        sides, rest = _of_variant(variant)
        head = [one for one in variant.children[1:] if _is(one, "entry-variant")]
        variant.children = variant.children[:1]
        variant += [*head, *_side_by_side(sides, entry), *rest]
        section += variant
    if "entry-wordings" in named:
        wordings = named["entry-wordings"]
        section += _folded(wordings[0].astext(), wordings.children[1:])
    if "entry-related" in named:
        section += named["entry-related"]


def _side_by_side(sides: _Sides, entry: Entry) -> list[nodes.Node]:
    if not any(map(_is_cell, sides.works)):
        return list(sides)
    words = {
        "error": (_("Raises"), _("Works")),
        "warning": (_("Warns"), _("Works")),
        "trap": (_("Goes wrong"), _("Goes right")),
    }[entry.kind]
    box = nodes.container(classes=["entry-sides"])
    for word, name, side in zip(
        words, ("entry-raises", "entry-works"), (sides.raises, sides.works), strict=True
    ):
        label = _paragraph(nodes.Text(word), name="entry-label")
        box += nodes.container("", label, *side, classes=[name])
    blocks = [_codes(side) for side in (sides.raises, sides.works)]
    marked = changed_lines(*("\n".join(one.astext() for one in some) for some in blocks))
    for some, lines in zip(blocks, marked, strict=True):
        _mark(some, lines)
    return [box]


def _codes(side: list[nodes.Node]) -> list[nodes.literal_block]:
    """The code of its cells."""
    return [
        block
        for cell in side
        if _is_cell(cell)
        for block in cell.findall(nodes.literal_block)
        if block.parent.get("nb_element") == "cell_code_source"
    ]


def _mark(blocks: list[nodes.literal_block], lines: list[int]) -> None:
    above = 0
    for block in blocks:
        count = len(block.astext().splitlines())
        own = [line - above for line in lines if above < line <= above + count]
        if own:
            block["highlight_args"] = {**block.get("highlight_args", {}), "hl_lines": own}
        above += count


def _folded(summary: str, content: list[nodes.Node]) -> list[nodes.Node]:
    if not content:
        return []
    opening = f'<details class="entry-fold"><summary>{summary}</summary>'
    return [
        nodes.raw("", opening, format="html"),
        *content,
        nodes.raw("", "</details>", format="html"),
    ]


def _tell_place(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """The side bar is that of the group; the source to be edited, too."""
    is_entry = "entry" in app.env.metadata.get(pagename, {})
    if pagename in _groups() or is_entry:
        app.add_css_file("entries.css")
    if is_entry:
        app.add_css_file("entry.css", priority=900)  # after those of all pages
    group = app.env.metadata.get(pagename, {}).get("group")
    if group is None:
        return

    def tree(**options: Any) -> str:
        made = app.builder.__dict__.setdefault("gradbook_trees", {})
        key = (group, *sorted(options.items()))
        if key not in made:
            html = app.builder._get_local_toctree(group, **options)
            address = app.builder.get_relative_uri(pagename, group)
            made[key] = html.replace('href="#"', f'href="{address}"')
        return str(made[key])

    context["toctree"] = tree
    # The theme puts this behind the name of the page; an address with `..` is the same.
    context["page_source_suffix"] = f"/../{Path(app.env.doc2path(group)).name}"


def setup(app: Sphinx) -> dict[str, object]:
    """Register with Sphinx."""
    app.connect("doctree-read", _split, priority=_FIRST)
    app.connect("doctree-read", _list, priority=_AFTER_THE_SEARCH)  # and after Sphinx has listed
    app.connect("env-purge-doc", _forget)
    app.connect("env-merge-info", _merge)
    app.connect("env-get-outdated", _find)
    app.connect("env-before-read-docs", _read_groups_only, priority=_FIRST)
    app.connect("env-updated", _write_too)
    app.connect("doctree-resolved", _arrange, priority=_AFTER_THE_SEARCH)
    app.connect("html-page-context", _tell_place, priority=_FIRST)  # before the theme
    return {
        "version": "1",
        "env_version": 1,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
