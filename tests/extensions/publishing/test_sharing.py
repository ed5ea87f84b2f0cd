"""Tests of publishing/sharing.py: tags for programs that show links, and their cards."""

import io
import re
from itertools import islice

import pytest
from babel.messages.pofile import read_po
from PIL import Image, ImageDraw

from publishing import letters, sharing
from sites import DOCS

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
    """Two pages, one with a title in Chinese."""
    site = make_site(SETTINGS, leaf=PAGE, han="# 梯度與反向傳播\n")
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


def test_a_letter_that_the_font_lacks_is_an_error(make_site, site):
    """A card of empty boxes would be shown to everyone; the font is cut for what the book says."""
    assert tags(site.html("han"))["og:image"].endswith("/han.png")
    done = make_site(SETTINGS, leaf="# 梯度的龘\n").build()
    assert done.code == 1
    assert (
        "leaf.md: WARNING: the card of this page lacks letters: 龘; run nox -s letters" in done.log
    )


@pytest.mark.parametrize("weight", letters.WEIGHTS)
def test_the_font_has_every_letter_of_titles_and_descriptions(weight):
    """They stand first in the translations of a page. Where this fails: nox -s letters."""
    folder = DOCS / "locale" / "zh_TW" / "LC_MESSAGES"
    pages = [path for path in folder.rglob("*.po") if path.stem not in ("catalogue", "sphinx")]
    assert pages
    for path in pages:
        with path.open("rb") as file:
            _head, *first = islice(read_po(file), 3)
        assert letters.missing("".join(one.string for one in first), weight) == "", path


def test_lines_in_chinese_end_between_characters():
    """Without spaces; no line begins with a mark, and none ends with an opening one."""
    font = sharing._chinese_font(36, "Regular")
    draw = ImageDraw.Draw(Image.new("L", (1, 1)))
    text = "梯度「累積」，" * 40
    lines = sharing._wrap(draw, text, font, 99)
    assert "".join(lines) == text
    assert len(lines) > 3
    assert {line[0] for line in lines} & set("，」") == set()
    assert {line[-1] for line in lines} & set("「") == set()
    assert all(900 < draw.textlength(line, font) <= 1040 for line in lines[:-1])


def test_a_card_is_the_same_every_time():
    """Byte for byte; another text gives another card."""
    one, same, other = (sharing.draw_card(t, "d", "Gradbook") for t in ("a", "a", "b"))
    assert png(one) == png(same) != png(other)


def test_long_texts_are_cut():
    """They stay off the name of the site, off the drawing, and off the edge."""
    area, beside_the_drawing = (0, 470, 800, 630), (0, 395, 800, 500)

    def dark(title, description):
        card = sharing.draw_card(title, description, "Gradbook").convert("L")
        return card.point(lambda value: 255 * (value < 200))

    long, short = dark("word " * 60, "word " * 200), dark("", "")
    assert long.crop(area).getbbox() == short.crop(area).getbbox()
    assert long.crop(beside_the_drawing).getbbox() is None
    assert long.getbbox()[2] <= 1200 - 60
