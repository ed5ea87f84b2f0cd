"""Every cell of every page is a test, and so is every number of its text.

One namespace a page; failures at their page and line.
"""

import linecache
import os
import sys
from contextlib import ExitStack, chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser

import held

os.environ["GRADBOOK_DATA"] = str(Path(__file__).with_name("_data"))  # as conf.py does

_run = PythonEvaluator()
_folder = ExitStack()


def _enter_folder(_: dict[str, Any]) -> None:
    """Run a page in an empty folder of its own, as the build does."""
    _folder.enter_context(chdir(_folder.enter_context(TemporaryDirectory())))


def _leave_folder(_: dict[str, Any]) -> None:
    _folder.close()
    if "matplotlib.pyplot" in sys.modules:  # which warns of many figures, also of other pages'
        sys.modules["matplotlib.pyplot"].close("all")


def _cell(example: Example) -> None:
    linecache.checkcache(example.path)
    _run(example)


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser(language="python", evaluator=_cell), held.parse],
    patterns=["*.md"],
    excludes=["_build/**"],
    setup=_enter_folder,
    teardown=_leave_folder,
).pytest()
