"""Copies of the repository in which faults are made, and the tests that look for them."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from mutants import Mutant
from reach import Reach

ROOT = Path(__file__).parents[2]
# Tests of the site and of the benchmarks say nothing of the package; those that start several
# processes, or run all pages, take longer than all others together.
LEFT_OUT = (
    *("bench", "browser", "extensions", "mutation", "translation"),
    *("train/test_distributed.py", "test_sessions.py"),
)


class Workshop:
    """A copy of the repository for each core."""

    def __init__(self, folder: Path) -> None:
        """Copy what tests need into `folder`."""
        ignored = shutil.ignore_patterns("_build", "__pycache__")
        self.reach = Reach()
        self.copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(os.cpu_count() or 1):
            copy = folder.resolve() / f"copy-{number}"
            for part in ("src", "tests", "docs"):
                shutil.copytree(ROOT / part, copy / part, ignore=ignored)
            shutil.copy(ROOT / "pyproject.toml", copy)
            self.copies.put(copy)

    @contextlib.contextmanager
    def copy(self) -> Iterator[Path]:
        """One of the copies, for one at a time."""
        copy = self.copies.get()
        try:
            yield copy
        finally:
            self.copies.put(copy)

    def trace(self) -> None:
        """Find out which tests reach which lines.

        Raises:
            RuntimeError: a test fails without a fault.
        """
        options = [
            *("tests", "src", *(f"--ignore=tests/{name}" for name in LEFT_OUT)),
            *("--numprocesses", "auto", "--dist", "loadfile", "-p", "clock"),
            *("--cov", "--cov-context=test", "--cov-report=", "--cov-fail-under=0"),
        ]
        with self.copy() as copy:
            done = subprocess.run(
                ["sh", "-c", pytest_in(copy, options)],
                env={**os.environ, "CLOCK": str(copy / "clock.json")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"a test fails without a fault:\n{done.stdout}")
            self.reach = Reach.read(copy / ".coverage", copy / "clock.json", copy)

    def try_all(self, mutants: list[Mutant]) -> Iterator[tuple[Mutant, bool, str]]:
        """Each fault, whether a test failed, and what was changed; on all cores."""
        with ThreadPoolExecutor(self.copies.qsize()) as pool:
            yield from pool.map(self.attempt, mutants)

    def attempt(self, mutant: Mutant) -> tuple[Mutant, bool, str]:
        """Make one fault, and run its tests.

        Raises:
            RuntimeError: the fault could not be made.
        """
        from attrs import evolve
        from cosmic_ray.mutating import mutate_and_test
        from cosmic_ray.work_item import TestOutcome, WorkerOutcome

        tests = self.reach.tests_of(mutant.module, mutant.line)
        with self.copy() as copy:
            chosen = copy / "tests.txt"
            chosen.write_text("\n".join(tests), encoding="utf-8")
            # Without a name, pytest would run all tests.
            script = pytest_in(copy, ["--exitfirst", f"@{chosen}"]) if tests else "true"
            usual = sum(self.reach.seconds.get(test, 0) for test in tests)
            spec = evolve(mutant.spec, module_path=copy / mutant.module)
            # What takes much longer than usual hangs because of the fault.
            result = mutate_and_test([spec], shlex.join(["sh", "-c", script]), 60 + 5 * usual)
        if result.worker_outcome != WorkerOutcome.NORMAL:
            raise RuntimeError(f"{mutant}: {result.output}")
        diff = (result.diff or "").replace(f"{copy}/", "")
        return mutant, result.test_outcome == TestOutcome.KILLED, diff


def pytest_in(copy: Path, options: list[str]) -> str:
    """A command for the shell; the package of the copy goes before the one that is installed."""
    path = os.pathsep.join([str(copy / "src"), str(copy / "tests" / "mutation")])
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *options]
    variables = f"OMP_NUM_THREADS=1 PYTHONPATH={shlex.quote(path)}"
    return f"cd {shlex.quote(str(copy))} && {variables} exec {shlex.join(command)}"
