"""Messages of autocast and GradScaler."""

import torch
from torch import nn


def e198_step_without_gradients():
    """No parameter of the optimizer has a gradient."""
    optimizer = torch.optim.SGD([torch.ones(3, requires_grad=True)], lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(1, requires_grad=True)).backward()
    scaler.step(optimizer)


def cure_e198():
    """Run backward on the scaled loss of these parameters."""
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer)
    assert weight.tolist() == [0, 0, 0]


def e198b_scaler_with_a_closure():
    """An optimizer with a closure runs backward itself."""
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight])
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer, closure=weight.sum)


def cure_e198b():
    """Such an optimizer works without a scaler."""
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight])

    def closure():
        optimizer.zero_grad()
        loss = (weight * weight).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert weight.abs().max() < 1e-3


def e199b_unscale_after_step():
    """The gradients are unscaled before the step."""
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer)
    scaler.unscale_(optimizer)


def e200_step_without_update():
    """update() ends an iteration."""
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    for _ in range(2):
        scaler.scale(weight.sum()).backward()
        scaler.step(optimizer)


def cure_e199b():
    """unscale_, clip, step, update."""
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    for _ in range(2):
        optimizer.zero_grad()
        scaler.scale(weight.sum()).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_([weight], max_norm=10.0)
        scaler.step(optimizer)
        scaler.update()
    assert weight.allclose(torch.full((3,), 0.8))


cure_e200 = cure_e199b


def e201_half_precision_weights():
    """The model itself was converted to float16."""
    model = nn.Linear(3, 1).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(torch.ones(1, 3).half()).sum()).backward()
    scaler.unscale_(optimizer)


def cure_e201():
    """Keep the weights in float32; autocast converts where it pays."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with torch.autocast("cpu", dtype=torch.float16):
        out = model(torch.ones(1, 3))
    loss = out.float().sum()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    assert model.bias.grad.tolist() == [1]


def e202_result_of_autocast_outside():
    """The result is bfloat16, the layer outside is float32."""
    first, second = nn.Linear(3, 3), nn.Linear(3, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = first(torch.ones(1, 3))
    second(features)


def cure_e202():
    """Convert where the region ends."""
    first, second = nn.Linear(3, 3), nn.Linear(3, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = first(torch.ones(1, 3))
    assert second(features.float()).dtype == torch.float32


def w55_scaler_without_cuda():
    """There is no CUDA here: the scaler does nothing."""
    torch.amp.GradScaler("cuda")


def cure_w55():
    """Name the device that is used."""
    assert torch.amp.GradScaler("cpu").is_enabled()


def w56_autocast_without_cuda():
    """There is no CUDA here: autocast does nothing."""
    with torch.autocast("cuda"):
        pass


def cure_w56():
    """Name the device that is used."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def e354_update_without_a_step():
    """Nothing was looked at since the last update."""
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(1))
    scaler.update()


def cure_e354():
    """Step first."""
    w = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([w], lr=0.5)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(w.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert w.item() == 0.5


def w86_old_name_of_autocast():
    """The device is part of the name."""
    with torch.cpu.amp.autocast():
        return torch.ones(2, 2) @ torch.ones(2, 2)


def cure_w86():
    """The device is an argument."""
    with torch.amp.autocast("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
