"""Write and read checkpoints from which training goes on as if it had never stopped."""

import os
import random
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradbook.train.accumulate import GradientAccumulator
from gradbook.train.processes import rank, unwrap, world_size


@runtime_checkable
class _HasDict(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of the training that wrote it.

    Attributes:
        path: the file.
        epoch: how many epochs were complete.
        position: how many batches of the next epoch were done.
        history: what was given to `save_checkpoint`, as plain values.
        torch_version: of the torch that wrote it.
    """

    path: Path
    epoch: int
    position: int
    history: dict[str, Any] | None = field(repr=False)
    torch_version: str


def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler | None = None,
    scaler: GradScaler | None = None,
    accumulator: GradientAccumulator | None = None,
    history: Mapping[str, Any] | _HasDict | None = None,
    generator: torch.Generator | None = None,
    epoch: int = 0,
    position: int = 0,
) -> None:
    """Write the state of a training run to `path`, all or nothing.

    Python's, NumPy's and torch's random states go along. The file is written under another name in
    the same folder (``.<name>.tmp``), forced to the disk and renamed. So a run that is killed at
    any moment leaves the old checkpoint or the new one, whole.

    With several processes, call it in all of them: each gives its random states, the first one
    writes, and all return when the file is there. The weights are saved without the
    `DistributedDataParallel` around them, so one process can read what several wrote.

    Args:
        path: the file; an earlier one is replaced.
        model: its ``state_dict()`` is saved, and so on for the following.
        optimizer: of the model.
        scheduler: of the learning rate.
        scaler: of the loss.
        accumulator: must have no open window.
        history: plain values, or an object with a ``to_dict()`` such as `History`.
        generator: what the loader draws its order from, if it is not torch's global generator.
        epoch: how many epochs are complete.
        position: how many batches of the next epoch are done.

    Raises:
        TypeError: a state holds an object that a safe load (``weights_only=True``) refuses; the
            message says where. Nothing has been written.
        ValueError: `epoch` or `position` is negative.
        RuntimeError: `accumulator` has an open window.
        FileNotFoundError: the folder does not exist.

    >>> import tempfile
    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.pt")
    ...     save_checkpoint(path, model=model, optimizer=optimizer, epoch=3)
    ...     expected = torch.randn(2)
    ...     checkpoint = load_checkpoint(path, model=model, optimizer=optimizer)
    >>> checkpoint.epoch, torch.equal(torch.randn(2), expected)
    (3, True)
    """
    path = Path(os.path.realpath(path))
    for name, number in (("epoch", epoch), ("position", position)):
        if number < 0:
            raise ValueError(f"{name} must be 0 or more, got {number}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of the checkpoint does not exist: {path.parent}")
    content: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "torch": str(torch.__version__),
        "epoch": epoch,
        "position": position,
        "history": history.to_dict() if isinstance(history, _HasDict) else history,
        "model": unwrap(model).state_dict(),
        "classes": {"optimizer": type(optimizer).__name__, "scheduler": type(scheduler).__name__},
    }
    stateful = _stateful(optimizer, scheduler, scaler, accumulator)
    content |= {name: thing.state_dict() for name, thing in stateful.items()}
    for name, value in content.items():
        _check_plain(name, value)

    content["random"] = _gather(_random_state(generator))
    if rank() == 0:
        _write(path, content)
    if world_size() > 1:
        dist.barrier()


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: nn.Module | None = None,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
    scaler: GradScaler | None = None,
    accumulator: GradientAccumulator | None = None,
    generator: torch.Generator | None = None,
    restore_random: bool = True,
) -> Checkpoint:
    """Read a checkpoint into what is given, and set the random states.

    A run that goes on from here equals one that was never interrupted, on the CPU bit for bit, if
    its loader draws its order from torch's global generator, as a shuffling `DataLoader` does, or
    from `generator`. The file is loaded with ``weights_only=True``, so that it can run no code, and
    is never changed. What does not fit is noticed before anything is loaded.

    Args:
        path: a file that `save_checkpoint` wrote.
        model: receives the weights, and so on for the following; leave out what is not needed.
        optimizer: of the same class, with the same groups.
        scheduler: of the same class.
        scaler: of the loss.
        accumulator: an open window is dropped.
        generator: as given to `save_checkpoint`.
        restore_random: whether to set the random generators of Python, NumPy and torch.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, damaged, not a checkpoint, or of another model or
            optimizer; the message says which.

    Warns:
        UserWarning: another number of processes wrote it, so random states are not restored.
    """
    path = Path(path)
    content = _read(path)
    stateful = _stateful(optimizer, scheduler, scaler, accumulator)
    for name, thing in stateful.items():
        if name not in content:
            raise ValueError(f"{path} holds no {name}, but one is given: leave out {name}=")
        written = content["classes"].get(name, type(thing).__name__)
        if written != type(thing).__name__:
            raise ValueError(
                f"{path} holds the {name} of a {written}, but {name} is a {type(thing).__name__}"
            )
    if model is not None:
        _check_fits(path, content["model"], unwrap(model))
    states = content["random"]
    own = states[rank()] if len(states) == world_size() else None
    if generator is not None and own is not None and "generator" not in own:
        raise ValueError(f"{path} holds no generator, but one is given: leave out generator=")

    # The optimizer checks its groups itself, before it changes: so it goes first.
    for name, thing in stateful.items():
        thing.load_state_dict(content[name])
    if model is not None:
        unwrap(model).load_state_dict(content["model"])
    if restore_random:
        if own is None:
            warnings.warn(
                f"{path} was written by {len(states)} processes and is read by {world_size()}: "
                "random states are not restored, so the run will not repeat exactly",
                stacklevel=2,
            )
        else:
            _restore_random(own, generator)
    return Checkpoint(
        path, content["epoch"], content["position"], content["history"], content["torch"]
    )


_FORMAT = "gradbook checkpoint"
_VERSION = 1


def _stateful(
    optimizer: Optimizer | None,
    scheduler: LRScheduler | None,
    scaler: GradScaler | None,
    accumulator: GradientAccumulator | None,
) -> dict[str, Any]:
    given = {
        "optimizer": optimizer,
        "scheduler": scheduler,
        "scaler": scaler,
        "accumulator": accumulator,
    }
    return {name: thing for name, thing in given.items() if thing is not None}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Put `content` in a file that takes the place of `path` once it is whole and on the disk."""
    # One name, so that what a killed run left behind is overwritten, not piled up.
    temporary = path.with_name(f".{path.name}.tmp")
    checksums = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(True)
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        torch.serialization.set_crc32_options(checksums)
    if hasattr(os, "O_DIRECTORY"):  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        try:
            content = _load(file)
        except Exception as error:
            raise ValueError(
                f"{path} cannot be read as a checkpoint: it is truncated, damaged or something "
                f"else ({path.stat().st_size} bytes). It was left as it is"
            ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(
            f"{path} was not written by save_checkpoint: read it with torch.load. It was left as "
            "it is"
        )
    if content["version"] > _VERSION:
        raise ValueError(
            f"{path} has version {content['version']}, and this gradbook reads up to {_VERSION}: "
            "install a newer one"
        )
    return content


def _load(file: BinaryIO) -> Any:
    # torch.save writes checksums, but torch.load does not look at them.
    damaged = zipfile.ZipFile(file).testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


def _check_plain(name: str, value: Any) -> None:
    """Refuse what a load with ``weights_only=True`` would refuse, before the file is written."""
    stack = [(name, value)]
    while stack:
        place, one = stack.pop()
        if isinstance(one, dict):
            stack += [(f"{place}[{key!r}]", part) for key, part in one.items()]
        elif type(one) in (list, tuple):
            stack += [(f"{place}[{number}]", part) for number, part in enumerate(one)]
        elif type(one) not in _PLAIN and not isinstance(one, Tensor):
            raise TypeError(
                f"{place} is a {type(one).__module__}.{type(one).__qualname__}, which a safe load "
                "refuses: make it a plain number, string, list, dict or tensor"
            )


_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


def _check_fits(path: Path, state: dict[str, Any], module: nn.Module) -> None:
    own = module.state_dict()
    faults = [f"{name} is missing in the file" for name in own if name not in state]
    faults += [f"{name} is not in the model" for name in state if name not in own]
    for name, value in own.items():
        other = state.get(name)
        if isinstance(value, Tensor) and isinstance(other, Tensor) and value.shape != other.shape:
            faults.append(f"{name} is {tuple(other.shape)} in the file, {tuple(value.shape)} here")
    if faults:
        shown = "; ".join(faults[:_SHOWN])
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ValueError(f"{path} is of another model: {shown}{more}")


_SHOWN = 5


def _random_state(generator: torch.Generator | None) -> dict[str, Any]:
    kind, key, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(key, np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if generator is not None:
        state["generator"] = generator.get_state()
    return state


def _restore_random(state: dict[str, Any], generator: torch.Generator | None) -> None:
    random.setstate(state["python"])
    kind, key, position, has_gauss, gauss = state["numpy"]
    key = key.numpy().astype(np.uint32)
    np.random.set_state((kind, key, position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    if generator is not None:
        generator.set_state(state["generator"])


def _gather(state: dict[str, Any]) -> list[dict[str, Any] | None]:
    """The states of all processes, in the first one."""
    if world_size() == 1:
        return [state]
    states: list[dict[str, Any] | None] = [None] * world_size()
    dist.gather_object(state, states if rank() == 0 else None, dst=0)
    return states
