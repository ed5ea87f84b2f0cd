"""What no error tells of gradients: numbers that are zero or not finite, and no optimizer."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradbook.see import torch_internals
from gradbook.understand.culprit import Place
from gradbook.understand.culprit.names import is_tensor, members, optimizers_in, submodules

_MOST_NUMBERS = 20_000_000  # more take too long to look through


def all_zero(gradient: Tensor) -> bool:
    """Whether every number of a gradient is zero; False where that cannot be read."""
    return bool(_read(gradient, lambda numbers: int(numbers.numel() and not numbers.any())))


def count_not_finite(gradient: Tensor) -> int:
    """How many numbers of a gradient are nan or infinite; 0 where that cannot be read."""
    return _read(gradient, lambda numbers: int((~numbers.isfinite()).sum()))


def _read(gradient: Tensor, look: Callable[[Tensor], int]) -> int:
    if type(gradient) is not Tensor or gradient.numel() > _MOST_NUMBERS:
        return 0
    try:
        with torch.no_grad(), torch_internals.unobserved():
            numbers = gradient.coalesce().values() if gradient.is_sparse else gradient
            return look(numbers.detach())
    except (RuntimeError, NotImplementedError):  # no numbers: the meta device, a transform
        return 0


def optimizers_at(place: Place | None) -> list[tuple[str, Optimizer]]:
    """The optimizers that have a name at a place."""
    if place is None:
        return []
    try:
        return list(optimizers_in({**place.namespace, **place.visible}))
    except Exception:  # a namespace can hold objects of any kind
        return []


def held_by(optimizers: Iterable[tuple[str, Optimizer]]) -> set[int]:
    """The ids of the parameters that optimizers hold."""
    return {
        id(one)
        for _, optimizer in optimizers
        for group in members(optimizer).get("param_groups", ())
        for one in group["params"]
    }


def plain_attributes(module: nn.Module) -> dict[str, Tensor]:
    """Attributes of a module that require grad and are leaves, but no parameters of it."""
    found = {}
    for path, one in submodules(module).items():
        own = object.__getattribute__(one, "__dict__")
        for key, value in own.items():
            if is_tensor(value) and value.requires_grad and value.grad_fn is None:
                found[f"{path}.{key}" if path else key] = value
    return found
