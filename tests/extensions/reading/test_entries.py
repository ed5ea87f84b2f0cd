"""Tests of reading/entries.py on a tiny site."""

import re
from html import unescape

import pytest

from gradbook.understand.catalogue import load
from reading.entries import changed_lines, description, docname_of, message, source_of
from sites import DOCS, HEADER, Site, mark

CATALOGUE = load()
NO_GRAPH, NOT_SCALAR = CATALOGUE["no-graph"], CATALOGUE["non-scalar-backward"]
VARIANT = NO_GRAPH.variants[1]
SETTINGS = f"""
extensions = ["myst_nb", "reading.clinic", "reading.entries", "execution.notebooks",
              "publishing.announcing", "publishing.plain_text", "publishing.search",
              "publishing.sharing"]
html_static_path = [{str(DOCS / "_static")!r}]
html_theme = "furo"
html_baseurl = "https://example.org/"
templates_path = [{str(DOCS / "_templates")!r}]
"""
PAGE = """
# A page

See [the first](#no-graph), and [](clinic/errors/backward.md).

```{toctree}
clinic/index
```
"""
FRONT = """
# Clinic

```{toctree}
errors/backward
traps/loop
```
"""
BACKWARD = f"""
# backward() and autograd.grad()

What these have in common.

{mark("setup")}

```{{code-cell}} python
import torch
from gradbook import expect_error
```

(no-graph)=
## `backward()` on a loss that has no graph

```{{code-cell}} python
weight = torch.ones(3)

with expect_error(RuntimeError, match="does not require grad"):
    weight.sum().backward()
```

:::{{why}} no-graph
:::

In detail, as in [the other](#non-scalar-backward) and [a trap](#zero-grad-forgotten).

```{{code-cell}} python
depth = weight.sum()
```

:::{{cure}} no-graph
:::

```{{code-cell}} python
weight = torch.ones(3, requires_grad=True)
weight.sum().backward()
```

Not a cure.

:::{{variant}} {VARIANT.source}
:::

```{{code-cell}} python
variant_raises = depth
```

```{{code-cell}} python
variant_works = depth
```

After the variant.

(non-scalar-backward)=
## `backward()` on more than one number

```{{code-cell}} python
assert depth == 3
print("the same kernel")
```

:::{{why}} non-scalar-backward
:::

:::{{cure}} non-scalar-backward
:::

```{{code-cell}} python
weight.grad = None
```
"""
LOOP = """
# The training loop

(zero-grad-forgotten)=
## `zero_grad()` forgotten

```{code-cell} python
total = 1
```

:::{why} zero-grad-forgotten
:::

:::{cure} zero-grad-forgotten
:::

```{code-cell} python
total = 2
```
"""
ENTRY, OTHER = "clinic/errors/no-graph", "clinic/errors/non-scalar-backward"


def make(make_site) -> Site:
    """The Clinic with two groups, and a page that leads to it."""
    site = make_site(SETTINGS, page=PAGE)
    for folder in ("errors", "traps"):
        (site.folder / "docs" / "clinic" / folder).mkdir(parents=True)
    site.write("clinic/index", FRONT)
    write(site, "clinic/errors/backward", BACKWARD)
    write(site, "clinic/traps/loop", LOOP)
    return site


def write(site, name, text):
    """Write a page as it stands: its lines are not indented."""
    path = site.folder / "docs" / f"{name}.md"
    path.write_text(HEADER + text, encoding="utf-8")


@pytest.fixture(scope="module")
def site(make_site) -> Site:
    """Built, with related entries that the tiny site does not have."""
    site = make(make_site)
    for id_ in (*NO_GRAPH.related, *NOT_SCALAR.related, *CATALOGUE["zero-grad-forgotten"].related):
        if id_ not in ("no-graph", "non-scalar-backward", "zero-grad-forgotten"):
            entry = CATALOGUE[id_]
            if not (site.folder / "docs" / f"{docname_of(entry)}.md").exists():
                write(site, docname_of(entry), f":orphan:\n\n({id_})=\n# {entry.heading}\n")
    build = site.build("--jobs", "2", "--define", "suppress_warnings=toc.not_included")
    assert build.code == 0, build.log
    return site


def article(site, name):
    """The HTML of a page's text."""
    return site.html(name).partition("<article")[2].partition("</article>")[0]


