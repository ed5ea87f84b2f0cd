"""Exercises of the page *Hooks, and the order in which they run*."""

import re
from collections.abc import Callable
from types import EllipsisType

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from gradbook.check.answers import WrongAnswer, answer_function, unanswered
from gradbook.check.traces import leaves_no_trace

_LETTERS = "ABCDE"


def order(answer: str | list[str] | tuple[str, ...] | EllipsisType) -> None:
    """Check the order in which the five hooks of exercise 1 are called.

    Raises:
        WrongAnswer: another order, or not five letters; the message names the first mistake.
        TypeError: `answer` is neither a string nor a list of letters.

    >>> order("CEBDA")
    Right. Tensor, node before, node after; then the leaf: tensor hook, and .grad.
    >>> order("ECBDA")
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: E is called too early: the hooks of a tensor run before ...
    """
    if unanswered(answer):
        return
    given = answer if isinstance(answer, str) else None
    if isinstance(answer, (list, tuple)) and all(isinstance(one, str) for one in answer):
        given = "".join(answer)
    if given is None:
        raise TypeError(f'expected letters such as "ABCDE", got {type(answer).__name__}')
    letters = re.sub(r"[^A-Z]", "", given.upper())
    if sorted(letters) != list(_LETTERS):
        raise WrongAnswer(f"Each of {', '.join(_LETTERS)} is called once; you have {given!r}.")
    called = _called()
    for letter, right in zip(letters, called, strict=True):
        if letter != right:
            raise WrongAnswer(f"{letter} is called too early: {_AFTER[letter]}.")
    print("Right. Tensor, node before, node after; then the leaf: tensor hook, and .grad.")


def limit(answer: object) -> None:
    """Check ``limit(tensor, most)``: the gradient of a tensor is cut on its way.

    Raises:
        WrongAnswer: a gradient is wrong, another one changes, or the handle is missing.
        TypeError: `answer` is not a function.

    >>> limit(lambda tensor, most: tensor.register_hook(lambda g: g.clamp(-most, most)))
    Right. A new tensor goes on, and nobody else sees it.
    >>> limit(lambda tensor, most: tensor.register_hook(lambda g: g.clamp_(-most, most)))
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: Another tensor got the cut gradient: you edited the one ...
    """
    function = answer_function(answer, "(tensor, most)")
    if function is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        passed = _limited(function, removed=False)
        after = _limited(function, removed=True)
    slopes = torch.tensor([5.0, -3.0, 0.5], dtype=torch.float64)
    cut = slopes.clamp(-2, 2)
    if torch.equal(passed["x"], cut) and not torch.equal(passed["y"], slopes):
        raise WrongAnswer(
            "Another tensor got the cut gradient: you edited the one that came in place. Return a "
            "new one."
        )
    if torch.equal(passed["x"], slopes) and torch.equal(passed["x.grad"], cut):
        raise WrongAnswer(_TOO_LATE)
    _judge(
        passed["x"],
        cut,
        {
            "Nothing is cut: does the hook return the new gradient?": slopes,
            "Only one side is cut: the range goes from -most to most.": slopes.clamp(max=2),
            "The length of the gradient is limited; each number by itself is wanted.": (
                slopes * (2 / slopes.norm())
            ),
        },
    )
    if not torch.equal(after["x"], slopes):
        raise WrongAnswer(
            "After remove() the gradient is still cut: return the handle of your hook."
        )
    print("Right. A new tensor goes on, and nobody else sees it.")


