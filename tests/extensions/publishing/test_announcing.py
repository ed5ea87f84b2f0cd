"""Tests of publishing/announcing.py: the list of pages and the feed of changes."""

from xml.etree import ElementTree as ET

import pytest

ATOM, MAP = (
    "{http://www.w3.org/2005/Atom}",
    "{http://www.sitemaps.org/schemas/sitemap/0.9}",
)
SETTINGS = """
extensions = ["myst_nb", "execution.notebooks", "publishing.announcing"]
html_baseurl = "https://example.org/book/"
"""
CHANGES = """
# Changes

## 2026-02-03: The second

- One & two.
- Three.

## 2026-01-02: The first

It begins.
"""


def build(make_site, text):
    """A site with the page of changes."""
    site = make_site(SETTINGS, **{"leaf": "# Leaf\n"})
    (site.folder / "docs" / "about").mkdir()
    site.write("about/changes", text)
    index = site.folder / "docs" / "index.md"
    index.write_text(index.read_text("utf-8").replace("leaf\n", "leaf\nabout/changes\n"), "utf-8")
    return site, site.build()


@pytest.fixture(scope="module")
def site(make_site):
    """Built from nothing, then again after an edit of one page."""
    site, done = build(make_site, CHANGES)
    assert done.code == 0, done.log
    site.write("leaf", "# Leaf, edited\n")
    assert site.build().code == 0
    return site


def read(site, name):
    """A file of the site, as XML."""
    return ET.parse(site.folder / "site" / "html" / name).getroot()


def test_the_sitemap_has_every_page(site):
    """After a build that wrote one page only, too."""
    addresses = [one.text for one in read(site, "sitemap.xml").iter(f"{MAP}loc")]
    base = "https://example.org/book/"
    assert addresses == [base + name for name in ("about/changes.html", "index.html", "leaf.html")]


def test_robots_are_told_of_it(site):
    """With its full address."""
    text = (site.folder / "site" / "html" / "robots.txt").read_text("utf-8")
    assert "Sitemap: https://example.org/book/sitemap.xml\n" in text
    assert "Disallow" not in text


def test_the_feed_has_an_entry_for_each_change(site):
    """The newest first, with day, text and address; the feed has the day of the newest."""
    feed = read(site, "changes.xml")
    assert feed.findtext(f"{ATOM}title") == "Gradbook: Changes"
    assert feed.findtext(f"{ATOM}updated") == "2026-02-03T00:00:00Z"
    first, second = feed.findall(f"{ATOM}entry")
    assert first.findtext(f"{ATOM}title") == "The second"
    assert first.findtext(f"{ATOM}summary") == "One & two.\nThree."
    assert first.find(f"{ATOM}link").get("href").endswith("about/changes.html#the-second")
    assert 'id="the-second"' in site.html("about/changes")
    assert second.findtext(f"{ATOM}updated") == "2026-01-02T00:00:00Z"


def test_a_heading_without_a_date_is_an_error(make_site):
    """It would have no place in the feed."""
    site, done = build(make_site, CHANGES + "\n## 2026-13-01: No such day\n")
    assert done.code == 1
    line = site.line("about/changes", "## 2026-13-01: No such day")
    assert f"changes.md:{line}: WARNING: a heading of this page must be a date" in done.log
