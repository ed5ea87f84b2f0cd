"""The folder that is published: what stands there beside the pages, and that it fits together."""

import re
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
from conftest import PAGES, SITE

FRONT = (SITE / "index.html").read_text("utf-8")
BASE = re.search(r'<link rel="canonical" href="([^"]+)index\.html">', FRONT)[1]
NO_DOCUMENTS = {"404.html", "genindex.html", "py-modindex.html", "search.html"}
DOCUMENTS = [name for name in PAGES if name not in NO_DOCUMENTS]


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
    assert len(texts) > len(PAGES)
    assert [path for path in texts if inside in path.read_text("utf-8")] == []


def test_the_sitemap_lists_every_document():
    """And nothing that is not there."""
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}loc"
    listed = [one.text for one in ET.parse(SITE / "sitemap.xml").iter(space)]
    assert listed == sorted(BASE + name for name in DOCUMENTS)


def test_every_change_of_the_feed_has_its_place():
    """Addresses of the feed lead to headings of the page of changes."""
    space = "{http://www.w3.org/2005/Atom}"
    links = [one.get("href") for one in ET.parse(SITE / "changes.xml").iter(f"{space}link")]
    assert len(links) > 2
    assert [link for link in links if not exists(link)] == []


def test_the_list_of_texts_leads_to_texts():
    """Each document but the front page has a line, a description and a file."""
    lines = (SITE / "llms.txt").read_text("utf-8").splitlines()
    found = [re.fullmatch(r"- \[.+?\]\((\S+)\): .{40,}", one) for one in lines if one[:1] == "-"]
    assert all(found)
    assert len(found) == len(DOCUMENTS) - 1
    assert [one[1] for one in found if not exists(one[1])] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_link_to_a_document_shows_what_it_is(name):
    """Canonical address, title, description, and a card that exists."""
    html = (SITE / name).read_text("utf-8")
    tags = dict(re.findall(r'<meta property="([^"]+)" content="([^"]*)" />', html))
    assert f'<link rel="canonical" href="{BASE}{name}">' in html
    assert tags["og:url"] == BASE + name
    assert len(tags["og:description"]) >= 40
    assert exists(tags["og:image"])


def test_links_of_the_404_page_lead_somewhere():
    """They begin at the root of the host."""
    html = (SITE / "404.html").read_text("utf-8")
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
