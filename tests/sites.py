"""Tiny sites, built in a process of their own with the settings of the book."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

DOCS = Path(__file__).parents[1] / "docs"
HEADER = """\
---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---
"""
# Only what needs the book's own files or takes time is set apart.
CONF = f"""\
import runpy
from pathlib import Path

here = Path(__file__).parent
book = runpy.run_path({str(DOCS / "conf.py")!r})
globals().update({{name: value for name, value in book.items() if not name.startswith("__")}})
extensions = ["myst_nb", "execution.notebooks"]
nb_execution_cache_path = str(here.parent / "cache")
warm_kernels_now = False
html_theme = "basic"
html_logo = html_favicon = None
html_static_path = html_css_files = html_js_files = templates_path = []
html_baseurl = ""
"""


@dataclass(frozen=True)
class Build:
    """How a build ended."""

    code: int
    log: str


class Site:
    """A tiny site; its pages may leave a mark each time that they run.

    Args:
        folder: empty; the pages come into ``docs``, as in the book.
        settings: lines for the end of conf.py.
        **pages: name and text; the first is the front page's neighbour in the table of contents.
    """

    def __init__(self, folder: Path, settings: str = "", **pages: str) -> None:
        self.folder = folder
        self.marks = folder / "marks"
        (folder / "docs").mkdir(parents=True)
        (folder / "docs" / "conf.py").write_text(CONF + settings, encoding="utf-8")
        names = "\n".join(pages)
        index = f"# Home\n\n```{{toctree}}\n{names}\n```\n"
        (folder / "docs" / "index.md").write_text(index, encoding="utf-8")
        for name, text in pages.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """Write a page; the header is added."""
        path = self.folder / "docs" / f"{name}.md"
        path.write_text(HEADER + dedent(text), encoding="utf-8")

    def line(self, name: str, code: str) -> int:
        """Line of the page, counted from 1, at which `code` stands."""
        lines = (self.folder / "docs" / f"{name}.md").read_text("utf-8").splitlines()
        return lines.index(code) + 1

    def environment(self, **variables: str) -> dict[str, str]:
        """Environment of a build."""
        return {**os.environ, "OMP_NUM_THREADS": "1", "MARKS": str(self.marks), **variables}

    def command(self, *options: str) -> list[str]:
        """Command of a build: the one of `nox -s docs`."""
        return [
            *(sys.executable, "-m", "sphinx", "--no-color", "--fail-on-warning", "--keep-going"),
            *(*options, str(self.folder / "docs"), str(self.folder / "site" / "html")),
        ]

    def build(self, *options: str, **variables: str) -> Build:
        """Build the site as `nox -s docs` does."""
        done = subprocess.run(
            self.command(*options),
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        return Build(done.returncode, done.stdout)

    def html(self, name: str) -> str:
        """The built page."""
        return (self.folder / "site" / "html" / f"{name}.html").read_text("utf-8")

    def runs(self) -> list[str]:
        """The marks that cells left, in order of the alphabet."""
        return sorted(self.marks.read_text("utf-8").split()) if self.marks.exists() else []


def mark(name: str) -> str:
    """A cell that leaves the mark `name` when it runs."""
    code = f"import os; print({name!r}, file=open(os.environ['MARKS'], 'a'))"
    return f"```{{code-cell}} python\n{code}\n```\n"
