"""Tests of reading/collected.py: what pages say together, on a tiny site and on the book."""

import io
import re
import subprocess
from html import unescape

import pytest
from babel.messages.pofile import read_po

import gradbook
import held
import pseudo
from pages import PAGES
from reading.collected import Statement, count, of_catalogue, used

SETTINGS = """
extensions = ["myst_nb", "execution.notebooks", "reading.collected"]
collected_shown = ["facts", "api"]
"""
FACTS = """
# Facts

:::{torch-versions}
:::

:::{book-in-numbers}
:::
"""
API = """
# API

```{eval-rst}
.. py:function:: gradbook.graph()

   Draws.

.. py:function:: gradbook.evaluate()

   Measures.
```
"""
PAGE = """
# A page

## One section

```{code-cell} python
:tags: [remove-cell]
from gradbook import graph
assert len([1]) == 1
```

% torch before 99.0: `fmax` is new,
% and so is this.

% torch since 99.0: It is otherwise.
"""


@pytest.fixture(scope="module")
def site(make_site):
    """Four pages, built."""
    site = make_site(SETTINGS, facts=FACTS, api=API, page=PAGE)
    build = site.build()
    assert build.code == 0, build.log
    return site


def rows(html):
    """The cells of all tables, by row."""
    found = (re.findall(r"<t[dh]\b.*?>(.*?)</t[dh]>", row, re.DOTALL) for row in html.split("<tr"))
    return [[unescape(re.sub(r"<[^>]+>", "", one)).strip() for one in row] for row in found if row]


def test_statements_about_versions_are_listed_with_what_this_build_is(site):
    """Both lines of a comment, code as code, and a link to the section."""
    html = site.html("facts")
    told = rows(html)
    assert ["fmax is new, and so is this.", "before 99.0", "so it is here", "A page"] in told
    assert ["It is otherwise.", "since 99.0", "not yet so", "A page"] in told
    assert 'href="page.html#one-section"' in html
    assert ">fmax</" in html


def test_statements_about_versions_are_translated(site):
    """They are messages of the site, and the table shows their translations."""
    settings = 'extensions.append("reading.translation")\n'
    conf = site.folder / "docs" / "conf.py"
    conf.write_text(conf.read_text("utf-8") + settings, encoding="utf-8")
    pages = site.folder / "docs"
    for builder, options in (
        ("gettext", []),
        ("html", ["-D", f"language={pseudo.LANGUAGE}", "-D", f"locale_dirs={pages / 'locale'}"]),
    ):
        target = site.folder / "said" / builder
        command = [*site.command("-b", builder, "-d", str(target) + "-trees", *options)[:-1]]
        done = subprocess.run(
            [*command, str(target)],
            env=site.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if builder == "gettext":
            said = {one.id for one in read_po(io.BytesIO((target / "sphinx.pot").read_bytes()))}
            assert "`fmax` is new, and so is this." in said
            # The table of a site with the Clinic has them too; their pages are not in this one.
            assert {one.text[:1].upper() + one.text[1:] for _, one in of_catalogue()} <= said
            pseudo.translate(target, pages / "locale")
    told = rows((target / "facts.html").read_text("utf-8"))
    fmax = next(row for row in told if "fmax" in row[0])
    assert fmax[0] == pseudo.accent("`fmax` is new, and so is this.").replace("`", "")
    assert fmax[1] == f"{pseudo.accent('before')} 99.0"


def test_the_pages_are_counted(site):
    """By part of the book, and in all."""
    assert rows(site.html("facts"))[-1] == ["All", "4", "1", "1", "0", "0"]


def test_an_object_names_the_pages_that_use_it(site):
    """And one that no page uses names none."""
    html = site.html("api")
    assert html.count("Used on") == 1
    assert re.search(r'Used on</strong> <a [^>]*href="page.html">A page</a>', html)
    assert html.index("Used on") < html.index('id="gradbook.evaluate"')


def test_a_table_follows_a_page_that_changes(site):
    """Though the page with the table has not changed itself, and a page can go."""
    site.write("page", PAGE.replace("It is otherwise.", "It is the same."))
    site.write("more", "# More\n\n% torch with 99.0: Seen there.\n")
    index = site.folder / "docs" / "index.md"
    index.write_text(index.read_text("utf-8").replace("page\n", "page\nmore\n"), encoding="utf-8")
    build = site.build()
    assert build.code == 0, build.log
    told = [row[0] for row in rows(site.html("facts"))]
    assert "It is the same." in told
    assert "It is otherwise." not in told
    assert "Seen there." in told


@pytest.mark.parametrize(
    ("kind", "version", "holds"),
    [
        *(("before", "2.14", True), ("before", "2.13", False), ("before", "2.9", False)),
        *(("since", "2.9", True), ("since", "2.13", True), ("since", "2.14", False)),
        *(("with", "2.13", True), ("with", "2.12", False)),
    ],
)
def test_versions_are_compared_as_numbers(kind, version, holds):
    """2.9 comes before 2.13."""
    assert Statement("", kind, version, "").holds("2.13.0") is holds


def test_held_numbers_are_counted_as_they_are_held():
    """The two readings of held lines agree on every page."""
    wanted = {page: len([*lines(page)]) for page in PAGES}
    assert {page: count(page.read_text("utf-8"))["held"] for page in PAGES} == wanted
    assert sum(wanted.values()) > 500


def lines(page):
    """What held lines of a page hold."""
    return (one for row in held.read(page.read_text("utf-8")).held for one in row.written)


def test_claims_and_exercises_of_a_page_are_counted():
    """Calls that assert count; what stands in plain code blocks does not."""
    cell = (
        "```{code-cell} python\n---\ntags: [x]\n---\nassert 1\nassert_close(1, 1)\nprint()\n```\n"
    )
    more = "```{code-cell} python\n:tags: [x]\nwith expect_error(E):\n    check.a.b(1)\n```\n"
    text = cell + more + "```python\nassert 2\n```\n:::{admonition} Exercise 1\n:::\n"
    assert count(text) == {"cells": 2, "assertions": 4, "exercises": 1}


def test_names_of_the_package_are_found_however_they_are_used():
    """Imported, as an attribute, and those of its module of data."""
    text = "```{code-cell} python\nimport gradbook\nfrom gradbook import data, fit\n"
    text += "gradbook.graph(1)\ndata.line(3)\n```\n"
    assert used(text) == {"data", "data.line", "fit", "graph"}


def test_every_public_name_is_used_on_a_page():
    """In a cell: who looks a name up finds it at work."""
    names = {name for page in PAGES for name in used(page.read_text("utf-8"))}
    assert set(gradbook.__all__) - {"__version__"} <= names


def test_a_section_that_asks_for_the_version_says_so_in_the_table():
    """A cell that compares the version of torch stands in a section with such a mark."""
    missing = []
    for page in PAGES:
        for section in re.split(r"^##? ", page.read_text("utf-8"), flags=re.MULTILINE):
            asks = re.search(r"torch\.__version__.*[<>]|[<>]=? .*torch\.__version__", section)
            if asks and not re.search(r"^% torch (before|since|with) ", section, re.MULTILINE):
                missing.append(f"{page.name}: {asks[0]}")
    assert missing == []


def test_sentences_of_the_catalogue_about_versions_are_found():
    """With the page and the entry that have them."""
    found = dict(of_catalogue())
    assert found["clinic/errors/no-derivative"].version
    assert all(one.text.count("`") % 2 == 0 for _, one in of_catalogue())
    assert {one.kind for _, one in of_catalogue()} <= {"before", "since", "with"}
