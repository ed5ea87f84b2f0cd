"""Draw the pictures of the book: a panel or two of boxes, arrows and numbers.

A picture is told what to show by a cell, from the tensors of that cell. It is SVG
that names the kind of each part; colours and letters are in `gradbook.css`, light
and dark. A panel is no wider than a phone, and is never made smaller: on a wide
screen panels stand side by side, on a narrow one below each other.
"""

import math
from dataclasses import dataclass, field
from html import escape

import torch

WIDTH = 320  # of a panel, in pixels: what a phone of 360 has for text
# What has looks of its own in `gradbook.css`.
KINDS = {
    *(
        "area",
        "asks",
        "b",
        "bad",
        "box",
        "c",
        "cloth",
        "dot",
        "e",
        "fill",
        "fine",
    ),
    *("g", "head", "ink", "l", "m", "node", "off", "pale", "pole", "s", "thin"),
    "wrong",
}
_HEAD, _SPREAD = 8, 0.42  # of an arrow: its length, and half its angle


def number(value, digits=3):
    """A number, or those of a tensor, as short as they are clear.

    >>> number(torch.tensor([4.0, 16 / 3])), number(-0.5), number(None)
    ('[4, 5.33]', '−0.5', 'None')
    """
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        value = value.detach()
        if value.ndim:
            return f"[{', '.join(number(one, digits) for one in value)}]"
        value = value.item()
    rounded = float(f"{value:.{digits}g}")
    text = f"{rounded:g}" if abs(rounded) < 1e6 else f"{rounded:.1e}"
    return text.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Box:
    """Where a box stands: its middle and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self):
        return self.x - self.width / 2, self.y

    @property
    def right(self):
        return self.x + self.width / 2, self.y

    @property
    def top(self):
        return self.x, self.y - self.height / 2

    @property
    def bottom(self):
        return self.x, self.y + self.height / 2


@dataclass
class Panel:
    """A part of a picture. Lengths are pixels, from its left upper corner."""

    height: float
    title: str = ""
    width: float = WIDTH
    parts: list = field(default_factory=list)

    def __post_init__(self):
        if self.title:
            self.words(0, 13, self.title, "b s")

    def add(self, name, kind="", inside="", **attributes):
        """Add an element of SVG; `kind` has the classes that are its looks."""
        unknown = set(kind.split()) - KINDS
        if unknown:
            raise ValueError(
                f"no looks for {sorted(unknown)}: use {sorted(KINDS)}"
            )
        given = {"class": kind} if kind else {}
        given |= {
            one.replace("_", "-"): value for one, value in attributes.items()
        }
        said = "".join(
            f' {key}="{_short(value)}"'
            for key, value in given.items()
            if value != ""
        )
        end = f">{inside}</{name}>" if inside else "/>"
        self.parts.append(f"<{name}{said}{end}")

    def words(self, x, y, text, kind=""):
        """Words, to be translated. Kinds: s and e stand right and left of `x`."""
        self.add("text", kind, escape(text), x=x, y=y)

    def code(self, x, y, text, kind=""):
        """Code and numbers, which are the same in all languages."""
        inside = f"<tspan>{escape(str(text))}</tspan>"
        self.add("text", f"c {kind}".strip(), inside, x=x, y=y)

    def box(self, x, y, width, height, *lines, kind="", letters="", flag=False):
        """A box round lines of code, the first of them in bold.

        Kinds: asks, g (a gradient), bad, node, off; `letters`: kinds of `code`.
        """
        radius = height / 2 if "node" in kind.split() else 5
        place = {"x": x - width / 2, "y": y - height / 2}
        size = {"width": width, "height": height}
        kinds = f"box {kind}".strip()
        self.add("rect", kinds, **place, **size, rx=radius)
        letters = letters or ("g" if "g" in kind.split() else "")
        for row, line in enumerate(lines):
            middle = y + 4 + 15 * (row - (len(lines) - 1) / 2)
            weight = "b" if row == 0 and len(lines) > 1 else ""
            self.code(x, middle, line, f"{letters} {weight}".strip())
        if flag:
            self.flag(x + width / 2 - 8, y - height / 2)
        return Box(x, y, width, height)

    def flag(self, x, y):
        """The mark of what requires a gradient, on top of a box."""
        self.add("path", "pole", d=f"M{_short(x)} {_short(y)}v-14")
        self.add(
            "path", "cloth", d=f"M{_short(x)} {_short(y - 14)}l10 3.5l-10 3.5z"
        )

    def line(self, *points, kind=""):
        """A line through points."""
        self.add("path", f"l {kind}".strip(), d=_path(points))

    def arrow(self, start, end, kind="", bend=0, gap=4):
        """An arrow from point to point; `bend` moves its middle to its left.

        Kinds: g (a gradient moves), off (nothing is recorded).
        """
        (x1, y1), (x2, y2) = start, end
        length = math.dist(start, end)
        across = (y2 - y1) / length, (x1 - x2) / length
        middle = (
            (x1 + x2) / 2 + 2 * bend * across[0],
            (y1 + y2) / 2 + 2 * bend * across[1],
        )
        x1, y1 = _towards(start, middle, gap)
        x2, y2 = _towards(end, middle, gap)
        angle = math.atan2(y2 - middle[1], x2 - middle[0])
        shaft = _towards((x2, y2), middle, _HEAD * 0.7)
        path = f"{_path([(x1, y1)])}Q{_pair(middle)} {_pair(shaft)}"
        self.add("path", f"l {kind}".strip(), d=path)
        corners = [
            (
                x2 - _HEAD * math.cos(angle + turn),
                y2 - _HEAD * math.sin(angle + turn),
            )
            for turn in (-_SPREAD, _SPREAD)
        ]
        head = f"{_path([corners[0], (x2, y2), corners[1]])}z"
        self.add("path", f"head {kind}".strip(), d=head)

    def dot(self, x, y, kind="", radius=4):
        """A point of data, or where we are."""
        self.add("circle", f"dot {kind}".strip(), cx=x, cy=y, r=radius)

    def area(self, x, y, width, height, kind=""):
        """A region behind other parts; `x` and `y` are its corner."""
        size = {"width": width, "height": height}
        self.add("rect", f"area {kind}".strip(), x=x, y=y, **size, rx=4)

    def scale(self, xs, ys, left, top, right, bottom):
        """A function from numbers to a place, for a plot in this rectangle."""
        (x0, x1), (y0, y1) = xs, ys

        def place(x, y):
            across = (float(x) - x0) / (x1 - x0)
            up = (float(y) - y0) / (y1 - y0)
            return left + across * (right - left), bottom - up * (bottom - top)

        return place


class Picture:
    """Panels, side by side where there is room; `display` shows them.

    With `steps` they are stations on a way: a reader walks from one to the next.
    """

    def __init__(self, *panels, steps=False):
        self.panels = panels
        self.kind = "picture steps" if steps else "picture"

    def _repr_svg_(self):
        x, inside = 0, []
        for panel in self.panels:
            size = (
                f'width="{_short(panel.width)}" height="{_short(panel.height)}"'
            )
            box = f'viewBox="0 0 {_short(panel.width)} {_short(panel.height)}"'
            parts = "".join(panel.parts)
            inside.append(
                f'<svg class="panel" x="{x}" {size} {box}>{parts}</svg>'
            )
            x += panel.width + 16
        high = max(panel.height for panel in self.panels)
        opening = f'<svg class="{self.kind}" xmlns="http://www.w3.org/2000/svg"'
        size = f'width="{x}" height="{_short(high)}"'
        return f"{opening} {size}>{''.join(inside)}</svg>"


def _short(value):
    return (
        f"{value:.1f}".removesuffix(".0")
        if isinstance(value, float)
        else str(value)
    )


def _pair(point):
    return f"{_short(float(point[0]))} {_short(float(point[1]))}"


def _path(points):
    return "M" + "L".join(map(_pair, points))


def _towards(start, end, length):
    whole = math.dist(start, end) or 1
    return tuple(
        a + (b - a) * length / whole for a, b in zip(start, end, strict=True)
    )
