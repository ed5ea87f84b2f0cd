#!/usr/bin/env python
"""Sessions of Gradbook. `nox -l` lists them, `nox -s docs` runs one.

`GRADBOOK_TORCH=2.14.1 nox -s tests` holds the book against another torch.
"""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"  # uv passes over wheels that pip finds
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "typing", "tests", "docs"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
SITE = ROOT / "docs" / "_build" / "html"


def install(session: nox.Session, *groups: str) -> None:
    """Install the package with everything it can use, and the groups, at tested versions."""
    constraints = ROOT / "constraints.txt"
    if torch := os.environ.get("GRADBOOK_TORCH"):
        lines = constraints.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not line.startswith("torch==")]
        constraints = Path(session.create_tmp()) / "constraints.txt"
        constraints.write_text("\n".join([*kept, f"torch=={torch}", ""]), encoding="utf-8")
    packages = nox.project.dependency_groups(PROJECT, *groups)
    session.install("--constraint", str(constraints), "--editable", ".[all]", *packages)


def build(session: nox.Session, builder: str, folder: Path, *options: str) -> None:
    """Run Sphinx so that every warning is an error, and all of them are seen."""
    session.run(
        *("sphinx-build", "--jobs", "auto", "--nitpicky"),
        *("--fail-on-warning", "--keep-going", "--builder", builder),
        *(*options, "docs", str(folder)),
    )


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html; every page runs."""
    install(session, "docs")
    if os.environ.get("CI"):  # there, nothing comes from a cache
        shutil.rmtree(ROOT / ".cache" / "notebooks", ignore_errors=True)
        shutil.rmtree(SITE.parent, ignore_errors=True)
    build(session, "html", SITE, *session.posargs)
    session.log(f"Open {(SITE / 'index.html').as_uri()}")


@nox.session(name="docs-live", default=False)
def docs_live(session: nox.Session) -> None:
    """Serve the site and build it anew at each change."""
    install(session, "live")
    session.run(
        *("sphinx-autobuild", "--watch", "src", "--ignore", "**/_build/**"),
        *("docs", str(SITE), *session.posargs),
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test: the package, its docstrings, the cells of all pages, the extensions."""
    install(session, "test")
    # Named files are a part of the tests: their coverage says nothing of the whole.
    coverage = [] if session.posargs else ["--cov", "--cov-report=term"]
    session.run("pytest", *coverage, *session.posargs)


@nox.session(default=False)
def doctests(session: nox.Session) -> None:
    """Run the examples in the package's docstrings."""
    install(session, "test")
    session.run("pytest", "src", *session.posargs)


@nox.session(default=False)
def pages(session: nox.Session) -> None:
    """Run every cell of every page as a test, in one process."""
    install(session, "test")
    session.run("pytest", "docs", *session.posargs)


@nox.session(default=False)
def browser(session: nox.Session) -> None:
    """Read the built site in Chromium, as a person would; GRADBOOK_CHROMIUM names another one."""
    install(session, "docs", "browser")
    build(session, "html", SITE)
    session.run("pytest", "tests/browser", *session.posargs, env={"GRADBOOK_SITE": str(SITE)})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and spelling."""
    install_tools(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")


def install_tools(session: nox.Session, *groups: str) -> None:
    """Install groups that need neither torch nor the package."""
    packages = nox.project.dependency_groups(PROJECT, *groups)
    session.install("--constraint", str(ROOT / "constraints.txt"), *packages)


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of the package and of this file."""
    install(session, "typing")
    session.run("mypy")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure speed against peers, side by side in one run, as ratios."""
    install(session, "bench")
    session.run("python", "tests/bench/graphs.py", "--limit", env={"OMP_NUM_THREADS": "1"})
    session.run("python", "tests/bench/accumulation.py", "--limit", "1.05")


@nox.session(default=False)
def links(session: nox.Session) -> None:
    """Check that links to other sites still work; needs the internet."""
    install(session, "docs")
    build(session, "linkcheck", SITE.parent / "linkcheck", *session.posargs)


if __name__ == "__main__":
    nox.main()
