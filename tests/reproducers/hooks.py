"""Messages about hooks: of tensors, nodes, modules and saved tensors."""

import pickle

import torch
from torch import nn
from torch.autograd.graph import (
    allow_mutation_on_saved_tensors,
    disable_saved_tensors_hooks,
    get_gradient_edge,
    saved_tensors_hooks,
)


def e80_hook_without_graph():
    """No gradient will ever come by."""
    x = torch.ones(3)
    x.register_hook(print)


def cure_e80():
    """Register it on a tensor of the graph."""
    x = torch.ones(3, requires_grad=True)
    seen = []
    x.register_hook(seen.append)
    x.sum().backward()
    assert seen[0].tolist() == [1, 1, 1]


def e81_accumulate_hook_on_a_result():
    """Nothing is accumulated in a result."""
    y = torch.ones(3, requires_grad=True) * 2
    y.register_post_accumulate_grad_hook(print)


def cure_e81():
    """Register it on the leaf."""
    x = torch.ones(3, requires_grad=True)
    seen = []
    x.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad))
    (x * 2).sum().backward()
    assert seen[0].tolist() == [2, 2, 2]


def e82_hook_returns_a_number():
    """A hook returns a tensor, or nothing."""
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: 2.0)
    x.sum().backward()


def cure_e82():
    """Return a new tensor."""
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: gradient * 2)
    x.sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def e84c_node_hook_returns_a_tensor():
    """The hook of a node returns a tuple."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.grad_fn.register_hook(lambda grad_inputs, grad_outputs: grad_inputs[0])
    y.sum().backward()


def cure_e84c():
    """One entry for each input."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.grad_fn.register_hook(lambda grad_inputs, grad_outputs: (grad_inputs[0] * 10, None))
    y.sum().backward()
    assert x.grad.tolist() == [20, 20, 20]


def e83_hook_changes_the_shape():
    """The new gradient has another shape."""
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: gradient.sum())
    x.sum().backward()


def cure_e83():
    """Keep the shape."""
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: gradient.sum().expand_as(gradient))
    x.sum().backward()
    assert x.grad.tolist() == [3, 3, 3]


def e83b_hook_changes_the_dtype():
    """The new gradient has another dtype."""
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: gradient.double())
    x.sum().backward()


def cure_e83b():
    """Convert back."""
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: (gradient.double() / 3).to(gradient.dtype))
    x.sum().backward()
    assert x.grad.dtype == torch.float32


def e84_accumulate_hook_returns_a_value():
    """This hook changes leaf.grad; what it returns has no meaning."""
    x = torch.ones(3, requires_grad=True)
    x.register_post_accumulate_grad_hook(lambda leaf: leaf.grad * 2)
    x.sum().backward()


def cure_e84():
    """Change it in place, return nothing."""
    x = torch.ones(3, requires_grad=True)

    def double(leaf):
        leaf.grad *= 2

    x.register_post_accumulate_grad_hook(double)
    x.sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def e84b_node_hook_returns_too_many():
    """One entry for each input of the node."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.grad_fn.register_hook(lambda grad_inputs, grad_outputs: (grad_inputs[0], None))
    y.sum().backward()


def cure_e84b():
    """As many as came in."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.grad_fn.register_hook(lambda grad_inputs, grad_outputs: tuple(2 * g for g in grad_inputs))
    y.sum().backward()
    assert x.grad.equal(2 * x.exp())


def e85_two_kinds_of_module_hooks():
    """The old kind and the new kind on one module."""
    model = nn.Linear(3, 1)
    model.register_backward_hook(lambda *arguments: None)
    model.register_full_backward_hook(lambda *arguments: None)


def cure_e85():
    """The new kind only."""
    model = nn.Linear(3, 1)
    model.register_full_backward_hook(lambda *arguments: None)
    model.register_full_backward_hook(lambda *arguments: None)
    assert len(model._backward_hooks) == 2


def e86_module_hook_returns_too_many():
    """One entry for each input of the module."""
    model = nn.Linear(3, 1)
    model.register_full_backward_hook(
        lambda module, grad_input, grad_output: (grad_input[0], grad_input[0])
    )
    model(torch.ones(1, 3, requires_grad=True)).sum().backward()


