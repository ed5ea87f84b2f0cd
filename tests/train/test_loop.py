"""fit, evaluate and History: the loop does what a careful hand-written one does, and survives."""

import copy
import io
import json
import math
import os
import re
import subprocess
import sys
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from gradbook.train import loop
from gradbook.train.checkpoint import load_checkpoint, save_checkpoint
from gradbook.train.loop import Epoch, History, evaluate, fit

KILLS = int(os.environ.get("GRADBOOK_KILLS", "8"))

Loader = list[tuple[Tensor, Tensor]]


def make_model(seed: int = 0) -> nn.Sequential:
    """Build a classifier with dropout and BatchNorm."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
    ).double()


def make_data(rows: int = 30) -> tuple[Tensor, Tensor]:
    """Draw inputs whose class can be learned."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    return x, x[:, :3].argmax(dim=1)


def make_loader(*sizes: int) -> Loader:
    """Cut as many rows as needed into batches."""
    x, y = make_data(sum(sizes))
    return list(zip(x.split(list(sizes)), y.split(list(sizes)), strict=True))


def adam(model: nn.Module) -> torch.optim.Adam:
    """Build an optimizer for all of `model`."""
    return torch.optim.Adam(model.parameters(), lr=0.01)


def accuracy(prediction: Tensor, target: Tensor) -> Tensor:
    """Tell for each sample whether it is right."""
    return prediction.argmax(dim=1) == target


def same(a: nn.Module, b: nn.Module) -> bool:
    """Compare all weights and buffers, bit for bit."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


# --- The loop


def test_fit_equals_a_hand_written_loop() -> None:
    """Same weights, bit for bit, and same losses as the loop that one would write."""
    loader, validation = make_loader(6, 6, 6, 6, 3), make_loader(10, 5)
    by_hand, fitted = make_model(), make_model()

    optimizer = adam(by_hand)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    torch.manual_seed(1)
    losses, val_losses = [], []
    for _ in range(3):
        by_hand.train()
        total = 0.0
        for start in range(0, len(loader), 2):
            window = loader[start : start + 2]
            optimizer.zero_grad()
            for x, y in window:
                loss = cross_entropy(by_hand(x), y) * len(x)
                loss.backward()
                total += loss.item()
            for parameter in by_hand.parameters():
                parameter.grad /= sum(len(x) for x, _ in window)
            nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
            optimizer.step()
            scheduler.step()
        losses.append(total / 27)
        by_hand.eval()
        with torch.no_grad():
            val = sum(cross_entropy(by_hand(x), y, reduction="sum").item() for x, y in validation)
        val_losses.append(val / 15)

    optimizer = adam(fitted)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    torch.manual_seed(1)
    history = fit(
        fitted,
        loader,
        nn.CrossEntropyLoss(),
        optimizer,
        epochs=3,
        val_loader=validation,
        accumulate=2,
        clip_norm=0.5,
        scheduler=scheduler,
    )
    assert same(by_hand, fitted)
    columns = history.to_dict()
    assert columns["train_loss"] == pytest.approx(losses, rel=1e-14)
    assert columns["val_loss"] == pytest.approx(val_losses, rel=1e-14)
    assert columns["steps"] == [3, 3, 3]
    assert columns["lr"] == pytest.approx([0.01, 0.01 * 0.9**3, 0.01 * 0.9**6])


@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(reduction="sum"),
        partial(cross_entropy, reduction="sum"),
        cross_entropy,
        lambda prediction, target: cross_entropy(prediction, target, reduction="mean"),
    ],
    ids=["module-sum", "partial-sum", "function", "lambda"],
)
def test_sums_and_means_train_alike(loss_fn: Any) -> None:
    """A loss with reduction="sum" is taken as it is, anything else as the mean of its batch."""
    loader = make_loader(6, 3)
    models = make_model(), make_model()
    histories = []
    for model, function in zip(models, [nn.CrossEntropyLoss(), loss_fn], strict=True):
        torch.manual_seed(1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        histories.append(fit(model, loader, function, optimizer, epochs=2, accumulate=2))
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in pairs)
    assert histories[0].rows[1].train_loss == pytest.approx(histories[1].rows[1].train_loss)


def test_the_gradient_norm_is_the_mean_over_the_steps() -> None:
    """With a learning rate of zero, the mean of the norms of the two batches' gradients."""
    loader = make_loader(6, 3)
    model = nn.Linear(4, 3).double()
    norms = []
    for x, y in loader:
        model.zero_grad()
        cross_entropy(model(x), y).backward()
        norms.append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
    model.zero_grad()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    history = fit(model, loader, cross_entropy, optimizer, epochs=1)
    assert history.rows[0].grad_norm == pytest.approx(sum(norms) / 2)


