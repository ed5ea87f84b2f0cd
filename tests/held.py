"""The numbers of a page's text, and the held lines that bind them to the run.

A held line is a MyST comment, which no reader sees. It stands after the text, in the same section:

    The gradient is 6, and after the second call 12.

    % held: g1 == 6, w.grad == 12

It is a tuple of expressions, evaluated in the namespace of the page after the cells above it. Each
must be true, and the numbers written in them are, in order, the numbers of the text since the last
held line. With another number in its place, an expression must not be true. A string stands for a
number that cannot come from the run, and gives the reason.
"""

import ast
import builtins
import html
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from sybil import Document, Example, Region

from gradbook.understand.catalogue import load

DOCS = Path(__file__).parents[1] / "docs"

_CONF = (DOCS / "conf.py").read_text("utf-8")
_EXTENSIONS = ast.literal_eval(re.search(r"myst_enable_extensions = (\[.*?\])", _CONF)[1])

# Directives whose content is Markdown; of some, the argument is text as well.
_TITLED = {"admonition", "attention", "caution", "danger", "dropdown", "error", "figure-md", "hint"}
_TITLED |= {"important", "note", "rubric", "seealso", "tip", "topic", "warning"}
_MARKDOWN = _TITLED | {"container", "figure", "glossary", "only-in"}
# Of these the text stands in the catalogue; see docs/_extensions, clinic.
FROM_CATALOGUE = {"cure", "variant", "why"}
_NO_TEXT = {
    *("clinic-index", "code-block", "code-cell", "eval-rst", "image", "book-facts", "learn-map"),
    "literalinclude",
}
_NO_TEXT |= {"book-in-numbers", "take-away", "toctree", "torch-versions"}
# Roles that show what they name; others show their text, or code.
_SILENT_ROLES = {"class", "doc", "download", "eval", "func", "meth", "mod", "ref"}

SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUBSCRIPT = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_NUMBER = r"(?P<number>(?:\d[\d_]*(?:\.\d+)*|\.\d+)(?:\.?[eE][+-]?\d+)?)"
_THOUSANDS = r"(?P<thousands>\d{1,3}(?:,\d{3})+(?![\d,]))"
_DATE = r"(?P<date>\d{4}-\d\d-\d\d(?!\d))"
# 8x8 has two numbers, float32 and v2.13 have none.
_NAME = r"(?<=\d)x(?=\d)|[^\W\d]\w*(?:\.\w+)*"
_IN_PROSE = re.compile("|".join([_NAME, _DATE, _THOUSANDS, _NUMBER]))
_IN_MATH = re.compile("|".join([_THOUSANDS, _NUMBER]))
_IN_CODE = re.compile(_NUMBER)
_NUMERIC_CODE = re.compile(r"(?:[\s\d.,:;()\[\]{}<>=+\-−*/×·%_]|(?<=[\d.])[eE](?=[+-]?\d))+")
_PERCENT = re.compile(r"\s*(?:\\?%|percent\b|per cent\b)")
# Of TeX: what a name or a distance is, or a group that is text.
_TEX_SILENT = re.compile(
    r"\\\\\[[^\]]*\]"
    r"|\\(?:hspace|vspace|label|ref|begin|end|operatorname|texttt|mathtt)\*?\{[^}]*\}(?:\{[lcr|]+\})?"
    r"|_\{[^{}=]*\}|_\w"
    r"|\\(?:mathrm|text|mathbf|mathit)\{[^}\d]*[^\W\d]\d*[^}\d]*\}"
)


class HeldError(AssertionError):
    """A number of the text that the run does not hold."""


@dataclass(frozen=True)
class Number:
    """A number of the text.

    Attributes:
        text: as it is written.
        line: line of the page, from 1.
        values: what it may be equal to: 25 % is 25 or 0.25. A date or a version has none.
        sentence: in which it stands.
    """

    text: str
    line: int
    values: tuple[float, ...]
    sentence: str

    def is_(self, literal: float) -> bool:
        """Whether a number written in a held line is this one; signs are ignored."""
        return any(math.isclose(value, abs(literal), rel_tol=1e-12) for value in self.values)


