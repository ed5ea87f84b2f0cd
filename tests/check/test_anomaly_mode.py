"""The exercises of *Anomaly mode* accept what is right, and name what is wrong."""

import math

import pytest
import torch

from gradbook import replay
from gradbook.check import WrongAnswer, anomaly_mode


@pytest.mark.parametrize("answer", ["B", "b", ["B"]])
def test_what_stops_is_accepted_in_each_form(answer, capsys):
    """Letters in any form."""
    anomaly_mode.stops(answer)
    assert capsys.readouterr().out.startswith("Right.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("AB", "A does not stop: its gradient is inf"),
        ("BC", "C does not stop: the value is nan"),
        ("BD", "D does not stop: both roots"),
        ("", "B is missing"),
        ("BX", "'X' is not one of"),
    ],
)
def test_wrong_letters_are_explained(answer, message):
    """What happens in the first wrong program."""
    with pytest.raises(WrongAnswer, match=message):
        anomaly_mode.stops(answer)


def finite(gradients):
    """No gradient has inf or nan."""
    return all(one is None or math.isfinite(one.norm) for one in gradients)


def by_replay(loss):
    """Look at the steps."""
    for step in replay(loss).steps:
        if finite(step.incoming) and not finite(step.outgoing):
            return step.node.name
    return None


def by_hooks(loss, both=True, nan_only=False):
    """Look with hooks on the nodes."""
    found = []

    def good(gradients):
        bad = torch.isnan if nan_only else (lambda one: ~torch.isfinite(one))
        return not any(one is not None and bad(one).any() for one in gradients)

    def watch(node):
        def hook(outgoing, incoming):
            if (good(incoming) or not both) and not good(outgoing):
                found.append(node.name())

        node.register_hook(hook)

    nodes, seen = [loss.grad_fn], set()
    for node in nodes:
        if node in seen or type(node).__name__ == "AccumulateGrad":
            continue
        seen.add(node)
        watch(node)
        nodes += [child for child, _ in node.next_functions if child is not None]
    loss.backward()
    return found[0] if found else None


@pytest.mark.parametrize("guilty", [by_replay, by_hooks])
def test_a_right_function_is_accepted(guilty, capsys):
    """With replay, and with hooks."""
    anomaly_mode.guilty_node(guilty)
    assert capsys.readouterr().out.startswith("Right.")


def by_anomaly_mode(loss):
    """What anomaly mode names."""
    try:
        with torch.autograd.detect_anomaly():
            loss.backward()
    except RuntimeError as error:
        return str(error).split("'")[1]
    return None


def leaves_it_on(loss):
    """Forget to turn the mode off."""
    name = by_replay(loss)
    torch.autograd.set_detect_anomaly(True)
    return name


@pytest.mark.parametrize(
    ("guilty", "message"),
    [
        (by_anomaly_mode, "a gradient with inf it returns None"),
        (lambda loss: by_hooks(loss, nan_only=True), "a gradient with inf it returns None"),
        (lambda loss: loss.grad_fn.name(), "whose gradient is finite it returns 'SumBackward0'"),
        (lambda loss: "SqrtBackward0", "none is guilty there"),
        (lambda loss: replay(loss).steps[0].node, "returns Node"),
        (leaves_it_on, "leaves anomaly detection changed"),
    ],
)
def test_a_wrong_function_is_explained(guilty, message):
    """The kind of program for which it is wrong, or what it leaves behind."""
    with pytest.raises(WrongAnswer, match=message):
        anomaly_mode.guilty_node(guilty)
    assert not torch.is_anomaly_enabled()


def test_what_is_no_answer_is_a_type_error():
    """Letters and functions are told apart."""
    with pytest.raises(TypeError, match="expected letters"):
        anomaly_mode.stops(2)
    with pytest.raises(TypeError, match="expected your function"):
        anomaly_mode.guilty_node("SqrtBackward0")


@pytest.mark.parametrize("check", [anomaly_mode.stops, anomaly_mode.guilty_node])
def test_three_dots_are_no_answer_yet(check, capsys):
    """An exercise that nobody has touched prints a hint and raises nothing."""
    check(...)
    assert capsys.readouterr().out.startswith("No answer yet")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_checks_work_without_grad_mode_and_leave_it_as_it_was(mode, capsys):
    """A learner may call a check inside a block that records nothing."""
    with mode():
        anomaly_mode.stops("B")
        anomaly_mode.guilty_node(by_replay)
        assert not torch.is_grad_enabled()
    assert capsys.readouterr().out.count("Right.") == 2