def text_of(html):
    """What a reader reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def in_order(text, *parts):
    """Whether the parts stand in a text one after the other."""
    places = [text.find(part) for part in parts]
    assert -1 not in places, [part for part, place in zip(parts, places, strict=True) if place < 0]
    return places == sorted(places)


# ------------------------------------------------------------------------------------ the pages


def test_an_entry_is_a_page_with_its_own_title_and_description(site):
    """For search engines, and for programs that show a link."""
    html = site.html(ENTRY)
    assert "<title>backward() on a loss that has no graph - " in html
    assert f'<meta content="{description(NO_GRAPH)}" name="description"' in unescape(html)
    assert 'property="og:url" content="https://example.org/clinic/errors/no-graph.html"' in html
    assert (site.folder / "site" / "html" / "_static" / "cards" / f"{ENTRY}.png").is_file()
    assert article(site, ENTRY).count("<h1>") == 1


def test_the_answer_stands_first(site):
    """The message, the cause, the cure, what raises beside what works, and then the depth."""
    text = text_of(article(site, ENTRY))
    assert in_order(
        text,
        NO_GRAPH.heading.replace("`", ""),
        message(NO_GRAPH),
        NO_GRAPH.because[0],
        NO_GRAPH.cures[0].replace("`", ""),
        *("Raises", "weight.sum().backward()", "Works", "requires_grad=True"),
        "What this code needs",
        "How to recognise it",
        *("In detail", "depth = weight.sum()", "Not a cure."),
        *(VARIANT.title.replace("`", ""), "variant_raises", "variant_works", "After the variant."),
        "Also worded",
        "Related",
    )


def test_lines_that_differ_are_marked(site):
    """In what raises and in what works."""
    html = article(site, ENTRY)
    raises, works = html.split('class="entry-works')[:2]
    assert "torch.ones(3)" in text_of(raises.partition('class="hll"')[2])
    assert "requires_grad=True" in text_of(works.partition('class="hll"')[2].partition("\n")[0])


def test_another_cause_has_a_heading_that_can_be_linked(site):
    """With its two sides, and what comes after them."""
    html = article(site, ENTRY)
    assert 'id="the-forward-pass-ran-under-no-grad"' in html
    assert html.count('class="entry-sides') == 2


def test_a_trap_does_not_raise(site):
    """It goes wrong, and has no message."""
    text = text_of(article(site, "clinic/traps/zero-grad-forgotten"))
    assert in_order(text, "Goes wrong", "total = 1", "Goes right", "total = 2")
    assert "entry-message" not in article(site, "clinic/traps/zero-grad-forgotten")


def test_all_cells_of_a_group_run_once_in_one_kernel(site):
    """Though each page has those that all need."""
    assert site.runs() == ["setup"]
    assert "the same kernel" in article(site, OTHER)
    for name in (ENTRY, OTHER):
        assert "import torch" in text_of(article(site, name))


# ------------------------------------------------------------------------------- the way there


def test_the_page_of_the_group_lists_them(site):
    """Title, message and cause; the anchors that the sections had; no cells."""
    html = article(site, "clinic/errors/backward")
    assert "What these have in common." in html
    assert 'class="cell' not in html
    for entry in (NO_GRAPH, NOT_SCALAR):
        item = html[html.index(f'<li id="{entry.id}"') :].partition("</li>")[0]
        assert f'href="{entry.id}.html"' in item
        assert in_order(text_of(item), message(entry), entry.because[0].replace("`", ""))
    assert re.search('id="backward-on-a-loss-that-has-no-graph"', html)


def test_links_lead_to_the_new_pages(site):
    """From other pages, between entries, and to those of other groups; each is there."""
    assert f'href="{ENTRY}.html"' in article(site, "page")
    html = article(site, ENTRY)
    for address in ("non-scalar-backward.html", "../traps/zero-grad-forgotten.html"):
        assert f'href="{address}"' in html
    folder = (site.folder / "site" / "html" / ENTRY).parent
    for address in re.findall(r'href="([^"#:]+)(?:#[^"]*)?"', html):
        assert (folder / address).exists(), address


def test_they_follow_each_other_and_the_side_bar_ends_at_the_group(site):
    """The entries before and after; the group is the current page there."""
    html = site.html(OTHER)
    assert 'class="prev-page" href="no-graph.html"' in html
    side = html.partition("sidebar-tree")[2].partition("<article")[0]
    assert 'href="backward.html"' in side
    assert "no-graph.html" not in side
    assert re.search(r'class="[^"]*current[^"]*"><a [^>]*href="backward.html"', side)


def test_the_search_finds_the_page(site):
    """Not the list, and not by what all entries import."""
    places = (site.folder / "site" / "html" / "_static" / "search" / "places.js").read_text("utf-8")
    assert f'"{ENTRY}":[["","message","backward() on a loss that has no graph"' in places
    assert (
        "element 0 of tensors"
        not in places.partition('"clinic/errors/backward":')[2].split('"clinic/')[0]
    )
    assert '"expect_error' not in places.partition(f'"{OTHER}":')[2].partition('"clinic/')[0]


def test_the_lists_of_pages_have_them(site):
    """For search engines, and for programs that read text, in the order of the groups."""
    out = site.folder / "site" / "html"
    assert f"<loc>https://example.org/{ENTRY}.html</loc>" in (out / "sitemap.xml").read_text(
        "utf-8"
    )
    assert message(NO_GRAPH) in (out / f"{ENTRY}.md").read_text("utf-8")


# ------------------------------------------------------------------------- builds after the first


def test_a_build_without_a_change_does_nothing(site):
    """No group is read again."""
    build = site.build("--define", "suppress_warnings=toc.not_included")
    assert build.code == 0, build.log
    assert "0 added, 0 changed, 0 removed" in build.log


def test_an_edited_group_writes_its_entries_anew(make_site):
    """And a section that goes takes its page out of all lists; a lost document comes back."""
    site = make(make_site)
    options = ("--define", "suppress_warnings=myst.xref_missing,ref.myst")
    assert site.build(*options).code == 0
    changed = BACKWARD.replace("Not a cure.", "No cure at all.")
    write(site, "clinic/errors/backward", changed)
    assert site.build(*options).code == 0
    assert "No cure at all." in article(site, ENTRY)
    (site.folder / "site" / "html" / f"{ENTRY}.html").unlink()
    (site.folder / "site" / ".doctrees" / f"{ENTRY}.doctree").unlink(missing_ok=True)
    (site.folder / "site" / "html" / ".doctrees" / f"{ENTRY}.doctree").unlink(missing_ok=True)
    assert site.build(*options).code == 0
    assert "No cure at all." in article(site, ENTRY)
    write(site, "clinic/errors/backward", changed.partition("(non-scalar-backward)=")[0])
    assert site.build(*options).code == 0
    out = site.folder / "site" / "html"
    assert f"{OTHER}.html" not in (out / "sitemap.xml").read_text("utf-8")
    assert f'"{OTHER}"' not in (out / "_static" / "search" / "places.js").read_text("utf-8")


def test_translators_have_one_file_for_a_group(make_site):
    """Its pages are made when all is translated."""
    site = make(make_site)
    options = ("-b", "gettext", "--define", "suppress_warnings=myst.xref_missing,ref.myst")
    assert site.build(*options).code == 0
    out = site.folder / "site" / "html" / "clinic" / "errors"
    assert [path.name for path in out.iterdir()] == ["backward.pot"]
    assert "Not a cure." in (out / "backward.pot").read_text("utf-8")


# ------------------------------------------------------------------------------------ its parts


@pytest.mark.parametrize("entry", CATALOGUE.entries, ids=lambda entry: entry.id)
def test_every_entry_has_a_description(entry):
    """In 40 to 160 letters, from its own causes, and without marks of code."""
    said = description(entry)
    assert 40 <= len(said) <= 160
    assert "`" not in said


def test_descriptions_and_titles_differ():
    """So that two results of a search engine are told apart."""
    for texts in (
        [description(e) for e in CATALOGUE.entries],
        [e.title for e in CATALOGUE.entries],
    ):
        assert sorted(text for text in texts if texts.count(text) > 1) == []


def test_a_message_says_its_class_and_is_cut_at_a_word():
    """A trap has none."""
    assert message(NO_GRAPH).startswith("RuntimeError: element 0 of tensors")
    assert message(CATALOGUE["zero-grad-forgotten"]) == ""
    for entry in CATALOGUE.entries:
        said = message(entry)
        assert len(said) <= 242
        assert not said.endswith(" …") or said.removesuffix(" …") in " ".join(
            f"{entry.type[0]}: {entry.examples[0]}".split()
        )


@pytest.mark.parametrize(
    ("one", "other", "marked"),
    [
        ("a = 1\nb(a)", "a = 2\nb(a)", ([1], [1])),
        ("b(a)", "    b(a)  # here", ([], [])),
        ("a = 1\nwith expect_error(E):\n    f(a)", "a = 1\nf(a.h())\nassert a", ([3], [2])),
        ("a = 1", "b = 2", ([], [])),
        ("", "", ([], [])),
        ("a\nb", "b\na", ([2], [1])),
    ],
)
def test_the_lines_that_differ(one, other, marked):
    """Indentation, comments, and what only shows a result do not count."""
    assert changed_lines(one, other) == marked


def test_the_source_of_an_entry_ends_where_the_next_begins():
    """An unknown name has none."""
    assert source_of(BACKWARD, "no-graph").rstrip().endswith("After the variant.")
    assert source_of(BACKWARD, "non-scalar-backward").rstrip().endswith("```")
    assert source_of(BACKWARD, "nothing") == ""
