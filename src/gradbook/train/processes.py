"""What a training loop has to know of the other processes; torch.distributed does the work."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def world_size() -> int:
    """How many processes the run has: 1 when there is no process group.

    >>> world_size()
    1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0; the first one writes files and shows progress.

    >>> rank()
    0
    """
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def find_replica(model: nn.Module | None) -> DistributedDataParallel | None:
    """The DistributedDataParallel in `model`, which may be wrapped, as torch.compile does.

    Raises:
        ValueError: there is more than one.

    >>> find_replica(nn.Linear(2, 1)) is None
    True
    """
    modules = () if model is None else model.modules()
    found = [module for module in modules if isinstance(module, DistributedDataParallel)]
    if len(found) > 1:
        raise ValueError(
            f"model holds {len(found)} DistributedDataParallel modules: put them into one "
            "module and wrap that, so that one backward has one exchange of gradients"
        )
    return found[0] if found else None


def is_sharded(model: nn.Module | None, parameters: Iterable[Tensor]) -> bool:
    """Whether a module or a parameter is spread over processes, by FSDP or as a DTensor.

    >>> is_sharded(nn.Linear(2, 1), [])
    False
    """
    # They exist only once their modules are imported, which takes long.
    fsdp, tensor = (sys.modules.get(f"torch.distributed.{name}") for name in ("fsdp", "tensor"))
    kinds = () if fsdp is None else (fsdp.FSDPModule, fsdp.FullyShardedDataParallel)
    modules = () if model is None else model.modules()
    if any(isinstance(module, kinds) for module in modules):
        return True
    return tensor is not None and any(isinstance(one, tensor.DTensor) for one in parameters)


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel; a plain module is returned as it is.

    >>> model = nn.Linear(2, 1)
    >>> unwrap(model) is model
    True
    """
    replica = find_replica(model)
    return model if replica is None else replica.module


def all_sum(values: Sequence[float], replica: DistributedDataParallel | None) -> list[float]:
    """Sum `values` over the processes of `replica`, in float64; without one, return them.

    >>> all_sum([1, 2.5], None)
    [1.0, 2.5]
    """
    if replica is None:
        return [float(value) for value in values]
    device = next(replica.parameters()).device
    summed = torch.tensor(values, dtype=torch.float64, device=device)
    with lost_process_noted():
        dist.all_reduce(summed, group=replica.process_group)
    return [float(value) for value in summed.tolist()]


def forward_without_batch(replica: DistributedDataParallel) -> None:
    """Take part in what `replica` exchanges before a forward pass under ``no_sync``.

    A process that has no batch for a window has to do so, since the others run forward passes, and
    before one DistributedDataParallel broadcasts the buffers, and once the order of its buckets.
    """
    with replica.no_sync():
        _forward(replica, list)


def exchange_gradients(replica: DistributedDataParallel) -> None:
    """Have `replica` average the gradients that are in ``.grad``, without a batch.

    For gradients that were computed under ``no_sync``, by some of the processes or all; call it in
    all. A parameter without gradient counts as zero, but keeps none if no process has one.

    What runs is a forward and a backward pass as DistributedDataParallel expects them, but of a
    sum over no element of each parameter: it adds zeros, and the exchange follows.
    """
    parameters = [p for p in replica.module.parameters() if p.requires_grad]
    if replica.find_unused_parameters:
        used = all_sum([float(p.grad is not None) for p in parameters], replica)
        parameters = [p for p, times in zip(parameters, used, strict=True) if times]
    outer = replica.require_backward_grad_sync
    replica.require_backward_grad_sync = True  # the caller may be inside no_sync
    try:
        sums = _forward(replica, lambda: [p.flatten()[:0].sum() for p in parameters])
        with lost_process_noted():
            torch.autograd.backward(sums, [torch.ones_like(one) for one in sums])
    finally:
        replica.require_backward_grad_sync = outer


def _forward(
    replica: DistributedDataParallel, function: Callable[[], list[Tensor]]
) -> list[Tensor]:
    """Run `replica` with `function` in place of its module's forward."""
    attributes = vars(replica.module)
    own = {name: value for name, value in attributes.items() if name == "forward"}
    attributes["forward"] = lambda _: function()
    try:
        with torch.enable_grad(), lost_process_noted():
            outputs: list[Tensor] = replica(torch.empty(0))
            return outputs
    finally:
        del attributes["forward"]
        attributes.update(own)


@contextmanager
def lost_process_noted() -> Iterator[None]:
    """Say in a communication error what it most often means."""
    try:
        yield
    except RuntimeError as error:
        note_lost_process(error)
        raise


def note_lost_process(error: RuntimeError) -> None:
    """Add a note to `error` if it comes from the communication between processes.

    >>> error = RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection reset by peer")
    >>> note_lost_process(error)
    >>> error.__notes__
    ['process 0 of 1: another process of this run has ended or does not answer. ...']
    """
    text = str(error).lower()
    if isinstance(error, dist.DistError) or any(name in text for name in _BACKENDS):
        error.add_note(
            f"process {rank()} of {world_size()}: another process of this run has ended or does "
            "not answer. Its own output says why. Start all processes again; "
            "fit(..., checkpoint=path, resume=True) goes on from the last checkpoint."
        )


_BACKENDS = ("gloo", "nccl", "mpi", "store")
