"""Tests of the exercises of the page *The training loop*."""

import pytest
import torch

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


def look(model, loader, *, grad=False, evaluate=True, back=True, mean=False):
    """A look at the held-out points, with mistakes to choose from."""
    was = model.training
    if evaluate:
        model.eval()
    with torch.set_grad_enabled(grad):
        losses = [((model(x) - y) ** 2) for x, y in loader]
    if back:
        model.train(was)
    if mean:
        return torch.stack([one.mean() for one in losses]).mean()
    return torch.cat(losses).mean()


def test_a_fair_look_is_accepted(capsys):
    """Eval mode, no graph, the mean over all points, and the mode put back."""
    training_loop.fair_look(look)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"evaluate": False}, r"model\.eval\(\)"),
        ({"grad": True}, "graph was recorded"),
        ({"back": False}, "in eval mode afterwards"),
        ({"mean": True}, "batches' means"),
    ],
)
def test_an_unfair_look_is_told_why(mistake, message):
    """Each mistake has its message."""
    with pytest.raises(WrongAnswer, match=message):
        training_loop.fair_look(lambda model, loader: look(model, loader, **mistake))


def test_no_look_is_told(capsys):
    """A constant is no look; a number is no function; three dots are no answer yet."""
    with pytest.raises(WrongAnswer, match="not called"):
        training_loop.fair_look(lambda model, loader: 1.0)
    with pytest.raises(TypeError, match="without calling it"):
        training_loop.fair_look(0.5)
    training_loop.fair_look(...)
    training_loop.order(...)
    assert capsys.readouterr().out.count("No answer yet") == 2
