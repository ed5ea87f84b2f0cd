"""Small programs as people write them: the right variable is named, and the right line.

A program is a function that fails. Its docstring's test is in the decorator: the name that must be
given, and the entry. A comment ``# guilty`` marks the line that must be named.
"""

import linecache
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradbook import explain
from gradbook.understand.catalogue import load

PROGRAMS = []


def program(code, subject, variant=None):
    """Register a failing program: entry, name of the guilty variable, source of the variant."""

    def keep(function):
        PROGRAMS.append(pytest.param(function, code, subject, variant, id=function.__name__))
        return function

    return keep


# ------------------------------------------------------------------------------------- in place


@program("modified-in-place", "weight")
def update_between_forward_and_backward():
    """A hand-written update comes before backward."""
    torch.manual_seed(0)
    weight = torch.randn(3, requires_grad=True)
    batch = torch.ones(2, 3)
    for _ in range(2):
        loss = ((batch * weight) ** 2 * weight).sum()
        with torch.no_grad():
            weight -= 0.1  # guilty
        loss.backward()


@program("modified-in-place", "gate")
def relu_in_place_after_sigmoid():
    """The functional activation overwrites what sigmoid saved."""
    layer = nn.Linear(3, 3)
    gate = torch.sigmoid(layer(torch.ones(2, 3)))
    out = F.relu(gate, inplace=True)  # guilty
    (out * 2).sum().backward()


@program("modified-in-place", "hidden")
def plus_one_on_a_saved_tensor():
    """The update is one of several lines; the other in-place edit is harmless."""
    x = torch.ones(3, requires_grad=True)
    counts = torch.zeros(3)
    counts += 1
    hidden = x.tanh()
    loss = (hidden * hidden).sum()
    hidden += 1  # guilty
    loss.backward()


class Residual(nn.Module):
    """A block whose second activation works in place."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        """The activation overwrites the result of tanh."""
        hidden = self.first(x).tanh()
        return hidden + self.act(hidden)


@program("modified-in-place", "model.act", "E40e")
def in_place_module_in_a_model():
    """The tensor has no name any more; one module at hand works in place."""
    model = Residual()
    loss = model(torch.ones(2, 3)).sum()
    loss.backward()


class Scaler(nn.Module):
    """A block that edits a local variable in place."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        """The mask is written into what exp saved."""
        scores = self.linear(x).exp()
        scores[:, 0] = 0
        return scores


@program("modified-in-place", "out")
def edit_inside_forward():
    """The local variable of forward is gone when backward fails; its source is not."""
    model = Scaler()
    out = model(torch.ones(2, 3))
    loss = out.sum()
    loss.backward()


class Trainer:
    """Keeps everything as attributes."""

    def __init__(self):
        self.model = nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.x = torch.ones(2, 3, requires_grad=True)
        self.hidden = None

    def step_too_early(self):
        """The optimizer steps between forward and backward."""
        loss = (self.model(self.x) ** 2).sum()
        self.optimizer.step()
        other = loss * 2
        loss.backward(retain_graph=True)
        self.optimizer.step()  # guilty
        other.backward()

    def carried(self):
        """The hidden state is kept from step to step."""
        start = torch.zeros(2, 3) if self.hidden is None else self.hidden
        self.hidden = (start + self.x).tanh()  # guilty
        loss = self.model(self.hidden).mean()
        loss.backward()


@program("modified-in-place", "self.model.weight", "E40b")
def optimizer_step_in_a_method():
    """The parameter is an attribute of an attribute."""
    Trainer().step_too_early()


@program("modified-in-place", "states", "E40c")
def recurrent_buffer():
    """Each step writes a row of one buffer, and reads the row before."""
    cell = nn.Linear(2, 2)
    states = torch.zeros(4, 2)
    for t in range(1, 4):
        states[t] = torch.tanh(cell(states[t - 1].clone())) * states[t - 1]  # guilty
    states.sum().backward()


@program("modified-in-place", "batch")
def normalised_in_a_helper():
    """The helper changes its argument; the caller's name counts too."""

    def normalise(values):
        values.div_(values.max())
        return values

    weight = torch.ones(3, requires_grad=True)
    batch = torch.tensor([1.0, 2.0, 4.0])
    scores = weight * batch
    normalise(batch)
    scores.sum().backward()


