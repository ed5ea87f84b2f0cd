"""Tests of `gradbook.understand.culprit.recording`: where recording was switched off."""

import contextlib
import functools

import pytest
import torch
from torch import nn

from gradbook import explain
from gradbook.understand.culprit.recording import truth
from gradbook.understand.culprit.source import parse, scope_at

model = nn.Linear(2, 1)
ONES = torch.ones(1, 2)


def attack(x):
    """Compute a loss and its gradient, with whatever mode is on."""
    loss = model(x).sum()
    loss.backward()


def in_a_block(x):
    """The caller's block."""
    with torch.no_grad():
        attack(x)


def in_inference_mode(x):
    """The other mode."""
    with torch.inference_mode():
        attack(x)


@torch.no_grad()
def decorated(x):
    """A decorator."""
    attack(x)


wrapped = torch.no_grad()(attack)


def by_a_call(x):
    """For good."""
    torch.set_grad_enabled(False)
    attack(x)


def by_a_setting(x, phase="val"):
    """The setting tells which way it was."""
    with torch.set_grad_enabled(phase == "train"):
        attack(x)


@contextlib.contextmanager
def evaluating():
    """A context manager of the program."""
    with torch.no_grad():
        yield


def in_a_context_of_the_program(x):
    """Its source is read."""
    with evaluating():
        attack(x)


def in_a_context_by_name(x):
    """The object was made before."""
    context = torch.no_grad()
    with context:
        attack(x)


