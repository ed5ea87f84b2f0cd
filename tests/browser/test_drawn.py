"""The picture of its idea at the top of a page, where it is read: at a desk and on a phone."""

import pytest
from conftest import DESK, PHONE, SITE

SMALLEST = 11  # pixels of letters
STEPS = [
    f"learn/{path.name}" for path in sorted((SITE / "learn").glob("*.html")) if path.stem != "index"
]
DRAWN = """() => {
  const box = document.querySelector("article .picture");
  const size = text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a;
  const outside = [...box.querySelectorAll("text")].filter(text => {
    const [own, panel] = [text, text.ownerSVGElement].map(one => one.getBoundingClientRect());
    return own.left < panel.left - 1 || own.right > panel.right + 1;
  });
  return {
    bottom: box.getBoundingClientRect().bottom + scrollY,
    letters: Math.min(...[...box.querySelectorAll("text")].map(size)),
    outside: outside.map(text => text.textContent),
  };
}"""


@pytest.mark.parametrize("name", STEPS)
def test_a_learn_page_shows_its_idea_in_its_first_screen(open_page, name):
    """Whole, at 1280 by 800."""
    assert open_page(name, DESK).evaluate(DRAWN)["bottom"] <= 800


@pytest.mark.parametrize("name", STEPS)
def test_a_picture_is_read_on_a_phone(open_page, name):
    """Its letters are not made smaller, and none leaves its panel."""
    drawn = open_page(name, PHONE).evaluate(DRAWN)
    assert drawn["letters"] >= SMALLEST
    assert drawn["outside"] == []
