"""Tests of publishing/downloads.py: a page as a notebook and as a script."""

import subprocess
import sys
import zipfile

import nbformat
import pytest
from nbclient import NotebookClient

from publishing import installing
from publishing.downloads import (
    NOTEBOOKS,
    OFFLINE,
    completed,
    displayed,
    make_notebook,
    needs,
    zip_files,
)
from publishing.proving import Cell

SETTINGS = """
extensions = ["myst_nb", "execution.notebooks", "publishing.downloads"]
html_baseurl = "https://book.example/"
"""
PAGE = """
# A page

See [the other](prose.md) and [the web](https://web.example). Let $x = 3$.

```{code-cell} python
import torch

x = 3
```

% held: x == 3

:::{note}
It is a note.
:::

```{code-cell} python
:tags: [remove-cell]
x = 4
```

```{code-cell} python
:tags: [hide-input]
print("x is", x)
x + 1, x + 2  # a pair
```

## The end

```{code-cell} python
---
mystnb:
  image:
    alt: A line.
---
import matplotlib.pyplot as plt

_ = plt.plot([1, 2])
```
"""
DRAWN = """
# Drawn

```{code-cell} python
---
mystnb:
  image:
    alt: A line.
tags: [remove-input]
---
import of_the_book
of_the_book.draw()
```

```{code-cell} python
print("seen")
```
"""
SHEET = """
# Sheet

```{code-cell} python
:tags: [remove-cell]
from IPython.display import Markdown, display


def run(text, source):
    value = eval(text)
    program = {"source": source, "result": repr(value)}
    display(Markdown(text), metadata={"program": program})
```

```{code-cell} python
:tags: [remove-input]
run("1 + 1", "import numpy\\n1 + 1")
```
"""
OTHER = """
# Other

No title needs it.

:::{take-away}
:::

```{code-cell} python
1 + 1
```
"""
NO_CODE = "\n# Prose\n\nNo code here.\n"
REPOSITORY = "https://github.com/someone/book"


@pytest.fixture(scope="module")
def site(make_site):
    """A site with a page, and its downloads; its repository is known."""
    site = make_site(SETTINGS, page=PAGE, other=OTHER, prose=NO_CODE)
    build = site.build(GRADBOOK_REPOSITORY=f"{REPOSITORY}.git")
    assert build.code == 0, build.log
    return site


@pytest.fixture(scope="module")
def notebook(site):
    """The downloaded notebook."""
    return nbformat.read(site.folder / "site" / "html" / "page.ipynb", as_version=4)


