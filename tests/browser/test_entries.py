"""The pages of the Clinic's entries, in a real browser."""

import pytest
from conftest import DESK, ENTRIES, PAGES, PHONE, SIDEWAYS

from gradbook.understand.catalogue import load

PAGE = "clinic/errors/no-graph.html"
TOP = [entry.path for entry in load().entries if entry.top]
BOTTOM = "e => e.getBoundingClientRect().bottom"
TOPS = """() => [...document.querySelector(".entry-sides").children]
  .map(side => side.getBoundingClientRect())
  .map(({left, top}) => [Math.round(left), Math.round(top)])"""
CUT = "e => [...e.querySelectorAll('pre')].some(one => one.scrollWidth > one.clientWidth)"


def test_every_entry_has_a_page():
    """At the address that the catalogue gives it, and explain() prints."""
    assert set(ENTRIES) <= set(PAGES)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_cure_stands_in_the_first_screen(open_page, width):
    """Of each message that is met most; 740 points of a phone, 800 of a desk."""
    page = open_page(TOP[0], width)
    page.set_viewport_size({"width": width, "height": 740 if width == PHONE else 800})
    address = page.url.removesuffix(TOP[0])
    below = {}
    for path in TOP:
        page.goto(address + path)
        first = page.locator(".entry-cures :is(p, li)").filter(has_text=" ").first
        if (bottom := first.evaluate(BOTTOM)) > page.viewport_size["height"]:
            below[path] = bottom
    assert below == {}


def test_what_raises_stands_beside_what_works(open_page):
    """At a desk; on the phone above it. No code is cut, and the page does not slide."""
    for width, beside in ((DESK, True), (PHONE, False)):
        page = open_page(PAGE, width)
        (left, top), (other_left, other_top) = page.evaluate(TOPS)
        assert (top == other_top) is beside
        assert (left == other_left) is not beside
        assert page.evaluate(SIDEWAYS) == 0
        assert not page.locator(".entry-sides").first.evaluate(CUT)


@pytest.mark.parametrize("name", ["index.html", "clinic/errors/modified-in-place.html"])
def test_a_wide_page_takes_the_room_that_there_is(open_page, name):
    """Where contents come to stand beside other pages, it is narrower than it may be."""
    page = open_page(name, 1320)
    assert page.evaluate(SIDEWAYS) == 0


def test_the_lines_that_differ_are_told_by_more_than_colour(open_page):
    """A bar stands before each; the sides have names."""
    page = open_page(PAGE)
    for side, name in (("raises", "Raises"), ("works", "Works")):
        assert page.locator(f".entry-{side} > .entry-label").first.inner_text().endswith(name)
        marked = page.locator(f".entry-{side} .hll").first
        width = marked.evaluate("e => getComputedStyle(e).borderInlineStartWidth")
        assert float(width.removesuffix("px")) >= 3


def test_what_is_marked_is_copied_as_it_is(open_page):
    """No mark comes into the text."""
    page = open_page(PAGE)
    code = page.locator(".entry-works pre").first.evaluate("e => e.textContent")
    assert code.startswith(
        "weight = torch.ones(3, requires_grad=True)\nloss = (weight * 2).sum()\n"
    )


def test_an_old_address_leads_on(open_page):
    """By the name of the entry, or by that of its heading; with a script at once."""
    for anchor in ("no-graph", "backward-on-a-loss-that-has-no-graph"):
        page = open_page(f"clinic/errors/backward.html#{anchor}")
        page.wait_for_url("**/clinic/errors/no-graph.html")


def test_without_a_script_an_old_address_shows_the_link(open_page):
    """The item of the list is in sight."""
    page = open_page("clinic/errors/backward.html#input-unused", java_script_enabled=False)
    link = page.locator("#input-unused a")
    assert 0 <= link.bounding_box()["y"] < 800
    link.click()
    page.wait_for_url("**/clinic/errors/input-unused.html")


def test_unknown_and_broken_anchors_do_nothing(open_page):
    """The list stays."""
    for anchor in ("no-such-entry", "%E0%A4%A", "furo-main-content"):
        page = open_page(f"clinic/errors/backward.html#{anchor}")
        page.wait_for_timeout(100)
        assert page.url.endswith(f"#{anchor}")


def test_older_wordings_are_folded(open_page):
    """And so is what the code needs; both open."""
    page = open_page(PAGE)
    for words in ("Also worded", "What this code needs"):
        fold = page.locator("details.entry-fold").filter(has_text=words)
        assert not fold.evaluate("e => e.open")
        fold.locator("summary").click()
        assert fold.evaluate("e => e.open")


def test_an_entry_is_printed_whole(open_page):
    """Both sides, one below the other or beside; nothing of the side bar."""
    page = open_page(PAGE)
    page.emulate_media(media="print")
    for name in (".entry-message", ".entry-raises", ".entry-works"):
        assert page.locator(name).first.is_visible()
    assert not page.locator(".sidebar-drawer").is_visible()
    assert page.pdf()[:5] == b"%PDF-"
