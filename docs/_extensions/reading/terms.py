"""Link the terms of the glossary where a page uses them first.

The terms are those that the glossary has in the language of the site. They are looked for when a
page is written, after its translation, so no message has a link for them. A term that the author
has linked is left alone, and so are headings, code, links, and what cells put out.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# Where the words are those of the book's subject; elsewhere a module may be one of Python.
PARTS = ("learn/", "deeper/", "howto/", "clinic/")
# Their text is no prose of the page, or is a link already.
_PASSED_OVER = (
    *(nodes.Titular, nodes.literal, nodes.literal_block, nodes.reference, nodes.raw, nodes.math),
    *(nodes.math_block, nodes.Invisible, nodes.term, nodes.thead, nodes.caption, nodes.label),
    *(addnodes.glossary, addnodes.desc, addnodes.pending_xref, addnodes.toctree),
)
_BEFORE_COPIES = 940  # and after the search: `reading.path` copies a section at 950
# "Leaves" is a verb too; a domain has an edge, and a convolution windows.
_NOUN_AFTER = re.compile(r"\b(?:all|are|its|of|the|their|these)\s$", re.IGNORECASE)
_OTHER_SENSE = {"edge": r"\sof\s(?:a|its)\sdomain", "windows": r"\sof\s\d"}


def forms(term: str) -> Iterator[str]:
    """A term, in the singular and in the plural.

    >>> [list(forms(term)) for term in ("loss", "finite differences", "leaf", "JVP")]
    [['loss', 'losses'], ['finite differences', 'finite difference'], ['leaf', 'leaves'], ['JVP', \
'JVPs']]
    """
    yield term
    if not term.isascii():
        return
    if term.endswith("f"):
        yield f"{term[:-1]}ves"
    elif term.endswith(("ss", "ch", "x")):
        yield f"{term}es"
    elif term.endswith("s"):
        yield term[:-1]
    elif not term.endswith("ing"):
        yield f"{term}s"


@cache
def finder(terms: frozenset[str]) -> tuple[re.Pattern[str], dict[str, str]]:
    """What finds the forms of terms, and the term for each form in small letters.

    A form is a word of its own: no part of another, nor of one with a hyphen. Chinese, Japanese
    and Korean do not set words apart, so there any place counts.
    """
    of_form = {form.lower(): term for term in sorted(terms) for form in forms(term)}
    of_form |= {term.lower(): term for term in terms}
    longest_first = sorted(of_form, key=lambda form: (-len(form), form))
    ascii_forms = map(re.escape, filter(str.isascii, longest_first))
    words = "|".join(ascii_forms).replace(r"\ ", r"\s+")  # a line may end within a term
    others = "|".join(re.escape(form) for form in longest_first if not form.isascii())
    ways = [rf"(?<![\w.-])(?:{words})(?![\w-])" if words else "", others]
    return re.compile("|".join(filter(None, ways)) or r"(?!)", re.IGNORECASE), of_form


def _terms(env: BuildEnvironment) -> dict[str, tuple[str, str]]:
    """Each term with the page and the place of its explanation."""
    objects = env.domains.standard_domain.objects
    return {name: place for (kind, name), place in objects.items() if kind == "term"}


def _texts(node: nodes.Element) -> Iterator[nodes.Text]:
    """The prose in `node`. MyST makes several texts of a paragraph, one a line: they become one."""
    place = 0  # by count: two texts that say the same are equal
    for is_text, group in groupby(list(node.children), lambda one: isinstance(one, nodes.Text)):
        children = list(group)
        if is_text:
            text = nodes.Text("".join(map(str, children)))
            node[place : place + len(children)] = [text]
            yield text
        place += 1 if is_text else len(children)
        for child in children:
            if isinstance(child, nodes.Element) and not _is_passed_over(child):
                yield from _texts(child)


def _is_passed_over(node: nodes.Element) -> bool:
    output = node.get("nb_element") in ("cell_code_source", "cell_code_output")
    return output or isinstance(node, _PASSED_OVER)


def _link_first_uses(app: Sphinx, document: nodes.document, name: str) -> None:
    if app.builder.format != "html" or not name.startswith(PARTS):
        return
    terms = _terms(app.env)
    # Two names may have one explanation, as VJP and its long form.
    addresses = {
        term: f"{app.builder.get_relative_uri(name, page)}#{place}"
        for term, (page, place) in terms.items()
    }
    by_hand = {link.get("refuri") for link in document.findall(nodes.reference)}
    left = {address for address in addresses.values() if address not in by_hand}
    search, of_form = finder(frozenset(terms))
    for text in list(_texts(document)):
        parts = list(_linked(text.astext(), search, of_form, addresses, left))
        siblings = text.parent
        place = next(n for n, one in enumerate(siblings.children) if one is text)
        siblings[place : place + 1] = parts


def _linked(
    text: str,
    search: re.Pattern[str],
    of_form: dict[str, str],
    addresses: dict[str, str],
    left: set[str],
) -> Iterator[nodes.Node]:
    """The parts of a text; an address that is used is taken out of `left`."""
    done = 0
    for found in search.finditer(text):
        form = " ".join(found[0].lower().split())
        address = addresses[of_form[form]]
        if address in left and _is_meant(form, text[: found.start()], text[found.end() :]):
            left.discard(address)
            yield from _plain(text[done : found.start()])
            link = nodes.reference("", found[0], internal=True, refuri=address)
            link["classes"].append("term")
            yield link
            done = found.end()
    yield from _plain(text[done:], empty=done == 0)


def _is_meant(form: str, before: str, after: str) -> bool:
    """Whether a word has the sense that the glossary explains."""
    if form == "leaves":
        return bool(_NOUN_AFTER.search(before))
    return not (form in _OTHER_SENSE and re.match(_OTHER_SENSE[form], after))


def _plain(text: str, *, empty: bool = False) -> Iterator[nodes.Text]:
    if text or empty:
        yield nodes.Text(text)


def _write_again(app: Sphinx, env: BuildEnvironment) -> Iterable[str]:
    """All pages with links, when a term has come, gone or moved."""
    found = _terms(env)
    if getattr(env, "gradbook_terms", None) == found:
        return []
    env.gradbook_terms = found
    return [name for name in env.all_docs if name.startswith(PARTS)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("env-updated", _write_again)
    app.connect("doctree-resolved", _link_first_uses, priority=_BEFORE_COPIES)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
