"""Flows, differential equations, physics, radiance fields, Gaussian processes."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from gradbook import explain
from reports import report


@report(
    "modified-in-place",
    "E40",
    culprit="widths",
    false=("optimizer", "Distributed", "row by row", "Embedding"),
    cure="`widths = widths / 2.0` instead of",
)
def spline_flow_scales_its_widths():
    """bayesiains/nflows#89: the ReLU has kept its result, and the result is divided in place."""
    net = nn.Linear(2, 4)
    widths = F.relu(net(torch.randn(3, 2)))
    widths /= 2.0
    loss = widths.softmax(dim=1).square().sum()
    loss.backward()


def cured_spline_flow_scales_its_widths():
    """A new tensor."""
    net = nn.Linear(2, 4)
    widths = F.relu(net(torch.randn(3, 2)))
    widths = widths / 2.0
    loss = widths.softmax(dim=1).square().sum()
    loss.backward()
    assert net.weight.grad is not None


class Affine(nn.Module):
    """Mean and scale from one layer."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 4)

    def forward(self, x):
        """The scale is squeezed where it lies."""
        mean, log_scale = self.net(x).chunk(2, dim=1)
        scale = log_scale.mul_(0.5).tanh_() + 1.0
        return x * scale + mean


@report(
    "multi-view-in-place",
    culprit="log_scale",
    false=("optimizer", "no_grad"),
    cure="Take a single view",
)
def coupling_squeezes_one_of_two_chunks():
    """XuezheMax/wolf#1: a chunk is one view of several, and may not be changed."""
    Affine()(torch.randn(3, 2)).sum().backward()


def cured_coupling_squeezes_one_of_two_chunks():
    """Single views."""
    net, x = nn.Linear(2, 4), torch.randn(3, 2)
    both = net(x)
    mean, log_scale = both[:, :2], both[:, 2:]
    scale = log_scale.mul_(0.5).tanh_() + 1.0
    (x * scale + mean).sum().backward()
    assert net.weight.grad is not None


@report(
    "expanded-in-place",
    culprit="log_det",
    false=("optimizer",),
    cure="out of place",
)
def flow_adds_up_in_an_expanded_zero():
    """A sum over layers that begins with one zero for the whole batch."""
    scales = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])
    x = torch.randn(4, 2)
    log_det = torch.zeros(1).expand(4)
    for scale in scales:
        log_det += scale.abs().log().sum() * x[:, 0]
    log_det.sum().backward()


def cured_flow_adds_up_in_an_expanded_zero():
    """A new sum in each turn."""
    scales = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])
    x = torch.randn(4, 2)
    log_det = torch.zeros(1).expand(4)
    for scale in scales:
        log_det = log_det + scale.abs().log().sum() * x[:, 0]
    log_det.sum().backward()
    assert scales[0].grad is not None


@report(
    "no-graph",
    "E01e",
    culprit=("score", "energy", "loss"),
    false=("frozen", "no_grad", "passes through `detach"),
    cure="create_graph=True",
)
def score_matching_on_a_plain_gradient():
    """The score of an energy is the target of the loss, and was taken without a graph."""
    energy = nn.Sequential(nn.Linear(2, 4), nn.Softplus(), nn.Linear(4, 1))
    x = torch.randn(5, 2, requires_grad=True)
    (score,) = torch.autograd.grad(energy(x).sum(), x)
    loss = (score + x.detach()).square().mean()
    loss.backward()