@program("modified-in-place", "x")
def edited_through_a_view():
    """The saved tensor is changed through another name of its memory."""
    weight = torch.ones(4, requires_grad=True)
    x = torch.arange(4.0)
    loss = (weight * x).sum()
    head = x[:2]
    head.zero_()  # guilty
    loss.backward()


# ------------------------------------------------------------------------------- backward twice


@program("graph-freed", "hidden", "E07b")
def hidden_state_of_a_training_loop():
    """The classic: truncated backpropagation without detach."""
    cell, head = nn.GRUCell(2, 3), nn.Linear(3, 1)
    parameters = [*cell.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.0)
    criterion = nn.MSELoss()
    hidden = torch.zeros(1, 3)
    for _ in range(3):
        x, y = torch.randn(1, 2), torch.randn(1, 1)
        optimizer.zero_grad()
        hidden = cell(x, hidden)  # guilty
        prediction = head(hidden)
        loss = criterion(prediction, y)
        loss.backward()


@program("graph-freed", "state", "E07b")
def lstm_state():
    """The state is a tuple, beside the output."""
    lstm = nn.LSTM(2, 3, batch_first=True)
    state = None
    for _ in range(2):
        output, state = lstm(torch.randn(1, 4, 2), state)  # guilty
        loss = output.pow(2).mean()
        loss.backward()


@program("graph-freed", "total", "E07b")
def loss_summed_over_time():
    """The sum is backwarded in each turn."""
    weight = torch.ones(3, requires_grad=True)
    total = 0
    for _ in range(3):
        loss = (weight**2).sum()
        total = total + loss  # guilty
        total.backward()


@program("graph-freed", "running", "E07b")
def loss_summed_with_augmented_assignment():
    """As above, written with +=."""
    model = nn.Linear(2, 1)
    running = torch.zeros(1)
    for _ in range(3):
        loss = (model(torch.ones(2)) ** 2).mean()
        running = running * 0.9
        running += loss  # guilty
        running.mean().backward()


@program("graph-freed", "loss", "E07")
def backward_twice_on_one_loss():
    """Two calls, some lines apart."""
    model = nn.Linear(3, 1)
    loss = model(torch.ones(2, 3)).pow(2).mean()  # guilty
    loss.backward()
    norms = [p.grad.norm() for p in model.parameters()]
    assert norms
    loss.backward()


@program("graph-freed", "loss", "E07")
def epochs_around_one_forward():
    """The forward pass was forgotten in the loop."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    loss = (model(torch.ones(2, 3)) ** 2).mean()  # guilty
    for _ in range(2):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@program("graph-freed", "adjacency", "E07c")
def constant_before_the_loop():
    """A matrix from parameters is made once."""
    logits = torch.zeros(3, 3, requires_grad=True)
    weight = torch.ones(3, requires_grad=True)
    adjacency = logits.softmax(dim=1)  # guilty
    for _ in range(2):
        features = adjacency @ weight
        loss = features.pow(2).sum()
        loss.backward()


@program("graph-freed", "fake", "E07d")
def gan_with_one_forward():
    """Both losses use the generator's output, and the first backward frees its graph."""
    generator, critic = nn.Sequential(nn.Linear(2, 3), nn.Tanh()), nn.Linear(3, 1)
    fake = generator(torch.randn(4, 2))  # guilty
    critic_loss = critic(fake).mean()
    critic_loss.backward()
    generator_loss = -critic(fake).mean()
    generator_loss.backward()


@program("graph-freed", "loss", "E07")
def list_of_losses():
    """The list has one loss twice; in the second turn its graph is freed."""
    weight = torch.ones(3, requires_grad=True)
    first = (weight**2).sum()
    losses = [first, first]
    for loss in losses:
        loss.backward()


@program("graph-freed", "shared", "E07d")
def losses_in_a_list():
    """All losses of the list share a part."""
    weight = torch.ones(3, requires_grad=True)
    shared = weight.exp()  # guilty
    losses = [shared.sum(), (shared * 2).sum()]
    for loss in losses:
        loss.backward()