def cure_e86():
    """As many as came in."""
    model = nn.Linear(3, 1)
    x = torch.ones(1, 3, requires_grad=True)
    model.register_full_backward_hook(lambda module, grad_input, grad_output: (grad_input[0] * 0,))
    model(x).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0]]


def e94_module_pre_hook_returns_too_many():
    """One entry for each output of the module."""
    model = nn.Linear(3, 1)
    model.register_full_backward_pre_hook(
        lambda module, grad_output: (grad_output[0], grad_output[0])
    )
    model(torch.ones(1, 3, requires_grad=True)).sum().backward()


def cure_e94():
    """As many as came in."""
    model = nn.Linear(3, 1)
    model.register_full_backward_pre_hook(lambda module, grad_output: (grad_output[0] * 0,))
    model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    assert model.bias.grad.tolist() == [0]


def w14_hooked_module_without_inputs_in_the_graph():
    """The first layer: its input requires no gradient, so grad_input is (None,)."""
    model = nn.Linear(3, 1)
    model.register_full_backward_hook(lambda module, grad_input, grad_output: None)
    model(torch.ones(1, 3)).sum().backward()


def cure_w14():
    """Ask for the gradient of the input, if it is wanted."""
    model = nn.Linear(3, 1)
    seen = []
    model.register_full_backward_hook(lambda module, before, after: seen.append(before[0]))
    model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    assert seen[0].shape == (1, 3)


class Named(nn.Module):
    """Returns a dict."""

    def forward(self, x):
        """Double."""
        return {"double": x * 2}


def w15_module_returns_a_dict():
    """The hook of the module is never called."""
    model = Named()
    model.register_full_backward_hook(lambda module, grad_input, grad_output: None)
    model(torch.ones(3, requires_grad=True))["double"].sum().backward()


def cure_w15():
    """Put a hook on the tensor."""
    seen = []
    out = Named()(torch.ones(3, requires_grad=True))["double"]
    out.register_hook(seen.append)
    out.sum().backward()
    assert seen[0].tolist() == [1, 1, 1]


def e87_saved_tensor_hooks_are_disabled():
    """The message is the text that disabled them."""
    with (
        disable_saved_tensors_hooks("no hooks here"),
        saved_tensors_hooks(lambda t: t, lambda t: t),
    ):
        pass


def cure_e87():
    """Use them outside."""
    packed = []
    x = torch.ones(3, requires_grad=True)
    with saved_tensors_hooks(lambda t: packed.append(1) or t, lambda t: t):
        y = x.exp()
    with disable_saved_tensors_hooks("no hooks here"):
        y.sum().backward()
    assert packed == [1]


def e87b_saved_tensor_hooks_inside_func_grad():
    """Transforms of torch.func switch these hooks off."""

    def loss(x):
        with saved_tensors_hooks(lambda t: t, lambda t: t):
            return x.exp().sum()

    torch.func.grad(loss)(torch.ones(3))


def cure_e87b():
    """Use backward()."""
    x = torch.ones(3, requires_grad=True)
    with saved_tensors_hooks(lambda t: t, lambda t: t):
        loss = x.exp().sum()
    loss.backward()
    assert x.grad.equal(x.exp())


def e88_unpack_hook_returns_a_number():
    """Unpacking has to give the tensor back."""
    x = torch.ones(3, requires_grad=True)
    with saved_tensors_hooks(lambda t: t, lambda t: 1):
        y = x.exp()
    y.sum().backward()


def cure_e88():
    """Give it back."""
    x = torch.ones(3, requires_grad=True)
    with saved_tensors_hooks(lambda t: t.tolist(), torch.tensor):
        y = x.exp()
    y.sum().backward()
    assert x.grad.allclose(x.exp())


def e89_pack_hook_changes_its_input():
    """The tensor that comes in is part of the forward pass."""
    x = torch.ones(3, requires_grad=True)
    with saved_tensors_hooks(lambda t: t.mul_(2), lambda t: t):
        (x * 2).exp()


def cure_e89():
    """Make a new tensor."""
    x = torch.ones(3, requires_grad=True)
    with saved_tensors_hooks(lambda t: t * 2, lambda t: t / 2):
        y = x.exp()
    y.sum().backward()
    assert x.grad.equal(x.exp())


