"""Messages about leaves, requires_grad, .grad, .data, conversions and inference tensors."""

import copy
from multiprocessing.reduction import ForkingPickler

import numpy as np
import torch
import torch.multiprocessing
from torch import nn


def e20_integer_tensor_requires_grad():
    """torch.tensor([1, 2]) holds integers."""
    torch.tensor([1, 2], requires_grad=True)


def cure_e20():
    """Write the numbers with a point."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert x.dtype == torch.float32


def e20b_requires_grad_on_integers():
    """requires_grad_() on integers."""
    x = torch.arange(3)
    x.requires_grad_()


def cure_e20b():
    """Convert first."""
    x = torch.arange(3).float().requires_grad_()
    assert x.is_leaf


def e20c_parameter_of_integers():
    """A parameter asks for gradients by default."""
    nn.Parameter(torch.tensor([1, 2]))


def cure_e20c():
    """A tensor of the model that is not trained is a buffer."""
    model = nn.Module()
    model.register_buffer("codes", torch.tensor([1, 2]))
    assert not list(model.parameters())


def e146_func_grad_of_integers():
    """torch.func.grad by an integer tensor."""
    torch.func.grad(lambda x: x.sum())(torch.arange(3))


def cure_e146():
    """Convert first."""
    gradient = torch.func.grad(lambda x: x.sum())(torch.arange(3).float())
    assert gradient.tolist() == [1, 1, 1]


def e21_requires_grad_of_a_result():
    """Recording cannot be switched off for a result."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.requires_grad_(False)


def cure_e21():
    """detach() gives the same values without the graph."""
    x = torch.ones(3, requires_grad=True)
    y = (x * 2).detach()
    assert not y.requires_grad


def e26_numpy_of_a_tensor_that_requires_grad():
    """NumPy cannot record."""
    prediction = torch.ones(3, requires_grad=True) * 2
    np.square(prediction)


def cure_e26():
    """To look at values, detach."""
    prediction = torch.ones(3, requires_grad=True) * 2
    assert np.square(prediction.detach().numpy()).tolist() == [4, 4, 4]


def w06_tensor_of_a_tensor():
    """torch.tensor() copies the numbers and cuts the graph."""
    x = torch.ones(3, requires_grad=True)
    torch.tensor(x * 2)


def cure_w06():
    """clone() copies and stays in the graph."""
    x = torch.ones(3, requires_grad=True)
    (x * 2).clone().sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def w05_number_of_a_tensor_that_requires_grad():
    """A Python number has no graph."""
    losses = torch.ones(2, requires_grad=True).exp()
    torch.tensor([losses[0], losses[1]])


def cure_w05():
    """Join tensors with stack(): the gradient comes through."""
    x = torch.ones(2, requires_grad=True)
    losses = x.exp()
    torch.stack([losses[0], losses[1]]).sum().backward()
    assert x.grad.equal(x.exp())


def e27_dlpack_of_a_tensor_that_requires_grad():
    """The exchange format holds no graph."""
    weight = torch.ones(3, requires_grad=True)
    np.from_dlpack(weight)


def cure_e27():
    """Detach first."""
    weight = torch.ones(3, requires_grad=True)
    assert np.from_dlpack(weight.detach()).tolist() == [1, 1, 1]


def e28_deepcopy_of_a_result():
    """A module that keeps a result with a graph cannot be copied."""
    model = nn.Linear(3, 1)
    model.last = model(torch.ones(3))
    copy.deepcopy(model)


def cure_e28():
    """Keep the values only."""
    model = nn.Linear(3, 1)
    model.last = model(torch.ones(3)).detach()
    assert copy.deepcopy(model).last.equal(model.last)


def e30_apply_a_python_function():
    """A Python function cannot be differentiated."""
    x = torch.ones(3, requires_grad=True)
    x.apply_(lambda value: value + 1)


def cure_e30():
    """Write it with tensors."""
    x = torch.ones(3, requires_grad=True)
    assert (x + 1).requires_grad


def e31_data_of_integers():
    """.data may not turn a parameter into integers."""
    weight = torch.ones(3, requires_grad=True)
    weight.data = torch.tensor([1, 2, 3])


def cure_e31():
    """Keep the kind of numbers."""
    weight = torch.ones(3, requires_grad=True)
    weight.data = torch.tensor([1.0, 2.0, 3.0])
    assert weight.tolist() == [1, 2, 3]


def e31b_data_of_another_layout():
    """.data may not turn a dense parameter into a sparse one."""
    weight = nn.Parameter(torch.ones(2, 2))
    weight.data = torch.eye(2).to_sparse()


def cure_e31b():
    """Make a new parameter."""
    weight = nn.Parameter(torch.eye(2).to_sparse())
    assert weight.is_sparse


def e35_grad_of_another_dtype():
    """A gradient must have the dtype of its tensor."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.ones(3, dtype=torch.float64)


def cure_e35():
    """Convert it."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.ones(3, dtype=torch.float64).to(weight.dtype)
    assert weight.grad.dtype == torch.float32


def e35b_grad_on_another_device():
    """A gradient must be where its tensor is (the meta device stands for a GPU)."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.ones(3, device="meta")


def cure_e35b():
    """Make it there."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad = torch.ones(3).to(weight.device)
    assert weight.grad.device == weight.device


