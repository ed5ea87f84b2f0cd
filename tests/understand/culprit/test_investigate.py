"""What holds for every message: it is named, it never fails, it changes nothing, it keeps nothing.

The bar is measured on the reproducers of the catalogue.
"""

import enum
import linecache
import subprocess
import sys
import threading
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gradbook import explain
from gradbook.see import torch_internals
from gradbook.understand.catalogue import load
from gradbook.understand.culprit import _METHODS, Finding, frames, freed, investigate
from gradbook.understand.culprit.case import Case
from reproducers import RAISING

ENTRIES = load()
OWNER = {source: entry for entry in ENTRIES.entries for source in entry.source}


def raised(program, *arguments):
    """The exception that a program ends with."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program(*arguments)
        except Exception as error:  # any kind may come
            return error
    raise AssertionError("nothing was raised")


def cell(source, name, namespace=None):
    """Run code as a notebook does: under a name that is no file."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace = {"torch": torch, "nn": nn} if namespace is None else namespace
    exec(compile(source, name, "exec"), namespace)
    return namespace


# --------------------------------------------------------------------------------------- the bar

WITHOUT_A_NAME = {"E109", "E349"}  # AddOne.apply(torch.ones(...)): there is no variable
IN_PLACE = [entry for entry in ENTRIES.entries if entry.group == "in-place"]
ASKED = [*IN_PLACE, ENTRIES["graph-freed"], ENTRIES["no-graph"]]
GUILTY = {
    **{"E01": "weight", "E01b": "prediction", "E01c": "wrong", "E154b": "outputs"},
    **{"E01d": "output", "E01e": "slope", "E349": None},
    **{"E07": "loss", "E07b": "hidden", "E07c": "scaled", "E07d": "features", "E07e": "hidden"},
    **{"E115": "y", "E22": "weight", "E207": "weight", "E109": None, "E23": "weight"},
    **{"E40": "y", "E40b": "critic.weight", "E40c": "states", "E40d": "embedding.weight"},
    **{"E40e": "gate", "E40f": "weight", "E213": "model.noise", "E41": "first"},
    **{
        "E42": "part",
        "E378": None,
        "E43": "y",
        "E44": "model.1",
        "E46": "x",
        "E47": "part",
        "E48": "y",
    },
    **{"E121": "weight", "E321": "rows", "E323": "x"},
}


def test_the_bar_of_named_variables():
    """At least nine in ten of the in-place, second-backward and no-graph programs: all, today."""
    sources = [source for entry in ASKED for source in entry.source if source in RAISING]
    named = {source: explain(raised(RAISING[source])).subject for source in sources}
    right = [source for source in sources if named[source] == GUILTY[source]]
    assert named == GUILTY
    assert len(set(right) - WITHOUT_A_NAME) / len(sources) >= 0.9


@pytest.mark.parametrize(
    ("source", "subject", "variant"),
    [
        *[(source, GUILTY[source], source) for source in GUILTY if source.startswith("E07")],
        *[(one, GUILTY[one], one) for one in ("E01", "E01b", "E01c", "E01d", "E01e", "E154b")],
        *[(source, GUILTY[source], source) for source in GUILTY if source.startswith("E40")],
        ("E213", "model.noise", "E213"),
        ("E115", "y", "E115"),
        ("E08", "unused", "E08"),
        ("E08b", "first", "E08b"),
        ("E16", "weight", "E16"),
        ("E16b", "weight", "E16b"),
        ("E16c", "row", "E16c"),
        ("E16d", "forgotten", "E16d"),
        ("E102", "bias", "E102"),
        ("E102b", "bias", "E102b"),
    ],
)
def test_the_cause_is_told(source, subject, variant):
    """Where an entry has several causes, it is the one of this program."""
    error = raised(RAISING[source])
    finding = investigate(error, OWNER[source], str(error))
    assert (finding.subject, finding.variant) == (subject, variant)


