"""A training loop that is short enough to read, and survives what happens to a long run."""

import copy
import dataclasses
import math
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gradbook.train.accumulate import GradientAccumulator
from gradbook.train.checkpoint import load_checkpoint, save_checkpoint
from gradbook.train.history import COLUMNS, Epoch, History
from gradbook.train.nonfinite import first_nonfinite_output
from gradbook.train.processes import all_sum, find_replica, rank, unwrap

Loss = Callable[[Any, Tensor], Tensor]
Metric = Callable[[Any, Tensor], "float | Tensor"]
Step = Callable[[nn.Module, Any], tuple[Tensor, float]]


def fit(
    model: nn.Module,
    loader: Iterable[Any],
    loss_fn: Loss | None,
    optimizer: Optimizer,
    *,
    epochs: int,
    step: Step | None = None,
    val_loader: Iterable[Any] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    scheduler: LRScheduler | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    device: torch.device | str | None = None,
) -> History:
    """Train `model`, and return what happened, epoch by epoch.

    The body of this function is the loop; it is meant to be read. With a
    `DistributedDataParallel` model it trains in several processes, each with its own part of the
    data; losses and metrics are those of all parts, and the first process writes and shows.

    A loss that is not finite, and a gradient that is not finite, end the training before the step;
    the message names the layer. Ctrl-C ends it after the last complete epoch: the history says
    ``interrupted``, the checkpoint is that of the last complete epoch, and the model has the
    weights that it had at that moment.

    Args:
        model: is trained in the mode that it is in, so parts in eval mode stay there; a model that
            is in eval mode as a whole is put into train mode. Afterwards all modes are as before.
        loader: yields pairs (input, target) of a batch; the target is a tensor with a row for each
            sample. Gone through once an epoch, so not a generator.
        loss_fn: of prediction and target, as in torch.nn. Its result is taken as the mean over the
            samples of the batch, or as the sum if its ``reduction`` is ``"sum"``. Either way a step
            uses the mean over all samples of the window. (For a mean over something else, such as
            tokens or class weights, give `step`, which returns the true count.) None with `step`.
        optimizer: of the model's parameters.
        epochs: how many epochs there are in all, those of a resumed run included.
        step: in place of `loss_fn`, for models that compute their own loss and batches that are no
            pairs: called with the model and a batch as `loader` yields it, it returns the loss
            *summed* over the batch, and how many samples (or tokens) that are.
        val_loader: evaluated after each epoch.
        metrics: name and function of prediction and target, which returns a mean over the batch or
            a number for each sample; measured on `val_loader`.
        accumulate: micro-batches in one step, as in `GradientAccumulator`.
        clip_norm: the largest total norm of the gradient.
        scheduler: stepped after each step of the optimizer; a ReduceLROnPlateau after each epoch,
            with val_loss, or train_loss without `val_loader`.
        checkpoint: a file that is written after each epoch; an earlier one is replaced.
        resume: go on from `checkpoint` if the file is there.
        progress: show a bar, where tqdm is installed and the output is a terminal.
        device: `model` and batches are moved there; by default, batches to where the model is. (A
            `DistributedDataParallel` model has to be there already.) A batch keeps its type: what
            has a ``to`` is moved by it, mappings, named tuples and dataclasses part by part.

    Raises:
        FloatingPointError: the loss or the gradient is not finite.
        TypeError: `loader` does not yield pairs, a target is not a tensor, or `step` returns no
            pair of a tensor and a number.
        ValueError: `loader` yields nothing, `loss_fn` returns more than one number, or an argument
            is out of range or does not go with another.

    >>> from gradbook import data
    >>> _ = torch.manual_seed(0)
    >>> x, y = data.line(64, slope=3.0)
    >>> loader = list(zip(x.split(10), y.split(10)))  # the last batch has 4 rows
    >>> model = nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    >>> history = fit(model, loader, nn.MSELoss(), optimizer, epochs=20)
    >>> len(history), history.best.train_loss < 0.02, round(model.weight.item())
    (20, True, 3)
    """
    _check_step(loss_fn, step, metrics or {})
    run = partial(_stepped, step) if step is not None else partial(_on_pair, _summed(loss_fn))
    _check(epochs, val_loader, metrics or {}, checkpoint, resume)
    device = _place(model, device)
    plateau = scheduler if isinstance(scheduler, ReduceLROnPlateau) else None
    accumulator = GradientAccumulator(
        optimizer,
        accumulate,
        model=model,
        # An infinite limit measures the norm without clipping, and finds gradients gone bad.
        clip_norm=math.inf if clip_norm is None else clip_norm,
        scheduler=None if plateau else scheduler,
    )
    state: dict[str, Any] = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    state |= {"accumulator": accumulator, "generator": _generator(loader)}
    history, done = _resume(checkpoint, state) if resume else (History(), 0)

    with _training(model), _Recorder(optimizer, accumulator, progress) as recorder:
        try:
            for epoch in range(done + 1, epochs + 1):
                recorder.begin(epoch)
                for batch in accumulator(_batches(loader, epoch, device)):
                    loss, count = run(model, batch)
                    value = _finite(loss, run, model, batch, epoch)
                    accumulator.backward(loss, count=count)
                    recorder.add(value, count=count)
                found = {}
                if val_loader is not None:
                    found = evaluate(model, val_loader, loss_fn, metrics, step=step, device=device)
                row = recorder.end(found, model)
                if plateau is not None:
                    plateau.step(row.train_loss if row.val_loss is None else row.val_loss)
                history = replace(history, rows=(*history.rows, row))
                if checkpoint is not None:
                    save_checkpoint(checkpoint, **state, history=history, epoch=epoch)
        except KeyboardInterrupt:
            accumulator.discard()
            history = replace(history, interrupted=True)
    return history


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    loss_fn: Loss | None,
    metrics: Mapping[str, Metric] | None = None,
    *,
    step: Step | None = None,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """Mean loss and metrics of `model` over all samples of `loader`, in eval mode, without a graph.

    With a `DistributedDataParallel` model, over the samples of all processes; call it in all.

    Args:
        model: its modes (train or eval, part by part) are as before afterwards.
        loader: yields pairs (input, target) of a batch, as for `fit`.
        loss_fn: of prediction and target, as for `fit`; None with `step`.
        metrics: name and function of prediction and target, which returns a mean over the batch or
            a tensor with a number for each sample.
        step: in place of `loss_fn`, as for `fit`; without `metrics`.
        device: batches are moved there; by default, to where the model is.

    Returns:
        The mean loss as ``"loss"``, and a mean for each metric.

    Raises:
        TypeError: `loader` does not yield pairs, a target is not a tensor, or `step` returns no
            pair of a tensor and a number.
        ValueError: `loader` yields nothing, or a metric is called "loss" or returns neither one
            number nor one for each sample.

    >>> model = nn.Identity()
    >>> loader = [(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 5.0]))]
    >>> evaluate(model, loader, nn.L1Loss(), metrics={"exact": torch.eq})
    {'loss': 0.66..., 'exact': 0.66...}
    """
    metrics = metrics or {}
    _check_names(metrics)
    _check_step(loss_fn, step, metrics)
    module = unwrap(model)
    device = _device_of(module) if device is None else torch.device(device)
    sums, count = [0.0] * (1 + len(metrics)), 0.0
    with _modes_kept(module), torch.no_grad():
        module.eval()
        for batch in _batches(loader, None, device):
            if step is not None:
                loss, samples = _stepped(step, module, batch)
            else:
                x, target = _pair(batch)
                prediction = module(x)
                loss, samples = _summed(loss_fn)(prediction, target), len(target)
                for number, (name, metric) in enumerate(metrics.items(), start=1):
                    sums[number] += _metric_sum(name, metric(prediction, target), samples)
            sums[0] += float(loss)
            count += samples
    *sums, total = all_sum([*sums, count], find_replica(model))
    if total == 0:
        raise ValueError("loader yields nothing, so there is nothing to evaluate")
    return {name: one / total for name, one in zip(["loss", *metrics], sums, strict=True)}


