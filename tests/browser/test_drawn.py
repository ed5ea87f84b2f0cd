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


def test_stations_are_walked_through(open_page):
    """By buttons, keys and a click; after the last comes the first, and nothing moves."""
    page = open_page("learn/training-loop.html", PHONE)
    picture = page.locator(".picture.steps")
    before = picture.bounding_box()["height"]
    away = "[...document.querySelectorAll('.picture.steps svg')].map(e => e.matches('.away'))"
    told = picture.locator("output")
    assert page.evaluate(away) == [False] * 4
    following = picture.get_by_role("button", name="Next step")
    following.click()
    assert page.evaluate(away) == [False, True, True, True]
    assert told.inner_text() == "step 1 of 4: zero_grad()"
    following.press("ArrowLeft")
    assert told.inner_text() == "step 4 of 4: step()"
    following.press("ArrowRight")
    assert told.inner_text() == "step 1 of 4: zero_grad()"
    picture.locator("svg").nth(2).click()
    assert told.inner_text() == "step 3 of 4: loss.backward()"
    assert picture.bounding_box()["height"] == before


def test_without_a_script_all_stations_are_there(browser, served):
    """And no room is kept for buttons."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{served}learn/training-loop.html")
    assert page.locator(".picture.steps svg").count() == 4
    assert page.locator(".picture-bar").count() == 0
    context.close()