OTHERS = {
    **{"E02": "y", "E03": "loss", "E04": "y", "E06": "y", "E21": "y", "E26": "prediction"},
    **{"E20b": "x", "E25": "weight", "E27": "weight", "E28": "model.last", "E30": "x"},
    **{"E301": "x", "E302": "features", "E303": "batch and weight", "E305": "batch and weight"},
    **{"E304": "prediction and target", "E304b": "total and batch", "E306b": "target"},
    **{"E306": "batch and weight", "E202": "features and second.weight", "E204": "logits"},
    **{"E203": "prediction and target", "E31": "weight", "E35": "weight", "E36": "weight"},
    **{"E37": "weight", "E38": "y", "E39": "y", "E39b": "x", "E50": "features", "E52": "weight"},
    **{"E24": "model.weight", "E201": "model.weight", "E210": "second.weight"},
    **{"E211": "layer.bias"},
    **{"E53": "features", "E67": "weight", "E70": "x", "E80": "x", "E81": "y", "E231": "losses"},
    **{"E232": "loss", "E310": "loss", "E20": None, "E91": None, "E146": None},
}


@pytest.mark.parametrize("source", OTHERS)
def test_other_messages_name_theirs(source):
    """By the tensors of the failing expression; None where they have no name."""
    assert explain(raised(RAISING[source])).subject == OTHERS[source]


# -------------------------------------------------------------------------------- where code runs


def test_code_of_a_notebook_is_read():
    """Cells are no files; linecache has their source."""
    source = "w = torch.ones(3, requires_grad=True)\ny = w.exp()\ny += 1\ny.sum().backward()\n"
    explanation = explain(raised(cell, source, "/tmp/ipykernel_1/1.py"))
    assert explanation.subject == "y"
    assert explanation.details["changed at"] == "line 3, `y += 1`"
    assert explanation.details["line"] == "line 4: y.sum().backward()"


def test_a_cell_that_runs_again():
    """The loss was made in an earlier cell, so nothing in this one tells; its graph is freed."""
    space = cell("w = torch.ones(3, requires_grad=True)\nloss = w.exp().sum()\n", "<cell 1>")
    cell("loss.backward()\n", "<cell 2>", space)
    explanation = explain(raised(cell, "loss.backward()\n", "<cell 2>", space))
    assert explanation.subject == "loss"
    assert "The whole graph of `loss` is freed." in explanation.because


def test_a_result_of_another_cell():
    """The encoder ran in the first cell, the loss is computed in the second, twice."""
    space = cell("w = torch.ones(3, requires_grad=True)\nfeatures = w.exp()\n", "<cell 3>")
    second = "loss = (features * 2).sum()\nloss.backward()\n"
    cell(second, "<cell 4>", space)
    explanation = explain(raised(cell, second, "<cell 4>", space))
    assert explanation.subject == "features"
    assert "`features` was computed outside of this code." in explanation.because


def test_a_cell_with_a_magic_is_no_python():
    """The tensors are named all the same; no line is claimed."""
    source = "\ny = torch.ones(3, requires_grad=True).exp()\ny += 1\ny.sum().backward()\n"
    namespace = {"torch": torch}
    linecache.cache["<magic>"] = (
        9,
        None,
        ["%time\n", *source.splitlines(keepends=True)],
        "<magic>",
    )
    explanation = explain(raised(exec, compile(source, "<magic>", "exec"), namespace))
    assert explanation.subject == "y"
    assert "changed at" not in explanation.details


WEIGHT = "w = torch.ones(3, requires_grad=True)"


@pytest.mark.parametrize(
    ("lines", "subject"),
    [
        ([WEIGHT, "y = w.exp()", "y += 1", "y.sum().backward()"], "y"),
        (["loss = torch.ones(3).sum()", "loss.backward()"], "loss"),
        ([WEIGHT, "w.numpy()"], "w"),
        ([WEIGHT, "v = w * 2", "w.numpy()"], None),
        (["a, b = torch.ones(2, 3), torch.ones(2, 3)", "a @ b"], None),
        ([WEIGHT, "a = w.exp().sum()", "a.backward()", "a.backward()"], "a"),
        ([WEIGHT, "b = w.exp()", "a = b.sum()", "a.backward()", "a.backward()"], None),
    ],
)
def test_code_without_source(lines, subject):
    """What exec and `python -c` run: a name only where the tensors alone tell it."""
    explanation = explain(raised(exec, "\n".join(lines), {"torch": torch}))
    assert explanation.kind == "error"
    assert explanation.subject == subject


