"""Tests of execution/figures.py on a tiny site."""

import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from execution import figures
from sites import Site

DRAWING = """\
# Figures

```{code-cell} python
---
mystnb:
  image:
    alt: A line that rises from 0 to 1 & "stays".
---
import matplotlib.pyplot as plt

_ = plt.plot([0, 1], [0, 1], color="black")
```

```{code-cell} python
---
mystnb:
  image:
    alt: The same line, falling.
---
_ = plt.plot([0, 1], [1, 0])
```

```{code-cell} python
_ = plt.plot([0, 1])
```
"""


@pytest.fixture(scope="module")
def drawn(make_site) -> tuple[Site, str]:
    """A site with three figures, the last without an alternative text, and the build's log."""
    site = make_site(drawing=DRAWING)
    build = site.build()
    assert build.code == 1
    return site, build.log


@pytest.fixture(scope="module")
def svgs(drawn) -> list[ET.Element]:
    """The page's figures."""
    html = drawn[0].html("drawing")
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def test_figures_are_part_of_the_page(svgs):
    """They are elements, not files or plain text, with the role of an image and their text."""
    assert [svg.get("role") for svg in svgs] == ["img"] * 3
    assert svgs[0].get("aria-label") == 'A line that rises from 0 to 1 & "stays".'
    assert svgs[1].get("aria-label") == "The same line, falling."


def test_a_figure_without_a_text_fails_the_build(drawn):
    """The page and the line of its cell are named, and only that one is."""
    site, log = drawn
    line = site.line("drawing", "_ = plt.plot([0, 1])")
    found = re.findall(r"drawing\.md:(\d+): WARNING: this figure needs an alternative text", log)
    assert len(found) == 1
    assert abs(int(found[0]) - line) <= 1


def test_no_id_stands_twice_on_a_page(svgs):
    """Ids of two figures differ, and what a figure refers to is its own."""
    ids = Counter(node.get("id") for svg in svgs for node in svg.iter() if node.get("id"))
    assert ids
    assert max(ids.values()) == 1
    for svg in svgs:
        own = {node.get("id") for node in svg.iter()}
        text = ET.tostring(svg, encoding="unicode")
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
        assert used
        assert {left or right for left, right in used} <= own


def test_black_follows_the_theme(svgs):
    """Lines and letters take the page's colour, the data the site's two; text stays text."""
    for svg in svgs:
        text = ET.tostring(svg, encoding="unicode")
        assert "currentColor" in text
        assert not re.search(r"#000000|\bblack\b|#ffffff|\bwhite\b", text)
        assert "<metadata" not in text
        assert [node for node in svg.iter() if node.tag.endswith("text")]
    assert "stroke: var(--color-brand-content)" in ET.tostring(svgs[1], encoding="unicode")


def test_a_narrow_screen_shows_no_smaller_text_than_11_pixels(svgs):
    """The figure is scrolled there; it is never wider than it was drawn."""
    for svg in svgs:
        least = int(re.fullmatch(r"min-width: (\d+)px", svg.get("style"))[1])
        across = float(svg.get("viewBox").split()[2])
        assert 10 * least / across >= 11
        assert least <= float(svg.get("width").removesuffix("pt")) * 4 / 3


def test_exponents_do_not_count_as_small_text():
    """Those of a logarithmic axis are smaller than its numbers."""
    svg = "<svg width='1'></svg>".replace("'1'", '"300pt"')
    texts = '<text style="font-size: 10px"/><tspan style="font: 7px"/>'
    drawn = figures.inline_svg(svg.replace("</svg>", f"{texts}</svg>"), "a", prefix="p-")
    assert 'style="min-width: 330px"' in drawn


def test_the_first_two_colours_are_those_of_the_site():
    """The second one is that of a gradient, in charts as in graphs and formulas."""
    svg = '<svg width="1"><path style="stroke: #1f77b4"/><path style="fill: #ff7f0e"/></svg>'
    drawn = figures.inline_svg(svg, "a", prefix="p-")
    assert "stroke: var(--color-brand-content)" in drawn
    assert "fill: var(--gradbook-gradient)" in drawn


def test_a_text_cannot_break_out_of_its_attribute():
    """Quotes and brackets in an alternative text are escaped."""
    svg = figures.inline_svg("<?xml?><svg width='1'></svg>", 'a"><b>', prefix="p-")
    assert svg.startswith('<svg class="figure" role="img" aria-label="a&quot;&gt;&lt;b&gt;"')
