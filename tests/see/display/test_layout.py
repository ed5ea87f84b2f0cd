"""A layout can be read: no overlap, edges that lead down and pass no box, the same every time."""

import itertools
import math
import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gradbook.see.display.layout import lay_out, room_for


@st.composite
def dags(draw):
    """Sizes of boxes, and edges that go from a lower to a higher number, some of them twice."""
    count = draw(st.integers(1, 24))
    sizes = [
        (draw(st.integers(20, 400)), draw(st.sampled_from([30, 45.5, 90]))) for _ in range(count)
    ]
    edges = []
    for lower in range(1, count):
        uppers = st.integers(0, lower - 1)
        edges += [(upper, lower) for upper in draw(st.lists(uppers, max_size=4))]
    return sizes, edges


def points_along(route):
    """Points on an edge as it is drawn: curves that start and end vertically."""
    for (x, y), (end_x, end_y) in itertools.pairwise(route):
        for step in range(21):
            t = step / 20
            across = 3 * t**2 - 2 * t**3  # the controls lie above and below the ends
            down = 1.5 * t * (1 - t) + t**3
            yield x + (end_x - x) * across, y + (end_y - y) * down


@settings(max_examples=80, deadline=None)
@given(dags())
def test_boxes_and_edges_of_any_graph_are_apart(dag):
    """Boxes do not touch, lie within the drawing, and no edge passes through a box."""
    sizes, edges = dag
    layout = lay_out(sizes, edges)
    assert [(box.width, box.height) for box in layout.boxes] == [tuple(size) for size in sizes]
    for box in layout.boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= layout.width + 0.01
        assert box.y + box.height <= layout.height + 0.01
    for one, other in itertools.combinations(layout.boxes, 2):
        aside = max(one.x, other.x) - min(one.x + one.width, other.x + other.width)
        apart = max(one.y, other.y) - min(one.y + one.height, other.y + other.height)
        assert max(aside, apart) > 5
    for route in layout.routes:
        for x, y in points_along(route):
            assert -1 <= x <= layout.width + 1
            for box in layout.boxes:
                inside_x = box.x + 1 < x < box.x + box.width - 1
                inside_y = box.y + 1 < y < box.y + box.height - 1
                assert not (inside_x and inside_y)


@settings(max_examples=100, deadline=None)
@given(dags())
def test_every_edge_leads_down_from_its_box_to_its_box(dag):
    """An edge leaves the lower side of one box and enters the upper side of the other."""
    sizes, edges = dag
    layout = lay_out(sizes, edges)
    assert len(layout.routes) == len(edges)
    for (upper, lower), route in zip(edges, layout.routes, strict=True):
        start, end = layout.boxes[upper], layout.boxes[lower]
        heights = [y for _, y in route]
        # Each is rounded to two digits by itself.
        assert all(below >= above - 0.011 for above, below in pairwise(heights))
        assert math.isclose(heights[0], start.y + start.height)
        assert math.isclose(heights[-1], end.y)
        assert start.x <= route[0][0] <= start.x + start.width
        assert end.x <= route[-1][0] <= end.x + end.width


@settings(max_examples=30, deadline=None)
@given(dags())
def test_the_same_graph_has_the_same_layout(dag):
    """Nothing in a layout is left to chance, and parallel edges are drawn apart."""
    sizes, edges = dag
    layout = lay_out(sizes, edges)
    assert layout == lay_out(sizes, edges)
    if all(width >= room_for(len(edges)) for width, _ in sizes):
        assert len(set(layout.routes)) == len(edges)


def test_a_chain_is_a_straight_column():
    """Boxes of different widths stand on one line, and so do their edges."""
    layout = lay_out(
        [(50 + 10 * number, 40) for number in range(6)], [(n, n + 1) for n in range(5)]
    )
    middles = {round(box.x + box.width / 2, 6) for box in layout.boxes}
    assert len(middles) == 1
    assert {round(x, 6) for route in layout.routes for x, _ in route} == middles


