"""The pages work in every way in which a reader runs them."""

import json
import os
import subprocess
import sys
from codeop import CommandCompiler
from pathlib import Path

import pytest

from pages import DOCS, LEARN, PAGES, PATH, cells

SESSION = Path(__file__).with_name("session.py")
# A cell in which this stands, with a reason, is not for a console.
NOT_IN_A_CONSOLE = "# needs its source lines"
# The cell that is a file, docs/examples/engine.py, as it is.
IS_A_FILE = "to be read in one sitting"


def failures(*arguments: str) -> list[str]:
    """What fails when pages run in a session of their own."""
    done = subprocess.run(
        [sys.executable, str(SESSION), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("options", [(), ("--with-hidden",)], ids=["visible", "all"])
def test_the_path_runs_in_one_session(options):
    """Page after page in order; none leaves a mode or a default changed for the next."""
    assert sorted(PATH) == [f"learn/{page.stem}" for page in LEARN]
    assert "\n\n".join(failures(*options, "jupyter", *PATH)) == ""


def test_each_page_runs_in_a_console():
    """Where Python does not know the lines of what was pasted, as before Python 3.13."""
    names = [path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES if cells(path)]
    found = failures("console", *names)
    assert [one for one in found if NOT_IN_A_CONSOLE not in one] == []


def untypable(source: str) -> str | None:
    """The line at which the console of Python 3.12 and earlier refuses a cell; None if at none.

    That console takes a line at a time. A blank line ends a block, and a block ends at a blank
    line only.
    """
    compiled, waiting = CommandCompiler(), []
    for line in [*source.splitlines(), ""]:
        waiting.append(line)
        try:
            if compiled("\n".join(waiting), "<stdin>", "single") is not None:
                waiting = []
        except SyntaxError:
            return line
    return None


@pytest.mark.parametrize("folder", ["learn", "howto", "deeper"])
def test_each_cell_can_be_typed_into_a_console(folder):
    """No blank line stands inside a block, and one after each."""
    refused = [
        f"{path.stem}, cell {number}: {line}"
        for path in PAGES
        if path.parent.name == folder
        for number, (source, tags) in enumerate(cells(path), start=1)
        if not {"remove-cell", "remove-input"} & set(tags) and IS_A_FILE not in source
        if (line := untypable(source)) is not None
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("for i in range(3):\n    print(i)\n\nprint()", None),
        ("if True:\n    x = [\n        1,\n\n    ]\nelse:\n    x = 2", None),
        ("for i in range(3):\n    print(i)\nprint()", "print()"),
        ("def f():\n    x = 1\n\n    return x", "    return x"),
        ('text = """\nif True:\n    a\n\n    b\n"""', None),
    ],
)
def test_where_a_console_refuses_a_cell(source, line):
    """A blank line inside a block, or none after it; a bracket and a text are no block."""
    assert untypable(source) == line


def test_what_a_page_leaves_changed_is_found(tmp_path):
    """And a cell that fails, with its page; a hidden cell only when it runs."""
    page = tmp_path / "leaks.md"
    page.write_text(
        "---\nfile_format: mystnb\nkernelspec: {name: python3}\n---\n"
        "```{code-cell} python\nimport torch\n_ = torch.set_grad_enabled(False)\n```\n\n"
        "```{code-cell} python\n:tags: [remove-cell]\n"
        "torch.set_default_dtype(torch.float64)\n```\n\n"
        "```{code-cell} python\nnot_there\n```\n",
        encoding="utf-8",
    )
    name = str(page.with_suffix(""))
    failed = f"{name}, cell 3: NameError: name 'not_there' is not defined\nnot_there"
    mode = f"{name}: grad mode was True and is False"
    dtype = f"{name}: default dtype was torch.float32 and is torch.float64"
    assert failures("jupyter", name) == failures("console", name) == [failed, mode]
    assert failures("--with-hidden", "jupyter", name) == [failed, dtype, mode]
