"""Which module made which node."""

import threading

import pytest
import torch
from torch import nn

from gradbook import graph, record_modules
from programs import Attention


def made_by(found):
    """Names of nodes by the module that made them, inputs first; leaves left out."""
    modules = {}
    for node in reversed(found.nodes):
        if not node.is_leaf:
            modules.setdefault(node.module, []).append(node.name.removesuffix("Backward0"))
    return modules


def test_a_module_has_what_its_forward_made():
    """Query, key and value only their own operations; what joins them is of the module around."""
    model = nn.Sequential(Attention(4), nn.ReLU())
    x = torch.ones(2, 3, 4, requires_grad=True)
    with record_modules(model):
        out = model(x)
    modules = made_by(graph(out.sum(), params=model))
    linear = ["T", "View", "Addmm", "View"]
    assert {name: sorted(modules[name]) for name in ("0.q", "0.k", "0.v")} == {
        name: sorted(linear) for name in ("0.q", "0.k", "0.v")
    }
    assert "Softmax" in modules["0"]
    assert modules["1"] == ["Relu"]
    assert modules[None] == ["Sum"]


def test_a_parameter_is_of_the_module_that_has_it():
    """With its name or without."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with record_modules(model):
        out = model(torch.ones(1, 2))
    for params in (model, None):
        leaves = graph(out, params=params).leaves
        assert sorted(str(leaf.module) for leaf in leaves) == ["0", "0", "1", "1"]


def test_the_graph_is_the_same_and_no_hook_is_left():
    """Also after an error, and the next call is noted from its own beginning."""

    class Fails(nn.Module):
        fails = True

        def forward(self, x):
            if self.fails:
                raise ValueError("not yet")
            return x * 2

    model = nn.Sequential(nn.Linear(2, 2), Fails())
    with record_modules(model):
        with pytest.raises(ValueError, match="not yet"):
            model(torch.ones(1, 2))
        model[1].fails = False
        out = model(torch.ones(1, 2))
    assert made_by(graph(out)) == {"0": ["T", "Addmm"], "1": ["Mul"]}
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    later = model(torch.ones(1, 2))
    assert made_by(graph(later)) == {None: ["T", "Addmm", "Mul"]}


def test_operations_between_the_modules_are_of_the_module_around_them():
    """Of the whole model where that calls functions itself, of none outside of it."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return {"out": [self.second(self.first(x).tanh())]}

    model = Model()
    with record_modules(model):
        out = model(torch.ones(1, 2))["out"][0].exp()
    modules = made_by(graph(out))
    assert modules[""] == ["Tanh"]
    assert modules[None] == ["Exp"]


def test_a_part_can_be_called_alone_and_in_another_thread():
    """A list of modules has no forward; its modules are called one by one."""
    model = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    x = torch.ones(1)
    results = {}

    def run(number):
        results[number] = model[number](x)

    with record_modules(model):
        threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, out in results.items():
        assert {node.module for node in graph(out, params=model).nodes} == {str(number)}


def test_two_models_are_told_apart():
    """As a generator and a discriminator."""
    one, two = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 1))
    with record_modules(one), record_modules(two):
        out = two(one(torch.ones(1, 2)))
    assert set(made_by(graph(out))) == {"Sequential.0", "Sequential 2.0"}


def test_only_a_module_is_taken():
    """The error names what came."""
    with pytest.raises(TypeError, match=r"needs a torch\.nn\.Module, got list"), record_modules([]):
        pass


def test_the_place_of_a_guess_is_not_told_as_a_fact():
    """Nobody noted it; a parameter is in its module all the same."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    nodes = graph(model(torch.ones(1, 2)), params=model).nodes
    assert {node.module for node in nodes if not node.is_leaf} == {None}
    assert {node.module for node in nodes if node.is_leaf} == {"0", "2"}
