"""Tests of `gradbook.replay`."""

import pickle
import re
import subprocess
import sys
import weakref
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given
from torch import nn

from gradbook import record_lines
from gradbook.see import record
from gradbook.see.replay import replay
from gradbook.see.values import glance
from programs import run, steps


def seed_program():
    """The program of the Learn path: its leaf and its result."""
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x + 2
    return x, (y * y * 2).mean()


def test_the_seed_program_is_replayed_step_by_step():
    """Each node in the engine's order with its real gradients: 1, 1/3, 2/3 ..., 4/3 (x + 2)."""
    x, out = seed_program()
    r = replay(out, params={"x": x})
    assert [step.node.name for step in r.steps] == [
        "MeanBackward0",
        "MulBackward0",
        "MulBackward0",
        "AddBackward0",
        "AccumulateGrad",
    ]
    assert [step.index for step in r.steps] == [0, 1, 2, 3, 4]
    assert r.steps[0].incoming[0].numbers == 1.0
    assert r.steps[1].incoming[0].numbers == pytest.approx([1 / 3] * 3)
    assert r.steps[2].incoming[0].numbers == pytest.approx([2 / 3] * 3)
    # y * y sends a gradient along each of its two edges; the node before gets the sum.
    assert r.steps[2].outgoing[0].numbers == pytest.approx([2, 8 / 3, 10 / 3])
    assert r.steps[2].outgoing[1] == r.steps[2].outgoing[0]
    assert r.steps[3].incoming[0].numbers == pytest.approx([4, 16 / 3, 20 / 3])
    assert r.steps[3].outgoing[1] is None
    done = r.steps[4].accumulated
    assert done.leaf == "x"
    assert done.before is None
    assert done.grad.numbers == pytest.approx(x.grad.tolist())
    assert r.inputs_of(r.steps[2]) == (3, 3)
    assert r.inputs_of(r.steps[1]) == (2, None)


@given(steps)
def test_the_gradients_are_those_of_autograd_at_every_intermediate(program):
    """For any program what comes into a node is the gradient of the tensor that it made."""
    leaves, tensors = run(program)
    out = tensors[-1].sum()
    made = [tensor for tensor in tensors if tensor.grad_fn is not None]
    expected = torch.autograd.grad(out, made, retain_graph=True, allow_unused=True)
    names = {f"t{number}": tensor for number, tensor in enumerate(made)}
    wanted = {}
    for name, tensor, gradient in zip(names, made, expected, strict=True):
        wanted.setdefault(tensor.grad_fn, (name, gradient))
    r = replay(out, params=names)
    found = {step.node.tensor_name: step.incoming[0] for step in r.steps}
    for tensor in made:
        gradient = wanted[tensor.grad_fn][1]
        values = [
            found[name]
            for name, other in names.items()
            if other.grad_fn is tensor.grad_fn and name in found
        ]
        if gradient is None:
            assert not values
        else:
            assert torch.allclose(torch.tensor(values[0].numbers).double(), gradient)
    for leaf in leaves:
        again = [s.accumulated for s in r.steps if s.accumulated is not None]
        if leaf.grad is not None:
            assert any(one.grad.numbers == leaf.grad.tolist() for one in again)


@given(steps)
def test_the_sum_over_paths_is_the_gradient(program):
    """What nodes send along the edges into a node adds up to what comes into it."""
    out = run(program)[1][-1].sum()
    r = replay(out)
    arrived: dict[int, torch.Tensor] = {}
    for step in r.steps:
        for target, value in zip(r.inputs_of(step), step.outgoing, strict=False):
            if target is not None and value is not None:
                sent = torch.tensor(value.numbers).double()
                arrived[target] = arrived.get(target, 0) + sent
    for step in r.steps[1:]:
        incoming = torch.tensor(step.incoming[0].numbers).double()
        assert torch.allclose(arrived[step.node.id], incoming)


