"""Messages of modules, parameters, optimizers and schedulers."""

import pickle

import torch
from torch import nn


def e24_tensor_over_a_parameter():
    """A plain tensor is assigned where a parameter was."""
    model = nn.Linear(3, 1)
    model.weight = torch.zeros(1, 3)


def cure_e24():
    """Copy the values."""
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.copy_(torch.zeros(1, 3))
    assert model.weight.tolist() == [[0, 0, 0]]


def e24b_result_registered_as_a_parameter():
    """A result of a computation cannot be a parameter."""
    model = nn.Module()
    weight = torch.ones(3, requires_grad=True)
    model.register_parameter("w", weight * 2)


class Doubled(nn.Module):
    """Computes what depends on its parameter at every call."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        """Use twice the weight."""
        return x * (self.weight * 2)


def cure_e24b():
    """Register what is trained, compute the rest in forward()."""
    model = Doubled()
    model(torch.ones(3)).sum().backward()
    assert model.weight.grad.tolist() == [2, 2, 2]


class Hasty(nn.Module):
    """Forgets super().__init__()."""

    def __init__(self):
        self.weight = nn.Parameter(torch.ones(3))


def e24c_parameter_before_init():
    """The module has no place for parameters yet."""
    Hasty()


def cure_e24c():
    """Call super().__init__() first."""
    assert len(list(Doubled().parameters())) == 1


def e25_result_given_to_the_optimizer():
    """The product is a result; the leaf has no name any more."""
    weight = torch.randn(3, requires_grad=True) * 0.1
    torch.optim.SGD([weight], lr=0.1)


def cure_e25():
    """Ask for gradients at the end."""
    weight = (torch.randn(3) * 0.1).requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    assert optimizer.param_groups[0]["params"][0] is weight


class Hidden(nn.Module):
    """Keeps its layers in a Python list."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(3, 3), nn.Linear(3, 1)]


def e190_no_parameters():
    """The module does not see what is in a Python list."""
    model = Hidden()
    torch.optim.SGD(model.parameters(), lr=0.1)


def cure_e190():
    """nn.ModuleList registers its elements."""
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 1)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert len(optimizer.param_groups[0]["params"]) == 4


def e191_bare_tensor():
    """The optimizer takes a list."""
    weight = torch.ones(3, requires_grad=True)
    torch.optim.SGD(weight, lr=0.1)


def cure_e191():
    """Give it one."""
    weight = torch.ones(3, requires_grad=True)
    assert torch.optim.SGD([weight], lr=0.1)


def e192_parameter_in_two_groups():
    """The bias is in both groups."""
    model = nn.Linear(3, 1)
    torch.optim.SGD([{"params": model.parameters()}, {"params": [model.bias]}], lr=0.1)


def cure_e192():
    """Every parameter in one group."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD([{"params": [model.weight]}, {"params": [model.bias]}], lr=0.1)
    assert len(optimizer.param_groups) == 2


def e194_sparse_adam_with_dense_gradients():
    """SparseAdam is for embeddings with sparse=True."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SparseAdam(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimizer.step()


def cure_e194():
    """Two optimizers: one for the table, one for the rest."""
    model = nn.Sequential(nn.Embedding(4, 3, sparse=True), nn.Linear(3, 1))
    for_table = torch.optim.SparseAdam(model[0].parameters(), lr=0.1)
    for_rest = torch.optim.Adam(model[1].parameters(), lr=0.1)
    before = [one.detach().clone() for one in model.parameters()]
    model(torch.tensor([1])).sum().backward()
    for_table.step()
    for_rest.step()
    assert all(not one.equal(old) for one, old in zip(model.parameters(), before, strict=True))


def e195_state_of_another_model():
    """The state was saved for more parameters."""
    before = torch.optim.SGD(nn.Linear(3, 1).parameters(), lr=0.1)
    after = torch.optim.SGD([torch.ones(3, requires_grad=True)], lr=0.1)
    after.load_state_dict(before.state_dict())


