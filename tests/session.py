"""Run pages as a reader does, in this process, and say as JSON what failed.

    python tests/session.py jupyter learn/backward learn/detach
    python tests/session.py --with-hidden jupyter learn/backward
    python tests/session.py console learn/backward

In Jupyter all pages share one session. In a console each page begins anew, and Python does not know
the lines of a cell. Cells that are not on the page are left out, unless they are asked for.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout

import matplotlib
import torch
from IPython.core.interactiveshell import InteractiveShell

from pages import DOCS, cells


def state() -> dict[str, object]:
    """What a page could change for those that come after it."""
    return {
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "only warn of others": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "precision of products": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
    }


def jupyter() -> Callable[[str], None]:
    """Run cells in one session of IPython, which knows their lines."""
    shell = InteractiveShell.instance()

    def run(source: str) -> None:
        shell.run_cell(source, store_history=True).raise_error()

    return run


def console() -> Callable[[str], None]:
    """Run cells in a new session of a console."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main

    def run(source: str) -> None:
        exec(compile(source, "<stdin>", "exec"), main.__dict__)

    return run


def run_page(name: str, run: Callable[[str], None], *, hidden: bool) -> Iterator[str]:
    """Run a page in an empty folder; what failed, and what it left changed."""
    before = state()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for number, (source, tags) in enumerate(cells(DOCS / f"{name}.md"), start=1):
            if {"remove-cell", "remove-input"} & set(tags) and not hidden:  # no reader has it
                continue
            said = io.StringIO()
            try:
                with redirect_stdout(said), redirect_stderr(said):
                    run(source)
            except Exception as error:
                yield f"{name}, cell {number}: {type(error).__name__}: {error}\n{source}"
    for what, value in state().items():
        if value != before[what]:
            yield f"{name}: {what} was {before[what]} and is {value}"


def main() -> None:
    """Run the pages that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--with-hidden", action="store_true")
    parser.add_argument("kind", choices=["jupyter", "console"])
    parser.add_argument("pages", nargs="+")
    options = parser.parse_args()
    matplotlib.use("agg")
    os.environ["GRADBOOK_DATA"] = str(DOCS / "_data")
    if options.with_hidden:
        sys.path.append(str(DOCS / "examples"))  # for the cells that draw
    failed = []
    run = jupyter()
    for name in options.pages:
        if options.kind == "console":
            run = console()
        failed += list(run_page(name, run, hidden=options.with_hidden))
    print(json.dumps(failed))


if __name__ == "__main__":
    main()
