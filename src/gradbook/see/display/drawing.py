"""A graph as SVG, drawn without any other program.

Colours are CSS variables: those of Furo, JupyterLab or VS Code where they are set, else our own for
light and dark. There are no ids, so any number of drawings can stand on a page.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from gradbook.see.display.folding import Drawn, Item, Link, Sketch, plural
from gradbook.see.display.layout import Box, lay_out, room_for
from gradbook.see.display.text import described, output_words

STYLE = """\
.gradbook-graph,.gradbook-player{
--gb-own-ink:#1b1d20;--gb-own-muted:#54585f;--gb-own-paper:#fff;--gb-own-line:#7a7f87;
--gb-own-leaf:#1f5fd0;
--gb-ink:var(--color-foreground-primary,var(--jp-content-font-color1,\
var(--vscode-editor-foreground,var(--gb-own-ink))));
--gb-muted:var(--color-foreground-secondary,var(--jp-content-font-color1,\
var(--vscode-editor-foreground,var(--gb-own-muted))));
--gb-paper:var(--color-background-primary,var(--jp-layout-color1,\
var(--vscode-editor-background,var(--gb-own-paper))));
--gb-line:var(--color-foreground-muted,var(--jp-content-font-color2,\
var(--vscode-editor-foreground,var(--gb-own-line))));
--gb-leaf:var(--color-brand-content,var(--jp-brand-color1,\
var(--vscode-textLink-foreground,var(--gb-own-leaf))));
--gb-root:#e8590c;
--gb-grad:#b9480a;--gb-ok:#237a3b;--gb-wrong:#c01c28;
--gb-mono:var(--font-stack--monospace,var(--jp-code-font-family,\
ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace))}
@supports(color:color-mix(in srgb,red,red)){.gradbook-graph,.gradbook-player{
--gb-grad:color-mix(in srgb,#e8590c 68%,var(--gb-ink));
--gb-ok:color-mix(in srgb,#2b9348 68%,var(--gb-ink));
--gb-wrong:color-mix(in srgb,#e5383b 72%,var(--gb-ink))}}
.gradbook-graph{display:block;margin-inline:auto;max-width:100%;height:auto;font-family:var(--gb-mono)}
@media(prefers-color-scheme:dark){.gradbook-graph,.gradbook-player{
--gb-own-ink:#e4e6e9;--gb-own-muted:#a9aeb6;--gb-own-paper:#15171a;--gb-own-line:#7d838c;
--gb-own-leaf:#6ba6ff}}
.gradbook-graph:root{background:var(--gb-paper)}
.gradbook-scroll{overflow-x:auto;max-width:100%}
.gradbook-scroll>.gradbook-graph{max-width:none}
.gradbook-graph text{fill:var(--gb-ink);font-size:11px;text-anchor:middle;white-space:pre}
.gradbook-graph .gb-name{font-size:13px;font-weight:600}
.gradbook-graph .gb-shape{font-size:12px}
.gradbook-graph .gb-small{fill:var(--gb-muted)}
.gradbook-graph .gb-code{fill:var(--gb-muted);font-style:italic}
.gradbook-graph .gb-box{fill:var(--gb-paper);stroke:var(--gb-line);stroke-width:1.2}
.gradbook-graph .gb-tint{fill:none;stroke:none}
.gradbook-graph .gb-leaf .gb-box{stroke:var(--gb-leaf);stroke-width:1.6}
.gradbook-graph .gb-leaf .gb-tint{fill:var(--gb-leaf);fill-opacity:.1}
.gradbook-graph .gb-root .gb-box{stroke:var(--gb-root);stroke-width:2.4}
.gradbook-graph .gb-edited .gb-box{stroke:var(--gb-wrong);stroke-width:2.4}
.gradbook-graph .gb-edited .gb-tint{fill:var(--gb-wrong);fill-opacity:.1}
.gradbook-graph .gb-wrong{fill:var(--gb-wrong);font-size:12px;font-weight:600}
.gradbook-graph .gb-fold .gb-box{stroke-dasharray:5 3}
.gradbook-graph>.gb-small,.gradbook-graph .gb-count{paint-order:stroke;stroke:var(--gb-paper);\
stroke-width:3px}
.gradbook-graph .gb-around{fill:var(--gb-line);fill-opacity:.06;stroke:var(--gb-line);\
stroke-width:1}
.gradbook-graph .gb-frame text,.gradbook-graph .gb-norm text{text-anchor:start}
.gradbook-graph .gb-frame text{paint-order:stroke;stroke:var(--gb-paper);stroke-width:4px}
.gradbook-graph .gb-outer .gb-box{fill:none;stroke:none}
.gradbook-graph .gb-outer text{font-style:italic;font-weight:400;fill:var(--gb-muted)}
.gradbook-graph .gb-whole{fill:var(--gb-line);fill-opacity:.25}
.gradbook-graph .gb-share{fill:var(--gb-grad)}
.gradbook-graph .gb-edge{fill:none;stroke:var(--gb-line);stroke-width:1.5;stroke-linecap:round;\
stroke-linejoin:round}
"""
"""The rules that all drawings of a page share; it may stand there any number of times."""

_SIZES = {
    "name": 13,
    "shape": 12,
    "small": 11,
    "code": 11,
    "wrong": 12,
}  # font sizes in px, as in STYLE
_ADVANCE = 0.61  # width of a letter of a monospace font, in its size; the widest usual ones
_LEADING = 1.36
_PADDING = 12
_LONGEST = 36  # letters in a line
_LONGEST_LABEL = 48  # torch has names of 45 letters
_MOST_SAVED = 4
_WIDE = 480  # px that still can be read when a phone makes it narrower
_WIDEST = 640.0  # px of a box with many inputs
_SPOKEN = 60  # edges


def to_svg(graph: Drawn, sketch: Sketch) -> str:
    """A drawing that can stand in a page, or in a file of its own; see `BackwardGraph.to_svg`."""
    return _svg(graph, sketch, f"<style>{STYLE}</style>")


def svg_of(graph: Drawn, sketch: Sketch) -> str:
    """The drawing without `STYLE`, for a page that has it already.

    Each box is a ``<g class="gb-node" data-node="...">`` with the id of its (first) node. Each
    edge is a ``<path class="gb-edge">`` with ``data-src``, ``data-dst`` (of boxes; as in `Edge`, so
    it is drawn from dst to src), ``data-input`` (`Edge.input_nr`) and ``data-edge`` (its position
    in `BackwardGraph.edges`; of the first, if it stands for several).
    """
    return _svg(graph, sketch, "")


def to_html(graph: Drawn, sketch: Sketch) -> str:
    """The drawing as part of a page: one that is wider than a phone scrolls sideways."""
    svg = to_svg(graph, sketch)
    width = int(svg.split(' width="', 1)[1].split('"', 1)[0])
    if width <= _WIDE:
        return svg
    label = f"Drawing of a graph with {plural(len(graph), 'node')}"
    return (
        f'<div class="gradbook-scroll" tabindex="0" role="group" aria-label="{label}">{svg}</div>'
    )


@dataclass(frozen=True, slots=True)
class _Label:
    """The lines of a box, each with its class, and the size that they need."""

    lines: tuple[tuple[str, str], ...]
    width: float
    height: float


def _svg(graph: Drawn, sketch: Sketch, style: str) -> str:
    upper_lower: list[tuple[int, int]] = []
    drawn: list[tuple[Link, int]] = []  # of each edge: its link, and which one of the link
    for link in sketch.links:
        for number in range(link.arrows):
            upper_lower.append((link.dst, link.src))
            drawn.append((link, number))
    ports = Counter(lower for _, lower in upper_lower)
    labels = [_label(item, len(graph.roots)) for item in sketch.items]
    layout = lay_out(
        [
            (max(label.width, min(_WIDEST, room_for(ports[number]))), label.height)
            for number, label in enumerate(labels)
        ],
        upper_lower,
    )

    parts = []
    top = 0.0
    width = layout.width
    if sketch.note:
        top = 24.0
        width = max(width, _width("small", sketch.note) + 2 * _PADDING)
        parts.append(
            f'<text class="gb-small" x="{px(width / 2)}" y="18">{escape(sketch.note)}</text>'
        )
    shift = (width - layout.width) / 2
    parts.append(f'<g transform="translate({px(shift)} {px(top)})">')
    for (link, number), route in zip(drawn, layout.routes, strict=True):
        parts.append(_edge(graph, sketch, link, number, route))
    for (link, _), route in zip(drawn, layout.routes, strict=True):
        parts.append(_count(link, route))
    for item, label, box in zip(sketch.items, labels, layout.boxes, strict=True):
        parts.append(_node(item, label, box, len(graph.roots)))
    parts.append("</g>")

    title = escape(f"Backward graph: {sketch.title}")
    wide, high = math.ceil(width), math.ceil(layout.height + top)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gradbook-graph" role="img" '
        f'aria-label="{title}" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">'
        f"<title>{title}</title><desc>{escape(in_words(sketch))}</desc>{style}"
        + "".join(parts)
        + "</svg>"
    )


def _label(item: Item, roots: int) -> _Label:
    lines: list[tuple[str, str]] = []
    if item.kind == "leaf" and item.name:
        lines += [("name", line) for line in name_lines(item.name)]
        lines.append(("shape", item.shape))
        lines.append(("small", item.label))
    elif item.part:  # what the program says comes first
        lines.append(("name", shortened(item.part)))
        lines.append(("shape", item.shape))
        lines.append(("small", " ".join(filter(None, (item.label, shortened(item.name))))))
    else:
        lines += [("name", line) for line in wrapped("", item.label.split(", "), _LONGEST_LABEL)]
        lines.append(("shape", " ".join(filter(None, (shortened(item.name), item.shape)))))
    for detail in item.details:
        lines += [("small", line) for line in wrapped("", listed(detail))]
    changed = {position for position, *_ in item.edited}
    kept = [text for position, text in enumerate(item.saved) if position not in changed]
    for word, tensors in (("saved: ", kept), ("released: ", item.released)):
        shown = list(tensors[:_MOST_SAVED])
        if len(tensors) > len(shown):
            shown.append(f"and {len(tensors) - len(shown)} more")
        lines += [("small", line) for line in wrapped(word, shown)]
    if item.constants:
        lines.append(("small", f"+ {plural(item.constants, 'constant')}"))
    for _, tensor, version, now in item.edited:
        lines.append(("wrong", f"saved {tensor} at version {version}"))
        lines.append(("wrong", f"edited since: now version {now}"))
    if item.line and not item.part:
        lines.append(("code", shortened(item.line)))
    lines.append(("small", output_words(item, roots)))
    lines = [line for line in lines if line[1]]
    return _Label(
        tuple(lines),
        max(_width(*line) for line in lines) + 2 * _PADDING,
        sum(_SIZES[kind] * _LEADING for kind, _ in lines) + _PADDING,
    )


def name_lines(name: str, longest: int = _LONGEST) -> list[str]:
    """A qualified name in lines that are not too long: whole, since its end alone may be another's.

    >>> name_lines("encoder.layer.0.attention.query.weight", 20)
    ['encoder.layer.0.', 'attention.query.', 'weight']
    """
    lines = [""]
    for piece in re.findall(r"[^.\s]*[.\s]?", name):
        if columns(lines[-1] + piece.rstrip()) > longest and lines[-1]:
            lines.append("")
        lines[-1] += piece
        while columns(lines[-1].rstrip()) > longest:
            end = longest
            while columns(lines[-1][:end]) > longest:
                end -= 1
            lines[-1:] = [lines[-1][:end], lines[-1][end:]]
    return [line.rstrip(" ") for line in lines]


def listed(detail: str) -> list[str]:
    """What a detail lists; the number of what it leaves out is one more.

    >>> listed("9 operations: AddBackward0, MulBackward0 and 2 more kinds")
    ['9 operations: AddBackward0', 'MulBackward0', 'and 2 more kinds']
    """
    return detail.replace(" and ", ", and ").split(", ")


def wrapped(start: str, words: Sequence[str], longest: int = _LONGEST) -> list[str]:
    """`words` with commas between, in lines that are not too long; nothing without words."""
    lines: list[str] = []
    for number, word in enumerate(words):
        piece = shortened(word, longest) + ("," if number < len(words) - 1 else "")
        if lines and columns(lines[-1]) + 1 + columns(piece) <= longest:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece if lines else start + piece)
    return lines


def shortened(text: str, longest: int = _LONGEST) -> str:
    """The start and the end of what is too long: the end of a parameter's name tells most."""
    if columns(text) <= longest:
        return text
    half = longest // 2
    while columns(text[:half]) + 1 + columns(text[-half:]) > longest:
        half -= 1
    return f"{text[:half]}…{text[-half:]}"


def columns(text: str) -> int:
    """How many letters of a monospace font `text` is wide."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(letter) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(letter) in "WF"
        else 1
        for letter in text
    )


def _width(kind: str, text: str) -> float:
    return columns(text) * _SIZES[kind] * _ADVANCE


def px(value: float) -> str:
    """A length, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def _node(item: Item, label: _Label, box: Box, roots: int) -> str:
    kind = {"leaf": "gb-leaf", "op": "gb-op"}.get(item.kind, "gb-fold")
    classes = f"gb-node {kind}" + (" gb-root" if item.outputs else "")
    classes += " gb-edited" if item.edited else ""
    radius = min(16.0, box.height / 2) if item.kind == "leaf" else 4.0
    shape = f'width="{px(box.width)}" height="{px(box.height)}" rx="{px(radius)}"'
    tip = described(item, roots) + (f"  # {item.line}" if item.line else "")
    parts = [
        f'<g class="{classes}" data-node="{item.nodes[0]}" '
        f'transform="translate({px(box.x)} {px(box.y)})">'
        f"<title>{escape(tip)}</title>"
        f'<rect class="gb-box" {shape}/><rect class="gb-tint" {shape}/>'
    ]
    y = _PADDING / 2
    for kind, text in label.lines:
        y += _SIZES[kind] * _LEADING
        parts.append(
            f'<text class="gb-{kind}" x="{px(box.width / 2)}" y="{px(y - _SIZES[kind] * 0.36)}">'
            f"{escape(text)}</text>"
        )
    parts.append("</g>")
    return "".join(parts)


def _edge(
    graph: Drawn,
    sketch: Sketch,
    link: Link,
    number: int,
    route: Sequence[tuple[float, float]],
) -> str:
    """A smooth line along `route`, with a head where it ends."""
    x, y = route[-1]
    head = f"M{px(x - 4.5)} {px(y - 8)}L{px(x)} {px(y - 1.5)}L{px(x + 4.5)} {px(y - 8)}"
    edge = link.edges[number]
    return (
        f'<path class="gb-edge" data-src="{sketch.items[link.src].nodes[0]}" '
        f'data-dst="{sketch.items[link.dst].nodes[0]}" data-input="{graph._edges[edge][2]}" '
        f'data-edge="{edge}" d="{path_along(route)}{head}"/>'
    )


def path_along(route: Sequence[tuple[float, float]]) -> str:
    """A smooth line through the points of a route, as SVG writes it."""
    x, y = route[0]
    path = [f"M{px(x)} {px(y)}"]
    for nextx, nexty in route[1:]:
        if abs(nextx - x) < 0.05:
            path.append(f"V{px(nexty)}")
        else:
            middle = px((y + nexty) / 2)
            path.append(f"C{px(x)} {middle} {px(nextx)} {middle} {px(nextx)} {px(nexty)}")
        x, y = nextx, nexty
    return "".join(path)


def _count(link: Link, route: Sequence[tuple[float, float]]) -> str:
    """How many edges an arrow stands for; empty for one."""
    if len(link.edges) == link.arrows:
        return ""
    # It stands between the last two layers: what comes before may be shared with other arrows.
    last = list(pairwise(route))[-2:]
    (x, y), (endx, endy) = max(last, key=lambda piece: piece[1][1] - piece[0][1])
    return (
        f'<text class="gb-small gb-count" x="{px((x + endx) / 2)}" y="{px((y + endy) / 2 + 4)}">'
        f"{plural(len(link.edges), 'edge')}</text>"
    )


def in_words(sketch: Sketch) -> str:
    """The drawing for those who do not see it, from the inputs to the outputs."""
    labels = [
        item.name if item.kind == "leaf" and item.name else item.label for item in sketch.items
    ]
    total, count = Counter(labels), Counter[str]()
    names = [""] * len(labels)
    for number in range(len(labels) - 1, -1, -1):
        label = labels[number]
        count[label] += 1
        names[number] = label + (f" (number {count[label]})" if total[label] > 1 else "")
    sentences = [
        f"{names[link.dst]} goes into {names[link.src]}"
        + (f" by {len(link.edges):,} edges" if len(link.edges) > 1 else "")
        for link in reversed(sketch.links[-_SPOKEN:])
    ]
    if len(sketch.links) > len(sentences):
        sentences.append(f"and {len(sketch.links) - len(sentences):,} more")
    outputs = [name for name, item in zip(names, sketch.items, strict=True) if item.outputs]
    parts = [
        sketch.note,
        f"From inputs to outputs: {'; '.join(sentences)}" if sentences else None,
        f"{'Output' if len(outputs) == 1 else 'Outputs'}: {', '.join(outputs)}",
    ]
    return ". ".join(filter(None, parts)) + "."