def cure_e195():
    """The same parameters in the same order."""
    before = torch.optim.SGD(nn.Linear(3, 1).parameters(), lr=0.5)
    after = torch.optim.SGD(nn.Linear(3, 1).parameters(), lr=0.1)
    after.load_state_dict(before.state_dict())
    assert after.param_groups[0]["lr"] == 0.5


def e197_norm_is_not_finite():
    """One gradient is nan, and that was to be an error."""
    weight = torch.ones(3, requires_grad=True)
    (weight * float("nan")).sum().backward()
    nn.utils.clip_grad_norm_([weight], max_norm=1.0, error_if_nonfinite=True)


def cure_e197():
    """Skip the step."""
    weight = torch.ones(3, requires_grad=True)
    (weight * float("nan")).sum().backward()
    norm = nn.utils.clip_grad_norm_([weight], max_norm=1.0)
    if not norm.isfinite():
        weight.grad = None
    assert weight.grad is None


def w52_scheduler_before_optimizer():
    """The first learning rate is skipped."""
    optimizer = torch.optim.SGD([torch.ones(3, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
    scheduler.step()


def cure_w52():
    """The optimizer first."""
    optimizer = torch.optim.SGD([torch.ones(3, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.05]


def e205_module_among_the_parameters():
    """A list of modules is not a list of parameters."""
    torch.optim.SGD([nn.Linear(3, 1)], lr=0.1)


def cure_e205():
    """Ask the modules for their parameters."""
    layers = nn.ModuleList([nn.Linear(3, 1)])
    assert torch.optim.SGD(layers.parameters(), lr=0.1)


def e208_pickle_a_parametrized_module():
    """A parametrized module has a class made on the fly."""
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 1))
    pickle.dumps(model)


def cure_e208():
    """Save its state."""
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 1))
    state = pickle.loads(pickle.dumps(model.state_dict()))
    model.load_state_dict(state)
    assert len(state) == 3


def e209_converted_after_the_first_step():
    """The averages inside Adam keep the old dtype."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    model.double()
    optimizer.zero_grad()
    model(torch.ones(3, dtype=torch.float64)).sum().backward()
    optimizer.step()


def cure_e209():
    """Convert first, then build the optimizer."""
    model = nn.Linear(3, 1).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(3, dtype=torch.float64)).sum().backward()
    optimizer.step()
    assert optimizer.state[model.weight]["exp_avg"].dtype == torch.float64


def w54_old_weight_norm():
    """The old weight_norm keeps a result as an attribute of the module."""
    nn.utils.weight_norm(nn.Linear(3, 1))


def cure_w54():
    """The new one."""
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 1))
    assert nn.utils.parametrize.is_parametrized(model, "weight")


def e313_state_with_other_names():
    """Saved from a model that was wrapped, loaded into one that is not."""
    wrapped = nn.Sequential(nn.Linear(3, 1))
    nn.Linear(3, 1).load_state_dict(wrapped.state_dict())


def cure_e313():
    """Take the prefix off the names."""
    wrapped, model = nn.Sequential(nn.Linear(3, 1)), nn.Linear(3, 1)
    state = {name.removeprefix("0."): value for name, value in wrapped.state_dict().items()}
    model.load_state_dict(state)
    assert model.weight.equal(wrapped[0].weight)


def e313b_state_with_other_shapes():
    """Saved with ten classes, loaded into three."""
    nn.Linear(4, 3).load_state_dict(nn.Linear(4, 10).state_dict())


def cure_e313b():
    """Load what fits, and train the rest."""
    old = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 10))
    new = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    shapes = {name: value.shape for name, value in new.state_dict().items()}
    fits = {n: v for n, v in old.state_dict().items() if v.shape == shapes[n]}
    left = new.load_state_dict(fits, strict=False)
    assert left.missing_keys == ["1.weight", "1.bias"]
    assert new[0].weight.equal(old[0].weight)


def e317_adam_with_a_sparse_gradient():
    """The embedding makes sparse gradients."""
    embedding = nn.Embedding(4, 3, sparse=True)
    optimizer = torch.optim.Adam(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    optimizer.step()


def cure_e317():
    """A dense gradient."""
    embedding = nn.Embedding(4, 3, sparse=False)
    optimizer = torch.optim.Adam(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    optimizer.step()
    assert embedding.weight.grad.tolist() == [[0] * 3, [1] * 3, [0] * 3, [0] * 3]


def e322_batch_norm_of_one_row():
    """One number has no variance."""
    nn.BatchNorm1d(3)(torch.ones(1, 3))


def cure_e322():
    """The last batch, of one row, is left out."""
    model = nn.BatchNorm1d(3)
    rows = torch.utils.data.TensorDataset(torch.randn(5, 3))
    for (batch,) in torch.utils.data.DataLoader(rows, batch_size=2, drop_last=True):
        model(batch).square().sum().backward()
    assert model.num_batches_tracked == 2
    assert model.weight.grad is not None


class RegistersTooEarly(nn.Module):
    """The parameter comes before `super().__init__()`."""

    def __init__(self):
        self.register_parameter("scale", nn.Parameter(torch.ones(1)))
        super().__init__()


def e352_parameter_registered_before_init():
    """The module has no place for it yet."""
    RegistersTooEarly()


class RegistersInTime(nn.Module):
    """`super().__init__()` comes first."""

    def __init__(self):
        super().__init__()
        self.register_parameter("scale", nn.Parameter(torch.ones(1)))


def cure_e352():
    """In the right order."""
    assert [name for name, _ in RegistersInTime().named_parameters()] == ["scale"]


def w83_parameter_twice_in_one_group():
    """A shared weight is listed with both layers."""
    w = nn.Parameter(torch.ones(1))
    torch.optim.SGD([w, w], lr=0.1)


def cure_w83():
    """Once."""
    w = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD({id(p): p for p in [w, w]}.values(), lr=0.1)
    assert len(optimizer.param_groups[0]["params"]) == 1


def e353_weight_decay_of_a_sparse_gradient():
    """Decay would touch all rows."""
    layer = nn.Embedding(3, 2, sparse=True)
    layer(torch.tensor([1])).sum().backward()
    torch.optim.Adagrad(layer.parameters(), weight_decay=0.1).step()


def cure_e353():
    """A dense gradient."""
    layer = nn.Embedding(3, 2, sparse=False)
    before = layer.weight.detach().clone()
    layer(torch.tensor([1])).sum().backward()
    torch.optim.Adagrad(layer.parameters(), weight_decay=0.1).step()
    assert not layer.weight.equal(before)


def e363_lazy_parameters_are_counted():
    """They have no size yet."""
    sum(p.numel() for p in nn.LazyLinear(2).parameters())


def cure_e363():
    """After one batch they have."""
    layer = nn.LazyLinear(2)
    with torch.no_grad():
        layer(torch.ones(1, 3))
    assert sum(p.numel() for p in layer.parameters()) == 8


def e363b_shape_of_a_lazy_parameter():
    """It has none yet."""
    return nn.LazyLinear(2).weight.shape


def cure_e363b():
    """After one batch it has."""
    layer = nn.LazyLinear(2)
    with torch.no_grad():
        layer(torch.ones(1, 3))
    assert layer.weight.shape == (2, 3)


def w85_generator_of_parameters_is_used_twice():
    """The optimizer has taken all of them."""
    model = nn.Linear(2, 2)
    parameters = model.parameters()
    torch.optim.SGD(parameters, lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)


def cure_w85():
    """A list can be used twice."""
    model = nn.Linear(2, 2)
    parameters = list(model.parameters())
    torch.optim.SGD(parameters, lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    assert nn.utils.get_total_norm([p.grad for p in parameters]) < 1.001
