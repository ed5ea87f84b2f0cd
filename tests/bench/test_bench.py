"""Tests of what the benchmarks are made of; the measuring itself is `nox -s bench`."""

import ast
import gzip

import convert
import nbformat
import pytest
import run_times
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from results import Bar, Spread, take_turns
from weights import weigh

PAGE = """\
---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---

(top)=
# A title

Text with `code` and [a link](other.md#part).

```{code-cell} python
:tags: [remove-cell]
x = 1
```

```{code-cell} python
assert x == 1
```

:::{admonition} Note
Three lines.
:::

```{code-cell} python
print(x)
```
"""
CODES = ["x = 1", "assert x == 1", "print(x)"]


def test_a_notebook_has_the_cells_of_the_page():
    """All of them, hidden ones too, in their order, and no output."""
    notebook = nbformat.reads(convert.to_ipynb(PAGE), as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells] == CODES
    assert all(not cell.outputs for cell in cells)


def test_a_script_has_the_code_of_the_page():
    """Once as statements; the text stands in the docstring and in comments."""
    script = convert.to_script(PAGE, str.upper)
    assert ast.unparse(ast.parse(script).body[1:]) == "\n".join(CODES)
    assert "A TITLE" in ast.get_docstring(ast.parse(script))
    assert "# THREE LINES." in script.splitlines()


def test_labels_and_targets_are_left_out():
    """Other tools would report them as broken links."""
    notebook = nbformat.reads(convert.to_ipynb(PAGE), as_version=4)
    text = notebook.cells[0].source
    assert "(top)=" not in text
    assert "a link (other)" in text


def test_candidates_take_turns():
    """Each round times each one once, every other round the other way round."""
    ran = []
    seconds = {"one": iter([1.0, 2.0, 4.0]), "two": iter([3.0, 4.0, 4.0])}

    def action(name):
        return lambda: ran.append(name) or next(seconds[name])

    found = take_turns({name: action(name) for name in seconds}, "one", 3)
    assert ran == ["one", "two", "two", "one", "one", "two"]
    assert found == {"one": Spread(1, 1, 1), "two": Spread(2, 1, 3)}


@pytest.mark.parametrize(
    ("value", "sense", "holds"),
    [(2, "at most", True), (3, "at most", False), (3, "at least", True), (1, "at least", False)],
)
def test_a_bar_is_a_limit_from_above_or_below(value, sense, holds):
    """The limit itself is allowed."""
    assert Bar("text", value, 2, sense).holds is holds
    assert Bar("text", 2, 2, sense).holds


def test_a_page_weighs_what_it_loads(tmp_path):
    """Itself and its files, each once and compressed; links are not followed."""
    (tmp_path / "a.css").write_text("a" * 1000)
    (tmp_path / "p.png").write_bytes(b"p" * 1000)
    (tmp_path / "other.html").write_text("o" * 1000)
    page = tmp_path / "page.html"
    page.write_text(
        '<link rel="stylesheet" href="a.css?v=1"><link rel="next" href="other.html">'
        '<img src="p.png"><img src="p.png"><script src="https://example.org/m.js"></script>'
    )
    size, elsewhere = weigh(page)
    text = sum(len(gzip.compress((tmp_path / name).read_bytes())) for name in ("a.css", page.name))
    assert size == text + 1000
    assert elsewhere == 1


def test_run_times_are_told_as_ratios_to_the_page_in_the_middle():
    """The longest first; a page that ran twice counts as it ran last."""
    assert run_times.ratios({"a": 1.0, "b": 8.0, "c": 2.0}) == {"b": 4.0, "c": 1.0, "a": 0.5}


def test_run_times_come_from_the_cache_of_a_build(tmp_path):
    """One with no runs is refused."""
    cache, uri = get_cache(tmp_path), "/some/docs/learn/one.md"
    with pytest.raises(ValueError, match="has no runs: build the book first"):
        run_times.seconds_in(tmp_path)
    for text, seconds in (("1", 3.0), ("2", 5.0)):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text)])
        bundle = CacheBundleIn(notebook, uri, data={"execution_seconds": seconds})
        cache.cache_notebook_bundle(bundle, check_validity=False)
    assert run_times.seconds_in(tmp_path) == {"learn/one": 5.0}
