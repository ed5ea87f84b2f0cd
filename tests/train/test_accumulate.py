"""GradientAccumulator: exact gradients, and a state that is never half stepped."""

import copy
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.parallel import DistributedDataParallel

from gradbook import replay
from gradbook.train.accumulate import GradientAccumulator

Loader = list[tuple[Tensor, Tensor]]


def make_model(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Build the same small classifier each time."""
    generator_state = torch.get_rng_state()
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    torch.set_rng_state(generator_state)
    return model


def make_data(rows: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Draw inputs of 4 numbers and labels of 3 classes."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(rows, 4, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randint(3, (rows,), generator=generator)


def split(x: Tensor, y: Tensor, sizes: list[int]) -> Loader:
    """Cut a batch into micro-batches."""
    return list(zip(x.split(sizes), y.split(sizes), strict=True))


def run(accumulator: GradientAccumulator, model: nn.Module, loader: Iterable[Any]) -> None:
    """Train for one epoch."""
    for x, y in accumulator(loader):
        accumulator.backward(cross_entropy(model(x), y, reduction="sum"), count=len(x))


def backward_once(accumulator: GradientAccumulator, loss: Any, count: Any = 1) -> None:
    """Go through a loop of one batch."""
    for _ in accumulator([0]):
        accumulator.backward(loss, count=count)


def sgd(model: nn.Module, lr: float = 0.5) -> torch.optim.SGD:
    """Build an optimizer for all of `model`."""
    return torch.optim.SGD(model.parameters(), lr=lr)


def relative_error(found: nn.Module, expected: nn.Module, start: nn.Module) -> float:
    """Of the step taken from `start`, as one long vector."""

    def moved(model: nn.Module) -> Tensor:
        pairs = zip(model.parameters(), start.parameters(), strict=True)
        return torch.cat([(a - b).detach().flatten() for a, b in pairs])

    return float((moved(found) - moved(expected)).norm() / moved(expected).norm())


def half() -> tuple[nn.Module, GradientAccumulator]:
    """An accumulator whose loop was left with one of two micro-batches collected."""
    model = make_model()
    accumulator = GradientAccumulator(sgd(model), 2)
    for x, y in accumulator(split(*make_data(9), [3, 3, 3])):
        accumulator.backward(cross_entropy(model(x), y, reduction="sum"), count=len(x))
        break
    return model, accumulator


# --- Exactness


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=9),
    clip_norm=st.sampled_from([None, 0.05, math.inf]),
)
def test_unequal_micro_batches_give_the_gradient_of_the_whole_batch(
    sizes: list[int], clip_norm: float | None
) -> None:
    """Any split into micro-batches gives the step of the full batch to 1e-12 in float64."""
    x, y = make_data(sum(sizes))
    start = make_model()
    whole, parts = copy.deepcopy(start), copy.deepcopy(start)

    cross_entropy(whole(x), y).backward()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(whole.parameters(), clip_norm)
    sgd(whole).step()
    accumulator = GradientAccumulator(sgd(parts), len(sizes), clip_norm=clip_norm)
    run(accumulator, parts, split(x, y, sizes))

    assert accumulator.steps == 1
    assert relative_error(parts, whole, start) < 1e-12


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=11), every=st.integers(1, 5))
def test_windows_are_every_micro_batches_and_a_shorter_last_one(
    sizes: list[int], every: int
) -> None:
    """Several windows, the last one short, equal a loop over the joined windows."""
    x, y = make_data(sum(sizes))
    loader = split(x, y, sizes)
    start = make_model()
    whole, parts = copy.deepcopy(start), copy.deepcopy(start)

    optimizer = sgd(whole)
    windows = [loader[i : i + every] for i in range(0, len(loader), every)]
    for window in windows:
        optimizer.zero_grad()
        joined_x = torch.cat([a for a, _ in window])
        cross_entropy(whole(joined_x), torch.cat([b for _, b in window])).backward()
        optimizer.step()
    accumulator = GradientAccumulator(sgd(parts), every)
    run(accumulator, parts, loader)

    assert accumulator.steps == len(windows)
    assert relative_error(parts, whole, start) < 1e-11


def test_a_loader_without_length_works() -> None:
    """A generator is as good as a list: the end is found by looking ahead."""
    model = make_model()
    accumulator = GradientAccumulator(sgd(model), 2)
    run(accumulator, model, iter(split(*make_data(6), [2, 2, 2])))
    assert accumulator.steps == 2


def test_an_empty_loader_makes_no_step() -> None:
    """Nothing is yielded, stepped or raised."""
    model = make_model()
    accumulator = GradientAccumulator(sgd(model), 2)
    run(accumulator, model, [])
    assert (accumulator.steps, accumulator.pending) == (0, 0)


def test_a_second_loop_goes_on_with_fresh_windows() -> None:
    """Steps add up over the epochs; no window spans two of them."""
    model = make_model()
    accumulator = GradientAccumulator(sgd(model), 2)
    for _ in range(2):
        run(accumulator, model, split(*make_data(6), [2, 2, 2]))
    assert accumulator.steps == 4


def test_earlier_gradients_are_cleared_at_the_start_of_a_loop() -> None:
    """What is in .grad before the first batch does not get into the first step."""
    start = make_model()
    clean, stale = copy.deepcopy(start), copy.deepcopy(start)
    for parameter in stale.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    for model in (clean, stale):
        run(GradientAccumulator(sgd(model), 2), model, split(*make_data(5), [3, 2]))
    assert relative_error(stale, clean, start) == 0


def test_a_parameter_without_gradient_is_left_alone() -> None:
    """A layer that no loss reaches keeps .grad None and its weights, weight decay or not."""
    model = nn.ModuleDict({"used": nn.Linear(4, 3), "unused": nn.Linear(4, 3)}).double()
    before = copy.deepcopy(model["unused"].state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
    accumulator = GradientAccumulator(optimizer, 2, model=model, clip_norm=1.0)
    run(accumulator, model["used"], split(*make_data(5), [3, 2]))
    for name, value in model["unused"].state_dict().items():
        assert torch.equal(value, before[name])


def test_a_parameter_listed_twice_is_divided_once() -> None:
    """A group that holds a parameter twice does not halve its gradient again."""
    w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that a duplicate will become an error
        optimizer = torch.optim.SGD([{"params": [w, w]}], lr=0.0)
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(w.grad.item()))
    accumulator = GradientAccumulator(optimizer, 1)
    for x in accumulator([torch.ones(4, dtype=torch.float64)]):
        accumulator.backward((w * x).sum(), count=4)
    assert seen == [1.0]


@pytest.mark.parametrize("count", [4, 4.0, torch.tensor(4), torch.tensor([4.0])])
def test_the_count_may_be_any_kind_of_number(count: float) -> None:
    """Integers, floats and one-element tensors, as a count of tokens often is."""
    w = torch.tensor(0.0, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 1)
    for x in accumulator([torch.ones(4)]):
        accumulator.backward((w * x).sum(), count=count)
    assert w.item() == -1.0


# --- What happens at the boundary only


def test_the_scheduler_steps_once_a_window() -> None:
    """Three windows, three steps of the schedule."""
    model = make_model()
    optimizer = sgd(model, lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    accumulator = GradientAccumulator(optimizer, 2, scheduler=scheduler)
    run(accumulator, model, split(*make_data(10), [2, 2, 2, 2, 2]))
    assert scheduler.last_epoch == accumulator.steps == 3
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_the_norm_is_that_of_the_mean_gradient_before_clipping() -> None:
    """last_norm is measured after the division by the count, and clipping scales to the limit."""
    model, whole = make_model(), make_model()
    x, y = make_data(7)
    cross_entropy(whole(x), y).backward()
    norm = float(nn.utils.get_total_norm([p.grad for p in whole.parameters()]))

    optimizer = sgd(model)
    clipped: list[float] = []
    optimizer.register_step_pre_hook(
        lambda *_: clipped.append(
            float(nn.utils.get_total_norm([p.grad for p in model.parameters()]))
        )
    )
    accumulator = GradientAccumulator(optimizer, 2, clip_norm=norm / 10)
    assert accumulator.last_norm is None
    run(accumulator, model, split(x, y, [5, 2]))
    assert accumulator.last_norm == pytest.approx(norm, rel=1e-12)
    assert clipped == [pytest.approx(norm / 10, rel=1e-4)]


def test_without_clip_norm_no_norm_is_measured() -> None:
    """last_norm stays None: it would cost time in every step."""
    model = make_model()
    accumulator = GradientAccumulator(sgd(model), 1)
    run(accumulator, model, split(*make_data(4), [2, 2]))
    assert accumulator.last_norm is None


def test_gradients_are_cleared_after_a_step() -> None:
    """Nothing of a window is left in .grad."""
    model = make_model()
    run(GradientAccumulator(sgd(model), 1), model, split(*make_data(4), [4]))
    assert all(parameter.grad is None for parameter in model.parameters())


# --- Mixed precision


def test_bfloat16_autocast_comes_near_the_full_precision_step() -> None:
    """The body may run under autocast; gradients are float32 and the step is close."""
    start = make_model(torch.float32)
    exact, mixed = copy.deepcopy(start), copy.deepcopy(start)
    loader = split(*make_data(9, torch.float32), [4, 3, 2])
    run(GradientAccumulator(sgd(exact), 3), exact, loader)
    accumulator = GradientAccumulator(sgd(mixed), 3)
    for x, y in accumulator(loader):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = cross_entropy(mixed(x), y, reduction="sum")
        accumulator.backward(loss, count=len(x))
    error = relative_error(mixed, exact, start)
    assert 0 < error < 0.05


def test_a_scaled_step_equals_an_unscaled_one() -> None:
    """Gradients are unscaled before they are divided and clipped."""
    start = make_model(torch.float32)
    plain, scaled = copy.deepcopy(start), copy.deepcopy(start)
    loader = split(*make_data(9, torch.float32), [4, 3, 2])
    run(GradientAccumulator(sgd(plain), 2, clip_norm=0.1), plain, loader)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    accumulator = GradientAccumulator(sgd(scaled), 2, clip_norm=0.1, scaler=scaler)
    run(accumulator, scaled, loader)
    assert accumulator.steps == 2
    assert relative_error(scaled, plain, start) < 1e-6


def test_an_overflow_skips_the_step_and_the_schedule() -> None:
    """float16 overflows with a huge scale: no step is counted until the scale has fallen."""
    model = make_model(torch.float32)
    optimizer = sgd(model, lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**17, backoff_factor=2.0**-10)
    accumulator = GradientAccumulator(
        optimizer, 1, scaler=scaler, scheduler=scheduler, clip_norm=math.inf
    )
    x, y = make_data(4, torch.float32)
    before = copy.deepcopy(model.state_dict())
    steps, norms = [], []
    for a, b in accumulator([(x, y), (x, y)]):
        with torch.autocast("cpu", dtype=torch.float16):
            loss = cross_entropy(model(a).float(), b, reduction="sum")
        accumulator.backward(loss, count=len(a))
        steps.append(accumulator.steps)
        norms.append(accumulator.last_norm)
        if len(steps) == 1:
            assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert steps == [0, 1]
    assert scheduler.last_epoch == 1
    assert not math.isfinite(norms[0])
    assert math.isfinite(norms[1])


def test_a_step_counts_when_the_scale_grows() -> None:
    """Only a scale that has fallen says that the optimizer was not asked to step."""
    model = make_model(torch.float32)
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    accumulator = GradientAccumulator(optimizer, 1, scaler=scaler, scheduler=scheduler)
    run(accumulator, model, split(*make_data(6, torch.float32), [3, 3]))
    assert scaler.get_scale() == 32
    assert accumulator.steps == scheduler.last_epoch == 2


def test_nothing_is_left_to_discard_after_a_scaled_step() -> None:
    """A window that is complete stays stepped: the scale and what follows are as without it."""
    model = make_model(torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    accumulator = GradientAccumulator(sgd(model), 1, scaler=scaler)
    loader = split(*make_data(6, torch.float32), [3, 3])
    run(accumulator, model, loader)
    stepped = copy.deepcopy(model.state_dict())
    accumulator.discard()
    assert all(torch.equal(stepped[k], v) for k, v in model.state_dict().items())
    run(accumulator, model, loader)
    assert accumulator.steps == 4
    assert scaler.get_scale() == 8


def test_a_scaler_that_is_switched_off_changes_nothing() -> None:
    """GradScaler(enabled=False), as code that may run on any device has it."""
    start = make_model()
    plain, scaled = copy.deepcopy(start), copy.deepcopy(start)
    loader = split(*make_data(9), [4, 3, 2])
    run(GradientAccumulator(sgd(plain), 2), plain, loader)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    accumulator = GradientAccumulator(sgd(scaled), 2, scaler=scaler)
    run(accumulator, scaled, loader)
    assert accumulator.steps == 2
    assert relative_error(scaled, plain, start) == 0


# --- A loop that is left early


def test_break_leaves_the_window_open_and_steps_nothing() -> None:
    """The count of pending micro-batches says how many micro-batches are collected."""
    model, accumulator = half()
    assert (accumulator.steps, accumulator.pending) == (0, 1)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.parameters(), make_model().parameters(), strict=True)
    )


def test_an_open_window_is_not_mixed_with_another_loop() -> None:
    """A new loop asks for a decision first."""
    _, accumulator = half()
    with pytest.raises(RuntimeError, match=r"1 of 2 micro-batches.*flush\(\).*discard\(\)"):
        accumulator([])


def test_flush_steps_with_what_is_there() -> None:
    """After a break, flush() equals a step on the micro-batches seen."""
    model, accumulator = half()
    accumulator.flush()
    assert (accumulator.steps, accumulator.pending) == (1, 0)
    alone = make_model()
    x, y = make_data(9)
    run(GradientAccumulator(sgd(alone), 1), alone, [(x[:3], y[:3])])
    assert relative_error(model, alone, make_model()) < 1e-15


def test_flush_without_an_open_window_does_nothing() -> None:
    """No step is made of nothing."""
    accumulator = GradientAccumulator(sgd(make_model()), 2)
    accumulator.flush()
    assert accumulator.steps == 0


def test_flush_waits_for_backward() -> None:
    """Between the batch and its backward there is no whole window to step."""
    model = make_model()
    accumulator = GradientAccumulator(sgd(model), 2)
    for x, y in accumulator(split(*make_data(4), [2, 2])):
        with pytest.raises(RuntimeError, match="call backward"):
            accumulator.flush()
        accumulator.backward(cross_entropy(model(x), y, reduction="sum"), count=len(x))
    assert accumulator.steps == 1


def test_discard_drops_the_window() -> None:
    """Gradients are cleared, weights unchanged, and a new loop may begin."""
    model, accumulator = half()
    accumulator.discard()
    assert (accumulator.steps, accumulator.pending) == (0, 0)
    assert all(parameter.grad is None for parameter in model.parameters())
    run(accumulator, model, split(*make_data(4), [2, 2]))
    assert accumulator.steps == 1


def test_an_exception_in_the_body_steps_nothing() -> None:
    """The exception passes; the window keeps what it had."""
    model = make_model()
    accumulator = GradientAccumulator(sgd(model), 3)
    fails_in_the_second = split(*make_data(6), [2, 2, 2])
    fails_in_the_second[1] = (torch.zeros(2, 3).double(), torch.zeros(2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run(accumulator, model, fails_in_the_second)
    assert (accumulator.steps, accumulator.pending) == (0, 1)
    accumulator.flush()
    assert accumulator.steps == 1


def test_a_loader_that_fails_steps_nothing() -> None:
    """An exception of the loader passes, and the window stays open."""
    model = make_model()

    def failing() -> Iterator[tuple[Tensor, Tensor]]:
        yield from split(*make_data(4), [2, 2])
        raise OSError("the disk is gone")

    accumulator = GradientAccumulator(sgd(model), 3)
    with pytest.raises(OSError, match="disk"):
        run(accumulator, model, failing())
    assert (accumulator.steps, accumulator.pending) == (0, 1)


def test_a_backward_that_fails_half_way_has_to_be_discarded() -> None:
    """Gradients may hold a part of the micro-batch: neither stepping nor going on is safe."""
    w = torch.tensor(1.0, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 2)

    def fail(gradient: Tensor) -> None:
        raise MemoryError("no room")

    for number in accumulator(range(3)):
        loss = w * 1.0
        if number == 1:
            loss.register_hook(fail)
            with pytest.raises(MemoryError):
                accumulator.backward(loss, count=1)
            with pytest.raises(RuntimeError, match=r"half-way.*discard\(\)"):
                accumulator.flush()
            with pytest.raises(RuntimeError, match="window is open"):
                accumulator.state_dict()
        elif number == 2:
            with pytest.raises(RuntimeError, match=r"half-way.*discard\(\)"):
                accumulator.backward(loss, count=1)
            accumulator.discard()
            accumulator.backward(loss, count=1)
        else:
            accumulator.backward(loss, count=1)
    assert accumulator.steps == 1
    assert w.item() == 0.0


def test_a_failed_backward_closes_the_accumulator_to_new_loops() -> None:
    """Until discard(), a new loop says why it will not start."""
    w = torch.tensor(1.0, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 1)
    with pytest.raises(RuntimeError, match="does not require grad"):
        backward_once(accumulator, w.detach())
    with pytest.raises(RuntimeError, match=r"call discard\(\)"):
        accumulator([0])
    with pytest.raises(RuntimeError, match=r"call discard\(\)"):
        accumulator.backward(w, count=1)


def test_a_failed_step_with_a_scaler_can_be_discarded() -> None:
    """The scaler, caught between unscale_ and update, takes the next window as usual."""
    w = torch.tensor(1.0, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    accumulator = GradientAccumulator(optimizer, 1, scaler=scaler)

    def fail(*_: object) -> None:
        raise MemoryError("no room")

    handle = optimizer.register_step_pre_hook(fail)
    for number in accumulator(range(2)):
        if number == 0:
            with pytest.raises(MemoryError):
                accumulator.backward(w * 1.0, count=1)
            handle.remove()
            accumulator.discard()
        else:
            accumulator.backward(w * 1.0, count=1)
    assert accumulator.steps == 1
    assert scaler.get_scale() == 8.0
    assert w.item() == 0.0


# --- Non-finite gradients


def test_a_gradient_that_is_not_finite_is_not_stepped() -> None:
    """With clip_norm, the error names the parameter nearest to the fault; weights stay."""
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 1)).double()
    before = copy.deepcopy(model.state_dict())
    accumulator = GradientAccumulator(sgd(model), 1, model=model, clip_norm=math.inf)
    y = model(make_data(3)[0])
    with pytest.raises(FloatingPointError, match=r"gradient of step 1 .* '1.bias' has inf or nan"):
        backward_once(accumulator, (y - y.detach()).sqrt().sum(), 3)
    assert accumulator.steps == 0
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_step_that_was_refused_has_to_be_discarded() -> None:
    """The window's gradients are divided already: a second step with them would be wrong."""
    w = torch.zeros(2, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 1, clip_norm=1.0)
    with pytest.raises(FloatingPointError):
        backward_once(accumulator, w.sqrt().sum())
    with pytest.raises(RuntimeError, match=r"half-way.*discard\(\)"):
        accumulator.flush()
    accumulator.discard()
    backward_once(accumulator, w.sum())
    assert accumulator.steps == 1
    with pytest.raises(FloatingPointError, match="gradient of step 2 "):
        backward_once(accumulator, w.sqrt().sum())


def test_without_a_model_the_parameter_is_named_by_its_place() -> None:
    """Number and shape are what the optimizer knows."""
    w = torch.zeros(2, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 1, clip_norm=1.0)
    with pytest.raises(FloatingPointError, match=r"parameter 0 of the optimizer \(shape \(2,\)\)"):
        backward_once(accumulator, w.sqrt().sum())


def test_a_norm_that_overflows_is_told_from_a_bad_gradient() -> None:
    """Every element is finite, the sum of their squares is not."""
    w = torch.zeros(2, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 1, clip_norm=1.0)
    with pytest.raises(FloatingPointError, match="the norm overflows"):
        backward_once(accumulator, (w * 3e38).sum())


# --- State


def test_the_state_is_plain_and_loads_into_another_accumulator() -> None:
    """Steps and the last norm go through; an open window of the receiver is dropped."""
    model = make_model()
    accumulator = GradientAccumulator(sgd(model), 1, clip_norm=math.inf)
    run(accumulator, model, split(*make_data(4), [2, 2]))
    state = accumulator.state_dict()
    assert state == {"steps": 2, "last_norm": accumulator.last_norm}

    _, other = half()
    other.load_state_dict(state)
    assert (other.steps, other.pending, other.last_norm) == (2, 0, accumulator.last_norm)


def test_an_open_window_has_no_state() -> None:
    """Its gradients would be lost: the error says when to save."""
    _, accumulator = half()
    with pytest.raises(RuntimeError, match="save after a complete window"):
        accumulator.state_dict()


def test_repr_says_where_it_is() -> None:
    """Window size, steps, and what is pending."""
    _, accumulator = half()
    assert repr(accumulator) == "GradientAccumulator(every=2, steps=0, pending=1)"
    assert accumulator.every == 2


# --- Misuse


@pytest.mark.parametrize("every", [0, -1])
def test_every_below_one_is_refused(every: int) -> None:
    """The message says what the number is."""
    with pytest.raises(ValueError, match=f"every must be at least 1, got {every}: it is the"):
        GradientAccumulator(sgd(make_model()), every)


@pytest.mark.parametrize("every", [2.0, True, "2"])
def test_every_must_be_an_integer(every: object) -> None:
    """Floats, booleans and strings are refused."""
    with pytest.raises(TypeError, match="every must be an integer"):
        GradientAccumulator(sgd(make_model()), every)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan])
