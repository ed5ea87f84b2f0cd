"""Tests of reading/path.py on a tiny site."""

import json
import re

import pytest

from gradbook.understand.catalogue import load
from pages import DOCS, LEARN, PATH
from sites import HEADER, Site

SETTINGS = f"""
extensions = ["myst_nb", "execution.notebooks", "reading.path", "publishing.plain_text",
              "publishing.search"]
templates_path = [{str(DOCS / "_templates")!r}]
html_theme = "furo"
"""
MAP = """
# Learn

:::{learn-map}
:::
"""
MADE = """
```{code-cell} python
:tags: [below]
made = "what is made"
```

```{code-cell} python
:tags: [remove-input]
print(made)
```
"""
FIRST = f"""
# The `first` page

After this page you can count. {"word " * 390}

```{{raw}} html
<div class="picture"><svg class="figure" role="img" aria-label="A box" width="320" height="90"
viewBox="0 0 320 90"><text x="0">Title</text><path d="M8 8L40 30"/></svg><svg></svg></div>
```

:::{{admonition}} How to read
:class: tip

Slowly.
:::

## A part

```{{code-cell}} python
a = 1

b = 2
print("thirty words " * 15)
```

```{{code-cell}} python
:tags: [hide-cell]
c = 3
```

:::{{admonition}} Exercise 1: count
:class: exercise

How many?
:::

## In one breath

Counting *works*, see [the second](second.md).

Back to [the map](index.md). On to [](second.md).
"""
SECOND = """
# The second page

## In one breath

Nothing else.

Back to [](first.md).
"""


@pytest.fixture(scope="module")
def site(make_site) -> Site:
    """A path of two pages, and a page elsewhere."""
    made = make_site(SETTINGS, other="# Other\n")
    folder = made.folder / "docs"
    (folder / "learn").mkdir()
    for name, text in (("index", MAP), ("first", FIRST), ("second", SECOND)):
        described = f'myst: {{html_meta: {{description: "About {name}."}}}}\n---\n'
        header = HEADER.removesuffix("---\n") + described
        (folder / "learn" / f"{name}.md").write_text(header + text, encoding="utf-8")
    front = "# Home\n\n:::{book-facts}\n:::\n\n```{toctree}\nlearn/index\nlearn/first\n"
    front += "learn/second\nother\n```\n\n" + MADE
    (folder / "index.md").write_text(HEADER + front, encoding="utf-8")
    done = made.build()
    assert done.code == 0, done.log
    return made


def article(site: Site, name: str) -> str:
    """What the page itself says."""
    return re.search(r"<article.*?</article>", site.html(name), re.DOTALL)[0]


def test_the_map_counts(site):
    """Words, lines of code that are seen, and exercises; titles and lines are the pages' own."""
    html = article(site, "learn/index")
    (first, second) = re.findall(r"<li>.*?</li>", html, re.DOTALL)
    assert '<a class="reference internal" href="first.html">' in first
    assert '<span class="pre">first</span></code> page' in first
    assert "<p>About first.</p>" in first
    # 390 words and some more are nearly two minutes; three lines of code add to them.
    assert "3 minutes, 1 exercise<" in first
    assert "1 minute, 0 exercises<" in second
    assert "Together: 4 minutes, 1 exercise. Minutes are counted: 200 words" in html


def test_the_map_shows_the_shapes_of_the_pictures(site):
    """Without letters and without a text of their own; a page without a picture has none."""
    (first, second) = re.findall(r"<li>.*?</li>", article(site, "learn/index"), re.DOTALL)
    shapes = '<svg viewBox="0 0 48 38" width="15%"><path d="M8 8L40 30"/></svg>'
    assert f'<div class="picture learn-shapes" aria-hidden="true">{shapes}</div>' in first
    assert "<svg" not in second


def test_the_front_page_says_how_much_there_is(site):
    """Counted: nobody types it."""
    entries = load().entries
    traps = sum(entry.kind == "trap" for entry in entries)
    said = f"{len(entries) - traps} error messages, {traps} traps without one, 2 pages"
    assert f'<p class="facts">{said} to learn from, 1 exercises. Outp' in article(site, "index")


def test_a_cell_may_stand_below_what_it_makes(site):
    """On the front page; the page as Markdown has them in the order in which they run."""
    html = article(site, "index")
    assert html.index("what is made\n</pre>") < html.index("tag_below")
    text = (site.folder / "site" / "html" / "index.md").read_text("utf-8")
    assert text.index("made = ") < text.index("what is made\n```")


def test_each_page_has_its_place(site):
    """Above the title; the neighbours too. Pages that are not on the path have none."""
    first, second = (article(site, f"learn/{name}") for name in ("first", "second"))
    assert first.index(">1 of 2</a>") < first.index("<h1>")
    assert 'rel="prev" href="index.html" title="Learn"' in first
    assert 'rel="next" href="second.html" title="The second page"' in first
    assert ">2 of 2</a>" in second
    assert 'rel="prev" href="first.html" title="The first page"' in second
    assert "path-step" not in article(site, "other") + article(site, "learn/index")


def test_the_point_stands_in_the_first_screen(site):
    """Before the first part and the first box, with its links, without the way on."""
    html = article(site, "learn/first")
    box = re.search(r'<div class="breath[^>]*>(.*?)</div>', html, re.DOTALL)
    assert html.index("you can count") < box.start() < html.index("How to read")
    assert "<strong>In one breath</strong>" in box[1]
    assert '<em>works</em>, see <a class="reference internal" href="second.html">' in box[1]
    assert "Back to" not in box[1]
    assert html.count('id="in-one-breath"') == 1


def test_what_reads_the_text_meets_it_once(site):
    """The search and the page as Markdown."""
    out = site.folder / "site" / "html"
    script = (out / "_static" / "search" / "places.js").read_text("utf-8")
    assert script.count("Counting works") == 1
    assert (out / "learn" / "first.md").read_text("utf-8").count("Counting *works*") == 1


def test_the_map_follows_its_pages(site):
    """A page that grows is longer on the map, which has not changed itself."""
    path = site.folder / "docs" / "learn" / "second.md"
    path.write_text(path.read_text("utf-8") + "\n\n" + "more " * 1100, encoding="utf-8")
    done = site.build()
    assert done.code == 0, done.log
    assert "6 minutes, 0 exercises<" in article(site, "learn/index")


def test_the_map_and_the_front_page_name_the_same_pages():
    """All of them."""
    assert sorted(PATH) == [f"learn/{page.stem}" for page in LEARN]
    assert json.dumps(PATH).count("index") == 0