def test_parallel_edges_are_two_lines():
    """Two edges between the same boxes are as far apart as two ends."""
    one, other = lay_out([(90, 40), (90, 40)], [(0, 1), (0, 1)]).routes
    assert {x for x, _ in one}.isdisjoint({x for x, _ in other})


def crossings(layout, edges):
    """Pairs of edges between the same two rows whose ends are in opposite order."""
    ends = [(layout.boxes[upper], layout.boxes[lower]) for upper, lower in edges]
    rows = [tuple(box.y + box.height / 2 for box in pair) for pair in ends]
    return sum(
        rows[one] == rows[other]
        and (ends[one][0].x - ends[other][0].x) * (ends[one][1].x - ends[other][1].x) < 0
        for one, other in itertools.combinations(range(len(edges)), 2)
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=16))
def test_edges_of_a_tree_do_not_cross(parents):
    """Whatever order its boxes come in, it can be drawn without a crossing, and is."""
    edges = [(number, parent % number) for number, parent in enumerate(parents, start=1)]
    layout = lay_out([(60, 30)] * (len(edges) + 1), edges)
    assert crossings(layout, edges) == 0


def test_most_crossings_are_taken_away():
    """Two rows of four boxes, linked at random: half of the crossings can be avoided."""
    chance = random.Random(0)
    possible = list(itertools.product(range(4), range(4, 8)))
    before = after = 0
    for _ in range(60):
        edges = chance.sample(possible, 7)
        if {end for edge in edges for end in edge} != set(range(8)):
            continue
        before += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(edges, 2))
        after += crossings(lay_out([(60, 30)] * 8, edges), edges)
    assert 0 < after < 0.3 * before


def test_an_input_stands_just_above_its_use():
    """A weight that is used late does not stand at the top."""
    layout = lay_out([(60, 40)] * 6, [(0, 1), (1, 2), (2, 3), (3, 4), (5, 4)])
    assert layout.boxes[5].y == layout.boxes[3].y


def test_a_skip_connection_leaves_the_line_straight():
    """Around the branch of a residual block, what is added goes straight down."""
    layout = lay_out([(90, 40)] * 5, [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)])
    columns = {round(layout.boxes[box].x, 3) for box in (0, 3, 4)}
    assert len(columns) == 1
    assert round(layout.boxes[1].x, 3) not in columns


def test_inputs_stand_in_their_order():
    """What comes first in a call comes first from the left."""
    layout = lay_out([(60, 40)] * 4, [(2, 3), (0, 3), (1, 3)])
    assert layout.boxes[2].x < layout.boxes[0].x < layout.boxes[1].x


def test_a_layer_that_is_too_wide_becomes_columns():
    """Forty inputs of one box do not stand side by side."""
    layout = lay_out([(120, 60)] * 41, [(number, 40) for number in range(40)])
    assert layout.width < 1200
    assert len({round(box.y) for box in layout.boxes}) > 5


def test_many_operations_in_a_layer_become_columns_too():
    """What is not an input is lifted together with what it is computed from."""
    edges = [(number, 30 + number) for number in range(30)]
    edges += [(30 + number, 60) for number in range(30)]
    layout = lay_out([(120, 60)] * 61, edges)
    assert layout.width < 2000
    assert all(layout.boxes[up].y < layout.boxes[low].y for up, low in edges)


def test_a_single_box_and_nothing_at_all_have_a_layout():
    """The smallest graphs are no special case for who draws them."""
    nothing = lay_out([], [])
    assert (nothing.width, nothing.height, nothing.boxes) == (20, 20, ())
    box = lay_out([(80, 40)], []).boxes[0]
    assert (box.x, box.y) == (10, 10)


def test_a_dense_graph_is_laid_out_with_less_care():
    """Where edges are many, one try has to do; it is still a layout."""
    edges = [(upper, lower) for lower in range(40) for upper in range(lower)]
    layout = lay_out([(700, 40)] * 40, edges)
    assert all(layout.boxes[up].y < layout.boxes[low].y for up, low in edges)
