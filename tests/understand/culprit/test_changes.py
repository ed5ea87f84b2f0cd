"""Tests of `gradbook.understand.culprit.changes`: in-place edits that stand somewhere else."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from gradbook import explain
from gradbook.understand.catalogue import load
from reproducers.distributed import one_process

TITLES = {one.source: one.title for one in load()["modified-in-place"].variants}


def found(program, *arguments):
    """The explanation of an in-place error."""
    torch.manual_seed(0)
    with pytest.raises(RuntimeError) as caught:
        program(*arguments)
    explanation = explain(caught.value)
    assert explanation.code == "modified-in-place"
    return explanation


def cause(explanation):
    """The source of the variant that was chosen; None if none was."""
    titles = {title: source for source, title in TITLES.items()}
    return titles.get(explanation.details.get("cause"))


# --------------------------------------------------------------------------- steps of optimizers


class Trainer:
    """Two losses of one parameter, and an optimizer for each."""

    def __init__(self):
        self.w = nn.Parameter(torch.ones(3))
        self.first = SGD([self.w], 1.0)
        self.second = SGD([nn.Parameter(torch.ones(1))], 1.0)

    def update(self, optimizer, loss):
        """Both steps are made here; only one of them changes the parameter."""
        loss.backward(retain_graph=True)
        optimizer.step()

    def learn(self):
        """The first update comes between the second loss and its backward."""
        one, other = (self.w**2).sum(), (self.w**3).sum()
        self.update(self.first, one)
        self.update(self.second, other)

    def step(self):
        """A method whose name is that of an optimizer's."""
        self.learn()


def test_the_step_of_a_helper_is_found_with_its_arguments():
    """The optimizer is the one that the call was given, in a method."""
    explanation = found(Trainer().learn)
    assert explanation.subject == "self.w"
    assert cause(explanation) == "E40b"
    line = explanation.details["changed at"]
    assert "`self.update(self.first, one)`" in line
    assert "`optimizer.step()` of Trainer.update" in line
    assert "self.second" not in line


def test_a_line_that_is_still_running_is_not_the_change():
    """`trainer.step()` leads to the error; it is not a step that came before."""

    def program():
        trainer = Trainer()
        trainer.step()

    explanation = found(program)
    assert "trainer.step" not in explanation.details["changed at"]
    assert "`self.update(self.first, one)`" in explanation.details["changed at"]


def test_a_step_through_several_functions():
    """And through an attribute, a list, and a wrapper."""

    class Accelerated:
        def __init__(self, optimizer):
            self.inner = {"optimizer": optimizer}

        def step(self):
            self.inner["optimizer"].step()

    def finish(wrappers):
        for wrapper in wrappers:
            wrapper.step()

    def program():
        w = nn.Parameter(torch.ones(3))
        wrappers = [Accelerated(SGD([w], 1.0))]
        one, other = (w**2).sum(), (w**3).sum()
        one.backward()
        finish(wrappers)
        other.backward()

    explanation = found(program)
    assert "`finish(wrappers)` (line " in explanation.details["changed at"]
    assert "of Accelerated.step" in explanation.details["changed at"].replace(
        "test_a_step_through_several_functions.", ""
    )
    assert cause(explanation) == "E40b"


def test_a_parameter_of_an_optimizer_that_no_line_steps():
    """Nothing is asserted that was not seen: the step is the likeliest of those that are left."""
    steps = {}

    def program():
        w = nn.Parameter(torch.ones(3))
        optimizer = SGD([w], 1.0)
        steps["optimizer"] = optimizer
        loss = (w**2).sum()
        loss.backward(retain_graph=True)
        eval("steps['optimizer'].step()", {"steps": steps})
        loss.backward()

    explanation = found(program)
    assert cause(explanation) is None
    assert any("`optimizer` holds it" in fact for fact in explanation.because)
    assert explanation.possible[0].startswith(TITLES["E40b"])
    left = " ".join(explanation.possible)
    assert not any(TITLES[source] in left for source in ("E40", "E40c", "E40e", "E213"))


def test_an_optimizer_that_calls_the_program_again():
    """LBFGS changes the parameters between two calls of its closure."""

    def program():
        w = nn.Parameter(torch.ones(2))
        optimizer = torch.optim.LBFGS([w], lr=0.1)
        loss = (w**3).sum()

        def closure():
            optimizer.zero_grad()
            loss.backward(retain_graph=True)
            return loss

        optimizer.step(closure)

    explanation = found(program)
    assert "`optimizer.step(closure)`" in explanation.details["changed at"]
    assert cause(explanation) == "E40b"


# --------------------------------------------------------------------------------------- buffers


class Noisy(nn.Module):
    """Draws noise into a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("eps", torch.zeros(3))
        self.w = nn.Parameter(torch.ones(3))

    def forward(self, x):
        """Also computes with it."""
        self.eps.normal_()
        return x * self.w * self.eps


def test_a_buffer_that_its_own_module_changes():
    """The line of forward is named; DistributedDataParallel is not spoken of."""

    def program():
        model = nn.Sequential(Noisy())
        (model(torch.ones(3)) + model(torch.ones(3))).sum().backward()

    explanation = found(program)
    assert explanation.subject == "model.0.eps"
    assert "`self.eps.normal_()` of Noisy.forward" in explanation.details["changed at"]
    assert cause(explanation) == "E213"
    assert "Distributed" not in str(explanation)


class Overwriting(DistributedDataParallel):
    """As on the second process of two, where the buffers are copied before each pass."""

    def forward(self, *inputs):
        """Copy, then run."""
        with torch.no_grad():
            for buffer in self.module.buffers():
                buffer.copy_(buffer.clone())
        return self.module(*inputs)


class Scaled(nn.Module):
    """Multiplies by a buffer, which it never changes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(3))
        self.w = nn.Parameter(torch.ones(3))

    def forward(self, x):
        """The product saves the buffer."""
        return x * self.w * self.scale


