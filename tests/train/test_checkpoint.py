"""Checkpoints: all or nothing on the disk, and a run that goes on bit for bit."""

import copy
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gradbook.train import checkpoint as module_under_test
from gradbook.train.accumulate import GradientAccumulator
from gradbook.train.checkpoint import load_checkpoint, save_checkpoint


class Run:
    """A model with dropout and everything that a checkpoint holds."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.1, total_steps=100)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        self.accumulator = GradientAccumulator(
            self.optimizer, 2, scaler=self.scaler, scheduler=self.scheduler, clip_norm=1.0
        )

    def parts(self) -> dict[str, Any]:
        """Name the parts as save_checkpoint does."""
        return dict(vars(self))

    def train(self, batches: int) -> None:
        """Draw data and dropout from every global generator."""
        inputs = (torch.randn(4, 6) + random.random() + np.random.rand() for _ in range(batches))
        for x in self.accumulator(inputs):
            self.accumulator.backward(self.model(x).square().sum(), count=len(x))

    def state(self) -> dict[str, Any]:
        """Copy the state of every part."""
        return {name: copy.deepcopy(part.state_dict()) for name, part in self.parts().items()}


def flat(value: Any) -> Any:
    """Nested states with tensors as lists, so that == compares bits."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: flat(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [flat(one) for one in value]
    return value


def files(folder: Path) -> list[str]:
    """List the names in a folder."""
    return sorted(file.name for file in folder.iterdir())


def write(path: Path, **more: Any) -> Run:
    """Write a checkpoint of a run that has taken a few steps."""
    run = Run()
    run.train(4)
    save_checkpoint(path, **run.parts(), **more)
    return run


# --- Going on


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """Weights, optimizer, schedule, scale, steps: equal bit for bit, with dropout and BatchNorm."""
    run = write(tmp_path / "run.pt", epoch=2, position=4)
    run.train(7)

    random.seed(99)
    np.random.seed(99)
    resumed = Run(seed=99)
    resumed.train(2)
    found = load_checkpoint(tmp_path / "run.pt", **resumed.parts())
    resumed.train(7)

    assert (found.epoch, found.position) == (2, 4)
    assert flat(resumed.state()) == flat(run.state())


def test_a_generator_of_the_loader_goes_along(tmp_path: Path) -> None:
    """A loader that draws its order from its own generator goes on with it."""
    generator = torch.Generator().manual_seed(1)
    write(tmp_path / "run.pt", generator=generator)
    expected = torch.randperm(20, generator=generator)
    other = torch.Generator().manual_seed(2)
    load_checkpoint(tmp_path / "run.pt", generator=other)
    assert torch.equal(torch.randperm(20, generator=other), expected)


def test_devices_of_cuda_are_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CUDA is, the generator of each device is saved and set."""
    states = [torch.tensor([1, 2], dtype=torch.uint8)]
    found: list[list[torch.Tensor]] = []
    run = Run()
    run.train(4)  # before: a build with CUDA would look for its driver
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", found.append)
    save_checkpoint(tmp_path / "run.pt", **run.parts())
    load_checkpoint(tmp_path / "run.pt")
    assert flat(found) == [[[1, 2]]]


def test_random_states_can_be_left_alone(tmp_path: Path) -> None:
    """To look at a trained model, nothing of the random generators has to change."""
    run = write(tmp_path / "run.pt")
    before = torch.get_rng_state()
    torch.rand(3)
    moved = torch.get_rng_state()
    load_checkpoint(tmp_path / "run.pt", model=run.model, restore_random=False)
    assert torch.equal(torch.get_rng_state(), moved)
    assert not torch.equal(before, moved)


def test_only_what_is_given_is_loaded(tmp_path: Path) -> None:
    """A model alone can be read from a full checkpoint."""
    run = write(tmp_path / "run.pt")
    model = Run(seed=5).model
    load_checkpoint(tmp_path / "run.pt", model=model)
    assert flat(model.state_dict()) == flat(run.model.state_dict())


def test_a_history_goes_along_as_plain_values(tmp_path: Path) -> None:
    """A dict, or an object with to_dict(), comes back as a dict."""

    class Told:
        def to_dict(self) -> dict[str, Any]:
            return {"loss": [2.0, 1.0]}

    write(tmp_path / "a.pt", history=Told())
    write(tmp_path / "b.pt", history={"loss": [2.0, 1.0]})
    write(tmp_path / "c.pt")
    found = [load_checkpoint(tmp_path / name).history for name in ("a.pt", "b.pt", "c.pt")]
    assert found == [{"loss": [2.0, 1.0]}, {"loss": [2.0, 1.0]}, None]


def test_repr_is_short(tmp_path: Path) -> None:
    """File, epoch, position and torch's version; not the history."""
    write(tmp_path / "run.pt", history={"loss": [1.0] * 1000}, epoch=3)
    text = repr(load_checkpoint(tmp_path / "run.pt"))
    assert "epoch=3, position=0" in text
    assert torch.__version__ in text
    assert len(text) < 200 + len(str(tmp_path))