@program("graph-freed", "self.hidden", "E07b")
def state_in_an_attribute():
    """The state lives in the object, so there is no loop to see."""
    trainer = Trainer()
    for _ in range(2):
        trainer.carried()


@program("graph-freed", "loss", "E07")
def second_backward_in_a_helper():
    """One call in the program, one in a function."""

    def log_gradients(value):
        value.backward()

    weight = torch.ones(3, requires_grad=True)
    loss = weight.exp().sum()  # guilty
    loss.backward()
    log_gradients(loss)


@program("graph-freed", "energy")
def gradient_taken_twice():
    """autograd.grad frees the graph as backward does."""
    x = torch.ones(3, requires_grad=True)
    energy = (x**3).sum()  # guilty
    (force,) = torch.autograd.grad(energy, x)
    (again,) = torch.autograd.grad(energy, x)
    assert force is not again


# ------------------------------------------------------------------------------------- no graph


@program("no-graph", "hidden", "E01c")
def data_round_trip():
    """.data cuts."""
    layer, head = nn.Linear(3, 3), nn.Linear(3, 1)
    head.requires_grad_(False)
    hidden = layer(torch.ones(2, 3)).data  # guilty
    loss = head(hidden).mean()
    loss.backward()


@program("no-graph", "features", "E01c")
def detached():
    """detach() cuts, two lines above the loss."""
    encoder = nn.Linear(3, 3)
    target = torch.zeros(2, 3)
    features = encoder(torch.ones(2, 3)).detach()  # guilty
    scaled = features * 2
    loss = F.mse_loss(scaled, target)
    loss.backward()


@program("no-graph", "loss", "E01c")
def tensor_of_a_loss():
    """torch.tensor(loss) makes a new leaf."""
    weight = torch.ones(3, requires_grad=True)
    value = (weight**2).sum()
    loss = torch.tensor(value.item())  # guilty
    loss.backward()


@program("no-graph", "losses", "E01c")
def items_in_a_list():
    """item() turns each loss into a number."""
    weight = torch.ones(3, requires_grad=True)
    losses = []
    for scale in (1, 2):
        loss = (weight * scale).sum()
        losses.append(loss.item())  # guilty
    total = torch.tensor(losses).sum()
    total.backward()


@program("no-graph", "stacked", "E01c")
def detached_in_a_comprehension():
    """The comprehension detaches each loss."""
    weight = torch.ones(3, requires_grad=True)
    losses = [(weight * scale).sum() for scale in (1, 2)]
    stacked = torch.stack([one.detach() for one in losses])  # guilty
    stacked.sum().backward()


@program("no-graph", "predicted", "E01c")
def argmax_loss():
    """Argmax gives indices."""
    model = nn.Linear(3, 4)
    target = torch.tensor([0.0, 1.0])
    logits = model(torch.ones(2, 3))
    predicted = logits.argmax(dim=1)  # guilty
    loss = F.mse_loss(predicted.float(), target)
    loss.backward()


@program("no-graph", "array", "E01c")
def numpy_round_trip():
    """Through NumPy and back; the array has the name."""
    weight = torch.ones(3, requires_grad=True)
    result = weight * 2
    array = result.detach().numpy()  # guilty
    loss = torch.from_numpy(array).sum()
    loss.backward()


@program("no-graph", "output", "E01b")
def model_under_no_grad():
    """The evaluation block reaches too far."""
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    criterion = nn.MSELoss()
    batch, target = torch.ones(2, 3), torch.zeros(2, 1)
    with torch.no_grad():
        output = model(batch)  # guilty
    loss = criterion(output, target)
    loss.backward()


@program("no-graph", "model", "E01")
def frozen_model():
    """Everything is frozen."""
    model = nn.Linear(3, 1)
    for parameter in model.parameters():
        parameter.requires_grad = False
    loss = model(torch.ones(2, 3)).mean()
    loss.backward()


@program("no-graph", "w", "E01")
def leaf_without_requires_grad():
    """The weight was made without requires_grad=True; the data is not to blame."""
    w = torch.randn(3, 1)
    prediction = torch.ones(2, 3) @ w
    loss = (prediction**2).mean()
    loss.backward()


