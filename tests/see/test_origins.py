"""What `record_lines` notes beside the line: results, names and constants, and their origin."""

import pytest
import torch
import torch.nn.functional as F

from gradbook import record_lines
from gradbook.see import torch_internals


def made(tensor):
    """What was noted of the operation that made a tensor."""
    return torch_internals.made_of(tensor.grad_fn)


@pytest.fixture
def x():
    """A leaf."""
    return torch.tensor([1.0, 2.0, 3.0], requires_grad=True)


def test_a_small_result_is_kept(x):
    """As it was when the operation ran, whatever happens to it later; a large one is not."""
    with record_lines():
        y = x + 2
        z = x.repeat(9) * 2
    with torch.no_grad():
        y.zero_()
    assert made(y).value.numbers == [3, 4, 5]
    assert made(z).value is None


def test_operands_have_the_names_of_the_program(x):
    """At both sides, as receiver, as argument, also where Python turns them around."""
    w = torch.tensor(2.0, requires_grad=True)
    with record_lines():
        cases = {
            ("x", "w"): x * w,
            ("w", "x"): torch.mul(w, x),
            ("x * 2",): (x * 2).exp(),
            ("x", None): 2 * x,
            (None, "x"): torch.ones(3) * x,
            ("x",): 2 - x,
            ("w", "x + 1"): torch.where(x > 1, w, other=x + 1),
        }
    for names, result in cases.items():
        assert made(result).names == names
    assert made(cases["x", None]).constants[0].name == "2"


def test_a_number_and_a_tensor_are_told_apart_at_both_sides(x):
    """Torch puts the tensor first, whatever the program says."""
    n = 2
    with record_lines():
        for result, name, constant in [
            (2 * x, "x", "2"),
            (x * 2, "x", "2"),
            (n * (x + 1), "x + 1", "n"),
            ((x + 1) * n, "x + 1", "n"),
            ((n + 1) * x, "x", "n + 1"),
            (-2.5e3 - x, "x", "-2.5e3"),
        ]:
            assert made(result).names[0] == name
            assert [one.name for one in made(result).constants] == [constant]


def test_an_operand_that_was_edited_in_place_keeps_its_name(x):
    """Its own result is its operand."""
    y = x * 1
    with record_lines():
        y += 5
        y.mul_(x)
    assert made(y).names == ("y", "x")


def test_names_of_a_library_are_not_taken_for_ours(x):
    """Tanh inside of a module works on another tensor than `model(x)` names."""
    model = torch.nn.Sequential(torch.nn.Tanh())
    with record_lines():
        y = model(x * 1)
    assert made(y).names == (None,)


def test_arguments_that_cannot_be_told_apart_have_no_name(x):
    """With a star nobody knows which is which."""
    both = (x, x)
    with record_lines():
        y = torch.add(*both)
    assert made(y).names == (None, None)


def test_constants_are_kept(x):
    """An addition forgets what it added; a tensor of some size is not kept."""
    c = torch.tensor([1.0, 2.0, 3.0])
    with record_lines():
        y, z, u = x + 2, c - x, 1 - x
        v = x.repeat(9) + torch.ones(27)
    c.zero_()
    assert [one.value.numbers for one in made(y).constants] == [2]
    assert [(one.name, one.value.numbers) for one in made(z).constants] == [("c", [1, 2, 3])]
    assert [one.value.numbers for one in made(u).constants] == [1]
    assert [one.value for one in made(v).constants] == [None]


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x * x.detach(),
        lambda x: x * x.data,
        lambda x: x + (x.detach() * 2).exp(),
        lambda x: x * (x > 2),
        lambda x: x * x.item() if x.numel() == 1 else x * x[0].item(),
        lambda x: x * 2 if x.sum() > 0 else x,
        lambda x: torch.where((x > 1) & (x < 2), x, -x),
        lambda x: x * torch.zeros(3).copy_(x.detach()),
    ],
)
def test_a_constant_that_was_computed_from_a_leaf_is_in_doubt(x, compute):
    """With another leaf it would be another one."""
    with record_lines():
        y = compute(x)
    assert made(y).doubt is not None


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x * torch.ones_like(x),
        lambda x: x * torch.tensor(2.0),
        lambda x: F.relu(x) + x.new_ones(3),
        lambda x: x * x.shape[0],
        lambda x: torch.where(x > 1, x, 0.0),
    ],
)
def test_other_constants_are_not(x, compute):
    """What hangs on a shape, or is written down, stays; a comparison is followed."""
    with record_lines():
        y = compute(x)
    assert made(y).doubt is None


def test_a_condition_is_kept_as_a_comparison(x):
    """Its sign and its two sides: a leaf, the output of a node, a constant."""
    y = x * 2
    with record_lines():
        first = torch.where(x > 1, x, y)
        second = torch.where(y <= x, x, y)
    sign, left, right = made(first).condition
    assert (sign, left is x, right.numbers) == (">", True, 1)
    sign, left, right = made(second).condition
    assert (sign, left, right is x) == ("<=", (y.grad_fn, 0), True)


def test_nothing_is_held_of_a_tensor_that_is_gone(x):
    """What was followed does not live longer for it."""
    import weakref

    with record_lines():
        c = x.detach() * 2
        gone = weakref.ref(c)
        del c
        assert gone() is None
