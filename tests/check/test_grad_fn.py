"""The exercises of the page *grad_fn* accept what is right, and name what is wrong."""

import re

import numpy as np
import pytest
import torch

from gradbook.check import WrongAnswer, grad_fn

NUMBERS = (grad_fn.number_of_nodes, grad_fn.saved_elements)


def nodes_of(tensor):
    """Every node of a graph, once, by a loop."""
    nodes, seen, waiting = [], set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes.append(node)
            waiting += [following for following, _ in node.next_functions]
    return nodes


def leaves(tensor):
    """What exercise 3 asks for."""
    return [node.variable for node in nodes_of(tensor) if hasattr(node, "variable")]


def tree_leaves(node):
    """What a walk without a memory finds."""
    if node is None:
        return []
    if hasattr(node, "variable"):
        return [node.variable]
    return [leaf for following, _ in node.next_functions for leaf in tree_leaves(following)]


@pytest.mark.parametrize(("check", "right"), [(NUMBERS[0], 5), (NUMBERS[1], 200)])
@pytest.mark.parametrize(
    "form",
    [
        float,
        int,
        torch.tensor,
        np.array,
        lambda number: [number],
        lambda number: torch.tensor(float(number), requires_grad=True),
    ],
)
def test_the_right_count_is_accepted_in_each_form(check, right, form, capsys):
    """A float, an int, a tensor, an array and a list of one number count the same."""
    check(form(right))
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize("check", [*NUMBERS, grad_fn.leaves_of])
def test_three_dots_are_no_answer_yet(check, capsys):
    """An exercise that nobody has touched prints a hint and raises nothing."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("check", NUMBERS)
@pytest.mark.parametrize("wrong", ["5", None, len])
def test_a_count_that_is_no_number_is_a_type_error(check, wrong):
    """A string, None and a function are not counts."""
    with pytest.raises(TypeError, match="expected a number"):
        check(wrong)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (4, "The leaf x has a node too"),
        (6, "A constant has no node"),
        (9, "visits along all paths"),
        (50, "too large"),
        (5.004, "whole number"),
    ],
)
def test_a_wrong_number_of_nodes_is_explained(count, message):
    """Each known way to miscount the graph has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        grad_fn.number_of_nodes(count)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (300, "a is not saved"),
        (100, "one of them"),
        (2, "count their elements"),
        (400, "Not every node saves"),
        (2000, "too large"),
        (200.1, "whole number"),
    ],
)
def test_a_wrong_number_of_saved_elements_is_explained(count, message):
    """Each known way to miscount the saved tensors has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        grad_fn.saved_elements(count)


@pytest.mark.parametrize("form", [list, tuple, set, iter])
def test_leaves_are_accepted_in_each_container_and_order(form, capsys):
    """The order and the kind of the container do not matter."""
    grad_fn.leaves_of(lambda tensor: form(reversed(leaves(tensor))))
    assert capsys.readouterr().out.startswith("Right.")


def test_a_walk_without_memory_is_told_how_often_it_returned_a_leaf():
    """The ten squarings have 1024 paths to one leaf."""
    with pytest.raises(WrongAnswer, match=re.escape("leaves(w + w) returned w 2 times")):
        grad_fn.leaves_of(lambda tensor: tree_leaves(tensor.grad_fn))


def test_a_recursive_walk_is_told_to_use_a_loop():
    """A walk that drops repeated leaves, and calls itself, fails on the long chain."""

    def recursive(tensor):
        return {id(leaf): leaf for leaf in tree_leaves(tensor.grad_fn)}.values()

    with pytest.raises(WrongAnswer, match=r"long chain of \+ 1\) calls itself too deeply"):
        grad_fn.leaves_of(recursive)


def test_other_tensors_of_the_graph_are_not_its_leaves():
    """The output itself is not a leaf of its graph."""
    with pytest.raises(WrongAnswer, match="not a leaf of the graph"):
        grad_fn.leaves_of(lambda tensor: [*leaves(tensor), tensor])


def test_a_copy_of_a_leaf_is_not_the_leaf():
    """The leaf itself has the .grad that a user will read."""
    with pytest.raises(WrongAnswer, match="without a copy"):
        grad_fn.leaves_of(lambda tensor: [leaf.detach() for leaf in leaves(tensor)])


def test_a_missing_leaf_is_named():
    """The message says which leaf of which graph is not there."""
    with pytest.raises(WrongAnswer, match=re.escape("leaves(w * v + c) left out v.")):
        grad_fn.leaves_of(
            lambda tensor: [leaf for leaf in leaves(tensor) if leaf.tolist() == [1, 2]]
        )


def test_a_walk_that_runs_backward_is_refused():
    """Reading a graph fills no .grad."""

    def by_backward(tensor):
        tensor.sum().backward(retain_graph=True)
        return leaves(tensor)

    with pytest.raises(WrongAnswer, match=r"changes the \.grad of w"):
        grad_fn.leaves_of(by_backward)


def test_a_list_that_grows_from_call_to_call_is_noticed():
    """A leaf of an earlier graph does not belong to this one."""
    found = []

    def remembers(tensor):
        found.extend(leaf for leaf in leaves(tensor) if all(leaf is not one for one in found))
        return found

    with pytest.raises(WrongAnswer, match="start each call with an empty list"):
        grad_fn.leaves_of(remembers)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "give its name, without calling it"),
        (lambda tensor: None, "end with return"),
        (lambda tensor: tensor, "got Tensor"),
        (lambda tensor: 3, "got int"),
        (lambda tensor: [tensor.grad_fn], r"take \.variable"),
    ],
)
def test_leaves_that_are_not_a_list_of_tensors_are_a_type_error(wrong, message):
    """What is returned must be a list of tensors; the message says what came."""
    with pytest.raises(TypeError, match=message):
        grad_fn.leaves_of(wrong)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_without_grad_mode_and_leave_it_as_it_was(mode, capsys):
    """A learner may call a check inside a block that records nothing."""
    with mode():
        before = torch.get_rng_state()
        grad_fn.number_of_nodes(5)
        grad_fn.saved_elements(200)
        grad_fn.leaves_of(leaves)
        assert not torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), before)
    assert capsys.readouterr().out.count("Right.") == 3
