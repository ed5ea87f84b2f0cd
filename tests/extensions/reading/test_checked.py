"""Tests of reading/checked.py: what is set apart, and that no text is lost."""

import re
from html import unescape

import pytest

from reading.checked import count_asserted

PAGE = '''
# Cells

```{code-cell} python
x = 1
print(x < 2)

# One and no other.
assert x == 1
assert """
""" == "\\n"
```

```{code-cell} python
y = 2
assert y == 2
```

```{code-cell} python
:tags: [hide-input]
print("folded")
assert y
```

```python
print(1)
assert 1
```
'''


@pytest.fixture(scope="module")
def html(make_site):
    """A built page."""
    site = make_site('extensions = ["myst_nb", "reading.checked"]', cells=PAGE)
    build = site.build()
    assert build.code == 0, build.log
    return site.html("cells")


def blocks(html):
    """Each block of code: the whole text, the part that is set apart, and whether it has a mark."""
    found = re.findall(r"<pre>(.*?)</pre>(<button[^>]*>)?", html, re.DOTALL)

    def plain(text):
        return unescape(re.sub(r"<[^>]+>", "", text))

    parts = [(code, code.partition('<span class="checks">')[2], mark) for code, mark in found]
    return [(plain(code), plain(apart), bool(mark)) for code, apart, mark in parts]


def test_assertions_at_the_end_are_set_apart(html):
    """With the comment over them, to the last of their lines; and the text stays whole."""
    whole, apart, marked = blocks(html)[0]
    assert marked
    assert apart.startswith("\n\n# One and no other.\nassert x == 1\n")
    assert whole.endswith(apart)
    compile(whole, "copied", "exec")
    assert whole.splitlines()[:2] == ["x = 1", "print(x < 2)"]


def test_what_no_output_says_is_read(html):
    """A cell that shows nothing says by its assertion what the text says."""
    quiet = next(block for block in blocks(html) if "y = 2" in block[0])
    assert quiet == ("y = 2\nassert y == 2\n", "", False)


def test_a_folded_cell_has_its_mark_inside(html):
    """And code that is no cell has none."""
    (folded,) = [block for block in blocks(html) if 'print("folded")' in block[0]]
    assert folded[1:] == ("\nassert y\n", True)
    (shown,) = [block for block in blocks(html) if "print(1)" in block[0]]
    assert shown[1:] == ("", False)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("print(1)\nassert True", 1),
        ("print(1)\n\n\nassert (\n    True\n)\n", 5),
        ("print(1)\ntorch.testing.assert_close(a, b)\nassert_allclose(a, b)", 2),
        ("assert True\nprint(1)", 0),
        ("assert True\nassert True", 0),
        ("for x in y:\n    print(x)\n    assert x", 0),
        ("print(1)\nassert True\nfigure", 0),
        ("print(1)\ncheck.assertions(2)", 0),
        ("%magic\nassert True", 0),
        ("", 0),
    ],
)
def test_lines_that_only_assert_are_counted(source, count):
    """From the end of the last statement that does something else."""
    assert count_asserted(source) == count
