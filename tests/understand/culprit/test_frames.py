"""Tests of `gradbook.understand.culprit.frames`: frames, read without running anything."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import nn

import programs
from gradbook.see import torch_internals
from gradbook.understand.culprit.frames import (
    Place,
    calling_place,
    last_torch_calls,
    passes_through,
    places,
    torch_locals,
)
from gradbook.understand.culprit.names import function_of


def trace_of(program):
    """The traceback of what a program raises."""
    try:
        program()
    except Exception as error:  # any kind may come
        return error.__traceback__
    raise AssertionError("nothing was raised")


def test_a_version_that_is_not_counted():
    """Tensors of inference mode have none."""
    with torch.inference_mode():
        uncounted = torch.ones(1)
    assert torch_internals.version_of(uncounted) is None
    assert torch_internals.version_of(torch.ones(1).add_(1)) == 1


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


AT_A_BREAKPOINT = """
import torch
from gradbook import explain

def step(weight):
    hidden = weight.detach()
    breakpoint()
    return hidden

step(torch.ones(3, requires_grad=True))
"""


def test_what_is_asked_at_a_breakpoint(tmp_path):
    """The frame that the debugger looks at is read, by statement and by expression."""
    program = tmp_path / "program.py"
    program.write_text(AT_A_BREAKPOINT, encoding="utf-8")
    typed = "print(explain(hidden).subject)\np explain(hidden).details['cut at']\nc\n"
    done = subprocess.run(
        [sys.executable, str(program)],
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "(Pdb) hidden" in done.stdout
    assert "line 6, `hidden = weight.detach()`" in done.stdout
