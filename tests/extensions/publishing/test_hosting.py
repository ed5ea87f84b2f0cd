"""Tests of publishing/hosting.py: the page for a wrong address, redirects, edit links."""

import re
from html import unescape
from urllib.parse import parse_qs

import pytest
import yaml

from sites import DOCS

SETTINGS = f"""
extensions = ["myst_nb", "execution.notebooks", "publishing.hosting"]
html_theme = "furo"
html_baseurl = "https://example.org/book/"
redirects = {{"old/name": "../leaf.html"}}
templates_path = [{str(DOCS / "_templates")!r}]
html_context = {{"torch_version": "9.8.7"}}
"""


def build(make_site, settings, leaf="", **variables):
    """A site with the pages that the page for a wrong address leads to; `leaf`: its messages."""
    site = make_site(settings, leaf="# Leaf\n", search="# Search\n")
    (site.folder / "docs" / "clinic").mkdir()
    site.write("clinic/index", "# Clinic\n")
    index = site.folder / "docs" / "index.md"
    text = index.read_text("utf-8").replace("leaf\n", "leaf\nclinic/index\n")
    index.write_text(text, encoding="utf-8")
    if leaf:
        messages = site.folder / "docs" / "locale" / "zh_TW" / "LC_MESSAGES" / "leaf.po"
        messages.parent.mkdir(parents=True)
        messages.write_text(leaf, encoding="utf-8")
    done = site.build(**variables)
    assert done.code == 0, done.log
    return site


@pytest.fixture(scope="module")
def site(make_site):
    """A site below a folder of its host, built as a workflow that names its sources does."""
    return build(make_site, SETTINGS, GRADBOOK_REPOSITORY="https://github.com/an/owner.git")


def test_all_links_of_the_404_page_begin_at_the_root(site):
    """It is shown at addresses of any depth, and the site lies below a folder."""
    html = site.html("404")
    links = [one for one in re.findall(r'\b(?:href|src)="([^"#][^"]*)"', html) if "://" not in one]
    assert len(links) > 5
    assert [link for link in links if not link.startswith("/book/")] == []
    assert '<a href="/book/clinic/index.html">' in html


def test_a_moved_page_leads_to_its_new_place(site):
    """For browsers with and without JavaScript, and for search engines."""
    html = site.html("old/name")
    assert '<meta http-equiv="refresh" content="0; url=../leaf.html">' in html
    assert '<link rel="canonical" href="../leaf.html">' in html
    assert 'location.replace("../leaf.html" + location.hash)' in html
    assert '<html lang="en">' in html


def test_pages_can_be_edited_where_their_sources_are(site):
    """The page for a wrong address has no source."""
    assert 'href="https://github.com/an/owner/edit/main/docs/leaf.md"' in site.html("leaf")
    assert "/edit/main" not in site.html("404")


def test_a_translated_page_is_edited_where_its_translation_is(make_site):
    """Its source is the English page; one without a file of messages is edited there, too."""
    settings = SETTINGS + 'language = "zh_TW"\nlocale_dirs = ["locale"]\n'
    head = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n'
    site = build(make_site, settings, leaf=head, GRADBOOK_REPOSITORY="https://github.com/an/owner")
    docs = "https://github.com/an/owner/{}/main/docs/{}"
    edited = docs.format("edit", "locale/zh_TW/LC_MESSAGES/leaf.po")
    assert f'href="{edited}"' in site.html("leaf")
    assert f'href="{docs.format("blob", "leaf.md")}"' in site.html("leaf")
    assert f'href="{docs.format("edit", "clinic/index.md")}"' in site.html("clinic/index")


def test_pages_lead_to_their_source_and_to_the_form_for_a_problem(site):
    """The form knows the page; on the front page of the Clinic it asks for the message."""
    html = unescape(site.html("leaf"))
    assert 'href="https://github.com/an/owner/blob/main/docs/leaf.md"' in html
    (asked,) = re.findall(r'href="https://github.com/an/owner/issues/new\?([^"]+)"', html)
    page = "https://example.org/book/leaf.html"
    assert parse_qs(asked) == {"template": ["claim.yml"], "place": [page]}
    assert "issues/new?template=message.yml" in site.html("clinic/index")
    assert "issues/new" not in site.html("404")


def test_the_forms_have_the_fields_that_are_filled():
    """GitHub fills a field by its id, and passes over one that it does not find."""
    forms = DOCS.parent / ".github" / "ISSUE_TEMPLATE"
    claim = yaml.safe_load((forms / "claim.yml").read_text("utf-8"))
    assert "place" in [field["id"] for field in claim["body"]]
    assert (forms / "message.yml").exists()


@pytest.mark.parametrize(
    ("host", "source", "report"),
    [
        ("https://gitlab.com/a/b", "/-/blob/main/docs/leaf.md", "/-/issues/new?issue%5Btitle%5D="),
        ("https://bitbucket.org/a/b", "/src/main/docs/leaf.md", "/issues/new"),
    ],
)
def test_other_hosts_have_addresses_of_their_own(make_site, host, source, report):
    """For both links."""
    html = build(make_site, SETTINGS, GRADBOOK_REPOSITORY=host).html("leaf")
    assert f'href="{host}{source}"' in html
    assert f'href="{host}{report}' in html


def test_the_footer_says_which_versions_these_are(site):
    """That of the book, and the torch that computed the outputs."""
    assert re.search(r"Gradbook [\d.]+, computed with torch 9\.8\.7\.", site.html("leaf"))


def test_without_an_address_of_the_sources_there_is_no_link(make_site):
    """A link that leads nowhere is worse than none."""
    site = build(make_site, SETTINGS.replace("book/", ""), GRADBOOK_REPOSITORY="")
    assert "edit-this-page" not in site.html("leaf")
    assert "about-page" not in site.html("leaf")
    assert '<a href="/clinic/index.html">' in site.html("404")
