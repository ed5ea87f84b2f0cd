"""Messages about in-place operations and views."""

import torch
from torch import nn


def e22_update_outside_no_grad():
    """A leaf is changed in place while autograd records."""
    weight = torch.ones(3, requires_grad=True)
    weight -= 0.1


def cure_e22():
    """Switch recording off for the update."""
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        weight -= 0.5
    assert weight.tolist() == [0.5, 0.5, 0.5]


def e207_differentiable_optimizer():
    """The recorded update of a differentiable optimizer meets a leaf."""
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1, differentiable=True)
    (weight * weight).sum().backward()
    optimizer.step()


def cure_e207():
    """Give it a copy that is not a leaf."""
    weight = torch.ones(3, requires_grad=True)
    copy = weight.clone()
    copy.retain_grad()
    optimizer = torch.optim.SGD([copy], lr=0.5, differentiable=True)
    (copy * copy).sum().backward(retain_graph=True)
    optimizer.step()
    assert copy.tolist() == [0, 0, 0]


def e23_slice_of_a_leaf():
    """A part of a leaf is written while autograd records."""
    weight = torch.ones(3, requires_grad=True)
    weight[0] = 0


def cure_e23():
    """Switch recording off for the write."""
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        weight[0] = 0
    assert weight.tolist() == [0, 1, 1]


def e40_saved_output_changed():
    """exp() saved its result for backward, and the result was changed."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y += 1
    y.sum().backward()


def cure_e40():
    """Make a new tensor."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y = y + 1
    y.sum().backward()
    assert x.grad.equal(x.exp())


def e40b_step_between_two_backwards():
    """The optimizer changed the weights that the second loss saved."""
    generator, critic = nn.Linear(1, 2), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    score = critic(generator(torch.ones(4, 1)))
    critic_loss = score.mean()
    generator_loss = -score.mean()
    critic_loss.backward(retain_graph=True)
    optimizer.step()
    generator_loss.backward()


def cure_e40b():
    """Run the forward pass again after the step."""
    generator, critic = nn.Linear(1, 2), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    batch = torch.ones(4, 1)
    critic(generator(batch).detach()).mean().backward()
    optimizer.step()
    (-critic(generator(batch)).mean()).backward()
    assert generator.weight.grad is not None


def e40c_buffer_filled_row_by_row():
    """Each write counts as a change of the whole buffer, and so of every saved row."""
    x = torch.ones(2, requires_grad=True)
    states = torch.zeros(4, 2)
    states[0] = x
    for t in range(1, 4):
        states[t] = states[t - 1].tanh() * states[t - 1]
    states.sum().backward()


def cure_e40c():
    """Collect in a list, then stack."""
    x = torch.ones(2, requires_grad=True)
    states = [x]
    for _ in range(3):
        states.append(states[-1].tanh() * states[-1])
    torch.stack(states).sum().backward()
    assert x.grad is not None


def e40d_embedding_with_max_norm():
    """An embedding with max_norm rescales its own weight in its forward pass."""
    embedding = nn.Embedding(3, 2, max_norm=0.1)
    projection = torch.ones(2, 2, requires_grad=True)
    table = embedding.weight @ projection
    looked_up = embedding(torch.tensor([0, 1]))
    (table.sum() + looked_up.sum()).backward()


def cure_e40d():
    """Clone the weight where it is used outside the module."""
    embedding = nn.Embedding(3, 2, max_norm=0.1)
    projection = torch.ones(2, 2, requires_grad=True)
    table = embedding.weight.clone() @ projection
    looked_up = embedding(torch.tensor([0, 1]))
    (table.sum() + looked_up.sum()).backward()
    assert projection.grad is not None


def e40e_residual_with_in_place_activation():
    """The activation overwrites what sigmoid() saved."""
    x = torch.ones(3, requires_grad=True)
    gate = x.sigmoid()
    out = gate + nn.ReLU(inplace=True)(gate)
    out.sum().backward()


def cure_e40e():
    """Let the activation make a new tensor."""
    x = torch.ones(3, requires_grad=True)
    gate = x.sigmoid()
    out = gate + nn.ReLU()(gate)
    out.sum().backward()
    assert x.grad is not None


def e40f_weights_clipped_before_backward():
    """no_grad() hides an edit from the graph, not from the version check."""
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * weight).sum()
    with torch.no_grad():
        weight.clamp_(max=0.5)
    loss.backward()


def cure_e40f():
    """Edit after backward."""
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * weight).sum()
    loss.backward()
    with torch.no_grad():
        weight.clamp_(max=0.5)
    assert weight.grad.tolist() == [2, 2, 2]


def e41_one_of_several_views():
    """unbind() returns several views from one node; none of them may be changed."""
    x = torch.ones(2, 3, requires_grad=True)
    first, _ = (x * 2).unbind()
    first += 1


def cure_e41():
    """A single view may be changed."""
    x = torch.ones(2, 3, requires_grad=True)
    y = x * 2
    first = y[0]
    first += 1
    assert y[0].tolist() == [3, 3, 3]


def e42_view_made_under_no_grad():
    """The view was made unrecorded, the write is recorded."""
    x = torch.ones(3, requires_grad=True) * 2
    with torch.no_grad():
        part = x[:2]
    part += 1


