"""Tests of `gradbook.understand.culprit.frames`: names in frames, read without running anything."""

import dataclasses
import sys
import types

import pytest
import torch
from torch import nn

import programs
from gradbook.understand.culprit.frames import (
    Place,
    calling_place,
    function_of,
    is_module,
    is_tensor,
    last_torch_calls,
    members,
    modules_in,
    named_tensors,
    passes_through,
    places,
    resolve,
    torch_locals,
    version_of,
)


def trace_of(program):
    """The traceback of what a program raises."""
    try:
        program()
    except Exception as error:  # any kind may come
        return error.__traceback__
    raise AssertionError("nothing was raised")


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


def test_a_version_that_is_not_counted():
    """Tensors of inference mode have none."""
    with torch.inference_mode():
        uncounted = torch.ones(1)
    assert version_of(uncounted) is None
    assert version_of(torch.ones(1).add_(1)) == 1


@dataclasses.dataclass
class Point:
    """Its `__init__` and `__eq__` are generated code, called <string>."""

    x: torch.Tensor


def test_generated_code_is_no_place():
    """The line that compares is told, not the generated method."""
    one, other = Point(torch.ones(2)), Point(torch.ones(2))
    found = places(trace_of(lambda: one == other))
    assert found[0].source.text == "found = places(trace_of(lambda: one == other))"


def test_the_places_of_a_traceback():
    """The program's lines, innermost first; those of torch are left out."""

    def inner():
        nn.Linear(3, 1)(torch.ones(2, 2))

    found = places(trace_of(inner))
    assert [place.code.co_name for place in found] == ["inner", "trace_of"]
    assert found[0].span is not None
    assert places(None) == []


def test_code_of_a_library_counts_where_there_is_nothing_else():
    """An error of an installed tool itself still has a place."""
    code = compile("def f(x):\n    x.numpy()\n", "/x/site-packages/tool.py", "exec")
    space = {}
    exec(code, space)
    trace = trace_of(lambda: space["f"](torch.ones(1, requires_grad=True)))
    assert [place.code.co_name for place in places(trace)] == ["<lambda>", "trace_of"]
    assert [place.code.co_name for place in places(trace.tb_next.tb_next)] == ["f"]
    assert function_of(space["f"]) is None
    assert function_of(trace_of) is trace_of
    assert function_of(nn.Linear.forward) is None


def test_a_folder_whose_name_begins_alike_is_no_library():
    """`gradbook_experiments` beside `gradbook` is a program."""
    folder = Place.__module__.split(".", maxsplit=1)[0]
    path = sys.modules[folder].__path__[0] + "_experiments/train.py"
    code = compile("x.numpy()", path, "exec")
    trace = trace_of(lambda: exec(code, {"x": torch.ones(1, requires_grad=True)}))
    assert places(trace)[0].source.file == path


def test_frames_of_torch():
    """Local names, by function and file."""
    model = nn.Sequential(nn.Linear(3, 1))
    trace = trace_of(lambda: model(torch.ones(2, 2)))
    (names,) = torch_locals(trace, {"forward": "modules/linear.py"})
    assert names["self"] is model[0]
    assert torch_locals(trace, {"forward": "modules/conv.py"}) == []
    assert last_torch_calls(trace)[0]["self"] is model[0]
    assert last_torch_calls(trace)[-1]["self"] is model
    assert passes_through(trace, "modules/container.py")
    assert not passes_through(trace, "test_frames.py")


def test_the_line_that_calls():
    """Of the program, not of this package; it has no failed expression."""
    place = calling_place()
    assert place.source.text == "place = calling_place()"
    assert place.span is None
    assert place.code.co_name == "test_the_line_that_calls"


def test_names_that_inner_code_uses():
    """A global that only a comprehension or a lambda reads is visible."""
    place = calling_place()
    assert [programs.__name__ for _ in range(1)]
    assert place.resolve("programs.__name__") == ("programs.__name__", "programs")
    assert place.resolve("unheard_of") == ("unheard_of", None)


def test_arguments_of_a_function():
    """All kinds of them."""

    def function(a, /, b, *rest, c, **more):
        local = calling_place()
        assert [a, b, rest, c, more] == [1, 2, (), 3, {}]
        return local

    assert function(1, 2, c=3).arguments == ("a", "b", "c", "rest", "more")


@pytest.mark.parametrize("held", [True, False])
def test_a_snapshot_that_somebody_holds_is_left_alone(held):
    """A debugger may hold the dict of local names; otherwise nothing stays in the frame."""
    frame = sys._getframe()
    value = torch.ones(1)
    snapshot = frame.f_locals if held else None
    Place(frame, frame.f_lineno)
    if held:
        assert snapshot["value"] is value
    assert "value" in frame.f_locals
