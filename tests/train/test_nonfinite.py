"""Where inf or nan came in."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradbook.train.nonfinite import first_nonfinite_gradient, first_nonfinite_output


class Root(nn.Module):
    """Roots of negative numbers are nan."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


class Pair(nn.Module):
    """An output that is a dict of lists."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"parts": [x, (x / 0, "text")]}


def make_model(middle: nn.Module) -> nn.Sequential:
    """Put `middle` between layers with a buffer and with randomness."""
    return nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(), middle), nn.ReLU())


def test_finite_gradients_have_no_name() -> None:
    """Nor has a parameter without gradient."""
    model = nn.Linear(2, 1)
    assert first_nonfinite_gradient(model.named_parameters()) is None
    model(torch.ones(1, 2)).sum().backward()
    assert first_nonfinite_gradient(model.named_parameters()) is None


def test_the_gradient_nearest_to_the_fault_is_named() -> None:
    """The root between the second and the third layer spoils the first two."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))
    y = model[1](model[0](torch.ones(1, 2)))
    model[2]((y - y.detach()).sqrt()).sum().backward()
    assert first_nonfinite_gradient(model.named_parameters()) == "1.bias"


def test_the_innermost_layer_is_named() -> None:
    """Not the module around it, which has the same output."""
    text = first_nonfinite_output(make_model(Root()), torch.randn(4, 3))
    assert text == "the first layer with a non-finite output is '1.1' (Root)"


def test_outputs_are_searched_inside() -> None:
    """Dicts, lists and tuples of tensors are looked through."""
    text = first_nonfinite_output(Pair(), torch.ones(2))
    assert text == "the first layer with a non-finite output is Pair"


def test_the_input_is_looked_at_first() -> None:
    """A nan in the data is no layer's fault."""
    text = first_nonfinite_output(make_model(Root()), {"x": torch.tensor([float("nan")])})
    assert text == "the input itself is not finite"


def test_a_spoiled_parameter_is_named() -> None:
    """An earlier step has ruined it."""
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.bias.fill_(float("inf"))
    text = first_nonfinite_output(model, torch.ones(1, 2))
    assert text == "the parameter 'bias' is not finite before the forward pass"


def test_the_loss_function_is_what_remains() -> None:
    """All layers are fine."""
    text = first_nonfinite_output(nn.Linear(2, 1), torch.ones(1, 2))
    assert text == "every layer's output is finite, so it is the loss function"


def test_nothing_is_left_behind() -> None:
    """Buffers, random state and hooks are as before, even when the forward pass fails."""
    model = make_model(Root())
    buffers = [buffer.clone() for buffer in model.buffers()]
    state = torch.get_rng_state()
    first_nonfinite_output(model, torch.ones(4, 3))
    with pytest.raises(ValueError, match="expected 2D or 3D"):
        first_nonfinite_output(model, torch.ones(3))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), buffers, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in model.modules())
