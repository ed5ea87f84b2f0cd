"""The programs that exercises give away: with a stub they run, with the solution they are right."""

import io
from contextlib import redirect_stdout

import pytest

from gradbook.check.answers import WrongAnswer
from pages import PAGES, cells
from reading.stubs import programs, skeleton

PROGRAMS = {
    name: both
    for page in PAGES
    if "check." in page.read_text("utf-8")
    for name, both in programs(cells(page)).items()
}
each = pytest.mark.parametrize("name", PROGRAMS)


def run(program):
    """What it prints, in a namespace of its own."""
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})
    return said.getvalue()


def test_the_exercises_that_want_a_function_have_one():
    """All those that stand on the pages."""
    wanted = [source for page in PAGES for source, _tags in cells(page) if "...  # your" in source]
    assert len(PROGRAMS) == len(wanted) > 20


@each
def test_with_the_solution_of_the_page_it_says_right(name):
    """In the place of the stub."""
    assert "Right." in run(PROGRAMS[name][1])


@each
def test_with_its_stub_the_check_answers(name):
    """It says what is wanted: the check meets a function that gives nothing."""
    program = PROGRAMS[name][0]
    assert f"check.{name}(" in program
    with pytest.raises((WrongAnswer, TypeError, RuntimeError)) as caught:
        run(program)
    assert any(frame.name == name.partition(".")[2] for frame in caught.traceback)


def test_a_class_keeps_its_methods():
    """Their names and arguments, not what they do."""
    solution = """
class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g
"""
    stub = skeleton("Double", solution)
    compile(stub, "stub", "exec")
    assert "class Double(torch.autograd.Function):" in stub
    assert "    def backward(ctx, g):\n        ...  # your answer" in stub
    assert "2 *" not in stub


def test_a_solution_without_the_name_is_refused():
    """The page would give away a program that cannot run."""
    with pytest.raises(ValueError, match="defines no function or class 'twice'"):
        skeleton("twice", "thrice = 3")
