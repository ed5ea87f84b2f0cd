"""Ways of training: sharpness, averages, pruning, quantization, two optimizers, several tasks."""

import torch
import torch.nn.functional as F
from torch import nn

from reports import report


class Sharpness(torch.optim.Optimizer):
    """Climbs first, then steps from above."""

    def __init__(self, params, rho=0.05):
        super().__init__(params, {"rho": rho})

    @torch.no_grad()
    def climb(self):
        """Move the weights to the worst place near by, in place."""
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad, alpha=group["rho"])


@report(
    "modified-in-place",
    "E40f",
    culprit=("model.2.weight", "model.0.weight"),
    false=("inplace=True", "Distributed", "row by row", "GAN"),
    cure="Edit after backward",
)
def sharpness_climbs_before_the_second_backward():
    """A frequent report on sharpness-aware minimization: one forward pass for both backwards."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = Sharpness(model.parameters())
    loss = model(torch.randn(5, 3)).square().mean()
    loss.backward(retain_graph=True)
    optimizer.climb()
    loss.backward()


def cured_sharpness_climbs_before_the_second_backward():
    """Edited after the backward passes of that graph; the second one has a new forward pass."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = Sharpness(model.parameters())
    x = torch.randn(5, 3)
    model(x).square().mean().backward()
    optimizer.climb()
    model(x).square().mean().backward()


class Skeleton(nn.Module):
    """A mask that is trained by a penalty on its gradient."""

    def __init__(self):
        super().__init__()
        self.mask = nn.Parameter(torch.ones(4))

    def shrink(self, rate):
        """Add the sign to the gradient."""
        self.mask.grad.data.add_(rate * torch.sign(self.mask.data))


@report(
    "grad-is-none",
    "E16",
    culprit=("self.mask", "model.mask"),
    false=("not a leaf", "w = w - lr", "left it out"),
    cure="Call `backward()` before this line",
)
def pruning_before_the_first_backward():
    """fxmeng/Pruning-Filter-in-Filter#5: the penalty comes before any backward."""
    model = Skeleton()
    model.shrink(1e-3)


def cured_pruning_before_the_first_backward():
    """After backward."""
    model = Skeleton()
    (model.mask * 2).sum().backward()
    model.shrink(1e-3)
    assert model.mask.grad is not None


@report(
    "leaf-in-place",
    "E22",
    culprit=("convolution.weight",),
    false=("optimizer", "mark_dirty"),
    cure="`with torch.no_grad():` around this line",
)
def kernel_that_is_copied_in():
    """PingoLH/FCHarDNet#61: `cconv.weight[:, :, :, :] = W`."""
    convolution = nn.Conv2d(1, 1, 3)
    convolution.weight[:, :, :, :] = torch.ones(1, 1, 3, 3)


def cured_kernel_that_is_copied_in():
    """Unrecorded."""
    convolution = nn.Conv2d(1, 1, 3)
    with torch.no_grad():
        convolution.weight[:, :, :, :] = torch.ones(1, 1, 3, 3)
    assert convolution.weight.sum() == 9


class Tasks(nn.Module):
    """One trunk, two heads."""

    def __init__(self):
        super().__init__()
        self.trunk, self.depth, self.label = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(4, 2)


@report(
    "graph-freed",
    "E07d",
    culprit="shared",
    false=("carried", "encoder"),
    cure="(loss_a + loss_b).backward()",
)
def two_tasks_two_backward_passes():
    """A frequent report on several tasks: each loss has a backward of its own."""
    model = Tasks()
    shared = model.trunk(torch.randn(5, 3)).tanh()
    depth_loss = model.depth(shared).square().mean()
    label_loss = F.cross_entropy(model.label(shared), torch.zeros(5, dtype=torch.long))
    depth_loss.backward()
    label_loss.backward()


def cured_two_tasks_two_backward_passes():
    """One backward on the sum."""
    model = Tasks()
    shared = model.trunk(torch.randn(5, 3)).tanh()
    depth_loss = model.depth(shared).square().mean()
    label_loss = F.cross_entropy(model.label(shared), torch.zeros(5, dtype=torch.long))
    (depth_loss + label_loss).backward()


@report(
    "graph-freed",
    "E07",
    culprit="loss",
    false=("carried", "two losses"),
    cure="Compute the loss again",
)
def curvature_from_the_same_loss():
    """Liuhong99/Sophia#1 (kind): the estimate of the curvature takes the loss of the step again."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = model(torch.randn(4, 3)).square().mean()
    loss.backward()
    optimizer.zero_grad()
    loss.backward()


def cured_curvature_from_the_same_loss():
    """Computed again."""
    model = nn.Linear(3, 1)
    x = torch.randn(4, 3)
    model(x).square().mean().backward()
    model.zero_grad()
    model(x).square().mean().backward()


@report(
    "optimizer-non-leaf",
    culprit="scale",
    false=("in place",),
    cure="",
)
def scale_that_was_multiplied_first():
    """A frequent report: a learned number is scaled before the optimizer gets it."""
    scale = torch.ones(3, requires_grad=True) * 0.1
    torch.optim.SGD([scale], lr=0.1)


def cured_scale_that_was_multiplied_first():
    """A leaf."""
    scale = (torch.ones(3) * 0.1).requires_grad_()
    torch.optim.SGD([scale], lr=0.1)


class Quantized(nn.Module):
    """Rounds its weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3))

    def forward(self, x):
        """The step has a slope of zero."""
        return (x * (self.weight * 16).round() / 16).sum()