def norms_of_pass(answer: object) -> None:
    """Check ``norms_of_pass(model, loss)``: the norms of the gradients of one pass, by name.

    Raises:
        WrongAnswer: a norm is wrong, the pass is missing, or a hook is left behind.
        TypeError: `answer` is not a function, or does not return a dictionary.

    >>> def norms(model, loss):
    ...     found, handles = {}, []
    ...     for name, p in model.named_parameters():
    ...         keep = lambda gradient, name=name: found.update({name: gradient.norm()})
    ...         handles.append(p.register_hook(keep))
    ...     loss.backward()
    ...     for handle in handles:
    ...         handle.remove()
    ...     return found
    >>> norms_of_pass(norms)
    Right. A tensor hook sees what this pass brings; .grad is the sum of all passes.
    """
    function = answer_function(answer, "(model, loss)")
    if function is None:
        return
    with torch.inference_mode(False), torch.enable_grad():
        model = _Model()
        names = [name for name, _ in model.named_parameters()]
        earlier = {name: torch.full_like(p, 0.25) for name, p in model.named_parameters()}
        for name, p in model.named_parameters():
            p.grad = earlier[name].clone()
        loss = model()
        gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        new = dict(zip(names, gradients, strict=True))
        with leaves_no_trace("norms_of_pass(model, loss)", may=["grad"], model=model):
            found = function(model, loss)
        if not isinstance(found, dict):
            raise TypeError(
                f"norms_of_pass must return a dictionary, got {type(found).__name__}: a norm by "
                "the name of each parameter"
            )
        # Copies: the pass below adds to .grad in place.
        summed = {
            name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
        }
        shown = dict(found)
        torch.autograd.backward(3 * model())
    if list(shown) == names[-1:]:
        raise WrongAnswer(
            f"Only {names[-1]} is there: a function made in a loop sees the last value of the "
            "loop's names. Give it the name of its turn, as in def keep(gradient, name=name)."
        )
    if sorted(map(str, shown)) != sorted(names):
        raise WrongAnswer(
            f"The keys should be the names of the parameters, {', '.join(names)}; yours are "
            f"{', '.join(map(str, shown)) or 'none'}."
        )
    for name in names:
        total = earlier[name] + new[name]
        _judge(
            torch.as_tensor(shown[name], dtype=torch.float64),
            new[name].norm(),
            {
                f"That of {name} is the norm of .grad, the sum of all passes: a tensor hook sees "
                "what this one brings.": total.norm(),
                f"That of {name} is the norm before this pass.": earlier[name].norm(),
                f"That of {name} is the norm of another parameter: a function made in a loop sees "
                "the last value of the loop's names.": new[names[-1]].norm(),
            },
        )
        if name not in summed or not torch.allclose(summed[name], total):
            raise WrongAnswer(
                f"The norms are right, but {name}.grad is not the sum of the earlier gradient and "
                "this one: call loss.backward() once, and clear nothing."
            )
    if any(found[name] != shown[name] for name in names):
        raise WrongAnswer(
            "A hook is left behind: a later pass changed your dictionary. Remove each by its "
            "handle."
        )
    print("Right. A tensor hook sees what this pass brings; .grad is the sum of all passes.")


_TOO_LATE = (
    "Only .grad is cut, after the gradient has arrived, and a result has none. Cut it on its way, "
    "with register_hook."
)

_AFTER = {
    "A": "a post-accumulate hook runs when .grad is written, after the tensor hooks of the leaf",
    "B": "register_hook of a node runs when the node has run",
    "C": "it is the first",
    "D": "x gets its gradient when the node of h has run, with all that belongs to it",
    "E": "the hooks of a tensor run before those of its node",
}


def _called() -> str:
    """The letters in the order in which torch calls the hooks."""
    called: list[str] = []

    def note(letter: str) -> Callable[..., None]:
        return lambda *_: called.append(letter)

    with torch.inference_mode(False), torch.enable_grad():
        x = torch.ones(3, requires_grad=True)
        h = x * 2
        node = get_gradient_edge(h).node
        x.register_post_accumulate_grad_hook(note("A"))  # type: ignore[no-untyped-call]
        node.register_hook(note("B"))
        h.register_hook(note("C"))  # type: ignore[no-untyped-call]
        x.register_hook(note("D"))  # type: ignore[no-untyped-call]
        node.register_prehook(note("E"))
        torch.autograd.backward(h.sum())
    return "".join(called)


def _limited(function: Callable[..., object], *, removed: bool) -> dict[str, Tensor]:
    """Gradients of two leaves whose gradients are one tensor; the first is limited to 2."""
    slopes = torch.tensor([5.0, -3.0, 0.5], dtype=torch.float64)
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    y = torch.ones(3, dtype=torch.float64, requires_grad=True)
    with leaves_no_trace("limit(tensor, most)", x=x, y=y):
        handle = function(x, 2)
    if removed:
        if not hasattr(handle, "remove"):
            raise WrongAnswer(
                "limit should return what ends it: the handle that register_hook gives."
            )
        handle.remove()
    of_x, of_y = torch.autograd.grad(((x + y) * slopes).sum(), [x, y])
    try:
        torch.autograd.backward((x * slopes).sum())
    except RuntimeError as error:
        if "post accumulate grad hooks" not in str(error):
            raise
        raise WrongAnswer(_TOO_LATE) from error
    assert x.grad is not None
    return {"x": of_x, "y": of_y, "x.grad": x.grad}


def _judge(found: Tensor, wanted: Tensor, mistakes: dict[str, Tensor]) -> None:
    if torch.allclose(found, wanted):
        return
    for message, value in mistakes.items():
        if torch.allclose(found, value):
            raise WrongAnswer(message)
    raise WrongAnswer(f"A number is wrong: {found.tolist()}.")


class _Model(nn.Module):
    """A loss of three parameters that are not random."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.second = nn.Parameter(torch.tensor([0.5, 3.0, 1.0], dtype=torch.float64))
        self.last = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))

    def forward(self) -> Tensor:
        return (self.first.exp().sum() * self.second.square().sum() + self.last.sum() * 7).sin()
