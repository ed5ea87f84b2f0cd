"""Tests of the pages' form; that every cell runs and holds is tested in docs/ itself."""

import ast
import re
import sys
import tomllib

import pytest
from sybil import Sybil
from sybil.parsers.myst import CodeBlockParser

from pages import DEEPER, DOCS, HOWTO, LEARN, PAGES, cells
from reading.path import LINES_A_MINUTE, WORDS_A_MINUTE

ids = [str(path.relative_to(DOCS)) for path in PAGES]

pages = pytest.mark.parametrize("page", PAGES, ids=ids)
learn = pytest.mark.parametrize("page", LEARN, ids=[path.stem for path in LEARN])
deeper = pytest.mark.parametrize("page", DEEPER, ids=[path.stem for path in DEEPER])
howto = pytest.mark.parametrize("page", HOWTO, ids=[path.stem for path in HOWTO])


@pages
def test_every_cell_is_a_test(page):
    """What MyST-NB executes is what pytest runs: no cell is passed over."""
    parser = CodeBlockParser(language="python", evaluator=print)
    document = Sybil([parser], patterns=["*.md"]).parse(page)
    tested = [str(example.parsed).strip() for example in document.examples()]
    # Python blocks that are only shown are tests too.
    assert [source for source, _ in cells(page) if source.strip() not in tested] == []
    assert len(tested) >= len(cells(page))


@pages
def test_no_output_is_stored_and_no_failure_tolerated(page):
    """Outputs are computed by the build; a raises-exception tag passes when nothing is raised."""
    text = page.read_text("utf-8")
    assert "raises-exception" not in text
    assert "skip-execution" not in text
    for fence in re.findall(r"^```(\S*)", text, flags=re.MULTILINE):
        assert fence not in ("pycon", "ipython", "text", "output"), "a pasted output?"


@pages
def test_every_page_describes_itself(page):
    """Search engines and link previews show the description."""
    found = re.search(r'description: "(.+)"', page.read_text("utf-8"))
    assert found
    assert 40 <= len(found[1]) <= 160


@pages
def test_a_cell_that_prints_also_asserts(page):
    """Each printed number is claimed, so that another torch cannot change it silently."""
    claims = re.compile(r"\bassert\b|assert_close|assert_allclose|\bcheck\.|expect_error|testing\.")
    bare = [
        source
        for source, tags in cells(page)
        if "print(" in source and not claims.search(source) and "\n    print" not in source
    ]
    assert not bare, f"prints without a claim:\n{bare[0]}"


@pages
def test_code_fits_on_a_page(page):
    """Lines of code that are shown have at most 88 characters."""
    shown = [source for source, tags in cells(page) if "remove-cell" not in tags]
    long = [line for source in shown for line in source.splitlines() if len(line) > 88]
    assert not long


@learn
def test_a_learn_page_has_its_parts(page):
    """What it gives, what it needs, exercises, what goes wrong, the page in a breath."""
    text = page.read_text("utf-8")
    assert "After this page you can" in text
    assert "**You need**" in text
    titles = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    assert titles[-3:] == ["Try it", "What goes wrong here", "In one breath"]
    assert re.search(r"^Back to .*\. On to ", text, flags=re.MULTILINE)
    assert "expect_error(" in text


@deeper
def test_a_deeper_page_is_read_in_about_twenty_minutes(page):
    """Its prose and the code that is not folded, at the pace by which the map of Learn counts."""
    shown = [
        source
        for source, tags in cells(page)
        if not any(tag.startswith(("hide-", "remove-")) for tag in tags)
    ]
    lines = sum(bool(line.strip()) for source in shown for line in source.splitlines())
    body = page.read_text("utf-8").split("\n---\n", maxsplit=1)[1]
    prose = re.sub(
        r"^(```|\$\$).*?^\1$|^(%|:::|:class:|\().*?$", "", body, flags=re.MULTILINE | re.DOTALL
    )
    minutes = len(prose.split()) / WORDS_A_MINUTE + lines / LINES_A_MINUTE
    assert 8 < minutes < 20.5


@howto
def test_a_recipe_and_its_check_fit_one_screen(page):
    """From the title to the end of the first section: code that asserts, and at most 45 lines."""
    body = page.read_text("utf-8").split("\n---\n", maxsplit=1)[1]
    first = "## ".join(re.split(r"^## ", body, flags=re.MULTILINE)[:2])
    seen = first.count("hide-input")  # folded: one line each
    code = []
    for options, source in re.findall(
        r"^```\{code-cell\} python\n(---\n.*?\n---\n|:tags:.*?\n)?(.*?)^```$",
        first,
        flags=re.MULTILINE | re.DOTALL,
    ):
        assert "remove-input" not in options, "a picture stands before the recipe's end"
        if not re.search(r"remove-cell|hide-input", options):
            code += [line for line in source.splitlines() if line.strip()]
    text = re.sub(r"^```.*?^```$|^%.*?$", "", first, flags=re.MULTILINE | re.DOTALL)
    seen += len(code) + sum(1 for line in text.splitlines() if line.strip())
    assert re.search(r"\bassert\b|assert_close", "\n".join(code)), "nothing says that it worked"
    assert seen <= 45


@pages
def test_exercises_are_numbered_in_order(page):
    """From 1; these numbers are names, so no held line holds them."""
    found = re.findall(
        r"^:::\{admonition\} Exercise (\d+)", page.read_text("utf-8"), flags=re.MULTILINE
    )
    assert found == [str(number) for number in range(1, len(found) + 1)]


@learn
def test_an_exercise_can_be_tried_and_has_a_solution(page):
    """Each has a check that runs without an answer, and a folded solution that passes it."""
    text = page.read_text("utf-8")
    exercises = len(re.findall(r"^:class: exercise$", text, flags=re.MULTILINE))
    assert exercises >= 2
    folded = [source for source, tags in cells(page) if "hide-cell" in tags]
    solutions = [source for source in folded if "check." in source]
    assert len(solutions) >= exercises
    module = page.stem.replace("-", "_")
    # In capitals: what an exercise gives, against which the page holds its numbers.
    tried = re.findall(rf"check\.{module}\.([a-z]\w*)", text)
    solved = re.findall(rf"check\.{module}\.([a-z]\w*)", "\n".join(solutions))
    assert set(tried) == set(solved)


def test_the_home_page_installs_what_the_pages_import():
    """One line, `pip install ".[all]"`, and each cell of the book finds its modules."""
    (line,) = re.findall(r"python -m pip install (.+)", (DOCS / "index.md").read_text("utf-8"))
    assert line == '".[all]"'
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    (all_of,) = extras["all"]
    assert all_of == f"gradbook[{','.join(name for name in extras if name != 'all')}]"
    needs = [*project["dependencies"], *(one for name in extras for one in extras[name])]
    installed = {re.split(r"[<>=\[]", one)[0] for one in needs}
    modules = {"ipython": "IPython", "scikit-learn": "sklearn"}
    known = {modules.get(name, name) for name in installed} | sys.stdlib_module_names
    known.add("functorch")  # comes with torch
    known.add("pictures")  # only in cells that no reader sees; see test_pictures.py
    for page in PAGES:
        for source, _ in cells(page):
            for node in ast.walk(ast.parse(source)):
                names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module]
                assert {name.split(".")[0] for name in names} <= known, (page, names)