@torch.no_grad()
def evaluate(model, batch):
    """Switch recording off for the whole function."""
    return model(batch)


@program("no-graph", "score", "E01b")
def decorated_function():
    """The function that computes the score stands under a decorator."""
    model = nn.Linear(3, 1)
    score = evaluate(model, torch.ones(2, 3))  # guilty
    loss = score.mean()
    loss.backward()


class Detaching(nn.Module):
    """Detaches in its forward pass."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 3)

    def forward(self, x):
        """Cut in the middle."""
        hidden = self.body(x)
        return hidden.detach().tanh()


@program("no-graph", "out", "E01c")
def detached_in_forward():
    """The step is inside a module of the program."""
    model = Detaching()
    out = model(torch.ones(2, 3))  # guilty
    out.sum().backward()


class Runner:
    """Computes its loss in a method."""

    def __init__(self):
        self.model = nn.Linear(3, 1)
        self.batch = torch.ones(2, 3)

    def compute_loss(self):
        """Cut by .data."""
        return self.model(self.batch).data.mean()

    def run(self):
        """Call backward on it."""
        loss = self.compute_loss()  # guilty
        loss.backward()


@program("no-graph", "loss", "E01c")
def method_of_a_class():
    """`self.compute_loss` cuts the graph."""
    Runner().run()


@program("no-graph", "loss", "E01c")
def backward_in_a_helper():
    """The helper's argument has its name in the caller."""

    def step(value):
        value.backward()

    weight = torch.ones(3, requires_grad=True)
    loss = (weight > 0).float().mean()  # guilty
    step(loss)


@program("no-graph", "rounded", "E01c")
def nested_functions():
    """The closure computes; the loss is made in the function around it."""
    weight = torch.ones(3, requires_grad=True)

    def forward():
        rounded = (weight * 3).long()  # guilty
        loss = rounded.float().sum()
        loss.backward()

    forward()


settings = SimpleNamespace(scale=torch.ones(3))


@program("no-graph", "settings.scale", "E01")
def module_attribute():
    """The tensor is an attribute of something global."""
    loss = (settings.scale * 2).sum()
    loss.backward()


@program("no-graph", "first")
def autograd_grad_of_a_detached_gradient():
    """The gradient was taken without create_graph."""
    x = torch.ones(3, requires_grad=True)
    (first,) = torch.autograd.grad((x**3).sum(), x)  # guilty
    penalty = first.norm()
    penalty.backward()


@dataclass
class Batch:
    """Tensors by name."""

    x: torch.Tensor
    parts: dict = field(default_factory=dict)


@program("no-graph", "batch.x", "E01")
def tensor_in_a_dataclass():
    """A field of an object is named with its path."""
    batch = Batch(torch.ones(3))
    loss = batch.x.sum()
    loss.backward()


# ------------------------------------------------------------------------------- other messages


@program("matmul-shapes", "x and self.second.weight")
def linear_of_another_size():
    """In the forward pass of a module of the program."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(5, 1)

        def forward(self, x):
            x = self.first(x)
            return self.second(x)

    Net()(torch.ones(2, 3))


@program("matmul-shapes", "model.2.weight")
def layer_inside_a_sequential():
    """The input of the layer has no name, though the batch has the same shape."""
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(5, 1))
    batch = torch.ones(2, 3)
    model(batch)


@program("matmul-shapes", "a @ b and c")
def product_of_products():
    """`a` has the same shape as `a @ b`, and nothing to do with it."""
    a, b, c = torch.ones(4, 3), torch.ones(3, 3), torch.ones(5, 2)
    return (a @ b) @ c


@program("shapes-do-not-broadcast", "target and prediction")
def loss_of_two_sizes():
    """Torch's own code expands the two."""
    prediction, target = torch.ones(4), torch.ones(3)
    F.poisson_nll_loss(prediction, target)


@program("dtype-mismatch", "features and self.head.weight")
def double_features():
    """NumPy's dtype meets a layer, in a method."""

    class Model:
        def __init__(self):
            self.head = nn.Linear(3, 1)

        def predict(self, features):
            return self.head(features)

    Model().predict(torch.ones(2, 3, dtype=torch.float64))