def test_an_error_in_a_thread():
    """Its frames are those of the thread."""
    seen = []

    def work():
        weight = torch.ones(3, requires_grad=True)
        state = weight.exp()
        state += 1
        try:
            state.sum().backward()
        except RuntimeError as error:
            seen.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert explain(seen[0]).subject == "state"


def test_python_c():
    """The program on the command line is called <string>, as generated code is."""
    code = (
        "import torch, gradbook\n"
        "w = torch.ones(3, requires_grad=True)\n"
        "y = w.sigmoid()\n"
        "y += 1\n"
        "try: y.sum().backward()\n"
        "except RuntimeError as error: print(gradbook.explain(error).subject)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "y\n"


def test_an_exception_without_a_traceback():
    """There is no frame to look at."""
    finding = investigate(RuntimeError("x"), ENTRIES["no-graph"], "x")
    assert finding == Finding()


# ------------------------------------------------------------------------------------ never fails


@pytest.mark.parametrize("entry", _METHODS)
def test_a_method_may_meet_any_error(entry):
    """Each way to look at a case, on cases of other entries: an answer, and no exception."""
    for source in ("E01", "E07b", "E40c", "E303", "E70", "E152b"):
        error = raised(RAISING[source])
        with torch_internals.plain_tensors():
            assert isinstance(_METHODS[entry](Case(error.__traceback__, str(error))), Finding)


def test_methods_belong_to_entries():
    """A method under an unknown id would never run."""
    assert set(_METHODS) <= {entry.id for entry in ENTRIES.entries}


def test_a_failure_leaves_what_is_known(monkeypatch):
    """Frames can hold anything: the line is told if the rest fails."""

    def fails(case):
        raise RecursionError

    monkeypatch.setitem(_METHODS, "no-graph", fails)
    error = raised(RAISING["E01"])
    finding = investigate(error, ENTRIES["no-graph"], str(error))
    assert list(finding.details) == ["line"]
    assert finding.subject is None


# --------------------------------------------------------------------------------- runs no code

RAN = []


def evil(name):
    """A method that remembers that it ran."""

    def run(self, *arguments, **keywords):
        RAN.append(name)
        raise RuntimeError(name)

    return run


class Evil:
    """Everything that Python may call on an object is watched."""

    __getattr__ = evil("__getattr__")
    __getattribute__ = evil("__getattribute__")
    __class__ = property(evil("__class__"))
    __eq__ = __ne__ = evil("__eq__")
    __hash__ = evil("__hash__")
    __bool__ = evil("__bool__")
    __len__ = evil("__len__")
    __iter__ = evil("__iter__")
    __repr__ = __str__ = evil("__repr__")
    __call__ = evil("__call__")


class WatchedTensor(torch.Tensor):
    """A subclass whose functions are watched."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if cls.watched:
            RAN.append("__torch_function__")
        return super().__torch_function__(func, types, args, kwargs or {})

    watched = False


class WatchedModule(nn.Module):
    """A module that overrides how it is looked at."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.inner = nn.ReLU()

    @property
    def loss(self):
        """A property with an effect."""
        RAN.append("property")
        return self.weight.sum()

    def named_modules(self, *arguments, **keywords):
        """Watched."""
        RAN.append("named_modules")
        return super().named_modules(*arguments, **keywords)

    def parameters(self, recurse=True):
        """Watched."""
        RAN.append("parameters")
        return super().parameters(recurse)

    def __getattr__(self, name):
        if name not in ("weight", "inner"):
            RAN.append("module.__getattr__")
        return super().__getattr__(name)


class WatchedDict(dict):
    """A dict that is watched."""

    __iter__ = keys = items = __getitem__ = get = evil("dict")


class Key(enum.IntEnum):
    """A key whose repr is code of the program."""

    ONE = 1
    __repr__ = evil("key")


class Watch(TorchFunctionMode):
    """Sees every torch function, attributes included."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        RAN.append("function mode")
        return func(*args, **(kwargs or {}))


class WatchDispatch(TorchDispatchMode):
    """Sees every operator."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        RAN.append("dispatch mode")
        return func(*args, **(kwargs or {}))


def among_evil(ending):
    """A frame with all of them, and an error at the end."""
    evil_one, model = Evil(), WatchedModule()
    model.__dict__["evil"] = Evil()
    things = [evil_one, {"evil": evil_one, Key.ONE: evil_one}, WatchedDict(a=evil_one)]
    weight = torch.ones(3).as_subclass(WatchedTensor).requires_grad_()
    result = weight.exp()
    WatchedTensor.watched = True
    try:
        if ending == "in place":
            with torch._C.DisableTorchFunction():
                result.add_(1)
                result.sum().backward()
        elif ending == "freed":
            loss = result.sum()
            with torch._C.DisableTorchFunction():
                loss.backward()
                loss.backward()
        elif ending == "cut":
            loss = torch.ones(()) * model.weight.detach().sum()
            loss.backward()
        elif ending == "method":
            loss = compute(model, evil_one, weight)
            loss.backward()
        elif ending == "numpy":
            torch.Tensor.numpy(model.weight)
        else:
            torch.nn.functional.binary_cross_entropy(model.weight.detach() + 1, torch.ones(3))
    finally:
        WatchedTensor.watched = False
        assert len(things) == 3


def compute(model, evil_one, weight):
    """A function of the program that nobody may call again."""
    RAN.append("compute")
    return model.weight.sum().detach()


@pytest.mark.parametrize("ending", ["in place", "freed", "cut", "method", "numpy", "range"])
def test_no_code_of_the_program_runs(ending):
    """No property, no special method, no subclass, no mode; and the answer is right."""
    error = raised(among_evil, ending)
    WatchedTensor.watched = True
    RAN.clear()
    with Watch(), WatchDispatch():
        explanation = explain(error)
    WatchedTensor.watched = False
    assert RAN == []
    assert (
        explanation.subject
        == {
            **{"in place": "result", "freed": "loss", "cut": "loss", "method": "loss"},
            **{"numpy": "model.weight", "range": None},
        }[ending]
    )


def test_a_namespace_that_is_no_plain_dict():
    """Exec takes any mapping for its local names; it is not asked."""
    asked = []

    class Names(dict):
        def __getitem__(self, name):
            asked.append(name)
            return super().__getitem__(name)

        def keys(self):
            asked.append("keys")
            return super().keys()

    space = Names()
    code = "w = torch.ones(3, requires_grad=True)\nw.numpy()\n"
    error = raised(exec, code, {"torch": torch, 1: "a key that is no name"}, space)
    asked.clear()
    assert explain(error).subject == "w"
    assert asked == []


# ------------------------------------------------------------------------------- changes nothing


def test_nothing_is_changed():
    """Versions, gradients, hooks, modes, random numbers, and what the graph has saved."""
    calls = []
    leaf = torch.ones(3, requires_grad=True)
    leaf.register_hook(calls.append)
    kept = leaf.exp()
    kept.retain_grad()
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(1) or t, calls.append):
        other = kept.sin() * leaf

    def program():
        edited = leaf.tanh()
        edited += 1
        total = edited.sum() + other.sum()
        total.backward()

    def state():
        tensors = leaf, kept, other
        return (
            [(one._version, one.requires_grad, one.retains_grad, one.grad_fn) for one in tensors],
            [None if one.grad is None else one.grad.tolist() for one in (leaf, kept)],
            torch.is_grad_enabled(),
            torch.get_rng_state().tolist(),
            torch_internals.saved_fields(kept.grad_fn).keys(),
            [one.released for one in torch_internals.saved_fields(kept.grad_fn).values()],
            len(packed),
            list(calls),
        )

    error = raised(program)
    calls.clear()
    before = state()
    assert explain(error).subject == "edited"
    assert state() == before