class _Recorder:
    """Keeps the books of `fit`: sums of an epoch, norms of its steps, and the progress bar."""

    def __init__(
        self, optimizer: Optimizer, accumulator: GradientAccumulator, progress: bool
    ) -> None:
        self._optimizer = optimizer
        self._accumulator = accumulator
        self._progress = progress

    def __enter__(self) -> Self:
        self._norms: list[float] = []
        self._bar = _bar() if self._progress else None
        # Steps that a process takes only to go along with the others come here too.
        self._hook = self._optimizer.register_step_post_hook(self._note_norm)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        if self._bar is not None:
            self._bar.close()

    def _note_norm(self, *_: Any) -> None:
        norm = self._accumulator.last_norm
        assert norm is not None  # fit always measures it
        self._norms.append(norm)

    def begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._lr = float(self._optimizer.param_groups[0]["lr"])
        self._norms.clear()
        self._total = 0.0
        self._count = 0.0

    def add(self, loss_sum: float, count: float) -> None:
        self._total += loss_sum
        self._count += count
        if self._bar is not None:
            self._bar.set_description(f"epoch {self._epoch}", refresh=False)
            self._bar.set_postfix(train_loss=f"{self._total / self._count:.4g}", refresh=False)
            self._bar.update()

    def end(self, found: dict[str, float], model: nn.Module) -> Epoch:
        total, count = all_sum([self._total, self._count], find_replica(model))
        if count == 0:
            raise ValueError(
                f"loader yields nothing in epoch {self._epoch}: give a DataLoader or a list of "
                "batches that is not empty (a generator can be gone through only once)"
            )
        return Epoch(
            epoch=self._epoch,
            train_loss=total / count,
            val_loss=found.pop("loss", None),
            metrics=found,
            lr=self._lr,
            grad_norm=statistics.fmean(self._norms),
            steps=len(self._norms),
        )


