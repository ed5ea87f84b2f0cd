"""Every cell of every page is a test: one namespace a page, failures at their page and line."""

import linecache

from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser

_run = PythonEvaluator()


def _cell(example: Example) -> None:
    linecache.checkcache(example.path)
    _run(example)


pytest_collect_file = Sybil(
    parsers=[CodeBlockParser(language="python", evaluator=_cell)],
    patterns=["*.md"],
    excludes=["_build/**"],
).pytest()
