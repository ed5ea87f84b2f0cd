"""Messages of backward() and autograd.grad()."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def e01_no_input_requires_grad():
    """No tensor that the loss was computed from requires grad."""
    weight = torch.ones(3)
    loss = (weight * 2).sum()
    loss.backward()


def cure_e01():
    """Ask for the gradient where the tensor is made."""
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * 2).sum()
    loss.backward()
    assert weight.grad.tolist() == [2, 2, 2]


def e01b_forward_under_no_grad():
    """The forward pass ran with recording switched off."""
    model = nn.Linear(3, 1)
    batch = torch.ones(4, 3)
    with torch.no_grad():
        prediction = model(batch)
    loss = prediction.mean()
    loss.backward()


def cure_e01b():
    """Run the forward pass with recording on."""
    model = nn.Linear(3, 1)
    prediction = model(torch.ones(4, 3))
    prediction.mean().backward()
    assert model.weight.grad.tolist() == [[1, 1, 1]]


def e01c_loss_from_argmax():
    """The loss is built from indices: argmax has no derivative."""
    logits = torch.randn(4, 3, requires_grad=True)
    target = torch.tensor([0, 1, 2, 0])
    wrong = (logits.argmax(dim=1) != target).float()
    loss = wrong.mean()
    loss.backward()


def cure_e01c():
    """Use a loss with a derivative, such as cross entropy."""
    logits = torch.randn(4, 3, requires_grad=True)
    target = torch.tensor([0, 1, 2, 0])
    nn.functional.cross_entropy(logits, target).backward()
    assert logits.grad.abs().sum() > 0


def e01d_reentrant_checkpoint_without_an_input_that_requires_grad():
    """The parameters of the layer do not count."""
    layer, batch = nn.Linear(3, 1), torch.ones(4, 3)
    output = checkpoint(layer, batch, use_reentrant=True)
    output.mean().backward()


def cure_e01d():
    """The other variant looks at the parameters too."""
    layer, batch = nn.Linear(3, 1), torch.ones(4, 3)
    checkpoint(layer, batch, use_reentrant=False).mean().backward()
    assert layer.weight.grad.tolist() == [[1, 1, 1]]


def e01e_gradient_without_a_graph():
    """A penalty on a gradient that was taken without create_graph."""
    x = torch.ones(3, requires_grad=True)
    (slope,) = torch.autograd.grad((x**3).sum(), x)
    penalty = slope.square().sum()
    penalty.backward()


def cure_e01e():
    """Record how the gradient is computed."""
    x = torch.ones(3, requires_grad=True)
    (slope,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad.tolist() == [36, 36, 36]


def e154b_autograd_grad_inside_vmap():
    """autograd.grad inside vmap: what is computed there is not recorded."""
    weight = torch.ones(3, requires_grad=True)
    outputs = weight * weight

    def row(direction):
        return torch.autograd.grad((outputs * direction).sum(), weight)[0]

    torch.func.vmap(row)(torch.eye(3))


def cure_e154b():
    """Differentiate with torch.func inside vmap."""
    weight = torch.ones(3)

    def row(direction):
        return torch.func.grad(lambda w: (w * w * direction).sum())(weight)

    rows = torch.func.vmap(row)(torch.eye(3))
    assert rows.equal(2 * torch.eye(3))


def e02_backward_of_a_vector():
    """backward() without argument needs one number."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.backward()


def cure_e02():
    """Reduce to one number, or say which combination of the outputs is meant."""
    x = torch.ones(3, requires_grad=True)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def e03_backward_of_a_complex_number():
    """A complex loss has no natural direction to start from."""
    z = torch.tensor(1 + 2j, requires_grad=True)
    loss = z * z
    loss.backward()


def cure_e03():
    """Make a real loss."""
    z = torch.tensor(1 + 2j, requires_grad=True)
    (z * z).abs().backward()
    assert z.grad.is_complex()


def e04_gradient_of_the_wrong_shape():
    """gradient= has the shape of something other than the output."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.backward(gradient=torch.ones(1))


def cure_e04():
    """Give one number for each element of the output."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.backward(gradient=torch.ones_like(y))
    assert x.grad.tolist() == [2, 2, 2]


def e05_gradient_is_a_number():
    """gradient= is a Python number."""
    x = torch.ones(3, requires_grad=True)
    torch.autograd.backward([(x * 2).sum()], [1.0])


def cure_e05():
    """Make it a tensor."""
    x = torch.ones(3, requires_grad=True)
    torch.autograd.backward([(x * 2).sum()], [torch.tensor(1.0)])
    assert x.grad.tolist() == [2, 2, 2]


