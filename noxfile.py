#!/usr/bin/env python
"""Sessions of Gradbook. `nox -l` lists them, `nox -s docs` runs one.

`GRADBOOK_TORCH=2.14.1 nox -s tests` holds the book against another torch.
"""

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"  # uv passes over wheels that pip finds
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "typing", "tests", "docs"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
SITE = ROOT / "docs" / "_build" / "html"
# Languages beside English, each with its folder in the site. The build in English runs the cells.
OTHERS = {"zh_TW": "zh-tw"}
TRANSLATIONS = ROOT / "docs" / "locale" / "zh_TW" / "LC_MESSAGES"
COMPLETE = True  # whether CI fails where a text has no translation
# Each cell is run alone too, with what it needs; a proof is kept until something in it changes.
PROVE = ("--define", "snippets_prove=1", "--define", "snippets_report=1")
# A process of pytest for each core; the tests of a page or a module stay together.
SIDE_BY_SIDE = ("--numprocesses", "logical", "--dist")


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


def build(
    session: nox.Session, builder: str, folder: Path, *options: str, **environment: str
) -> None:
    """Run Sphinx so that every warning is an error, and all of them are seen."""
    session.run(
        *("sphinx-build", "--jobs", "auto", "--nitpicky"),
        *("--fail-on-warning", "--keep-going", "--builder", builder),
        # Not in the folder that is published.
        *("--doctree-dir", str(folder.parent / "doctrees")),
        *(*options, "docs", str(folder)),
        env=environment,
    )


