"""Tests of the face of the package: what `from gradbook import ...` finds."""

import ast
import subprocess
import sys
from importlib import resources

import pytest

import gradbook


def test_each_name_of_the_face_is_there():
    """And `dir()` lists it, which is what completion in a notebook asks for."""
    assert all(getattr(gradbook, name) is not None for name in gradbook.__all__)
    assert set(gradbook.__all__) <= set(dir(gradbook))


def test_type_checkers_see_the_face_as_it_is():
    """The stub imports the same names from the same modules."""
    stub = ast.parse(resources.files("gradbook").joinpath("__init__.pyi").read_text("utf-8"))
    seen = {
        alias.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: f"gradbook.{module}" for name, module in gradbook._HOMES.items()}
    assert seen == homes | dict.fromkeys(gradbook._MODULES, "gradbook")
    (listed,) = (node.value for node in stub.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(listed) == gradbook.__all__


def test_an_unknown_name_is_an_attribute_error():
    """As of any module, with the name."""
    with pytest.raises(AttributeError, match="module 'gradbook' has no attribute 'backwards'"):
        _ = gradbook.backwards


@pytest.mark.parametrize(
    ("use", "loaded"),
    [
        ("import gradbook", False),
        ("from gradbook.understand import catalogue; catalogue.load()", False),
        ("from gradbook.see.display import drawing", False),
        ("from gradbook import graph", True),
    ],
)
def test_torch_is_loaded_when_a_name_needs_it(use, loaded):
    """A build of the site in which nothing changed reads the catalogue only, without torch."""
    program = f"import sys\n{use}\nprint('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.split() == [str(loaded)]
