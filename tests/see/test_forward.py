"""What can be known of a forward pass that is over, and what cannot."""

import torch
from hypothesis import given, settings

from gradbook import record_lines, replay
from programs import run, steps


def values(result):
    """What each node made, by its title; None where nothing tells it."""
    return {
        step.node.tensor_name or step.node.name: None if step.value is None else step.value.numbers
        for step in result.steps
    }


def test_without_a_record_saved_tensors_outputs_and_leaves_tell():
    """Exp saves its result, mul its inputs; the sum of a sum is known to nobody."""
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    y = x + 1
    found = values(replay(((y.exp() * y) + 1).sum(), params={"x": x, "y": y}))
    e = torch.tensor([1.0, 2.0]).exp()
    assert found["x"] == [0, 1]
    assert found["y"] == [1, 2]
    assert found["ExpBackward0"] == e.tolist()
    assert found["MulBackward0"] is None
    assert found["SumBackward0"] == (e * y.detach() + 1).sum().item()


def test_a_record_tells_all_small_ones():
    """And the operands by their names."""
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    with record_lines():
        y = x + 1
        out = (y * y + 3).sum()
    steps = replay(out, params={"x": x}).steps
    assert all(step.value is not None for step in steps)
    square = steps[2]
    assert [(one.name, one.value.numbers) for one in square.operands] == [("y", [1, 2])] * 2
    summed = [(one.name, str(one.value)) for one in steps[1].operands]
    assert summed == [("y * y", "[1, 4]"), ("3", "3")]


def test_a_node_with_several_results_has_no_value():
    """It made more than one tensor."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with record_lines():
        a, b = x.unbind()
        out = a * b
    assert values(replay(out))["UnbindBackward0"] is None


def test_large_results_are_not_read():
    """Their numbers would not be shown."""
    w = torch.ones(100, requires_grad=True)
    assert values(replay((w * 2).sum(), params={"w": w}))["w"] is None


@settings(deadline=None)
@given(steps)
def test_what_is_known_is_true(program):
    """With a record and without, every value is that of the tensor."""
    for record in (True, False):
        with record_lines() if record else torch.enable_grad():
            tensors = run(program)[1]
        names = {f"t{n}": one for n, one in enumerate(tensors) if one.grad_fn is not None}
        by_node = {one.grad_fn: name for name, one in names.items()}
        found = values(replay(tensors[-1].sum(), params={n: names[n] for n in by_node.values()}))
        for name in by_node.values():
            if found.get(name) is not None:
                torch.testing.assert_close(
                    torch.tensor(found[name], dtype=torch.float64), names[name].detach()
                )
