"""Tests of publishing/languages.py: a tiny site in two languages, one of them half translated."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from reading import clinic, exercises
from sites import DOCS, Site, mark
from translated import Page, broken, read

SETTINGS = f"""
extensions = ["myst_nb", "execution.notebooks", "publishing.announcing", "publishing.hosting",
              "publishing.languages", "publishing.plain_text", "publishing.search",
              "reading.translation"]
html_theme = "furo"
html_baseurl = "https://example.org/book/"
html_context = {{"torch_version": "9.8.7"}}
html_static_path = [{str(DOCS / "_static")!r}]
html_css_files = ["gradbook.css"]
html_js_files = [("gradbook.js", {{"defer": "defer"}})]
templates_path = [{str(DOCS / "_templates")!r}]
"""
LEAF = f"""
# A leaf

Said in both.

## A part

Said in English.

## Another part

Back to [](folder/twig.md#of-a-twig).

:::{{only-in}} zh_TW
Only said in Chinese.
:::

```{{toctree}}
folder/twig
```

{mark("leaf")}
"""
CHANGES = "# Changes\n\n## 2026-01-02: The first\n\nIt begins.\n"
HEAD = """
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

"""
TWIG = """
msgid "Of a twig"
msgstr "細枝的事"

msgid "The end"
msgstr "結尾"
"""
DATED = """
msgid "2026-01-02: The first"
msgstr "2026-01-02\uff1a第一個"
"""
MESSAGES = """
msgid "A leaf"
msgstr "葉節點"

msgid "Said in both."
msgstr "兩種語言都有。"

msgid "Only said in Chinese."
msgstr "只用中文說。"

msgid "A part"
msgstr "一節"
"""
CHINESE = "zh-Hant-TW"


@dataclass
class Both:
    """Folders of the site, and what is read from its pages."""

    folder: Path
    runs: list[str]

    def html(self, name: str) -> str:
        """A page of the site."""
        return (self.folder / name).read_text("utf-8")

    def pages(self) -> dict[Path, Page]:
        """All pages, of both languages, by their files."""
        return {path.resolve(): read(path) for path in self.folder.rglob("*.html")}


@pytest.fixture(scope="module")
def site(make_site) -> Both:
    """Built in English, then in Chinese within it, as `nox -s docs` does."""
    tiny: Site = make_site(SETTINGS, leaf=LEAF)
    docs = tiny.folder / "docs"
    for name in ("folder", "about", "locale/zh_TW/LC_MESSAGES"):
        (docs / name).mkdir(parents=True)
    tiny.write("folder/twig", "# A twig\n\n## Of a twig\n\n## The end\n")
    tiny.write("about/changes", CHANGES)
    index = (docs / "index.md").read_text("utf-8").replace("leaf\n", "leaf\nabout/changes\n")
    (docs / "index.md").write_text(index, encoding="utf-8")
    for name, text in (("leaf", MESSAGES), ("folder/twig", TWIG), ("about/changes", DATED)):
        path = docs / "locale/zh_TW/LC_MESSAGES" / f"{name}.po"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + text, encoding="utf-8")
    folder = tiny.folder / "site" / "html"
    for language, place in (("en", folder), ("zh_TW", folder / "zh-tw")):
        trees = tiny.folder / f"trees-{language}"
        options = ("-q", "-d", str(trees), "-D", f"language={language}")
        done = subprocess.run(
            [*tiny.command(*options)[:-1], str(place)],
            env=tiny.environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return Both(folder, tiny.runs())


def test_cells_run_once(site):
    """The second build takes their outputs from the cache."""
    assert site.runs == ["leaf"]


def test_a_page_says_its_language(site):
    """With the script, by which browsers choose letters."""
    assert '<html class="no-js" lang="en"' in site.html("leaf.html")
    assert f'<html class="no-js" lang="{CHINESE}"' in site.html("zh-tw/leaf.html")


def test_a_text_without_a_translation_is_marked_as_english(site):
    """It stands there until somebody translates it; one with a translation has no mark."""
    html = site.html("zh-tw/leaf.html")
    assert "<p>兩種語言都有。</p>" in html
    assert '<p class="untranslated" lang="en">Said in English.</p>' in html
    twig = site.html("zh-tw/folder/twig.html")
    assert '<h1 class="untranslated" lang="en">A twig' in twig
    assert "untranslated" not in site.html("leaf.html").partition("<article")[2]


def test_what_is_empty_stays_empty(monkeypatch):
    """As a message, it would be the head of a file of translations."""
    monkeypatch.setattr(clinic, "get_translation", lambda domain: lambda text: text or "a head")
    assert clinic._text("") == ""
    rule = {"kind": "word", "right": "", "mistakes": [["yes", ""]]}
    assert exercises.translated(rule, lambda text: text or "a head") == rule


def test_a_text_for_one_language_is_in_no_other(site):
    """Translators find it in English."""
    assert "<p>只用中文說。</p>" in site.html("zh-tw/leaf.html")
    assert "Only said" not in site.html("leaf.html")


@pytest.mark.parametrize("name", ["index.html", "folder/twig.html", "search.html", "404.html"])
def test_pages_name_each_other(site, name):
    """In full addresses, the same in both languages; English is for readers of any other."""
    base = "https://example.org/book/"
    expected = [("en", base + name), (CHINESE, f"{base}zh-tw/{name}"), ("x-default", base + name)]
    for folder in ("", "zh-tw/"):
        html = site.html(folder + name)
        found = re.findall(r'<link rel="alternate" hreflang="([^"]+)" href="([^"]+)">', html)
        assert found == expected
        assert name == "404.html" or f'rel="canonical" href="{base}{folder}{name}"' in html


def test_the_switch_leads_to_the_same_page(site):
    """On every page, also on those that no file of the sources stands behind."""
    pages = site.pages()
    assert len(pages) == 14
    assert broken(pages, site.folder.resolve()) == []
    for path in pages:
        (found,) = re.findall(
            r'class="switch-language" [^>]*href="([^"]+)"', path.read_text("utf-8")
        )
        name = path.relative_to(site.folder.resolve())
        there = Path(str(name).removeprefix("zh-tw/"))
        if name == there:
            there = Path("zh-tw", name)
        if name.name == "404.html":
            assert found == f"/book/{there}"
        else:
            assert (path.parent / found).resolve() == site.folder.resolve() / there


def test_a_link_to_a_translated_heading_says_it(site):
    """Not only to the last one of its page, which is all that MyST-Parser would know."""
    link = 'href="folder/twig.html#of-a-twig"><span class="std std-ref">{}</span>'
    assert link.format("Of a twig") in site.html("leaf.html")
    assert link.format("細枝的事") in site.html("zh-tw/leaf.html")


def test_a_section_leads_to_itself(site):
    """For a reader without JavaScript; places have one name in all languages."""
    link = '<a class="other-language" hreflang="{}" lang="{}" href="{}#a-part">'
    page = site.html("leaf.html")
    assert link.format(CHINESE, CHINESE, "zh-tw/leaf.html") in page
    page = site.html("zh-tw/leaf.html")
    assert link.format("en", "en", "../leaf.html") in page
    assert '<section id="a-part">' in page


def test_each_language_has_its_lists(site):
    """Pages with their alternates, changes, texts; robots ask at the root for both lists."""
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    for folder in ("", "zh-tw/"):
        listed = ET.parse(site.folder / folder / "sitemap.xml")
        addresses = [one.text for one in listed.iter(f"{space}loc")]
        assert f"https://example.org/book/{folder}folder/twig.html" in addresses
        assert len(addresses) == 4
        alternates = list(listed.iter("{http://www.w3.org/1999/xhtml}link"))
        assert len(alternates) == 3 * 4
        feed = ET.parse(site.folder / folder / "changes.xml").getroot()
        tag = feed.get("{http://www.w3.org/XML/1998/namespace}lang")
        assert tag == (CHINESE if folder else "en")
        titles = [one.text for one in feed.iter("{http://www.w3.org/2005/Atom}title")]
        assert titles[1] == ("第一個" if folder else "The first")
        texts = (site.folder / folder / "llms.txt").read_text("utf-8")
        assert f"(https://example.org/book/{folder}leaf.md)" in texts
        assert f"https://example.org/book/{'' if folder else 'zh-tw/'}llms.txt" in texts
    robots = (site.folder / "robots.txt").read_text("utf-8")
    for folder in ("", "zh-tw/"):
        assert f"\nSitemap: https://example.org/book/{folder}sitemap.xml\n" in robots
    assert not (site.folder / "zh-tw" / "robots.txt").exists()


def test_nothing_but_the_site_lies_in_its_folder(site):
    """What a build keeps beside the folder of a site would here be published."""
    folders = {path.name for path in site.folder.iterdir() if path.is_dir()}
    assert folders == {"_sources", "_static", "about", "folder", "zh-tw"}