def test_clip_norm_must_be_positive(clip_norm: float) -> None:
    """Zero would stop the training without a word."""
    with pytest.raises(ValueError, match="clip_norm must be positive"):
        GradientAccumulator(sgd(make_model()), 1, clip_norm=clip_norm)


def test_the_optimizer_must_be_one() -> None:
    """A model in its place is the likely mistake."""
    with pytest.raises(TypeError, match=r"optimizer must be a torch\.optim\.Optimizer, got Seq"):
        GradientAccumulator(make_model(), 1)


def test_a_plateau_scheduler_is_refused() -> None:
    """It needs a measured value, which the accumulator does not have."""
    optimizer = sgd(make_model())
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(TypeError, match="ReduceLROnPlateau"):
        GradientAccumulator(optimizer, 1, scheduler=scheduler)


@pytest.mark.parametrize("count", [0, -3, math.nan, math.inf, torch.tensor(0)])
def test_a_count_that_is_not_positive_is_refused(count: float) -> None:
    """Nothing is added, and the batch may be given again with the right count."""
    w = torch.tensor(0.0, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 1)
    for _ in accumulator([0]):
        with pytest.raises(ValueError, match="count must be positive and finite, got"):
            accumulator.backward(w * 1.0, count=count)
        assert w.grad is None
        accumulator.backward(w * 1.0, count=1)
    assert accumulator.steps == 1


