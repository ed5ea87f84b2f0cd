"""The engine of the page *Build your own autograd* computes what torch computes."""

import tokenize

import numpy as np
import pytest
import torch
from engine import Tensor, in_order, sum_to

from pages import DOCS, cells

ENGINE = DOCS / "examples" / "engine.py"
PAGE = DOCS / "deeper" / "build-your-own.md"

SHAPES = [
    ((), ()),
    ((), (3,)),
    ((3,), ()),
    ((3,), (3,)),
    ((1,), (4,)),
    ((4, 3), (3,)),
    ((4, 1), (3,)),
    ((4, 1), (1, 3)),
    ((2, 1, 3), (4, 1)),
    ((0, 3), (3,)),
    ((2, 3), (1, 1, 1)),
]
BINARY = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
UNARY = {
    "neg": lambda a: -a,
    "2 - a": lambda a: 2 - a,
    "2 / a": lambda a: 2 / a,
    "a + 2": lambda a: a + 2,
    "2 + a": lambda a: 2 + a,
    "3 * a": lambda a: 3 * a,
    "a ** 3": lambda a: a**3,
    "a ** 1": lambda a: a**1,
    "a ** -0.5": lambda a: a**-0.5,
    "exp": lambda a: a.exp(),
    "log": lambda a: a.log(),
    "tanh": lambda a: a.tanh(),
    "relu": lambda a: (a - 1).relu(),
    "sum": lambda a: a.sum(),
    "a used twice": lambda a: a * a + a,
    "a used late": lambda a: a + (a * 2).exp() * a,
}


def run(function, arrays, weights, make):
    """Value, gradients after one call and after a second, None where the second one fails."""
    leaves = [make(array) for array in arrays]
    result = function(*leaves)
    result.backward(weights)
    first = [leaf.grad + 0.0 for leaf in leaves]
    try:
        result.backward(weights)
    except RuntimeError as error:
        if "a second time" not in str(error):
            raise
        return result, first, None
    return result, first, [leaf.grad for leaf in leaves]


def hold(function, *shapes, low=0.5):
    """Compare value, gradient and a second call with torch."""
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(low, 2.0, shape) for shape in shapes]
    weights = rng.normal(size=function(*map(Tensor, arrays)).data.shape)
    ours = run(function, arrays, weights, lambda array: Tensor(array, requires_grad=True))
    theirs = run(
        function,
        arrays,
        torch.tensor(weights),
        lambda array: torch.tensor(array, requires_grad=True),
    )
    np.testing.assert_allclose(ours[0].data, theirs[0].detach().numpy(), rtol=1e-13)
    assert (ours[2] is None) == (theirs[2] is None)
    for mine, right in zip(ours[1:], theirs[1:], strict=True):
        for one, other in zip(mine or (), right or (), strict=True):
            assert np.shape(one) == tuple(other.shape)
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_two_arrays_of_any_shapes(name, shapes):
    """Broadcasting is undone as in torch, and the second call works where torch's does."""
    hold(BINARY[name], *shapes)


@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_one_array_of_any_shape(name, shape):
    """Value, gradient, accumulation and the second call are those of torch."""
    hold(UNARY[name], shape)


@pytest.mark.parametrize(
    "shapes",
    [((4, 3), (3, 2)), ((5, 4, 3), (3, 2)), ((5, 4, 3), (5, 3, 2)), ((1, 4, 3), (5, 3, 1))],
    ids=str,
)
def test_products_of_matrices_and_of_stacks(shapes):
    """A stack meets one matrix, or a stack."""
    hold(lambda a, b: a @ b, *shapes)


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2)], ids=str)
def test_sums_over_axes(axis):
    """All, one, the last, several."""
    hold(lambda a: a.sum(axis), (2, 3, 4))


@pytest.mark.parametrize("shape", [(6, 4), (24,), (4, -1), (1, 2, 3, 4)], ids=str)
def test_reshaping(shape):
    """The gradient comes back in the shape of the input."""
    hold(lambda a: a.reshape(*shape), (2, 3, 4))


def test_relu_takes_the_slope_of_torch_at_its_kink():
    """At 0 it is 0."""
    hold(lambda a: (a * 0).relu(), (3,))


