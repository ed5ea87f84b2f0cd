"""Which tests reach a line, and how long they take."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coverage import CoverageData

MOST = 150  # tests for one fault; with more of them the score could only rise


@dataclass
class Reach:
    """Which tests reach the lines of modules.

    Attributes:
        modules: for each module, its lines with the tests that reach them, in order of their names.
        seconds: how long each test takes.
    """

    modules: Mapping[str, Mapping[int, list[str]]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def tests_of(self, module: str, line: int) -> list[str]:
        """Tests that reach the line; for one that runs on import, tests that reach the module.

        Of many, each test function gives one, then each that has more gives another, and so on:
        what differs in its parameters alone often tests the same.
        """
        lines = self.modules.get(module, {})
        everything = (test for tests in lines.values() for test in tests)
        functions: dict[str, list[str]] = {}
        for test in lines.get(line) or dict.fromkeys(everything):
            functions.setdefault(test.partition("[")[0], []).append(test)
        turns = itertools.zip_longest(*map(_spread, functions.values()))
        chosen = (test for turn in turns for test in turn if test is not None)
        return list(itertools.islice(chosen, MOST))

    @classmethod
    def read(cls, coverage: Path, clock: Path, root: Path) -> "Reach":
        """What these two files of a run in the folder `root` say."""
        data = CoverageData(str(coverage))
        data.read()
        modules = {
            Path(file).relative_to(root).as_posix(): dict(_lines(data, file))
            for file in sorted(data.measured_files())
        }
        return cls(modules, json.loads(clock.read_text("utf-8")))


def _spread(tests: list[str]) -> list[str]:
    """The tests in another order: the first ones are far from each other."""
    step = max(1, math.isqrt(len(tests)))
    return [test for start in range(step) for test in tests[start::step]]


def _lines(data: CoverageData, file: str) -> Iterator[tuple[int, list[str]]]:
    for line, contexts in data.contexts_by_lineno(file).items():
        # The empty one is what runs on import, outside of any test. A phase follows the name.
        yield line, list(dict.fromkeys(name.partition("|")[0] for name in sorted(contexts) if name))
