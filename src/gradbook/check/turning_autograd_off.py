"""Exercises of the page *Turning autograd off*."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradbook.check.answers import WrongAnswer, answer_function, judge_flags
from gradbook.check.traces import leaves_no_trace


def nested_modes(answer: object) -> None:
    """Check which of a, b, c and d require grad: four flags.

    ``a = x * 2`` under no_grad; in it, under enable_grad, ``b = a * 3`` and ``c = x * 3``;
    after both blocks ``d = a + c``.

    Raises:
        WrongAnswer: at least one is not right; the message says which, and why.
        TypeError: `answer` is not a list of flags.

    >>> nested_modes([False, False, True, True])
    Right. Two things are needed: recording is on, and an input requires grad.
    >>> nested_modes(["no", "yes", "yes", "yes"])
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
    judge_flags(
        answer,
        {name: y.requires_grad for name, y in {"a": a, "b": b, "c": c, "d": d}.items()},
        right="Two things are needed: recording is on, and an input requires grad.",
        reasons={
            "a": "it is computed while recording is off",
            "b": "recording is on, but does its input require grad?",
            "c": "the inner block turns recording on again, and x still has its flag",
            "d": "it is computed after the blocks, and one input that requires grad is enough",
        },
    )


def evaluation(answer: object) -> None:
    """Check ``evaluate(model, x)``: evaluation mode, no graph, and the model as it was before.

    The parts of the model are in different modes, as those of a partly frozen one.

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
    for modes in (True, True), (False, False), (True, False), (False, True):
        _judge_evaluation(evaluate, x, modes)
    model = _model([_Probe(), _Probe(fails=True)], (True, True))
    try:
        with torch.enable_grad(), leaves_no_trace("evaluate(model, x)", may={"modes"}, model=model):
            evaluate(model, x)
    except _ProbeError:
        pass
    else:
        raise WrongAnswer("The model raised an error, and evaluate() kept it back: let it pass.")
    if not model.training:
        raise WrongAnswer(
            "After an error in the model, the model is left in evaluation mode: "
            "restore it in a `finally`."
        )
    print(
        "Right. Evaluation mode for the layers, no graph, and the old mode of each part restored."
    )


def only_last_layer(answer: object) -> None:
    """Check ``freeze(model)``: only the last layer of an ``nn.Sequential`` gets gradients.

    Models of several lengths and kinds of layers are tried, and flags that were set before.

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
        models = [
            nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)),
            nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Flatten(), nn.LayerNorm(4)),
            nn.Sequential(
                nn.Linear(2, 2, bias=False),
                *(nn.Linear(2, 2) for _ in range(3)),
                nn.Sequential(nn.ReLU(), nn.Linear(2, 1)),
            ),
        ]
        models.append(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)).requires_grad_(False))
    for model in models:
        with leaves_no_trace("freeze(model)", may={"flags"}, model=model):
            freeze(model)
        _judge_flags_of(model)
    print("Right. In each test model the parameters of its last layer require grad, and no others.")


def _judge_flags_of(model: nn.Sequential) -> None:
    everything = {name for name, _ in model.named_parameters()}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    last = {name for name in everything if name.startswith(f"{len(model) - 1}.")}
    if trained == last:
        return
    if trained == everything:
        raise WrongAnswer("Nothing is frozen: set requires_grad_(False) on the other layers.")
    if not trained:
        raise WrongAnswer("The last layer is frozen too: turn its parameters on again.")
    if trained == everything - last:
        raise WrongAnswer("It is the other way round: the last layer is the frozen one.")
    kinds = ", ".join(type(layer).__name__ for layer in model)
    names = ", ".join(sorted(trained ^ last))
    raise WrongAnswer(f"In a model of {kinds} these parameters have the wrong flag: {names}.")


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


def _model(probes: list["_Probe"], modes: tuple[bool, bool]) -> nn.Sequential:
    for probe, training in zip(probes, modes, strict=True):
        probe.train(training)
    model = nn.Sequential(*probes)
    model.training = any(modes)
    return model


def _judge_evaluation(evaluate: Callable[..., object], x: Tensor, modes: tuple[bool, bool]) -> None:
    probes = [_Probe(), _Probe()]
    model = _model(probes, modes)
    before = [part.training for part in model.modules()]
    with torch.enable_grad(), leaves_no_trace("evaluate(model, x)", may={"modes"}, model=model):
        result = evaluate(model, x)
    for probe in probes:
        _judge_run(probe)
    if not isinstance(result, Tensor) or not torch.equal(result, 9 * x):
        raise WrongAnswer("evaluate() must return what the model returned.")
    after = [part.training for part in model.modules()]
    if after == before:
        return
    if all(after):
        raise WrongAnswer(
            "A part that was in evaluation mode is in training mode now: remember the mode of each "
            "part, in model.modules(), before you change it."
        )
    if not any(after):
        raise WrongAnswer(
            "The model was in training mode and is in evaluation mode now: restore it."
        )
    raise WrongAnswer("After evaluate() some parts of the model are in another mode than before.")


def _judge_run(probe: _Probe) -> None:
    if not probe.calls:
        raise WrongAnswer("evaluate() did not call the model.")
    if any(training for training, _ in probe.calls):
        raise WrongAnswer("The model ran in training mode: call model.eval() before it.")
    if any(recording for _, recording in probe.calls):
        raise WrongAnswer(
            "A graph was recorded while the model ran: call it under torch.no_grad(); "
            "detach() afterwards comes too late."
        )