@dataclass(frozen=True)
class Claim:
    """One expression of a held line, or a reason."""

    source: str
    expression: ast.expr
    literals: tuple[float, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Held:
    """Held lines in a row, with the numbers that they hold.

    Attributes:
        line: the first of them, from 1.
        last: the last of them.
        claims: all expressions.
        numbers: those of the text since the last held line.
    """

    line: int
    last: int
    claims: tuple[Claim, ...]
    numbers: tuple[Number, ...]

    @property
    def written(self) -> Iterator[tuple[Claim, float | None]]:
        """The numbers written in the claims, in order; None stands for the one of a reason."""
        for claim in self.claims:
            for literal in claim.literals if claim.reason is None else (None,):
                yield claim, literal


@dataclass
class Page:
    """What stands on a page.

    Attributes:
        held: in order.
        unheld: numbers after which no held line stands.
        faults: held lines that cannot be used: line and reason.
    """

    held: list[Held] = field(default_factory=list)
    unheld: list[Number] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)

    @property
    def numbers(self) -> list[Number]:
        """All numbers of the text, in reading order."""
        found = [number for held in self.held for number in held.numbers]
        return sorted([*found, *self.unheld], key=lambda number: number.line)


# Reading the text


@cache
def _parser() -> MarkdownIt:
    return create_md_parser(MdParserConfig(enable_extensions=set(_EXTENSIONS)), RendererHTML)


@dataclass(frozen=True)
class _Heading:
    pass


@dataclass(frozen=True)
class _Cell:
    pass


@dataclass(frozen=True)
class _Comment:
    line: int
    last: int
    text: str


@dataclass(frozen=True)
class _Text:
    """Pieces of a paragraph, a heading, a cell of a table: kind and text."""

    line: int
    pieces: list[tuple[str, str]]


_Event = _Heading | _Cell | _Comment | _Text
# The texts that a directive shows, by its name and its argument.
Texts = Callable[[str, str], tuple[str, ...]]


def _events(text: str, first: int, catalogue: Texts) -> Iterator[_Event]:
    """Walk through Markdown whose first line is line `first` of the page."""
    description: list[_Text] = []
    for token in _parser().parse(text):
        line = first + token.map[0] if token.map else first
        match token.type:
            case "heading_open":
                yield _Heading()
                yield from description  # is held below the title of the page
                description.clear()
            case "inline":
                yield _Text(line, list(_pieces(token.children or [])))
            case "math_block" | "math_block_label" | "amsmath":
                yield _Text(line, [("math", token.content)])
            case "html_block":
                yield _Text(line, [("prose", html.unescape(re.sub("<[^>]+>", " ", token.content)))])
            case "fence" | "colon_fence":
                yield from _directive(token, line, catalogue)
            case "front_matter":
                description.append(_Text(line, [("prose", _description(token.content))]))
            case "myst_line_comment":
                yield _Comment(line, first + token.map[1] - 1, token.content)


def _description(front_matter: str) -> str:
    """What search engines show; on the line below for each line above it."""
    meta = (yaml.safe_load(front_matter).get("myst") or {}).get("html_meta") or {}
    above = front_matter.partition("description:")[0].count("\n") + 1
    return "\n" * above + meta.get("description", "")


def _directive(token: Token, line: int, catalogue: Texts) -> Iterator[_Event]:
    found = re.match(r"\{([\w:-]+)\}\s*(.*)", token.info)
    if not found:
        yield _Cell()
        return
    name, argument = found.groups()
    options, content, skipped = _options(token.content)
    if "alt" in options:
        offset = next(n for n, one in enumerate(token.content.splitlines()) if "alt:" in one)
        yield _Text(line + 1 + offset, [("prose", str(options["alt"]))])
    if name == "math":
        yield _Text(line, [("math", content)])
    elif name in _MARKDOWN:
        if name in _TITLED and argument:
            # The number of an exercise is its name; a test holds their order.
            title = re.sub(r"^Exercise \d+", "Exercise", argument)
            yield from _events(title, line, catalogue)
        yield from _events(content, line + 1 + skipped, catalogue)
    elif name in FROM_CATALOGUE:
        for text in catalogue(name, argument):
            for event in _events(text, line, catalogue):
                yield replace(event, line=line) if isinstance(event, _Text) else event
    elif name in _NO_TEXT:
        yield _Cell()
    else:
        raise ValueError(f"line {line}: say in tests/held.py whether {{{name}}} contains text")


