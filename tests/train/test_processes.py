"""What a loop knows of other processes; test_distributed.py has two real ones."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gradbook.train.processes import (
    all_sum,
    exchange_gradients,
    find_replica,
    forward_without_batch,
    note_lost_process,
    rank,
    unwrap,
    world_size,
)


@pytest.fixture(autouse=True)
def _group_of_one() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_group_of_one_is_one_process() -> None:
    """With a group, rank and size are the group's."""
    assert (rank(), world_size()) == (0, 1)


def test_a_replica_is_found_inside_a_wrapper() -> None:
    """torch.compile, for one, puts a module around it."""
    inner = nn.Linear(2, 1)
    replica = DistributedDataParallel(inner)
    assert find_replica(nn.Sequential(replica)) is replica
    assert unwrap(nn.Sequential(replica)) is inner
    assert find_replica(inner) is None
    assert find_replica(None) is None


def test_two_replicas_in_a_model_are_refused() -> None:
    """Each would exchange for itself."""
    two = nn.ModuleList(DistributedDataParallel(nn.Linear(2, 1)) for _ in range(2))
    with pytest.raises(ValueError, match="holds 2 DistributedDataParallel modules"):
        find_replica(two)


def test_sums_are_float64() -> None:
    """A count beyond what float32 holds stays exact."""
    replica = DistributedDataParallel(nn.Linear(2, 1))
    assert all_sum([2**24 + 1, 0.5], replica) == [2**24 + 1, 0.5]


def test_an_exchange_without_batch_leaves_the_module_as_it_was() -> None:
    """Gradients pass through unchanged, inside no_sync too; forward and modes are restored."""

    class Patched(nn.Linear):
        pass

    model = Patched(2, 1)
    own = lambda x: x * 0  # noqa: E731 -- a forward set on the object, as some tools do
    model.forward = own
    model.weight.grad = torch.tensor([[1.0, 2.0]])
    replica = DistributedDataParallel(model)
    with replica.no_sync():
        forward_without_batch(replica)
        exchange_gradients(replica)
        assert not replica.require_backward_grad_sync
    assert model.weight.grad.tolist() == [[1.0, 2.0]]
    assert model.bias.grad.tolist() == [0.0]
    assert vars(model)["forward"] is own
    assert replica.require_backward_grad_sync


def test_a_parameter_that_nobody_used_keeps_no_gradient() -> None:
    """Where unused parameters are allowed, an exchange does not make zeros of None."""
    model = nn.Linear(2, 1)
    model.weight.grad = torch.tensor([[1.0, 2.0]])
    replica = DistributedDataParallel(model, find_unused_parameters=True)
    exchange_gradients(replica)
    assert model.bias.grad is None
    assert "forward" not in vars(model)


def test_only_errors_of_the_communication_get_a_note() -> None:
    """A wrong shape is explained by itself."""
    lost, other = RuntimeError("gloo: Connection closed by peer"), RuntimeError("mat1 and mat2")
    for error in (lost, other):
        note_lost_process(error)
    assert "process 0 of 1: another process" in lost.__notes__[0]
    assert not hasattr(other, "__notes__")


def test_an_error_during_an_exchange_gets_the_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the other side of a socket is gone."""

    def fail(tensor: Tensor, group: object = None) -> None:
        raise RuntimeError("gloo: Connection closed by peer")

    monkeypatch.setattr(dist, "all_reduce", fail)
    with pytest.raises(RuntimeError, match="closed by peer") as caught:
        all_sum([1.0], DistributedDataParallel(nn.Linear(2, 1)))
    assert len(caught.value.__notes__) == 1