@pytest.mark.parametrize("count", ["3", None, True, torch.ones(2)])
def test_a_count_must_be_a_number(count: object) -> None:
    """A string, None, a boolean or a longer tensor is refused by type."""
    w = torch.tensor(0.0, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 1)
    with pytest.raises(TypeError, match="count must be a number"):
        backward_once(accumulator, w * 1.0, count)


def test_a_loss_per_sample_is_refused() -> None:
    """reduction='none' leaves a vector: the message asks for the sum."""
    model = make_model()
    x, y = make_data(4)
    accumulator = GradientAccumulator(sgd(model), 1)
    with pytest.raises(ValueError, match=r"loss_sum must be one number, got shape \(4,\): sum"):
        backward_once(accumulator, cross_entropy(model(x), y, reduction="none"), 4)


def test_a_loss_that_is_a_float_is_refused() -> None:
    """.item() has cut the graph."""
    accumulator = GradientAccumulator(sgd(make_model()), 1)
    with pytest.raises(TypeError, match="loss_sum must be a tensor, got float"):
        backward_once(accumulator, 1.0, 4)


def test_backward_twice_for_a_batch_is_refused() -> None:
    """Two losses are to be added before."""
    w = torch.tensor(0.0, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 2)
    for _ in accumulator([0, 1]):
        accumulator.backward(w * 1.0, count=1)
        with pytest.raises(RuntimeError, match="twice for one batch: add the losses"):
            accumulator.backward(w * 1.0, count=1)
    assert accumulator.steps == 1