def build_site(
    session: nox.Session,
    site: Path,
    *options: str,
    first: Sequence[str] = (),
    **environment: str,
) -> None:
    """Build the book in each of its languages, with more options for that which is built first."""
    build(session, "html", site, *first, *options, **environment)
    for language, folder in OTHERS.items():
        define = ("--define", f"language={language}")
        trees = ("--doctree-dir", str(site.parent / f"doctrees-{language}"))
        build(session, "html", site / folder, *define, *trees, *options, **environment)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html; every page runs."""
    install(session, "docs")
    whole = bool(os.environ.get("CI"))  # nothing from a cache: the site that others read
    if whole:
        shutil.rmtree(ROOT / ".cache", ignore_errors=True)
        shutil.rmtree(SITE.parent, ignore_errors=True)
    build_site(session, SITE, *session.posargs, first=PROVE if whole else ())
    if whole:
        report(session)
    session.log(f"Open {(SITE / 'index.html').as_uri()}")


@nox.session(name="new-page", default=False, venv_backend="none")
def new_page(session: nox.Session) -> None:
    """Begin a page: copy the template, and list it on the front page."""
    if len(session.posargs) != 2:
        session.error('nox -s new-page -- howto/clamp-a-gradient "Clamp a gradient"')
    name, title = session.posargs
    page, front = ROOT / "docs" / f"{name}.md", ROOT / "docs" / "index.md"
    part = re.escape(name.partition("/")[0])
    listed = re.findall(rf"^{part}/.+\n", front.read_text("utf-8"), re.MULTILINE)
    if not re.fullmatch(r"[a-z]+/[a-z0-9-]+", name) or not listed:
        session.error(
            f"{name!r} is no address of a page: give a part of the book, /, small letters"
        )
    if page.exists():
        session.error(f"{page} is there already")
    text = (ROOT / "docs" / "_templates" / "new-page.md").read_text("utf-8")
    page.write_text(text.replace("TITLE", title), encoding="utf-8")
    text = front.read_text("utf-8").replace(listed[-1], f"{listed[-1]}{name}\n")
    front.write_text(text, encoding="utf-8")
    session.log(f"Write {page}, then: python -m nox -s pages -- {page.relative_to(ROOT)}")


@nox.session(name="docs-live", default=False)
def docs_live(session: nox.Session) -> None:
    """Serve the site and build it anew at each change; `-- zh_TW` serves that language, too."""
    install(session, "live")
    languages = [one for one in session.posargs if one in OTHERS]
    options = [one for one in session.posargs if one not in OTHERS]
    after = []
    for language in languages:
        trees = str(SITE.parent / f"doctrees-{language}")
        command = [
            *("sphinx-build", "--quiet", "--jobs", "auto", "--define", f"language={language}"),
            *("--doctree-dir", trees, "docs", str(SITE / OTHERS[language])),
        ]
        after.append(f"--post-build={shlex.join(command)}")
    session.run(
        *("sphinx-autobuild", "--watch", "src", "--ignore", "**/_build/**"),
        *("--ignore", "**/*.mo", *after, "docs", str(SITE), *options),
    )


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test: the package, its docstrings, the cells of all pages, the extensions."""
    install(session, "test")
    # Named files are a part of the tests: their coverage says nothing of the whole.
    # In their own order short files come last: no process works alone on a long one at the end.
    spread = (*SIDE_BY_SIDE, "loadfile", "--no-loadscope-reorder")
    whole = () if session.posargs else ("--cov", "--cov-report=term", *spread)
    session.run("pytest", *whole, *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(default=False)
def doctests(session: nox.Session) -> None:
    """Run the examples in the package's docstrings."""
    install(session, "test")
    session.run("pytest", "src", *session.posargs)


@nox.session(default=False)
def pages(session: nox.Session) -> None:
    """Run every cell of every page in one process, then every script and notebook on offer."""
    install(session, "test")
    session.run("pytest", "docs", *session.posargs)
    if not session.posargs:  # named pages are a part of the cells
        build(session, "html", SITE)
        site = {"GRADBOOK_SITE": str(SITE), "OMP_NUM_THREADS": "1"}
        session.run("pytest", "tests/downloads", *SIDE_BY_SIDE, "load", env=site)


@nox.session(default=False)
def snippets(session: nox.Session) -> None:
    """Run every cell of every page alone, with what it needs; the site offers that to be copied."""
    install(session, "docs")
    build(session, "html", SITE, *PROVE, *session.posargs)


@nox.session(default=False)
def browser(session: nox.Session) -> None:
    """Read the built site in Chromium, as a person would; GRADBOOK_CHROMIUM names another one."""
    install(session, "docs", "browser")
    build_site(session, SITE, first=PROVE)
    options = session.posargs or (*SIDE_BY_SIDE, "loadgroup")
    session.run("pytest", "tests/browser", *options, env={"GRADBOOK_SITE": str(SITE)})


@nox.session(default=False)
def reproducible(session: nox.Session) -> None:
    """Build the site on two paths, from nothing, and compare every byte."""
    install(session, "docs")
    sites = []
    for name in ("one", "another/path"):
        copy = Path(session.create_tmp()).resolve() / name
        shutil.rmtree(copy, ignore_errors=True)
        for folder in ("docs", "src"):
            ignored = shutil.ignore_patterns("_build", "__pycache__")
            shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
        site = copy / "_build" / "html"
        with session.chdir(copy):
            build_site(session, site, PYTHONPATH=str(copy / "src"))
        files = (path for path in site.rglob("*") if path.is_file())
        sites.append({str(path.relative_to(site)): path.read_bytes() for path in files})
    one, other = sites
    differ = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    if differ:
        session.error(f"{len(differ)} of {len(one)} files differ: {', '.join(differ[:20])}")
    session.log(f"All {len(one)} files are equal")


def extract(session: nox.Session) -> Path:
    """Write all texts of the book that can be translated, and say where."""
    folder = SITE.parent / "messages" / "gettext"
    shutil.rmtree(folder, ignore_errors=True)
    build(session, "gettext", folder)
    return folder


@nox.session(default=False)
def messages(session: nox.Session) -> None:
    """Bring the files of the translations up to date with the English texts."""
    install(session, "docs")
    session.run("python", "tests/messages.py", "update", str(extract(session)), str(TRANSLATIONS))


@nox.session(default=False)
def translation(session: nox.Session) -> None:
    """Say page by page which texts lack a translation, or have one that is behind."""
    install(session, "docs")
    report(session)


def report(session: nox.Session) -> None:
    """Compare the translations with the texts of the book; in CI what is missing is an error."""
    fail = ("--fail",) if COMPLETE and os.environ.get("CI") else ()
    folders = (str(extract(session)), str(TRANSLATIONS))
    session.run("python", "tests/messages.py", "report", *fail, *folders)


@nox.session(default=False)
def letters(session: nox.Session) -> None:
    """Cut the font of the cards in Chinese anew, with the letters that the translations use."""
    install_tools(session, "docs")
    session.run("python", "docs/_extensions/publishing/letters.py")


@nox.session(default=False)
def pseudo(session: nox.Session) -> None:
    """Build the site in a language that a program writes, and find what was not translated."""
    install(session, "test")
    build(session, "html", SITE)
    folder = SITE.parent / "translation"
    shutil.rmtree(folder, ignore_errors=True)
    site = folder / "site" / "html"
    ran = set((ROOT / ".cache" / "notebooks").glob("*/executed/*"))
    session.run("python", "tests/pseudo.py", str(extract(session)), str(folder / "locale"))
    locale = f"locale_dirs={folder / 'locale'}"
    build(session, "html", site, "--define", "language=en_GB", "--define", locale)
    if again := set((ROOT / ".cache" / "notebooks").glob("*/executed/*")) - ran:
        session.error(f"{len(again)} pages ran again; all languages have one cache")
    sites = {"GRADBOOK_SITE": str(SITE), "GRADBOOK_PSEUDO_SITE": str(site)}
    session.run("pytest", "tests/translation", *session.posargs, env=sites)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and spelling."""
    install_tools(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")
    # It looks for the package as Python does, and imports nothing.
    session.run("lint-imports", "--no-cache", "--no-logo", env={"PYTHONPATH": str(ROOT / "src")})


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
def package(session: nox.Session) -> None:
    """Build the wheel and the source archive, check them, and use the installed wheel."""
    install_tools(session, "package")
    folder = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(folder))
    session.run("twine", "check", "--strict", *map(str, folder.iterdir()))
    (wheel,) = folder.glob("*.whl")
    # A fresh environment, and a folder from which the repository is not seen.
    fresh = folder.parent / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    session.run("python", "-m", "venv", str(fresh))
    python = str(fresh / ("Scripts" if os.name == "nt" else "bin") / "python")
    constraints = str(ROOT / "constraints.txt")
    session.run(
        *(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, f"{wheel}[all]"),
        external=True,
    )
    with session.chdir(folder):
        program = ROOT / "tests" / "installed.py"
        session.run(python, "-I", str(program), str(ROOT / "README.md"), external=True)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure speed against peers, side by side in one run, as ratios."""
    install(session, "bench")
    # One thread each: the builds and loops measure themselves, not how threads share two cores.
    session.run("python", "tests/bench", *session.posargs, env={"OMP_NUM_THREADS": "1"})
    session.run("python", "tests/bench/run_times.py")


@nox.session(default=False)
def models(session: nox.Session) -> None:
    """Hold the drawings against models of the transformers library; nothing is downloaded."""
    install(session, "models")
    session.run("pytest", "tests/models", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Put faults into the package and the text, one at a time, and count those that are noticed."""
    install(session, "mutation")
    session.run("python", "tests/mutation", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session(default=False)
def links(session: nox.Session) -> None:
    """Check that links to other sites still work; needs the internet."""
    install(session, "docs")
    build(session, "linkcheck", SITE.parent / "linkcheck", *session.posargs)


if __name__ == "__main__":
    nox.main()
