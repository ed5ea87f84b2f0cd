"""Refuse a learner's function that leaves something changed behind it."""

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gradbook.check.answers import WrongAnswer

Trace = Literal["values", "grad", "flags", "modes", "random"]


@contextmanager
def leaves_no_trace(
    call: str,
    *,
    may: Collection[Trace] = (),
    **things: nn.Module | Tensor | Sequence[Tensor],
) -> Iterator[None]:
    """Call a learner's function inside, and refuse what it leaves changed behind it.

    The grad mode, the default dtype, anomaly mode and the random states of torch, NumPy and
    Python are put back at the end, whatever happens: a wrong answer does not break the session.
    An error from inside passes through, so a check may raise its own message first.

    Args:
        call: the function with its arguments, for the messages: ``"evaluate(model, x)"``.
        may: what the function may change. Of the `things`: ``"values"``; ``"grad"``, what is in
            ``.grad``; ``"flags"``, requires_grad; ``"modes"``, training or evaluation of each
            part. Of the session: ``"random"``, the random states.
        **things: the modules and tensors that the function was given, by their names.

    Raises:
        WrongAnswer: something else has changed; the message says what.

    >>> model = nn.Linear(1, 1)
    >>> with leaves_no_trace("evaluate(model)", model=model):
    ...     model.eval()
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: evaluate(model) leaves model in evaluation mode; \
    before, it was in training mode: restore it.
    """
    session = [(setting, setting.read()) for setting in _SESSION]
    before = {name: _Look.at(thing) for name, thing in things.items()}
    changed = []
    try:
        yield
    finally:
        for setting, value in session:
            if setting.read() != value:
                setting.write(value)
                if setting.trace not in may:
                    changed.append(setting.message)
    for name, thing in things.items():
        changed += before[name].compare(_Look.at(thing), name, may)
    if changed:
        raise WrongAnswer(f"{call} {changed[0]}")


@dataclass(frozen=True)
class _Setting:
    """A setting of the session that a function should leave as it was."""

    message: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    trace: Trace | None = None


def _random_state() -> tuple[object, ...]:
    kind, key, *rest = np.random.get_state(legacy=True)
    return (
        random.getstate(),
        (kind, tuple(key.tolist()), *rest),  # type: ignore[union-attr] # legacy: an array
        tuple(torch.get_rng_state().tolist()),
    )


def _set_random_state(state: tuple[Any, ...]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(torch.tensor(state[2], dtype=torch.uint8))


_SESSION = (
    _Setting(
        "leaves the grad mode changed: open it as a block (`with torch.no_grad():`) "
        "or as a decorator.",
        torch.is_grad_enabled,
        torch.set_grad_enabled,
    ),
    _Setting(
        "changes the default dtype: give dtype= where a tensor is made.",
        torch.get_default_dtype,
        torch.set_default_dtype,
    ),
    _Setting(
        "leaves anomaly detection changed: open it as a block.",
        torch.is_anomaly_enabled,
        torch.autograd.set_detect_anomaly,
    ),
    _Setting(
        "draws random numbers, or sets a seed: it should do neither.",
        _random_state,
        _set_random_state,
        "random",
    ),
)


@dataclass(frozen=True)
class _Look:
    """What a function could change of a module or of some tensors, at one moment."""

    tensors: dict[str, Tensor]
    values: dict[str, Tensor]
    grads: dict[str, Tensor | None]
    flags: dict[str, bool]
    modes: dict[str, bool]

    @classmethod
    def at(cls, thing: nn.Module | Tensor | Sequence[Tensor]) -> "_Look":
        if isinstance(thing, nn.Module):
            tensors = {**dict(thing.named_parameters()), **dict(thing.named_buffers())}
            modes = {name: part.training for name, part in thing.named_modules()}
        else:
            several = [thing] if isinstance(thing, Tensor) else thing
            tensors = {str(number): one for number, one in enumerate(several)}
            modes = {}
        if isinstance(thing, Tensor):
            tensors = {"": thing}
        return cls(
            tensors,
            {name: one.detach().clone() for name, one in tensors.items()},
            {name: _grad(one) for name, one in tensors.items()},
            {name: one.requires_grad for name, one in tensors.items()},
            modes,
        )

    def compare(self, now: "_Look", name: str, may: Collection[Trace]) -> Iterator[str]:
        """What has changed, as ends of a sentence."""
        dot = "." if self.modes else ""

        def full(part: str) -> str:
            if not part:
                return name
            return f"{name}{dot}{part}" if dot else f"{name}[{part}]"

        if (
            [*self.tensors] != [*now.tensors]
            or [*self.modes] != [*now.modes]
            or any(one is not now.tensors[part] for part, one in self.tensors.items())
        ):
            yield f"puts something else into {name}: change what is there, do not replace it."
            return
        for part, value in self.values.items():
            if "values" not in may and not _identical(value, now.values[part]):
                yield f"changes the values of {full(part)}: work on a copy."
            if "flags" not in may and self.flags[part] != now.flags[part]:
                yield (
                    f"leaves requires_grad={now.flags[part]} on {full(part)}; before, it was "
                    f"{self.flags[part]}."
                )
            if "grad" not in may and not _identical(self.grads[part], now.grads[part]):
                yield f"changes the .grad of {full(part)}: torch.autograd.grad leaves it alone."
        for part, training in self.modes.items():
            if "modes" not in may and training != now.modes[part]:
                yield (
                    f"leaves {full(part)} in {_mode(now.modes[part])} mode; before, it was in "
                    f"{_mode(training)} mode: restore it."
                )


def _mode(training: bool) -> str:
    return "training" if training else "evaluation"


def _grad(tensor: Tensor) -> Tensor | None:
    if not (tensor.is_leaf or tensor.retains_grad) or tensor.grad is None:
        return None  # asking a non-leaf warns
    return tensor.grad.detach().clone()


def _identical(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(((a == b) | ((a != a) & (b != b))).all())  # noqa: PLR0124 -- nan differs from itself