@pytest.mark.parametrize("enabled", [True, False])
def test_the_grad_mode_stays(enabled):
    """Whatever it is."""
    error = raised(RAISING["E204"])
    with torch.set_grad_enabled(enabled):
        assert explain(error).subject == "logits"
        assert torch.is_grad_enabled() is enabled


class Probe:
    """Something to watch."""


@pytest.mark.parametrize("source", ["E01b", "E07b", "E07d", "E40", "E40b", "E70", "E303", "E204"])
def test_nothing_is_kept(source):
    """Tensors and modules die with the exception, at once: without a garbage collection."""
    error = raised(RAISING[source])
    explanation = explain(error)
    trace = list(frames.chain(error.__traceback__))
    frame = next(one.tb_frame for one in trace if "reproducers" in one.tb_frame.f_code.co_filename)
    values = [one for one in frame.f_locals.values() if isinstance(one, (torch.Tensor, nn.Module))]
    watched = [weakref.ref(one) for one in values]
    nodes = [one.grad_fn for one in values if isinstance(one, torch.Tensor) and one.grad_fn]
    for node in nodes:  # a node has no weak references; what rests in it has
        node.metadata["probe"] = Probe()
        watched.append(weakref.ref(node.metadata["probe"]))
    node = None
    assert watched
    del trace, frame, values, nodes, node, error
    assert [one() for one in watched] == [None] * len(watched)
    assert explanation.subject is not None


