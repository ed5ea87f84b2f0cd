"""Diffusion models, Gaussian splatting, style transfer, radiance fields, registration."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function

from reports import report


class Denoiser(nn.Module):
    """Predicts the noise in a sequence."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.SiLU(), nn.Conv1d(8, 4, 1))

    def forward(self, x, t):
        """The time only scales."""
        return self.net(x * t)


@report(
    "graph-freed",
    "E07c",
    culprit="data",
    false=("carried", "hidden state", "two losses", "adjacency"),
    cure="Move the computation into the loop",
)
def diffusion_preprocessed_outside_of_the_loop():
    """lucidrains/denoising-diffusion-pytorch#109: a convolution makes the data once."""
    torch.manual_seed(0)
    to_channels = nn.Conv1d(1, 4, 1)
    model = Denoiser()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    data = to_channels(torch.randn(2, 1, 16))
    for _ in range(2):
        noise = torch.randn_like(data)
        noisy = data * 0.9 + noise * 0.1
        loss = F.mse_loss(model(noisy, 0.5), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def cured_diffusion_preprocessed_outside_of_the_loop():
    """In the loop."""
    to_channels = nn.Conv1d(1, 4, 1)
    model = Denoiser()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    raw = torch.randn(2, 1, 16)
    for _ in range(2):
        data = to_channels(raw)
        noise = torch.randn_like(data)
        loss = F.mse_loss(model(data * 0.9 + noise * 0.1, 0.5), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Scene:
    """Points with opacities and scales."""

    def __init__(self, count=6):
        self.means = nn.Parameter(torch.randn(count, 3))
        self.scales = nn.Parameter(torch.zeros(count, 3))
        self.opacity = nn.Parameter(torch.zeros(count))
        self.optimizer = torch.optim.Adam([self.means, self.scales, self.opacity], lr=1e-2)

    def activated(self):
        """What the renderer wants."""
        return self.scales.exp(), self.opacity.sigmoid()


def splat(means, scales, opacity):
    """A picture of three numbers."""
    return (means * scales * opacity[:, None]).sum(0)


@report(
    "graph-freed",
    "E07c",
    culprit=("scales", "opacity"),
    false=("carried", "two losses"),
    cure="Move the computation into the loop",
)
def splatting_with_activations_made_once():
    """nerfstudio-project/gsplat#710: the activated parameters are made before the loop."""
    scene, target = Scene(), torch.ones(3)
    scales, opacity = scene.activated()
    for _ in range(3):
        image = splat(scene.means, scales, opacity)
        loss = F.l1_loss(image, target)
        loss += 0.01 * opacity.mean()
        scene.optimizer.zero_grad()
        loss.backward()
        scene.optimizer.step()


def cured_splatting_with_activations_made_once():
    """Activated in each turn."""
    scene, target = Scene(), torch.ones(3)
    for _ in range(3):
        scales, opacity = scene.activated()
        loss = F.l1_loss(splat(scene.means, scales, opacity), target)
        loss = loss + 0.01 * opacity.mean()
        scene.optimizer.zero_grad()
        loss.backward()
        scene.optimizer.step()


@report(
    "grad-is-none",
    "E16c",
    culprit=("screen", "p"),
    false=("zero_grad", "before the first backward", "w = w - lr"),
    cure="call `retain_grad()` on the result before `backward()`",
)
def splatting_reads_the_gradient_of_projected_points():
    """mks0601/ExAvatar_RELEASE#76: the gradient of the points on the screen was not kept."""
    scene = Scene()
    screen = scene.means[:, :2] / (scene.means[:, 2:] + 3)
    loss = screen.square().sum()
    loss.backward()
    return screen.grad.detach().norm(dim=1)


def cured_splatting_reads_the_gradient_of_projected_points():
    """It is kept."""
    scene = Scene()
    screen = scene.means[:, :2] / (scene.means[:, 2:] + 3)
    screen.retain_grad()
    screen.square().sum().backward()
    assert screen.grad.detach().norm(dim=1).shape == (6,)


class Rasterize(Function):
    """A renderer whose backward gives no row for harmonics that were pruned away."""

    @staticmethod
    def forward(ctx, means, harmonics):
        ctx.save_for_backward(means)
        return means.sum(0) + harmonics.sum()

    @staticmethod
    def backward(ctx, gradient):
        (means,) = ctx.saved_tensors
        return gradient.expand_as(means), means.new_zeros(0, 0, 3)


@report(
    "function-gradient-shape",
    culprit="harmonics",
    false=("sum_to_size", "broadcast", "other data"),
    cure="Return a gradient of shape (2, 16, 3) for `harmonics`",
)
def splatting_returns_an_empty_gradient():
    """graphdeco-inria/gaussian-splatting#472: got [0, 0, 3] where [n, 16, 3] fits."""
    means = torch.ones(2, 3, requires_grad=True)
    harmonics = torch.zeros(2, 16, 3, requires_grad=True)
    Rasterize.apply(means, harmonics).backward(torch.ones(3))


class RasterizeRight(Rasterize):
    """Gives zeros of the right shape."""

    @staticmethod
    def backward(ctx, gradient):
        (means,) = ctx.saved_tensors
        return gradient.expand_as(means), means.new_zeros(2, 16, 3)


def cured_splatting_returns_an_empty_gradient():
    """The shape of the input."""
    means = torch.ones(2, 3, requires_grad=True)
    harmonics = torch.zeros(2, 16, 3, requires_grad=True)
    RasterizeRight.apply(means, harmonics).backward(torch.ones(3))
    assert harmonics.grad.shape == (2, 16, 3)


def gram(features):
    """Correlations of channels."""
    flat = features.flatten(1)
    return flat @ flat.T


@report(
    "graph-freed",
    "E07c",
    culprit="wanted",
    false=("carried", "retain_graph=True` to the first"),
    cure="detach",
)
def style_target_with_a_graph():
    """A frequent report on style transfer: the target's features keep the network's graph."""
    network = nn.Conv2d(3, 4, 3, padding=1)
    style = torch.rand(1, 3, 8, 8)
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([image], lr=0.1)
    wanted = gram(network(style)[0])
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.mse_loss(gram(network(image)[0]), wanted)
        loss.backward()
        optimizer.step()


def cured_style_target_with_a_graph():
    """Detached: it needs no gradient."""
    network = nn.Conv2d(3, 4, 3, padding=1)
    style = torch.rand(1, 3, 8, 8)
    image = torch.rand(1, 3, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([image], lr=0.1)
    wanted = gram(network(style)[0]).detach()
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(gram(network(image)[0]), wanted).backward()
        optimizer.step()


class Field(nn.Module):
    """Density along rays, with a list of samples."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Softplus(), nn.Linear(8, 1), nn.Softplus())

    def render(self, points):
        """Transmittance, accumulated in place."""
        density = self.net(points)[..., 0]
        alpha = 1 - torch.exp(-density)
        transmittance = torch.ones_like(alpha)
        for i in range(1, alpha.shape[1]):
            transmittance[:, i] = transmittance[:, i - 1] * (1 - alpha[:, i - 1])
        return (transmittance * alpha).sum(1)


@report(
    "modified-in-place",
    "E40c",
    culprit="transmittance",
    false=("step()", "inplace=True", "no_grad"),
    cure="`torch.stack`",
)
def rays_with_transmittance_filled_in_place():
    """A frequent report on radiance fields: a product along the ray is filled sample by sample."""
    field = Field()
    colour = field.render(torch.rand(2, 5, 3))
    loss = F.mse_loss(colour, torch.ones(2))
    loss.backward()


def cured_rays_with_transmittance_filled_in_place():
    """A list, then stacked."""
    field = Field()
    density = field.net(torch.rand(2, 5, 3))[..., 0]
    alpha = 1 - torch.exp(-density)
    rows = [torch.ones(2)]
    for i in range(1, 5):
        rows.append(rows[-1] * (1 - alpha[:, i - 1]))
    transmittance = torch.stack(rows, dim=1)
    F.mse_loss((transmittance * alpha).sum(1), torch.ones(2)).backward()
    assert field.net[0].weight.grad is not None


@report(
    "no-graph",
    "E01c",
    culprit=("rows", "columns"),
    false=("no_grad", "frozen", "`argmax"),
    cure="derivative",
)
def registration_with_whole_pixels():
    """A frequent report on image registration: the shift is rounded to whole pixels as an index."""
    fixed, moving = torch.rand(8, 8), torch.rand(8, 8)
    shift = torch.tensor([1.4, 0.6], requires_grad=True)
    rows = (torch.arange(8) + shift[0]).long().clamp(0, 7)
    columns = (torch.arange(8) + shift[1]).long().clamp(0, 7)
    moved = moving[rows][:, columns]
    loss = F.mse_loss(moved, fixed)
    loss.backward()


def cured_registration_with_whole_pixels():
    """Interpolated, which has a derivative."""
    fixed, moving = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    shift = torch.tensor([0.2, 0.1], requires_grad=True)
    eye = F.affine_grid(torch.eye(2, 3)[None], (1, 1, 8, 8), align_corners=False)
    moved = F.grid_sample(moving, eye + shift, align_corners=False)
    F.mse_loss(moved, fixed).backward()
    assert shift.grad is not None