def e36_grad_is_a_number():
    """A gradient is a tensor."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad = 0


def cure_e36():
    """None means: no gradient."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad = None
    assert weight.grad is None


def e37_tensor_as_its_own_grad():
    """A tensor cannot be its own gradient."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad = weight


def cure_e37():
    """Copy the values."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad = weight.detach().clone()
    assert weight.grad.tolist() == [1, 1, 1]


def e38_retain_grad_without_graph():
    """Without a graph there is no gradient to keep."""
    y = torch.ones(3) * 2
    y.retain_grad()


def cure_e38():
    """Start from a tensor that requires grad."""
    y = torch.ones(3, requires_grad=True) * 2
    y.retain_grad()
    y.sum().backward()
    assert y.grad.tolist() == [1, 1, 1]


def e39_grad_dtype_of_a_non_leaf():
    """grad_dtype belongs to the place where gradients are kept: a leaf."""
    y = torch.ones(3, requires_grad=True) * 2
    y.grad_dtype = torch.float64


def cure_e39():
    """Set it on the leaf."""
    x = torch.ones(3, requires_grad=True)
    x.grad_dtype = torch.float64
    assert x.grad_dtype == torch.float64


def e39b_grad_dtype_beside_a_gradient():
    """A gradient of the old dtype is there already."""
    x = torch.ones(3, requires_grad=True)
    x.sum().backward()
    x.grad_dtype = torch.float64


def cure_e39b():
    """Remove the gradient first."""
    x = torch.ones(3, requires_grad=True)
    x.sum().backward()
    x.grad = None
    x.grad_dtype = torch.float64
    assert x.grad_dtype == torch.float64


def e50_inference_tensor_saved_for_backward():
    """A tensor of inference mode enters a computation that is recorded."""
    with torch.inference_mode():
        features = torch.ones(3) * 2
    weight = torch.ones(3, requires_grad=True)
    (weight * features).sum().backward()


def cure_e50():
    """A clone made outside is a normal tensor."""
    with torch.inference_mode():
        features = torch.ones(3) * 2
    weight = torch.ones(3, requires_grad=True)
    (weight * features.clone()).sum().backward()
    assert weight.grad.tolist() == [2, 2, 2]


def e52_requires_grad_on_an_inference_tensor():
    """A tensor of inference mode can never require grad."""
    with torch.inference_mode():
        weight = torch.ones(3)
    weight.requires_grad_()


def cure_e52():
    """Clone it outside."""
    with torch.inference_mode():
        weight = torch.ones(3)
    assert weight.clone().requires_grad_().is_leaf


def e302_inference_tensor_changed_outside():
    """A tensor of inference mode is changed in normal mode."""
    with torch.inference_mode():
        features = torch.ones(3)
    features += 1


def cure_e302():
    """Change a clone."""
    with torch.inference_mode():
        features = torch.ones(3)
    features = features.clone()
    features += 1
    assert features.tolist() == [2, 2, 2]


def e53_version_of_an_inference_tensor():
    """Tensors of inference mode do not count their changes."""
    with torch.inference_mode():
        features = torch.ones(3)
    print(features._version)


def cure_e53():
    """Ask first."""
    with torch.inference_mode():
        features = torch.ones(3)
    assert features.is_inference()


def w80_volatile():
    """A word of PyTorch 0.3."""
    torch.autograd.Variable(torch.ones(3), volatile=True)


def cure_w80():
    """no_grad() took its place."""
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        assert not (weight * 2).requires_grad


def e312_result_sent_to_another_process():
    """A queue or a DataLoader worker pickles what it sends."""
    hidden = torch.ones(3, requires_grad=True) * 2
    ForkingPickler.dumps(hidden)


def cure_e312():
    """Send the values."""
    hidden = torch.ones(3, requires_grad=True) * 2
    received = ForkingPickler.loads(ForkingPickler.dumps(hidden.detach()))
    assert received.tolist() == [2, 2, 2]
    assert not received.requires_grad


def e323_resize_of_a_leaf():
    """resize_ would change the memory that the gradient belongs to."""
    x = torch.ones(3, requires_grad=True)
    x.resize_(1, 3)


def cure_e323():
    """A view has the other shape, and a gradient."""
    x = torch.ones(3, requires_grad=True)
    x.view(1, 3).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


def e347_grad_dtype_of_a_result():
    """Only a leaf collects its gradient in a dtype of its own."""
    y = torch.ones(2, requires_grad=True) * 2
    return y.grad_dtype


def cure_e347():
    """Ask the leaf."""
    assert torch.ones(2, requires_grad=True).grad_dtype == torch.float32


def e348_volatile_and_requires_grad():
    """Two flags of PyTorch 0.3 that exclude each other."""
    torch.autograd.Variable(torch.ones(1), requires_grad=True, volatile=True)


def cure_e348():
    """A tensor has one flag."""
    assert torch.ones(1, requires_grad=True).requires_grad


def e350_module_to_integers():
    """Parameters need gradients, integers have none."""
    nn.Linear(2, 2).to(torch.int32)


def cure_e350():
    """A floating-point dtype."""
    assert nn.Linear(2, 2).to(torch.float64).weight.dtype == torch.float64