def test_no_hook_is_left_on_the_optimizer() -> None:
    """Neither after a run nor after one that failed."""
    model = make_model()
    optimizer = adam(model)
    fit(model, make_loader(6), cross_entropy, optimizer, epochs=1)
    with pytest.raises(ValueError, match="yields nothing"):
        fit(model, [], cross_entropy, optimizer, epochs=1)
    assert not optimizer._optimizer_step_post_hooks


def test_a_plateau_scheduler_steps_once_an_epoch() -> None:
    """ReduceLROnPlateau gets the validation loss, or the training loss where there is no other."""
    for val_loader in (None, make_loader(5)):
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        optimizer.param_groups[0]["lr"] = 1e-12  # so the loss does not get better
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=0, threshold=0.5, eps=0
        )
        seen = []
        step = scheduler.step
        scheduler.step = lambda value, step=step, seen=seen: (seen.append(value), step(value))
        history = fit(
            model,
            make_loader(6),
            nn.CrossEntropyLoss(),
            optimizer,
            epochs=3,
            val_loader=val_loader,
            scheduler=scheduler,
        )
        assert seen == history.to_dict()["train_loss" if val_loader is None else "val_loss"]
        assert history.to_dict()["lr"] == [1e-12, 1e-12, 0.5e-12]


def test_inputs_may_be_nested_and_go_to_the_device() -> None:
    """Lists and dicts of tensors are moved; other values pass through."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def forward(self, inputs: dict[str, Any]) -> Tensor:
            assert inputs["note"] == "as it was"
            return self.layer(inputs["parts"][0])

    model = Named()
    loader = [({"parts": [torch.ones(3, 2)], "note": "as it was"}, torch.ones(3, 1))]
    history = fit(model, loader, nn.MSELoss(), adam(model), epochs=1, device="cpu")
    assert len(history) == 1


def test_device_moves_the_model() -> None:
    """Its .to() is called with the device, and the optimizer's parameters are still its own."""
    moved = []

    class Moved(nn.Linear):
        def to(self, device: Any) -> nn.Module:
            moved.append(device)
            return super().to(device)

    model = Moved(4, 3).double()
    fit(model, make_loader(3), cross_entropy, adam(model), epochs=1, device="cpu")
    fit(model, make_loader(3), cross_entropy, adam(model), epochs=1)
    assert moved == ["cpu"]


def test_a_model_without_parameters_can_be_evaluated() -> None:
    """Batches stay where they are."""
    assert evaluate(nn.Identity(), [(torch.ones(2), torch.zeros(2))], nn.L1Loss()) == {"loss": 1.0}


# --- Modes


def test_a_frozen_batch_norm_stays_frozen() -> None:
    """Parts that are in eval mode when training begins do not change their statistics."""
    model = make_model()
    model[1].eval()
    before = copy.deepcopy(model[1].running_mean)
    fit(model, make_loader(6, 6), cross_entropy, adam(model), epochs=1, val_loader=make_loader(3))
    assert torch.equal(model[1].running_mean, before)
    assert model.training
    assert not model[1].training


def test_a_model_in_eval_mode_is_trained_and_put_back() -> None:
    """As a whole it is put into train mode, and into eval mode again, even after an error."""
    model = make_model().eval()
    before = copy.deepcopy(model[1].running_mean)
    fit(model, make_loader(6, 6), cross_entropy, adam(model), epochs=1)
    assert not torch.equal(model[1].running_mean, before)
    assert not any(module.training for module in model.modules())
    with pytest.raises(TypeError):
        fit(model, [torch.ones(3)], cross_entropy, adam(model), epochs=1)
    assert not any(module.training for module in model.modules())


