"""Exercises of the page *Turning autograd off*."""

from itertools import combinations

import torch
from torch import Tensor, nn

from gradbook.check.answers import (
    Numbers,
    WrongAnswer,
    answer_function,
    judge_numbers,
)


def nested_modes(answer: Numbers) -> None:
    """Check which of a, b, c and d require grad: four times True or False.

    ``a = x * 2`` under no_grad; in it, under enable_grad, ``b = a * 3`` and ``c = x * 3``;
    after both blocks ``d = a + c``.

    Raises:
        WrongAnswer: at least one is not right; the message says which, and why.
        TypeError: `answer` is not a list of flags.

    >>> nested_modes([False, False, True, True])
    Right. Two things are needed: recording is on, and an input requires grad.
    >>> nested_modes([False, True, True, True])
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: b is wrong: recording is on, but does its input require ...
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.tensor(1.0, requires_grad=True)
        with torch.no_grad():
            a = x * 2
            with torch.enable_grad():
                b = a * 3
                c = x * 3
        d = a + c
    right = torch.tensor([float(result.requires_grad) for result in (a, b, c, d)])
    hints = [
        "a is wrong: it is computed while recording is off.",
        "b is wrong: recording is on, but does its input require grad?",
        "c is wrong: the inner block turns recording on again, and x still has its flag.",
        "d is wrong: it is computed after the blocks; one input that requires grad is enough.",
    ]
    mistakes: dict[str, Tensor | float] = {}
    for count in range(1, len(hints) + 1):
        for wrong in combinations(range(len(hints)), count):
            flipped = right.clone()
            flipped[list(wrong)] = 1 - right[list(wrong)]
            mistakes[" ".join(hints[i] for i in wrong)] = flipped
    if isinstance(answer, (list, tuple)):
        answer = [int(one) if isinstance(one, bool) else one for one in answer]
    judge_numbers(
        answer,
        right,
        right="Two things are needed: recording is on, and an input requires grad.",
        mistakes=mistakes,
    )


def evaluation(answer: object) -> None:
    """Check ``evaluate(model, x)``: evaluation mode, no graph, and the model as it was before.

    Raises:
        WrongAnswer: it does something else; the message says what.
        TypeError: `answer` is not a function.

    >>> evaluation(lambda model, x: model(x))
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The model ran in training mode: call model.eval() before it.
    """
    evaluate = answer_function(answer, "(model, x)")
    if evaluate is None:
        return
    x = torch.linspace(-1, 2, 4)
    recording = torch.is_grad_enabled()
    for training in (True, False):
        probe = _Probe()
        model = nn.Sequential(probe).train(training)
        try:
            with torch.enable_grad():
                result = evaluate(model, x)
                left_on = torch.is_grad_enabled()
        finally:
            torch.set_grad_enabled(recording)
        _judge_run(probe, result, x)
        if not left_on:
            raise WrongAnswer(
                "Recording is still off after evaluate(): open the mode as a block or a decorator."
            )
        _judge_mode(model, training)
    model = nn.Sequential(_Probe(fails=True)).train()
    try:
        evaluate(model, x)
    except _ProbeError:
        pass
    else:
        raise WrongAnswer("The model raised an error, and evaluate() kept it back: let it pass.")
    finally:
        torch.set_grad_enabled(recording)
    if not model.training:
        raise WrongAnswer(
            "After an error in the model, the model is left in evaluation mode: "
            "restore it in a `finally`."
        )
    print("Right. Evaluation mode for the layers, no graph, and the old mode restored.")


def only_last_layer(answer: object) -> None:
    """Check ``freeze(model)``: only the last layer of an ``nn.Sequential`` gets gradients.

    Raises:
        WrongAnswer: other parameters get one; the message says which.
        TypeError: `answer` is not a function.

    >>> only_last_layer(lambda model: model.requires_grad_(False))
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The last layer is frozen too: turn its parameters on again.
    """
    freeze = answer_function(answer, "(model)")
    if freeze is None:
        return
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(
            nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)
        )
    last = {"4.weight", "4.bias"}
    freeze(model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    everything = {name for name, _ in model.named_parameters()}
    if not last <= everything:
        raise WrongAnswer("The last layer is not in the model any more: change flags, not layers.")
    if trained == everything:
        raise WrongAnswer("Nothing is frozen: set requires_grad_(False) on the other layers.")
    if not trained:
        raise WrongAnswer("The last layer is frozen too: turn its parameters on again.")
    if trained == everything - last:
        raise WrongAnswer("It is the other way round: the last layer is the frozen one.")
    if trained != last:
        names = ", ".join(sorted(trained ^ last))
        raise WrongAnswer(f"These parameters have the wrong flag: {names}.")
    print("Right. Only 4.weight and 4.bias of the test model require grad.")


class _ProbeError(Exception):
    """What the test model raises on purpose."""


class _Probe(nn.Module):
    """A model that writes down the modes in which it was called."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))
        self.fails = fails
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled()))
        if self.fails:
            raise _ProbeError("the test model raises on purpose: evaluate() must restore its mode")
        return self.weight * x


def _judge_run(probe: _Probe, result: object, x: Tensor) -> None:
    if not probe.calls:
        raise WrongAnswer("evaluate() did not call the model.")
    if any(training for training, _ in probe.calls):
        raise WrongAnswer("The model ran in training mode: call model.eval() before it.")
    if any(recording for _, recording in probe.calls):
        raise WrongAnswer(
            "A graph was recorded while the model ran: call it under torch.no_grad(); "
            "detach() afterwards comes too late."
        )
    if not isinstance(result, Tensor) or not torch.equal(result, 3 * x):
        raise WrongAnswer("evaluate() must return what the model returned.")


def _judge_mode(model: nn.Module, training: bool) -> None:
    if all(module.training == training for module in model.modules()):
        return
    if training:
        raise WrongAnswer(
            "The model was in training mode and is in evaluation mode now: restore it."
        )
    raise WrongAnswer(
        "The model was in evaluation mode and is in training mode now: "
        "remember model.training before you change it."
    )