def e06_real_gradient_for_a_complex_output():
    """A complex output needs a complex gradient."""
    z = torch.ones(2, dtype=torch.complex64, requires_grad=True)
    y = z * z
    y.backward(gradient=torch.ones(2))


def cure_e06():
    """ones_like() copies the dtype too."""
    z = torch.ones(2, dtype=torch.complex64, requires_grad=True)
    y = z * z
    y.backward(gradient=torch.ones_like(y))
    assert z.grad.tolist() == [2, 2]


def e07_backward_twice():
    """The first backward freed what the second one needs."""
    x = torch.ones(3, requires_grad=True)
    y = x * x
    loss = y.sum()
    loss.backward()
    loss.backward()


def cure_e07():
    """Compute the loss again, or keep the graph on purpose."""
    x = torch.ones(3, requires_grad=True)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad.tolist() == [4, 4, 4]


def e07b_hidden_state_carried_on():
    """The hidden state still owns the graph of the step before."""
    cell = nn.RNNCell(2, 3)
    hidden = torch.zeros(1, 3)
    for _ in range(2):
        hidden = cell(torch.ones(1, 2), hidden)
        loss = hidden.sum()
        loss.backward()


def cure_e07b():
    """Cut the state off between two steps."""
    cell = nn.RNNCell(2, 3)
    hidden = torch.zeros(1, 3)
    for _ in range(2):
        hidden = cell(torch.ones(1, 2), hidden.detach())
        hidden.sum().backward()
    assert cell.weight_ih.grad is not None


def e07c_constant_computed_before_the_loop():
    """A tensor made from parameters before the loop is shared by every step."""
    weight = torch.ones(3, requires_grad=True)
    scaled = weight / weight.norm()
    for batch in torch.randn(2, 3):
        loss = (scaled * batch).sum()
        loss.backward()


def cure_e07c():
    """Compute it inside the loop."""
    weight = torch.ones(3, requires_grad=True)
    for batch in torch.randn(2, 3):
        scaled = weight / weight.norm()
        (scaled * batch).sum().backward()
    assert weight.grad is not None


def e07d_two_losses_share_a_part():
    """The first loss frees the encoder that the second one uses too."""
    encoder, head_a, head_b = nn.Linear(3, 3), nn.Linear(3, 1), nn.Linear(3, 1)
    features = encoder(torch.ones(2, 3)).tanh()
    loss_a = head_a(features).mean()
    loss_b = head_b(features).mean()
    loss_a.backward()
    loss_b.backward()


def cure_e07d():
    """Add the losses, and run backward once."""
    encoder, head_a, head_b = nn.Linear(3, 3), nn.Linear(3, 1), nn.Linear(3, 1)
    features = encoder(torch.ones(2, 3)).tanh()
    (head_a(features).mean() + head_b(features).mean()).backward()
    assert head_a.weight.grad is not None
    assert head_b.weight.grad is not None


def e07e_reentrant_checkpoint_with_a_hidden_input():
    """A reentrant checkpoint does not see tensors inside a list, and frees their graph."""
    x = torch.ones(3, requires_grad=True)
    hidden = x.exp()

    def block(dummy, rest):
        return dummy * rest[0]

    dummy = torch.ones(3, requires_grad=True)
    first = checkpoint(block, dummy, [hidden], use_reentrant=True)
    second = checkpoint(block, dummy, [hidden], use_reentrant=True)
    loss = (first + second).sum()
    loss.backward()


def cure_e07e():
    """The other variant sees every tensor."""
    x = torch.ones(3, requires_grad=True)
    hidden = x.exp()

    def block(dummy, rest):
        return dummy * rest[0]

    dummy = torch.ones(3, requires_grad=True)
    first = checkpoint(block, dummy, [hidden], use_reentrant=False)
    second = checkpoint(block, dummy, [hidden], use_reentrant=False)
    (first + second).sum().backward()
    assert x.grad.equal(2 * x.exp())


