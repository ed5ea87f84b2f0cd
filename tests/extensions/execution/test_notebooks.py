"""Tests of execution/notebooks.py on tiny sites."""

import tempfile

import nbformat
import pytest
from jupyter_cache import get_cache

from execution import notebooks
from sites import Site, mark

FAILS_IN_A_FUNCTION = """\
# One

Text before the cell.

```{code-cell} python
:tags: [hide-input]

def divide(a, b):
    return a / b


divide(1, 0)
```
"""

FAILS_AT_ONCE = """\
# Two

```{code-cell} python
fine = 1
```

```{code-cell} python
missing_name
```
"""

DIES = """\
# Three

```{code-cell} python
import os; os._exit(3)
```
"""


@pytest.fixture(scope="module")
def healthy(make_site) -> Site:
    """A site of two pages without a fault, built once."""
    site = make_site(
        one="# One\n\n" + mark("one") + "\n```{code-cell} python\nprint(object())\nobject()\n```\n",
        two="# Two\n\n" + mark("two"),
    )
    build = site.build("--jobs", "2")
    assert build.code == 0, build.log
    assert site.runs() == ["one", "two"]
    return site


@pytest.fixture(scope="module")
def failing(make_site):
    """A site with three pages at fault and one without, and its first two builds."""
    site = make_site(
        one=FAILS_IN_A_FUNCTION, two=FAILS_AT_ONCE, three=DIES, four="# Four\n\n" + mark("four")
    )
    return site, [site.build("--jobs", "2"), site.build("--jobs", "2")]


def test_a_stream_that_came_in_pieces_is_whole():
    """No break is put where the pieces were cut; another stream or result stays apart."""
    new = nbformat.v4.new_output
    pieces = [("stdout", "8 epochs"), ("stdout", ", equal\n"), ("stderr", "oh\n"), ("stdout", "1")]
    outputs = [new("stream", name=name, text=text) for name, text in pieces]
    joined = notebooks.join_streams([*outputs, new("display_data"), new("stream", text="2")])
    texts = [out.get("text") for out in joined]
    assert texts == ["8 epochs, equal\n", "oh\n", "1", None, "2"]


def test_every_failing_page_is_reported_with_its_line(failing):
    """Both name page, line and error, and show the traceback; one does not hide the other."""
    site, (build, _) = failing
    assert build.code == 1
    one = site.line("one", "divide(1, 0)")
    two = site.line("two", "missing_name")
    assert f"one.md:{one}: WARNING: this line failed: ZeroDivisionError" in build.log
    assert f"two.md:{two}: WARNING: this line failed: NameError" in build.log
    assert "return a / b" in build.log


def test_a_kernel_that_dies_is_reported_and_stops_no_other_page(failing):
    """The page is named; the pages beside it are built."""
    site, (build, _) = failing
    assert "three.md: WARNING: Executing notebook failed: DeadKernelError" in build.log
    assert site.runs() == ["four"]
    assert "Four" in site.html("four")


def test_a_failing_site_fails_again(failing):
    """Sphinx would not read the unchanged pages again and would call the second build good."""
    site, (first, second) = failing
    assert second.code == first.code == 1
    for name in ("one", "two"):
        assert f"{name}.md:" in second.log
    assert site.runs() == ["four"], "what did not fail comes from the cache"


def test_nothing_runs_when_nothing_changed(healthy):
    """Neither a second build nor one that reads every page anew runs a cell."""
    again = healthy.build()
    assert again.code == 0
    assert "0 added, 0 changed, 0 removed" in again.log
    assert healthy.build("--fresh-env").code == 0
    assert healthy.runs() == ["one", "two"]


def test_what_its_tools_say_of_themselves_is_no_part_of_a_build(make_site):
    """A theme of colours turns on the log of all programs; the profiler writes past the cell."""
    profiled = """\
    # One

    ```{code-cell} python
    import torch

    with torch.profiler.profile() as seen:
        torch.ones(3).sum()
    assert seen.events()
    ```
    """
    site = make_site('pygments_style = "a11y-high-contrast-light"\n', one=profiled)
    build = site.build()
    assert build.code == 0, build.log
    assert not [line for line in build.log.splitlines() if "INFO" in line or "USDT" in line]


def test_only_the_edited_page_runs_again(healthy):
    """Prose may change for nothing; code costs its own page."""
    page = healthy.folder / "docs" / "two.md"
    before = page.read_text("utf-8")
    page.write_text(before + "\nMore prose.\n", encoding="utf-8")
    assert healthy.build().code == 0
    assert healthy.runs() == ["one", "two"]
    page.write_text(before + "\n" + mark("edited"), encoding="utf-8")
    assert healthy.build().code == 0
    assert healthy.runs() == ["edited", "one", "two", "two"]


def test_what_an_interrupted_build_left_half_written_runs_again(make_site):
    """A result that is cut off or missing costs its page a run, not the build its life."""
    site = make_site(one="# One\n\n" + mark("one"), two="# Two\n\n" + mark("two"))
    assert site.build().code == 0
    cut, missing = (site.folder / "cache" / "executed").glob("*/base.ipynb")
    cut.write_bytes(cut.read_bytes()[:100])
    missing.unlink()
    build = site.build("--fresh-env")
    assert build.code == 0, build.log
    assert site.runs() == ["one", "one", "two", "two"]


def test_a_page_that_comes_into_the_cache_drops_no_other(make_site):
    """Only the start of a build does, before pages run side by side; then the oldest go."""
    site = make_site(one="# One\n\n" + mark("one"), two="# Two\n\n" + mark("two"))
    cache = get_cache(site.folder / "cache")
    cache.change_cache_limit(1)
    assert site.build().code == 0
    assert len(cache.list_cache_records()) == 2
    assert site.build("--fresh-env").code == 0
    assert len(site.runs()) == 3, "one of the two"


def test_memory_addresses_do_not_reach_the_page(healthy):
    """They differ from run to run; a reader needs to know only that one stood there."""
    html = healthy.html("one")
    assert html.count("&lt;object object at 0x…&gt;") == 1
    assert "&lt;object at 0x…&gt;" in html
    assert " at 0x7" not in html


def test_temporary_folders_have_no_name_of_their_own():
    """The one that a run got is another one in each run."""
    with tempfile.TemporaryDirectory() as folder:
        output = nbformat.v4.new_output("stream", text=f"{folder}/a.pt was written")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    notebooks.make_repeatable(book)
    assert book.cells[0].outputs[0].text == "/tmp/…/a.pt was written"


def test_cells_have_the_same_ids_in_every_run():
    """Nbformat invents random ones."""
    books = [nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]) for _ in range(2)]
    assert books[0].cells[0].id != books[1].cells[0].id
    for book in books:
        notebooks.make_repeatable(book)
    assert books[0] == books[1]


def test_a_failing_line_is_found_without_a_map():
    """A notebook that nobody mapped to its page reports nothing, and does not crash."""
    error = nbformat.v4.new_output("error", ename="E", evalue="v", traceback=[])
    cell = nbformat.v4.new_code_cell("x", outputs=[error])
    assert notebooks.failing_line(nbformat.v4.new_notebook(cells=[cell]), "x") is None
