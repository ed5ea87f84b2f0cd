"""Tests of reading/terms.py: the first use of a term on a page is a link, on a tiny site."""

import doctest
import re

import pytest

from reading import terms

SETTINGS = """
extensions = ["myst_nb", "execution.notebooks", "reading.terms", "reading.path"]
"""
GLOSSARY = """
# Glossary

:::{glossary}
leaf
  The end of a graph.

node
  One operation. It is no {term}`leaf`.

batch
  Samples.

batch normalization
  A layer.

saved tensor
  What is kept.

window
  Several batches.

edge
  Leads to a node.
:::
"""
PAGE = """
# The node of a page

A cell leaves `node` alone, and a non-leaf. **Nodes and leaves** of the leaves: a node, a
[batch of batches](other.md), *a* batch
normalization, *a* node, a Batch, windows of 3 by 3, the edge of a domain, each window.

## A leaf as a heading

The {term}`saved tensor <saved tensor>` is linked by hand: a saved tensor, its edges.

```{code-cell} python
:tags: [hide-input]
print("leaf")
```

| node | batch |
|---|---|
| edge | node |
"""
OTHER = "# Another page\n\nA micro-batch, subnodes, and the nodes.\n"


@pytest.fixture(scope="module")
def site(make_site):
    """A glossary, a page of the Learn path, and one outside of the parts."""
    site = make_site(SETTINGS, glossary=GLOSSARY)
    (site.folder / "docs" / "learn").mkdir()
    site.write("learn/page", PAGE)
    site.write("learn/other", OTHER)
    site.write("news", "# News\n\nA node.\n")
    index = site.folder / "docs" / "index.md"
    names = "glossary\nlearn/page\nlearn/other\nnews\n"
    text = index.read_text("utf-8").replace("glossary\n", names)
    index.write_text(text, encoding="utf-8")
    build = site.build("--nitpicky")
    assert build.code == 0, build.log
    return site


def linked(site, name):
    """The words that became links, and where they lead."""
    pattern = r'<a class="term reference internal" href="([^"]*)">(.*?)</a>'
    found = re.findall(pattern, site.html(name), re.DOTALL)
    return [(" ".join(words.split()), to) for to, words in found]


def test_forms():
    """The example of the docstring."""
    assert doctest.testmod(terms) == doctest.TestResults(failed=0, attempted=1)


def test_the_first_use_of_a_term_is_a_link(site):
    """In the plural and in capitals too; the longest term counts, and a verb does not."""
    assert linked(site, "learn/page") == [
        ("Nodes", "../glossary.html#term-node"),
        ("leaves", "../glossary.html#term-leaf"),
        ("batch normalization", "../glossary.html#term-batch-normalization"),
        ("Batch", "../glossary.html#term-batch"),
        ("window", "../glossary.html#term-window"),
        ("edges", "../glossary.html#term-edge"),
    ]


def test_parts_of_words_are_no_terms(site):
    """Nor is a part of a word with a hyphen."""
    assert linked(site, "learn/other") == [("nodes", "../glossary.html#term-node")]


def test_other_parts_of_the_book_stay_as_they_are(site):
    """The glossary itself among them."""
    assert linked(site, "news") == linked(site, "glossary") == []


def test_no_link_is_left_to_a_term_that_is_gone(site):
    """Pages that have not changed are written again."""
    site.write("glossary", GLOSSARY.replace("\nwindow\n", "\nwindowpane\n"))
    build = site.build("--nitpicky")
    assert build.code == 0, build.log
    assert ("window", "../glossary.html#term-window") not in linked(site, "learn/page")
    assert len(linked(site, "learn/page")) == 5


def test_where_words_are_not_set_apart_a_term_is_found_in_a_row_of_signs():
    """And an English term beside them as a word of its own."""
    search, of_form = terms.finder(frozenset({"葉節點", "leaf", "節點"}))
    found = [one[0] for one in search.finditer("這些葉節點與節點, a leaf")]
    assert found == ["葉節點", "節點", "leaf"]
    assert of_form["leaves"] == "leaf"
