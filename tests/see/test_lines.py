"""Tests of `gradbook.record_lines`."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import gradbook
from gradbook import graph, record_lines
from gradbook.see.lines import SourceLine


def lines(result):
    """The source line of each node that has one."""
    return {node.name: node.line.text for node in result.nodes if node.line is not None}


def test_nodes_remember_the_line_that_made_them():
    """Each operation of a program points at its own line, with its file and number."""
    x = torch.ones(2, requires_grad=True)
    with record_lines():
        y = x + 2
        z = y.exp()
    g = graph(z)
    assert lines(g) == {"AddBackward0": "y = x + 2", "ExpBackward0": "z = y.exp()"}
    first, second = g.nodes[0].line, g.nodes[1].line
    assert first.number == second.number + 1
    assert first.file == __file__
    assert str(first) == f"test_lines.py:{first.number}: z = y.exp()"


def test_a_function_of_torch_counts_for_its_caller():
    """cross_entropy records two nodes; a module calls functions of torch: both name our line."""
    model = torch.nn.Linear(3, 2)
    with record_lines():
        loss = F.cross_entropy(model(torch.ones(1, 3)), torch.tensor([0]))
    found = lines(graph(loss))
    assert set(found) == {"NllLossBackward0", "LogSoftmaxBackward0", "AddmmBackward0", "TBackward0"}
    assert len(set(found.values())) == 1


def test_operations_with_several_results_are_marked():
    """Unbind gives a tuple."""
    x = torch.ones(2, requires_grad=True)
    with record_lines():
        a, b = x.unbind()
        out = a * b
    assert lines(graph(out))["UnbindBackward0"] == "a, b = x.unbind()"


def test_nodes_outside_have_no_line():
    """What was recorded before and after is left alone."""
    x = torch.ones(2, requires_grad=True)
    before = x * 2
    with record_lines():
        inside = before.exp()
    after = inside.sin()
    g = graph(after)
    assert [node.line is None for node in g.nodes] == [True, False, True, True]


def test_operations_without_a_graph_cost_nothing():
    """Under no_grad nothing is recorded, so nothing is marked."""
    x = torch.ones(2, requires_grad=True)
    with record_lines(), torch.no_grad():
        y = x * 2
    assert y.grad_fn is None


def test_it_ends_after_an_error():
    """The mode does not outlive its block."""
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(KeyError), record_lines():
        {}["x"]
    assert graph(x * 2).nodes[0].line is None


def test_a_notebook_cell_is_named_by_its_line():
    """Its file is a temporary one that means nothing to a reader."""
    assert str(SourceLine("/tmp/ipykernel_12/34.py", 2, "y = x")) == "line 2: y = x"
    assert str(SourceLine("<cell>", 2, "")) == "line 2"
    assert str(SourceLine("/home/me/train.py", 2, "y = x")) == "train.py:2: y = x"


@pytest.mark.parametrize("name", ["torch_geometric", "torchvision", "gradbook_of_ours"])
def test_a_package_whose_name_begins_like_torch_is_not_torch(name, tmp_path, monkeypatch):
    """Its own lines count, as those of any package."""
    beside = Path((torch if name.startswith("torch") else gradbook).__file__).parents[1]
    file = str(beside / name / "layers.py")
    names = {"x": torch.ones(2, requires_grad=True)}
    program = "def layer(x):\n    return x * 2\n\n\ny = layer(x)\n"
    with record_lines():
        exec(compile(program, file, "exec"), names)
    line = graph(names["y"]).nodes[0].line
    assert (line.file, line.number) == (file, 2)


def parts(result):
    """The expression of each node, outputs first."""
    return [node.line.part for node in result.nodes if node.line is not None]


def test_a_node_remembers_its_own_part_of_the_line():
    """Of several operations in a line each has its expression; an assignment names the result."""
    x = torch.ones(2, requires_grad=True)
    with record_lines():
        y = (x * 2 + F.relu(-x)).mean()
        y += 1
    found = parts(graph(y))
    assert found[:3] == ["y += 1", "y = (x * 2 + F.relu(-x)).mean()", "x * 2 + F.relu(-x)"]
    assert sorted(found[3:]) == ["-x", "F.relu(-x)", "x * 2"]


def test_an_expression_over_several_lines_is_one_line():
    """As it is read."""
    x = torch.ones(2, requires_grad=True)
    with record_lines():
        y = (
            x
            + 1
        )  # fmt: skip
    assert parts(graph(y)) == ["y = x + 1"]


def test_what_a_library_calls_has_no_part():
    """The expression of the program made the last node only, or none that it wrote itself."""
    x = torch.ones(2, 3, requires_grad=True)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
    with record_lines():
        y = model(x)
        z = 1 / y
    assert parts(graph(z)) == ["z = 1 / y", "", "", "", ""]