@given(steps)
def test_grad_ends_as_backward_leaves_it(program):
    """Replaying twice adds twice, to the bit, as backward does."""
    plain, tensors = run(program)
    watched, tensors2 = run(program)
    for _ in range(2):
        tensors[-1].sum().backward(retain_graph=True)
        replay(tensors2[-1].sum(), retain_graph=True)
    for a, b in zip(plain, watched, strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.equal(a.grad, b.grad)


def test_an_earlier_gradient_is_added_to():
    """The step tells what was there, what came, and what it is now."""
    x, out = seed_program()
    x.grad = torch.ones(3)
    done = replay(out).steps[-1].accumulated
    assert done.before.numbers == [1, 1, 1]
    assert done.grad.numbers == pytest.approx([5, 19 / 3, 23 / 3])


def test_the_graph_is_released_as_by_backward():
    """Without retain_graph a second pass is refused, and the message says why."""
    _, out = seed_program()
    replay(out)
    with pytest.raises(RuntimeError, match=r"not released yet.*retain_graph=True"):
        replay(out)


def test_retain_graph_allows_another_pass():
    """The saved tensors stay."""
    x, out = seed_program()
    replay(out, retain_graph=True)
    replay(out)
    assert x.grad.tolist() == pytest.approx([8, 32 / 3, 40 / 3])


def test_no_hook_is_left(monkeypatch):
    """Every handle that was made is removed, after success and after an error."""
    made, removed = [], []
    original = torch.utils.hooks.RemovableHandle.remove
    kind = torch.utils.hooks.RemovableHandle
    init = kind.__init__

    def count(self, *args, **kwargs):
        made.append(self)
        init(self, *args, **kwargs)

    monkeypatch.setattr(kind, "__init__", count)
    monkeypatch.setattr(kind, "remove", lambda self: (removed.append(self), original(self))[1])
    _, out = seed_program()
    replay(out, retain_graph=True)
    after_success = len(made), len(removed)
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(ZeroDivisionError):
        replay(Breaks.apply(x).sum())
    assert after_success[0] == after_success[1]
    assert len(made) == len(removed)
    # A pass after the replay runs no code of ours.
    seen = len(made)
    out.backward()
    assert len(made) == seen


class Breaks(torch.autograd.Function):
    """Fails in backward."""

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        raise ZeroDivisionError("in backward")


def test_an_error_in_backward_comes_through():
    """It is the user's own error, unchanged."""
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(ZeroDivisionError, match="in backward"):
        replay(Breaks.apply(x).sum())


def test_a_vector_needs_a_gradient():
    """For y of shape (3,), gradient= is the vector of the vector-Jacobian product."""
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"shape \(3,\).*pass gradient="):
        replay(x * 2)
    replay(x * 2, gradient=torch.tensor([1.0, 0.0, 10.0]))
    assert x.grad.tolist() == [2, 0, 20]


def test_several_outputs_are_run_in_one_pass():
    """Each leaf gets the sum, and the shared part runs once."""
    x = torch.ones(2, requires_grad=True)
    h = x * 3
    r = replay(h.sum(), h.mean(), gradient=[None, torch.tensor(2.0)])
    assert x.grad.tolist() == [6, 6]
    assert [step.node.name for step in r.steps].count("MulBackward0") == 1


def test_hooks_of_the_user_are_seen():
    """A tensor hook changes the gradient before the node gets it: the replay shows what it got."""
    x = torch.ones(2, requires_grad=True)
    h = x * 3
    h.register_hook(lambda gradient: gradient * 10)
    r = replay(h.sum(), params={"h": h})
    (step,) = [one for one in r.steps if one.node.tensor_name == "h"]
    assert step.incoming[0].numbers == [10, 10]
    assert x.grad.tolist() == [30, 30]
    assert "in   [1, 1]; a hook made it [10, 10]" in str(r)


def test_the_sum_before_a_hook_is_told():
    """What was sent adds up to 12; the hook makes 120 of it."""
    h = torch.tensor(2.0, requires_grad=True) * 3
    h.register_hook(lambda gradient: gradient * 10)
    r = replay(h * h, params={"h": h})
    assert "in   6 + 6 = 12; a hook made it 120" in str(r)
    assert "; a hook made it <b>g</b> = <data" in r.to_html()


def test_large_tensors_are_summarised():
    """Shape, norm and extremes instead of 400 numbers."""
    w = torch.ones(20, 20, requires_grad=True)
    step = replay((w * 2).sum()).steps[-1]
    assert step.incoming[0].numbers is None
    assert step.incoming[0].norm == pytest.approx(40)
    assert "norm 40" in str(step.incoming[0])


def test_a_sparse_gradient_is_read():
    """An embedding with sparse=True sends one."""
    table = nn.Embedding(50, 4, sparse=True)
    r = replay(table(torch.tensor([1, 3])).sum())
    assert r.steps[-1].accumulated.grad.shape == (50, 4)
    assert table.weight.grad.is_sparse


def test_modes_and_random_numbers_are_as_before():
    """The pass draws no number and leaves the grad mode."""
    _, out = seed_program()
    state = torch.get_rng_state()
    replay(out)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()


def test_the_result_is_frozen_and_short():
    """It can be shown, not changed."""
    r = replay(seed_program()[1])
    assert repr(r) == "Replay(5 steps, 1 leaves)"
    assert len(r) == 5
    with pytest.raises(FrozenInstanceError):
        r.steps = ()


