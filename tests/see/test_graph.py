"""Tests of `gradbook.graph`."""

import copy
import json
import pickle
import subprocess
import sys
import weakref
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradbook import graph, record_lines
from programs import run, steps


def names(result):
    """The names of all nodes."""
    return [node.name for node in result.nodes]


def naive(roots):
    """Nodes and edges by a plain walk, for comparison."""
    seen, edges, stack = set(), [], list(roots)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for child, input_nr in node.next_functions:
            if child is not None:
                edges.append((node.name(), child.name(), input_nr))
                stack.append(child)
    return seen, sorted(edges)


def seed_program():
    """The program of the Learn path: its leaf and its result."""
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x + 2
    return x, (y * y * 2).mean()


def test_the_seed_program_is_read_as_recorded():
    """X + 2, y * y, * 2, mean: five nodes, outputs first, and y * y as two edges into one node."""
    x, out = seed_program()
    g = graph(out, params={"x": x})
    assert names(g) == [
        "MeanBackward0",
        "MulBackward0",
        "MulBackward0",
        "AddBackward0",
        "AccumulateGrad",
    ]
    assert [(e.src, e.dst, e.input_nr) for e in g.edges] == [
        (0, 1, 0),
        (1, 2, 0),
        (2, 3, 0),
        (2, 3, 0),
        (3, 4, 0),
    ]
    assert [node.constants for node in g.nodes] == [0, 1, 0, 1, 0]
    assert [node.shape for node in g.nodes] == [(), (3,), (3,), (3,), (3,)]
    assert [node.tensor_name for node in g.leaves] == ["x"]
    assert g.roots == (0,)
    assert len(g) == 5
    assert repr(g) == "BackwardGraph(5 nodes, 5 edges, 1 leaves, 20 bytes saved)"


@given(steps)
def test_nodes_edges_and_leaves_equal_a_naive_walk(program):
    """For any program each node is read once, and every edge with its slot."""
    leaves, tensors = run(program)
    out = tensors[-1]
    g = graph(out)
    seen, edges = naive([out.grad_fn])
    assert len(g) == len(seen)
    found = [(g.nodes[e.src].name, g.nodes[e.dst].name, e.input_nr) for e in g.edges]
    assert sorted(found) == sorted((a.split("::")[-1], b.split("::")[-1], n) for a, b, n in edges)
    reached = [
        leaf
        for leaf in leaves
        if torch.autograd.grad(out.sum(), leaf, allow_unused=True, retain_graph=True)[0] is not None
    ]
    assert len(g.leaves) == len(reached)


@given(steps)
def test_a_node_comes_after_all_that_point_at_it(program):
    """Every edge leads to a later node."""
    g = graph(run(program)[1][-1])
    assert all(edge.src < edge.dst for edge in g.edges)


def test_saved_tensors_are_counted_by_storage():
    """Y * y saves y twice, in one memory; each field still says its bytes."""
    x = torch.ones(1000, requires_grad=True)
    y = x + 1
    g = graph((y * y).sum())
    (mul,) = [node for node in g.nodes if node.name == "MulBackward0"]
    assert {name: saved.nbytes for name, saved in mul.saved.items()} == {
        "self": 4000,
        "other": 4000,
    }
    assert mul.saved["self"].shape == (1000,)
    assert mul.saved["self"].dtype == "float32"
    assert g.saved_nbytes == 4000


def test_a_view_keeps_its_whole_storage():
    """What a saved slice keeps alive is the memory it looks into."""
    big = torch.ones(1000)
    x = torch.ones(1, requires_grad=True)
    assert graph(x * big[:1]).saved_nbytes == 4000


def test_only_what_backward_needs_is_saved():
    """If b needs no gradient, a * b saves b and not a."""
    a, b = torch.ones(2, requires_grad=True), torch.ones(2)
    assert list(graph(a * b).nodes[0].saved) == ["other"]


def test_released_is_reported():
    """After backward the saved tensors are gone: the graph says so instead of failing."""
    _, out = seed_program()
    before = graph(out)
    out.backward()
    after = graph(out)
    assert not before.released
    assert after.released
    assert after.saved_nbytes == 0
    assert all(saved.released for node in after.nodes for saved in node.saved.values())
    assert after.nodes[1].saved["other"].shape is None
    assert before.saved_nbytes == 20
    assert "released" in repr(after)


