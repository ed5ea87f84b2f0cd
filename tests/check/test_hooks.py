"""The checks of the page *Hooks, and the order in which they run*."""

import pytest
import torch

from gradbook import check
from gradbook.check import WrongAnswer


@pytest.mark.parametrize("answer", ["CEBDA", "c, e, b, d, a", "C E B D A", list("CEBDA")])
def test_the_order_is_accepted_in_each_form(answer, capsys):
    """Case and separators do not matter."""
    check.hooks.order(answer)
    assert "Right. Tensor, node before, node after" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("ECBDA", "E is called too early: the hooks of a tensor"),
        ("CBEDA", "B is called too early: register_hook of a node"),
        ("CEDBA", "D is called too early: x gets its gradient"),
        ("CEBAD", "A is called too early: a post-accumulate hook"),
        ("ABCDE", "A is called too early"),
        ("CEBD", "is called once; you have 'CEBD'"),
        ("CEBDF", "is called once"),
        ("CEBDAA", "is called once"),
    ],
)
def test_the_first_mistake_in_the_order_is_named(answer, message):
    """The letter that comes too early, and the rule against it."""
    with pytest.raises(WrongAnswer, match=message):
        check.hooks.order(answer)


def test_the_order_takes_letters_only():
    """Numbers are no letters."""
    with pytest.raises(TypeError, match="expected letters"):
        check.hooks.order([3, 5, 2, 4, 1])


def right_limit(tensor, most):
    """Return a cut copy."""
    return tensor.register_hook(lambda gradient: gradient.clamp(-most, most))


def test_a_limit_is_accepted(capsys):
    """A hook that returns a new tensor, and its handle."""
    check.hooks.limit(right_limit)
    assert "Right. A new tensor goes on" in capsys.readouterr().out


def hook(function):
    """Register a hook and return its handle."""
    return lambda tensor, most: tensor.register_hook(lambda g: function(g, most))


def no_handle(tensor, most):
    """Return nothing."""
    tensor.register_hook(lambda gradient: gradient.clamp(-most, most))


class Useless:
    """A handle of something else."""

    def remove(self):
        """Do nothing."""


def wrong_handle(tensor, most):
    """Return a handle that ends nothing."""
    no_handle(tensor, most)
    return Useless()


def assigns_grad(tensor, most):
    """Touch .grad instead of the gradient on its way."""
    tensor.grad = torch.zeros_like(tensor)
    return right_limit(tensor, most)


def cuts_grad(tensor, most):
    """Cut what is in .grad, when the gradient has arrived."""

    def cut(leaf):
        leaf.grad.clamp_(-most, most)

    return tensor.register_post_accumulate_grad_hook(cut)


def returns_grad(tensor, most):
    """The same, and return what no such hook may return."""
    return tensor.register_post_accumulate_grad_hook(lambda leaf: leaf.grad.clamp_(-most, most))


def fails_later(tensor, most):
    """A hook that raises in the second pass."""
    calls = []

    def cut(gradient):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("a fault of its own")
        return gradient.clamp(-most, most)

    return tensor.register_hook(cut)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (hook(lambda g, most: g.clamp_(-most, most)), "Another tensor got the cut gradient"),
        (hook(lambda g, most: None), "Nothing is cut"),
        (hook(lambda g, most: g.clamp(max=most)), "Only one side"),
        (hook(lambda g, most: g * (most / g.norm())), "The length of the gradient"),
        (hook(lambda g, most: g * 0), "A number is wrong"),
        (no_handle, "should return what ends it"),
        (wrong_handle, "still cut"),
        (assigns_grad, "changes the .grad of x"),
        (cuts_grad, "Only .grad is cut"),
        (returns_grad, "Only .grad is cut"),
    ],
)
def test_a_wrong_limit_is_told_why(answer, message):
    """Edits in place, one-sided cuts and lost handles have messages."""
    with pytest.raises(WrongAnswer, match=message):
        check.hooks.limit(answer)


