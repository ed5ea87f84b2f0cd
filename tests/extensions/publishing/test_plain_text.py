"""Tests of publishing/plain_text.py: pages as Markdown, with what the build computed."""

import pytest

PAGE = """
# One

Prose with `code`, **weight**, $x^2$ and a [link](https://example.org/).

```{code-cell} python
print("a" * 3)
```

```{code-cell} python
:tags: [remove-cell]
print("hidden")
```

- first

  more of it
- second

| a | b |
|---|---|
| 1 | `x\\|y` |

:::{note}
Mind this.
:::

```{math}
y = x
```

:::{glossary}
leaf
  An end.
:::

```{raw} html
<svg role="img" aria-label="A drawing"><text>no</text></svg><style>p {}</style>
<table><tr><th>step</th><td>1 &lt; 2</td></tr></table>
```

```{eval-rst}
.. py:function:: f(x)

   Does it.

   >>> f(1)
   2
```
"""
EXPECTED = """\
# One

Prose with `code`, **weight**, $x^2$ and a [link](https://example.org/).

```python
print("a" * 3)
```

```text
aaa
```

- first

  more of it
- second

| a | b |
|---|---|
| 1 | `x\\|y` |

**Note**

Mind this.

$$
y = x
$$

- leaf

  An end.

A drawing
step | 1 < 2 |

**`f(x)`**

Does it.

```pycon
>>> f(1)
2
```
"""
SETTINGS = """
extensions = ["myst_nb", "execution.notebooks", "publishing.plain_text"]
html_baseurl = "https://example.org/book/"
myst_html_meta = {"description": "About it."}
"""


@pytest.fixture(scope="module")
def out(make_site):
    """The folder of a built site."""
    site = make_site(SETTINGS, one=PAGE, two="# Two\n")
    index = site.folder / "docs" / "index.md"
    text = index.read_text("utf-8").replace("{toctree}", "{toctree}\n:caption: Pages\n")
    index.write_text(text, encoding="utf-8")
    build = site.build()
    assert build.code == 0, build.log
    site.write("two", "# Two, edited\n")
    assert site.build().code == 0
    return site.folder / "site" / "html"


def test_a_page_is_written_as_a_reader_sees_it(out):
    """Outputs and drawings are there, what is hidden is not."""
    assert (out / "one.md").read_text("utf-8") == EXPECTED


def test_the_list_has_every_page_under_its_part(out):
    """With full address and description; a title that was edited is new."""
    assert (out / "llms.txt").read_text("utf-8") == (
        "# Gradbook\n\n> About it.\n\n"
        "繁體中文: https://example.org/book/zh-tw/llms.txt\n\n## Pages\n\n"
        "- [One](https://example.org/book/one.md): About it.\n"
        "- [Two, edited](https://example.org/book/two.md): About it.\n"
    )


def test_one_file_has_the_text_of_all(out):
    """In the order of reading."""
    text = (out / "llms-full.txt").read_text("utf-8")
    assert text.index("# Home") < text.index("# One") < text.index("# Two, edited")
    assert EXPECTED in text
