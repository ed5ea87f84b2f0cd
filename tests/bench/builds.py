"""Build the book, and the same pages with other tools; every build is a process of its own.

A `Workshop` holds a copy of the book, so that the tree may change while it is measured, and a
folder for each tool. All builds get the same environment variables and the same Python packages.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import convert
from jupyter_cache import get_cache

ROOT = Path(__file__).parents[2]
# The Learn path: the pages that every tool builds.
PART = "learn"
OWN_PAGE = "about/benchmarks"
# The book's own settings without what this project adds to execution, and with MyST-NB's own cache.
STOCK = """\
import runpy
from pathlib import Path

book = runpy.run_path(str(Path(__file__).with_name("book.py")))
globals().update({name: value for name, value in book.items() if not name.startswith("__")})
ours = ("execution.batches", "execution.notebooks", "execution.warm_kernels")
extensions = [name for name in extensions if name not in ours]
del ours, batches_longest, nb_execution_cache_path, warm_kernels_modules, warm_kernels_now
"""
# Nothing runs, and no extension of this book is there: its directives stand on the pages as text.
BARE = """\
project = "Gradbook"
extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_build", "conftest.py"]
html_theme = "furo"
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
"""
GALLERY = """\
project = "Gradbook"
extensions = ["sphinx_gallery.gen_gallery", "sphinx_copybutton"]
exclude_patterns = ["learn"]
html_theme = "furo"
sphinx_gallery_conf = {
    "examples_dirs": "learn",
    "gallery_dirs": "pages",
    "filename_pattern": "",  # every script runs
    "download_all_examples": False,
    "abort_on_example_error": True,
    "parallel": PARALLEL,
}
"""
NBSPHINX = """\
project = "Gradbook"
extensions = ["nbsphinx", "sphinx_copybutton"]
html_theme = "furo"
nbsphinx_execute = "always"
"""


@dataclass
class Tool:
    """A way to build a folder of sources.

    Attributes:
        jobs: for ``sphinx-build --jobs``.
        before: makes what a cold build may find.
    """

    source: Path
    site: Path
    jobs: str
    clean: tuple[Path, ...] = ()
    before: Callable[[], object] = field(default=lambda: None)

    def cold(self) -> float:
        """Seconds of a build that finds nothing."""
        for folder in (self.site, *self.clean):
            shutil.rmtree(folder, ignore_errors=True)
        self.before()
        return self.build()

    def build(self) -> float:
        """Seconds of a build.

        Raises:
            RuntimeError: it failed, or a page did; its time says nothing.
        """
        command = [
            *(sys.executable, "-m", "sphinx", "--quiet", "--no-color", "--jobs", self.jobs),
            *("--builder", "html", str(self.source), str(self.site / "html")),
        ]
        start = time.perf_counter()
        done = subprocess.run(
            command,
            env=environment(self.source.parent),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        taken = time.perf_counter() - start
        if done.returncode or "Executing notebook failed" in done.stdout:  # MyST-NB goes on
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")
        return taken


def environment(book: Path) -> dict[str, str]:
    """Environment of every build: the copied package, and pandoc for nbsphinx."""
    import pypandoc

    pandoc = str(Path(pypandoc.get_pandoc_path()).parent)
    return {
        **os.environ,
        # Threads that wait for each other would slow down most who runs pages side by side.
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([pandoc, os.environ["PATH"]]),
        "PYTHONPATH": str(book / "src"),
    }


class Workshop:
    """Folders in which tools build."""

    def __init__(self, folder: Path, count: int | None = None) -> None:
        """Copy the book; with `count`, only so many of its pages are built."""
        self.folder = folder
        self.copied = folder / "copied"
        ignored = shutil.ignore_patterns("_build", "__pycache__")
        shutil.copytree(ROOT / "docs", self.copied / "docs", ignore=ignored)
        shutil.copytree(ROOT / "src", self.copied / "src", ignore=ignored)
        # What draws the pictures of the pages is found beside the package, by every tool.
        shutil.copy(ROOT / "docs" / "examples" / "pictures.py", self.copied / "src")
        # Its own page reads what is measured here, and may have nothing to read yet. Other pages
        # link to it: without it each build has a warning, and is done anew.
        own = self.copied / "docs" / f"{OWN_PAGE}.md"
        own.write_text("# Benchmarks\n\nNot measured yet.\n", encoding="utf-8")
        self.pages = sorted((self.copied / "docs" / PART).glob("*.md"))[:count]
        self.count = count

    def tree(self, name: str) -> Path:
        """A folder with a copy of the book's package in it."""
        shutil.copytree(self.copied / "src", self.folder / name / "src")
        return self.folder / name

    def book(self, name: str, *, part: bool = True, jobs: str = "auto") -> Tool:
        """The Learn path of the book as it is; without `part`, the whole book."""
        tree = self.tree(name)
        docs = tree / "docs"
        shutil.copytree(self.copied / "docs", docs)
        if part or self.count is not None:
            kept = {page.stem for page in self.pages}
            for page in docs.rglob("*.md"):
                if page.parent != docs / PART or page.stem not in kept:
                    page.unlink()
            names = "\n".join(f"{PART}/{page.stem}" for page in self.pages)
            index = f"# Home\n\n```{{toctree}}\n{names}\n```\n"
            (docs / "index.md").write_text(index, encoding="utf-8")
        return Tool(docs, tree / "site", jobs, clean=(tree / ".cache",))

    def stock(self, name: str, *, jobs: str, mode: str = "cache", part: bool = True) -> Tool:
        """The same pages and settings with MyST-NB's own execution, in `mode`."""
        tool = self.book(name, part=part, jobs=jobs)
        conf = tool.source / "conf.py"
        conf.rename(tool.source / "book.py")
        conf.write_text(f'{STOCK}nb_execution_mode = "{mode}"\n', encoding="utf-8")
        cache = tool.site / ".jupyter_cache"
        # With several jobs it fails now and then, as its workers race to make the cache's tables.
        tool.before = lambda: get_cache(cache).db
        return tool

    def bare(self, name: str) -> Tool:
        """The whole book by MyST-NB and Furo alone, without running a cell."""
        tool = self.book(name, part=False)
        (tool.source / "conf.py").write_text(BARE, encoding="utf-8")
        return tool

    def gallery(self, name: str, *, parallel: bool) -> Tool:
        """The Learn path as scripts, built by sphinx-gallery."""
        import pypandoc

        def to_rst(text: str) -> str:
            options = ["--wrap=preserve"]
            found = pypandoc.convert_text(text, "rst", "markdown-auto_identifiers", options)
            return str(found)

        source = self.converted(name, GALLERY.replace("PARALLEL", str(parallel)), "pages/index")
        header = f"{PART.title()}\n=====\n"
        (source / PART / "GALLERY_HEADER.rst").write_text(header, encoding="utf-8")
        for page in self.pages:
            script = convert.to_script(page.read_text("utf-8"), to_rst)
            (source / PART / f"{page.stem}.py").write_text(script, encoding="utf-8")
        jobs = "auto" if parallel else "1"
        return Tool(source, source.parent / "site", jobs, clean=(source / "pages",))

    def nbsphinx(self, name: str, *, jobs: str) -> Tool:
        """The Learn path as Jupyter notebooks, built by nbsphinx."""
        names = "\n   ".join(f"{PART}/{page.stem}" for page in self.pages)
        source = self.converted(name, NBSPHINX, names)
        for page in self.pages:
            notebook = convert.to_ipynb(page.read_text("utf-8"))
            (source / PART / f"{page.stem}.ipynb").write_text(notebook, encoding="utf-8")
        return Tool(source, source.parent / "site", jobs)

    def converted(self, name: str, conf: str, names: str) -> Path:
        """A folder for converted pages, with settings and a front page."""
        source = self.tree(name) / "docs"
        (source / PART).mkdir(parents=True)
        (source / "conf.py").write_text(conf, encoding="utf-8")
        index = f"Home\n====\n\n.. toctree::\n\n   {names}\n"
        (source / "index.rst").write_text(index, encoding="utf-8")
        return source
