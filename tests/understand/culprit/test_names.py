"""Tests of `gradbook.understand.culprit.names`: what the values of a program are called."""

import collections
import dataclasses
import sys
import types
from typing import NamedTuple

import pytest
import torch
from torch import nn

from gradbook.understand.culprit.names import (
    buffers_of,
    is_module,
    is_tensor,
    items_of,
    members,
    modules_in,
    named_tensors,
    parameters_of,
    resolve,
    submodules,
)


def names_of(namespace):
    """The names of the tensors in a namespace."""
    return [name for name, _ in named_tensors(namespace)]


def test_names_of_tensors_by_level():
    """Plain names, then parts; a shared tensor has all its names, a shared list its first."""
    x = torch.ones(1)
    pair = [x, {"k": x, 3: x, None: x}]
    names = names_of({"a": pair, "b": pair, "x": x, "t": (x,), "n": 1, "s": "text"})
    assert names == ["x", "a[0]", "t[0]", "a[1]['k']", "a[1][3]"]


def test_names_inside_objects():
    """Attributes of objects and modules, private ones too; not those of classes and functions."""

    class Config:
        scale = torch.ones(1)

    def function():
        pass

    function.tensor = torch.ones(1)
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    config = Config()
    config._hidden = torch.ones(1)
    names = names_of({"config": config, "f": function, "C": Config, "model": model})
    assert names == [
        "config._hidden",
        *("model.0.weight", "model.0.bias", "model.1.weight", "model.1.bias"),
        *("model.1.running_mean", "model.1.running_var", "model.1.num_batches_tracked"),
    ]


def test_old_results_of_a_notebook_are_no_names():
    """`_`, `_12`, `Out` and the like; a private name of the program is one."""
    x = torch.ones(1)
    hidden = ("_", "__", "_12", "_i", "_ii", "In", "Out", "_oh", "_dh")
    assert names_of(dict.fromkeys((*hidden, "_mine"), x)) == ["_mine"]


def test_modules_of_the_program_are_opened():
    """A file of settings holds tensors; torch and what is installed are not searched."""
    settings = types.ModuleType("settings")
    settings.__file__ = "/home/someone/settings.py"
    settings.scale = torch.ones(1)
    nameless = types.ModuleType("nameless")
    nameless.scale = torch.ones(1)
    names = names_of({"settings": settings, "nameless": nameless, "torch": torch, "sys": sys})
    assert names == ["settings.scale"]


def test_the_search_ends():
    """In rings, and in what never ends."""
    ring = []
    ring.append(ring)
    ring.append(torch.ones(1))
    assert names_of({"ring": ring}) == ["ring[1]"]
    wide = [[[[torch.ones(1)] for _ in range(100)] for _ in range(100)] for _ in range(100)]
    assert len(names_of({"wide": wide})) < 20_000


def test_what_a_dotted_name_stands_for():
    """The longest beginning of it; a class has its attributes, a property is not read."""

    class Thing:
        shared = 3
        ready = property(lambda self: 1 / 0)

    thing = Thing()
    thing.inner = thing
    space = {"thing": thing, "Thing": Thing}
    assert resolve(space, "thing.inner.inner") == ("thing.inner.inner", thing)
    assert resolve(space, "thing.ready.x") == ("thing", thing)
    assert resolve(space, "Thing.shared") == ("Thing.shared", 3)
    assert resolve(space, "nothing.at.all") == ("nothing", None)


def test_members_of_anything():
    """Objects without a dict, and modules before their `__init__`, have none."""

    class Slots:
        __slots__ = ("x",)

    class Early(nn.Module):
        def __init__(self):
            self.__dict__["early"] = 1

    assert members(Slots()) == {}
    assert members(3) == {}
    assert members(Early()) == {"early": 1}
    assert "weight" in members(nn.Linear(1, 1))


def test_types_are_asked_not_values():
    """A proxy that calls itself a tensor is none."""

    class Proxy:
        __class__ = torch.Tensor

    assert isinstance(Proxy(), torch.Tensor)
    assert not is_tensor(Proxy())
    assert is_tensor(nn.Parameter(torch.ones(1)))
    assert is_module(nn.ReLU())
    assert not is_module(nn.ReLU)


def test_modules_with_their_children():
    """By dotted names."""
    inner = nn.ReLU()
    model = nn.Sequential(inner)
    assert list(modules_in({"model": model})) == [("model", model), ("model.0", inner)]


class Pair(NamedTuple):
    """Two tensors with names of their own."""

    w: torch.Tensor
    b: torch.Tensor


@dataclasses.dataclass
class Output(collections.OrderedDict):
    """As the outputs of large models: each element is an attribute too."""

    loss: torch.Tensor = None

    def __post_init__(self):
        self["loss"] = self.loss

    def items(self):
        """Code of the program; it must not run."""
        raise AssertionError


@dataclasses.dataclass(slots=True)
class Slotted:
    """A dataclass without a dict."""

    x: torch.Tensor
    y: torch.Tensor = None


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda x: {"w": x}, "box['w']"),
        (lambda x: collections.OrderedDict(w=x), "box['w']"),
        (lambda x: collections.defaultdict(list, {"w": x}), "box['w']"),
        (lambda x: collections.UserDict(w=x), "box['w']"),
        (lambda x: {("a", 1): x}, "box[('a', 1)]"),
        (lambda x: Pair(torch.ones(1), x), "box.b"),
        (lambda x: collections.deque([0, x]), "box[1]"),
        (lambda x: type("Mine", (list,), {})([x]), "box[0]"),
        (Output, "box.loss"),
        (Slotted, "box.x"),
        (lambda x: types.SimpleNamespace(x=x), "box.x"),
        (lambda x: nn.ParameterDict({"w": nn.Parameter(x)}), "box.w"),
    ],
)
def test_containers_of_every_kind(make, name):
    """Subclasses are read without running their code; a named element has its name."""
    x = torch.ones(2)
    box = make(x)
    names = [found for found, one in named_tensors({"box": box}) if one.data_ptr() == x.data_ptr()]
    assert names == [name]


def test_a_name_with_a_field_is_resolved():
    """As an attribute of a named tuple."""
    pair = Pair(torch.ones(1), torch.ones(2))
    assert resolve({"pair": pair}, "pair.b.exp") == ("pair.b", pair.b)
    assert items_of(3) == []


def test_the_own_objects_of_a_shell_are_no_names():
    """IPython's `exit` leads to everything; the program's names are better."""
    exiter = type("ExitAutocall", (), {"__module__": "IPython.core.autocall"})()
    exiter.tensor = torch.ones(1)
    assert names_of({"exit": exiter}) == []


class Failing(nn.Module):
    """A module whose own listing fails."""

    def __init__(self):
        super().__init__()
        self.inner = nn.BatchNorm1d(1)

    def named_parameters(self, *_, **__):
        """Code of the program; it must not run."""
        raise AssertionError


def test_what_a_module_has_registered():
    """By names, each once; no method of the module runs."""
    model = Failing()
    model.again = model.inner
    assert list(submodules(model)) == ["", "inner"]
    assert list(parameters_of(model)) == ["inner.weight", "inner.bias"]
    assert "inner.running_mean" in buffers_of(model)
