"""The graph of a played pass: each box with its numbers, each edge with the gradient on it.

Inputs are on top, as in every drawing: values flow down, and gradients up. An edge has a head at
both ends, for the two directions; a style shows one of them. The label of an edge has a place of
its own in the layout, so that it covers nothing.

What the script changes it finds by names: ``data-n`` of a text is the number that it shows (``v3``:
what node 3 made, ``g3``: the gradient that came into it, ``e5``: what passed along edge 5, ``b3``
and ``d3``: ``.grad`` of leaf 3 before and after), and ``data-row`` the row of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

from gradbook.see.display import drawing
from gradbook.see.display.drawing import px
from gradbook.see.display.folding import Drawn, Item, Sketch, plural, sketch_of
from gradbook.see.display.layout import lay_out, room_for
from gradbook.see.display.text import output_words
from gradbook.see.nodes import Node
from gradbook.see.values import Value, format_numbers, number_text, shape_text

_LONGEST = 29  # letters of a number in a box or at an edge
_MOST_ROWS = 4
_MOST_PARALLEL = 6  # edges between two nodes that are drawn one by one
_GAP = 15.0  # px between a box and the label of its edge
_LEADING = 15.0
_BADGE = 9.0


class Scene(Protocol):
    """What is drawn of a pass."""

    @property
    def graph(self) -> PlayedGraph:
        """What was recorded."""

    @property
    def order(self) -> Mapping[int, int]:
        """The step of each node that ran, from 1."""

    @property
    def values(self) -> Mapping[int, Value]:
        """What nodes made, where it is known."""

    @property
    def gradients(self) -> Mapping[int, Value]:
        """What came into each node (into its first result)."""

    @property
    def passed(self) -> Mapping[int, Value]:
        """What went along each edge."""

    @property
    def grads(self) -> Mapping[int, tuple[Value | None, Value]]:
        """``.grad`` of leaves, before and after."""


class PlayedGraph(Drawn, Protocol):
    """A graph whose nodes are read one by one, too."""

    @property
    def nodes(self) -> Sequence[Node]:
        """Outputs first."""


def title_of(node: Node) -> str:
    """What a node is called first: as the program writes it, if that is known."""
    if node.is_leaf:
        return node.tensor_name or node.name
    if node.line is not None and node.line.part:
        return node.line.part
    return node.tensor_name or node.name


def rows_of(value: Value | None) -> list[str]:
    """The numbers of a value for a small place: one line, the rows of a matrix, or a summary.

    >>> from gradbook.see.values import Value
    >>> rows_of(Value((2,), "float32", [1.0, 2.0], 2.236, 1.0, 2.0))
    ['[1, 2]']
    """
    if value is None:
        return []
    if value.numbers is not None:
        whole = format_numbers(value.numbers)
        if len(whole) <= _LONGEST:
            return [whole]
        if value.shape is not None and len(value.shape) == 2 and value.shape[0] <= _MOST_ROWS:
            rows = [format_numbers(row) for row in value.numbers]
            if max(map(len, rows)) + 2 <= _LONGEST:
                last = len(rows) - 1
                return [
                    ("[" if not number else " ") + row + ("]" if number == last else ",")
                    for number, row in enumerate(rows)
                ]
    if value.norm is None:
        return [shape_text(value.shape)]
    return [f"{shape_text(value.shape)} ‖…‖ = {number_text(value.norm)}"]


@dataclass(frozen=True, slots=True)
class _Text:
    """A line of a box: the kind of its letters, what it says, and the number that it shows."""

    kind: str
    text: str
    number: str = ""
    row: int = 0
    before: str = ""


def _numbers(kind: str, rows: Sequence[str], number: str, before: str = "") -> list[_Text]:
    return [_Text(kind, text, number, row, "" if row else before) for row, text in enumerate(rows)]


_SIZES = {"name": 13.0, "value": 12.0, "grad": 12.0, "was": 12.0, "small": 11.0}
_ADVANCE = 0.61


def svg_of(scene: Scene) -> str:
    """The drawing, without a style: as it is when the pass is over."""
    graph = scene.graph
    sketch = sketch_of(graph, fold=False)
    links = _links(sketch)
    boxes = [_lines(scene, item, len(graph.roots)) for item in sketch.items]
    labels = [_label(scene, edges) for _, _, edges in links]
    ports = [0] * len(boxes)
    for lower, upper, _ in links:
        ports[lower] += 1
        ports[upper] += 1
    sizes = [
        (
            max(max(map(_width, lines)) + 24.0, min(560.0, room_for(ports[number]))),
            sum(_SIZES[line.kind] * 1.36 for line in lines if line.kind != "was") + 14.0,
        )
        for number, lines in enumerate(boxes)
    ]
    sizes += [(max([20.0, *map(_width, lines)]), _LEADING * max(1, len(lines))) for lines in labels]
    edges: list[tuple[int, int]] = []
    for number, (lower, upper, _) in enumerate(links, len(boxes)):
        edges += [(upper, number), (number, lower)]
    layout = lay_out(sizes, edges, gap=_GAP)
    parts = []
    for number, (link, lines) in enumerate(zip(links, labels, strict=True)):
        route = [*layout.routes[2 * number], *layout.routes[2 * number + 1]]
        box = layout.boxes[len(boxes) + number]
        parts.append(_edge(graph, sketch, link, route, lines, (box.x + box.width / 2, box.y)))
    for item, lines, box in zip(sketch.items, boxes, layout.boxes, strict=False):
        node = graph.nodes[item.nodes[0]]
        classes = "gb-node " + ("gb-leaf" if node.is_leaf else "gb-op")
        classes += " gb-root" if item.outputs else ""
        radius = min(16.0, box.height / 2) if node.is_leaf else 5.0
        shape = f'width="{px(box.width)}" height="{px(box.height)}" rx="{px(radius)}"'
        step = scene.order.get(node.id)
        parts.append(
            f'<g class="{classes}" data-node="{node.id}" '
            f'transform="translate({px(box.x)} {px(box.y)})"><title>{escape(_tip(node))}</title>'
            f'<rect class="gb-box" {shape}/><rect class="gb-tint" {shape}/>'
            f"{_texts(lines, box.width)}{_badge(step)}</g>"
        )
    title = escape(f"Backward graph: {sketch.title}")
    wide, high = math.ceil(layout.width), math.ceil(layout.height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gradbook-graph" role="img" '
        f'aria-label="{title}" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">'
        f"<desc>{escape(drawing.in_words(sketch))}</desc>{''.join(parts)}</svg>"
    )


def _links(sketch: Sketch) -> list[tuple[int, int, tuple[int, ...]]]:
    """The edges to draw: positions of the lower and the upper box, and the edges it stands for."""
    found: list[tuple[int, int, tuple[int, ...]]] = []
    for link in sketch.links:
        if len(link.edges) <= _MOST_PARALLEL:
            found += [(link.src, link.dst, (edge,)) for edge in link.edges]
        else:
            found.append((link.src, link.dst, link.edges))
    return found


def _lines(scene: Scene, item: Item, roots: int) -> list[_Text]:
    number = item.nodes[0]
    node = scene.graph.nodes[number]
    title = title_of(node)
    names = drawing.name_lines(title) if node.is_leaf else [drawing.shortened(title)]
    lines = [_Text("name", line) for line in names]
    value = scene.values.get(number)
    lines += _numbers("value", rows_of(value), f"v{number}")
    if number in scene.grads:
        before, after = scene.grads[number]
        lines += _numbers("was", rows_of(before) or ["None"], f"b{number}", ".grad ")
        lines += _numbers("grad", rows_of(after), f"d{number}", ".grad ")
    elif number in scene.gradients:
        lines += _numbers("grad", rows_of(scene.gradients[number]), f"g{number}", "grad ")
    small = "" if title == node.name else node.name
    if value is None and node.shape is not None:
        small += f" {shape_text(node.shape)}"
    output = output_words(item, roots) if roots > 1 else ""
    lines += [_Text("small", text) for text in (small.strip(), output) if text]
    return lines


def _label(scene: Scene, edges: tuple[int, ...]) -> list[_Text]:
    if len(edges) > 1:
        return [_Text("small", plural(len(edges), "edge"))]
    return _numbers("grad", rows_of(scene.passed.get(edges[0])), f"e{edges[0]}")


def _width(line: _Text) -> float:
    return drawing.columns(line.before + line.text) * _SIZES[line.kind] * _ADVANCE


def _tip(node: Node) -> str:
    shape = "" if node.shape is None else shape_text(node.shape)
    return "  ".join(filter(None, (node.name, node.tensor_name, shape)))


def _texts(lines: Sequence[_Text], width: float) -> str:
    parts = []
    y = 7.0
    above = y
    for line in lines:
        if line.kind == "was":  # in the place of what comes after it
            above += _SIZES["was"] * 1.36
            parts.append(_text(line, width / 2, above - 4.3))
            continue
        y += _SIZES[line.kind] * 1.36
        if line.kind != "grad":
            above = y
        parts.append(_text(line, width / 2, y - _SIZES[line.kind] * 0.36))
    return "".join(parts)


def _text(line: _Text, x: float, y: float) -> str:
    place = f'class="gb-{line.kind}" x="{px(x)}" y="{px(y)}"'
    if not line.number:
        return f"<text {place}>{escape(line.text)}</text>"
    return (
        f"<text {place}>{escape(line.before)}"
        f'<tspan data-n="{line.number}" data-row="{line.row}">{escape(line.text)}</tspan></text>'
    )


def _badge(step: int | None) -> str:
    if step is None:
        return ""
    return (
        f'<g class="gb-badge"><circle r="{px(_BADGE)}"/><text y="3.8">{step}</text>'
        '<path d="M-4 0.5L-1 3.5L4.5 -3"/></g>'
    )


def _edge(
    graph: PlayedGraph,
    sketch: Sketch,
    link: tuple[int, int, tuple[int, ...]],
    route: Sequence[tuple[float, float]],
    label: Sequence[_Text],
    place: tuple[float, float],
) -> str:
    lower, upper, edges = link
    (topx, topy), (x, y) = route[0], route[-1]
    texts = "".join(
        _text(line, place[0], place[1] + _LEADING * number + 11.5)
        for number, line in enumerate(label)
    )
    if label:  # the line must not be seen between its numbers
        width = max(map(_width, label)) + 4.0
        texts = (
            f'<rect class="gb-under" x="{px(place[0] - width / 2)}" y="{px(place[1])}" '
            f'width="{px(width)}" height="{px(_LEADING * len(label))}"/>{texts}'
        )
    return (
        f'<g class="gb-edge" data-edge="{" ".join(map(str, edges))}" '
        f'data-src="{sketch.items[lower].nodes[0]}" data-dst="{sketch.items[upper].nodes[0]}">'
        f'<path class="gb-line" d="{drawing.path_along(route)}"/>'
        f'<path class="gb-head gb-down" d="M{px(x - 4.5)} {px(y - 8)}L{px(x)} {px(y - 1)}'
        f'L{px(x + 4.5)} {px(y - 8)}"/>'
        f'<path class="gb-head gb-up" d="M{px(topx - 4.5)} {px(topy + 8)}L{px(topx)} '
        f'{px(topy + 1)}L{px(topx + 4.5)} {px(topy + 8)}"/>{texts}</g>'
    )
