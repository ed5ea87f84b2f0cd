"""The folder that is published: what stands there beside the pages, and that it fits together."""

import gzip
import re
import unicodedata
from html import unescape
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
from conftest import ALL, PAGES, SITE

from translated import read

FRONT = (SITE / "index.html").read_text("utf-8")
BASE = re.search(r'<link rel="canonical" href="([^"]+)index\.html">', FRONT)[1]
NO_DOCUMENTS = {"404.html", "genindex.html", "py-modindex.html", "search.html"}
DOCUMENTS = [name for name in PAGES if name not in NO_DOCUMENTS]
FOLDERS = ["", "zh-tw/"]


def exists(address):
    """Whether the site has the page and the place of a full address."""
    assert address.startswith(BASE), address
    name, _, place = address.removeprefix(BASE).partition("#")
    path = SITE / name
    return path.is_file() and (not place or f'id="{place}"' in path.read_text("utf-8"))


def test_nothing_of_the_build_is_published():
    """Neither what Sphinx remembers, nor notebooks, nor reports of failures."""
    folders = {path.name for path in SITE.rglob("*") if path.is_dir()}
    assert folders & {".doctrees", "doctrees", "jupyter_execute", "ipython", "reports"} == set()
    assert list(SITE.rglob("*.pickle")) == []


def test_no_path_of_a_machine_is_published():
    """In no text of the site stands the folder that it was built in."""
    kinds = ("*.html", "*.md", "*.txt", "*.xml", "places.js")
    inside = str(SITE.resolve().parents[2])
    texts = [path for kind in kinds for path in SITE.rglob(kind)]
    assert len(texts) > len(ALL)
    assert [path for path in texts if inside in path.read_text("utf-8")] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_sitemap_lists_every_document(folder):
    """And nothing that is not there; each with itself in all languages."""
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}loc"
    tree = ET.parse(SITE / folder / "sitemap.xml")
    listed = sorted(one.text for one in tree.iter(space))
    assert listed == sorted(BASE + folder + name for name in DOCUMENTS)
    others = [one.get("href") for one in tree.iter("{http://www.w3.org/1999/xhtml}link")]
    assert len(others) == 3 * len(DOCUMENTS)
    assert [address for address in others if not exists(address)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_change_of_the_feed_has_its_place(folder):
    """Addresses of the feed lead to headings of the page of changes."""
    space = "{http://www.w3.org/2005/Atom}"
    feed = ET.parse(SITE / folder / "changes.xml")
    links = [one.get("href") for one in feed.iter(f"{space}link")]
    assert len(links) > 2
    assert [link for link in links if not exists(link)] == []


@pytest.mark.parametrize(("folder", "least"), [("", 40), ("zh-tw/", 12)])
def test_the_list_of_texts_leads_to_texts(folder, least):
    """Each document but the front page has a line, a description and a file."""
    lines = (SITE / folder / "llms.txt").read_text("utf-8").splitlines()
    line = re.compile(rf"- \[.+?\]\((\S+)\): .{{{least},}}")
    found = [line.fullmatch(one) for one in lines if one[:1] == "-"]
    assert all(found)
    assert len(found) == len(DOCUMENTS) - 1
    assert [one[1] for one in found if not exists(one[1])] == []


@pytest.mark.parametrize("name", [folder + name for folder in FOLDERS for name in DOCUMENTS])
def test_a_link_to_a_document_shows_what_it_is(name):
    """Canonical address, title, description, and a card that exists."""
    html = (SITE / name).read_text("utf-8")
    tags = dict(re.findall(r'<meta property="([^"]+)" content="([^"]*)" />', html))
    assert f'<link rel="canonical" href="{BASE}{name}">' in html
    assert tags["og:url"] == BASE + name
    assert len(tags["og:description"]) >= (12 if name.startswith("zh-tw/") else 40)
    assert exists(tags["og:image"])


@pytest.mark.parametrize("page", ["404.html", "zh-tw/404.html"])
def test_links_of_the_404_page_lead_somewhere(page):
    """They begin at the root of the host."""
    html = (SITE / page).read_text("utf-8")
    folder = urlsplit(BASE).path
    links = [one for one in re.findall(r'(?:href|src)="([^"#][^"]*)"', html) if "://" not in one]
    assert len(links) > 20
    assert [link for link in links if not link.startswith(folder)] == []
    missing = [one for one in links if not (SITE / one.removeprefix(folder).split("?")[0]).exists()]
    assert missing == []


def test_every_page_says_which_versions_made_it():
    """In its footer."""
    for name in PAGES:
        html = (SITE / name).read_text("utf-8")
        assert re.search(r"Gradbook [\d.]+, computed with torch [\d.]+\.", html), name


def test_no_page_has_the_colours_of_a_terminal():
    """Their rules are left out of the style sheets."""
    coloured = re.compile(r'class="[^"]*-Color-')
    assert [name for name in ALL if coloured.search((SITE / name).read_text("utf-8"))] == []


def test_formulas_use_the_first_file_of_their_font_alone():
    """A letter that stands alone is slanted, and is asked for upright, too."""
    style = (SITE / "_static" / "gradbook.css").read_text("utf-8")
    second = set()
    for one in re.search(r"unicode-range:([^;}]+)", style)[1].split(","):
        first, _, last = one.strip().removeprefix("U+").partition("-")
        second |= set(range(int(first, 16), int(last or first, 16) + 1))
    italic = [one for one in map(chr, second) if "ITALIC" in unicodedata.name(one, "")]
    slanted = {chr(int(unicodedata.decomposition(one).split()[1], 16)): one for one in italic}
    used = set()
    for name in ALL:
        for formula in re.findall(r"<math.*?</math>", (SITE / name).read_text("utf-8"), re.DOTALL):
            used |= set(unescape(re.sub(r"<[^>]*>", "", formula)))
            used |= {
                slanted[one] for one in re.findall(r"<mi>([^<])</mi>", formula) if one in slanted
            }
    assert len(used) > 60
    assert [one for one in sorted(used) if ord(one) in second] == []


def test_the_languages_have_the_same_pages():
    """Each page in English has its like in Chinese."""
    assert [name for name in ALL if name.startswith("zh-tw/")] == [f"zh-tw/{one}" for one in PAGES]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_in_chinese_is_as_light_and_asks_no_other_host(name):
    """Of all pages, also those that no browser visits: beside English, no foreign file."""
    english, chinese = ((SITE / folder / name).read_bytes() for folder in FOLDERS)
    assert len(gzip.compress(chinese)) <= 1.15 * len(gzip.compress(english)) + 2000
    fetched = re.findall(r"<(?:script|img|link|iframe)\b[^>]*>", chinese.decode())
    loads = [tag for tag in fetched if re.search(r'(?:src|href)="(?:https?:)?//', tag)]
    assert [tag for tag in loads if not re.search(r'rel="(?:canonical|alternate)"', tag)] == []


@pytest.mark.parametrize("name", PAGES)
def test_links_and_code_are_the_same_in_chinese(name):
    """Where links lead, cells and what they printed; but for terms, which stand in other words."""
    if name == "genindex.html":  # it has letters of its own
        return
    english, chinese = (read(SITE / folder / name) for folder in FOLDERS)
    assert chinese.code == english.code
    root = urlsplit(BASE).path  # of the 404 page
    there = {re.sub(f"^{root}zh-tw/", root, one) for one in chinese.links}
    # One copy of the site to take away has both languages.
    there = {one.replace("../gradbook-offline.zip", "gradbook-offline.zip") for one in there}
    assert [one for one in there ^ set(english.links) if "glossary.html#term-" not in one] == []
