"""Tests of what `explain` says of parameters that `fully_shard` keeps in shards."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from gradbook import explain
from gradbook.see import torch_internals
from reproducers.distributed import one_process


class TwoOfThree(nn.Module):
    """The third layer takes no part."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1)
        self.unused = nn.Linear(3, 1)

    def forward(self, x):
        """Two layers."""
        return self.second(self.first(x).relu())


@contextmanager
def sharded():
    """A model whose first layer, and then whose rest, are in shards; and its optimizer."""
    with one_process():
        mesh = init_device_mesh("cpu", (1,))
        model = TwoOfThree()
        fully_shard(model.first, mesh=mesh)
        fully_shard(model, mesh=mesh)
        yield model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_the_graph_holds_the_whole_of_a_shard():
    """What is reached is told by the whole, also where the module has its shards back."""
    with sharded() as (model, optimizer):
        loss = model(torch.ones(2, 3)).sum()
        found = explain(model, loss)
        assert found.code == "some-not-reached"
        assert found.details["reached"] == "first.weight, first.bias, second.weight, second.bias"
        assert found.details["not reached"] == "unused.weight, unused.bias"
        said = " ".join(found.because)
        assert "no parameters of this module" not in said
        assert "no step changes it" not in said
        loss.backward()
        assert model.first.weight.grad is not None
        assert model.unused.weight.grad is None
        optimizer.step()


def test_a_shard_is_reached_by_its_whole():
    """Where the module has a name beside it."""
    with sharded() as (model, _):
        shard = model.first.weight
        loss = model(torch.ones(2, 3)).sum()
        assert explain(shard, loss).code == "no-backward-yet"
        assert "The loss reaches it." in explain(shard, loss).because
        unused = model.unused.weight
        assert explain(unused, loss).code == "not-reached"


def asked_alone(tensor, loss):
    """`explain` where nothing else is at hand."""
    return explain(tensor, loss)


def test_what_cannot_be_told_is_not_told():
    """A shard whose module is out of reach: neither reached nor not reached."""
    with sharded() as (model, _):
        shard = model.first.weight
        found = asked_alone(shard, model(torch.ones(2, 3)).sum())
        assert found.code == "sharded"
        assert "`Shard(dim=0)`" in " ".join(found.because)
        assert "explain(module, loss)" in found.cure


def test_another_torch_that_keeps_them_elsewhere(monkeypatch):
    """Then nothing is said of the shards, and nothing is called not reached."""
    with sharded() as (model, _):
        loss = model(torch.ones(2, 3)).sum()
        monkeypatch.setattr(torch_internals, "wholes_of_shards", lambda module: [])
        found = explain(model.first, loss)
        assert found.code == "sharded"
        assert found.details["shards"] == "weight, bias"
        assert found.details["not reached"] == "none"


def test_the_private_names_are_there():
    """Of torch's own bookkeeping, which `torch_internals` reads."""
    with sharded() as (model, _):
        assert torch_internals.wholes_of_shards(model) == []  # before the first forward pass
        model(torch.ones(2, 3))
        assert len(torch_internals.wholes_of_shards(model)) == 4
        for shard, whole in torch_internals.wholes_of_shards(model.first):
            assert shard.full_tensor().shape == whole.shape
        assert torch_internals.wholes_of_shards(nn.Linear(2, 2)) == []


@pytest.mark.parametrize("place", ["before", "after"])
def test_gradients_of_shards(place):
    """Before backward there are none; after it a filled one is in the optimizer's reach."""
    with sharded() as (model, optimizer):
        loss = model(torch.ones(2, 3)).sum()
        if place == "before":
            assert explain(model).code == "no-gradients"
            return
        loss.backward()
        shard = model.first.weight
        found = explain(shard)
        assert found.code == "has-grad", optimizer