def test_an_error_of_the_hook_itself_passes_through():
    """It is not taken for a mistake of another kind."""
    with pytest.raises(RuntimeError, match="a fault of its own"):
        check.hooks.limit(fails_later)


def norms_by(keep):
    """Norms that a tensor hook writes by ``keep``; the hooks are removed."""

    def norms(model, loss):
        found, handles = {}, []
        for name, p in model.named_parameters():
            handles.append(p.register_hook(keep(found, name)))
        loss.backward()
        for handle in handles:
            handle.remove()
        return found

    return norms


right_norms = norms_by(lambda found, name: lambda g: found.update({name: g.norm()}))


def norms_as_floats(model, loss):
    """Take the difference of .grad before and after."""
    before = {name: p.grad.clone() for name, p in model.named_parameters()}
    loss.backward()
    return {name: (p.grad - before[name]).norm().item() for name, p in model.named_parameters()}


@pytest.mark.parametrize("answer", [right_norms, norms_as_floats])
def test_norms_of_the_pass_are_accepted(answer, capsys):
    """With hooks that are removed, or without any."""
    check.hooks.norms_of_pass(answer)
    assert "Right. A tensor hook sees" in capsys.readouterr().out


def of_grad(model, loss):
    """Read .grad, which is the sum."""
    loss.backward()
    return {name: p.grad.norm() for name, p in model.named_parameters()}


def clears(model, loss):
    """Clear the earlier gradients."""
    model.zero_grad()
    return of_grad(model, loss)


def without_pass(model, loss):
    """Forget backward."""
    return {name: p.grad.norm() for name, p in model.named_parameters()}


def by_grad(model, loss):
    """Take the gradients without adding them to .grad."""
    names = [name for name, _ in model.named_parameters()]
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return {name: one.norm() for name, one in zip(names, gradients, strict=True)}


def last_name(model, loss):
    """Let each hook see the loop's last name."""
    found, handles = {}, []
    for name, p in model.named_parameters():
        handles.append(p.register_hook(lambda g: found.update({name: g.norm()})))  # noqa: B023 -- the mistake
    loss.backward()
    for handle in handles:
        handle.remove()
    return found


def hooks_left(model, loss):
    """Remove no hook."""
    found = {}
    for name, p in model.named_parameters():
        p.register_hook(lambda g, name=name: found.update({name: g.norm()}))
    loss.backward()
    return found


def no_grad_left(model, loss):
    """Leave no gradient at all."""
    found = right_norms(model, loss)
    model.zero_grad()
    return found


def another_parameter(model, loss):
    """Give the norm of the last parameter for all."""
    found = right_norms(model, loss)
    return dict.fromkeys(found, found["last"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (of_grad, "the sum of all passes"),
        (clears, "is not the sum of the earlier gradient"),
        (without_pass, "norm before this pass"),
        (by_grad, "is not the sum of the earlier gradient"),
        (no_grad_left, "is not the sum of the earlier gradient"),
        (last_name, "Only last is there: a function made in a loop"),
        (lambda model, loss: {"weight": 1.0}, "The keys should be the names"),
        (hooks_left, "A hook is left behind"),
        (another_parameter, "norm of another parameter"),
        (lambda model, loss: {}, "yours are none"),
        (
            norms_by(lambda found, name: lambda g: found.update({name: g.sum()})),
            "A number is wrong",
        ),
    ],
)
def test_wrong_norms_are_told_why(answer, message):
    """Sums of passes, cleared gradients, late names and hooks left behind have messages."""
    with pytest.raises(WrongAnswer, match=message):
        check.hooks.norms_of_pass(answer)


def test_norms_come_as_a_dictionary():
    """A list has no names."""
    with pytest.raises(TypeError, match="must return a dictionary, got list"):
        check.hooks.norms_of_pass(lambda model, loss: list(right_norms(model, loss).values()))


@pytest.mark.parametrize("exercise", ["order", "limit", "norms_of_pass"])
def test_three_dots_are_no_answer(exercise, capsys):
    """An exercise that nobody has tried yet raises nothing."""
    getattr(check.hooks, exercise)(...)
    assert "No answer yet" in capsys.readouterr().out