@report(
    "gradients-zero",
    culprit=("weight",),
    false=("not reached", "detach"),
    cure="`round()`",
)
def quantized_weights_do_not_learn():
    """A frequent report on quantization: rounding, without a straight-through step."""
    model = Quantized()
    model(torch.ones(3)).backward()
    return model


def cured_quantized_weights_do_not_learn():
    """What has a slope of zero is passed around."""
    model = Quantized()
    scaled = model.weight * 16
    ((scaled + (scaled.round() - scaled).detach()) / 16).sum().backward()
    assert model.weight.grad.abs().sum() > 0


@report(
    "gradients-not-finite",
    culprit=("weight",),
    false=("not reached", "zero everywhere"),
    cure="`gradbook.replay(loss)`",
)
def distances_of_equal_points():
    """A frequent report: the norm of a difference that is zero."""
    model = nn.Linear(2, 2, bias=False)
    x = torch.ones(2, 2)
    loss = (model(x)[0] - model(x)[1]).square().sum().sqrt()
    loss.backward()
    return model


def cured_distances_of_equal_points():
    """The step is found, and gets a little distance."""
    model = nn.Linear(2, 2, bias=False)
    x = torch.ones(2, 2)
    (((model(x)[0] - model(x)[1]).square().sum()) + 1e-12).sqrt().backward()
    assert model.weight.grad.isfinite().all()


class Grown(nn.Module):
    """Gets a new head for a new class."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)


@report(
    "dtype-mismatch",
    culprit=("x and self.body.weight", "x and model.body.weight", "features and model.body.weight"),
    false=("in place", "detach"),
    cure="",
)
def features_from_a_table():
    """A frequent report: numbers of a table are float64."""
    model = Grown()
    features = torch.ones(2, 3, dtype=torch.float64)
    model.body(features)


def cured_features_from_a_table():
    """Converted."""
    model = Grown()
    features = torch.ones(2, 3, dtype=torch.float64)
    assert model.body(features.float()).shape == (2, 4)


@report(
    "no-graph",
    "E01d",
    culprit=("hidden",),
    false=("frozen", "argmax", "no_grad"),
    cure="`use_reentrant=False`",
)
def vision_tower_in_a_checkpoint():
    """A frequent report on fine-tuning: pictures require no grad, the tower is checkpointed."""
    tower = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    pictures = torch.rand(2, 3)
    hidden = torch.utils.checkpoint.checkpoint(tower, pictures, use_reentrant=True)
    loss = hidden.mean()
    loss.backward()


def cured_vision_tower_in_a_checkpoint():
    """The other variant."""
    tower = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    hidden = torch.utils.checkpoint.checkpoint(tower, torch.rand(2, 3), use_reentrant=False)
    hidden.mean().backward()
    assert tower[0].weight.grad is not None


class Early(nn.Module):
    """Leaves early when it is sure; training keeps the sure half only."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 2), nn.Linear(3, 2)


@report(
    "input-unused",
    "E08b",
    culprit=("row",),
    false=("was computed without",),
    cure="Differentiate by `x`",
)
def saliency_of_one_row():
    """A frequent report on saliency: the gradient is asked by a row that was taken afterwards."""
    model = Early()
    pictures = torch.rand(4, 3, requires_grad=True)
    scores = model.first(pictures).sum()
    row = pictures[0]
    torch.autograd.grad(scores, row)


def cured_saliency_of_one_row():
    """By the whole, then the row of the gradient."""
    model = Early()
    pictures = torch.rand(4, 3, requires_grad=True)
    scores = model.first(pictures).sum()
    (gradient,) = torch.autograd.grad(scores, pictures)
    assert gradient[0].shape == (3,)


@report(
    "deepcopy-non-leaf",
    culprit=("model.kept",),
    false=("in place", "optimizer"),
    cure="",
)
def best_model_with_a_kept_activation():
    """A frequent report: the best model is copied, and it keeps an activation for a plot."""
    import copy

    model = Early()
    model.kept = model.first(torch.rand(2, 3))
    copy.deepcopy(model)


def cured_best_model_with_a_kept_activation():
    """Kept without its graph."""
    import copy

    model = Early()
    model.kept = model.first(torch.rand(2, 3)).detach()
    assert copy.deepcopy(model).kept.shape == (2, 2)
