"""The checks of the page *When a graph is freed*."""

import numpy as np
import pytest
import torch

from gradbook import check
from gradbook.check import WrongAnswer


@pytest.mark.parametrize("answer", ["ACE", "e c a", "A, C and E", ["A", "C", "E"], {"a", "c", "e"}])
def test_letters_of_what_can_be_walked_again_are_accepted(answer, capsys):
    """Order, case and separators do not matter."""
    check.graph_lifetime.walked_again(answer)
    assert capsys.readouterr().out.startswith("Right. The pass of p.sum() freed")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("ABCE", "B fails: it leads through MulBackward0"),
        ("ACDE", "D fails: it leads through MulBackward0"),
        ("CE", "A is missing: x \\+ 1 saved no tensor"),
        ("AE", "C is missing: its exp is not part of p"),
        ("AC", "E is missing: its product is a new one"),
        ("none", "A is missing"),
        ("F", "'F' is not one of A, B, C, D, E"),
    ],
)
def test_wrong_letters_are_told_which_node_decides(answer, message):
    """One too many names the node that lost its tensors; a missing one says why it works."""
    with pytest.raises(WrongAnswer, match=message):
        check.graph_lifetime.walked_again(answer)


def test_walked_again_takes_letters_only():
    """A number is no letter."""
    with pytest.raises(TypeError, match="expected letters"):
        check.graph_lifetime.walked_again(3)


def test_walked_again_works_where_grad_mode_is_off(capsys):
    """The check records its own graphs, whatever mode the reader's session is in."""
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            check.graph_lifetime.walked_again("ACE")
    assert capsys.readouterr().out.count("Right.") == 2


@pytest.mark.parametrize(
    "answer", [[8000, 8000], (8000.0, 8000.0), torch.tensor([8000, 8000]), np.array([8000, 8000])]
)
def test_bytes_are_accepted_in_each_form(answer, capsys):
    """Two storages before, the same two after."""
    check.graph_lifetime.bytes_held(answer)
    assert "Right. The product frees its references" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([16000, 8000], "share a storage count once"),
        ([8000, 0], "who else holds y and z"),
        ([8000, 4000], "neither exp has run"),
        ([12000, 12000], "x is not saved"),
        ([12000, 8000], "Before: x is not saved"),
        ([2000, 2000], "how many numbers are held"),
        (8000, "Give two numbers"),
        ([8000.5, 8000], "whole number"),
        ([4000, 8000], "1 of 2 numbers are wrong"),
    ],
)
def test_wrong_bytes_are_told_what_was_counted(answer, message):
    """References instead of storages, forgotten holders, and the leaf each have a message."""
    with pytest.raises(WrongAnswer, match=message):
        check.graph_lifetime.bytes_held(answer)


def right(one, other, x):
    """Keep the graph in the first pass only."""
    (of_one,) = torch.autograd.grad(one, x, retain_graph=True)
    return of_one, torch.autograd.grad(other, x)[0]


def in_a_list(one, other, x):
    """Go back in the other order, and return a list."""
    (of_other,) = torch.autograd.grad(other, x, retain_graph=True)
    return [torch.autograd.grad(one, x)[0], of_other]


def by_backward(one, other, x):
    """Use backward, and put back what was in .grad."""
    before, x.grad = x.grad, None
    one.backward(retain_graph=True)
    of_one, x.grad = x.grad, None
    other.backward()
    of_other, x.grad = x.grad, before
    return of_one, of_other


@pytest.mark.parametrize("answer", [right, in_a_list, by_backward])
def test_two_gradients_are_accepted(answer, capsys):
    """Whichever way they come, if nothing stays behind."""
    check.graph_lifetime.two_gradients(answer)
    assert "Right. The first pass keeps" in capsys.readouterr().out


def never_kept(one, other, x):
    """Raise in the second pass."""
    return torch.autograd.grad(one, x)[0], torch.autograd.grad(other, x)[0]


def always_kept(one, other, x):
    """Keep the graph in both passes."""
    return tuple(torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in (one, other))


def tuples(one, other, x):
    """Return what torch.autograd.grad returns."""
    return torch.autograd.grad(one, x, retain_graph=True), torch.autograd.grad(other, x)


def of_the_sum(one, other, x):
    """Return the gradient of the sum twice."""
    (both,) = torch.autograd.grad(one + other, x)
    return both, both


def swapped(one, other, x):
    """Return the right gradients in the wrong order."""
    return right(other, one, x)


def adds_to_grad(one, other, x):
    """Change x.grad."""
    one.backward(retain_graph=True)
    return right(one, other, x)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (never_kept, "Let the first one keep it"),
        (always_kept, "still holds what it saved"),
        (tuples, "returns a tuple"),
        (of_the_sum, "gradient of the sum"),
        (swapped, "The gradient of one is wrong"),
        (adds_to_grad, "changes the .grad of x"),
    ],
)
def test_wrong_functions_are_told_why(answer, message):
    """Each usual mistake has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        check.graph_lifetime.two_gradients(answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (3, "expected your function"),
        (lambda one, other, x: one, "must return two tensors, got Tensor"),
        (
            lambda one, other, x: torch.autograd.grad([one, other], x),
            "must return two tensors, got tuple of 1",
        ),
        (lambda one, other, x: (None, None), "got NoneType and NoneType"),
    ],
)
def test_what_is_no_pair_of_tensors_is_refused(answer, message):
    """A function that returns something else is an error of type."""
    with pytest.raises(TypeError, match=message):
        check.graph_lifetime.two_gradients(answer)


def test_another_error_of_the_function_passes_through():
    """What is not about the graph is the reader's own error."""

    def broken(one, other, x):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        check.graph_lifetime.two_gradients(broken)


@pytest.mark.parametrize("exercise", ["walked_again", "bytes_held", "two_gradients"])
def test_three_dots_are_no_answer(exercise, capsys):
    """An exercise that nobody has tried yet raises nothing."""
    getattr(check.graph_lifetime, exercise)(...)
    assert "No answer yet" in capsys.readouterr().out
