"""The pictures of the book: what a cell draws, and where pages have one."""

import doctest
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pictures
import pytest
import torch
from pictures import WIDTH, Panel, Picture, number

from execution.figures import inline_svg
from pages import LEARN, PAGES, cells

STYLE = Path(__file__).parents[1] / "docs" / "_static" / "gradbook.css"


def parts(panel: Panel) -> list[ET.Element]:
    """The elements of a panel."""
    return list(ET.fromstring(Picture(panel)._repr_svg_())[0])


def test_examples():
    """Those of the docstrings."""
    assert doctest.testmod(pictures) == doctest.TestResults(failed=0, attempted=1)


def test_a_number_is_short_and_clear():
    """Three digits, a true minus sign, exponents where there are many zeros."""
    assert number(torch.tensor(1 / 3)) == "0.333"
    assert number(2.0e7) == "2.0e+07"
    assert number(1.99619, 4) == "1.996"


def test_a_box_says_where_it_is():
    """So that arrows begin and end at its sides."""
    box = Panel(100).box(50, 40, 60, 20, "x")
    assert (box.left, box.right) == ((20, 40), (80, 40))
    assert (box.top, box.bottom) == ((50, 30), (50, 50))


def test_words_are_translated_and_code_is_not():
    """The translation takes what stands in a text element at once; a part of it is passed over."""
    panel = Panel(100)
    panel.words(0, 10, "memory & more")
    panel.code(0, 20, "x < y")
    words, code = parts(panel)
    assert words.text == "memory & more"
    assert code.text is None
    assert code[0].text == "x < y"


def test_the_head_of_an_arrow_is_at_its_end():
    """A gap before it; bent arrows too."""
    for bend in (0, 10):
        panel = Panel(100)
        panel.arrow((10, 50), (90, 50), bend=bend)
        _, head = parts(panel)
        tip = re.findall(r"[-\d.]+", head.get("d", ""))[2:4]
        assert 84 < float(tip[0]) < 90
        assert abs(float(tip[1]) - 50) <= 2
    assert "C" not in head.get("d", "")


def test_panels_stand_side_by_side_and_become_parts_of_a_page():
    """One drawing in a notebook; on a page a box for each, the first of which bears the text."""
    drawn = Picture(Panel(80, "One"), Panel(100, "Two"))._repr_svg_()
    assert re.findall(r'class="panel" x="(\d+)"', drawn) == ["0", str(WIDTH + 16)]
    html = inline_svg(drawn, 'A "text"', "a")
    box = ET.fromstring(html)
    assert [one.get("role") for one in box] == ["img", None]
    assert [one.get("aria-hidden") for one in box] == [None, "true"]
    assert box[0].get("aria-label") == 'A "text"'
    assert [one.get("height") for one in box] == ["80", "100"]
    assert all(one.get("class") == "figure" for one in box)


@pytest.mark.parametrize("page", LEARN, ids=[path.stem for path in LEARN])
def test_a_learn_page_begins_with_a_picture_of_its_idea(page):
    """Before its first section, from tensors of its own cell."""
    above = page.read_text("utf-8").partition("\n## ")[0]
    assert len(re.findall(r"^Picture\(", above, flags=re.MULTILINE)) == 1


def test_who_draws_is_not_seen():
    """What draws is not installed with the package: no reader has a cell that needs it."""
    for page in PAGES:
        for source, tags in cells(page):
            if re.search(r"\bPicture\(|^from pictures", source, flags=re.MULTILINE):
                assert "remove-input" in tags, page


def test_every_kind_has_looks():
    """What has none would be drawn in black, so it is refused."""
    style = re.sub(r"/\*.*?\*/", "", STYLE.read_text("utf-8"), flags=re.DOTALL)
    looks = set(re.findall(r"\.picture [\w.]*\.([a-z]+)\b", style))
    looks |= set(re.findall(r"\.picture [a-z]*\.([a-z]+)\.[a-z]+\b", style))
    assert looks >= pictures.KINDS - {"node"}  # the shape of a box
    with pytest.raises(ValueError, match=r"no looks for \['gradient'\]"):
        Panel(100).dot(1, 1, "gradient")
