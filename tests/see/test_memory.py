"""Tests of `gradbook.saved_memory`."""

import pytest
import torch
from hypothesis import given
from torch import nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from gradbook import graph, saved_memory
from programs import run, steps


def test_shared_storage_counts_once():
    """Squaring three times saves each number twice: six references, three storages."""
    y = torch.ones(10, requires_grad=True)
    for _ in range(3):
        y = y * y
    report = saved_memory(y)
    assert (report.references, report.storages, report.nbytes) == (6, 3, 3 * 40)
    assert [(row.name, row.nodes, row.references) for row in report.rows] == [
        ("MulBackward0", 3, 6)
    ]


def test_what_leaves_hold_is_told_apart():
    """Weights are saved too, and stay when the graph is dropped."""
    layer = nn.Linear(10, 20)
    report = saved_memory(layer(torch.ones(5, 10, requires_grad=True)).relu().sum())
    batch, weight, activations = 5 * 10 * 4, 20 * 10 * 4, 5 * 20 * 4
    assert report.nbytes == batch + weight + activations
    assert report.leaf_nbytes == batch + weight
    assert [row.name for row in report.rows] == ["AddmmBackward0", "ReluBackward0"]
    assert report.rows[0].nbytes == batch + weight


@given(steps)
def test_the_total_is_that_of_the_graph(program):
    """Rows add up to it, for any program."""
    out = run(program)[1][-1].sum()
    report = saved_memory(out)
    assert report.nbytes == graph(out).saved_nbytes == sum(row.nbytes for row in report.rows)
    assert report.references == sum(row.references for row in report.rows)


def test_a_view_keeps_its_whole_storage():
    """A column of a matrix holds the matrix."""
    x = torch.ones(3, requires_grad=True)
    assert saved_memory(x * torch.ones(3, 100)[:, 0]).nbytes == 3 * 100 * 4


def test_released_tensors_are_reported_and_not_counted():
    """After backward only what was never freed counts."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp().sum()
    assert not saved_memory(y).released
    y.backward()
    report = saved_memory(y)
    assert report.released
    assert report.nbytes == 0
    assert "freed" in str(report)


def test_what_hooks_hold_is_reported_and_not_run():
    """A checkpoint is not computed again to be counted."""
    calls = []

    def block(value):
        calls.append(value)
        return value.exp().sin()

    x = torch.ones(3, requires_grad=True)
    report = saved_memory(checkpoint(block, x, use_reentrant=False).sum())
    assert len(calls) == 1
    assert report.packed == 2
    assert report.nbytes == 0
    assert "2 saved tensors are held by hooks" in str(report)
    assert report.packed_nbytes == 0  # it computes them again


def test_what_a_hook_keeps_in_memory_has_a_size():
    """As save_on_cpu does, in a tuple with the device; shared memory counts once."""
    x = torch.ones(1000, requires_grad=True)
    with save_on_cpu():
        y = x.neg().exp().sin()
    report = saved_memory(y)
    assert (report.packed, report.nbytes) == (2, 0)
    assert report.packed_nbytes in (4000, 8000)  # a copy for each saved tensor, or one storage
    assert f"which keep {report.packed_nbytes:,} bytes more" in str(report)
    with saved_tensors_hooks(lambda tensor: {"all": [tensor]}, lambda packed: packed["all"][0]):
        y = x.neg().exp().sin()
    assert saved_memory(y).packed_nbytes == 4000  # the result of exp, saved twice


def test_what_belongs_to_the_model_is_left_out():
    """Also frozen weights, which are no leaves of the graph."""
    model = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 3)).requires_grad_(False)
    extra = nn.Linear(3, 3)
    out = extra(model(torch.ones(5, 10, requires_grad=True)))
    weights = (10 * 20 + 20 * 3) * 4
    whole, graph_only = saved_memory(out), saved_memory(out, params=model)
    assert whole.nbytes - graph_only.nbytes == graph_only.named_nbytes == weights
    assert whole.named_nbytes == 0
    assert f"{weights:,} more are of the tensors that params names" in str(graph_only)
    assert sum(row.nbytes for row in graph_only.rows) == graph_only.nbytes
    pairs = saved_memory(out, params=model.named_parameters())
    assert pairs == graph_only


def test_a_graph_that_saves_nothing_holds_nothing():
    """Addition needs none of its inputs."""
    report = saved_memory(torch.ones(3, requires_grad=True) + 1)
    assert (report.nbytes, report.rows) == (0, ())
    assert str(report) == "0 bytes in 0 storages (0 references)"


def test_it_is_shown_as_a_table():
    """Most first."""
    x = torch.ones(1000, requires_grad=True)
    text = str(saved_memory((x * x[:10].sin().sum()).sum())).splitlines()
    assert text[0] == "4,004 bytes in 2 storages (3 references), 4,000 of them in leaves"
    assert text[1].split() == ["4,004", "MulBackward0", "×", "1"]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (3.0, TypeError, "saved_memory needs a tensor, got float"),
        (torch.ones(3), ValueError, "without a graph"),
        (torch.ones(3, requires_grad=True), ValueError, "a leaf that requires grad"),
        (torch.ones(3, dtype=torch.int64), ValueError, r"torch\.int64, which has no graph"),
    ],
)
def test_bad_input_is_named(value, error, message):
    """What came, and what to give."""
    with pytest.raises(error, match=message):
        saved_memory(value)
