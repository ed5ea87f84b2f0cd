"""Messages of DistributedDataParallel and of collectives; one process is enough."""

import contextlib

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

groups = []


@contextlib.contextmanager
def one_process():
    """A group of one process on this machine."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    groups.append(dist.group.WORLD)  # freed with a model, it can hang
    try:
        yield
    finally:
        dist.destroy_process_group()


class TwoHeads(nn.Module):
    """One layer and two heads."""

    def __init__(self):
        super().__init__()
        self.body, self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, x):
        """Return what both heads say."""
        features = self.body(x)
        return self.first(features), self.second(features)


class OneHead(TwoHeads):
    """The second head is never used."""

    def forward(self, x):
        """Return what the first head says."""
        return self.first(self.body(x))


def e210_unused_parameters():
    """The second head takes no part in the loss."""
    with one_process():
        model = DistributedDataParallel(OneHead())
        for _ in range(2):
            model(torch.ones(2, 3)).sum().backward()


def cure_e210():
    """Use every output in the loss."""
    with one_process():
        model = DistributedDataParallel(TwoHeads())
        for _ in range(2):
            first, second = model(torch.ones(2, 3))
            (first.sum() + second.sum()).backward()
        assert model.module.second.bias.grad.tolist() == [4]


class Checkpointed(nn.Module):
    """Runs one layer twice, each time in a checkpoint."""

    def __init__(self, *, use_reentrant):
        super().__init__()
        self.first, self.layer = nn.Linear(3, 3), nn.Linear(3, 3)
        self.use_reentrant = use_reentrant

    def forward(self, x):
        """Run it twice."""
        x = self.first(x)
        for _ in range(2):
            x = checkpoint(self.layer, x, use_reentrant=self.use_reentrant)
        return x


def e211_parameter_ready_twice():
    """Each reentrant checkpoint runs a backward pass of its own."""
    with one_process():
        model = DistributedDataParallel(Checkpointed(use_reentrant=True))
        model(torch.ones(2, 3, requires_grad=True)).sum().backward()


def cure_e211():
    """The other variant does not."""
    with one_process():
        model = DistributedDataParallel(Checkpointed(use_reentrant=False))
        model(torch.ones(2, 3, requires_grad=True)).sum().backward()
        assert model.module.layer.weight.grad is not None


def e212_nothing_to_train():
    """Every parameter is frozen."""
    with one_process():
        DistributedDataParallel(nn.Linear(3, 1).requires_grad_(False))


def cure_e212():
    """A model that is not trained needs no DDP."""
    model = nn.Linear(3, 1).requires_grad_(False)
    assert not model(torch.ones(3)).requires_grad


def w60_looks_for_unused_parameters_in_vain():
    """Every parameter is used. A line of the C++ log, not a Python warning."""
    with one_process():
        model = DistributedDataParallel(nn.Linear(3, 1), find_unused_parameters=True)
        model(torch.ones(2, 3)).sum().backward()


def cure_w60():
    """Without the flag."""
    with one_process():
        model = DistributedDataParallel(nn.Linear(3, 1))
        model(torch.ones(2, 3)).sum().backward()
        assert model.module.bias.grad is not None


def w71_collective_in_the_graph():
    """all_reduce() is not differentiable."""
    x = torch.ones(3, requires_grad=True)
    with one_process():
        total = x * 2
        dist.all_reduce(total)
        total.sum().backward()


def cure_w71():
    """The functional collectives are, and return a new tensor."""
    from torch.distributed._functional_collectives import all_reduce

    x = torch.ones(3, requires_grad=True)
    with one_process():
        total = all_reduce(x * 2, "sum", dist.group.WORLD)
        total.sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def convolution(contiguous):
    """A kernel of one element, stored in the order of a permuted tensor."""
    layer = nn.Conv2d(4, 4, 1)
    weight = torch.ones(4, 1, 4, 1).permute(0, 2, 3, 1)
    layer.weight = nn.Parameter(
        weight.clone(memory_format=torch.contiguous_format) if contiguous else weight
    )
    return layer


def w91_gradient_of_a_permuted_parameter():
    """The gradient has the strides of a contiguous tensor."""
    with one_process():
        model = DistributedDataParallel(convolution(contiguous=False))
        model(torch.ones(2, 4, 3, 3)).sum().backward()


def cure_w91():
    """A contiguous parameter."""
    with one_process():
        model = DistributedDataParallel(convolution(contiguous=True))
        model(torch.ones(2, 4, 3, 3)).sum().backward()
        assert model.module.weight.grad.stride() == model.module.weight.stride()