def catalogue_texts(kind: str, argument: str) -> tuple[str, ...]:
    """What the page shows for a directive; titles of related entries are held where they stand."""
    if kind == "variant":
        one = next(v for entry in load().entries for v in entry.variants if v.source == argument)
        return one.title, one.because, one.cure
    entry = load()[argument]
    return entry.cures if kind == "cure" else (*entry.because, entry.signal)


def _options(content: str) -> tuple[dict[str, Any], str, int]:
    """Options of a directive (`alt` may be below `mystnb: image:`), its content, lines skipped."""
    lines = content.splitlines()
    if lines and lines[0].strip() == "---":
        end = next(n for n, one in enumerate(lines) if n and one.strip() == "---") + 1
        head = "\n".join(lines[1 : end - 1])
    else:
        end = next((n for n, one in enumerate(lines) if not one.startswith(":")), len(lines))
        if lines[:1] and lines[0].startswith("::"):
            end = 0  # a directive inside this one
        head = "\n".join(one[1:].replace(":", ": ", 1) for one in lines[:end] if "alt:" in one)
    options = yaml.safe_load(head) or {}
    options = options if isinstance(options, dict) else {}
    image = (options.get("mystnb") or {}).get("image") or {}
    return {**options, **image}, "\n".join(lines[end:]), end


def _pieces(children: list[Token]) -> Iterator[tuple[str, str]]:
    for child in children:
        match child.type:
            case "text":
                yield "prose", child.content
            case "softbreak" | "hardbreak":
                yield "silent", "\n"
            case "code_inline":
                numeric = _NUMERIC_CODE.fullmatch(child.content)
                yield "code" if numeric else "silent", child.content
            case "math_inline" | "math_inline_double":
                yield "math", child.content
            case "image":
                yield from _pieces(child.children or [])
            case "myst_role":
                yield _role(child.meta["name"], child.content)


def _role(name: str, content: str) -> tuple[str, str]:
    named = re.fullmatch(r"(.+?)\s*<[^<>]+>", content, flags=re.DOTALL)
    if name == "math":
        return "math", content
    return "prose" if named or name not in _SILENT_ROLES else "silent", (
        named[1] if named else content
    )