def test_evaluate_runs_in_eval_mode_without_a_graph() -> None:
    """Each part's mode is as before afterwards, also after an error."""
    model = make_model()
    model[1].eval()
    seen = []

    def look(prediction: Tensor, target: Tensor) -> float:
        seen.append((prediction.requires_grad, any(m.training for m in model.modules())))
        return 0.0

    def fail(prediction: Tensor, target: Tensor) -> float:
        raise KeyError

    evaluate(model, make_loader(4), cross_entropy, {"look": look})
    with pytest.raises(KeyError):
        evaluate(model, make_loader(4), cross_entropy, {"fail": fail})
    assert seen == [(False, False)]
    assert [m.training for m in model] == [True, False, True, True, True]


# --- evaluate


def test_evaluate_weighs_every_sample_alike() -> None:
    """Batches of 9 and 1: the loss and both kinds of metric equal those of all 10 at once."""
    model = make_model()
    metrics = {"each": accuracy, "mean": lambda p, t: accuracy(p, t).double().mean()}
    parts = evaluate(model, make_loader(9, 1), nn.CrossEntropyLoss(), metrics)
    whole = evaluate(model, make_loader(10), nn.CrossEntropyLoss(), metrics)
    assert parts == pytest.approx(whole, rel=1e-14)
    assert parts["each"] == pytest.approx(parts["mean"])
    assert 0 < parts["each"] < 1


def test_an_empty_validation_loader_is_refused() -> None:
    """There is no mean over nothing."""
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(make_model(), [], cross_entropy)


def test_a_metric_of_another_shape_is_refused() -> None:
    """The message says what it may return."""
    with pytest.raises(ValueError, match=r"metric 'odd' must return one number .* shape \(4, 3\)"):
        evaluate(make_model(), make_loader(4), cross_entropy, {"odd": lambda p, t: p})


@pytest.mark.parametrize("name", ["loss", "lr"])
def test_a_metric_cannot_take_the_name_of_a_column(name: str) -> None:
    """It would hide it in the history."""
    with pytest.raises(ValueError, match=f"a metric cannot be called '{name}'"):
        evaluate(make_model(), make_loader(4), cross_entropy, {name: accuracy})


# --- Going on from a checkpoint


def shuffling(kind: str) -> DataLoader[Any]:
    """Build a loader that shuffles by one of the generators there are."""
    dataset = TensorDataset(*make_data(20))
    if kind == "global":
        return DataLoader(dataset, batch_size=6, shuffle=True)
    generator = torch.Generator().manual_seed(3)
    if kind == "own":
        return DataLoader(dataset, batch_size=6, shuffle=True, generator=generator)
    return DataLoader(dataset, batch_size=6, sampler=RandomSampler(dataset, generator=generator))


@pytest.mark.parametrize("kind", ["global", "own", "sampler"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, kind: str) -> None:
    """Shuffling, dropout, Adam, a schedule, validation: equal bit for bit, and one history."""

    def run(path: Path, epochs: int, seed: int) -> tuple[nn.Module, History]:
        model = make_model(seed)
        optimizer = adam(model)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=8)
        history = fit(
            model,
            shuffling(kind),
            nn.CrossEntropyLoss(),
            optimizer,
            epochs=epochs,
            val_loader=DataLoader(TensorDataset(*make_data(9)), batch_size=4),
            metrics={"accuracy": accuracy},
            accumulate=2,
            scheduler=scheduler,
            checkpoint=path,
            resume=True,
        )
        return model, history

    whole, expected = run(tmp_path / "whole.pt", 4, seed=0)
    run(tmp_path / "parts.pt", 1, seed=0)
    run(tmp_path / "parts.pt", 3, seed=50)
    parts, history = run(tmp_path / "parts.pt", 4, seed=51)
    assert same(whole, parts)
    assert history == expected
    assert [row.epoch for row in history.rows] == [1, 2, 3, 4]


def test_a_run_that_is_complete_trains_no_more(tmp_path: Path) -> None:
    """Resumed with as many epochs as are done, it returns the history and the weights."""
    model = make_model()
    path = tmp_path / "run.pt"
    history = fit(model, make_loader(6), cross_entropy, adam(model), epochs=2, checkpoint=path)
    other = make_model(9)
    again = fit(
        other, make_loader(6), cross_entropy, adam(other), epochs=2, checkpoint=path, resume=True
    )
    assert again == history
    assert same(model, other)