def test_a_batch_without_backward_is_refused() -> None:
    """A `continue` before backward would change what a window is."""
    accumulator = GradientAccumulator(sgd(make_model()), 2)
    batches = accumulator([0, 1])
    next(batches)
    with pytest.raises(RuntimeError, match=r"backward\(\) was not called"):
        next(batches)


def test_backward_outside_of_a_loop_is_refused() -> None:
    """Without the loop nobody knows which batch is the last."""
    w = torch.tensor(0.0, requires_grad=True)
    accumulator = GradientAccumulator(torch.optim.SGD([w], lr=1.0), 2)
    with pytest.raises(RuntimeError, match="outside of the loop"):
        accumulator.backward(w * 1.0, count=1)


def test_two_loops_at_once_are_refused() -> None:
    """The windows of the two would mix."""
    accumulator = GradientAccumulator(sgd(make_model()), 2)
    batches = accumulator([0])
    next(batches)
    with pytest.raises(RuntimeError, match="running already"):
        accumulator([0])


def test_a_parameter_left_out_of_the_optimizer_is_named() -> None:
    """Trap: the second layer was forgotten."""
    model = make_model()
    with pytest.warns(UserWarning, match=r"not in optimizer will not be trained: 2.weight, 2.bias"):
        GradientAccumulator(sgd(model[0]), 1, model=model)