def test_saving_moves_no_generator(tmp_path: Path) -> None:
    """A run that saves equals one that does not."""
    run = Run()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    save_checkpoint(tmp_path / "run.pt", **run.parts())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]


# --- On the disk


def test_nothing_but_the_checkpoint_is_left(tmp_path: Path) -> None:
    """The temporary file is gone after a save, first or second."""
    write(tmp_path / "run.pt")
    write(tmp_path / "run.pt")
    assert files(tmp_path) == ["run.pt"]


@pytest.mark.parametrize("step", ["save", "fsync", "replace"])
def test_a_failed_save_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A full disk while writing, syncing or renaming: old bytes, no temporary file."""
    path = tmp_path / "run.pt"
    run = write(path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    owner = {"save": torch, "fsync": os, "replace": Path}[step]
    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, **run.parts())
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert files(tmp_path) == ["run.pt"]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from gradbook.train.checkpoint import save_checkpoint

path = Path(sys.argv[1])
model = torch.nn.Linear(50, 50)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def save(epoch):
    save_checkpoint(path, model=model, optimizer=optimizer, epoch=epoch)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def before(function):
    return lambda *arguments: die()


def after(function):
    return lambda *arguments: (function(*arguments), die())


def half(function):
    return lambda content, file: (file.write(b"half a file"), file.flush(), die())


for line in sys.stdin:
    save(epoch=1)
    owner, name, moment = line.split()
    pid = os.fork()
    if pid == 0:
        owner = {"torch": torch, "os": os, "Path": Path}[owner]
        wrap = {"before": before, "half": half, "after": after}[moment]
        setattr(owner, name, wrap(getattr(owner, name)))
        save(epoch=2)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    epoch = torch.load(path, weights_only=True)["epoch"]
    print(line.strip(), os.WTERMSIG(status), epoch, len(list(path.parent.iterdir())))
save(epoch=3)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_kill_inside_a_save_leaves_the_old_checkpoint_or_the_new_one(tmp_path: Path) -> None:
    """Killed before, in and after each step of a save: a whole file, and one spare at the most."""
    moments = [
        "torch save before",
        "torch save half",
        "torch save after",
        "os fsync before",
        "os fsync after",
        "Path replace before",
        "Path replace after",
    ]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "run.pt")],
        input="\n".join(moments),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    old, new = "9 1 2", "9 2 1"
    expected = [f"{moment} {old}" for moment in moments[:-1]] + [f"{moments[-1]} {new}"]
    assert done.stdout.splitlines() == expected
    assert files(tmp_path) == ["run.pt"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file behind a symbolic link is replaced, not the link."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "run.pt"
    link.symlink_to(tmp_path / "real" / "run.pt")
    write(link, epoch=7)
    assert link.is_symlink()
    assert load_checkpoint(tmp_path / "real" / "run.pt").epoch == 7


def test_a_system_without_folder_handles_saves_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a folder cannot be opened, it is not synced."""
    monkeypatch.delattr(os, "O_DIRECTORY")
    write(tmp_path / "run.pt", epoch=1)
    assert load_checkpoint(tmp_path / "run.pt").epoch == 1


