"""Parameters that are kept in shards: the graph holds another tensor, the whole.

`torch.distributed.fsdp.fully_shard` makes of each parameter a DTensor, the shard of this process.
For a forward pass it gathers the whole into another Parameter, and that one is the leaf of the
graph. The optimizer, and ``.grad`` after backward, belong to the shard.
"""

import sys
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from gradbook.see import torch_internals
from gradbook.understand.culprit import Place
from gradbook.understand.culprit.names import modules_in, submodules


class Shards:
    """Which shard belongs to which whole parameter, as far as modules tell."""

    def __init__(self, modules: Iterable[nn.Module] = ()) -> None:
        self._other: dict[int, Tensor] = {}
        for module in modules:
            for shard, whole in torch_internals.wholes_of_shards(module):
                self._other[id(shard)] = whole
                self._other[id(whole)] = shard

    def other(self, tensor: Tensor) -> Tensor | None:
        """The whole of a shard, or the shard of a whole; None if there is none, or not known."""
        return self._other.get(id(tensor))

    def is_one_of(self, tensor: Tensor, wanted: set[int]) -> bool:
        """Whether a parameter, or its other form, is among some ids."""
        other = self.other(tensor)
        return id(tensor) in wanted or (other is not None and id(other) in wanted)

    def untold(self, tensor: Tensor) -> bool:
        """Whether a tensor is a shard whose whole is not known."""
        return is_shard(tensor) and self.other(tensor) is None


def shards_of(module: nn.Module) -> Shards:
    """Those of a module and of all below it."""
    return Shards(submodules(module).values())


def shards_at(place: Place | None) -> Shards:
    """Those of the modules that have a name at a place."""
    if place is None:
        return Shards()
    return Shards(one for _, one in modules_in({**place.namespace, **place.visible}))


def is_shard(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor."""
    known: Any = sys.modules.get("torch.distributed.tensor")
    return known is not None and issubclass(type(tensor), known.DTensor)


def placed(tensor: Tensor) -> str:
    """How a DTensor is laid out.

    The placements are the tensor's own: ``Shard(dim=0)``, ``Replicate()``.
    """
    given: Any = tensor
    return ", ".join(f"`{one!r}`" for one in given.placements)
