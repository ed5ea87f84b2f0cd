"""What the outputs of gradbook say in a page, in the language of the site.

A cell runs once, whatever the language; its output is English. The sentences that `gradbook` writes
into HTML are listed here, with names in braces for what differs from output to output. A site in
another language finds them in an output and puts the translated sentence in their place.
"""

import ast
import json
import re
from collections.abc import Callable
from functools import cache
from html import unescape
from importlib import resources

from gradbook.understand.catalogue import load

# Whole texts of elements. A name in braces stands for anything: `count` for a number, `part` for
# one of `PARTS`, `links` for several of them, `text` for a text of the catalogue.
SENTENCES = (
    # the player
    *(
        f"comes in: <b>{{name}}</b> = {{numbers}}{whence}"
        for whence in (
            ", from the start and one edge",
            ", from the start and two edges",
            ", from the start and three edges",
            ", from the start and {count} edges",
            ", from two edges",
            ", from three edges",
            ", from {count} edges",
            ", the start",
            ", from <code>{code}</code>",
            "",
        )
    ),
    "comes in: {numbers}; a hook made it <b>{name}</b> = {numbers2}",
    "to {part}: {rule}, summed to {shape} = {result}",
    "to {part}: {result}",
    "<code>{code}</code> was None, is now {grad}",
    "The numbers stay as recorded: {part}.",
    "All steps as a table",
    "steps, scrolls sideways",
    "step",
    "node",
    "what it does with the gradient",
    "{count} steps are not shown",
    "The first and the last {count} of {count2} steps",
    # a drawing
    "Drawing of a graph with {part}",
    "Backward graph: {part}, {part2}, {part3}, {part4} saved",
    "Backward graph: {part}, {part2}, {part3}, {part4} saved, released",
    "From inputs to outputs: {links}. Output: {part}.",
    "From inputs to outputs: {links}. Outputs: {part}.",
    "{count} nodes, shown folded into {count2}",
    "{count} nodes, shown by module in {count2} boxes",
    "{count} nodes, shown by module in {count2} box",
    "which module made what is guessed from the parameters",
    "What is inside of {part}",
    "{count} more modules do not open here: to_svg(depth=name) draws one.",
    "line {count}: {code}",
    # a history; its caption has one or two of them
    "best: epoch {count}, {name} {value}",
    "no complete epoch",
    "interrupted",
    "no loss is a number",
    # an explanation
    "Because",
    "One of these",
    "Cure",
    "Details",
    "related",
    "How to recognise it: {text}",
)
# What stands inside of a sentence, or in a box of a drawing.
PARTS = (
    "{name} <i>(left)</i>",
    "{name} <i>(right)</i>",
    "{name} <i>(added)</i>",
    "{name} <i>(input)</i>",
    "{name} <i>(target)</i>",
    "{name} <i>(where true)</i>",
    "{name} <i>(where false)</i>",
    "the graph has more than {count} nodes",
    "not every node ran",
    "it computes in complex numbers",
    "it computes in {name} and {name2}",
    "it computes in {name}",
    "a tensor has more than {count} elements",
    "it did not run under record_lines()",
    "the player has no rule for {name} without a reduction",
    "the player has no rule for {name}",
    "a condition compares what is not in the graph",
    "a constant is not known",
    "a constant was computed from a leaf, by {name}",
    "a number was taken out of a tensor, by {name}",
    "here it computes other numbers than torch",
    "{part} goes into {part2} by {count} edges",
    "{part} goes into {part2}",
    "and {count} more",
    "{name} (number {count})",
    "saved: {tensors}",
    "released: {tensors}",
    "saved {tensor} at version {count}",
    "edited since: now version {count}",
    "a run of {count} nodes",
    "mostly {name}",
    "{name}, call {count}",
    "{name}, in a loop",
    "{name}, in turn",
    "the model",
    "the model {shape}",
    "{count} calls",
    "from {name}",
    "to {name}",
    "grad {value}",
    # a tensor with too many numbers to show
    "{name} {shape}, norm {value}, from {low} to {high}",
    "{name} {shape}, norm {value}",
    "{count} operation: {names}",
    "{count} operations: {names}",
    "{names}, and {count} more kinds",
    "{names}, and {count} more kind",
    "and {count} more kinds",
    "and {count} more kind",
    "leaf {count}",
    "# line {count}: {code}",
    "output",
    "output {count} of {count2}",
    *(
        f"{before}{{count}} {noun}"
        for before, *nouns in (
            ("", "node", "nodes"),
            ("", "edge", "edges"),
            ("", "leaf", "leaves"),
            ("", "byte", "bytes"),
            ("", "tensor", "tensors"),
            ("", "parameter", "parameters"),
            ("", "module", "modules"),
            ("", "output", "outputs"),
            ("+ ", "constant", "constants"),
        )
        for noun in nouns
    ),
)
# Classes of a text that has no translation yet; of the first, HTML gets the attribute ``lang``.
UNTRANSLATED = ("language-en", "untranslated")
_NAME = re.compile(r"\{(\w+?)\}")
# An element that holds text, perhaps with words marked in it, and no other such element.
_HOLDERS = "p|li|th|td|summary|caption|title|desc|text|strong|span"
_ELEMENT = re.compile(
    rf"(<({_HOLDERS})\b[^>]*>)((?:(?!</?(?:{_HOLDERS}|tr|ul|div|svg|g|table)\b).)+)(?=</\2>)",
    re.DOTALL,
)
# What is known of a node stands in a line, its parts apart by two spaces.
_BETWEEN = {"caption": "(; )", "td": "(  )", "title": "(  )", "text": "( · )"}
_VALUE = re.compile(r"(<data\b[^>]*>)([^<]*)(?=</data>)")
_LABEL = re.compile(r'(aria-label=")([^"]*)(?=")')