def test_arrays_and_numbers_on_both_sides():
    """An array on the left does not swallow the tensor."""
    array = np.arange(3.0)
    for result in (array * Tensor(2.0), Tensor(2.0) * array, array - Tensor(array), 1 - Tensor(2)):
        assert isinstance(result, Tensor)


def test_two_kept_passes_add_up():
    """36 and 72 as in torch, not 108; the third fails, because the second one freed."""
    x = Tensor(2.0, requires_grad=True)
    z = (3 * x) ** 2
    z.backward(retain_graph=True)
    assert x.grad == 36
    z.backward()
    assert x.grad == 72
    with pytest.raises(RuntimeError, match="a second time"):
        z.backward()


def test_leaves_do_not_share_their_gradients():
    """Changing one in place leaves the others as they are, and what was given."""
    a, b = Tensor(np.ones(2), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    given = np.ones(2)
    (a + b).backward(given)
    a.grad += 5
    assert b.grad.tolist() == given.tolist() == [1, 1]


def test_a_leaf_can_start_a_pass():
    """Its gradient is what was given."""
    x = Tensor([1.0, 2.0], requires_grad=True)
    x.backward([3.0, 4.0])
    assert x.grad.tolist() == [3, 4]


def test_what_needs_no_gradient_remembers_nothing():
    """A result of constants is a constant; constants of a graph get no gradient."""
    constant = Tensor(2.0)
    result = constant * 3
    assert (result.inputs, result.rule, result.saved) == ((), None, ())
    x = Tensor(2.0, requires_grad=True)
    (x * constant).backward()
    assert constant.grad is None
    assert x.grad == 2
    with pytest.raises(RuntimeError, match="requires a gradient"):
        result.backward()


@pytest.mark.parametrize("gradient", [None, np.ones(2), np.ones((3, 1)), 1.0], ids=repr)
def test_a_gradient_of_another_shape_is_refused(gradient):
    """Also where broadcasting would make it fit."""
    x = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"gradient must have the shape \(3,\)"):
        (x * 2).backward(gradient)


def test_deep_and_wide_graphs_end():
    """No call inside a call, and each tensor once: a long chain, and 2 ** 1000 paths."""
    x = Tensor(1.0, requires_grad=True)
    long = wide = x
    for _ in range(3000):
        long = long + 0.0
    for _ in range(1000):
        wide = wide * wide
    assert len(set(in_order(wide))) == 1001
    long.backward()
    assert x.grad == 1
    wide.backward()
    assert x.grad == 1 + 2.0**1000


def test_each_tensor_comes_after_all_that_were_made_from_it():
    """On random graphs, in which inputs are used late and often."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        tensors = [Tensor(1.0, requires_grad=True)]
        for _ in range(12):
            one, other = rng.integers(len(tensors), size=2)
            tensors.append(tensors[one] + tensors[other])
        order = list(in_order(tensors[-1]))
        assert len(set(order)) == len(order)
        for tensor in order:
            assert all(order.index(source) > order.index(tensor) for source in tensor.inputs)


def test_sum_to_undoes_broadcasting():
    """Whatever shape was stretched to another one."""
    for before, after in [((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 1), (4, 2, 3))]:
        gradient = np.arange(np.prod(after), dtype=float).reshape(after)
        tensor = torch.zeros(before, requires_grad=True)
        tensor.expand(after).backward(torch.tensor(gradient))
        np.testing.assert_allclose(sum_to(gradient, before), tensor.grad.numpy())


def test_the_page_shows_the_file_whole():
    """One of its cells, which is not folded, is the file."""
    shown = [source for source, tags in cells(PAGE) if not tags]
    assert ENGINE.read_text("utf-8").strip() in [source.strip() for source in shown]


def test_the_engine_has_about_a_hundred_lines():
    """Lines with a statement: a blank one, a comment or a docstring is none."""
    no_code = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    with ENGINE.open("rb") as file:
        tokens = [one for one in tokenize.tokenize(file.readline) if one.type not in no_code]
    docstrings = {one.start[0] for one in tokens if one.string.startswith('"""')}
    code = {one.start[0] for one in tokens[1:-1]} - docstrings
    assert 90 <= len(code) <= 110
