"""Messages about operations without a derivative, and about compiled graphs."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def e60_second_derivative_of_fused_attention():
    """The fused kernel has a first derivative only."""
    query = torch.randn(1, 1, 4, 8, requires_grad=True)
    out = F.scaled_dot_product_attention(query, query, query)
    (gradient,) = torch.autograd.grad(out.sum(), query, create_graph=True)
    gradient.sum().backward()


def cure_e60():
    """Choose the implementation that is made of ordinary operations."""
    query = torch.randn(1, 1, 4, 8, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        out = F.scaled_dot_product_attention(query, query, query)
    (gradient,) = torch.autograd.grad(out.sum(), query, create_graph=True)
    gradient.sum().backward()
    assert query.grad is not None


def e61_argument_without_derivative():
    """igamma() has a derivative by its second argument only."""
    a = torch.ones(3, requires_grad=True)
    x = torch.ones(3, requires_grad=True)
    torch.igamma(a, x).sum().backward()


def cure_e61():
    """Say that this argument is a constant."""
    a = torch.ones(3, requires_grad=True)
    x = torch.ones(3, requires_grad=True)
    torch.igamma(a.detach(), x).sum().backward()
    assert x.grad is not None


def e61b_operation_without_derivative():
    """Counting is not differentiable."""
    weights = torch.ones(3, requires_grad=True)
    counts = torch.bincount(torch.tensor([0, 1, 1]), weights=weights)
    counts.sum().backward()


def cure_e61b():
    """Add up with an operation that has a derivative."""
    weights = torch.ones(3, requires_grad=True)
    counts = torch.zeros(2).scatter_add(0, torch.tensor([0, 1, 1]), weights)
    counts.sum().backward()
    assert weights.grad.tolist() == [1, 1, 1]


def e62_second_derivative_of_pdist():
    """The backward of pdist() has no derivative of its own."""
    if torch.__version__ >= "2.14":
        pytest.skip("it has one since torch 2.14")
    x = torch.randn(3, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(F.pdist(x).sum(), x, create_graph=True)
    gradient.sum().backward()


def cure_e62():
    """Write the distances with ordinary operations."""
    x = torch.randn(3, 2, requires_grad=True)
    rows, columns = torch.triu_indices(3, 3, offset=1)
    distances = (x[rows] - x[columns]).square().sum(dim=1).sqrt()
    (gradient,) = torch.autograd.grad(distances.sum(), x, create_graph=True)
    gradient.square().sum().backward()
    assert x.grad is not None


def e68_second_derivative_of_embedding_bag():
    """The backward of embedding_bag() has no derivative of its own."""
    weight = torch.randn(4, 2, requires_grad=True)
    bags = F.embedding_bag(torch.tensor([[0, 1], [2, 3]]), weight, mode="mean")
    (gradient,) = torch.autograd.grad(bags.square().sum(), weight, create_graph=True)
    gradient.sum().backward()


def cure_e68():
    """An embedding followed by a mean says the same."""
    weight = torch.randn(4, 2, requires_grad=True)
    bags = F.embedding(torch.tensor([[0, 1], [2, 3]]), weight).mean(dim=1)
    (gradient,) = torch.autograd.grad(bags.square().sum(), weight, create_graph=True)
    gradient.sum().backward()
    assert weight.grad is not None


def e65_complete_qr():
    """The added columns of a complete Q are not unique."""
    matrix = torch.randn(4, 2, requires_grad=True)
    q, _ = torch.linalg.qr(matrix, mode="complete")
    q.sum().backward()


def cure_e65():
    """The reduced Q is unique."""
    matrix = torch.randn(4, 2, requires_grad=True)
    q, _ = torch.linalg.qr(matrix, mode="reduced")
    q.sum().backward()
    assert matrix.grad is not None


def e66_phase_of_complex_singular_vectors():
    """The loss depends on a phase that is free."""
    matrix = torch.randn(3, 3, dtype=torch.complex128, requires_grad=True)
    u, _, _ = torch.linalg.svd(matrix)
    u.real.sum().backward()


def cure_e66():
    """Use a quantity without the phase."""
    matrix = torch.randn(3, 3, dtype=torch.complex128, requires_grad=True)
    u, _, _ = torch.linalg.svd(matrix)
    u[:, 0].abs().sum().backward()
    assert matrix.grad is not None


def e66b_phase_of_complex_eigenvectors():
    """The loss depends on a phase that is free."""
    matrix = torch.randn(3, 3, dtype=torch.complex128, requires_grad=True)
    _, vectors = torch.linalg.eigh(matrix + matrix.mH)
    vectors.real.sum().backward()


def cure_e66b():
    """Use a quantity without the phase."""
    matrix = torch.randn(3, 3, dtype=torch.complex128, requires_grad=True)
    _, vectors = torch.linalg.eigh(matrix + matrix.mH)
    vectors.abs()[:, 0].sum().backward()
    assert matrix.grad is not None


def e67_learnable_class_weights():
    """nll_loss() has no derivative by its class weights."""
    logits = torch.randn(4, 3)
    weight = torch.ones(3, requires_grad=True)
    F.cross_entropy(logits, torch.tensor([0, 1, 2, 0]), weight=weight)


def cure_e67():
    """Detach it: the logits get their gradient, the weights none."""
    logits = torch.randn(4, 3, requires_grad=True)
    weight = torch.ones(3, requires_grad=True)
    F.cross_entropy(logits, torch.tensor([0, 1, 2, 0]), weight=weight.detach()).backward()
    expected = (logits.softmax(dim=1) - torch.eye(3)[[0, 1, 2, 0]]) / 4
    torch.testing.assert_close(logits.grad, expected)


def e67b_tensor_in_place_of_a_number():
    """The slope of leaky_relu() is a Python number."""
    x = torch.ones(3)
    slope = torch.tensor([0.1, 0.2], requires_grad=True)
    F.leaky_relu(x, slope)


def cure_e67b():
    """prelu() takes a slope that learns."""
    slope = torch.tensor([0.1], requires_grad=True)
    F.prelu(-torch.ones(3), slope).sum().backward()
    assert slope.grad.tolist() == [-3]


def e222_second_derivative_of_a_compiled_function():
    """A compiled backward pass cannot be differentiated."""
    compiled = torch.compile(lambda x: (x.sin() * x).sum(), backend="aot_eager")
    x = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(compiled(x), x, create_graph=True)
    gradient.sum().backward()


def cure_e222():
    """Run the part that is differentiated twice without compilation."""
    x = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad((x.sin() * x).sum(), x, create_graph=True)
    gradient.sum().backward()
    assert x.grad is not None


def e223_trace_captures_a_parameter():
    """A traced function uses a tensor that is neither an input nor a parameter of a module."""
    weight = torch.ones(3, requires_grad=True)
    torch.jit.trace(lambda x: x * weight, torch.ones(3))


def cure_e223():
    """Make it an input."""
    weight = torch.ones(3, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit itself is deprecated
        traced = torch.jit.trace(lambda x, w: x * w, (torch.ones(3), weight))
    assert traced(torch.ones(3), weight).requires_grad


def e351_second_derivative_of_a_product_with_zeros():
    """Two zeros are multiplied into one place."""
    x = torch.ones(3)
    factors = torch.zeros(3, requires_grad=True)
    y = x.scatter_reduce(0, torch.zeros(3, dtype=torch.long), factors, "prod")
    (slope,) = torch.autograd.grad(y.sum(), factors, create_graph=True)
    slope.sum().backward()


def cure_e351():
    """Other operations have it."""
    factors = torch.zeros(3, requires_grad=True)
    (slope,) = torch.autograd.grad(factors.prod(), factors, create_graph=True)
    slope.sum().backward()
    assert factors.grad.tolist() == [0, 0, 0]


def e351b_complex_nan_to_num():
    """Written for real numbers only."""
    torch.ones(3, dtype=torch.complex64, requires_grad=True).nan_to_num()


def cure_e351b():
    """With operations that have it."""
    z = torch.ones(3, dtype=torch.complex64, requires_grad=True)
    torch.where(z.isnan(), 0, z).abs().sum().backward()
    assert z.grad.real.tolist() == [1, 1, 1]


def e351c_sparse_gradient_scaled_by_frequency():
    """The sparse gradient of an embedding knows no frequency."""
    layer = torch.nn.Embedding(3, 2, sparse=True, scale_grad_by_freq=True)
    layer(torch.tensor([1])).sum().backward()


def cure_e351c():
    """A dense one does."""
    layer = torch.nn.Embedding(3, 2, scale_grad_by_freq=True)
    layer(torch.tensor([1, 1])).sum().backward()
    assert layer.weight.grad.tolist() == [[0, 0], [1, 1], [0, 0]]


class SquareOnce(torch.autograd.Function):
    """A square whose derivative cannot be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


def e360_second_derivative_of_a_once_differentiable_function():
    """A gradient penalty asks for it."""
    x = torch.ones(2, requires_grad=True)
    loss = SquareOnce.apply(x).square().sum()
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    slope.sum().backward()


class SquareOften(SquareOnce):
    """The same formula, without the decorator."""

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


def cure_e360():
    """The formula is made of torch operations."""
    x = torch.ones(2, requires_grad=True)
    loss = SquareOften.apply(x).square().sum()
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    slope.sum().backward()
    assert x.grad.tolist() == [12, 12]
