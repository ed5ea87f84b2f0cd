"""The drawing of a graph by module: boxes, and frames around those of modules that are opened.

Each frame is laid out by itself, from the inside out, and is a box in the layout of what is around
it. A gradient's way that crosses a frame is drawn piece by piece, and bends at its edge.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from gradbook.see.display import drawing
from gradbook.see.display.drawing import columns, listed, name_lines, path_along, px, wrapped
from gradbook.see.display.folding import Frame, Item, Sketch
from gradbook.see.display.layout import Box, Layout, lay_out, room_for
from gradbook.see.display.text import described, output_words
from gradbook.see.values import number_text

_SIZES = {"name": 13.0, "small": 11.0, "bar": 11.0}
_LEADING = 1.36
_ADVANCE = 0.61
_PADDING = 10.0
_LONGEST = 30  # letters in a line
_LONGEST_HEAD = 48
_GAP = 20.0  # px between two layers
_BAND = 4.0  # px between the edge of a frame and what is in it
_BAR = 70.0
_DECADES = 2.0  # that a bar spans at least

Point = tuple[float, float]
Norms = Callable[[Sequence[int]], float | None]
"""The norm of the gradient that came into some nodes from others; None if none came."""


@dataclass(frozen=True, slots=True)
class _Lines:
    """What a box says, or the head of a frame: each line with its class."""

    lines: tuple[tuple[str, str], ...]
    share: float | None  # of the bar, if there is one

    @property
    def width(self) -> float:
        wide = [
            columns(text) * _SIZES[kind] * _ADVANCE + (_BAR + 8 if kind == "bar" else 0)
            for kind, text in self.lines
        ]
        return max(wide, default=0.0) + 2 * _PADDING

    @property
    def height(self) -> float:
        return sum(_SIZES[kind] * _LEADING for kind, _ in self.lines) + _PADDING


def svg_of(
    sketch: Sketch,
    roots: int,
    norms: Norms | None = None,
    scale: "Scale | None" = None,
    style: str = "",
) -> str:
    """The drawing.

    Args:
        sketch: by module.
        roots: how many outputs the graph has.
        norms: gives each module a bar.
        scale: of the bars; by default from the smallest norm to the largest one.
        style: rules to put into it.
    """
    found = _norms(sketch, norms)
    shares = scale or _scale(found.values())
    labels = [
        _box_lines(item, roots, _around(sketch, item), found.get(item.nodes), shares)
        for item in sketch.items
    ]
    heads = [_head_lines(frame, found.get(frame.nodes), shares) for frame in sketch.frames]
    nest = _Nest(sketch, labels, heads)
    layout = nest.layout
    top = 0.0
    width = layout.width
    note = []
    for number, text in enumerate((sketch.note or "").split("; ")):
        if text:
            note.append((text, 18.0 + 15 * number))
            width = max(width, columns(text) * 11 * _ADVANCE + 20)
            top = 24.0 + 15 * number
    parts = [
        f'<text class="gb-small" x="{px(width / 2)}" y="{px(y)}">{escape(text)}</text>'
        for text, y in note
    ]
    parts.append(f'<g transform="translate({px((width - layout.width) / 2)} {px(top)})">')
    parts += [f'<rect class="gb-around" {_shape(box, 8)}/>' for box in nest.frames]
    parts += [_edge(points, head=head) for points, head in nest.routes]
    parts += [
        _frame(frame, head, box)
        for frame, head, box in zip(sketch.frames, heads, nest.frames, strict=True)
    ]
    parts += [
        _node(item, label, box, roots)
        for item, label, box in zip(sketch.items, labels, nest.boxes, strict=True)
    ]
    parts.append("</g>")
    title = escape(f"Backward graph: {sketch.title}")
    wide, high = math.ceil(width), math.ceil(layout.height + top)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gradbook-graph" role="img" '
        f'aria-label="{title}" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">'
        f"<title>{title}</title><desc>{escape(drawing.in_words(sketch))}</desc>{style}"
        + "".join(parts)
        + "</svg>"
    )


# Words -----------------------------------------------------------------------------------------


def _around(sketch: Sketch, item: Item) -> str:
    return "" if item.frame is None else sketch.frames[item.frame].module


def _relative(name: str, around: str) -> str:
    """A qualified name without what the frame around says already."""
    start = f"{around}."
    return name[len(start) - 1 :] if around and name.startswith(start) else name


def _box_lines(item: Item, roots: int, around: str, norm: float | None, shares: "Scale") -> _Lines:
    lines: list[tuple[str, str]] = []
    if item.kind == "leaf":
        # Whole: in another frame there is another weight.
        lines += [("name", line) for line in name_lines(item.name or item.label, _LONGEST)]
        lines.append(("small", item.shape))
    elif item.kind == "module":
        guessed = "mostly " if item.label.startswith("mostly ") else ""
        label = guessed + _relative(item.label[len(guessed) :], around)
        lines += [("name", line) for line in name_lines(label, _LONGEST)]
        lines += [("small", line) for detail in item.details for line in wrapped("", [detail])]
    else:
        lines += [("name", line) for line in wrapped("", (item.part or item.label).split(", "))]
        lines.append(
            ("small", " ".join(filter(None, (item.label if item.part else "", item.shape))))
        )
        lines += [
            ("small", line) for detail in item.details for line in wrapped("", listed(detail))
        ]
    if item.kind in ("module", "part"):
        lines += [("small", f"saved: {one}") for one in item.saved]
    lines.append(("small", output_words(item, roots)))
    if norm is not None:
        lines.append(("bar", f"grad {number_text(norm)}"))
    return _Lines(tuple(line for line in lines if line[1]), shares.of(norm))


def _head_lines(frame: Frame, norm: float | None, shares: "Scale") -> _Lines:
    lines = [("name", frame.label), *(("small", line) for line in _joined(frame.details))]
    if norm is not None:
        lines.append(("bar", f"grad {number_text(norm)}"))
    return _Lines(tuple(lines), shares.of(norm))


def _joined(details: Sequence[str]) -> list[str]:
    """Details with dots between, in lines that are not too long."""
    lines: list[str] = []
    for detail in details:
        if lines and columns(lines[-1] + detail) < _LONGEST_HEAD:
            lines[-1] += f" · {detail}"
        else:
            lines.append(detail)
    return lines


# Bars ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """How long bars are: in decades, from the shortest to the longest.

    Attributes:
        high: the exponent of the longest one, to base 10.
        span: how many decades the bars span.
    """

    high: float
    span: float

    def of(self, norm: float | None) -> float | None:
        """The part of a whole bar; 0 for no gradient, and for what is no number."""
        if norm is None:
            return None
        if not norm > 0 or math.isinf(norm):
            return 1.0 if norm == math.inf else 0.0
        share = 1 - 0.96 * (self.high - math.log10(norm)) / self.span
        return min(1.0, max(0.02, share))


def scale_of(sketch: Sketch, norms: Norms) -> Scale:
    """The scale of the bars in a drawing, for other ones beside it."""
    return _scale(_norms(sketch, norms).values())


def _scale(norms: Iterable[float | None]) -> Scale:
    logs = [math.log10(one) for one in norms if one is not None and 0 < one < math.inf]
    high = max(logs, default=0.0)
    return Scale(high, max(_DECADES, high - min(logs, default=0.0)))


def _norms(sketch: Sketch, norms: Norms | None) -> dict[tuple[int, ...], float | None]:
    if norms is None:
        return {}
    boxes = [item.nodes for item in sketch.items if item.kind in ("module", "part", "leaf")]
    return {nodes: norms(nodes) for nodes in [*boxes, *(frame.nodes for frame in sketch.frames)]}


# Layout ----------------------------------------------------------------------------------------

_LID, _FLOOR = -1, -2
_Child = tuple[str, int]


class _Nest:
    """Positions of everything, in px from the upper left corner."""

    def __init__(self, sketch: Sketch, labels: Sequence[_Lines], heads: Sequence[_Lines]) -> None:
        self._sketch = sketch
        self._heads = heads
        self._sizes: dict[_Child, Point] = {
            ("item", number): (label.width, label.height) for number, label in enumerate(labels)
        }
        self._children: dict[int | None, list[_Child]] = {None: []}
        for number, frame in enumerate(sketch.frames):
            self._children[number] = []
            self._children[frame.frame].append(("frame", number))
        for number, item in enumerate(sketch.items):
            self._children[item.frame].append(("item", number))
        # In each frame, the ways of what an item made: who gets it there, by whom it comes.
        self._edges: dict[int | None, dict[tuple[int, _Child], tuple[_Child, bool]]] = {
            frame: {} for frame in self._children
        }
        for link in sketch.links:
            self._join(link.dst, link.src)
        self._layouts: dict[int | None, tuple[Layout, dict[_Child, int]]] = {}
        for number in reversed(range(len(sketch.frames))):
            self._lay_out(number)
        self._lay_out(None)
        self.layout = self._layouts[None][0]
        self.boxes: list[Box] = [Box(0, 0, 0, 0)] * len(sketch.items)
        self.frames: list[Box] = [Box(0, 0, 0, 0)] * len(sketch.frames)
        self.routes: list[tuple[list[Point], bool]] = []
        self._ends: dict[tuple[int, int], Point] = {}  # where a way comes to a frame from above
        self._leaves: dict[tuple[int, int], Point] = {}  # and where it leaves one
        self._place(None, 0.0, 0.0)

    def _frames_around(self, item: int) -> list[int | None]:
        found: list[int | None] = []
        frame = self._sketch.items[item].frame
        while frame is not None:
            found.append(frame)
            frame = self._sketch.frames[frame].frame
        return [*found, None]

    def _join(self, upper: int, lower: int) -> None:
        above, below = self._frames_around(upper), self._frames_around(lower)
        common = next(frame for frame in above if frame in below)
        start: _Child = ("item", upper)
        for frame in above[: above.index(common)]:
            assert frame is not None
            self._edges[frame][upper, ("end", _FLOOR)] = (start, False)
            start = ("frame", frame)
        stop: _Child = ("item", lower)
        for frame in below[: below.index(common)]:
            assert frame is not None
            self._edges[frame][upper, stop] = (("end", _LID), stop[0] == "item")
            stop = ("frame", frame)
        self._edges[common][upper, stop] = (start, stop[0] == "item")

    def _lay_out(self, frame: int | None) -> None:
        children = self._children[frame]
        place = {child: number for number, child in enumerate(children)}
        sizes = [self._sizes[child] for child in children]
        edges = [(start, stop) for (_, stop), (start, _) in self._edges[frame].items()]
        starts = [start for start, _ in edges]
        stops = [stop for _, stop in edges]
        ports = {child: max(starts.count(child), stops.count(child)) for child in (*starts, *stops)}
        for number, child in enumerate(children):
            wide, high = sizes[number]
            sizes[number] = max(wide, min(640.0, room_for(ports.get(child, 0)))), high
        extra: list[tuple[_Child, _Child]] = []
        lid, floor = ("end", _LID), ("end", _FLOOR)
        if lid in starts:
            place[lid] = len(sizes)
            sizes.append((room_for(starts.count(lid)), 0.0))
            extra += [(lid, child) for child in children if child not in stops]
        if floor in stops:
            place[floor] = len(sizes)
            sizes.append((room_for(stops.count(floor)), 0.0))
            extra += [(child, floor) for child in children if child not in starts]
        layout = lay_out(sizes, [(place[a], place[b]) for a, b in (*edges, *extra)], _GAP)
        self._layouts[frame] = layout, place
        if frame is not None:
            head = self._heads[frame]
            self._sizes["frame", frame] = (
                max(layout.width, head.width),
                layout.height + head.height + 2 * _BAND,
            )

    def _place(self, frame: int | None, x: float, y: float) -> None:
        layout, place = self._layouts[frame]
        for child in self._children[frame]:
            box = layout.boxes[place[child]]
            moved = Box(box.x + x, box.y + y, box.width, box.height)
            (self.boxes if child[0] == "item" else self.frames)[child[1]] = moved
        inner: list[int] = [child[1] for child in self._children[frame] if child[0] == "frame"]
        ways = []
        for ((item, stop), (start, head)), route in zip(
            self._edges[frame].items(), layout.routes, strict=False
        ):
            points = [(px_ + x, py + y) for px_, py in route]
            if start == ("end", _LID):
                assert frame is not None
                points.insert(0, self._ends[frame, item])
            ways.append((item, start, stop, points, head))
            if stop[0] == "frame":
                self._ends[stop[1], item] = points[-1]
            if stop == ("end", _FLOOR):
                assert frame is not None
                self._leaves[frame, item] = points[-1]
        for number in inner:
            box = self.frames[number]
            inside = self._layouts[number][0]
            self._place(
                number,
                box.x + (box.width - inside.width) / 2,
                box.y + self._heads[number].height + _BAND,
            )
        for item, start, _, points, head in ways:
            if start[0] == "frame":
                points.insert(0, self._leaves[start[1], item])
            self.routes.append((points, head))


# Drawing ---------------------------------------------------------------------------------------


def _edge(points: Sequence[Point], *, head: bool) -> str:
    x, y = points[-1]
    end = f"M{px(x - 4.5)} {px(y - 8)}L{px(x)} {px(y - 1.5)}L{px(x + 4.5)} {px(y - 8)}"
    return f'<path class="gb-edge" d="{path_along(points)}{end if head else ""}"/>'


def _node(item: Item, label: _Lines, box: Box, roots: int) -> str:
    kind = {"leaf": "gb-leaf", "op": "gb-op", "outer": "gb-outer"}.get(item.kind, "gb-fold")
    classes = f"gb-node {kind}" + (" gb-root" if item.outputs else "")
    classes += " gb-edited" if item.edited else ""
    radius = min(16.0, box.height / 2) if item.kind == "leaf" else 4.0
    shape = f'width="{px(box.width)}" height="{px(box.height)}" rx="{px(radius)}"'
    module = "" if item.module is None else f' data-module="{escape(item.module)}"'
    return (
        f'<g class="{classes}" data-node="{item.nodes[0]}"{module} '
        f'transform="translate({px(box.x)} {px(box.y)})"><title>{escape(described(item, roots))}'
        f'</title><rect class="gb-box" {shape}/><rect class="gb-tint" {shape}/>'
        f"{_texts(label, box.width, middle=True)}</g>"
    )


def _frame(frame: Frame, head: _Lines, box: Box) -> str:
    return (
        f'<g class="gb-frame" data-module="{escape(frame.module)}" '
        f'transform="translate({px(box.x)} {px(box.y)})"><title>'
        f"{escape('  '.join((frame.label, *frame.details)))}</title>"
        f"{_texts(head, box.width, middle=False)}</g>"
    )


def _shape(box: Box, radius: float) -> str:
    return (
        f'x="{px(box.x)}" y="{px(box.y)}" width="{px(box.width)}" height="{px(box.height)}" '
        f'rx="{px(radius)}"'
    )


def _texts(label: _Lines, width: float, *, middle: bool) -> str:
    parts = []
    y = _PADDING / 2
    x = width / 2 if middle else _PADDING
    for kind, text in label.lines:
        y += _SIZES[kind] * _LEADING
        base = y - _SIZES[kind] * 0.36
        if kind != "bar":
            parts.append(
                f'<text class="gb-{kind}" x="{px(x)}" y="{px(base)}">{escape(text)}</text>'
            )
            continue
        start = (width - _BAR - 8 - columns(text) * 11 * _ADVANCE) / 2 if middle else _PADDING
        parts.append(
            f'<g class="gb-norm"><rect class="gb-whole" x="{px(start)}" y="{px(base - 8)}" '
            f'width="{px(_BAR)}" height="8" rx="2"/><rect class="gb-share" x="{px(start)}" '
            f'y="{px(base - 8)}" width="{px(_BAR * (label.share or 0))}" height="8" rx="2"/>'
            f'<text x="{px(start + _BAR + 8)}" y="{px(base)}">{escape(text)}</text></g>'
        )
    return "".join(parts)