def in_an_exit_stack(x):
    """Entered by a call."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        attack(x)


def as_lightning_does(run):
    """The wrapper chooses the context manager by name."""

    @functools.wraps(run)
    def inner(*arguments):
        context_manager = torch.inference_mode if ONES is None else torch.no_grad
        with context_manager():
            return run(*arguments)

    return inner


framework = as_lightning_does(attack)


@pytest.fixture(autouse=True)
def recording_on_again():
    """Some of the programs leave it off."""
    yield
    torch.set_grad_enabled(True)


def explained(program, *arguments):
    """The explanation of what a program raises."""
    with pytest.raises(RuntimeError) as caught:
        program(*arguments)
    return explain(caught.value)


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (in_a_block, "`with torch.no_grad()` in line {} of `in_a_block`"),
        (in_inference_mode, "`with torch.inference_mode()` in line {} of `in_inference_mode`"),
        (decorated, "`@torch.no_grad()` in line {} of `decorated`"),
        (wrapped, "`@torch.no_grad()` in line {}"),
        (by_a_call, "`torch.set_grad_enabled(False)` in line {} of `by_a_call`"),
        (by_a_setting, "`with torch.set_grad_enabled(phase == 'train')` in line {} of"),
        (in_a_context_of_the_program, "`with evaluating()` in line {} of"),
        (in_a_context_by_name, "`with context` in line {} of"),
        (in_an_exit_stack, "`stack.enter_context(torch.no_grad())` in line {} of"),
        (framework, "`with context_manager()` in line {} of `as_lightning_does"),
    ],
)
def test_a_function_that_led_to_the_loss_has_switched_it_off(program, text):
    """Wherever it stands, the line is named; a sentence that does not fit is not said."""
    explanation = explained(program, ONES)
    assert explanation.details["cause"].startswith("The forward pass ran under")
    says = ("Recording was off: ", "That line stands under ")
    told = [fact for fact in explanation.because if fact.startswith(says)]
    before, after = text.split("{}")
    assert len(told) == 1
    assert before in told[0]
    assert after.removeprefix("as_lightning_does") in told[0] or "inner" in told[0]
    said = str(explanation)
    assert "frozen" not in said
    assert "argmax" not in said
    assert explanation.possible == ()


def test_the_cure_works():
    """`enable_grad` around the forward pass, as it says."""

    def cured(x):
        with torch.enable_grad():
            loss = model(x).sum()
            loss.backward()

    assert "`with torch.enable_grad():`" in explained(in_a_block, ONES).cure.splitlines()[0]
    with torch.no_grad():
        cured(ONES)


def test_in_inference_mode_the_cure_is_another_one():
    """`enable_grad()` does nothing there."""
    cure = explained(in_inference_mode, ONES).cure.splitlines()[0]
    assert cure.startswith("Leave inference mode out")


def test_what_switches_it_on_again_counts():
    """The latest switch on the way; a detach is then the cause."""

    def inner(x):
        loss = model(x).detach().sum()
        loss.backward()

    def program(x):
        with torch.no_grad():
            with torch.enable_grad():
                inner(x)

    explanation = explained(program, ONES)
    assert not any("Recording" in fact for fact in explanation.because)
    assert any("detach()" in fact for fact in explanation.because)


def test_a_block_that_has_ended_does_not_count():
    """Nor does a call inside it, which it has undone."""

    def program(x):
        with torch.no_grad():
            torch.set_grad_enabled(False)
        loss = model(x).detach().sum()
        loss.backward()

    assert "Recording" not in " ".join(explained(program, ONES).because)


def test_a_function_that_has_returned_left_it_off():
    """The mode of the moment shows it, and the line is found in what was called."""

    def validate():
        torch.set_grad_enabled(False)

    def program(x):
        validate()
        attack_after(x)

    def attack_after(x):
        loss = model(x).sum()
        loss.backward()

    explanation = explained(program, ONES)
    assert any("torch.is_grad_enabled()" in fact for fact in explanation.because)
    assert any("`torch.set_grad_enabled(False)` in line" in fact for fact in explanation.because)


def test_a_caller_that_has_gone_on_does_not_count():
    """The error is explained later, under a block that was not there when it came."""

    def program(x):
        loss = model(x).detach().sum()
        try:
            loss.backward()
        except RuntimeError as error:
            return error
        return None

    error = program(ONES)
    with torch.no_grad():
        explanation = explain(error)
    assert not any("Recording" in fact for fact in explanation.because)


def test_the_forward_of_a_function_is_not_recorded():
    """Torch itself switches recording off around it."""

    class Inner(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            (model(x).sum()).backward()
            return x

    explanation = explained(Inner.apply, ONES.clone().requires_grad_())
    assert any("the `forward` of a Function" in fact for fact in explanation.because)


def test_a_backward_pass_is_not_recorded():
    """In a hook recording is off."""

    def hook(gradient):
        loss = model(gradient).sum()
        loss.backward()

    def program():
        x = torch.ones(1, 2, requires_grad=True)
        y = x * 2
        y.register_hook(hook)
        y.sum().backward()

    explanation = explained(program)
    assert any("`a backward pass` in line" in fact for fact in explanation.because)


def test_requires_grad_that_is_set_too_late():
    """The flag was set after the forward pass: recording was on."""

    def program():
        x = torch.ones(2)
        loss = (x * x).sum()
        x.requires_grad_()
        loss.backward()

    explanation = explained(program)
    assert any("`x.requires_grad_()`, which ran later" in fact for fact in explanation.because)
    assert explanation.cure.splitlines()[0].startswith("Set `requires_grad` before")


def test_parameters_that_are_thawed_too_late():
    """The same by a loop over the parameters."""

    def program():
        body = nn.Linear(2, 1).requires_grad_(False)
        loss = body(ONES).sum()
        for p in body.parameters():
            p.requires_grad = True
        loss.backward()

    explanation = explained(program)
    assert any("`p.requires_grad = True`, which ran later" in one for one in explanation.because)


class Settings:
    """Names for tests."""

    scope = None
    title = file = ""

    def known(self, name):
        """Two settings, and something that is none."""
        return {"training": [True], "phase": ["val"], "x": [ONES], "either": [1, 2]}.get(name, [])


@pytest.mark.parametrize(
    ("test", "known"),
    [
        ("training", True),
        ("not training", False),
        ("phase == 'train'", False),
        ("phase != 'train'", True),
        ("phase is None", False),
        ("training and phase == 'val'", True),
        ("training or unknown", True),
        ("training and unknown", None),
        ("x", None),
        ("x == 1", None),
        ("either", None),
        ("phase < 'x'", None),
        ("f()", None),
    ],
)
def test_a_test_that_reads_settings(test, known):
    """True, False, or not known."""
    assert truth(Settings(), parse([test], 1).body[0].value) is known


def test_source_that_has_changed_since_is_not_read():
    """Its lines would be quoted as if they had run."""
    ran = "def f():\n    return 1\n"
    code = next(one for one in compile(ran, "f.py", "exec").co_consts if hasattr(one, "co_code"))
    for text, same in ((ran, True), ("def f():\n    return 2\n", False), ("\n" + ran, False)):
        lines = text.splitlines(keepends=True)
        assert (scope_at(lines, 2, code) is not None) is same