def e90_hooks_on_a_freed_saved_tensor():
    """What was saved is gone after backward."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.sum().backward()
    y.grad_fn._raw_saved_result.register_hooks(lambda t: t, lambda t: t)


def cure_e90():
    """Register before backward."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.grad_fn._raw_saved_result.register_hooks(lambda t: t * 2, lambda t: t / 2)
    y.sum().backward()
    assert x.grad.equal(x.exp())


def e90b_second_pair_of_hooks():
    """One pair for a saved tensor."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.grad_fn._raw_saved_result.register_hooks(lambda t: t, lambda t: t)
    y.grad_fn._raw_saved_result.register_hooks(lambda t: t, lambda t: t)


def cure_e90b():
    """Do both jobs in one pair."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.grad_fn._raw_saved_result.register_hooks(lambda t: (t * 2).half(), lambda t: t.float() / 2)
    y.sum().backward()
    assert x.grad.allclose(x.exp(), atol=1e-2)


def e91_gradient_edge_without_graph():
    """A tensor outside the graph has no edge."""
    get_gradient_edge(torch.ones(3))


def cure_e91():
    """A tensor of the graph has one."""
    x = torch.ones(3, requires_grad=True)
    assert get_gradient_edge(x).output_nr == 0


def e92_nested_mutation_contexts():
    """One such context at a time."""
    with allow_mutation_on_saved_tensors(), allow_mutation_on_saved_tensors():
        pass


def cure_e92():
    """One is enough."""
    x = torch.ones(3, requires_grad=True)
    with allow_mutation_on_saved_tensors():
        y = x.exp()
        loss = y.sum()
        y += 1
        loss.backward()
    assert x.grad.equal(x.exp())


def e92b_backward_outside_the_mutation_context():
    """The copies live as long as the context."""
    x = torch.ones(3, requires_grad=True)
    with allow_mutation_on_saved_tensors():
        y = x.exp()
        loss = (y * y).sum()
        y += 1
    loss.backward()


def cure_e92b():
    """Run backward inside."""
    x = torch.ones(3, requires_grad=True)
    with allow_mutation_on_saved_tensors():
        y = x.exp()
        loss = (y * y).sum()
        y += 1
        loss.backward()
    assert x.grad.allclose(2 * (2 * x).exp())


def e337_hook_for_several_tensors_outside_the_graph():
    """One of them gets no gradient."""
    torch.autograd.graph.register_multi_grad_hook((torch.ones(2),), print)


def cure_e337():
    """All of them require grad."""
    x = torch.ones(2, requires_grad=True)
    seen = []
    torch.autograd.graph.register_multi_grad_hook((x,), seen.extend)
    x.sum().backward()
    assert seen[0].tolist() == [1, 1]


def e338_module_hook_returns_a_gradient_that_nobody_wants():
    """The input of the module requires no gradient."""
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda module, into, out: (torch.ones(1, 2),))
    layer(torch.ones(1, 2)).sum().backward()


def cure_e338():
    """Let the input require grad."""
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda module, into, out: (torch.ones(1, 2) * 7,))
    x = torch.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.tolist() == [[7, 7]]


def w87_old_module_hook():
    """It sees the last node only."""
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    model.register_backward_hook(lambda module, into, out: None)
    model(torch.ones(1, 3, requires_grad=True)).sum().backward()


def cure_w87():
    """The full hook sees the module."""
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    seen = []
    model.register_full_backward_hook(lambda module, into, out: seen.append(into[0].shape))
    model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    assert seen == [(1, 3)]


def w88_tensor_with_a_hook_is_pickled():
    """The hook does not come along."""
    x = torch.ones(2, requires_grad=True)
    x.register_hook(lambda gradient: gradient * 2)
    pickle.dumps(x)


def cure_w88():
    """Register it again."""
    x = torch.ones(2, requires_grad=True)
    x.register_hook(torch.utils.hooks.unserializable_hook(lambda gradient: gradient * 2))
    loaded = pickle.loads(pickle.dumps(x))
    loaded.register_hook(lambda gradient: gradient * 2)
    loaded.sum().backward()
    assert loaded.grad.tolist() == [2, 2]