def test_a_frozen_parameter_may_be_left_out() -> None:
    """requires_grad_(False) says that it is on purpose."""
    model = make_model()
    model[2].requires_grad_(False)
    GradientAccumulator(sgd(model[0]), 1, model=model)


def test_an_optimizer_older_than_a_layer_is_noticed() -> None:
    """Trap T10: the layer was replaced after the optimizer was built."""
    model = make_model()
    optimizer = sgd(model)
    model[2] = nn.Linear(5, 3).double()
    with pytest.warns(UserWarning, match="parameters of") as caught:
        GradientAccumulator(optimizer, 1, model=model)
    first, second = caught
    assert "will not be trained: 2.weight, 2.bias" in str(first.message)
    assert "not in model: 2 (shape (3, 5)), 3 (shape (3,))" in str(second.message)
    assert first.filename == second.filename == __file__


def test_an_optimizer_of_another_model_is_refused() -> None:
    """No step could change the model: that is an error."""
    with pytest.raises(ValueError, match="holds none of the parameters of model"):
        GradientAccumulator(sgd(make_model()), 1, model=make_model())


def test_many_names_are_cut_short() -> None:
    """Five are shown, the others counted."""
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(5)))
    with pytest.warns(UserWarning, match=r"1\.weight, .*3\.weight and 3 more"):
        GradientAccumulator(sgd(model[0]), 1, model=model)


