"""Tests of docs/_extensions/package.py: a build that runs nothing does not wait for torch."""

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def run(program: str) -> str:
    """What a program prints, in a process of its own, where nothing is imported yet."""
    command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, '_extensions')\n{program}"]
    done = subprocess.run(
        command, cwd=DOCS, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_settings_and_the_extensions_import_no_torch():
    """It takes as long as all the rest of a build that runs no page."""
    program = """
import importlib, runpy
settings = runpy.run_path("conf.py")
for name in settings["extensions"]:
    importlib.import_module(name)
print(len(settings["extensions"]), "torch" in sys.modules)
"""
    count, found = run(program).split()
    assert int(count) > 10
    assert found == "False"


def test_whoever_imports_gradbook_later_gets_it_whole():
    """Its functions, and the same modules, so that a class is the same class everywhere."""
    program = """
import package
import gradbook
from gradbook import catalogue
from gradbook.display import drawing
print(callable(gradbook.graph), catalogue is package.catalogue, drawing is package.drawing)
x = gradbook.data.line(n=3)[0]
print("torch" in sys.modules, len(x))
"""
    assert run(program).split() == ["True", "True", "True", "True", "3"]


def test_a_package_that_is_there_stays():
    """As in the tests, which import gradbook first."""
    program = """
import gradbook
before = gradbook.explain
import package
print(sys.modules["gradbook"] is gradbook, gradbook.explain is before)
"""
    assert run(program).split() == ["True", "True"]
