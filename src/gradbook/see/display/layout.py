"""Where boxes and arrows of a drawing go: a layered layout, inputs on top.

The steps are those of Sugiyama, Tagawa and Toda (1981): put boxes into layers, order each layer so
that few edges cross, then choose positions. Boxes that follow each other on one straight line are
aligned as blocks first, after Brandes and Köpf (2001). All of it is deterministic.
"""

import math
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_BOX_GAP = 28.0  # between boxes of a layer
_LINE_GAP = 12.0  # between a line and what stands beside it
_LAYER_GAP = 38.0
_WIDEST_LAYER = 1000.0  # inputs that do not fit go one layer up
_MOST_LEVELS = 12
_PORT = 16.0  # between the ends of two edges at a box
_MARGIN = 10.0
_SWEEPS = 24
_EFFORT = 60_000  # edges looked at in all sweeps
_ROUNDS = 60
_LARGE = 800  # steps of edges from layer to layer, from which on one try must do
_CROSSING = 200.0  # px of a longer way that are worth one
_STARTS = ((False, False), (False, True), (True, False), (True, True))


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: its upper left corner and its size, in px."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions of all boxes and edges, in px from the upper left corner.

    Attributes:
        width: of the whole.
        height: of the whole.
        boxes: in the order of the sizes given.
        routes: points of each edge, from its upper to its lower box, in the order of the edges
            given. The edge passes all of them downward; between two of them it may be a curve that
            starts and ends vertically.
    """

    width: float
    height: float
    boxes: tuple[Box, ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]


def room_for(ports: int) -> float:
    """Width of a box at which `ports` edges end side by side."""
    return (ports + 1) * _PORT


def lay_out(
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    gap: float = _LAYER_GAP,
) -> Layout:
    """Place boxes so that every edge leads downward.

    Args:
        sizes: width and height of each box, in px.
        edges: upper box and lower box of each edge; the same pair may come several times. They
            form no cycle.
        gap: between two layers, in px, at least.

    >>> layout = lay_out([(80, 40), (80, 40), (80, 40)], [(0, 2), (1, 2)])
    >>> [(box.x, box.y) for box in layout.boxes]
    [(10.0, 10.0), (118.0, 10.0), (64.0, 94.75)]
    """
    if not sizes:
        return Layout(2 * _MARGIN, 2 * _MARGIN, (), ())
    grid = _Grid(sizes, edges)
    # Few crossings can be had in many ways; some make the edges much longer.
    tries = []
    for start in _STARTS[:1] if grid.large else _STARTS:
        crossings = grid.order(start)
        centres = grid.centres()
        tries.append((crossings * _CROSSING + grid.sideways(centres), centres, grid.rows))
    best = tries[0]  # leaves inputs in their order: another one has to be clearly better
    for one in tries[1:]:
        if one[0] < 0.9 * best[0]:
            best = one
    grid.rows = best[2]
    return grid.draw(best[1], gap)


def _layers(
    sizes: Sequence[tuple[float, float]], edges: Iterable[tuple[int, int]]
) -> tuple[list[int], set[int]]:
    """The layer of each box, 0 on top, and the boxes that were lifted out of a wide layer.

    Edges go down, and are short.
    """
    count = len(sizes)
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for upper, lower in edges:
        above[lower].append(upper)
        below[upper].append(lower)
    order = _topological(above, below)
    # As far down as the boxes below allow, so that an input stands just above its first use.
    layer = [0] * count
    for box in reversed(order):
        if below[box]:
            layer[box] = min(layer[low] for low in below[box]) - 1
    # Then up again, where that makes more edges shorter than longer, or where what follows may move
    # up too; but not up to an input of the whole, which may be used in many places.
    for box in order:
        more = len(above[box]) - len(below[box])
        if more > 0 or (more == 0 and above[box] and all(above[high] for high in above[box])):
            layer[box] = max(layer[high] for high in above[box]) + 1
    lifted = _lift(sizes, above, below, order, layer)
    top = min(layer)
    return [one - top for one in layer], lifted


def _topological(above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> list[int]:
    waiting = [len(boxes) for boxes in above]
    order = [box for box, left in enumerate(waiting) if not left]
    for box in order:
        for low in below[box]:
            waiting[low] -= 1
            if not waiting[low]:
                order.append(low)
    return order


def _lift(
    sizes: Sequence[tuple[float, float]],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
    order: Sequence[int],
    layer: list[int],
) -> set[int]:
    """Lift boxes out of layers that are too wide, into columns, and tell which.

    All that a lifted box is computed from goes up with it.
    """
    lifted: set[int] = set()
    height = [0] * len(layer)  # of what a box is computed from
    for box in order:
        height[box] = max((height[high] + 1 for high in above[box]), default=0)
    rows = _rows(layer)
    one = max(layer)
    while one in rows:
        row = rows[one]
        one -= 1
        wide = sum(sizes[box][0] + _BOX_GAP for box in row)
        if wide <= _WIDEST_LAYER:
            continue
        inputs = [box for box in row if not above[box]]
        fixed = wide - sum(sizes[box][0] + _BOX_GAP for box in inputs)
        movable = inputs if fixed <= _WIDEST_LAYER / 2 else row
        fixed = fixed if movable is inputs else 0.0
        mean = (wide - fixed) / len(movable)
        # The boxes of a column stand beside the lines from those above them.
        levels = min(
            range(1, min(len(movable), _MOST_LEVELS) + 1),
            key=lambda levels: max(
                _WIDEST_LAYER,
                fixed + math.ceil(len(movable) / levels) * (mean + (levels - 1) * _LINE_GAP),
            ),
        )
        # A box leaves room for the few that stand above it.
        step = 1 + min(3, max(height[box] for box in movable))
        movable.sort(key=lambda box: (min(below[box], default=-1), box))
        for number, box in enumerate(movable):
            if number % levels:
                layer[box] -= step * (number % levels)
                lifted.add(box)
        for box in reversed(order):
            layer[box] = min([layer[box], *(layer[low] - 1 for low in below[box])])
        rows = _rows(layer)
    return lifted


def _rows(layer: Sequence[int]) -> dict[int, list[int]]:
    """The boxes of each layer."""
    rows: dict[int, list[int]] = {one: [] for one in range(min(layer), max(layer) + 1)}
    for box, one in enumerate(layer):
        rows[one].append(box)
    return rows


class _Grid:
    """Boxes and, where an edge passes a layer, points, as cells in layers.

    Edges from one box share their points, as far as they go together; parallel edges do not.
    """

    def __init__(
        self, sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]
    ) -> None:
        self.sizes = sizes
        self.edges = edges
        self.boxes = len(sizes)
        self.layer, self.lifted = _layers(sizes, edges)
        self.routes: list[list[int]] = []  # the cells of each edge
        self.copies: list[int] = []  # which one of parallel edges it is
        points: dict[tuple[int, int, int], int] = {}
        parallel: dict[tuple[int, int], int] = {}
        for upper, lower in edges:
            copy = parallel.get((upper, lower), 0)
            parallel[upper, lower] = copy + 1
            route = [upper]
            for one in range(self.layer[upper] + 1, self.layer[lower]):
                key = upper, copy, one
                if key not in points:
                    points[key] = len(self.layer)
                    self.layer.append(one)
                route.append(points[key])
            self.routes.append([*route, lower])
            self.copies.append(copy)
        self.cells = len(self.layer)
        self.above: list[list[int]] = [[] for _ in range(self.cells)]
        self.below: list[list[int]] = [[] for _ in range(self.cells)]
        steps = {step: None for route in self.routes for step in pairwise(route)}
        for upper, lower in steps:
            self.above[lower].append(upper)
            self.below[upper].append(lower)
        self.steps = len(steps)
        self.large = self.steps > _LARGE
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        for cell, row in enumerate(self.layer):
            self.rows[row].append(cell)
        self.height = [0] * self.cells  # of what a cell was computed from
        self.depth = [0] * self.cells  # of what is computed from it
        for cells in self.rows:
            for cell in cells:
                self.height[cell] = max((self.height[up] + 1 for up in self.above[cell]), default=0)
        for cells in reversed(self.rows):
            for cell in cells:
                self.depth[cell] = max((self.depth[low] + 1 for low in self.below[cell]), default=0)
        self.place = [0] * self.cells  # position in its row

    def width(self, cell: int) -> float:
        return self.sizes[cell][0] if cell < self.boxes else 0.0

    # Order in the layers -----------------------------------------------------------------------

    def order(self, start: tuple[bool, bool]) -> int:
        """Fill the rows, with few crossings; returns how many.

        Args:
            start: how to begin: with the longest branch first, and with the last input first.
        """
        longest_first, mirrored = start
        # A search from the outputs up keeps branches together.
        self.rows = [[] for _ in self.rows]
        seen = [False] * self.cells
        for output in (cell for cell in range(self.cells) if not self.below[cell]):
            stack = [output]
            while stack:
                cell = stack.pop()
                if seen[cell]:
                    continue
                seen[cell] = True
                self.rows[self.layer[cell]].append(cell)
                near = self.above[cell] if mirrored else self.above[cell][::-1]
                stack += sorted(near, key=self.height.__getitem__) if longest_first else near
        self._number()
        best, fewest = [row[:] for row in self.rows], self._crossings()
        idle = 0
        for sweep in range(min(_SWEEPS, _EFFORT // (self.steps + 1))):
            if not fewest or idle == 6:
                break
            self._sweep(down=bool(sweep % 2))
            self._swap()
            found = self._crossings()
            idle += 1
            if found < fewest:
                best, fewest, idle = [row[:] for row in self.rows], found, 0
        self.rows = best
        self._number()
        return fewest

    def _number(self) -> None:
        for row in self.rows:
            for place, cell in enumerate(row):
                self.place[cell] = place

    def _sweep(self, *, down: bool) -> None:
        """Order each row by the mean place of the neighbours in the row before it."""
        near = self.above if down else self.below
        for row in self.rows if down else reversed(self.rows):
            keys = {}
            for cell in row:
                others = near[cell]
                keys[cell] = (
                    sum(self.place[other] for other in others) / len(others)
                    if others
                    else float(self.place[cell])
                )
            row.sort(key=keys.__getitem__)
            for place, cell in enumerate(row):
                self.place[cell] = place

    def _swap(self) -> None:
        """Swap neighbours while that takes crossings away."""
        for _ in range(4):
            better = False
            for row in self.rows:
                for place in range(len(row) - 1):
                    left, right = row[place], row[place + 1]
                    gain = 0
                    for near in (self.above, self.below):
                        gain += self._crossed(near[left], near[right])
                        gain -= self._crossed(near[right], near[left])
                    if gain > 0:
                        row[place], row[place + 1] = right, left
                        self.place[left], self.place[right] = place + 1, place
                        better = True
            if not better:
                return

    def _crossed(self, left: Sequence[int], right: Sequence[int]) -> int:
        place = self.place
        return sum(place[one] > place[other] for one in left for other in right)

    def _crossings(self) -> int:
        total = 0
        for row in self.rows:
            ends: list[int] = []
            for cell in row:
                for end in sorted(self.place[low] for low in self.below[cell]):
                    total += len(ends) - bisect_right(ends, end)
                for low in self.below[cell]:
                    insort(ends, self.place[low])
        return total

    # Horizontal positions ----------------------------------------------------------------------

    def centres(self) -> list[float]:
        """The middle of each cell: no overlap, and edges as straight as that allows."""
        block, number = self._blocks()
        right_of: list[dict[int, float]] = [{} for _ in range(number)]
        left_of: list[dict[int, float]] = [{} for _ in range(number)]
        for row in self.rows:
            for one, other in pairwise(row):
                gap = _BOX_GAP if one < self.boxes and other < self.boxes else _LINE_GAP
                gap += (self.width(one) + self.width(other)) / 2
                left, right = block[one], block[other]
                right_of[left][right] = max(gap, right_of[left].get(right, 0.0))
                left_of[right][left] = right_of[left][right]
        order = _topological([list(one) for one in left_of], [list(one) for one in right_of])

        # As far left as possible, as far right as possible: in the middle nothing overlaps either.
        lowest = [0.0] * number
        for one in order:
            for other, gap in right_of[one].items():
                lowest[other] = max(lowest[other], lowest[one] + gap)
        highest = [max(lowest)] * number
        for one in reversed(order):
            for other, gap in right_of[one].items():
                highest[one] = min(highest[one], highest[other] - gap)
        at = [(low + high) / 2 for low, high in zip(lowest, highest, strict=True)]

        pulls: list[dict[int, float]] = [{} for _ in range(number)]
        for upper, cells in enumerate(self.below):
            for lower in cells:
                one, other = block[upper], block[lower]
                if one != other:
                    force = 4.0 if upper >= self.boxes and lower >= self.boxes else 1.0
                    pulls[one][other] = pulls[one].get(other, 0.0) + force
                    pulls[other][one] = pulls[other].get(one, 0.0) + force
        _relax(at, order, left_of, right_of, pulls, _ROUNDS // 4 if self.large else _ROUNDS)
        return [at[block[cell]] for cell in range(self.cells)]

    def sideways(self, centres: list[float]) -> float:
        """How far all edges go to the left or right."""
        return sum(
            abs(centres[upper] - centres[lower])
            for upper, cells in enumerate(self.below)
            for lower in cells
        )

    def _blocks(self) -> tuple[list[int], int]:
        """Which cells stand on one vertical line: the block of each, and how many there are."""
        height, depth = self.height, self.depth

        def rank(upper: int, lower: int) -> int | None:
            """First long edges, then the longest line of boxes; None leaves an edge slanted."""
            if upper in self.lifted:
                return None
            passing = (upper >= self.boxes) + (lower >= self.boxes)
            if passing:
                return 0 if passing == 2 else 2
            rivals = sum(height[up] >= height[upper] for up in self.above[lower])
            rivals += sum(depth[low] >= depth[lower] for low in self.below[upper])
            return 1 if rivals == 2 else None

        block = list(range(self.cells))
        for row in self.rows:
            taken_above: set[int] = set()
            taken_below: set[int] = set()
            chosen: list[tuple[int, int]] = []  # places of both ends, in order, not crossing
            steps = sorted(
                (first, -height[upper], self._aside(upper, lower), upper, lower)
                for upper in row
                for lower in self.below[upper]
                if (first := rank(upper, lower)) is not None
            )
            for *_, upper, lower in steps:
                if upper in taken_above or lower in taken_below:
                    continue
                ends = self.place[upper], self.place[lower]
                at = bisect_right(chosen, ends)
                if at and chosen[at - 1][1] > ends[1]:
                    continue
                if at < len(chosen) and chosen[at][1] < ends[1]:
                    continue
                chosen.insert(at, ends)
                taken_above.add(upper)
                taken_below.add(lower)
                block[lower] = block[upper]  # rows come from top to bottom
        names = {one: number for number, one in enumerate(dict.fromkeys(block))}
        return [names[one] for one in block], len(names)

    def _aside(self, upper: int, lower: int) -> float:
        """How far the edge is from the middle one of all that enter `lower`."""
        places = sorted(self.place[up] for up in self.above[lower])
        return abs(places.index(self.place[upper]) - (len(places) - 1) / 2)

    # Drawing -----------------------------------------------------------------------------------

    def draw(self, centres: list[float], gap: float) -> Layout:
        """Turn rows and horizontal positions into boxes and routes."""
        ends = self._ends(centres)
        reach = [0.0] * len(self.rows)  # how far edges go sideways below a row
        for upper, cells in enumerate(self.below):
            for lower in cells:
                row = self.layer[upper]
                reach[row] = max(reach[row], abs(centres[upper] - centres[lower]))
        tops, bottoms = [], []
        y = _MARGIN
        for row, cells in enumerate(self.rows):
            tops.append(y)
            y += max((self.sizes[cell][1] for cell in cells if cell < self.boxes), default=0.0)
            bottoms.append(y)
            y += gap + min(90.0, reach[row] / 8)
        left = min(centres[cell] - self.width(cell) / 2 for cell in range(self.cells)) - _MARGIN
        right = max(centres[cell] + self.width(cell) / 2 for cell in range(self.cells)) + _MARGIN

        boxes = []
        for box, (width, height) in enumerate(self.sizes):
            row = self.layer[box]
            top = (tops[row] + bottoms[row] - height) / 2
            x = centres[box] - width / 2 - left
            boxes.append(Box(round(x, 2), round(top, 2), width, height))
        routes = []
        for edge, route in enumerate(self.routes):
            start, end = route[0], route[-1]
            x = boxes[start].x + boxes[start].width / 2 + ends[edge][0]
            points = [(x, boxes[start].y + boxes[start].height), (x, bottoms[self.layer[start]])]
            for cell in route[1:-1]:
                row = self.layer[cell]
                points += [(centres[cell] - left, tops[row]), (centres[cell] - left, bottoms[row])]
            x = boxes[end].x + boxes[end].width / 2 + ends[edge][1]
            points += [(x, tops[self.layer[end]]), (x, boxes[end].y)]
            routes.append(tuple(dict.fromkeys((round(x, 2), round(y, 2)) for x, y in points)))
        return Layout(right - left, bottoms[-1] + _MARGIN, tuple(boxes), tuple(routes))

    def _ends(self, centres: list[float]) -> list[tuple[float, float]]:
        """Where each edge leaves and enters its boxes, from the middle of their sides."""
        leaving: dict[int, list[tuple[int, int]]] = {}
        entering: dict[int, list[tuple[int, int]]] = {}
        for route, copy in zip(self.routes, self.copies, strict=True):
            leaving.setdefault(route[0], []).append((route[1], copy))
            entering.setdefault(route[-1], []).append((route[-2], copy))
        starts = {box: self._ports(box, near, centres) for box, near in leaving.items()}
        stops = {box: self._ports(box, near, centres) for box, near in entering.items()}
        return [
            (starts[route[0]][route[1], copy], stops[route[-1]][route[-2], copy])
            for route, copy in zip(self.routes, self.copies, strict=True)
        ]

    def _ports(
        self, box: int, near: list[tuple[int, int]], centres: list[float]
    ) -> dict[tuple[int, int], float]:
        """One place for each neighbour, side by side; a straight edge stays straight."""
        ports = sorted(set(near), key=lambda port: (centres[port[0]], port))
        straight = [
            position
            for position, (cell, _) in enumerate(ports)
            if abs(centres[cell] - centres[box]) < 0.5
        ]
        middle = (len(ports) - 1) / 2
        origin = sum(straight) / len(straight) if straight else middle
        room = self.width(box) - _PORT
        gap = min(_PORT, room / max(1.0, len(ports) - 1))
        if max(origin, len(ports) - 1 - origin) * gap > room / 2:
            gap = room / 2 / max(origin, len(ports) - 1 - origin)
        return {port: (position - origin) * gap for position, port in enumerate(ports)}


def _relax(
    at: list[float],
    order: list[int],
    left_of: list[dict[int, float]],
    right_of: list[dict[int, float]],
    pulls: list[dict[int, float]],
    rounds: int,
) -> None:
    """Move blocks towards what they are joined to; they push those that stand in their way."""
    for turn in range(rounds):
        farthest = 0.0
        for one in order if turn % 2 else reversed(order):
            wish = sum((at[other] - at[one]) * pull for other, pull in pulls[one].items())
            if abs(wish) < 0.01:
                continue
            sign, beside = (1, right_of) if wish > 0 else (-1, left_of)
            # All that touch it on that side, and those that touch these: they move together.
            moved = {one: None}
            free = math.inf
            for block in (waiting := [one]):
                for other, gap in beside[block].items():
                    space = sign * (at[other] - at[block]) - gap
                    if other not in moved and space < 0.01:
                        moved[other] = None
                        waiting.append(other)
            force = strength = 0.0
            for block in moved:
                for other, pull in pulls[block].items():
                    if other not in moved:
                        force += (at[other] - at[block]) * pull * sign
                        strength += pull
                for other, gap in beside[block].items():
                    if other not in moved:
                        free = min(free, sign * (at[other] - at[block]) - gap)
            if force <= 0.01:
                continue
            way = min(force / strength, free)
            for block in moved:
                at[block] += sign * way
            farthest = max(farthest, way)
        if farthest < 0.25:
            return
