"""Tests of the exercises of the page *The training loop*."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from gradbook import evaluate
from gradbook.check import WrongAnswer, training_loop


@pytest.mark.parametrize(
    "answer",
    [
        ["zero_grad", "forward", "backward", "step"],
        ("forward", "zero_grad", "backward", "step"),
        ["forward", "backward", "step", "zero_grad()"],
    ],
)
def test_each_working_order_is_accepted(answer, capsys):
    """Clearing may come anywhere but between backward and step."""
    training_loop.order(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (["zero_grad", "backward", "forward", "step"], "needs the graph"),
        (["zero_grad", "forward", "step", "backward"], "of the step before"),
        (["forward", "backward", "zero_grad", "step"], "nothing moves"),
        (["forward", "backward", "step"], "must be there once"),
    ],
)
def test_a_wrong_order_is_told_what_it_does(answer, message):
    """The message says what would happen."""
    with pytest.raises(WrongAnswer, match=message):
        training_loop.order(answer)


@pytest.mark.parametrize("answer", ["step", 3, [1, 2, 3, 4]])
def test_an_order_must_be_a_list_of_words(answer):
    """Anything else is a TypeError."""
    with pytest.raises(TypeError, match="list of the words"):
        training_loop.order(answer)


@pytest.mark.parametrize("answer", [0.56, [0.56], torch.tensor(0.56)])
def test_the_weighted_mean_is_accepted_in_each_form(answer, capsys):
    """A number, a list, a tensor."""
    training_loop.epoch_loss(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(("answer", "message"), [(2 / 3, "mean of the means"), (5.6, "the sum")])
def test_a_wrong_mean_is_recognised(answer, message):
    """The two usual mistakes have their own message."""
    with pytest.raises(WrongAnswer, match=message):
        training_loop.epoch_loss(answer)


def look(model, loader, *, grad=False, evaluate=True, back="parts", mean=False):
    """A look at the held-out points, with mistakes to choose from."""
    was = model.training
    modes = [(part, part.training) for part in model.modules()]
    if evaluate:
        model.eval()
    with torch.set_grad_enabled(grad):
        losses = [((model(x) - y) ** 2) for x, y in loader]
    if back == "whole":
        model.train(was)
    if back == "parts":
        for part, training in modes:
            part.training = training
    if mean:
        return torch.stack([one.mean() for one in losses]).mean()
    return torch.cat(losses).mean()


def by_evaluate(model, loader):
    """Let the package do it."""
    return evaluate(model, loader, nn.MSELoss())["loss"]


def by_size_of_dataset(model, loader):
    """Know the number of points from the loader, which is a DataLoader."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    with torch.no_grad():
        total = sum(((model(x) - y) ** 2).sum().item() for x, y in loader)
    for part in model.modules():
        part.train(modes[part])  # the children come after their parent
    return total / len(loader.dataset)


def on_a_copy(model, loader):
    """Leave the model itself alone."""
    return look(deepcopy(model), loader, back="no")


@pytest.mark.parametrize("answer", [look, by_evaluate, by_size_of_dataset, on_a_copy])
def test_a_fair_look_is_accepted(answer, capsys):
    """Eval mode, no graph, the mean over all points, and each part in its mode again."""
    training_loop.fair_look(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"evaluate": False}, r"model\.eval\(\)"),
        ({"grad": True}, "graph was recorded"),
        ({"back": "no"}, "leaves model in evaluation mode"),
        ({"back": "whole"}, r"leaves model\.0 in training mode; before, it was in evaluation"),
        ({"mean": True}, "batches' means"),
    ],
)
def test_an_unfair_look_is_told_why(mistake, message):
    """Each mistake has its message; a frozen part must not be woken up."""
    with pytest.raises(WrongAnswer, match=message):
        training_loop.fair_look(lambda model, loader: look(model, loader, **mistake))


def leaves_autograd_off(model, loader):
    """Switch the session's grad mode off for good."""
    torch.set_grad_enabled(False)
    return look(model, loader)


def clears_the_model(model, loader):
    """Look, and set all weights to zero."""
    found = look(model, loader)
    for weight in model.parameters():
        nn.init.zeros_(weight)
    return found


def freezes_the_model(model, loader):
    """Record no graph because nothing may learn any more."""
    model.requires_grad_(False)
    return look(model, loader)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (leaves_autograd_off, "leaves the grad mode changed"),
        (clears_the_model, r"changes the values of model\.0\.weight"),
        (freezes_the_model, r"leaves requires_grad=False on model\.0\.weight"),
    ],
)
def test_a_look_that_leaves_something_behind_is_refused(answer, message):
    """A right number is not enough; the session goes on as before even so."""
    with pytest.raises(WrongAnswer, match=message):
        training_loop.fair_look(answer)
    assert torch.is_grad_enabled()


def test_a_fair_look_draws_no_random_number():
    """A DataLoader draws a number when it begins; that of the check has its own generator."""
    state = torch.get_rng_state()
    training_loop.fair_look(look)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_look_is_told(capsys):
    """A constant is no look; a number is no function; three dots are no answer yet."""
    with pytest.raises(WrongAnswer, match="not called"):
        training_loop.fair_look(lambda model, loader: 1.0)
    with pytest.raises(TypeError, match="without calling it"):
        training_loop.fair_look(0.5)
    training_loop.fair_look(...)
    training_loop.order(...)
    assert capsys.readouterr().out.count("No answer yet") == 2