def e115_saved_tensors_read_after_backward():
    """What a node saved is gone after backward."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    y.sum().backward()
    print(y.grad_fn._saved_result)


def cure_e115():
    """Look before backward."""
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    saved = y.grad_fn._saved_result.detach().clone()
    y.sum().backward()
    assert saved.equal(y)


def e08_input_not_used():
    """autograd.grad is asked for a tensor that the output does not depend on."""
    x = torch.ones(3, requires_grad=True)
    unused = torch.ones(3, requires_grad=True)
    output = (x * 2).sum()
    torch.autograd.grad(output, [x, unused])


def cure_e08():
    """Leave it out."""
    x = torch.ones(3, requires_grad=True)
    unused = torch.ones(3, requires_grad=True)
    output = (x * 2).sum()
    (gradient,) = torch.autograd.grad(output, [x])
    assert gradient.tolist() == [2, 2, 2]
    assert unused.grad is None


def e08b_view_made_afterwards():
    """x[0] is a new tensor: the output was computed from x, not from it."""
    x = torch.ones(3, requires_grad=True)
    output = (x * x).sum()
    first = x[0]
    torch.autograd.grad(output, first)


def cure_e08b():
    """Differentiate by x, then take the part."""
    x = torch.ones(3, requires_grad=True)
    output = (x * x).sum()
    (gradient,) = torch.autograd.grad(output, x)
    assert gradient[0] == 2


def e301_input_requires_no_grad():
    """autograd.grad is asked for a tensor that was not recorded."""
    weight = torch.ones(3, requires_grad=True)
    x = torch.ones(3)
    torch.autograd.grad((weight * x).sum(), x)


def cure_e301():
    """Ask for its gradient before the forward pass."""
    weight = torch.ones(3, requires_grad=True)
    x = torch.ones(3).requires_grad_()
    (gradient,) = torch.autograd.grad((weight * x).sum(), x)
    assert gradient.tolist() == [1, 1, 1]


def e10_no_inputs():
    """An exhausted generator gives an empty list of inputs."""
    x = torch.ones(3, requires_grad=True)
    (x * x).sum().backward(inputs=[])


def cure_e10():
    """Give a list with a tensor in it."""
    x = torch.ones(3, requires_grad=True)
    (x * x).sum().backward(inputs=[x])
    assert x.grad.tolist() == [2, 2, 2]


def e11_allow_unused_against_materialize_grads():
    """Zeros are asked for, and unused inputs are forbidden."""
    x = torch.ones(3, requires_grad=True)
    torch.autograd.grad(x.sum(), x, allow_unused=False, materialize_grads=True)


def cure_e11():
    """materialize_grads alone is enough."""
    x = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(x.sum(), x, materialize_grads=True)
    assert gradient.tolist() == [1, 1, 1]


def e12_number_among_the_outputs():
    """One of the outputs is a Python number."""
    x = torch.ones(3, requires_grad=True)
    torch.autograd.grad([x.sum(), 1.0], x, is_grads_batched=False)


def cure_e12():
    """Give tensors only."""
    x = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad([x.sum()], x)
    assert gradient.tolist() == [1, 1, 1]


def e16_zero_a_gradient_that_is_none():
    """.grad is None until the first backward has run."""
    weight = torch.ones(3, requires_grad=True)
    weight.grad.zero_()


def cure_e16():
    """The optimizer knows about None."""
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    optimizer.zero_grad()
    assert weight.grad is None


def e16b_update_makes_a_non_leaf():
    """`w = w - ...` makes a new tensor, which is not a leaf: its .grad stays None."""
    weight = torch.ones(3, requires_grad=True)
    for _ in range(2):
        (weight * weight).sum().backward()
        weight = weight - 0.1 * weight.grad


def cure_e16b():
    """Change the tensor in place, unrecorded."""
    weight = torch.ones(3, requires_grad=True)
    for _ in range(2):
        (weight * weight).sum().backward()
        with torch.no_grad():
            weight -= 0.1 * weight.grad
        weight.grad = None
    assert weight.is_leaf


def e16c_gradient_of_a_result():
    """A backward pass keeps the gradients of leaves only."""
    x = torch.ones(3, requires_grad=True)
    row = x.unsqueeze(0)
    row.sum().backward()
    row.grad.data.clamp_(max=1)


def cure_e16c():
    """Read the gradient of the leaf."""
    x = torch.ones(3, requires_grad=True)
    row = x.unsqueeze(0)
    row.sum().backward()
    assert x.grad.data.clamp_(max=1).tolist() == [1, 1, 1]


def e16d_left_out_by_the_backward_pass():
    """The loss was computed without this tensor."""
    used = torch.ones(3, requires_grad=True)
    forgotten = torch.ones(3, requires_grad=True)
    (used * 2).sum().backward()
    forgotten.grad.clamp_(max=1)


def cure_e16d():
    """Compute the loss from it."""
    used = torch.ones(3, requires_grad=True)
    forgotten = torch.ones(3, requires_grad=True)
    (used * forgotten).sum().backward()
    assert forgotten.grad.clamp_(max=1).tolist() == [1, 1, 1]


def w01_grad_of_a_non_leaf():
    """Only leaves keep their gradient."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.sum().backward()
    assert y.grad is None