def _plain(kind: str, text: str) -> str:
    """The text, in as many lines, with powers and indices as they are written in code."""
    if kind == "math":
        text = re.sub(r"(?<=\d)(?:\{,\}|\\,)(?=\d{3})", ",", text)
        return _TEX_SILENT.sub(lambda found: "\n" * found[0].count("\n"), text)
    text = re.sub(r"[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda power: f"^{power[0]}".translate(SUPERSCRIPT), text)
    return text.translate(_SUBSCRIPT)


def _numbers(text: _Text) -> Iterator[Number]:
    pattern = {"prose": _IN_PROSE, "code": _IN_CODE, "math": _IN_MATH}
    plain = [(kind, _plain(kind, piece)) for kind, piece in text.pieces]
    whole = "".join(piece for _, piece in plain)
    start = 0
    for kind, piece in plain:
        if kind != "silent":
            for found in pattern[kind].finditer(piece):
                groups = found.groupdict()
                if written := groups.get("date") or groups.get("thousands") or groups["number"]:
                    place = start + found.start()
                    percent = bool(_PERCENT.match(whole, start + found.end()))
                    line = text.line + whole.count("\n", 0, place)
                    yield Number(written, line, _values(written, percent), _sentence(whole, place))
        start += len(piece)


def _values(written: str, percent: bool) -> tuple[float, ...]:
    try:
        value = float(written.replace(",", ""))
    except ValueError:
        return ()
    return (value, value / 100) if percent else (value,)


def _sentence(text: str, place: int) -> str:
    """The sentence, or the line of a formula."""
    starts = [
        0,
        *(end.end() for end in re.finditer(r"[.!?:;]\s+|\n(?=\\|.*\\\\)", text)),
        len(text),
    ]
    start = max(one for one in starts if one <= place)
    end = min(one for one in starts if one > place)
    return " ".join(text[start:end].split())


def read(text: str, catalogue: Texts | None = None) -> Page:
    """Read a page.

    Args:
        text: of its file.
        catalogue: gives the texts of a directive of the Clinic; `catalogue_texts` by default.

    Raises:
        ValueError: a directive of which this module does not know whether it contains text.
    """
    page = Page()
    lines = text.splitlines()
    waiting: list[Number] = []
    comments: set[int] = set()
    row: tuple[_Comment, ...] = ()  # held lines since the last text or cell

    def close() -> None:
        nonlocal row
        if row:
            claims = [claim for one in row for claim in _claims(one, page.faults)]
            page.held.append(Held(row[0].line, row[-1].last, tuple(claims), tuple(waiting)))
            waiting.clear()
            row = ()

    for event in _events(text, 1, catalogue or catalogue_texts):
        match event:
            case _Comment() if re.match(r"\s*held\b", event.text, flags=re.IGNORECASE):
                comments.update(range(event.line, event.last + 1))
                row = (*row, event)
                if event.last < len(lines) and _goes_on(lines[event.last]):
                    fault = "a held line stands after the text, not in it: leave a line empty below"
                    page.faults.append((event.line, fault))
            case _Text():
                if numbers := list(_numbers(event)):
                    close()
                    waiting += numbers
            case _Cell():
                close()
            case _Heading():
                close()
                page.unheld += waiting
                waiting.clear()
    close()
    page.unheld += waiting
    for number, line in enumerate(lines, start=1):
        if re.match(r"\s*%\s*held\b", line, flags=re.IGNORECASE) and number not in comments:
            fault = "this held line would be seen by readers: it stands in code, or too far right"
            page.faults.append((number, fault))
    return page


def _goes_on(below: str) -> bool:
    """Whether the line below a held line is text that belongs above it."""
    return not re.match(r"\s*(?:$|:::|```|~~~|%|#|\(.*\)=|[-*+] |\d+[.)] )", below)


def _claims(comment: _Comment, faults: list[tuple[int, str]]) -> Iterator[Claim]:
    for line, text in enumerate(comment.text.split("\n"), start=comment.line):
        found = re.fullmatch(r"\s*held: (.+)", text)
        if not found:
            faults.append((line, "a held line is written: % held: expression, expression"))
            continue
        source = found[1].strip()
        try:
            parsed = ast.parse(f"({source},)", mode="eval").body
        except SyntaxError as error:
            faults.append((line, f"the held line is no Python expression: {error.msg}"))
            continue
        for expression in parsed.elts:
            written = ast.get_source_segment(f"({source},)", expression) or source
            if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
                yield Claim(written, expression, reason=expression.value)
            else:
                yield Claim(written, expression, tuple(_literals(expression)))


def _literals(expression: ast.expr) -> Iterator[float]:
    """Numbers written in an expression, in order."""
    for constant in _constants(expression):
        yield abs(constant.value)  # type: ignore[arg-type]


def _constants(expression: ast.expr) -> list[ast.Constant]:
    """Its numbers, in order; not those inside of `at`, nor digits of round."""
    silent: set[ast.AST] = set()
    for node in ast.walk(expression):
        match node:
            case ast.Call(func=ast.Name(id="at")):
                silent.update(ast.walk(node))
            case ast.Call(func=ast.Name(id="round"), args=[_, digits]):
                silent.update(ast.walk(digits))
            case ast.keyword(arg="decimals" | "ndigits"):
                silent.update(ast.walk(node))
    constants = [
        node
        for node in ast.walk(expression)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, int | float | complex)
        and not isinstance(node.value, bool)
        and node not in silent
    ]
    return sorted(constants, key=lambda node: (node.lineno, node.col_offset))


# Holding it against the run


def at(value: Any) -> Any:
    """Return `value`: numbers written inside of this call are none of the text."""
    return value


def match(held: Held) -> None:
    """Compare the numbers of the text with those of its held lines, without running anything.

    Raises:
        HeldError: they differ; the message names number, sentence and expression.
    """
    told = list(held.written)
    for place, number in enumerate(held.numbers):
        if place == len(told):
            raise HeldError(f"no held line holds {_told(number)}")
        claim, literal = told[place]
        if literal is not None and not number.is_(literal):
            raise HeldError(
                f"{literal:g} is held by `{claim.source}`, but the text has {_told(number)}"
            )
    if len(told) > len(held.numbers):
        claim, literal = told[len(held.numbers)]
        what = f"{literal:g}" if literal is not None else "a number for this reason"
        raise HeldError(
            f"`{claim.source}` holds {what}, which the text above does not have: "
            f"it has {', '.join(one.text for one in held.numbers) or 'no number'}"
        )


