"""Tests of reading/clinic.py on a tiny site."""

import json
import re
from html import unescape

import pytest

from gradbook.understand.catalogue import load, to_json
from sites import DOCS, Site

CATALOGUE = load()
SETTINGS = f"""
extensions = ["myst_nb", "reading.clinic", "execution.notebooks"]
html_static_path = [{str(DOCS / "_static")!r}]
"""
ENTRY = """
# An entry

:::{why} graph-freed
:::

:::{cure} graph-freed
:::

:::{variant} E07b
:::

:::{why} device-mismatch
:::

```{toctree}
clinic/index
```
"""
FRONT = """
# Clinic

:::{container} clinic-search
The search needs JavaScript.
:::

## Most asked

:::{clinic-index} top
:::

## Messages

:::{clinic-index} errors
:::

## Traps

:::{clinic-index} traps
:::

```{toctree}
:glob:

*/*
```
"""
WRONG = """
# Wrong names

:::{why} no-such-entry
:::

:::{variant} E07z
:::

:::{clinic-index} somewhere
:::
"""


@pytest.fixture(scope="module")
def clinic(make_site) -> Site:
    """A built site with the front page of the Clinic, and a page for each group."""
    site = make_site(SETTINGS, entry=ENTRY)
    for folder in ("errors", "traps"):
        (site.folder / "docs" / "clinic" / folder).mkdir(parents=True)
    site.write("clinic/index", FRONT)
    for group in CATALOGUE.groups:
        entries = [
            entry
            for entry in CATALOGUE.entries
            if (entry.folder, entry.group) == (group.folder, group.id)
        ]
        sections = "".join(f"({entry.id})=\n## {entry.heading}\n\n" for entry in entries)
        site.write(f"clinic/{group.folder}/{group.id}", f"# {group.title}\n\n{sections}")
    build = site.build()
    assert build.code == 0, build.log
    return site


def text_of(html: str) -> str:
    """What a reader reads."""
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def links(html: str) -> list[str]:
    """Ids that a part of a page leads to, in order."""
    return re.findall(r'href="[^"]*#([\w-]+)"><span class="[^"]*">', html)


def part(html: str, start: str, end: str) -> str:
    """What stands between two texts of a page."""
    return html[html.index(start) : html.index(end)]


def test_why_has_causes_signal_and_older_words(clinic):
    """One cause is a sentence, several are a list."""
    read = text_of(clinic.html("entry"))
    entry = CATALOGUE["graph-freed"]
    assert f"Why. {entry.because[0]}" in read
    assert f"How to recognise it. {entry.signal}" in read
    assert f"Also worded {entry.examples[1]}" in read
    causes = CATALOGUE["device-mismatch"].because
    assert len(causes) == 1
    html = clinic.html("entry")
    assert html.count("<strong>Why.</strong>") == 2


def test_cures_are_a_list_with_links_to_related_entries(clinic):
    """The best first; the links say what happened, with code as code."""
    html = clinic.html("entry")
    cures = part(html, "<strong>Cure.</strong>", "<strong>Related:</strong>")
    entry = CATALOGUE["graph-freed"]
    assert cures.count("<li>") == len(entry.cures)
    assert "<code" in cures
    related = part(html, "<strong>Related:</strong>", '<div class="entry-variant')
    assert links(related) == list(entry.related)
    assert re.search(r"<code[^>]*><span class=\"pre\">retain_graph=True</span></code> as", related)


def test_a_variant_has_its_cause_and_cure(clinic):
    """It is named by its source."""
    (variant,) = [one for one in CATALOGUE["graph-freed"].variants if one.source == "E07b"]
    read = text_of(clinic.html("entry"))
    assert f"{variant.title}. {variant.because}".replace("`", "") in read
    assert f"Cure. {variant.cure.replace('`', '')}" in read


def test_the_index_has_every_entry_under_its_page(clinic):
    """Each leads to the section of the entry; the most asked come first."""
    html = clinic.html("clinic/index")
    top, errors, traps = re.split(r"<h2>", html)[1:]
    assert links(top) == [entry.id for entry in CATALOGUE.entries if entry.top]
    listed = links(errors) + links(traps)
    assert listed == [entry.id for entry in CATALOGUE.entries]
    for group in CATALOGUE.groups:
        path = group.path.removeprefix("clinic/")
        found = re.search(rf'<strong><a [^>]*href="{path}">(.*?)</a></strong>', html)
        assert found
        assert text_of(found[1]) == group.title


def test_only_the_front_pages_load_the_search(clinic):
    """The catalogue comes as a script: a page that is opened from a disk may not fetch."""
    scripts = re.findall(r"<script defer=\"defer\" src=\"([^\"?]+)", clinic.html("clinic/index"))
    assert [one.rpartition("/")[2] for one in scripts] == [
        "clinic-catalogue.js",
        "clinic-search.js",
    ]
    assert "clinic-search.js" in clinic.html("index")
    assert "clinic-catalogue.js" not in clinic.html("index")  # it is fetched when it is asked for
    assert "clinic-search.js" not in clinic.html("entry")
    assert "clinic-catalogue.js" not in clinic.html("clinic/errors/backward")


def test_the_script_holds_the_whole_catalogue(clinic):
    """Nothing else defines an entry."""
    static = clinic.folder / "site" / "html" / "_static"
    script = (static / "clinic-catalogue.js").read_text("utf-8")
    found = re.fullmatch(r"const gradbookCatalogue = (.*);\n", script)
    assert found
    assert json.loads(found[1]) == json.loads(to_json())


def test_a_wrong_name_fails_the_build(make_site):
    """It is named by page and line."""
    site = make_site(SETTINGS, wrong=WRONG)
    build = site.build()
    assert build.code == 1
    for line, what in (
        (":::{why} no-such-entry", "why 'no-such-entry'"),
        (":::{variant} E07z", "variant 'E07z'"),
        (":::{clinic-index} somewhere", "clinic-index 'somewhere'"),
    ):
        number = site.line("wrong", line)
        assert f"wrong.md:{number}: ERROR: the catalogue has no {what}" in build.log


def test_other_formats_have_no_search(make_site):
    """Plain text has the entry, and no script."""
    site = make_site(SETTINGS, plain="# Plain\n\n:::{why} device-mismatch\n:::\n")
    build = site.build("-b", "text")
    assert build.code == 0, build.log
    assert not (site.folder / "site" / "html" / "_static").exists()