def cure_w01():
    """Ask the intermediate result to keep its gradient."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y.retain_grad()
    y.sum().backward()
    assert y.grad.tolist() == [1, 1, 1]


def w03_only_inputs():
    """An argument of the past."""
    x = torch.ones(3, requires_grad=True)
    torch.autograd.grad(x.sum(), x, only_inputs=False)


def cure_w03():
    """Leave it out."""
    x = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(x.sum(), x)
    assert gradient.tolist() == [1, 1, 1]


def w04_grad_variables():
    """The old name of grad_tensors."""
    x = torch.ones(3, requires_grad=True)
    torch.autograd.backward([x.sum()], grad_variables=[torch.tensor(1.0)])


def cure_w04():
    """The new name."""
    x = torch.ones(3, requires_grad=True)
    torch.autograd.backward([x.sum()], grad_tensors=[torch.tensor(1.0)])
    assert x.grad.tolist() == [1, 1, 1]


def e310_grad_fn_of_a_leaf():
    """A walk through the graph begins at a tensor that has none."""
    loss = torch.ones(3).sum()
    _ = loss.grad_fn.next_functions


def cure_e310():
    """Begin at a recorded result, and stop at None."""
    loss = torch.ones(3, requires_grad=True).sum()
    names = [node.name() for node, _ in loss.grad_fn.next_functions if node is not None]
    assert names == ["torch::autograd::AccumulateGrad"]


def w90_backward_with_create_graph():
    """The gradient gets a graph of its own, and both hold each other."""
    x = torch.ones(3, requires_grad=True)
    (x**3).sum().backward(create_graph=True)
    x.grad = None


def cure_w90():
    """autograd.grad returns the gradient and stores it nowhere."""
    x = torch.ones(3, requires_grad=True)
    (first,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    first.sum().backward()
    assert x.grad.tolist() == [6, 6, 6]


def e330_batched_gradients_of_the_wrong_shape():
    """The first dimension of each counts the batch, the others are those of the output."""
    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad(x * 2, x, torch.ones(3, 3), is_grads_batched=True)


def cure_e330():
    """Three gradients, each in the shape of the output."""
    x = torch.ones(2, requires_grad=True)
    (rows,) = torch.autograd.grad(x * 2, x, torch.ones(3, 2), is_grads_batched=True)
    assert rows.tolist() == [[2, 2]] * 3


def e356_norm_of_no_gradient():
    """A gradient is measured before there is one."""
    w = torch.ones(2, requires_grad=True)
    w.grad.norm()


def cure_e356():
    """After backward there is one."""
    w = torch.ones(2, requires_grad=True)
    (w * 3).sum().backward()
    assert w.grad.norm() == 18**0.5


def e356b_sum_of_no_gradient():
    """A function of torch is given a gradient that is not there."""
    w = torch.ones(2, requires_grad=True)
    torch.sum(w.grad)


def cure_e356b():
    """After backward there is one."""
    w = torch.ones(2, requires_grad=True)
    (w * 3).sum().backward()
    assert torch.sum(w.grad) == 6


def e361_loss_became_a_number():
    """The losses are added as numbers."""
    w = torch.ones(2, requires_grad=True)
    loss = 0.0
    for x in (1.0, 2.0):
        loss += (w * x).sum().item()
    loss.backward()


def cure_e361():
    """Without item()."""
    w = torch.ones(2, requires_grad=True)
    loss = 0.0
    for x in (1.0, 2.0):
        loss += (w * x).sum()
    loss.backward()
    assert w.grad.tolist() == [3, 3]


def e361b_output_is_a_tuple():
    """A recurrent layer returns its state too."""
    nn.LSTM(2, 2)(torch.ones(3, 1, 2)).backward()


def cure_e361b():
    """Take the output, and make one number of it."""
    layer = nn.LSTM(2, 2)
    output, _ = layer(torch.ones(3, 1, 2))
    output.sum().backward()
    assert layer.weight_ih_l0.grad is not None


def e362_one_gradient_for_two_outputs():
    """The second output has no gradient to start from."""
    x = torch.ones(2, requires_grad=True)
    torch.autograd.grad([x.sum(), x.prod()], x, [torch.ones(())])


def cure_e362():
    """One for each; None means one, for a single number."""
    x = torch.ones(2, requires_grad=True)
    (slope,) = torch.autograd.grad([x.sum(), x.prod()], x, [torch.ones(()), None])
    assert slope.tolist() == [2, 2]