def test_a_graph_without_saved_tensors_is_never_released():
    """X + 1 saves nothing, so backward frees nothing and can run again."""
    x = torch.ones(2, requires_grad=True)
    out = (x + 1).sum()
    out.backward()
    assert not graph(out).released


def test_an_edit_since_saving_is_reported():
    """The version when saved and the version now: what torch will complain about."""
    x = torch.ones(2, requires_grad=True)
    w = x.clone()
    out = (x * w).sum()
    w.add_(1)
    saved = graph(out).nodes[1].saved
    assert (saved["other"].version, saved["other"].edited) == (0, 1)
    assert (saved["self"].version, saved["self"].edited) == (0, None)


def test_a_tensor_saved_after_an_edit_is_not_edited():
    """A version above 0 is fine if it was that when saved."""
    x = torch.ones(2, requires_grad=True)
    w = x.clone().add_(1)
    saved = graph((x * w).sum()).nodes[1].saved["other"]
    assert (saved.version, saved.edited) == (1, None)


def test_leaves_are_named_from_a_module():
    """Parameters by their qualified names; a shared one is one leaf."""
    inner = nn.Linear(2, 2)
    model = nn.Sequential(inner, nn.ReLU(), inner)
    g = graph(model(torch.ones(1, 2)).sum(), params=model)
    assert sorted(leaf.tensor_name for leaf in g.leaves) == ["0.bias", "0.weight"]


def test_unnamed_leaves_are_numbered_from_the_first_use():
    """Numbers skip names that are taken."""
    a, b, c = (torch.ones(1, requires_grad=True) for _ in range(3))
    g = graph((a * b).exp() * c, params={"leaf 1": b})
    assert sorted(leaf.tensor_name for leaf in g.leaves) == ["leaf 1", "leaf 2", "leaf 3"]


def test_intermediate_tensors_can_be_named():
    """A mapping may hold tensors that are no leaves."""
    x = torch.ones(2, requires_grad=True)
    h = x * 2
    g = graph(h.sum(), params={"h": h})
    assert [node.tensor_name for node in g.nodes] == [None, "h", "leaf 1"]


def test_several_outputs_share_their_nodes():
    """Two losses of one trunk: the trunk is read once, both ends are roots."""
    x = torch.ones(2, requires_grad=True)
    h = x.exp()
    g = graph(h.sum(), h.mean())
    assert len(g) == 4
    assert {g.nodes[root].name for root in g.roots} == {"SumBackward0", "MeanBackward0"}


def test_an_output_inside_the_graph_of_another_is_a_root_too():
    """It is found although other nodes point at it."""
    x = torch.ones(2, requires_grad=True)
    h = x.exp()
    g = graph(h.sum(), h)
    assert [g.nodes[root].name for root in g.roots] == ["SumBackward0", "ExpBackward0"]


def test_unbind_keeps_the_number_of_the_output():
    """Edges into a node with several outputs say which one they come from."""
    x = torch.ones(3, requires_grad=True)
    parts = x.unbind()
    g = graph(parts[0] * parts[2])
    assert [e.input_nr for e in g.edges if g.nodes[e.dst].name == "UnbindBackward0"] == [0, 2]


