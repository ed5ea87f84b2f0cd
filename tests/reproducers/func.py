"""Messages of torch.func, vmap apart."""

import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vjp


def e144_grad_of_a_vector():
    """grad() needs a function that returns one number."""
    grad(lambda x: x * x)(torch.ones(3))


def cure_e144():
    """Reduce: one number."""
    assert grad(lambda x: (x * x).sum())(torch.ones(3)).tolist() == [2, 2, 2]


def e145_grad_of_a_function_with_two_results():
    """grad() expects one tensor."""
    grad(lambda x: (x.sum(), x))(torch.ones(3))


def cure_e145():
    """has_aux: the first is differentiated, the rest comes along."""
    gradient, _ = grad(lambda x: (x.sum(), x), has_aux=True)(torch.ones(3))
    assert gradient.tolist() == [1, 1, 1]


def e154_backward_inside_a_transform():
    """backward() has no place inside a function that is transformed."""

    def loss(x):
        value = (x * x).sum()
        value.backward()
        return value

    grad(loss)(torch.ones(3, requires_grad=True))


def cure_e154():
    """grad() calls it."""
    assert grad(lambda x: (x * x).sum())(torch.ones(3)).tolist() == [2, 2, 2]


def e155b_data_inside_a_transform():
    """A transformed function has no side effects on .data."""

    def loss(x):
        x.data = torch.zeros(3)
        return x.sum()

    grad(loss)(torch.ones(3))


def cure_e155b():
    """Use a new value."""

    def loss(x):
        return (x * torch.zeros(3)).sum()

    assert grad(loss)(torch.ones(3)).tolist() == [0, 0, 0]


def e307_captured_tensor_changed():
    """The function changes a tensor that it did not get as an argument."""
    calls = torch.zeros(())

    def loss(x):
        calls.add_(1)
        return (x * x).sum()

    grad(loss)(torch.ones(3))


def cure_e307():
    """Return what has to change."""

    def loss(x, calls):
        return (x * x).sum(), calls + 1

    gradient, calls = grad(loss, has_aux=True)(torch.ones(3), torch.zeros(()))
    assert calls == 1
    assert gradient.tolist() == [2, 2, 2]


def e157_cotangents_of_another_structure():
    """The output is a tuple, the cotangent one tensor."""
    _, pull_back = vjp(lambda x: (x, x), torch.ones(3))
    pull_back(torch.ones(3))


def cure_e157():
    """One cotangent for each output."""
    _, pull_back = vjp(lambda x: (x, x), torch.ones(3))
    (gradient,) = pull_back((torch.ones(3), torch.ones(3)))
    assert gradient.tolist() == [2, 2, 2]


def e157b_vjp_of_a_comparison():
    """The output is bool."""
    vjp(lambda x: x > 0, torch.ones(3))


def cure_e157b():
    """Return it beside the real output."""
    _, pull_back, positive = vjp(lambda x: (x * 2, x > 0), torch.ones(3), has_aux=True)
    assert positive.all()
    assert pull_back(torch.ones(3))[0].tolist() == [2, 2, 2]


def e158_primals_not_in_a_tuple():
    """Both primals and tangents are tuples."""
    jvp(torch.sin, torch.ones(3), torch.ones(3))


def cure_e158():
    """With a comma."""
    _, tangent = jvp(torch.sin, (torch.zeros(3),), (torch.ones(3),))
    assert tangent.tolist() == [1, 1, 1]


def e160_argnums_out_of_range():
    """The second argument was given by name."""
    grad(lambda x, y: (x * y).sum(), argnums=1)(torch.ones(3), y=torch.ones(3))


def cure_e160():
    """Give it by position."""
    gradient = grad(lambda x, y: (x * y).sum(), argnums=1)(torch.ones(3), torch.ones(3))
    assert gradient.tolist() == [1, 1, 1]


def e162_modules_in_different_modes():
    """One model trains, the other one does not."""
    stack_module_state([nn.Linear(3, 1), nn.Linear(3, 1).eval()])


def cure_e162():
    """Put them all in one mode."""
    parameters, _ = stack_module_state([nn.Linear(3, 1), nn.Linear(3, 1)])
    assert parameters["weight"].shape == (2, 1, 3)


