"""The whole site in a language that a program wrote; run by `nox -s pseudo`."""

import os
from pathlib import Path

import pytest

from translated import Page, broken, read, untranslated

SITES = {name: Path(os.environ[f"GRADBOOK_{name}"]).resolve() for name in ("SITE", "PSEUDO_SITE")}
ALL = [str(path.relative_to(SITES["SITE"])) for path in SITES["SITE"].rglob("*.html")]
NAMES = sorted(name for name in ALL if not name.startswith("zh-tw/"))


@pytest.fixture(scope="module")
def translated() -> dict[Path, Page]:
    """All pages of the translated site."""
    return {path: read(path) for path in SITES["PSEUDO_SITE"].rglob("*.html")}


def test_both_sites_have_the_same_pages(translated):
    """No page is lost in translation."""
    site = SITES["PSEUDO_SITE"]
    assert sorted(str(path.relative_to(site)) for path in translated) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_text_is_translated(translated, name):
    """Nothing on the page is left in English but code and names."""
    assert untranslated(translated[SITES["PSEUDO_SITE"] / name]) == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "genindex.html"])
def test_code_and_links_are_the_same(translated, name):
    """Cells, what they printed, and where each link leads; an index has letters of its own.

    Links to terms are made from the words of a page, which are others in another language.
    """
    english = read(SITES["SITE"] / name)
    page = translated[SITES["PSEUDO_SITE"] / name]
    assert page.code == english.code
    ours, theirs = (
        {to: times for to, times in one.links.items() if "glossary.html#term-" not in to}
        for one in (page, english)
    )
    assert ours == theirs


def test_every_link_leads_somewhere(translated):
    """Pages and anchors."""
    assert broken(translated, SITES["PSEUDO_SITE"]) == []