def messages() -> tuple[str, ...]:
    """Everything to translate that is written here and in the player's table of words."""
    return tuple(dict.fromkeys((*SENTENCES, *PARTS, *_words())))


def _words() -> tuple[str, ...]:
    """Those of the player; read, as an import of the module takes a second: torch comes with it."""
    source = (resources.files("gradbook.see") / "display" / "rules.py").read_text("utf-8")
    table = next(
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "WORDS"
    )
    return tuple(ast.literal_eval(table).values())


@cache
def _patterns() -> tuple[list[tuple[str, re.Pattern[str]]], list[tuple[str, re.Pattern[str]]]]:
    whole = [(text, _pattern(text)) for text in (*SENTENCES, *_words())]
    return whole, [(text, _pattern(text)) for text in PARTS]


def _pattern(template: str) -> re.Pattern[str]:
    pieces = _NAME.split(template)
    pattern = ""
    for number, piece in enumerate(pieces):
        if number % 2 == 0:
            pattern += re.escape(piece)
        else:
            inside = r"[\d.,]+" if piece.startswith("count") else ".+?"
            pattern += f"(?P<{piece}>{inside})"
    return re.compile(pattern, re.DOTALL)


def translate(html: str, gettext: Callable[[str], str], of_catalogue: Callable[[str], str]) -> str:
    """Put translated sentences into the HTML of an output.

    Args:
        html: what a cell displayed.
        gettext: gives the translation of one of `messages`; the same text if there is none.
        of_catalogue: the same for the texts of the catalogue.

    >>> words = {"saved: {tensors}": "gesichert: {tensors}"}
    >>> translate("<text>saved: self (3,)</text>", lambda text: words.get(text, text), str)
    '<text>gesichert: self (3,)</text>'
    """

    def sentence(text: str) -> str:
        return (
            _by_template(text, 0, gettext, of_catalogue)
            or _by_template(text, 1, gettext, of_catalogue)
            or _of_catalogue(text, of_catalogue)
            or text
        )

    def element(found: re.Match[str]) -> str:
        opening, name, inside = found.groups()
        apart = re.split(_BETWEEN[name], inside) if name in _BETWEEN else [inside]
        return opening + "".join(sentence(text) for text in apart)

    def value(found: re.Match[str]) -> str:
        text = found[2].replace("&nbsp;", " ")
        said = sentence(text)
        return found[0] if said == text else found[1] + said

    html = _VALUE.sub(value, _ELEMENT.sub(element, html))
    return _LABEL.sub(lambda found: found[1] + sentence(found[2]), html)


def _by_template(
    text: str, kind: int, gettext: Callable[[str], str], of_catalogue: Callable[[str], str]
) -> str | None:
    for template, pattern in _patterns()[kind]:
        found = pattern.fullmatch(text)
        if found is None:
            continue
        values = found.groupdict()
        for name, value in values.items():
            if name == "text":
                values[name] = _of_catalogue(value, of_catalogue) or value
            elif name.startswith("part") or name == "links":
                parts = [
                    _by_template(part, 1, gettext, of_catalogue) or part
                    for part in value.split("; ")
                ]
                values[name] = "; ".join(parts)
        return _fill(gettext(template), values)
    return None


def _fill(template: str, values: dict[str, str]) -> str:
    return _NAME.sub(lambda name: values.get(name[1], name[0]), template)


@cache
def _catalogue_texts() -> dict[str, str]:
    """Texts of the catalogue by how `Explanation` writes them."""
    found = {}
    for entry in load().entries:
        texts = [entry.title, *entry.because, *entry.possible, *entry.cures, entry.signal]
        for one in entry.variants:
            texts += [one.title, one.because, one.cure, one.tell]
        found |= {text.replace("`", ""): text for text in texts}
    return found


@cache
def _causes() -> dict[str, tuple[str, str, str]]:
    """A cause that is left, as `Explanation` writes it, with its three texts."""
    variants = [one for entry in load().entries for one in entry.variants]
    return {
        f"{one.title}: {one.because} {one.tell}".strip().replace("`", ""): (
            one.title,
            one.because,
            one.tell,
        )
        for one in variants
    }


def _of_catalogue(html: str, gettext: Callable[[str], str]) -> str | None:
    plain = unescape(re.sub(r"</?code>", "", html))
    text = _catalogue_texts().get(plain)
    if text is not None:
        return _marked(gettext(text))
    cause = _causes().get(plain)
    if cause is None:
        return None
    title, because, tell = (gettext(part) if part else "" for part in cause)
    return _marked(in_a_row(f"{title}: {because}", tell).strip())


def _marked(text: str) -> str:
    """Escaped, with what stands in backquotes as code."""
    parts = text.replace("&", "&amp;").replace("<", "&lt;").split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))


def in_a_row(*sentences: str) -> str:
    r"""Sentences, with a space between them; Chinese has none after its marks.

    >>> in_a_row("One.", "Two."), ascii(in_a_row("\u4e00\u3002", "\u4e8c\u3002"))
    ('One. Two.', "'\\u4e00\\u3002\\u4e8c\\u3002'")
    """
    return re.sub(r"(?<=[\u3002\uff01\uff1f])\s+", "", " ".join(sentences))


def in_script(translations: dict[str, str]) -> str:
    """A script that gives translations to the scripts of a page; empty without translations."""
    if not translations:
        return ""
    table = json.dumps(translations, ensure_ascii=False, sort_keys=True, indent=0)
    return f"Object.assign(Documentation.TRANSLATIONS, {table});\n"