def test_checksums_are_written_even_if_switched_off(tmp_path: Path) -> None:
    """The option of torch.serialization is overruled for the file, and put back."""
    torch.serialization.set_crc32_options(False)
    try:
        write(tmp_path / "run.pt", epoch=1)
        assert not torch.serialization.get_crc32_options()
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_checkpoint(tmp_path / "run.pt").epoch == 1


# --- Files that are not what they should be


def truncated(data: bytes) -> bytes:
    """Lose the second half."""
    return data[: len(data) // 2]


def damaged(data: bytes) -> bytes:
    """Flip a bit in the middle of a tensor, where torch.load would not notice."""
    where = len(data) // 2
    return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [truncated, damaged, lambda _: b"", lambda _: b"just some text\n", lambda data: data[:-1]],
    ids=["truncated", "damaged", "empty", "text", "one byte short"],
)
def test_a_spoiled_file_is_refused_and_left_alone(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    """The error names the file; model, generators and file stay as they were."""
    path = tmp_path / "run.pt"
    run = write(path)
    path.write_bytes(spoil(path.read_bytes()))
    before, bytes_before, random_before = run.state(), path.read_bytes(), torch.get_rng_state()
    with pytest.raises(ValueError, match=r"run\.pt cannot be read as a checkpoint: .* left as it"):
        load_checkpoint(path, **run.parts())
    assert flat(run.state()) == flat(before)
    assert path.read_bytes() == bytes_before
    assert torch.equal(torch.get_rng_state(), random_before)


def test_one_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    """Wherever it is: refused, or (in the padding) loaded with equal content."""
    path = tmp_path / "run.pt"
    run = write(path)
    whole = path.read_bytes()
    expected = flat(run.state())
    draw = random.Random(0)
    refused = 0
    for _ in range(60):
        where = draw.randrange(len(whole))
        spoiled = bytearray(whole)
        spoiled[where] ^= 1 << draw.randrange(8)
        path.write_bytes(spoiled)
        other = Run(seed=1)
        try:
            load_checkpoint(path, **other.parts())
        except ValueError:
            refused += 1
        else:
            assert flat(other.state()) == expected
    assert refused > 40


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """Weights that torch.save wrote are not a checkpoint: the message says how to read them."""
    path = tmp_path / "weights.pt"
    torch.save(Run().model.state_dict(), path)
    with pytest.raises(ValueError, match=r"was not written by save_checkpoint: .* torch\.load"):
        load_checkpoint(path)


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    """A pickle that would run code is refused by weights_only."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "proof"),))

    torch.save({"format": "gradbook checkpoint", "model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "proof").exists()


def test_a_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a later gradbook asks for that gradbook."""
    monkeypatch.setattr(module_under_test, "_VERSION", 2)
    write(tmp_path / "run.pt")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has version 2, and this gradbook reads up to 1"):
        load_checkpoint(tmp_path / "run.pt")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    """The usual FileNotFoundError."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        load_checkpoint(tmp_path / "nowhere.pt")


def test_another_model_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    """Names and shapes that differ are listed; nothing has changed."""
    write(tmp_path / "run.pt")
    other = Run(seed=1)
    model = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Dropout(), nn.Linear(9, 1))
    model.add_module("extra", nn.Linear(1, 1))
    before = flat(model.state_dict())
    with pytest.raises(ValueError, match=r"another model: extra\.weight is missing.* and 4 more"):
        load_checkpoint(tmp_path / "run.pt", model=model, accumulator=other.accumulator)
    assert flat(model.state_dict()) == before
    assert other.accumulator.steps == 0


def test_names_that_the_model_lacks_are_told(tmp_path: Path) -> None:
    """A smaller model gets the names that only the file has, and shapes in both."""
    write(tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"3\.weight is not in the model; 3\.bias is not .*model$"):
        load_checkpoint(tmp_path / "run.pt", model=Run().model[:3])
    model = Run().model
    model[3] = nn.Linear(8, 2)
    with pytest.raises(ValueError, match=r"3\.weight is \(1, 8\) in the file, \(2, 8\) here"):
        load_checkpoint(tmp_path / "run.pt", model=model)


def test_another_optimizer_is_refused(tmp_path: Path) -> None:
    """The state of AdamW does not go into SGD."""
    run = write(tmp_path / "run.pt")
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="holds the optimizer of a AdamW, but optimizer is a SGD"):
        load_checkpoint(tmp_path / "run.pt", optimizer=optimizer)


def test_a_part_that_was_not_saved_cannot_be_loaded(tmp_path: Path) -> None:
    """A scheduler or generator that the file does not hold is named."""
    run = Run()
    save_checkpoint(tmp_path / "run.pt", model=run.model, optimizer=run.optimizer)
    with pytest.raises(ValueError, match="holds no scheduler, but one is given"):
        load_checkpoint(tmp_path / "run.pt", scheduler=run.scheduler)
    with pytest.raises(ValueError, match="holds no generator, but one is given"):
        load_checkpoint(tmp_path / "run.pt", generator=torch.Generator())


def test_another_number_of_processes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random states belong to a process each: with fewer they stay as they are, with a warning."""
    run = write(tmp_path / "run.pt")
    before = torch.get_rng_state()
    monkeypatch.setattr(module_under_test, "world_size", lambda: 2)
    with pytest.warns(UserWarning, match="written by 1 processes and is read by 2"):
        load_checkpoint(tmp_path / "run.pt", model=run.model)
    assert torch.equal(torch.get_rng_state(), before)


# --- Misuse of save_checkpoint


def test_a_state_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    """A NumPy number in a scheduler: the error says where, and there is no file."""
    run = Run()
    scheduler = torch.optim.lr_scheduler.StepLR(run.optimizer, 1)
    scheduler.base_lrs = [np.float64(0.1)]
    with pytest.raises(TypeError, match=r"scheduler\['base_lrs'\]\[0\] is a numpy\.float64"):
        save_checkpoint(
            tmp_path / "run.pt", model=run.model, optimizer=run.optimizer, scheduler=scheduler
        )
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["epoch", "position"])
def test_a_negative_place_is_refused(tmp_path: Path, name: str) -> None:
    """Epoch and position count from 0."""
    with pytest.raises(ValueError, match=f"{name} must be 0 or more, got -1"):
        write(tmp_path / "run.pt", **{name: -1})


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """Not made on the way: it may be a mistyped one."""
    with pytest.raises(FileNotFoundError, match=r"folder of the checkpoint does not exist: .*runs"):
        write(tmp_path / "runs" / "run.pt")


def test_an_open_window_is_not_saved(tmp_path: Path) -> None:
    """The accumulator's refusal comes before any file."""
    run = Run()
    for x in run.accumulator([torch.randn(4, 6)] * 2):
        run.accumulator.backward(run.model(x).sum(), count=4)
        break
    with pytest.raises(RuntimeError, match="window is open"):
        save_checkpoint(tmp_path / "run.pt", **run.parts())
    assert files(tmp_path) == []


def test_the_file_is_a_plain_torch_archive(tmp_path: Path) -> None:
    """Without gradbook, torch.load reads it."""
    run = write(tmp_path / "run.pt", epoch=1)
    assert zipfile.is_zipfile(tmp_path / "run.pt")
    content = torch.load(tmp_path / "run.pt", weights_only=True)
    assert flat(content["model"]) == flat(run.model.state_dict())
