"""Tests of publishing/sharing.py: tags for programs that show links, and their cards."""

import io
import re

import pytest
from PIL import Image

from publishing import sharing

PAGE = """
# `backward()` & more

Text that is not the description.
"""
SETTINGS = """
extensions = ["myst_nb", "execution.notebooks", "publishing.sharing"]
html_baseurl = "https://example.org/book/"
myst_html_meta = {"description": 'Says "what" it is.'}
"""


def tags(html):
    """Content of the tags, by name."""
    found = re.findall(r'<meta (?:property|name)="([^"]+)" content="([^"]*)" />', html)
    return dict(found)


def png(image):
    """The bytes of a card."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


@pytest.fixture(scope="module")
def site(make_site):
    """Two pages, one with a title that the font cannot draw."""
    site = make_site(SETTINGS, leaf=PAGE, han="# 自動微分\n")
    build = site.build()
    assert build.code == 0, build.log
    return site


def test_a_page_is_shared_by_its_own_description(site):
    """Title without mark-up, full addresses, and what the card says for who does not see it."""
    found = tags(site.html("leaf"))
    assert found["og:title"] == "backward() &amp; more"
    assert found["og:description"] == "Says &quot;what&quot; it is."
    assert found["og:url"] == "https://example.org/book/leaf.html"
    assert found["og:image"] == "https://example.org/book/_static/cards/leaf.png"
    assert found["og:image:alt"].startswith("backward() &amp; more: Says")
    assert found["twitter:card"] == "summary_large_image"
    assert tags(site.html("index"))["og:type"] == "website"


def test_the_card_has_the_size_that_is_asked_for(site):
    """And weighs little."""
    path = site.folder / "site" / "html" / "_static" / "cards" / "leaf.png"
    with Image.open(path) as card:
        assert card.size == (1200, 630)
    assert path.stat().st_size < 25_000


def test_a_title_in_letters_that_the_font_lacks_has_no_card(site):
    """A card of empty boxes is worse than none."""
    assert "og:image" not in tags(site.html("han"))
    assert not (site.folder / "site" / "html" / "_static" / "cards" / "han.png").exists()


def test_a_card_is_the_same_every_time():
    """Byte for byte; another text gives another card."""
    one, same, other = (sharing.draw_card(t, "d", "Gradbook") for t in ("a", "a", "b"))
    assert png(one) == png(same) != png(other)


def test_long_texts_are_cut():
    """They stay off the name of the site, and off the edge."""
    area = (0, 470, 800, 630)

    def dark(title, description):
        card = sharing.draw_card(title, description, "Gradbook").convert("L")
        return card.point(lambda value: 255 * (value < 200))

    long, short = dark("word " * 60, "word " * 200), dark("", "")
    assert long.crop(area).getbbox() == short.crop(area).getbbox()
    assert long.getbbox()[2] <= 1200 - 60
