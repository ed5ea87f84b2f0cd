"""The house: imports of the package run one way and in no circle; type hints count."""

import os
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