@program("numpy-needs-detach", "curve")
def plotted_with_a_graph():
    """Only one of the two tensors of the line has a graph."""
    steps, curve = torch.arange(3), torch.ones(3, requires_grad=True) * 2
    print(steps.numpy(), curve.numpy())


@program("leaf-in-place", "layer.weight")
def initialisation_by_hand():
    """A parameter is filled while autograd records."""
    layer = nn.Linear(3, 1)
    layer.weight.fill_(0.5)


@program("saved-tensor-detached", "state")
def state_detached_too_early():
    """The state is detached before backward."""
    weight = torch.ones(3, requires_grad=True)
    state = weight.exp()
    loss = (state * state).sum()
    state.detach_()  # guilty
    loss.backward()


# ------------------------------------------------------- programs in which no name is the right one


@program("modified-in-place", None)
def temporary_changed_in_a_function():
    """The changed tensor has no name; the module that works in place did not touch it."""

    def scores(x):
        return F.threshold_(x.exp(), 2.0, 0.0)

    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    scores(model(torch.ones(2, 3))).sum().backward()


@program("modified-in-place", None)
def two_modules_work_in_place():
    """Which of the two it was cannot be told."""
    first, second = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
    weight = torch.ones(3, requires_grad=True)
    first(weight.exp() * 1).sum().backward()
    (first(weight.exp()) + second(weight.exp())).sum().backward()


@program("graph-freed", None)
def shared_part_without_a_name():
    """A function remembers the encoder's result; no variable of the frame is to blame."""
    weight = torch.ones(3, requires_grad=True)

    def remember(cache={}):  # noqa: B006 -- what the test is about
        return cache.setdefault("features", weight.exp())

    loss = remember().sum()
    loss.backward()
    loss = (remember() * 2).sum()
    loss.backward()


@program("no-graph", None)
def constant_without_a_name():
    """Nothing on the line has a name."""
    torch.ones(3).sum().backward()


@program("numpy-needs-detach", None)
def result_without_a_name():
    """`weight` could be converted; its double cannot, and has no name."""
    weight = torch.ones(3)
    other = torch.ones(3, requires_grad=True)
    (weight * other).numpy()


@program("bce-range", None)
def logits_without_a_name():
    """The features are outside of 0 to 1 too, but they are not the probabilities."""
    model = nn.Linear(1, 1)
    features = torch.full((2, 1), 7.0)
    F.binary_cross_entropy(model(features) + 5, torch.ones(2, 1))


# --------------------------------------------------------------------------------------- tests


def guilty_lines(function):
    """Numbers of the marked lines in the file that belong to a program."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename)
    found = set()
    pending = [code]
    while pending:
        one = pending.pop()
        numbers = {number for *_, number in one.co_lines() if number}
        found |= {number for number in numbers if "# guilty" in lines[number - 1]}
        pending += [constant for constant in one.co_consts if hasattr(constant, "co_lines")]
        if "Trainer" in one.co_names:
            pending += [f.__code__ for n, f in vars(Trainer).items() if n in one.co_names]
    return found


def explained(function):
    """The explanation of what a program raises."""
    torch.manual_seed(0)
    with pytest.raises((RuntimeError, ValueError)) as caught:
        function()
    return explain(caught.value)


@pytest.mark.parametrize(("function", "code", "subject", "variant"), PROGRAMS)
def test_the_guilty_variable_is_named(function, code, subject, variant):
    """Entry, name, line and cause."""
    explanation = explained(function)
    assert explanation.code == code
    assert explanation.subject == subject
    told = " ".join([*explanation.because, *explanation.details.values()])
    for number in guilty_lines(function):
        assert f"line {number}," in told
    if variant is not None:
        titles = {one.source: one.title for one in load()[code].variants}
        assert explanation.details["cause"] == titles[variant]


def test_the_marks_are_seen():
    """The check of lines can fail."""
    assert guilty_lines(detached)
    assert guilty_lines(nested_functions)
    assert guilty_lines(state_in_an_attribute)
    assert sum(bool(guilty_lines(one.values[0])) for one in PROGRAMS) > 25
