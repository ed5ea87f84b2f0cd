"""Find where inf or nan came in."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradbook.train.processes import unwrap


def first_nonfinite_gradient(parameters: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first gradient that is not finite, in the order of the backward pass.

    Backward goes from the last layer to the first, so this is the last such name in the order in
    which a module lists its parameters: the layer nearest to the fault.

    Args:
        parameters: names and tensors, as ``model.named_parameters()`` gives them.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> y = model(torch.ones(1, 2))
    >>> (y - y.detach()).sqrt().sum().backward()  # the slope of a root at 0 is inf
    >>> first_nonfinite_gradient(model.named_parameters())
    '1.bias'
    """
    found = None
    for name, parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and not _finite(gradient):
            found = name
    return found


def first_nonfinite_output(
    model: nn.Module, inputs: Any, run: Callable[[nn.Module, Any], object] | None = None
) -> str:
    """Say where a forward pass on `inputs` first meets inf or nan: a phrase for a message.

    Looks at the inputs, then the parameters, then runs `model` once more and looks at the output
    of every layer. Buffers, random generators and hooks are left as they were.

    Args:
        model: whose layers are looked at.
        inputs: of one batch.
        run: does the forward pass, of the model and the inputs; by default ``model(inputs)``.

    >>> class Root(nn.Module):
    ...     def forward(self, x):
    ...         return x.sqrt()
    >>> first_nonfinite_output(nn.Sequential(nn.Identity(), Root()), torch.tensor([-1.0]))
    "the first layer with a non-finite output is '1' (Root)"
    """
    module = unwrap(model)
    if not _finite(inputs):
        return "the input itself is not finite"
    for name, parameter in module.named_parameters():
        if not _finite(parameter):
            return f"the parameter {name!r} is not finite before the forward pass"

    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(layer: nn.Module, args: Any, output: Any) -> None:
            if not found and not _finite(output):
                place = f"{name!r} ({type(layer).__name__})" if name else type(layer).__name__
                found.append(f"the first layer with a non-finite output is {place}")

        return hook

    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    # Inner modules end before outer ones, so the innermost guilty module is found first.
    handles = [layer.register_forward_hook(watch(name)) for name, layer in module.named_modules()]
    try:
        devices = {p.device for p in module.parameters() if p.is_cuda}
        with torch.random.fork_rng(devices), torch.no_grad():
            if run is None:
                module(inputs)
            else:
                run(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    return found[0] if found else "every layer's output is finite, so it is the loss function"


def _finite(value: Any) -> bool:
    """Whether no tensor in `value`, a tensor or nested lists, tuples and dicts, has inf or nan."""
    if isinstance(value, Tensor):
        return bool(value.isfinite().all())
    if isinstance(value, Mapping):
        return all(_finite(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return all(_finite(one) for one in value)
    return True