def test_a_running_function_keeps_nothing_longer():
    """Looking at local names must not tie their values to the frame that is still running."""
    weight = torch.ones(3)
    watched = weakref.ref(weight)
    explain(weight)
    del weight
    assert watched() is None


# ------------------------------------------------------------------------------- long, and many

LONG = 50_000


@pytest.mark.parametrize("ending", ["in place", "freed", "cut"])
def test_a_long_chain(ending):
    """A chain of 50,000 nodes is looked at and dropped; the interpreter lives."""

    def program():
        weight = torch.ones(1, requires_grad=True)
        state = first = weight.exp()
        for _ in range(LONG):
            state = state + 1
        loss = state * state
        if ending == "in place":
            first += 1
        elif ending == "cut":
            loss = loss.detach()
        loss.backward()
        loss.backward()

    explanation = explain(raised(program))
    assert explanation.subject == {"in place": "first", "freed": "loss", "cut": "loss"}[ending]


def test_work_is_bounded_where_many_results_are_named(monkeypatch):
    """A hundred results of another long graph are not walked one by one without end."""
    walked = []
    walk = torch_internals.walk

    def counting(roots):
        found = walk(roots)
        walked.append(len(found))
        return found

    def program():
        weight = torch.ones(1, requires_grad=True)
        state = weight * 1
        results = []
        for _ in range(20_000):
            state = state.sin()
            results.append(state)
        kept = results[-100:]
        shared = weight.exp()
        loss = (shared * 2).sin()
        loss.backward(retain_graph=True)
        loss.backward()
        loss.backward()
        return kept

    error = raised(program)
    monkeypatch.setattr(torch_internals, "walk", counting)
    explain(error)
    assert sum(walked) < freed._MOST_NODES + 2 * 20_000


def test_a_namespace_with_many_names():
    """Plain names are found among a hundred thousand others."""
    space = {f"name_{number}": number for number in range(100_000)}
    code = "y = torch.ones(3, requires_grad=True).exp()\ny += 1\ny.sum().backward()"
    assert explain(raised(exec, code, space | {"torch": torch})).subject == "y"


def test_deep_recursion_of_the_program():
    """Of a thousand frames the innermost are read."""

    def down(depth, tensor):
        if depth == 0:
            tensor.numpy()
        down(depth - 1, tensor)

    error = raised(down, 500, torch.ones(3, requires_grad=True))
    assert explain(error).subject == "tensor"
    assert len(frames.places(error.__traceback__)) == frames._MOST_PLACES