def _told(number: Number) -> str:
    return f"{number.text} (line {number.line}: \u201c{number.sentence}\u201d)"


def evaluate(held: Held, namespace: dict[str, Any]) -> None:
    """Evaluate held lines.

    Raises:
        HeldError: an expression is not true; the message names it, its numbers and what was found.
    """
    numbers = iter(held.numbers)
    for claim in held.claims:
        if claim.reason is not None:
            next(numbers)
            continue
        its = [next(numbers) for _ in claim.literals]
        about = "; ".join(_told(number) for number in its)
        about = f"; the text has {about}" if about else ""
        names = {node.id for node in ast.walk(claim.expression) if isinstance(node, ast.Name)}
        if not (names - set(dir(builtins)) - {"at"}) & set(namespace):
            raise HeldError(
                f"`{claim.source}` names nothing of the page, so it proves nothing{about}"
            )
        values = {**namespace, "at": at}
        try:
            result = _truth(_value(claim.expression, values))
        except Exception as error:
            raise HeldError(
                f"`{claim.source}` raised {type(error).__name__}: {error}{about}"
            ) from error
        if result is None:
            raise HeldError(f"`{claim.source}` is neither true nor false: compare one value{about}")
        if not result:
            raise HeldError(
                f"`{claim.source}` is not true: {_found(claim.expression, values)}{about}"
            )
        for constant in _constants(claim.expression):
            if not _matters(constant, claim.expression, values):
                raise HeldError(
                    f"`{claim.source}` stays true with another number in place of "
                    f"{constant.value}, so it does not hold that{about}"
                )


def _matters(constant: ast.Constant, expression: ast.expr, values: dict[str, Any]) -> bool:
    """Whether the expression is not true with another number in place of the one written."""
    kinds = {type(node) for node in ast.walk(expression)}
    if ast.NotEq in kinds:  # what is not 5 may not be 4 either
        return True
    number = constant.value
    others = [number + 1]
    if kinds & {ast.Lt, ast.LtE, ast.Gt, ast.GtE}:  # what is more than 5 is more than 4 too
        others += [number - 1, 1000 * (number + 1), -1000 * (number + 1)]
    try:
        for other in others:
            constant.value = other
            try:
                if not _truth(_value(expression, values)):
                    return True
            except Exception:  # such as an index out of range
                return True
    finally:
        constant.value = number
    return False


def _value(expression: ast.expr, values: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(expression), "<held line>", "eval"), values)


def _truth(result: Any) -> bool | None:
    """True or False, also of a tensor or array with one element; None for everything else."""
    if isinstance(result, bool):
        return result
    if str(getattr(result, "dtype", "")) in ("bool", "torch.bool") and math.prod(result.shape) == 1:
        return bool(result)
    return None


def _found(expression: ast.expr, values: dict[str, Any]) -> str:
    """Values of the operands of all comparisons."""
    found = {}
    for node in ast.walk(expression):
        if isinstance(node, ast.Compare):
            for operand in (node.left, *node.comparators):
                if any(isinstance(one, ast.Name) for one in ast.walk(operand)):
                    try:
                        found[ast.unparse(operand)] = repr(_value(operand, values))
                    except Exception:  # a variable of a comprehension
                        continue
    return ", ".join(f"{source} is {value}" for source, value in found.items()) or "it is False"


# As tests


def parse(document: Document) -> Iterator[Region]:
    """A parser for Sybil: an example for each row of held lines, one for what no line holds."""
    page = read(document.text)
    starts = [0]
    for line in document.text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for held in page.held:
        yield Region(starts[held.line - 1], starts[held.last] - 1, held, _check)
    left = [f"line {line}: {fault}" for line, fault in sorted(page.faults)]
    left += [f"line {one.line}: no held line holds {_told(one)}" for one in page.unheld]
    yield Region(document.end, document.end, left, _report)


def _check(example: Example) -> str | None:
    try:
        match(example.parsed)
        evaluate(example.parsed, example.namespace)
    except HeldError as error:
        return str(error)
    return None


def _report(example: Example) -> str | None:
    return "\n".join(example.parsed) or None
