"""Tests of `gradbook.understand.culprit.cells`: the cells of IPython that have run."""

import contextlib
import io
import re

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from gradbook import explain


@pytest.fixture
def shell():
    """A fresh session, with torch."""
    InteractiveShell.clear_instance()
    session = InteractiveShell.instance()
    session.history_manager.enabled = False
    run(session, "import torch")
    yield session
    InteractiveShell.clear_instance()
    torch.set_grad_enabled(True)


def run(shell, *cells):
    """Run cells one behind the other; the error of the last one."""
    with contextlib.redirect_stdout(io.StringIO()):
        results = [shell.run_cell(cell, store_history=True) for cell in cells]
    return results[-1].error_in_exec


def told(error, text):
    """Whether a fact of the explanation has a text."""
    return any(text in fact for fact in explain(error).because)


def test_the_cell_that_changed_a_tensor_is_named(shell):
    """It is not the one that fails."""
    error = run(
        shell,
        "w = torch.ones(3, requires_grad=True)",
        "y = w.exp()",
        "y += 1",
        "y.sum().backward()",
    )
    explanation = explain(error)
    assert explanation.subject == "y"
    assert explanation.details["changed at"] == "cell In [4], `y += 1`"
    assert not any("_user_ns" in fact for fact in explanation.because)
    assert explanation.possible == ()


def test_cells_count_in_the_order_of_running(shell):
    """A cell further down the page ran first; one that ran later than all is the last."""
    error = run(
        shell,
        "def change():\n    y.add_(1)",
        "w = torch.ones(3, requires_grad=True)\ny = w.exp()",
        "change()",
        "loss = y.sum()\nloss.backward()",
    )
    explanation = explain(error)
    assert (
        explanation.details["changed at"]
        == "cell In [4], `change()` (line 2, `y.add_(1)` of change)"
    )
    assert explanation.details["line"].endswith("loss.backward()")


def test_backward_in_two_cells(shell):
    """nn-zero-to-hero#31: the cell of the backward pass ran again, that of the forward did not."""
    error = run(
        shell,
        "w = torch.ones(3, requires_grad=True)",
        "prob = w.exp() / w.exp().sum()\nloss = -prob.log().mean()",
        "w.grad = None\nloss.backward()",
        "w.data += -0.1 * w.grad",
        "w.grad = None\nloss.backward()",
    )
    explanation = explain(error)
    assert explanation.subject == "loss"
    assert told(error, "Backward has run on `loss` before, in line 2 of cell In [4].")
    assert explanation.details["cause"] == "`backward()` twice on one loss"


def test_a_cell_that_runs_again_carries_its_state(shell):
    """Each run of the cell is a turn of a loop that nobody wrote."""
    step = "h = cell(torch.ones(1, 2), h)\nloss = h.sum()\nloss.backward()"
    error = run(shell, "cell, h = torch.nn.GRUCell(2, 3), torch.zeros(1, 3)", step, step)
    explanation = explain(error)
    assert explanation.subject == "h"
    assert told(error, "from one run of the cell to the next")


def test_the_cell_in_which_a_graph_ends(shell):
    """A cut three cells above."""
    error = run(
        shell,
        "w = torch.ones(3, requires_grad=True)",
        "features = (w * 2).detach()",
        "loss = features.sum()",
        "loss.backward()",
    )
    explanation = explain(error)
    assert explanation.details["cut at"] == "cell In [3], `features = (w * 2).detach()`"


def test_recording_that_a_cell_switched_off(shell):
    """For good, in an earlier cell."""
    error = run(
        shell,
        "w = torch.ones(3, requires_grad=True)",
        "torch.set_grad_enabled(False)",
        "loss = (w * 2).sum()",
        "loss.backward()",
    )
    assert told(error, "`torch.set_grad_enabled(False)` in line 1 of `In [3]`")


def test_a_cell_that_failed_or_has_a_magic_does_no_harm(shell):
    """What cannot be read is left out."""
    run(shell, "%time 1 + 1", "this is no Python", "1 / 0")
    error = run(shell, "w = torch.ones(3)", "w.sum().backward()")
    assert explain(error).subject == "w"


def test_a_function_of_a_cell_is_read_as_ever(shell):
    """Its lines are those of its own cell."""
    error = run(
        shell,
        "def f(w):\n    y = w.exp()\n    y += 1\n    y.sum().backward()",
        "f(torch.ones(3, requires_grad=True))",
    )
    assert re.fullmatch(r"line 3, `y \+= 1`", explain(error).details["changed at"])
