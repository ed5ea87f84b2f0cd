"""Tests of reading/accessible.py on a tiny site with the theme of the book."""

import re

import pytest

from reading import accessible

CONTENTS = """
# Part

```{toctree}
:caption: Pages

leaf
```

## One

```{code-cell} python
:tags: [hide-cell]

1 + 1
```

|   | first | second |
|---|---|---|
| row | 1 | 2 |

## Two
"""


@pytest.fixture(scope="module")
def sites(make_site):
    """A page as the theme makes it, and mended."""
    pages = []
    for name in ("", '"reading.accessible"'):
        site = make_site(
            f"""
extensions = ["myst_nb", {name}]
html_theme = "furo"
html_logo = "logo.svg"
""",
            part=CONTENTS,
            leaf="# Leaf\n",
        )
        (site.folder / "docs" / "logo.svg").write_text("<svg></svg>", encoding="utf-8")
        build = site.build()
        assert build.code == 0, build.log
        pages.append(site.html("part"))
    return pages


@pytest.mark.parametrize("name", accessible.REPAIRS)
def test_every_repair_is_still_needed(sites, name):
    """Where this fails, the theme has mended it, or writes it in another way."""
    stock, mended = sites
    pattern, _ = accessible.REPAIRS[name]
    assert pattern.search(stock)
    assert not pattern.search(mended)


def test_side_bars_are_told_apart(sites):
    """Two landmarks of a kind on a page need names."""
    _, mended = sites
    assert 'class="sidebar-drawer" aria-label="Site"' in mended
    assert 'class="toc-drawer" aria-label="This page"' in mended


def test_the_first_link_goes_to_the_content(sites):
    """The keyboard does not have to pass the side bars."""
    _, mended = sites
    first = re.search(r"<(?:a|button|input)\b[^>]*>", mended.partition("<body")[2])
    assert first
    assert "skip-to-content" in first[0]


def test_scripts_wait_for_the_page(sites):
    """All that come from a file are deferred; they keep their order."""
    _, mended = sites
    assert re.findall(r"<script(?![^>]*\bdefer\b)[^>]*\bsrc=", mended) == []