# --- DistributedDataParallel, with a group of one process; test_distributed.py has two


@pytest.fixture
def group_of_one() -> Iterator[None]:
    """A process group that has this process only."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_gradients_are_exchanged_once_a_window() -> None:
    """Seven micro-batches in windows of three: three exchanges of all buckets."""
    model = DistributedDataParallel(make_model())
    exchanges = []

    def counting(state: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        exchanges.append(bucket.index())
        future: torch.futures.Future[Tensor] = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    model.register_comm_hook(None, counting)
    accumulator = GradientAccumulator(sgd(model), 3, model=model)
    run(accumulator, model, split(*make_data(7), [1] * 7))
    assert accumulator.steps == 3
    assert exchanges == [0, 0, 0]


@pytest.mark.usefixtures("group_of_one")
def test_a_group_of_one_equals_no_group() -> None:
    """Loop, break and flush under DistributedDataParallel give the plain result."""
    start = make_model()
    plain, wrapped = copy.deepcopy(start), DistributedDataParallel(copy.deepcopy(start))
    for model in (plain, wrapped):
        accumulator = GradientAccumulator(sgd(model), 2, model=model, clip_norm=1.0)
        run(accumulator, model, split(*make_data(9), [4, 3, 2]))
        for x, y in accumulator([make_data(3), make_data(2)]):
            accumulator.backward(cross_entropy(model(x), y, reduction="sum"), count=len(x))
            break
        accumulator.flush()
        accumulator.flush()
        assert accumulator.steps == 3
    assert relative_error(wrapped.module, plain, start) < 1e-15


@pytest.mark.usefixtures("group_of_one")
def test_break_leaves_the_replica_able_to_exchange() -> None:
    """no_sync ends with the loop, however it ends."""
    model = DistributedDataParallel(make_model())
    accumulator = GradientAccumulator(sgd(model), 2, model=model)
    for x, y in accumulator(split(*make_data(4), [2, 2])):
        assert not model.require_backward_grad_sync
        accumulator.backward(cross_entropy(model(x), y, reduction="sum"), count=len(x))
        break
    assert model.require_backward_grad_sync


@pytest.mark.usefixtures("group_of_one")
def test_an_empty_loader_under_a_group_makes_no_step() -> None:
    """No process has data, so there is no window."""
    model = DistributedDataParallel(make_model())
    accumulator = GradientAccumulator(sgd(model), 2, model=model)
    run(accumulator, model, [])
    assert accumulator.steps == 0


@pytest.mark.usefixtures("group_of_one")
def test_a_lost_process_is_named_in_a_note() -> None:
    """An error of the communication inside backward says what it most often means."""
    model = DistributedDataParallel(make_model())
    accumulator = GradientAccumulator(sgd(model), 2, model=model)

    def fail(gradient: Tensor) -> None:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection reset by peer")

    x, y = make_data(4)
    loss = cross_entropy(model(x), y, reduction="sum")
    loss.register_hook(fail)
    with pytest.raises(RuntimeError, match="reset by peer") as caught:
        backward_once(accumulator, loss, len(x))
    assert "another process of this run has ended" in caught.value.__notes__[0]


def test_several_processes_without_a_replica_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten model= would leave every process with its own gradients."""
    monkeypatch.setattr("gradbook.train.accumulate.world_size", lambda: 2)
    with pytest.warns(UserWarning, match=r"2 processes run.*pass model="):
        GradientAccumulator(sgd(make_model()), 1)