def _bar() -> Any:
    """A bar on a terminal, in the first process, if tqdm is installed."""
    if rank() != 0 or not sys.stderr.isatty():
        return None
    try:
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError:
        return None
    return tqdm(unit=" batches")


def _check(
    epochs: int,
    val_loader: Iterable[Any] | None,
    metrics: Mapping[str, Metric],
    checkpoint: str | os.PathLike[str] | None,
    resume: bool,
) -> None:
    if isinstance(epochs, bool) or not isinstance(epochs, int):
        raise TypeError(f"epochs must be an integer, got {type(epochs).__name__}")
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if metrics and val_loader is None:
        raise ValueError(
            "metrics are measured on val_loader, which is not given: give one, or call evaluate() "
            "on the training data afterwards"
        )
    _check_names(metrics)
    if resume and checkpoint is None:
        raise ValueError("resume=True needs checkpoint=, the file to go on from")


def _check_names(metrics: Mapping[str, Metric]) -> None:
    for name in metrics:
        if name in ("loss", *COLUMNS):
            raise ValueError(f"a metric cannot be called {name!r}: that is a column of its own")


def _summed(loss_fn: Loss | None) -> Loss:
    """The loss of a batch as the sum over its samples."""
    assert loss_fn is not None
    options = loss_fn.keywords if isinstance(loss_fn, partial) else {}
    reduction = options.get("reduction", getattr(loss_fn, "reduction", "mean"))
    if reduction == "none":
        raise ValueError(
            'loss_fn has reduction="none" and gives a loss for each sample: use "mean" or "sum"'
        )

    def loss_sum(prediction: Any, target: Tensor) -> Tensor:
        loss = loss_fn(prediction, target)
        if not isinstance(loss, Tensor):
            raise TypeError(f"loss_fn must return a tensor, got {type(loss).__name__}")
        if loss.numel() != 1:
            raise ValueError(
                f"loss_fn must return one number, got shape {tuple(loss.shape)}: take the mean"
            )
        return loss if reduction == "sum" else loss * len(target)

    return loss_sum


def _metric_sum(name: str, value: float | Tensor, count: int) -> float:
    if not isinstance(value, Tensor) or value.numel() == 1:
        return float(value) * count
    if value.shape != (count,):
        raise ValueError(
            f"metric {name!r} must return one number or one for each of {count} samples, got "
            f"shape {tuple(value.shape)}"
        )
    return float(value.double().sum())


def _on_pair(loss_sum: Loss, model: nn.Module, batch: Any) -> tuple[Tensor, int]:
    """The step that a loss function makes: of a pair."""
    x, target = _pair(batch)
    return loss_sum(model(x), target), len(target)


def _stepped(step: Step, model: nn.Module, batch: Any) -> tuple[Tensor, float]:
    """What a step of the user returns, if it is what it should be."""
    result = step(model, batch)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Tensor)):
        raise TypeError(
            "step must return the summed loss, a tensor, and the count that it sums, got "
            f"{_described(result)}"
        )
    return result