def test_without_resume_a_run_begins_anew(tmp_path: Path) -> None:
    """An earlier checkpoint is replaced."""
    path = tmp_path / "run.pt"
    for epochs in (3, 1):
        model = make_model()
        fit(model, make_loader(6), cross_entropy, adam(model), epochs=epochs, checkpoint=path)
    assert load_checkpoint(path).epoch == 1


def test_a_checkpoint_from_the_middle_of_an_epoch_is_refused(tmp_path: Path) -> None:
    """It was written by a loop of one's own, which alone can go on from there."""
    model = make_model()
    optimizer = adam(model)
    fit(model, make_loader(6), cross_entropy, optimizer, epochs=1, checkpoint=tmp_path / "run.pt")
    content = torch.load(tmp_path / "run.pt", weights_only=True)
    torch.save({**content, "position": 3}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="in the middle of an epoch, after 3 batches"):
        fit(
            model,
            make_loader(6),
            cross_entropy,
            optimizer,
            epochs=2,
            checkpoint=tmp_path / "run.pt",
            resume=True,
        )


def test_a_checkpoint_without_history_counts_its_epochs(tmp_path: Path) -> None:
    """Training goes on with epoch 3; the rows of the first two are not known."""
    from gradbook.train.accumulate import GradientAccumulator

    model = make_model()
    optimizer = adam(model)
    accumulator = GradientAccumulator(optimizer, 1)
    path = tmp_path / "run.pt"
    save_checkpoint(path, model=model, optimizer=optimizer, accumulator=accumulator, epoch=2)
    history = fit(
        model, make_loader(6), cross_entropy, optimizer, epochs=3, checkpoint=path, resume=True
    )
    assert [row.epoch for row in history.rows] == [3]


TRAINED = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from gradbook.train.checkpoint import load_checkpoint
from gradbook.train.loop import fit

folder, kills, epochs = Path(sys.argv[1]), int(sys.argv[2]), 40
torch.set_num_threads(1)


def train(path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 1))
    x = torch.randn(64, 16)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=10, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    options = dict(epochs=epochs, accumulate=2, checkpoint=path, resume=True)
    fit(model, loader, nn.MSELoss(), optimizer, **options)


def start(path):
    pid = os.fork()
    if pid == 0:
        train(path)
        os._exit(0)
    return pid


def epoch_of(path):
    return load_checkpoint(path, restore_random=False).epoch if path.exists() else 0


def weights(path):
    content = torch.load(path, weights_only=True)
    return content["model"], content["history"]


begin = time.monotonic()
os.waitpid(start(folder / "whole.pt"), 0)
whole = time.monotonic() - begin
expected, told = weights(folder / "whole.pt")

draw = random.Random(1)
killed, equal, lost = 0, [], 0
while killed < kills:
    path = folder / f"run-{len(equal)}.pt"
    before = 0
    while True:
        pid = start(path)
        time.sleep(draw.uniform(0, whole / 3))
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        now = epoch_of(path)
        lost += now < before
        before = now
        if os.WIFEXITED(status):
            break
        killed += 1
        if killed >= kills:
            os.waitpid(start(path), 0)
            break
    found, history = weights(path)
    same = all(torch.equal(expected[name], value) for name, value in found.items())
    equal.append(same and history == told)