def test_it_is_shown_as_text_and_as_a_player():
    """The text has every step with the rule in numbers; the player carries its table."""
    x, out = seed_program()
    shown = replay(out, params={"x": x})._repr_mimebundle_()
    text = shown["text/plain"]
    assert "x.grad was None, is now [4, 5.333, 6.667]" in text
    assert "g · right = [0.6667, 0.6667, 0.6667] · [3, 4, 5] = [2, 2.667, 3.333]" in text
    assert "in   [2, 2.667, 3.333] + [2, 2.667, 3.333] = [4, 5.333, 6.667]" in text
    assert shown["text/html"].startswith("<gradbook-player")
    rows = re.findall(r'<th scope="row">(\d)</th><td>(.*?)</td>', shown["text/html"])
    assert rows == [
        ("1", "<code>MeanBackward0</code><br><small>()</small>"),
        ("2", "<code>MulBackward0</code><br><small>(3,)</small>"),
        ("3", "<code>MulBackward0</code><br><small>(3,)</small>"),
        ("4", "<code>AddBackward0</code><br><small>(3,)</small>"),
        ("5", "<code>x</code><br><small>AccumulateGrad  (3,)</small>"),
    ]


def test_a_long_pass_is_shown_by_its_ends():
    """More than 150 steps are too many to play: the first and the last twenty, and a note."""
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(200):
        y = y * 1.0
    r = replay(y)
    assert "... 161 steps ..." in str(r)
    assert "161 steps are not shown" in r.to_html()
    assert (
        '<details class="gb-steps" open><summary>The first and the last 20 of 201 steps'
        in r.to_html()
    )
    assert "gradbook-player>" not in r.to_html()


def test_a_gradient_between_two_nodes_is_read_once(monkeypatch):
    """What one sent is what the other gets; only the leaf reads what it is given once more."""
    read = []
    monkeypatch.setattr(record, "glance", lambda one: read.append(one.shape) or glance(one))
    x = torch.ones(3, requires_grad=True)
    y = x
    for _ in range(10):
        y = y * 2.0
    r = replay(y.sum())
    assert len(read) == len(r) + 1
    came = [step.incoming[0] for step in r.steps[1:]]
    assert came == [step.outgoing[0] for step in r.steps[:-1]]


def test_only_the_steps_that_are_shown_are_made(monkeypatch):
    """Of a long pass those are few, and what its other steps hold is not read."""
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(300):
        y = y * 1.0
    r = replay(y)
    made = []
    step = record.Record.step
    monkeypatch.setattr(record.Record, "step", lambda *args: made.append(args) or step(*args))
    assert str(r)
    assert r.to_html()
    assert len(made) < 100


def test_the_gradient_is_told_as_it_came_also_if_a_custom_function_overwrites_it():
    """That is forbidden to it, but it happens."""

    class Overwrites(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            return g.mul_(3)

    x = torch.ones(2, requires_grad=True)
    step = replay((Overwrites.apply(x) * 2).sum()).steps[2]
    assert step.node.name == "OverwritesBackward"
    assert [str(one) for one in step.incoming + step.outgoing] == ["[2, 2]", "[6, 6]"]


def test_a_replay_outlives_the_graph_and_can_be_stored():
    """It holds no node and no tensor, also of what `record_lines` noted of a condition."""
    x = torch.ones(2, requires_grad=True)
    with record_lines():
        y = torch.where(x > 0, x * 2, x)
    alive = weakref.ref(y)
    r = replay(y.sum())
    del y
    assert alive() is None
    assert pickle.loads(pickle.dumps(r)).steps == r.steps


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ([], {}, ValueError, "at least one tensor"),
        ([torch.ones(2, requires_grad=True)], {}, ValueError, "a leaf"),
        ([torch.ones(2)], {}, ValueError, "without a graph"),
        ([torch.tensor([1])], {}, ValueError, "int64"),
        ([[torch.ones(1)]], {}, TypeError, r"replay\(\*tensors\)"),
        ([2.0], {}, TypeError, "got float"),
    ],
)
def test_bad_input_is_named(arguments, keywords, error, message):
    """The same messages as `graph` gives."""
    with pytest.raises(error, match=message):
        replay(*arguments, **keywords)


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (2.0, TypeError, "must be a tensor"),
        (torch.ones(2), ValueError, r"shape of the result, \(\), got \(2,\)"),
        ([None, None], ValueError, "1 tensors and 2 gradients"),
        (["1"], TypeError, "must hold tensors, got str"),
    ],
)
def test_a_bad_gradient_is_named(gradient, error, message):
    """Before anything runs: no gradient is left half-computed."""
    x, out = seed_program()
    with pytest.raises(error, match=message):
        replay(out, gradient=gradient)
    assert x.grad is None


def test_a_chain_of_60_000_nodes_is_replayed_and_dropped():
    """And shown, in an interpreter of its own, since a crash would end the tests."""
    code = """
import torch
from gradbook import replay
x = torch.ones(1, requires_grad=True)
y = x
for _ in range(60_000):
    y = y * 1.0
r = replay(y)
assert len(r) == 60_001 and x.grad == 1
assert "60,001 steps" in r.to_html() and str(r)
del y
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