def test_mean_losses_are_the_pitfall_that_sums_avoid() -> None:
    """The mean of the means of 8 and 2 rows is off by more than a tenth; sums are exact."""
    x, _ = make_data(10)
    y = x.sum(dim=1, keepdim=True)
    start = nn.Linear(4, 1).double()
    whole, means, sums = (copy.deepcopy(start) for _ in range(3))

    mse_loss(whole(x), y).backward()
    sgd(whole).step()
    for a, b in zip(x.split([8, 2]), y.split([8, 2]), strict=True):
        (mse_loss(means(a), b) / 2).backward()
    sgd(means).step()
    accumulator = GradientAccumulator(sgd(sums), 2)
    for a, b in accumulator(zip(x.split([8, 2]), y.split([8, 2]), strict=True)):
        accumulator.backward(mse_loss(sums(a), b, reduction="sum"), count=len(a))

    assert relative_error(means, whole, start) > 0.1
    assert relative_error(sums, whole, start) < 1e-12


# --- Other losses in the same loop


def make_gan() -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator of a few numbers, the same each time."""
    torch.manual_seed(7)
    generator = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    discriminator = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    return generator, discriminator


def gan_losses(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The discriminator's loss and the generator's, each summed over the samples."""
    fake = generator(noise)
    softplus = nn.functional.softplus
    judged = softplus(-discriminator(real)) + softplus(discriminator(fake.detach()))
    return judged.sum(), softplus(-discriminator(fake)).sum()


@pytest.mark.parametrize("generator_first", [False, True])
def test_a_gan_with_two_accumulators_equals_the_loop_by_hand(generator_first: bool) -> None:
    """The generator's loss reaches the discriminator, and none of it is in its steps."""
    data = torch.Generator().manual_seed(1)
    real = torch.randn(50, 5, 3, generator=data, dtype=torch.float64)
    noise = torch.randn(50, 5, 2, generator=data, dtype=torch.float64)

    by_hand = make_gan()
    generator_steps, discriminator_steps = (
        torch.optim.Adam(module.parameters(), lr=0.01) for module in by_hand
    )
    for x, z in zip(real, noise, strict=True):
        first, second = gan_losses(*by_hand, x, z)
        of_discriminator = torch.autograd.grad(
            first / len(x), list(by_hand[1].parameters()), retain_graph=True
        )
        of_generator = torch.autograd.grad(second / len(x), list(by_hand[0].parameters()))
        for module, gradients, optimizer in (
            (by_hand[1], of_discriminator, discriminator_steps),
            (by_hand[0], of_generator, generator_steps),
        ):
            for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()

    ours = make_gan()
    generator, discriminator = (
        GradientAccumulator(torch.optim.Adam(module.parameters(), lr=0.01), 1, model=module)
        for module in ours
    )
    for x, z in zip(discriminator(list(real)), generator(list(noise)), strict=True):
        first, second = gan_losses(*ours, x, z)
        # A step changes weights in place, so each loss is walked back before the other's step.
        gradients = torch.autograd.grad(second, list(ours[0].parameters()), retain_graph=True)
        linear = sum(
            (parameter * gradient).sum()
            for parameter, gradient in zip(ours[0].parameters(), gradients, strict=True)
        )
        if generator_first:
            second.backward(retain_graph=True)  # leaves a gradient in the discriminator
            generator.backward(linear, count=len(z))
            discriminator.backward(first, count=len(x))
        else:
            discriminator.backward(first, count=len(x))
            ours[1].requires_grad_(True)
            nn.functional.softplus(-ours[1](ours[0](z))).sum().backward()
            generator.backward(linear, count=len(z))

    assert generator.steps == discriminator.steps == 50
    start = make_gan()
    for found, expected, begun in zip(ours, by_hand, start, strict=True):
        assert relative_error(found, expected, begun) < 1e-12