def test_buffers_of_a_model_in_ddp():
    """Only there is DDP told, with the cure for it."""

    def program():
        with one_process():
            model = Overwriting(Scaled())
            (model(torch.ones(3)) + model(torch.ones(3))).sum().backward()

    explanation = found(program)
    assert explanation.subject == "model.module.scale"
    assert any(
        fact.startswith("DistributedDataParallel overwrites") for fact in explanation.because
    )
    assert "forward_sync_buffers=False" in explanation.cure.splitlines()[0]


def test_a_moving_average_of_the_weights():
    """The parameters are turned through by a loop, two modules at a time."""

    def average(online, target):
        with torch.no_grad():
            for p, q in zip(online.parameters(), target.parameters(), strict=True):
                q.mul_(0.9).add_(p, alpha=0.1)

    def program():
        online, target = nn.Linear(2, 2), nn.Linear(2, 2)
        loss = (target(online(torch.ones(1, 2))) ** 2).sum()
        average(online, target)
        loss.backward()

    explanation = found(program)
    assert explanation.subject == "target.weight"
    assert cause(explanation) == "E40f"
    assert "`q.mul_(0.9).add_(p, alpha=0.1)` of average" in explanation.details[
        "changed at"
    ].replace("test_a_moving_average_of_the_weights.", "")


def test_weights_that_are_loaded_between():
    """`load_state_dict` copies in place."""

    def program():
        model = nn.Linear(2, 1)
        kept = {name: one.clone() for name, one in model.state_dict().items()}
        x = torch.ones(1, 2, requires_grad=True)
        loss = model(x).sum()
        model.load_state_dict(kept)
        loss.backward()

    explanation = found(program)
    assert "`model.load_state_dict(kept)`" in explanation.details["changed at"]


# ------------------------------------------------------------------- what does not count as one


def test_what_is_written_through_data_is_not_the_change():
    """Torch does not count it, so it cannot have raised the error."""

    def program():
        w = torch.ones(3, requires_grad=True)
        y = w.exp()
        y.data.mul_(2)
        w.data.clamp_(0, 1)
        y += 1
        y.sum().backward()

    explanation = found(program)
    assert "data" not in explanation.details["changed at"]
    assert "`y += 1`" in explanation.details["changed at"]


def test_lines_that_cannot_have_run_do_not_count():
    """Behind the failing line, in the other arm, or before anything read the tensor."""

    def program(early):
        scale = torch.zeros(3)
        scale += 1
        w = torch.ones(3, requires_grad=True)
        loss = (w * scale).sum()
        if early:
            scale *= 2
            loss.backward()
        else:
            scale *= 3
        scale *= 4

    explanation = found(program, True)
    line = explanation.details["changed at"]
    assert "`scale *= 2`" in line
    assert not any(text in line for text in ("+= 1", "*= 3", "*= 4"))


def test_an_edit_inside_the_failing_expression():
    """What stands inside of it has ended; what it calls last is still running."""

    def change(values):
        values.mul_(2)
        return values

    def program():
        w, x = torch.ones(3, requires_grad=True), torch.ones(3)
        loss = (w * x).sum()
        (loss + change(x).sum()).backward()

    assert "`values.mul_(2)` of change" in found(program).details["changed at"].replace(
        "test_an_edit_inside_the_failing_expression.", ""
    )


# ------------------------------------------------------------------------- frames that are gone


def fill(w):
    """Each row is computed from the row before."""
    h = torch.zeros(3, 2)
    h[0] = w
    for t in range(1, 3):
        h[t] = w * h[t - 1]
    return h.sum()


class Cell(nn.Module):
    """Fills two buffers in one statement."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(2, 2)

    def forward(self, x):
        """State by state."""
        h, c = torch.zeros(4, 1, 2), torch.zeros(4, 1, 2)
        for t in range(1, 4):
            h[t], c[t] = self.cell(x, (h[t - 1], c[t - 1]))
        return h


def test_rows_that_were_filled_in_a_function():
    """The function has returned; its source has one variable that is written into."""

    def program():
        w = torch.ones(2, requires_grad=True)
        fill(w).backward()

    explanation = found(program)
    assert explanation.subject == "h"
    assert cause(explanation) == "E40c"
    assert any("`h[t] = w * h[t - 1]` of fill" in fact for fact in explanation.because)


def test_rows_that_were_filled_in_a_forward_pass():
    """A tuple of targets: the line is sure, which of the two it was is not."""

    def program():
        model = Cell()
        model(torch.ones(1, 2)).sum().backward()

    explanation = found(program)
    assert explanation.subject is None
    assert cause(explanation) == "E40c"
    assert "of Cell.forward" in explanation.details["changed at"]