class Twice(torch.autograd.Function):
    """A custom function that saves its input."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def test_custom_functions_are_read():
    """Their name and what save_for_backward kept."""
    x = torch.ones(3, requires_grad=True)
    out = Twice.apply(x)
    node = graph(out).nodes[0]
    assert node.name == "TwiceBackward"
    assert node.saved["tensors[0]"].nbytes == 12
    out.sum().backward()
    (node,) = [n for n in graph(out).nodes if n.name == "TwiceBackward"]
    assert all(saved.released for saved in node.saved.values())


def test_an_edit_through_a_view_shows_as_copy_slices():
    """The base gets a new history."""
    x = torch.ones(3, requires_grad=True)
    base = x.clone()
    base[0] = 5
    assert names(graph(base))[0] == "CopySlices"


def test_lists_of_saved_tensors_are_numbered():
    """Indexing saves a list of indices, which raises as a whole once released."""
    x = torch.ones(3, requires_grad=True)
    out = x[torch.tensor([0, 1])].exp().sum()
    assert "indices[0]" in graph(out).nodes[2].saved
    out.backward()
    assert graph(out).released


def test_checkpointed_regions_are_not_run_again():
    """What checkpointing holds is packed, and reading the graph does not recompute it."""
    calls = []

    def region(x):
        calls.append(1)
        return (x * x).exp()

    x = torch.ones(2, requires_grad=True)
    out = checkpoint(region, x, use_reentrant=False)
    g = graph(out.sum())
    assert any(saved.packed for node in g.nodes for saved in node.saved.values())
    assert calls == [1]


def test_double_backward_graphs_and_complex_numbers_are_read():
    """create_graph makes a graph of the backward; complex tensors have one like others."""
    x = torch.ones(2, requires_grad=True, dtype=torch.cfloat)
    out = (x * x.conj()).real.sum()
    (gradient,) = torch.autograd.grad(out, x, create_graph=True)
    g = graph(gradient)
    assert len(g.leaves) == 1
    assert {saved.dtype for node in g.nodes for saved in node.saved.values()} <= {
        "complex64",
        "float32",
    }


def test_sparse_and_inference_tensors_can_be_saved():
    """A sparse matrix has no storage to count; an inference tensor has no version."""
    x = torch.ones(2, 2, requires_grad=True)
    out = torch.sparse.mm(torch.eye(2).to_sparse(), x)
    assert graph(out).nodes[0].name.startswith("SparseAddmm")


def test_nothing_is_kept_of_the_tensors():
    """The result holds no tensor: memory is freed as without it."""
    x = torch.ones(2, requires_grad=True)
    saved = x.exp()
    out = saved.sum()
    g = graph(out)
    gone = weakref.ref(saved)
    del saved, out
    assert gone() is None
    assert len(g) == 3


def test_the_result_is_frozen_and_json_ready():
    """A picture cannot be changed; as a dict it survives JSON."""
    x, out = seed_program()
    g = graph(out, params={"x": x})
    with pytest.raises(FrozenInstanceError):
        g.released = True
    with pytest.raises(FrozenInstanceError):
        g.nodes[0].name = "other"
    with pytest.raises(FrozenInstanceError):
        g.edges[0].src = 1
    found = json.loads(json.dumps(g.to_dict()))
    assert found["nodes"][4]["tensor_name"] == "x"
    assert found["edges"][2] == {"src": 2, "dst": 3, "input_nr": 0}
    assert found["saved_nbytes"] == 20


def test_a_dict_has_all_that_a_node_knows():
    """Names, shapes as lists, and for each saved tensor its size, version and state."""
    x = torch.ones(2, 3, requires_grad=True)
    found = graph(x.exp() * torch.ones(3), params={"x": x}).to_dict()
    saved = {"dtype": "float32", "version": 0, "edited": None, "packed": False, "released": False}
    plain = {"saved": {}, "constants": 0, "tensor_name": None, "is_leaf": False, "line": None}
    plain |= {"dtype": "float32", "module": None, "other_names": []}
    assert found["nodes"] == [
        plain
        | {"id": 0, "name": "MulBackward0", "shape": [2, 3], "constants": 1}
        | {"saved": {"other": {"shape": [3], "nbytes": 12} | saved}},
        plain
        | {"id": 1, "name": "ExpBackward0", "shape": [2, 3]}
        | {"saved": {"result": {"shape": [2, 3], "nbytes": 24} | saved}},
        plain
        | {"id": 2, "name": "AccumulateGrad", "shape": [2, 3], "tensor_name": "x", "is_leaf": True},
    ]
    assert found["roots"] == [0]


def test_an_input_that_was_not_needed_is_passed_over():
    """A matrix product saves the factor of each input that requires a gradient, in either place."""
    constant, weight = torch.ones(2, 3), torch.ones(3, 2, requires_grad=True)
    saved = [graph(out).nodes[0].saved for out in (constant @ weight, weight @ constant)]
    assert [list(fields) for fields in saved] == [["self"], ["mat2"]]


def test_notebooks_get_a_drawing_and_terminals_a_text():
    """The rich display holds both."""
    shown = graph(seed_program()[1])._repr_mimebundle_()
    assert "<svg" in shown["text/html"]
    assert "MeanBackward0" in shown["text/plain"]
    assert str(graph(seed_program()[1])) == shown["text/plain"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], ValueError, "at least one tensor"),
        ([torch.ones(2, requires_grad=True)], ValueError, "a leaf that requires grad"),
        ([torch.ones(2)], ValueError, "without a graph"),
        ([torch.ones(2, dtype=torch.int64)], ValueError, "torch.int64, which has no graph"),
        ([[torch.ones(2)]], TypeError, r"write graph\(\*tensors\)"),
        ([3.0], TypeError, "a number has no graph"),
        ([None], TypeError, "got NoneType"),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    """The message says what came and what to do."""
    with pytest.raises(error, match=message):
        graph(*arguments)


def test_bad_params_are_named():
    """A module or a mapping of tensors is needed."""
    _, out = seed_program()
    with pytest.raises(TypeError, match="must be a module, a mapping"):
        graph(out, params=[1])
    with pytest.raises(TypeError, match=r"params\['x'\] must be a tensor, got int"):
        graph(out, params={"x": 1})


LONG = """
import torch, gradbook
x = torch.ones(1, requires_grad=True)
y, kept = x, []
for i in range({count}):
    y = y * 1.0
    if {keep}:
        kept.append(y)
{work}
{drop}
print("alive")
"""
DROPS = {
    "the output": ("False", "del y"),
    "the output, then tensors from the middle, inputs first": (
        "i % 1000 == 500",
        "del y\nwhile kept: kept.pop(0)",
    ),
    "tensors from the middle, outputs first, then the output": (
        "i % 1000 == 500",
        "while kept: kept.pop()\ndel y",
    ),
    "every tensor, inputs first": ("True", "del y\nwhile kept: kept.pop(0)"),
}


def survives(work, count, keep="False", drop="del y"):
    """Run a program with a long chain in an interpreter of its own."""
    code = LONG.format(count=count, keep=keep, work=work, drop=drop)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-500:]}"
    assert done.stdout.strip().endswith("alive")


@pytest.mark.parametrize("drop", DROPS)
def test_a_chain_of_300_000_nodes_is_read_and_dropped(drop):
    """Torch alone overflows the stack when a chain that Python has seen is dropped."""
    survives("assert len(gradbook.graph(y)) == 300_001", 300_000, DROPS[drop][0], DROPS[drop][1])


def test_a_long_chain_of_branches_is_dropped_safely():
    """Shortcuts over nodes (residual connections) do not hide a long path."""
    survives("for _ in range(60_000): y = y + (y * 1.0).sin()\ngradbook.graph(y)", 1_000)


def test_a_long_chain_can_be_read_again_and_run():
    """Reading twice, backward and reading the released graph work as on a short one."""
    survives(
        "gradbook.graph(y)\ny.backward()\nassert gradbook.graph(y).released and x.grad == 1",
        100_000,
    )


def test_a_node_tells_the_dtype_of_what_it_made():
    """Also where it differs from that of its inputs; a leaf's is that of its gradient."""
    x = torch.ones(2, requires_grad=True)
    found = graph(x.double().to(torch.bfloat16).sum()).nodes
    assert [node.dtype for node in found] == ["bfloat16", "bfloat16", "float64", "float32"]