def cured_score_matching_on_a_plain_gradient():
    """With a graph."""
    energy = nn.Sequential(nn.Linear(2, 4), nn.Softplus(), nn.Linear(4, 1))
    x = torch.randn(5, 2, requires_grad=True)
    (score,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    loss = (score + x.detach()).square().mean()
    loss.backward()
    assert energy[0].weight.grad.any()


class Potential(nn.Module):
    """The right side of the equation is the slope of a potential."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, time, x):
        """Its slope at x."""
        x = x.clone().requires_grad_()
        height = self.net(x).sum()
        return -torch.autograd.grad(height, x)[0]


class SlopeInside(Potential):
    """With recording on, whoever calls it."""

    def forward(self, time, x):
        """Its slope at x."""
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            height = self.net(x).sum()
            return -torch.autograd.grad(height, x)[0]


def solve(field, x, steps=3):
    """The adjoint method runs the forward pass unrecorded."""
    with torch.no_grad():
        for step in range(steps):
            x = x + 0.1 * field(step * 0.1, x)
    return x


@report(
    "no-graph",
    "E01b",
    culprit=("height", "x", "self.net"),
    false=("frozen", "no derivative"),
    cure="enable_grad",
)
def adjoint_solver_runs_the_field_unrecorded():
    """rtqichen/torchdiffeq#154: a derivative inside the field, and the solver records nothing."""
    solve(Potential(), torch.randn(3, 2))


def cured_adjoint_solver_runs_the_field_unrecorded():
    """Recorded inside."""
    assert solve(SlopeInside(), torch.randn(3, 2)).isfinite().all()


class Wrapped(nn.Module):
    """Makes a parameter of its own of what it gets."""

    def __init__(self, coupling):
        super().__init__()
        self.coupling = nn.Parameter(coupling)

    def forward(self, x):
        """Linear dynamics."""
        return x @ self.coupling


@report(
    "not-reached",
    culprit="coupling",
    false=("no_grad", "optimizer"),
    cure="Use this very tensor",
)
def dynamics_with_a_copy_of_the_parameter():
    """rtqichen/torchdiffeq#178: a Parameter made of a parameter is another leaf."""
    coupling = nn.Parameter(torch.eye(2))
    loss = Wrapped(coupling.detach())(torch.ones(3, 2)).sum()
    return explain(coupling, loss)


def cured_dynamics_with_a_copy_of_the_parameter():
    """The same one."""
    coupling = nn.Parameter(torch.eye(2))
    dynamics = Wrapped(torch.eye(2))
    dynamics.coupling = coupling
    dynamics(torch.ones(3, 2)).sum().backward()
    assert coupling.grad is not None


@report(
    "modified-in-place",
    "E40",
    culprit="y",
    false=("optimizer", "Distributed", "row by row"),
    cure="`y = y + 0.1 * field(y)` instead of",
)
def euler_steps_where_the_state_lies():
    """The field has kept its input, and the solver adds to it in place."""
    field = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    y = torch.randn(3, 2) @ torch.ones(2, 2, requires_grad=True)
    for _ in range(3):
        y += 0.1 * field(y)
    y.sum().backward()


def cured_euler_steps_where_the_state_lies():
    """A new state in each step."""
    field = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    y = torch.randn(3, 2) @ torch.ones(2, 2, requires_grad=True)
    for _ in range(3):
        y = y + 0.1 * field(y)
    y.sum().backward()
    assert field[0].weight.grad is not None


class Residual(nn.Module):
    """What is left of the equation at a time."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, t):
        """The slope and the value."""
        u = self.net(t)
        (slope,) = torch.autograd.grad(u, t, torch.ones_like(u), create_graph=True)
        return slope + u


class Damped:
    """A step that measures the loss first."""

    def __init__(self, model):
        self.model = model

    @torch.no_grad()
    def measure(self, t):
        """Of the residual."""
        return self.model(t).square().mean()


@report(
    "no-graph",
    "E01b",
    culprit=("u", "t", "self.net"),
    false=("frozen", "no derivative"),
    cure="enable_grad",
)
def physics_loss_measured_by_a_second_order_optimizer():
    """fabiodimarco/torch-levenberg-marquardt#7: the optimizer measures under no_grad."""
    t = torch.zeros(5, 1, requires_grad=True)
    Damped(Residual()).measure(t)


def cured_physics_loss_measured_by_a_second_order_optimizer():
    """Recorded around the forward pass."""
    t = torch.zeros(5, 1, requires_grad=True)
    model = Residual()
    with torch.no_grad(), torch.enable_grad():
        assert model(t).square().mean().isfinite()


@report(
    "input-unused",
    "E08",
    culprit="x",
    false=("view", "detach"),
    cure="Leave it out",
)
def beam_equation_without_the_second_variable():
    """pnnl/neuromancer#154: the network reads the time only, and is differentiated by x."""
    net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    t = torch.linspace(0, 1, 5).view(-1, 1).requires_grad_()
    x = torch.linspace(0, 1, 5).view(-1, 1).requires_grad_()
    y = net(t)
    (dy_dt,) = torch.autograd.grad(y.sum(), t, create_graph=True)
    (dy_dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return dy_dt, dy_dx


def cured_beam_equation_without_the_second_variable():
    """Left out."""
    net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    t = torch.linspace(0, 1, 5).view(-1, 1).requires_grad_()
    y = net(t)
    (dy_dt,) = torch.autograd.grad(y.sum(), t, create_graph=True)
    assert dy_dt.shape == (5, 1)


@report(
    "input-unused",
    "E08b",
    culprit="time",
    false=("allow_unused",),
    cure="Differentiate by `",
)
def heat_equation_by_a_column_taken_later():
    """The column is a new tensor; the network was given the whole."""
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    points = torch.rand(6, 2, requires_grad=True)
    u = net(points)
    time = points[:, 1:2]
    return torch.autograd.grad(u.sum(), time, create_graph=True)


def cured_heat_equation_by_a_column_taken_later():
    """By the whole, then the column."""
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    points = torch.rand(6, 2, requires_grad=True)
    u = net(points)
    (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
    slope[:, 1:2].square().sum().backward()
    assert net[0].weight.grad is not None


@report(
    "graph-freed",
    "E07",
    culprit=("loss",),
    false=("carried", "encoder"),
    cure="Compute the loss again",
)
def line_search_with_a_loss_from_outside():
    """LBFGS calls its closure several times; the loss was computed once."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    loss = (model(torch.ones(4, 2)).exp() - 3).square().mean()

    def closure():
        optimizer.zero_grad()
        loss.backward()
        return loss

    optimizer.step(closure)


def cured_line_search_with_a_loss_from_outside():
    """Computed in the closure."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    before = model.weight.detach().clone()

    def closure():
        optimizer.zero_grad()
        loss = (model(torch.ones(4, 2)).exp() - 3).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert not model.weight.equal(before)


@report(
    "no-graph",
    "E01c",
    culprit=("rotation", "angle"),
    false=("frozen", "no_grad"),
    cure="torch.stack",
)
def pose_as_a_matrix_of_numbers():
    """Camera poses that are to be refined: the matrix is built of numbers."""
    angle = torch.tensor(0.3, requires_grad=True)
    rotation = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    rays = torch.randn(5, 2) @ rotation.T
    loss = (rays - 1).square().mean()
    loss.backward()


def cured_pose_as_a_matrix_of_numbers():
    """Joined as tensors."""
    angle = torch.tensor(0.3, requires_grad=True)
    first = torch.stack([angle.cos(), -angle.sin()])
    rotation = torch.stack([first, torch.stack([angle.sin(), angle.cos()])])
    rays = torch.randn(5, 2) @ rotation.T
    loss = (rays - 1).square().mean()
    loss.backward()
    assert angle.grad is not None


class Grid(nn.Module):
    """A field with a grid of densities that it keeps up to date."""

    def __init__(self):
        super().__init__()
        self.density = nn.Linear(3, 1)
        self.register_buffer("occupied", torch.zeros(4, 1))

    def forward(self, points):
        """The densities, averaged over time."""
        sigma = F.softplus(self.density(points))
        self.occupied = 0.9 * self.occupied + 0.1 * sigma
        return self.occupied.exp()


@report(
    "graph-freed",
    "E07b",
    culprit=("field.occupied",),
    false=("two losses", "encoder"),
    cure="detach()",
)
def radiance_field_keeps_its_grid():
    """The average of the densities carries the graph of every step before."""
    field = Grid()
    for _ in range(2):
        loss = field(torch.randn(4, 3)).mean()
        loss.backward()


def cured_radiance_field_keeps_its_grid():
    """Detached after backward."""
    field = Grid()
    for _ in range(2):
        loss = field(torch.randn(4, 3)).mean()
        loss.backward()
        field.occupied = field.occupied.detach()
    assert field.density.weight.grad is not None


class Splats(nn.Module):
    """Points that can be split."""

    def __init__(self):
        super().__init__()
        self.points = nn.Parameter(torch.randn(3, 2))
        self.colour = nn.Parameter(torch.ones(2))

    def densify(self):
        """Twice as many."""
        self.points = nn.Parameter(torch.cat([self.points.detach(), self.points.detach() + 0.1]))


@report(
    "not-in-optimizer",
    culprit=("points",),
    false=("`colour`, so", "zero"),
    cure="Build the optimizer after",
)
def splats_that_were_split_after_the_optimizer_was_built():
    """New points are new parameters: the optimizer holds the old ones."""
    model = Splats()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.densify()
    (model.points @ model.colour).square().mean().backward()
    optimizer.step()
    return explain(model)


def cured_splats_that_were_split_after_the_optimizer_was_built():
    """Built anew."""
    model = Splats()
    model.densify()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.points.detach().clone()
    (model.points @ model.colour).square().mean().backward()
    optimizer.step()
    assert not model.points.equal(before)


class CachedKernel(nn.Module):
    """Factorizes its kernel at first use."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.x = torch.linspace(0, 1, 4)
        self.factor = None

    def forward(self, y):
        """Half of the negative log likelihood."""
        if self.factor is None:
            distance = (self.x[:, None] - self.x[None]).square()
            self.factor = torch.linalg.cholesky(
                (-distance / self.scale**2).exp() + 0.1 * torch.eye(4)
            )
        return torch.cholesky_solve(y[:, None], self.factor).square().sum()


@report(
    "graph-freed",
    "E07c",
    culprit=("process.factor", "self.factor"),
    false=("carried", "optimizer"),
    cure="`process.factor = None` after `backward()`",
)
def gaussian_process_with_a_cached_factor():
    """cornellius-gp/gpytorch#2689: the factor of the first pass has a graph that is freed."""
    process = CachedKernel()
    for _ in range(2):
        loss = process(torch.ones(4))
        loss.backward()


def cured_gaussian_process_with_a_cached_factor():
    """Computed again in each step."""
    process = CachedKernel()
    for _ in range(2):
        process.factor = None
        loss = process(torch.ones(4))
        loss.backward()
    assert process.scale.grad is not None


class Noisy(nn.Module):
    """A kernel with a noise that was to be learned."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.noise = torch.tensor(0.1, requires_grad=True)

    def forward(self, x):
        """A kernel matrix."""
        return (-x.square() / self.scale).exp() + self.noise


@report(
    "attribute-is-no-parameter",
    culprit=("noise",),
    false=("`scale`, so", "zero"),
    cure="nn.Parameter(tensor)",
)
def kernel_noise_that_is_no_parameter():
    """The optimizer never sees it."""
    model = Noisy()
    model(torch.ones(3)).sum().backward()
    return model


def cured_kernel_noise_that_is_no_parameter():
    """A parameter."""
    model = Noisy()
    model.noise = nn.Parameter(model.noise.detach())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.noise.item()
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    assert model.noise.item() != before


@report(
    "deepcopy-non-leaf",
    culprit=("network.last",),
    false=("optimizer",),
    cure="detach()",
)
def operator_network_that_keeps_its_last_field():
    """A copy for an average of the weights, and the network remembers a result."""
    network = nn.Linear(2, 2)
    network.last = network(torch.ones(1, 2))
    return copy.deepcopy(network)


def cured_operator_network_that_keeps_its_last_field():
    """Only its numbers."""
    network = nn.Linear(2, 2)
    network.last = network(torch.ones(1, 2)).detach()
    assert copy.deepcopy(network).last.equal(network.last)