def text_of(notebook) -> str:
    """All its prose."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_a_notebook_is_one(notebook):
    """It validates, and its cells are in the order of the page."""
    nbformat.validate(notebook)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds == ["markdown", "markdown", "code", "markdown", "code", "markdown", "code"]
    assert [cell.id for cell in notebook.cells] == [f"c{n}" for n in range(7)]


def test_the_first_cell_says_where_it_is_from_and_what_it_needs(notebook):
    """The address of the page, and the command that installs."""
    first = notebook.cells[0].source
    assert "https://book.example/page.html" in first
    assert "python -m pip install matplotlib torch" in first


def test_the_prose_is_plain_markdown(notebook):
    """Directives and roles of MyST are read by nobody else; links lead to the site."""
    text = text_of(notebook)
    assert "# A page" in text
    assert "## The end" in text
    assert "[the other](https://book.example/prose.html)" in text
    assert "[the web](https://web.example)" in text
    assert "$x = 3$" in text
    assert "It is a note." in text
    assert ":::" not in text


def test_held_lines_and_hidden_cells_stay_out(notebook, site):
    """They are for the tests."""
    script = (site.folder / "site" / "html" / "page.py").read_text("utf-8")
    for whole in (script, nbformat.writes(notebook)):
        assert "held" not in whole
        assert "x = 4" not in whole


def test_a_notebook_has_the_outputs_of_the_page(notebook):
    """Figures as they were drawn, so that a notebook shows them."""
    pair, figure = (
        cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs
    )
    assert pair[0].text == "x is 4\n"
    assert pair[1].data["text/plain"] == "(5, 6)"
    assert "<svg" in figure[0].data["image/svg+xml"]


def test_a_notebook_runs(notebook, tmp_path):
    """From its first cell to its last."""
    client = NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert notebook.cells[4].outputs[0].text == "x is 3\n"


def test_a_script_runs_and_prints_what_a_notebook_shows(site, tmp_path):
    """In the percent format, its prose in comments."""
    path = site.folder / "site" / "html" / "page.py"
    text = path.read_text("utf-8")
    assert "# %% [markdown]" in text
    assert "# ## The end" in text
    done = subprocess.run(
        [sys.executable, "-I", str(path)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "x is 3\n(4, 5)\n"


def test_a_page_links_its_downloads_below_its_title(site):
    """And says in one line what it needs; a page without cells says nothing."""
    html = site.html("page")
    bar = html[html.index('<div class="take-away"') :]
    bar = bar[: bar.index("</ul>")]
    assert html.index("</h1>") < html.index('<div class="take-away"')
    assert "<pre>python -m pip install matplotlib torch\n</pre>" in bar
    assert '<a href="page.ipynb" download>' in bar
    assert '<a href="page.py" download>' in bar
    colab = "https://colab.research.google.com/github/someone/book/blob/notebooks/page.ipynb"
    assert f'<a href="{colab}">' in bar
    assert "take-away" not in site.html("prose")


def test_a_page_may_have_its_downloads_elsewhere(site):
    """At the place that it keeps for them."""
    html = site.html("other")
    assert html.count('class="take-away"') == 1
    assert html.index("No title needs it") < html.index('class="take-away"')
    assert "take-away-here" not in html


def test_a_notebook_for_colab_installs_the_package_first(site):
    """It lies beside the site, for the branch that Colab reads."""
    path = site.folder / "site" / "colab" / "page.ipynb"
    first, second = nbformat.read(path, as_version=4).cells[:2]
    assert first.source == f'%pip install --quiet "gradbook[all] @ git+{REPOSITORY}"'
    assert second.source.startswith("# A page")


def test_without_a_repository_there_is_no_link_to_colab(make_site):
    """It would lead nowhere."""
    site = make_site(SETTINGS, page=PAGE, prose=NO_CODE)
    assert site.build(GRADBOOK_REPOSITORY="").code == 0
    assert "colab" not in site.html("page")
    assert not (site.folder / "site" / "colab").exists()


def test_the_whole_book_is_one_archive_of_notebooks_and_one_of_pages(site):
    """Neither has what Sphinx keeps for itself, nor the other one."""
    html = site.folder / "site" / "html"
    assert zipfile.ZipFile(html / NOTEBOOKS).namelist() == [
        "gradbook-notebooks/other.ipynb",
        "gradbook-notebooks/page.ipynb",
    ]
    names = zipfile.ZipFile(html / OFFLINE).namelist()
    assert {"gradbook-offline/index.html", "gradbook-offline/page.ipynb"} <= set(names)
    assert not [name for name in names if name.endswith((".zip", ".buildinfo"))]


def test_an_archive_has_the_same_bytes_each_time(tmp_path):
    """Whenever its files were written."""
    file = tmp_path / "a.txt"
    for name in ("one", "two"):
        file.write_text("text", encoding="utf-8")
        (tmp_path / name).mkdir()
        zip_files(tmp_path / name / "all.zip", tmp_path, [file])
    one, other = (tmp_path / name / "all.zip" for name in ("one", "two"))
    assert one.read_bytes() == other.read_bytes()


def test_a_drawing_whose_code_is_not_on_the_page_comes_as_itself(make_site, tmp_path):
    """The module that draws it lies in the repository; a script does without."""
    site = make_site(SETTINGS, page=DRAWN, prose=NO_CODE)
    (site.folder / "of_the_book.py").write_text(
        "import matplotlib.pyplot as plt\ndef draw(): plt.plot([1, 2])\n", encoding="utf-8"
    )
    assert site.build(PYTHONPATH=str(site.folder)).code == 0
    html = site.folder / "site" / "html"
    notebook = nbformat.read(html / "page.ipynb", as_version=4)
    drawing, _ = (cell for cell in notebook.cells if cell.cell_type == "code")
    expected = drawing.outputs[0].data["image/svg+xml"]
    assert drawing.metadata.jupyter.source_hidden
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    again = drawing.outputs[0].data["image/svg+xml"]
    assert again.count("<path") == expected.count("<path") > 0
    for text in ((html / "page.py").read_text("utf-8"), site.html("page")):
        assert "of_the_book" not in text
    assert "<pre>python -m pip install ipython\n</pre>" in site.html("page")


def test_code_that_a_cell_shows_and_runs_comes_in_its_place(make_site, tmp_path):
    """The function that ran it is not on the page: with the cell itself, a notebook would fail."""
    site = make_site(SETTINGS, page=SHEET)
    build = site.build()
    assert build.code == 0, build.log
    page = site.folder / "site" / "html" / "page.ipynb"
    notebook = nbformat.read(page, as_version=4)
    nbformat.validate(notebook)
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code")
    assert cell.source == "import numpy\n1 + 1"
    assert "pip install numpy" in notebook.cells[0].source
    (before,) = cell.outputs
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert cell.outputs[0].data == before.data == {"text/plain": "2"}
    assert "display(1 + 1)" in page.with_suffix(".py").read_text("utf-8")


def test_a_page_that_runs_in_the_repository_alone_is_not_offered(make_site):
    """It says so in its metadata, as it does for the snippets of its cells."""
    said = (
        "---\nfile_format: mystnb\nkernelspec: {name: python3}\nno-snippet: it reads a file\n---\n"
    )
    site = make_site(SETTINGS, page=PAGE, prose=NO_CODE)
    (site.folder / "docs" / "page.md").write_text(f"{said}{PAGE}", encoding="utf-8")
    assert site.build().code == 0
    assert "take-away" not in site.html("page")
    assert not (site.folder / "site" / "html" / "page.py").exists()


def test_a_page_that_fails_offers_nothing(make_site):
    """And what it offered before goes."""
    site = make_site(SETTINGS, page=PAGE, prose=NO_CODE)
    assert site.build().code == 0
    site.write("page", PAGE.replace("x + 1, x + 2", "x + nothing"))
    assert site.build().code == 1
    assert not (site.folder / "site" / "html" / "page.ipynb").exists()
    assert "take-away" not in site.html("page")


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("x", "display(x)"),
        ("x = 1\nx.y(\n    2,\n)", "x = 1\ndisplay(x.y(\n    2,\n))"),
        ("a, b", "display((a, b))"),
        ("(a, b)", "display(((a, b)))"),
        ("'ü'  # é", "display('ü')  # é"),
        ("x = 1", "x = 1"),
    ],
)
def test_the_last_line_of_a_cell_is_shown(source, shown):
    """Whatever stands around it."""
    assert displayed(source) == shown


def test_a_part_of_a_file_brings_what_it_needs_of_the_rest():
    """A class that another entry of its group has made; after the imports that all need."""
    sources = ["import torch", "class One(torch.nn.Module): pass", "print(3)", "print(One())"]
    cells = [Cell(source, 1, 1, ()) for source in sources]
    needed = needs(cells)
    blocks, cells = completed(["# Title", 0, "Text", 3], cells, needed)
    made = make_notebook(blocks, cells).cells
    assert [cell.source for cell in made] == ["# Title", sources[0], "Text", sources[1], sources[3]]
    alone = ["# Title", 0, 2]
    assert completed(alone, cells, needed)[0] == alone


def test_a_command_names_what_pip_names():
    """Modules of the standard library need no installation; scikit-learn has another name."""
    source = "import os\nimport torch.nn\nfrom sklearn.datasets import load_digits"
    assert installing.packages(source) == ["scikit-learn", "torch"]
    assert installing.command([], "") == ""
    clone = installing.command(["gradbook", "torch", "pandas"], "")
    assert clone == 'python -m pip install ".[all]" pandas  # in a clone of the book'