print(json.dumps({"killed": killed, "equal": equal, "lost": lost}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_kill_9_at_random_moments_changes_nothing(tmp_path: Path) -> None:
    """Restarted after each kill, a run ends with the weights and history of one never killed."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINED, str(tmp_path), str(KILLS)],
        capture_output=True,
        text=True,
        timeout=60 + 4 * KILLS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["killed"] == KILLS
    assert result["lost"] == 0
    assert all(result["equal"])


# --- Interruption and numbers gone bad


class InterruptedLoader:
    """Raises KeyboardInterrupt in the middle of an epoch."""

    def __init__(self, loader: Loader, epoch: int) -> None:
        self.loader = loader
        self.epoch = epoch
        self.passes = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        for number, batch in enumerate(self.loader):
            if self.passes == self.epoch and number == 3:
                raise KeyboardInterrupt
            yield batch


def test_ctrl_c_keeps_the_last_complete_epoch(tmp_path: Path) -> None:
    """Two epochs are in the history and in the checkpoint; a third, begun, is in neither."""
    model = make_model()
    loader = InterruptedLoader(make_loader(3, 3, 3, 3), epoch=3)
    history = fit(
        model,
        loader,
        cross_entropy,
        adam(model),
        epochs=5,
        accumulate=3,
        checkpoint=tmp_path / "run.pt",
    )
    assert history.interrupted
    assert [row.epoch for row in history.rows] == [1, 2]
    assert all(parameter.grad is None for parameter in model.parameters())

    saved = make_model(1)
    found = load_checkpoint(tmp_path / "run.pt", model=saved)
    assert found.epoch == 2
    two = make_model()
    fit(two, make_loader(3, 3, 3, 3), cross_entropy, adam(two), epochs=2, accumulate=3)
    assert same(saved, two)


def test_a_loss_that_is_not_finite_names_the_layer() -> None:
    """The step is not taken; the message names the first layer whose output is not finite."""

    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sqrt()

    model = nn.Sequential(nn.Linear(4, 8), Root(), nn.Linear(8, 3)).double()
    before = copy.deepcopy(model)
    message = (
        r"the loss is nan in epoch 1: the first layer with a non-finite output is '1' \(Root\)"
    )
    with pytest.raises(FloatingPointError, match=message):
        fit(model, make_loader(6), cross_entropy, adam(model), epochs=1)
    assert same(model, before)


def test_a_gradient_that_is_not_finite_names_the_parameter() -> None:
    """The loss is fine, the slope of the root at 0 is not: the step is not taken."""
    model = nn.Linear(4, 3).double()
    before = copy.deepcopy(model)

    def loss_fn(prediction: Tensor, target: Tensor) -> Tensor:
        return (prediction - prediction.detach()).sqrt().mean()

    with pytest.raises(FloatingPointError, match="the gradient of 'bias' has inf or nan"):
        fit(model, make_loader(6), loss_fn, adam(model), epochs=1)
    assert same(model, before)


# --- Misuse


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([torch.ones(3, 4)], r"loader must yield pairs \(input, target\), got a Tensor"),
        ([(1, 2, 3)], "got a tuple of 3"),
        ([{"x": 1}], "got a dict of 1"),
        ([(torch.ones(3, 4), 1)], "a target must be a tensor with a row .* got a int"),
        ([(torch.ones(3, 4), torch.tensor(1))], "a target must be a tensor .* got one number"),
    ],
)
def test_a_loader_of_anything_else_is_refused(loader: Any, message: str) -> None:
    """The message says what came, and where to go with it."""
    model = make_model()
    with pytest.raises(TypeError, match=message):
        fit(model, loader, cross_entropy, adam(model), epochs=1)


def test_an_empty_loader_is_refused() -> None:
    """Training on nothing is an oversight."""
    model = make_model()
    with pytest.raises(ValueError, match="loader yields nothing in epoch 1"):
        fit(model, [], cross_entropy, adam(model), epochs=1)


def test_a_generator_is_used_up_after_an_epoch() -> None:
    """The second epoch finds nothing: the message says why."""
    model = make_model()
    with pytest.raises(ValueError, match=r"nothing in epoch 2.*only once"):
        fit(model, iter(make_loader(6)), cross_entropy, adam(model), epochs=2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"epochs": 1.0}, TypeError, "epochs must be an integer, got float"),
        ({"epochs": 1, "metrics": {"a": accuracy}}, ValueError, "metrics are measured on val_load"),
        ({"epochs": 1, "resume": True}, ValueError, "resume=True needs checkpoint="),
        ({"epochs": 1, "accumulate": 0}, ValueError, "every must be at least 1"),
        (
            {"epochs": 1, "val_loader": [], "metrics": {"epoch": accuracy}},
            ValueError,
            "a metric cannot be called 'epoch'",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Before anything is trained."""
    model = make_model()
    with pytest.raises(error, match=message):
        fit(model, make_loader(6), cross_entropy, adam(model), **options)


@pytest.mark.parametrize(
    ("loss_fn", "error", "message"),
    [
        (nn.CrossEntropyLoss(reduction="none"), ValueError, 'reduction="none"'),
        (lambda p, t: cross_entropy(p, t, reduction="none"), ValueError, r"one number, got .*\(6,"),
        (lambda p, t: 1.0, TypeError, "loss_fn must return a tensor, got float"),
    ],
)
def test_a_loss_that_is_not_one_number_is_refused(
    loss_fn: Any, error: type[Exception], message: str
) -> None:
    """By its setting where it has one, else by what it returns."""
    model = make_model()
    with pytest.raises(error, match=message):
        fit(model, make_loader(6), loss_fn, adam(model), epochs=1)


# --- The progress bar


class Terminal(io.StringIO):
    """A stderr that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


def train_on(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """Train for an epoch; returns what was written to stderr."""
    monkeypatch.setattr(sys, "stderr", stderr)
    model = make_model()
    fit(model, make_loader(6, 6), cross_entropy, adam(model), epochs=1, **options)
    return stderr.getvalue()


def test_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts batches and shows the loss."""
    text = train_on(Terminal(), monkeypatch)
    assert "epoch 1" in text
    assert "2 batches" in text
    assert "train_loss=" in text


def test_a_file_sees_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log or a pipe, fit is quiet."""
    assert train_on(io.StringIO(), monkeypatch) == ""


def test_progress_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """progress=False is quiet on a terminal too."""
    assert train_on(Terminal(), monkeypatch, progress=False) == ""


def test_without_tqdm_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is an extra: its absence is no error."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert train_on(Terminal(), monkeypatch) == ""


def test_other_processes_show_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first process of several does."""
    monkeypatch.setattr(loop, "rank", lambda: 1)
    assert train_on(Terminal(), monkeypatch) == ""


# --- History


def row(epoch: int, train: float, val: float | None = None, **metrics: float) -> Epoch:
    """Make a row of a history."""
    return Epoch(epoch, train, val, metrics, 0.1, 1.5, 8)


def test_the_best_epoch_has_the_lowest_validation_loss() -> None:
    """The first of equals; training loss only where nothing was validated; nan never."""
    assert History((row(1, 3, 5), row(2, 2, 4), row(3, 1, 4))).best.epoch == 2
    assert History((row(1, 3), row(2, 2))).best.epoch == 2
    assert History((row(1, 3, math.nan), row(2, 2, 9))).best.epoch == 2
    assert History((row(1, math.nan),)).best is None
    assert History().best is None


def test_a_history_is_a_table_of_plain_columns() -> None:
    """to_dict gives lists that JSON takes, and from_dict gives the history back."""
    history = History((row(1, 3.0, 5.0, accuracy=0.5), row(2, 2.0, 4.0, accuracy=0.75)))
    columns = history.to_dict()
    assert columns["accuracy"] == [0.5, 0.75]
    assert list(columns)[:3] == ["epoch", "train_loss", "val_loss"]
    assert History.from_dict(json.loads(json.dumps(columns))) == history
    assert History.from_dict(History().to_dict()) == History()


def test_a_history_prints_as_a_table() -> None:
    """Columns without a value are left out; the best epoch follows."""
    history = History((row(1, 3.0, accuracy=0.5), row(2, 2.0)), interrupted=True)
    assert repr(history).splitlines() == [
        "epoch  train_loss   lr  grad_norm  steps  accuracy",
        "    1           3  0.1        1.5      8       0.5",
        "    2           2  0.1        1.5      8          ",
        "best: epoch 2, train_loss 2; interrupted",
    ]
    assert repr(History()) == "no complete epoch"
    assert repr(History((row(1, math.nan),))).endswith("no loss is a number")


def test_a_long_history_prints_its_ends() -> None:
    """Six rows from the start and six from the end."""
    text = repr(History(tuple(row(number, 1.0) for number in range(1, 31))))
    lines = text.splitlines()
    assert len(lines) == 1 + 6 + 1 + 6 + 1
    assert lines[7].split() == ["..."] * 5
    assert [line.split()[0] for line in lines[1:7]] == list("123456")
    assert lines[13].split()[0] == "30"


def test_a_notebook_shows_a_table_with_the_best_epoch_marked() -> None:
    """Header cells have a scope, names are escaped, the caption names the best epoch."""
    html = History((row(1, 3.0, **{"a<b": 0.5}), row(2, 2.0, **{"a<b": 0.5})))._repr_html_()
    assert "<caption>best: epoch 2, train_loss 2</caption>" in html
    assert '<th scope="col">a&lt;b</th>' in html
    assert '<th scope="row"><strong>2</strong></th>' in html
    assert html.count("<tr>") == 3


@pytest.fixture
def _quiet_plots() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.mark.usefixtures("_quiet_plots")
def test_plot_draws_losses_and_metrics() -> None:
    """Two panels with a curve for each column; an epoch without a value is a gap."""
    history = History((row(1, 3.0, 5.0, accuracy=0.5), row(2, 2.0, None), row(3, 1.0, 6.0)))
    losses, metrics = history.plot()
    names = [line.get_label() for line in losses.get_lines()]
    assert names == ["train_loss", "val_loss", "best: epoch 1"]
    assert math.isnan(losses.get_lines()[1].get_ydata()[1])
    assert [line.get_label() for line in metrics.get_lines()] == ["accuracy"]
    assert losses.get_xlabel() == metrics.get_xlabel() == "epoch"


@pytest.mark.usefixtures("_quiet_plots")
def test_plot_without_metrics_has_one_panel() -> None:
    """And no star where no loss is a number."""
    (losses,) = History((row(1, math.nan), row(2, math.nan))).plot()
    assert [line.get_label() for line in losses.get_lines()] == ["train_loss"]


def test_an_empty_history_cannot_be_drawn() -> None:
    """The error says so."""
    with pytest.raises(ValueError, match="no complete epoch to draw"):
        History().plot()


def test_plot_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are an extra."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=re.escape('pip install "gradbook[plot]"')):
        History((row(1, 1.0),)).plot()


# --- DistributedDataParallel, with a group of one process; test_distributed.py has two


@pytest.fixture
def _group_of_one() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("_group_of_one")
def test_a_group_of_one_trains_as_no_group(tmp_path: Path) -> None:
    """Same weights and history; the checkpoint holds the plain weights."""
    plain, wrapped = make_model(), DistributedDataParallel(make_model())
    histories = []
    for model in (plain, wrapped):
        torch.manual_seed(1)
        history = fit(
            model,
            make_loader(6, 6, 4),
            nn.CrossEntropyLoss(),
            adam(model),
            epochs=2,
            val_loader=make_loader(5),
            metrics={"accuracy": accuracy},
            accumulate=2,
            checkpoint=tmp_path / "run.pt",
            device="cpu",
        )
        histories.append(history)
    assert same(plain, wrapped.module)
    assert histories[0] == histories[1]
    other = make_model(5)
    load_checkpoint(tmp_path / "run.pt", model=other)
    assert same(plain, other)


def test_a_distributed_sampler_is_told_the_epoch() -> None:
    """Else it would give the same order in each epoch."""
    told: list[int] = []

    class Sampler:
        set_epoch: Callable[[int], None] = staticmethod(told.append)

    class WithSampler(list[Any]):
        sampler = Sampler()

    model = make_model()
    fit(model, WithSampler(make_loader(6)), cross_entropy, adam(model), epochs=3)
    assert told == [1, 2, 3]


# --- A step of one's own, and batches of any type


class OwnLoss(nn.Module):
    """A model that takes keyword arguments and computes its loss, as those of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2).double()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The mean over the labels that are not -100."""
        return {"loss": cross_entropy(self.layer(x), labels, ignore_index=-100)}


def own_step(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
    """The summed loss, and how many labels it sums."""
    count = int((batch["labels"] != -100).sum())
    return model(**batch)["loss"] * count, count


def labelled(rows: list[int]) -> list[dict[str, Tensor]]:
    """Batches of unequal size, in which some labels are unknown."""
    generator = torch.Generator().manual_seed(2)
    batches = []
    for many in rows:
        labels = torch.randint(2, (many,), generator=generator)
        labels[:-1:2] = -100
        x = torch.randn(many, 3, generator=generator, dtype=torch.float64)
        batches.append({"x": x, "labels": labels})
    return batches


def test_a_step_of_ones_own_is_exact() -> None:
    """Micro-batches with different counts of labels: the step is that of all labels at once."""
    batches = labelled([3, 5, 2])
    joined = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    whole, parts = OwnLoss(), OwnLoss()
    whole(**joined)["loss"].backward()
    torch.optim.SGD(whole.parameters(), lr=0.5).step()
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.5)
    history = fit(parts, batches, None, optimizer, epochs=1, step=own_step, accumulate=3)
    assert torch.allclose(parts.layer.weight, whole.layer.weight, rtol=1e-12)
    assert history.rows[0].train_loss == pytest.approx(OwnLoss()(**joined)["loss"].item())
    found = evaluate(parts, batches, None, step=own_step)
    assert found == {"loss": pytest.approx(whole(**joined)["loss"].item())}
    again = fit(parts, batches, None, optimizer, epochs=1, step=own_step, val_loader=batches)
    assert again.rows[0].val_loss < found["loss"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss_fn": None}, ValueError, "give a loss: either loss_fn"),
        ({"loss_fn": cross_entropy, "step": own_step}, ValueError, "give None as loss_fn"),
        (
            {"loss_fn": None, "step": own_step, "metrics": {"m": torch.eq}, "val_loader": [0]},
            ValueError,
            "metrics need a prediction",
        ),
        ({"loss_fn": None, "step": lambda *_: torch.ones(1)}, TypeError, "got a Tensor"),
        ({"loss_fn": None, "step": lambda *_: (1.0, 2)}, TypeError, "got a tuple of 2"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(options, error, message) -> None:
    """With what to give instead."""
    model = OwnLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(error, match=message):
        fit(model, labelled([3]), options.pop("loss_fn"), optimizer, epochs=1, **options)


def test_a_loss_of_a_step_that_is_not_finite_names_the_layer() -> None:
    """The step is run again to see where it came in."""
    model = OwnLoss()
    with torch.no_grad():
        model.layer.weight.fill_(1e308)
    batches = labelled([3])
    batches[0]["x"].fill_(1e308)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError, match=r"non-finite output is 'layer' \(Linear\)"):
        fit(model, batches, None, optimizer, epochs=1, step=own_step)


class Encoding(UserDict):
    """What a tokenizer returns: a mapping with a `to` of its own."""

    def to(self, device: torch.device) -> "Encoding":
        """Moved, of the same type."""
        return Encoding({name: tensor.to(device) for name, tensor in self.items()})


class Output(OrderedDict):
    """An OrderedDict that forbids `update`, as the outputs of transformers do."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Refuses."""
        raise RuntimeError("You cannot use update on an Output")


class Pair(NamedTuple):
    """Two tensors with names."""

    x: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Sample:
    """A tensor, and something that is none."""

    x: Tensor
    name: str


ONE = torch.ones(2)


@pytest.mark.parametrize(
    "batch",
    [
        ONE,
        [ONE, ONE],
        (ONE, "text"),
        {"x": ONE, "ids": [ONE]},
        OrderedDict(x=ONE),
        Output([("x", ONE)]),
        defaultdict(list, {"x": ONE}),
        UserDict(x=ONE),
        Encoding(x=ONE),
        MappingProxyType({"x": ONE}),
        Pair(ONE, ONE),
        Sample(ONE, "a"),
        nn.utils.rnn.pack_sequence([ONE]),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_a_batch_is_moved_and_keeps_its_type(batch) -> None:
    """Whatever a loader yields; the batch itself is left as it was."""

    def devices(value: Any) -> set[str]:
        if isinstance(value, Tensor):
            return {value.device.type}
        if isinstance(value, Sample):
            value = (value.x, value.name)
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, nn.utils.rnn.PackedSequence):
            value = [value.data]
        return set().union(*map(devices, value)) if isinstance(value, (list, tuple)) else set()

    moved = loop._move(batch, torch.device("meta"))
    assert type(moved) is type(batch)
    assert devices(moved) == {"meta"}
    assert devices(batch) == {"cpu"}


def test_what_is_no_tensor_stays() -> None:
    """A text, a number, None, a class of a dataclass."""
    for value in ("text", 3, None, Sample):
        assert loop._move(value, torch.device("meta")) is value
