"""The exercises of *Turning autograd off* judge each kind of answer."""

import numpy as np
import pytest
import torch
from torch import nn

from gradbook.check import WrongAnswer
from gradbook.check.turning_autograd_off import evaluation, nested_modes, only_last_layer

RIGHT_FLAGS = [False, False, True, True]


@pytest.mark.parametrize("check", [nested_modes, evaluation, only_last_layer])
def test_three_dots_are_no_answer(check, capsys):
    """The three dots of the page are told apart from an answer."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("check", [evaluation, only_last_layer])
def test_what_cannot_be_called_is_no_function(check):
    """A value in place of a function is the wrong type, not a wrong answer."""
    with pytest.raises(TypeError, match="expected your function"):
        check(3)


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT_FLAGS,
        tuple(RIGHT_FLAGS),
        [0, 0, 1, 1],
        [0.0, 0.0, 1.0, 1.0],
        torch.tensor(RIGHT_FLAGS),
        torch.tensor([0.0, 0.0, 1.0, 1.0], requires_grad=True),
        np.array(RIGHT_FLAGS),
        ["no", "no", "yes", "Yes"],
    ],
    ids=["bools", "tuple", "ints", "floats", "bool tensor", "tensor with grad", "array", "words"],
)
def test_flags_are_taken_in_each_form(answer, capsys):
    """Flags may come as bools, numbers, a tensor or an array."""
    nested_modes(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(("position", "name"), list(enumerate("abcd")))
def test_the_wrong_flag_is_named(position, name):
    """One wrong flag is named, and no other."""
    answer = list(RIGHT_FLAGS)
    answer[position] = not answer[position]
    with pytest.raises(WrongAnswer, match=f"^{name} is wrong") as caught:
        nested_modes(answer)
    assert str(caught.value).count("is wrong") == 1


def test_the_first_wrong_flag_is_explained():
    """With several wrong flags one gets its reason, so that the rest stays to be thought about."""
    with pytest.raises(WrongAnswer, match="2 are wrong; the first is b: recording is on"):
        nested_modes([False, True, False, True])


def test_too_few_flags():
    """A list of another length is told its length."""
    with pytest.raises(WrongAnswer, match="has 3 entries; 4 are asked for: a to d"):
        nested_modes([False, True, True])


def test_one_text_is_the_wrong_type():
    """A sentence is no list of flags."""
    with pytest.raises(TypeError, match="expected a list of True and False"):
        nested_modes("no no yes yes")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_flags_are_judged_under_any_mode(mode, capsys):
    """A mode that the reader left on does not change what is right."""
    with mode():
        nested_modes(RIGHT_FLAGS)
    assert capsys.readouterr().out.startswith("Right.")


def _evaluate(model, x):
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            return model(x)
    finally:
        for part, training in modes.items():
            part.training = training


@torch.inference_mode()
def _evaluate_strictly(model, x):
    return _evaluate(model, x)


@pytest.mark.parametrize("answer", [_evaluate, _evaluate_strictly])
def test_both_modes_evaluate(answer, capsys):
    """no_grad and inference_mode are right, as a block and as a decorator."""
    evaluation(answer)
    assert capsys.readouterr().out.startswith("Right.")


@torch.no_grad()
def _never_eval(model, x):
    return model(x)


def _detach_late(model, x):
    training = model.training
    model.eval()
    result = model(x).detach()
    model.train(training)
    return result


@torch.no_grad()
def _stay_in_eval(model, x):
    return model.eval()(x)


@torch.no_grad()
def _always_train(model, x):
    result = model.eval()(x)
    model.train()
    return result


@torch.no_grad()
def _no_finally(model, x):
    training = model.training
    result = model.eval()(x)
    model.train(training)
    return result


def _one_flag(model, x):
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return model(x)
    finally:
        model.train(training)


@torch.no_grad()
def _all_parts_no_finally(model, x):
    modes = {part: part.training for part in model.modules()}
    result = model.eval()(x)
    for part, training in modes.items():
        part.training = training
    return result


@torch.no_grad()
def _other_way_round(model, x):
    modes = [part.training for part in model.modules()]
    result = model.eval()(x)
    for part, training in zip(reversed(list(model.modules())), modes, strict=True):
        part.training = training
    return result


def _freeze_for_good(model, x):
    model.requires_grad_(False)
    return _evaluate(model, x)


def _stay_off(model, x):
    torch.set_grad_enabled(False)
    return _evaluate(model, x)


def _swallow(model, x):
    try:
        return _evaluate(model, x)
    except Exception:
        return None


def _return_nothing(model, x):
    _evaluate(model, x)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda model, x: x, "did not call the model"),
        (_never_eval, "ran in training mode"),
        (_detach_late, "A graph was recorded"),
        (_return_nothing, "must return what the model returned"),
        (_stay_off, "leaves the grad mode changed"),
        (_freeze_for_good, "leaves requires_grad=False on model.0.weight"),
        (_stay_in_eval, "is in evaluation mode now"),
        (_always_train, "is in training mode now"),
        (_one_flag, "remember the mode of each part"),
        (_no_finally, "remember the mode of each part"),
        (_other_way_round, "some parts of the model are in another mode"),
        (_all_parts_no_finally, "After an error in the model"),
        (_swallow, "kept it back"),
    ],
)
def test_an_evaluation_that_leaves_a_trace_is_told_which(answer, message):
    """Each known mistake of evaluate() has its own message, and the mode is left as it was."""
    with pytest.raises(WrongAnswer, match=message):
        evaluation(answer)
    assert torch.is_grad_enabled()


def _freeze(model):
    model.requires_grad_(False)
    model[-1].requires_grad_()


def _freeze_the_last(model):
    model[-1].requires_grad_(False)


def _freeze_weights(model):
    for layer in list(model)[:-1]:
        if isinstance(layer, nn.Linear):
            layer.weight.requires_grad_(False)


def _drop_the_last(model):
    del model[-1]


def _replace_the_last(model):
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        model[-1] = nn.Linear(4, 1)


def _first_four(model):
    for parameter in list(model.parameters())[:4]:
        parameter.requires_grad_(False)
    model[-1].requires_grad_()


def _only_off(model):
    for layer in list(model)[:-1]:
        layer.requires_grad_(False)


def _one_by_one(model):
    _only_off(model)
    for parameter in model[-1].parameters():
        parameter.requires_grad = True


@pytest.mark.parametrize("answer", [_freeze, _one_by_one])
def test_the_last_layer_is_trained(answer, capsys):
    """All off and the last one on again, or each layer its own flag."""
    only_last_layer(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda model: None, "Nothing is frozen"),
        (lambda model: model.requires_grad_(False), "The last layer is frozen too"),
        (_freeze_the_last, "the other way round"),
        (_freeze_weights, "wrong flag: 0.bias, 2.bias"),
        (_drop_the_last, "puts something else into model"),
        (_replace_the_last, "puts something else into model"),
        (_first_four, "model of Linear, Linear.* have the wrong flag: 2.bias, 3.bias"),
        (_only_off, "The last layer is frozen too"),
    ],
)
def test_wrong_flags_of_a_model_are_told(answer, message):
    """Each known mistake of freeze() has its own message."""
    with pytest.raises(WrongAnswer, match=message):
        only_last_layer(answer)


def test_random_numbers_are_left_alone():
    """The test model is made without moving the reader's generator."""
    before = torch.get_rng_state()
    only_last_layer(_freeze)
    assert torch.equal(torch.get_rng_state(), before)
