"""Physics, chemistry, graphs of atoms, Gaussian processes, filters, finance."""

import torch
import torch.nn.functional as F
from torch import nn

from reports import report


class Potential(nn.Module):
    """Energy of atoms; forces are its gradient."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, positions):
        """Energy, and forces by a backward pass inside of forward."""
        positions = positions.requires_grad_()
        distances = (positions[:, None] - positions[None]).pow(2).sum(-1, keepdim=True)
        energy = self.net(distances).sum()
        energy.backward()
        return energy, -positions.grad


class Fitter:
    """Trains, and validates as frameworks do."""

    def __init__(self, model):
        self.model = model

    @torch.no_grad()
    def validate(self, batches):
        """Without a graph, to save memory."""
        return [self.validation_step(batch) for batch in batches]

    def validation_step(self, batch):
        """The same forward pass as in training."""
        energy, forces = self.model(batch)
        return energy.item() + forces.norm().item()


@report(
    "no-graph",
    "E01b",
    culprit="energy",
    false=("frozen", "None of the tensors", "set later"),
    cure="`with torch.enable_grad():`",
)
def forces_in_a_validation_loop():
    """torchmd/torchmd-net#211: forces are a gradient, and validation records nothing."""
    fitter = Fitter(Potential())
    fitter.validate([torch.randn(3, 3)])


def cured_forces_in_a_validation_loop():
    """Recording is on around the forward pass."""
    model = Potential()
    with torch.no_grad():
        with torch.enable_grad():
            _, forces = model(torch.randn(3, 3))
    assert forces.shape == (3, 3)


class Beam(nn.Module):
    """A network for the displacement of a beam."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        """Of the place only."""
        return self.net(x)


def derivative(y, x):
    """Of y by x, differentiable."""
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


@report(
    "input-unused",
    "E08",
    culprit=("t", "x"),
    false=("view", "made afterwards"),
    cure="Leave it out",
)
def beam_whose_load_does_not_depend_on_time():
    """pnnl/neuromancer#154: a derivative by an input that the term does not read."""
    model = Beam()
    x = torch.rand(8, 1, requires_grad=True)
    t = torch.rand(8, 1, requires_grad=True)
    u = model(x)
    u_x = derivative(u, x)
    u_t = derivative(u, t)
    return (u_x - u_t).square().mean()


def cured_beam_whose_load_does_not_depend_on_time():
    """Without the term."""
    model = Beam()
    x = torch.rand(8, 1, requires_grad=True)
    derivative(model(x), x).square().mean().backward()
    assert model.net[0].weight.grad is not None


@report(
    "no-graph",
    "E01e",
    culprit="slope",
    false=("no_grad", "frozen", "requires_grad=True` where"),
    cure="create_graph=True",
)
def residual_from_a_first_derivative():
    """A frequent report on physics-informed networks: the residual has no graph."""
    x = torch.linspace(0, 1, 5).reshape(-1, 1).requires_grad_()
    stiffness = torch.tensor(2.0)
    u = stiffness * x.pow(3)
    slope = torch.autograd.grad(u.sum(), x)[0]
    residual = (slope - 1).square().mean()
    residual.backward()


def cured_residual_from_a_first_derivative():
    """Recorded."""
    x = torch.linspace(0, 1, 5).reshape(-1, 1).requires_grad_()
    slope = torch.autograd.grad((2.0 * x.pow(3)).sum(), x, create_graph=True)[0]
    (slope - 1).square().mean().backward()
    assert x.grad.shape == x.shape


class Chain:
    """Masses and springs; the state is kept in the object."""

    def __init__(self):
        self.stiffness = nn.Parameter(torch.tensor(1.0))
        self.position, self.velocity = torch.zeros(4), torch.ones(4)

    def advance(self, dt=0.1):
        """One explicit step."""
        force = -self.stiffness * torch.sin(self.position)
        self.velocity = self.velocity + dt * force
        self.position = self.position + dt * self.velocity
        return self.position


@report(
    "graph-freed",
    "E07b",
    culprit=("chain.position", "chain.velocity"),
    false=("before the loop", "two losses", "__init__"),
    cure=".detach()`",
)
def simulation_that_goes_on_after_an_update():
    """A frequent report on differentiable simulation: the state carries the graph of the past."""
    chain = Chain()
    optimizer = torch.optim.SGD([chain.stiffness], lr=0.01)
    for _ in range(3):
        end = chain.advance()
        loss = (end - 1).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def cured_simulation_that_goes_on_after_an_update():
    """Both parts of the state are detached after backward."""
    chain = Chain()
    optimizer = torch.optim.SGD([chain.stiffness], lr=0.01)
    for _ in range(3):
        loss = (chain.advance() - 1).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        chain.position = chain.position.detach()
        chain.velocity = chain.velocity.detach()