def cure_e42():
    """Make the view where the write is."""
    x = torch.ones(3, requires_grad=True) * 2
    part = x[:2]
    part += 1
    assert x.tolist() == [3, 3, 2]


class Identity(torch.autograd.Function):
    """Returns a view of its input."""

    @staticmethod
    def forward(ctx, x):
        """Return a view."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        """Pass the gradient on."""
        return gradient


def e43_output_of_a_custom_function():
    """The output of a custom Function is a view, and is changed."""
    x = torch.ones(3, requires_grad=True)
    y = Identity.apply(x * 2)
    y += 1


def cure_e43():
    """Copy it first."""
    x = torch.ones(3, requires_grad=True)
    y = Identity.apply(x * 2).clone()
    y += 1
    assert y.tolist() == [3, 3, 3]


def e44_in_place_after_a_hooked_module():
    """A full backward hook wraps the output of its module in a view."""
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    model[0].register_full_backward_hook(lambda module, grad_input, grad_output: None)
    model(torch.ones(1, 3))


def cure_e44():
    """No in-place activation behind a hooked module."""
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    seen = []
    model[0].register_full_backward_hook(lambda *arguments: seen.append(arguments))
    model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    assert len(seen) == 1


def e46_out_argument():
    """out= writes into memory that exists: autograd cannot record it."""
    x = torch.ones(3, requires_grad=True)
    result = torch.empty(3)
    torch.mul(x, 2, out=result)


def cure_e46():
    """Let the operation make its result."""
    x = torch.ones(3, requires_grad=True)
    result = torch.mul(x, 2)
    assert result.requires_grad


def e47_detach_a_view_in_place():
    """The history of a view belongs to its base."""
    x = torch.ones(3, requires_grad=True) * 2
    part = x[:2]
    part.detach_()


def cure_e47():
    """detach() makes a new tensor."""
    x = torch.ones(3, requires_grad=True) * 2
    part = x[:2].detach()
    assert not part.requires_grad


def e48_saved_tensor_detached_in_place():
    """The tensor that the product saved lost its place in the graph."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    total = (y * y).sum()
    y.detach_()
    total.backward()


def cure_e48():
    """detach() leaves the old tensor alone."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    total = (y * y).sum()
    y = y.detach()
    total.backward()
    assert x.grad.equal(2 * y * y)


class Noisy(nn.Module):
    """Edits a buffer in each forward pass, and computes with it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("noise", torch.zeros(2))

    def forward(self, x):
        """Scale the input by new noise."""
        self.noise.normal_()
        return x * self.scale * self.noise


def e213_buffer_changed_by_each_forward():
    """The second forward pass changes the buffer that the first one saved."""
    model = Noisy()
    first, second = model(torch.ones(2)), model(torch.ones(2))
    (first + second).sum().backward()


class CopiesItsNoise(Noisy):
    """Edits its buffer, and computes with a copy."""

    def forward(self, x):
        """Scale the input by new noise."""
        self.noise.normal_()
        return x * self.scale * self.noise.clone()


def cure_e213():
    """Each pass gets a tensor of its own."""
    model = CopiesItsNoise()
    first, second = model(torch.ones(2)), model(torch.ones(2))
    (first + second).sum().backward()
    assert model.scale.grad.equal((first + second).detach())


def e121_leaf_moved_into_the_graph():
    """A leaf of a recorded graph became a result behind its back."""
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * 2).sum()
    other = torch.ones(3, requires_grad=True)
    weight.requires_grad_(False)
    weight += other
    loss.backward()


def cure_e121():
    """Make a new tensor for the new value."""
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * 2).sum()
    other = torch.ones(3, requires_grad=True)
    total = weight.detach() + other
    loss.backward()
    assert weight.grad.tolist() == [2, 2, 2]
    assert total.requires_grad


def e321_expanded_tensor_in_place():
    """All elements of an expanded tensor are one number."""
    bias = torch.zeros(1, requires_grad=True)
    rows = (bias * 2).expand(3)
    rows += torch.ones(3)


def cure_e321():
    """A new tensor has room for each."""
    bias = torch.zeros(1, requires_grad=True)
    rows = (bias * 2).expand(3) + torch.ones(3)
    rows.sum().backward()
    assert bias.grad.tolist() == [6]


def e349_resize_of_a_dual_tensor():
    """The tangent would keep the old size."""
    with torch.autograd.forward_ad.dual_level():
        torch.autograd.forward_ad.make_dual(torch.ones(2), torch.ones(2)).resize_(3)


def cure_e349():
    """Another shape of the same numbers takes the tangent along."""
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(torch.ones(2), torch.ones(2))
        assert torch.autograd.forward_ad.unpack_dual(dual.view(2, 1)).tangent.shape == (2, 1)


def e378_view_of_a_view_made_under_no_grad():
    """The first view was made under `no_grad`, the second one was not."""
    result = torch.ones(4, requires_grad=True) * 1
    with torch.no_grad():
        square = result.view(2, 2)
    square.view(4).add_(1)


def cure_e378():
    """Both with recording on."""
    x = torch.ones(4, requires_grad=True)
    result = x * 1
    result.view(2, 2).view(4).add_(1)
    result.sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1]
