"""Tests of publishing/search.py on a tiny site; what is found is tested in a browser."""

import json

import pytest

from gradbook.understand.catalogue import load
from publishing.search import typed

PAGE = """
# Detach

What it is for.

## It shares memory

The storage of `base_tensor` is shared.

```{code-cell} python
:tags: [remove-output]
hidden_name = "base_tensor"
```

### A part

Of the section.

$secret_formula$
"""
CLINIC = """
# backward()

(no-graph)=
## A loss without a graph

It has none.
"""
WORDS = """
# Words

:::{glossary}
leaf
  The end of a graph.
:::

```{eval-rst}
.. py:class:: Graph

   A picture.

   .. py:method:: draw()

      Draws it.
```
"""
SETTINGS = """
extensions = ["myst_nb", "execution.notebooks", "publishing.search"]
templates_path = [str(here / "templates")]
"""


@pytest.fixture(scope="module")
def site(make_site):
    """Three pages, built."""
    site = make_site(SETTINGS, detach=PAGE, clinic=CLINIC, words=WORDS)
    templates = site.folder / "docs" / "templates"
    templates.mkdir()
    (templates / "search.html").write_text('{% extends "layout.html" %}', encoding="utf-8")
    build = site.build()
    assert build.code == 0, build.log
    return site


def entries(site):
    """What the search page gets: by page, by id."""
    path = site.folder / "site" / "html" / "_static" / "search" / "places.js"
    text = path.read_text("utf-8")
    pages = json.loads(text.removeprefix("const gradbookPlaces = ").removesuffix(";\n"))
    return {page: {place[0]: place[1:] for place in found} for page, found in pages.items()}


def test_each_section_is_an_entry_with_its_own_text(site):
    """Text of a part belongs to the part; names in code are kept once, formulas not."""
    found = entries(site)["detach"]
    assert found[""] == ["page", "Detach", "What it is for.", "", ""]
    text = "The storage of base_tensor is shared."
    assert found["it-shares-memory"] == ["section", "It shares memory", text, "hidden_name", ""]
    assert found["a-part"][2] == "Of the section."


def test_an_entry_of_the_clinic_has_its_messages(site):
    """Those of the catalogue, all wordings."""
    _, title, _, _, keys = entries(site)["clinic"]["no-graph"]
    assert title == "A loss without a graph"
    assert "element 0 of tensors does not require grad" in keys


def test_what_people_type_in_a_language_is_of_its_place(tmp_path):
    """Of a page by its address, of an entry of the Clinic by its name; English has none."""
    (tmp_path / "zh_TW").mkdir()
    text = '[pages]\n"leaf.html" = ["one", "two"]\n[entries]\nno-graph = ["three"]\n'
    (tmp_path / "zh_TW" / "symptoms.toml").write_text(text, encoding="utf-8")
    path = load()["no-graph"].path
    assert typed(tmp_path, "zh_TW") == {"leaf.html": "one\ntwo", path: "three"}
    assert typed(tmp_path, "en") == {}


def test_terms_and_names_are_entries(site):
    """A class does not have the text of its methods."""
    found = entries(site)["words"]
    assert found["term-leaf"] == ["term", "leaf", "The end of a graph.", "", ""]
    assert found["Graph"] == ["name", "Graph", "A picture.", "", ""]
    assert found["Graph.draw"] == ["name", "Graph.draw", "Draws it.", "", ""]


def test_an_edited_page_replaces_its_entries_alone(site):
    """Those of the others come from the build before; a deleted page leaves none."""
    before = entries(site)
    site.write("detach", PAGE.replace("What it is for.", "What it does."))
    assert site.build().code == 0
    after = entries(site)
    assert after["detach"][""][2] == "What it does."
    assert after["words"] == before["words"]
    (site.folder / "docs" / "clinic.md").unlink()
    index = site.folder / "docs" / "index.md"
    index.write_text(index.read_text("utf-8").replace("clinic\n", ""), encoding="utf-8")
    assert site.build().code == 0
    assert "clinic" not in entries(site)


def test_a_lost_file_is_made_again_in_full(site):
    """Though no page has changed."""
    before = entries(site)
    (site.folder / "site" / "html" / "_static" / "search" / "places.js").unlink()
    assert site.build().code == 0
    assert entries(site) == before


def test_only_the_search_page_loads_them(site):
    """And Sphinx's own index is not made."""
    assert "search/places.js" in site.html("search")
    assert "search/" not in site.html("detach")
    assert not (site.folder / "site" / "html" / "searchindex.js").exists()
