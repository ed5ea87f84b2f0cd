"""Accumulate gradients over micro-batches so that a step equals that of the whole batch."""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gradbook.train.nonfinite import first_nonfinite_gradient
from gradbook.train.processes import (
    all_sum,
    exchange_gradients,
    find_replica,
    forward_without_batch,
    is_sharded,
    note_lost_process,
    unwrap,
    world_size,
)

Batch = TypeVar("Batch")


class GradientAccumulator:
    """Step once for several micro-batches, with the gradient of their union.

    ::

        accumulator = GradientAccumulator(optimizer, every=4, model=model)
        for x, y in accumulator(loader):
            loss = cross_entropy(model(x), y, reduction="sum")
            accumulator.backward(loss, count=len(x))

    Losses are *summed*, and the summed gradient is divided by the number of samples once, when the
    window is complete. So micro-batches of unequal size weigh what they should, which a mean of
    means does not do. A window is `every` micro-batches, or fewer where the loader ends; its end is
    known by fetching one batch ahead, so a loader needs no length.

    A window begins with no gradient: what another loss has left in ``.grad`` by then, as the
    generator's does in the discriminator of a GAN, belongs to no window and is cleared. Inside a
    window nothing else may touch these gradients; a change is noticed, and refused.

    When a window is complete, inside the `backward` that completes it, in this order: the
    gradients are unscaled, divided by the count and clipped; the optimizer steps; the scaler is
    updated; the gradients are cleared; the scheduler steps.

    With a `DistributedDataParallel` model, gradients are exchanged once a window (``no_sync``
    holds around the forward and backward of all but the last micro-batch), and counts are summed
    over the processes. Processes may have different numbers of samples and of micro-batches: the
    n-th step is that of one process on the union of all n-th windows, and one that has run out of
    data goes on stepping with the others, with nothing to add. Its loop ends when all others' do.

    What it cannot see: a *mean* given as `loss_sum` is divided by the count a second time, and the
    gradient is too small. Call the loss with ``reduction="sum"``.

    Args:
        optimizer: holds the parameters.
        every: micro-batches in one step, at least 1.
        model: the module that computes the loss; needed for `DistributedDataParallel`, and else
            used for names in messages and for a check that `optimizer` holds its parameters.
        clip_norm: the largest total norm (2-norm) of the gradients of all the optimizer's
            parameters, as in `torch.nn.utils.clip_grad_norm_`; ``inf`` measures without clipping.
        scaler: for float16, with `torch.autocast`. A step that it skips because of an overflow is
            not counted, and the scheduler does not step.
        scheduler: stepped after each step of the optimizer.

    Attributes:
        steps: how many times the optimizer has stepped.

    Raises:
        TypeError: `optimizer` is not an optimizer, `every` not an integer, `scheduler` is a
            ReduceLROnPlateau, which needs a measured value, or the parameters are sharded over
            processes (FSDP).
        ValueError: `every` is below 1, `clip_norm` is not positive, or `optimizer` holds none of
            the parameters of `model`.

    Warns:
        UserWarning: some parameters of `model` are not in `optimizer`, or some in `optimizer` are
            not in `model` (it was built before they were replaced), or several processes run and
            `model` is not a DistributedDataParallel.

    >>> import torch
    >>> w = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    >>> accumulator = GradientAccumulator(torch.optim.SGD([w], lr=0.25), every=2)
    >>> loader = [torch.tensor([1.0, 2.0, 6.0]), torch.tensor([7.0]), torch.tensor([4.0])]
    >>> for x in accumulator(loader):
    ...     accumulator.backward(((w - x) ** 2).sum(), count=len(x))
    ...     print(f"w = {w.item():.1f} after {accumulator}")
    w = 0.0 after GradientAccumulator(every=2, steps=0, pending=1)
    w = 2.0 after GradientAccumulator(every=2, steps=1, pending=0)
    w = 3.0 after GradientAccumulator(every=2, steps=2, pending=0)
    """

    steps: int

    def __init__(
        self,
        optimizer: Optimizer,
        every: int,
        *,
        model: nn.Module | None = None,
        clip_norm: float | None = None,
        scaler: GradScaler | None = None,
        scheduler: LRScheduler | None = None,
    ) -> None:
        _check_arguments(optimizer, every, clip_norm, scheduler)
        if is_sharded(model, _parameters(optimizer)):
            raise TypeError(
                "model must not be sharded (FSDP): every process holds a part of each gradient, "
                "and what this class divides and clips are whole ones. Use DistributedDataParallel,"
                " or write the loop by hand, with the sum of the counts over all processes"
            )
        self._optimizer = optimizer
        self._every = every
        self._clip_norm = clip_norm
        self._scaler = scaler
        self._scheduler = scheduler
        self._model = model
        self._replica = find_replica(model)
        if model is not None:
            _check_parameters(optimizer, unwrap(model))
        if self._replica is None and world_size() > 1:
            warnings.warn(
                f"{world_size()} processes run, but model is not a DistributedDataParallel: "
                "gradients and counts stay in this process (pass model=)",
                stacklevel=2,
            )

        self.steps = 0
        self._norm: Tensor | float | None = None
        self._pending = 0
        self._count = 0.0
        self._broken = ""  # why .grad cannot be trusted
        # Of an open window: its parameters; and each with its gradient after our last backward.
        self._owners: list[Tensor] = []
        self._held: list[tuple[Tensor, Tensor | None, int | None]] = []
        self._unscaled = False  # the scaler is between unscale_() and update()
        self._looping = False
        self._waiting = False  # a batch was handed out, its backward() has not come
        self._boundary = False  # that batch completes the window
        self._more = False  # this process has a batch after that one
        self._uneven = False  # not every process has data for this window, but some have

    @property
    def every(self) -> int:
        """Micro-batches in one step."""
        return self._every

    @property
    def pending(self) -> int:
        """Micro-batches in the open window: whose gradients are in ``.grad`` and not yet used."""
        return self._pending

    @property
    def last_norm(self) -> float | None:
        """Total norm of the last step's gradient before clipping; None without `clip_norm`."""
        return None if self._norm is None else float(self._norm)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(every={self._every}, steps={self.steps}, "
            f"pending={self._pending})"
        )

    def __call__(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Go through `loader`; the body calls `backward` once for each batch.

        Gradients that are there when a window begins belong to no window: they are cleared.
        An exception or a ``break`` in the body leaves the window open, and nothing is stepped:
        `pending` says how many micro-batches it holds, and `flush` or `discard` ends it.

        Raises:
            RuntimeError: a window is open, or another loop of this accumulator is; in the loop,
                that `backward` was not called for a batch.
        """
        if self._looping:
            raise RuntimeError(
                "a loop over this accumulator is running already: end it, or close() its iterator"
            )
        self._check_broken()
        if self._pending:
            raise RuntimeError(
                f"a window is open, with {self._pending} of {self._every} micro-batches, from a "
                "loop that was left early: call flush() to step with them, or discard() to drop "
                "them"
            )
        return self._loop(loader)

    def _loop(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        self._looping = True
        try:
            self._clear()
            started = False
            for batch, last in _look_ahead(loader):
                if not started:
                    started = True
                    self._agree(has_data=True)
                self._more = not last
                self._boundary = last or self._pending + 1 == self._every
                self._waiting = True
                if self._replica is None:
                    yield batch
                else:
                    with self._synchronize(self._replica):
                        yield batch
                if self._waiting:
                    raise RuntimeError(
                        "backward() was not called for the last batch: call it once for every "
                        "batch of the loop (leave a batch out in the loader, not in the loop)"
                    )
            if not started:
                self._agree(has_data=False)
            while self._uneven and self._replica is not None:
                forward_without_batch(self._replica)
                self._check_gradients()
                self._step()
        finally:
            self._looping = self._waiting = self._more = self._uneven = False

    def backward(self, loss_sum: Tensor, count: float) -> None:
        """Add the gradient of `loss_sum`; step if this completes the window.

        Args:
            loss_sum: the loss *summed* over the samples of this micro-batch, one number.
            count: how many samples (or tokens, or whatever the loss is a mean of) it sums.

        Raises:
            TypeError: `loss_sum` is not a tensor or `count` not a number.
            ValueError: `loss_sum` has more than one element, or `count` is not positive.
            RuntimeError: called outside of the loop, or twice for a batch; or something else has
                changed the gradients of the open window, a second ``backward()``, `replay` or
                ``zero_grad()``. The message names a parameter; nothing has been stepped.
            FloatingPointError: `clip_norm` is given, there is no scaler, and the gradient has inf
                or nan. The message names its parameter. Nothing has been stepped.
        """
        if not self._waiting:
            self._check_broken()
            raise RuntimeError(
                "backward() was called twice for one batch: add the losses and call it once"
                if self._looping
                else "backward() was called outside of the loop: write "
                "`for batch in accumulator(loader):` around it"
            )
        if not isinstance(loss_sum, Tensor):
            raise TypeError(f"loss_sum must be a tensor, got {type(loss_sum).__name__}")
        if loss_sum.numel() != 1:
            raise ValueError(
                f"loss_sum must be one number, got shape {tuple(loss_sum.shape)}: "
                'sum it over the micro-batch (reduction="sum")'
            )
        if type(count) is not int:
            count = _number(count)
        if not 0 < count < math.inf:
            raise ValueError(
                f"count must be positive and finite, got {count}: it is the number of samples "
                "that loss_sum sums (leave an empty batch out in the loader)"
            )
        self._check_broken()
        self._check_gradients()
        self._waiting = False
        loss = loss_sum if self._scaler is None else self._scaler.scale(loss_sum)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
            self._pending += 1
            self._count += count
        except BaseException as error:
            self._broken = _HALF_WAY
            if self._replica is not None and isinstance(error, RuntimeError):
                note_lost_process(error)
            raise
        if self._boundary:
            self._step()
        else:
            self._note_gradients()

    def flush(self) -> None:
        """Step now, with what the open window holds; without an open window, do nothing.

        For a loop that was left early. With several processes, call it in all of them.

        Raises:
            RuntimeError: a batch waits for its `backward`, one has failed half-way, or something
                else has changed the gradients of the window.
        """
        self._check_broken()
        if self._waiting:
            raise RuntimeError("call backward() for this batch before flush()")
        if self._pending:
            self._check_gradients()
        if self._replica is not None:
            # None of the open window's gradients has been exchanged.
            self._uneven = True
        elif not self._pending:
            return
        self._step()

    def discard(self) -> None:
        """Drop the open window: clear its gradients and step nothing.

        With several processes, call it in all of them.
        """
        self._clear()
        self._pending = 0
        self._count = 0.0
        self._broken = ""
        if self._scaler is not None and self._unscaled:
            self._scaler.update(self._scaler.get_scale())  # the one way to make it forget
            self._unscaled = False

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs: plain numbers.

        Raises:
            RuntimeError: a window is open; its gradients would be lost.
        """
        if self._pending or self._broken:
            raise RuntimeError(
                f"a window is open, with {self._pending} of {self._every} micro-batches, and its "
                "gradients are no part of the state: save after a complete window (pending is 0), "
                "or call flush() or discard() first"
            )
        return {"steps": self.steps, "last_norm": self.last_norm}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; an open window is dropped."""
        steps, norm = int(state["steps"]), state["last_norm"]
        self.discard()
        self.steps = steps
        self._norm = norm

    def _agree(self, *, has_data: bool) -> None:
        """Find out whether the first window has data in all processes."""
        if self._replica is not None:
            self._note_others(all_sum([float(has_data)], self._replica)[0])

    def _note_others(self, with_data: float) -> None:
        assert self._replica is not None
        self._uneven = 0 < with_data < self._replica.process_group.size()

    def _synchronize(
        self, replica: nn.parallel.DistributedDataParallel
    ) -> AbstractContextManager[None]:
        """Let `replica` exchange gradients in the last backward of a window that all share."""
        if self._boundary and not self._uneven:
            return nullcontext()
        context: AbstractContextManager[None] = replica.no_sync()
        return context

    def _total_count(self) -> float:
        """The count of the window, in all processes; sees to the exchange of its gradients."""
        replica = self._replica
        if replica is None:
            return self._count
        total, with_data = all_sum([self._count, float(self._more)], replica)
        if self._uneven and total > 0:
            exchange_gradients(replica)
        self._note_others(with_data)
        # DistributedDataParallel divides by the number of processes: undo it.
        return total / replica.process_group.size()

    def _step(self) -> None:
        """End the window: one step with what it holds."""
        try:
            total = self._total_count()
            stepped = total > 0 and self._apply(total)
        except BaseException:
            self._broken = _HALF_WAY
            raise
        self._clear()
        self._pending = 0
        self._count = 0.0
        if stepped:
            self.steps += 1
            if self._scheduler is not None:
                self._scheduler.step()

    def _apply(self, total: float) -> bool:
        """Turn sums into means and step; returns whether the scaler let the optimizer step."""
        optimizer, scaler = self._optimizer, self._scaler
        if scaler is not None:
            scaler.unscale_(optimizer)
            self._unscaled = True
        gradients = [p.grad for p in self._owners if p.grad is not None]
        for gradient in gradients:
            gradient.div_(total)
        if self._clip_norm is not None:
            self._clip(gradients)
        if scaler is None:
            optimizer.step()
            return True
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        self._unscaled = False
        # A smaller scale is the one public sign of a skipped step, and holds for fused
        # optimizers too, which skip on the device.
        return scaler.get_scale() >= scale

    def _clip(self, gradients: list[Tensor]) -> None:
        assert self._clip_norm is not None
        self._norm = norm = get_total_norm(gradients)
        if self._scaler is None and not math.isfinite(norm):
            name = first_nonfinite_gradient(self._named_parameters())
            what = f"the gradient of {name} has inf or nan" if name else "the norm overflows"
            raise FloatingPointError(
                f"the gradient of step {self.steps + 1} is not finite: {what}. Nothing was "
                "stepped; look at .grad, then call discard()"
            )
        if math.isfinite(self._clip_norm):
            clip_grads_with_norm_(_parameters(self._optimizer), self._clip_norm, norm)

    def _named_parameters(self) -> list[tuple[str, Tensor]]:
        named = [] if self._model is None else list(unwrap(self._model).named_parameters())
        known = {parameter for _, parameter in named}
        others = [
            (f"parameter {number} of the optimizer (shape {tuple(parameter.shape)})", parameter)
            for number, parameter in enumerate(_parameters(self._optimizer))
            if parameter not in known
        ]
        return [*others, *((repr(name), parameter) for name, parameter in named)]

    def _clear(self) -> None:
        for parameter in _parameters(self._optimizer):
            parameter.grad = None
        self._held = []

    def _note_gradients(self) -> None:
        self._held = [
            (parameter, gradient, None if gradient is None else gradient._version)
            for parameter in self._owners
            for gradient in (parameter.grad,)
        ]

    def _check_gradients(self) -> None:
        """Begin a window without gradients; inside one, refuse what others have done to them."""
        if not self._pending:
            self._owners = _parameters(self._optimizer)
            for parameter in self._owners:
                parameter.grad = None
            return
        for parameter, gradient, version in self._held:
            if parameter.grad is not gradient or (
                gradient is not None and gradient._version != version
            ):
                names = {one: name for name, one in self._named_parameters()}
                self._broken = (
                    f"something else has changed the gradient of {names[parameter]} since the "
                    "last micro-batch: another backward(), replay(), zero_grad(), clipping. It "
                    "would count as part of this window"
                )
                self._check_broken()

    def _check_broken(self) -> None:
        if self._broken:
            raise RuntimeError(f"{self._broken}: call discard() to drop the window, then go on")


_HALF_WAY = (
    "an earlier backward() or step failed half-way, so the gradients of the open window are not "
    "whole"
)


def _look_ahead(loader: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
    """Each batch, and whether it is the last."""
    batches = iter(loader)
    try:
        batch = next(batches)
    except StopIteration:
        return
    for upcoming in batches:
        yield batch, False
        batch = upcoming
    yield batch, True


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    # By way of a dict, since a group may hold a parameter twice. Not kept: groups can be added.
    return list(dict.fromkeys(p for group in optimizer.param_groups for p in group["params"]))


def _number(count: Any) -> float:
    many = isinstance(count, Tensor) and count.numel() != 1
    if many or isinstance(count, bool) or not hasattr(count, "__float__"):
        raise TypeError(f"count must be a number, got {count!r}")
    return float(count)


def _check_arguments(
    optimizer: Any, every: Any, clip_norm: float | None, scheduler: LRScheduler | None
) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}"
        )
    if isinstance(every, bool) or not isinstance(every, int):
        raise TypeError(
            f"every must be an integer, got {type(every).__name__}: it is the number of "
            "micro-batches in one optimizer step"
        )
    if every < 1:
        raise ValueError(
            f"every must be at least 1, got {every}: it is the number of micro-batches in one "
            "optimizer step"
        )
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(
            f"clip_norm must be positive, got {clip_norm}: it is the largest norm of the gradient "
            "(None does not clip)"
        )
    if isinstance(scheduler, ReduceLROnPlateau):
        raise TypeError(
            "scheduler must not be a ReduceLROnPlateau: it needs a measured value, so step it "
            "yourself, after a validation"
        )


def _check_parameters(optimizer: Optimizer, module: nn.Module) -> None:
    ours = dict.fromkeys(_parameters(optimizer))
    theirs = {parameter: name for name, parameter in module.named_parameters()}
    left_out = [name for p, name in theirs.items() if p.requires_grad and p not in ours]
    foreign = [
        f"{number} (shape {tuple(p.shape)})" for number, p in enumerate(ours) if p not in theirs
    ]
    if theirs and len(foreign) == len(ours):
        raise ValueError(
            "optimizer holds none of the parameters of model, so a step would not change it: "
            "build the optimizer from model.parameters(), after the model is complete"
        )
    if left_out:
        warnings.warn(
            f"parameters of model that are not in optimizer will not be trained: "
            f"{_some(left_out)}. If they are frozen on purpose, call requires_grad_(False) on "
            "them",
            stacklevel=3,
        )
    if foreign:
        warnings.warn(
            f"parameters of optimizer that are not in model: {_some(foreign)}. If a part of the "
            "model was replaced after the optimizer was built, build the optimizer again",
            stacklevel=3,
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


_SHOWN = 5
