"""Folding keeps a graph a graph, small enough to read, and says what it holds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradbook import graph
from gradbook.see.display.folding import in_bytes, one_line, sketch_of


def leaf():
    """A vector that requires grad."""
    return torch.ones(3, requires_grad=True)


def labels(sketch):
    """What stands in the items, outputs first."""
    return [item.label for item in sketch.items]


@st.composite
def graphs(draw):
    """The graph of a random program on up to three leaves, with one or two outputs."""
    leaves = [leaf() for _ in range(draw(st.integers(1, 3)))]
    values = [*leaves]
    for _ in range(draw(st.integers(1, 25))):
        one = values[draw(st.integers(0, len(values) - 1))]
        other = values[draw(st.integers(0, len(values) - 1))]
        step = draw(st.sampled_from(["add", "mul", "tanh", "scale", "unbind", "square"]))
        if step == "unbind":
            values.append(torch.stack(one.unbind()))
        else:
            values.append(
                {
                    "add": lambda a, b: a + b,
                    "mul": lambda a, b: a * b,
                    "tanh": lambda a, _: a.tanh(),
                    "scale": lambda a, _: a * 2,
                    "square": lambda a, _: a * a,
                }[step](one, other)
            )
    outputs = [values[-1], values[draw(st.integers(len(leaves), len(values) - 1))]]
    names = {"a": leaves[0], **{f"net.{number}.w": one for number, one in enumerate(leaves[1:])}}
    return graph(*outputs[: draw(st.integers(1, 2))], params=draw(st.sampled_from([None, names])))


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(1, 8))
def test_any_fold_is_a_small_graph_without_cycles(recorded, limit):
    """Each node is in one item, each edge in one link or inside an item, and no link goes back."""
    sketch = sketch_of(recorded, True, limit=limit)
    assert len(sketch.items) <= limit
    item_of = {node: number for number, item in enumerate(sketch.items) for node in item.nodes}
    assert sorted(item_of) == list(range(len(recorded)))
    assert sum(len(item.nodes) for item in sketch.items) == len(recorded)
    assert all(link.src < link.dst for link in sketch.links)
    crossing = {
        number: (item_of[edge.src], item_of[edge.dst])
        for number, edge in enumerate(recorded.edges)
        if item_of[edge.src] != item_of[edge.dst]
    }
    shown = {number: (link.src, link.dst) for link in sketch.links for number in link.edges}
    assert shown == crossing
    outputs = sorted(position for item in sketch.items for position in item.outputs)
    assert outputs == list(range(len(recorded.roots)))
    assert sum(item.constants for item in sketch.items) == sum(n.constants for n in recorded.nodes)


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_without_folding_each_node_is_an_item(recorded):
    """A small graph is shown as it is: nodes in order, parallel edges together."""
    sketch = sketch_of(recorded)
    assert labels(sketch) == [node.name for node in recorded.nodes]
    assert sketch.note is None
    assert sum(len(link.edges) for link in sketch.links) == len(recorded.edges)


def chain(length, step=lambda value: value * 2):
    """A leaf, and `step` on it again and again."""
    value = leaf()
    for _ in range(length):
        value = step(value)
    return value


def test_only_more_nodes_than_the_limit_are_folded():
    """150 nodes are shown, 151 are folded, unless it is said otherwise."""
    assert len(sketch_of(graph(chain(149))).items) == 150
    large = graph(chain(150))
    assert labels(sketch_of(large)) == ["MulBackward0", "MulBackward0 × 149", "AccumulateGrad"]
    assert sketch_of(large).note == "151 nodes, shown folded into 3"
    assert len(sketch_of(large, False).items) == 151
    assert len(sketch_of(graph(chain(9)), True).items) == 3


def test_runs_say_what_repeats_in_them():
    """A period is named, a run that stops within one says so, a mixed run lists its kinds."""
    even = chain(100, lambda value: value * 2 + 1)
    assert labels(sketch_of(graph(even.sum())))[1] == "AddBackward0, MulBackward0 × 100"
    assert labels(sketch_of(graph(even)))[1] == "MulBackward0, AddBackward0 in turn, 199 nodes"
    value = leaf()
    for name in ("tanh", "exp", "exp", "sin", "cos", "sqrt", "sigmoid", "tanh"):
        value = getattr(value, name)()
    run = sketch_of(graph(value.sum()), True).items[1]
    assert (run.label, run.kind) == ("a run of 8 nodes", "run")
    assert run.details == (
        "8 operations: TanhBackward0, ExpBackward0, SigmoidBackward0 and 3 more kinds",
    )


def test_a_run_stops_at_names_outputs_and_branches():
    """What has a name, is an output, or has two inputs or two uses is not swallowed by a run."""
    named = chain(4)
    output = chain(4, torch.tanh) * named
    value = output
    for _ in range(4):
        value = value.exp()
    sketch = sketch_of(graph(value + value.sin(), output, params={"h": named}), True)
    assert labels(sketch) == [
        "AddBackward0",
        "SinBackward0",
        "ExpBackward0",
        "ExpBackward0 × 3",
        "MulBackward0",
        "MulBackward0",
        "MulBackward0 × 3",
        "AccumulateGrad",
        "TanhBackward0 × 4",
        "AccumulateGrad",
    ]
    assert [item.outputs for item in sketch.items if item.outputs] == [(0,), (1,)]


def test_a_run_goes_through_parallel_edges():
    """The product y * y has one input, reached by two edges."""
    sketch = sketch_of(graph(chain(6, lambda value: value * value)), True)
    assert labels(sketch) == ["MulBackward0", "MulBackward0 × 5", "AccumulateGrad"]
    assert [len(link.edges) for link in sketch.links] == [2, 2]
    assert [link.arrows for link in sketch.links] == [1, 1]


def test_a_run_tells_its_shapes_constants_and_saved_tensors():
    """What the nodes of a run have to say is summed up."""
    value = chain(4, lambda value: value.exp() * 2)
    run = sketch_of(graph(value.sum().exp().exp()), True).items[1]
    assert run.shape == "(3,) to ()"
    assert run.saved == ("9 tensors",)
    assert run.constants == 4
    value.sum().exp().exp().backward()
    value = chain(4, torch.exp)
    value.sum().backward()
    run = sketch_of(graph(value), True).items[1]
    assert (run.saved, run.released) == ((), ("3 tensors",))


def recurrent(steps, params):
    """The loss of a loop with shared weights, a part of it from each step."""
    weight, bias = leaf(), leaf()
    state, loss = torch.ones(3), 0
    for _ in range(steps):
        state = torch.tanh(weight * state + bias)
        loss = loss + state.pow(2).mean()
    return graph(loss, params={"weight": weight, "bias": bias} if params else None)


@pytest.mark.parametrize("params", [True, False])
def test_a_loop_is_cut_by_time_and_its_weights_stay_visible(params):
    """Without modules the parts are equal, each with its share of the loss, and joined in a row."""
    sketch = sketch_of(recurrent(200, params))
    assert len(sketch.items) == 60
    leaves = [item for item in sketch.items if item.kind == "leaf"]
    assert [item.name for item in leaves] == (
        ["bias", "weight"] if params else ["leaf 2", "leaf 1"]
    )
    parts = sketch.items[: -len(leaves)]
    assert all(item.kind == "part" for item in parts)
    assert all(15 <= len(item.nodes) <= 25 for item in parts)
    between = [(link.src, link.dst) for link in sketch.links if link.dst < len(parts)]
    assert between == [(number, number + 1) for number in range(len(parts) - 1)]


def test_leaves_of_a_part_are_counted():
    """A part that is not one of a module speaks of leaves."""
    value = sum(leaf() for _ in range(400))
    sketch = sketch_of(graph(value))
    assert len(sketch.items) == 60
    assert sum("leaves" in " ".join(item.details) for item in sketch.items) > 50


def test_only_none_and_booleans_are_taken():
    """Anything else for fold is refused by name and value."""
    with pytest.raises(TypeError, match="fold must be True, False or None, got 'no'"):
        sketch_of(graph(chain(2)), "no")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "1 byte"),
        (9999, "9,999 bytes"),
        (12_345, "12.3 kB"),
        (999_960, "1.0 MB"),
        (2_500_000_000, "2.5 GB"),
        (3_000_000_000_000, "3.0 TB"),
    ],
)
def test_bytes_are_rounded_where_they_are_many(count, words):
    """Small numbers are exact, large ones have a decimal unit."""
    assert in_bytes(count) == words


def test_one_line_escapes_what_would_break_a_line_or_a_document():
    """Control codes and reversed text become visible; letters of all scripts stay."""
    assert one_line("a\tb\u202ec\ud800\u2028") == r"a\tb\u202ec\ud800\u2028"
    assert one_line("層 é\u00a0👩\u200d🔬") == "層 é\u00a0👩\u200d🔬"