def e163_functional_call_with_a_wrong_name():
    """strict=True wants exactly the names of the module."""
    functional_call(nn.Linear(3, 1), {"wieght": torch.ones(1, 3)}, torch.ones(3), strict=True)


def cure_e163():
    """Take the names from the module."""
    model = nn.Linear(3, 1)
    names = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    assert functional_call(model, names, torch.ones(3), strict=True).tolist() == [0]


def w20_make_functional():
    """The name of functorch, before it became torch.func."""
    import functorch

    functorch.make_functional(nn.Linear(3, 1))


def cure_w20():
    """functional_call() took its place."""
    model = nn.Linear(3, 1)
    parameters = dict(model.named_parameters())
    assert functional_call(model, parameters, torch.ones(3)).equal(model(torch.ones(3)))


def e315_numpy_inside_a_transform():
    """Inside, a tensor has no memory that NumPy could read."""
    torch.func.grad(lambda x: (x * float(x.detach().numpy().max())).sum())(torch.ones(3))


def cure_e315():
    """Stay in torch."""
    gradient = torch.func.grad(lambda x: (x * x.detach().max()).sum())(torch.ones(3))
    assert gradient.tolist() == [1, 1, 1]


def e316_requires_grad_inside_a_transform():
    """The transform has asked already."""

    def loss(x):
        x.requires_grad_()
        return (x * x).sum()

    torch.func.grad(loss)(torch.ones(3))


def cure_e316():
    """Leave it out."""
    gradient = torch.func.grad(lambda x: (x * x).sum())(torch.ones(3))
    assert gradient.tolist() == [2, 2, 2]


def e331_retain_grad_inside_a_transform():
    """The gradient of an intermediate result has no place there."""

    def loss(x):
        y = x * 2
        y.retain_grad()
        return y.sum()

    grad(loss)(torch.ones(2))


def cure_e331():
    """Leave the line out."""

    def loss(x):
        y = x * 2
        return y.sum()

    assert grad(loss)(torch.ones(2)).tolist() == [2, 2]


def e332_data_inside_vmap():
    """The data of all rows cannot be had as one."""
    torch.func.vmap(lambda row: row.data * 2)(torch.ones(2, 3))


def cure_e332():
    """Compute a new tensor."""
    doubled = torch.func.vmap(lambda row: row * 2)(torch.ones(2, 3))
    assert doubled.tolist() == [[2, 2, 2]] * 2


def e357_two_values_for_a_tied_parameter():
    """One parameter has two names, and each name gets another value."""
    model = nn.Sequential(nn.Linear(2, 2))
    model.append(model[0])
    values = {"0.weight": torch.ones(2, 2), "1.weight": torch.zeros(2, 2)}
    functional_call(model, values, torch.ones(1, 2))


def cure_e357():
    """One value, under one name."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    model.append(model[0])
    result = functional_call(model, {"0.weight": torch.eye(2)}, torch.ones(1, 2))
    assert result.tolist() == [[1, 1]]


def e365_aux_is_not_returned():
    """A pair is promised, and one number comes."""
    grad(torch.sum, has_aux=True)(torch.ones(2))


def cure_e365():
    """Return the pair."""
    slope, aux = grad(lambda x: (x.sum(), x * 2), has_aux=True)(torch.ones(2))
    assert slope.tolist() == [1, 1]
    assert aux.tolist() == [2, 2]


def e366_gradient_by_a_number():
    """A Python number has no gradient."""
    grad(lambda x: x * x)(3.0)


def cure_e366():
    """A tensor has one."""
    assert grad(lambda x: x * x)(torch.tensor(3.0)) == 6


def e366b_function_returns_a_number_too():
    """One of the results is a Python number."""
    jacrev(lambda x: [x, 3.0])(torch.ones(2))


def cure_e366b():
    """A tensor for the number."""
    of_x, of_constant = jacrev(lambda x: [x, torch.tensor(3.0)])(torch.ones(2))
    assert of_x.equal(torch.eye(2))
    assert of_constant.tolist() == [0, 0]
