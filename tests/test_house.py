"""The house: imports of the package run one way and in no circle; type hints count."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def broken_contracts(source: Path) -> str:
    """What import-linter says of the package in `source`, by the contracts in pyproject.toml."""
    program = (
        "import sys; from importlinter.cli import lint_imports; "
        "sys.exit(lint_imports(config_filename=sys.argv[1], no_cache=True, no_logo=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(ROOT / "pyproject.toml")],
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_imports_run_one_way():
    """No contract is broken."""
    assert broken_contracts(ROOT / "src") == ""


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("see/values.py", "import gradbook.understand.catalogue", "between the wings BROKEN"),
        ("train/seeding.py", "from gradbook.data import line", "between the wings BROKEN"),
        ("see/nodes.py", "import gradbook.see.graph", "no circle within a wing BROKEN"),
        ("train/seeding.py", "from gradbook import fit", "nothing imports the face BROKEN"),
    ],
)
def test_a_wrong_import_is_noticed(tmp_path, file, line, contract):
    """Each contract can be broken, also by an import for the sake of a type hint."""
    ignored = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(ROOT / "src" / "gradbook", tmp_path / "gradbook", ignore=ignored)
    path = package / file
    hint = f"\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    {line}\n"
    path.write_text(path.read_text("utf-8") + hint, encoding="utf-8")
    assert contract in broken_contracts(tmp_path)


def private_names(path: Path) -> set[str]:
    """Names of torch that begin with one underscore, as a module writes them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "torch":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
    return {name for name in found if re.match(r"torch\b.*\._(?!_)", name)}


def test_private_names_of_torch_stand_in_one_module():
    """`torch._C` and the like; a change of torch is mended in one place."""
    modules = sorted((ROOT / "src").rglob("*.py"))
    using = {path.name for path in modules if private_names(path)}
    assert using == {"torch_internals.py"}


DESIGN = ROOT / "docs" / "about" / "design.md"
PLACES = [ROOT, ROOT / "docs" / "_extensions", ROOT / "src" / "gradbook"]
MADE = {".cache", ".cache/kept", ".cache/notebooks", ".cache/snippets"}  # by a build


@pytest.mark.parametrize("name", ["design", "contributing", "benchmarks"])
def test_what_the_pages_about_the_house_name_is_there(name):
    """Each file and folder, by its whole path or by that below its house."""
    text = (DESIGN.parent / f"{name}.md").read_text("utf-8")
    named = set(re.findall(r"`(\.?\w[\w.-]*/[\w./-]+|\w+\.(?:py|toml|json))`", text)) - MADE
    assert named
    missing = {one for one in named if not any((place / one).exists() for place in PLACES)}
    assert not missing


def test_the_rooms_of_the_design_page_are_those_of_the_house():
    """Its two tables have the wings of the package, and the rooms of the site's extensions."""
    text = DESIGN.read_text("utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE))
    assert rows == {"gradbook", *_parts(ROOT / "src" / "gradbook"), *_parts(PLACES[1])}


def _parts(folder: Path) -> set[str]:
    names = {path.name.removesuffix(".py") for path in folder.iterdir()}
    return {name for name in names if re.fullmatch(r"[a-z]+", name)}