def _check_step(loss_fn: Loss | None, step: Step | None, metrics: Mapping[str, Metric]) -> None:
    if (loss_fn is None) == (step is None):
        raise ValueError(
            "give a loss: either loss_fn, of prediction and target, or step="
            if step is None
            else "step computes the loss itself: give None as loss_fn"
        )
    if step is not None and metrics:
        raise ValueError("metrics need a prediction and a target, which step does not return")


def _finite(
    loss: Tensor,
    run: Callable[[nn.Module, Any], object],
    model: nn.Module,
    batch: Any,
    epoch: int,
) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss is {value} in epoch {epoch}: {first_nonfinite_output(model, batch, run)}. "
            "If the loss grew before, lower the learning rate or set clip_norm"
        )
    return value


def _batches(
    loader: Iterable[Any], epoch: int | None, device: torch.device | None
) -> Iterator[Any]:
    """The batches of `loader`, on `device`; tells a distributed sampler the epoch."""
    set_epoch = getattr(getattr(loader, "sampler", None), "set_epoch", None)
    if set_epoch is not None and epoch is not None:
        set_epoch(epoch)
    for batch in loader:
        yield batch if device is None else _move(batch, device)


def _pair(batch: Any) -> tuple[Any, Tensor]:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(
            f"loader must yield pairs (input, target), got {_described(batch)}: for anything "
            "else, give step=, or write the loop with GradientAccumulator"
        )
    x, target = batch
    if not isinstance(target, Tensor) or target.ndim == 0:
        raise TypeError(
            "a target must be a tensor with a row for each sample, got "
            f"{'one number' if isinstance(target, Tensor) else _described(target)}"
        )
    return x, target


def _described(value: Any) -> str:
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, (tuple, list, dict)) else f"a {kind}"


def _move(value: Any, device: torch.device) -> Any:
    """A batch on `device`, of the same type; what holds no tensor stays what it is."""
    to = getattr(value, "to", None)
    if callable(to):  # a tensor, a packed sequence, a batch of another library
        return to(device)
    if isinstance(value, Mapping):
        parts = {name: _move(one, device) for name, one in value.items()}
        if not isinstance(value, MutableMapping):
            return type(value)(parts)  # type: ignore[call-arg] # as mappings are made
        moved: Any = copy.copy(value)
        for name, part in parts.items():
            moved[name] = part  # not update(): some forbid it
        return moved
    if isinstance(value, tuple) and hasattr(value, "_make"):  # a named tuple
        return value._make(_move(one, device) for one in value)
    if type(value) in (tuple, list):
        return type(value)(_move(one, device) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        moved = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(moved, field.name, _move(getattr(value, field.name), device))
        return moved
    return value


def _place(model: nn.Module, device: torch.device | str | None) -> torch.device | None:
    """Move `model` to `device`, if one is given; returns where the batches go."""
    if device is None:
        return _device_of(model)
    if find_replica(model) is None:
        model.to(device)
    return torch.device(device)


def _device_of(model: nn.Module) -> torch.device | None:
    return next((parameter.device for parameter in model.parameters()), None)


def _generator(loader: Iterable[Any]) -> torch.Generator | None:
    """What `loader` draws its order from, if that is not torch's global generator."""
    for holder in (loader, getattr(loader, "sampler", None)):
        generator = getattr(holder, "generator", None)
        if isinstance(generator, torch.Generator):
            return generator
    return None


def _resume(
    checkpoint: str | os.PathLike[str] | None, state: dict[str, Any]
) -> tuple[History, int]:
    """History and number of complete epochs: those of the file, or none if it is not there."""
    assert checkpoint is not None
    if not Path(checkpoint).exists():
        return History(), 0
    found = load_checkpoint(checkpoint, **state)
    if found.position:
        raise ValueError(
            f"{checkpoint} was written in the middle of an epoch, after {found.position} batches: "
            "fit goes on from the end of an epoch only"
        )
    history = History() if found.history is None else History.from_dict(found.history)
    return history, found.epoch


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Train mode for a model in eval mode; a model in train mode keeps its parts as they are."""
    with _modes_kept(model):
        if not model.training:
            model.train()
        yield


@contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