@report(
    "graph-freed",
    "E07c",
    culprit="cholesky",
    false=("carried", "hidden state"),
    cure="Move the computation into the loop",
)
def gaussian_process_with_one_factorization():
    """meta-pytorch/botorch#1386 (kind): what was factorized once is used in every evaluation."""
    x, y = torch.linspace(0, 1, 5), torch.rand(5)
    scale = nn.Parameter(torch.tensor(1.0))
    noise = nn.Parameter(torch.tensor(0.1))
    kernel = torch.exp(-((x[:, None] - x[None]) ** 2) / scale) + noise * torch.eye(5)
    cholesky = torch.linalg.cholesky(kernel)
    optimizer = torch.optim.Adam([scale, noise], lr=0.01)
    for _ in range(2):
        alpha = torch.cholesky_solve(y[:, None], cholesky)
        likelihood = (y @ alpha).sum() + cholesky.diagonal().log().sum()
        optimizer.zero_grad()
        likelihood.backward()
        optimizer.step()


def cured_gaussian_process_with_one_factorization():
    """Factorized in each turn."""
    x, y = torch.linspace(0, 1, 5), torch.rand(5)
    scale, noise = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.1))
    optimizer = torch.optim.Adam([scale, noise], lr=0.01)
    for _ in range(2):
        kernel = torch.exp(-((x[:, None] - x[None]) ** 2) / scale) + noise * torch.eye(5)
        cholesky = torch.linalg.cholesky(kernel)
        alpha = torch.cholesky_solve(y[:, None], cholesky)
        likelihood = (y @ alpha).sum() + cholesky.diagonal().log().sum()
        optimizer.zero_grad()
        likelihood.backward()
        optimizer.step()


def kalman(observations, gain):
    """Filter a series; the covariance is updated in place."""
    state, covariance = torch.zeros(2), torch.eye(2)
    errors = []
    for y in observations:
        predicted = gain @ state
        error = y - predicted
        errors.append(error)
        weight = covariance @ gain
        state = predicted + weight @ error
        covariance += 0.1 * weight
    return torch.stack(errors)


@report(
    "modified-in-place",
    "E40",
    culprit="covariance",
    false=("inplace=True", "row by row", "optimizer"),
    cure="instead of",
)
def filter_with_a_covariance_updated_in_place():
    """A frequent report on learned filters: the matrix is needed by the step before."""
    gain = nn.Parameter(torch.eye(2) * 0.5)
    errors = kalman(torch.randn(3, 2), gain)
    loss = errors.square().mean()
    loss.backward()


def cured_filter_with_a_covariance_updated_in_place():
    """A new matrix in each step."""
    gain = nn.Parameter(torch.eye(2) * 0.5)
    state, covariance, errors = torch.zeros(2), torch.eye(2), []
    for y in torch.randn(3, 2):
        error = y - gain @ state
        errors.append(error)
        weight = covariance @ gain
        state = gain @ state + weight @ error
        covariance = covariance + 0.1 * weight
    torch.stack(errors).square().mean().backward()
    assert gain.grad is not None


@report(
    "numpy-needs-detach",
    culprit="weights",
    false=(),
    cure="detach().cpu().numpy()",
)
def portfolio_is_plotted_while_it_trains():
    """A frequent report: the weights of a portfolio are looked at with NumPy."""
    logits = torch.zeros(3, requires_grad=True)
    returns = torch.tensor([0.1, 0.2, 0.05])
    weights = logits.softmax(0)
    loss = -(weights * returns).sum()
    loss.backward()
    return weights.numpy()


def cured_portfolio_is_plotted_while_it_trains():
    """Detached for looking."""
    weights = torch.zeros(3, requires_grad=True).softmax(0)
    assert weights.detach().cpu().numpy().sum() == 1


@report(
    "no-graph",
    "E01",
    culprit="volatility",
    false=("no_grad", "detach()", "create_graph"),
    cure="requires_grad=True",
)
def calibration_of_a_volatility():
    """A frequent report: the number to be fitted was made as a plain tensor."""
    strikes, prices = torch.tensor([0.9, 1.0, 1.1]), torch.tensor([0.12, 0.08, 0.05])
    volatility = torch.tensor(0.2)
    model_prices = volatility * torch.exp(-strikes)
    loss = F.mse_loss(model_prices, prices)
    loss.backward()


def cured_calibration_of_a_volatility():
    """It asks for a gradient."""
    strikes, prices = torch.tensor([0.9, 1.0, 1.1]), torch.tensor([0.12, 0.08, 0.05])
    volatility = torch.tensor(0.2, requires_grad=True)
    F.mse_loss(volatility * torch.exp(-strikes), prices).backward()
    assert volatility.grad is not None
