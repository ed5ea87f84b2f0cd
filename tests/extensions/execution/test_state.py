"""Digests of what programs leave."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from execution import state

MAKE = """
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
optimizer = torch.optim.Adam(model.parameters())
model(torch.ones(4, 2)).sum().backward()
optimizer.step()
found = {"model": model, "list": [optimizer, {"a": 1}, {3, 1, 2}, "text"]}
"""


def test_equal_things_have_the_same_digest_in_another_process():
    """Addresses and seeds of hashes do not count."""
    ours = {}
    exec(MAKE, ours)
    program = f"{MAKE}\nimport sys\nsys.path.insert(0, sys.argv[1])\nimport state\n"
    program += "print(state.digest(found), end='')"
    folder = state.__file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", program, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout == state.digest(ours["found"])


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model[0].weight.data.mul_(2),
        lambda model: model(torch.ones(4, 2)),
        lambda model: model(torch.ones(4, 2)).sum().backward(),
        lambda model: model.eval(),
        lambda model: model[0].requires_grad_(False),
        lambda model: setattr(model, "name", "other"),
    ],
    ids=["values", "buffers", "gradients", "mode", "flag", "attribute"],
)
def test_a_change_is_seen(change):
    """Of values, buffers, gradients, modes, flags and attributes."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = state.digest([model])
    assert state.digest([model]) == before
    change(model)
    assert state.digest([model]) != before


def test_things_that_hold_themselves_have_an_end():
    """And the place at which they come again counts."""
    one, other = [1], [1]
    one.append(one)
    other.append([1, other])
    assert state.digest(one) != state.digest(other)


def test_what_cannot_be_told_is_none():
    """A chain too long to follow makes no error."""
    chain = []
    for _ in range(100_000):
        chain = [chain]
    assert state.digest(chain) is None
    while chain:  # taken apart here, not by a destructor
        (chain,) = chain


def test_tensors_of_all_kinds_have_one():
    """Conjugated, sparse, without elements, of one number; intermediates do not warn."""
    x = torch.tensor([1 + 2j, 3.0], requires_grad=True)
    kinds = [x.conj(), torch.eye(2).to_sparse(), torch.ones(0, 3), torch.tensor(3), x * 2]
    assert len({state.digest(one) for one in kinds} - {None}) == len(kinds)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")  # torch says that it is new
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
def test_a_long_sparse_tensor_counts_with_all_its_values(layout):
    """Printed, the two would look the same."""
    diagonal = torch.ones(2000)
    one = getattr(torch.diag(diagonal), layout)()
    diagonal[1000] = 2
    other = getattr(torch.diag(diagonal), layout)()
    assert repr(one) == repr(other)
    assert None not in (state.digest(one), state.digest(other))
    assert state.digest(one) != state.digest(other)


def test_a_tensor_without_values_counts_with_its_kind_and_shape():
    """On the meta device there is nothing else."""
    one, same = (torch.ones(2, device="meta") for _ in range(2))
    assert state.digest(one) == state.digest(same) is not None
    assert state.digest(one) != state.digest(torch.ones(3, device="meta"))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # it says that it is new
def test_of_a_tensor_that_shows_no_values_nothing_is_told():
    """No two nested tensors are taken for equal."""
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    assert state.digest(nested) is None