def test_a_graph_can_be_copied_and_stored():
    """It is plain data, whether anybody has looked at it or not."""
    w = torch.ones(2, 3, requires_grad=True)
    found = graph((torch.ones(2) @ w).tanh().sum(), params={"w": w})
    for one in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert one.to_dict() == found.to_dict()


def test_an_edited_tensor_beside_others_of_its_kind_is_told():
    """Nodes of a kind are read together; the one whose tensor was edited stands out."""
    x = torch.ones(2, requires_grad=True)
    weights = [torch.ones(2), torch.ones(2)]
    y = x * weights[0] * weights[1]
    weights[0].add_(1)
    found = [node.saved["other"] for node in graph(y).nodes if node.name == "MulBackward0"]
    assert [(one.version, one.edited) for one in found] == [(0, None), (0, 1)]


def test_leaves_are_called_as_the_program_calls_them():
    """Under `record_lines`; a name stands once, and one that is given comes first."""
    x, w, other = (torch.ones(2, requires_grad=True) for _ in range(3))
    with record_lines():
        y = x * w + other
        for w in [torch.ones(2, requires_grad=True)]:
            y = y * w + torch.ones(2, requires_grad=True)
    assert {leaf.tensor_name for leaf in graph(y).leaves} == {"x", "w", "other", "leaf 1", "leaf 2"}
    named = graph(y, params={"w": other}).leaves
    assert sorted(str(leaf.tensor_name) for leaf in named)[:3] == ["leaf 1", "leaf 2", "leaf 3"]