def window_of_three(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[int]:
    """Go through a window of three micro-batches; in between, do what the test does."""
    accumulator = GradientAccumulator(optimizer, 3, model=model)
    loader = split(*make_data(9), [3, 3, 3])
    for number, (x, y) in enumerate(accumulator(loader)):
        yield number
        accumulator.backward(cross_entropy(model(x), y, reduction="sum"), count=len(x))


@pytest.mark.parametrize("when", [1, 2])
@pytest.mark.parametrize("what", ["backward", "replay", "zero_grad", "clip", "replaced"])
def test_what_others_do_to_the_gradients_of_a_window_is_refused(what: str, when: int) -> None:
    """Before any micro-batch but the first; the message names the parameter, nothing is stepped."""
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    optimizer = sgd(model)
    x, y = make_data(4)

    def interfere() -> None:
        if what == "backward":
            cross_entropy(model(x), y).backward()
        elif what == "replay":
            replay(cross_entropy(model(x), y))
        elif what == "zero_grad":
            optimizer.zero_grad()
        elif what == "clip":
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        else:
            for parameter in model.parameters():
                parameter.grad = parameter.grad.clone()

    with pytest.raises(RuntimeError, match=r"changed the gradient of '0\.weight' since") as caught:
        for number in window_of_three(model, optimizer):
            if number == when:
                interfere()
    assert "discard()" in str(caught.value)
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())


@pytest.mark.parametrize("part", [0, 2])
def test_a_gradient_of_one_parameter_is_enough_to_be_noticed(part: int) -> None:
    """Also of one that had none before."""
    model = make_model()
    optimizer = sgd(model)
    model[part].requires_grad_(False)
    with pytest.raises(RuntimeError, match=rf"'{part}\.weight'"):
        for number in window_of_three(model, optimizer):
            if number == 1:
                model[part].requires_grad_(True)
                model[part].weight.sum().backward()


def test_the_gradient_of_an_embedding_is_watched_too() -> None:
    """A sparse gradient is a new tensor after each backward of ours, which is no change."""

    def go(interfere: bool) -> int:
        table = nn.Embedding(5, 2, sparse=True)
        accumulator = GradientAccumulator(torch.optim.SGD(table.parameters(), lr=0.1), 3)
        for number, rows in enumerate(accumulator(torch.arange(5).split(2))):
            if interfere and number == 2:
                table(rows).sum().backward()
            accumulator.backward(table(rows).sum(), count=len(rows))
        return accumulator.steps

    assert go(False) == 1
    with pytest.raises(RuntimeError, match="something else has changed the gradient"):
        go(True)


def test_what_is_there_when_a_window_begins_is_no_part_of_it() -> None:
    """Whatever filled .grad after the step: each window starts with none."""
    x, y = make_data(8)
    start = make_model()
    alone, disturbed = copy.deepcopy(start), copy.deepcopy(start)
    run(GradientAccumulator(sgd(alone), 2), alone, split(x, y, [2, 2, 2, 2]))
    accumulator = GradientAccumulator(sgd(disturbed), 2)
    for number, (a, b) in enumerate(accumulator(split(x, y, [2, 2, 2, 2]))):
        if number % 2 == 0:
            replay(cross_entropy(disturbed(x), y))
        accumulator.backward(cross_entropy(disturbed(a), b, reduction="sum"), count=len(a))
    assert relative_error(disturbed, alone, start) == 0


def test_a_window_that_others_have_changed_is_dropped_by_discard() -> None:
    """Until then nothing goes on; afterwards training does."""
    model, accumulator = half()
    model[0].weight.grad.add_(1)
    with pytest.raises(RuntimeError, match="something else has changed"):
        accumulator.flush()
    with pytest.raises(RuntimeError, match="something else has changed"):
        run(accumulator, model, split(*make_data(4), [2, 2]))
    accumulator.discard()
    run(accumulator, model, split(*make_data(4), [2, 2]))
    assert accumulator.steps == 1


@pytest.mark.usefixtures("group_of_one")
@pytest.mark.parametrize("given", ["model", "optimizer alone"])
def test_a_sharded_model_is_refused(given: str) -> None:
    """Of FSDP's parameters every process holds a part, so norms and counts would be wrong."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = make_model()
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(TypeError, match=r"must not be sharded \(FSDP\).*DistributedDataParallel"):
        GradientAccumulator(sgd(model), 2, model=model if given == "model" else None)
