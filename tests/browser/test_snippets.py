"""What is copied from a page runs, and prints what the page prints."""

import re
import subprocess
import sys

import pytest

CLIPBOARD = ["clipboard-read", "clipboard-write"]
PAGES = [
    "index.html",
    "learn/accumulation.html",
    "learn/linear-regression.html",
    "clinic/errors/no-graph.html",
    "howto/clip-gradients.html",
]
# Cells whose whole output is text, and which are not folded: a script prints the same.
PRINTS = """() => [...document.querySelectorAll("article div.cell")]
  .map((cell, n) => [cell, n])
  .filter(([cell]) => !cell.querySelector("details") && cell.querySelector(".cell_output pre"))
  .filter(([cell]) => [...cell.querySelectorAll(".cell_output > *")].every(
    output => output.matches(".stream")))
  .map(([cell, n]) => [n, [...cell.querySelectorAll(".cell_output pre")]
    .map(pre => pre.textContent).join("")])"""
# The line in which a cell failed is another one in a longer program.
LINE = re.compile(r"----> \d+ ")


def open_menu(page, cell):
    """Open the menu of a cell with the mouse; its items."""
    cell.locator("div.cell_input").hover()
    cell.locator("button.copymenu").click()
    menu = cell.locator("[role=menu]")
    menu.wait_for(state="visible")
    return menu.locator("[role=menuitem]")


@pytest.mark.parametrize("name", PAGES)
def test_what_is_copied_runs_and_prints_what_the_page_prints(open_page, tmp_path, name):
    """The last cell of a page that prints, which has most above it."""
    page = open_page(name, permissions=CLIPBOARD)
    number, printed = page.evaluate(PRINTS)[-1]
    cell = page.locator("article div.cell").nth(number)
    items = open_menu(page, cell)
    assert items.count() == 2
    items.nth(1).click()
    page.wait_for_function("document.querySelector('.copied').textContent")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("# http")
    assert copied.rstrip().endswith(cell.locator("div.cell_input pre").text_content().rstrip())
    program = tmp_path / "pasted.py"
    program.write_text(copied, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert LINE.sub("", done.stdout).endswith(LINE.sub("", printed))


def test_the_cheat_sheet_has_a_program_for_each_block(open_page):
    """As told on the sheet a block may have lines that raise; what is copied runs to its end."""
    page = open_page("reference/cheat-sheet.html", permissions=CLIPBOARD)
    blocks = page.locator("article div.tag_program")
    assert blocks.count() == 7
    block = blocks.nth(2)
    block.locator("div.highlight-python").hover()
    block.locator("button.copymenu").click()
    item = block.locator("[role=menuitem]").nth(1)
    item.wait_for(state="visible")
    item.click()
    page.wait_for_function("document.querySelector('.copied').textContent")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "with suppress(RuntimeError):" in copied
    done = subprocess.run([sys.executable, "-c", copied], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_first_choice_is_the_cell_alone(open_page):
    """As the button beside the menu copies it; both say what was copied."""
    page = open_page(PAGES[1], permissions=CLIPBOARD)
    cell = page.locator("article div.cell").nth(2)
    code = cell.locator("div.cell_input pre").text_content().rstrip()
    open_menu(page, cell).nth(0).click()
    page.wait_for_function("document.querySelector('.copied').textContent")
    assert page.locator(".copied").text_content().startswith("Copied this cell.")
    assert page.evaluate("navigator.clipboard.readText()").rstrip() == code
    cell.locator("button.copybtn").click()
    assert page.evaluate("navigator.clipboard.readText()").rstrip() == code


def test_a_snippet_says_where_it_is_from_and_what_it_needs(open_page):
    """In comments at its top: the address with the section, the packages, the command."""
    page = open_page(PAGES[1], permissions=CLIPBOARD)
    open_menu(page, page.locator("article div.cell").nth(1)).nth(1).click()
    page.wait_for_function("document.querySelector('.copied').textContent")
    copied = page.evaluate("navigator.clipboard.readText()")
    address, needs, command = copied.split("\n")[:3]
    assert address.endswith("learn/accumulation.html#a-second-call-adds")
    assert re.fullmatch(
        r"# Needs (?:gradbook, )?torch; ran with Python [\d.]+, torch [\w.+]+\.", needs
    )
    assert command.startswith("# python -m pip install ")


def test_the_keyboard_opens_moves_copies_and_leaves(open_page):
    """The focus comes back to the button; Escape copies nothing."""
    page = open_page(PAGES[1], permissions=CLIPBOARD)
    button = page.locator("button.copymenu").nth(1)
    focused = "document.activeElement.getAttribute('role') ?? document.activeElement.className"
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=menuitem]:focus")
    assert button.get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent").startswith("With what it needs")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Escape")
    assert page.evaluate(focused) == "copymenu"
    assert button.get_attribute("aria-expanded") == "false"
    page.keyboard.press("ArrowUp")
    page.wait_for_selector("[role=menuitem]:focus")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.copied').textContent")
    assert page.locator(".copied").text_content().startswith("Copied the cell with what it needs.")
    assert page.locator(".copied").get_attribute("role") == "status"
    assert page.evaluate(focused).startswith("copymenu")


def test_an_open_menu_goes_along_with_the_page(open_page):
    """A page that is still on its way to the button leaves it open; when it is gone, it closes."""
    page = open_page(PAGES[1])
    below = "{ const m = document.querySelector('[role=menu]:not([hidden])'); return m && "
    below += "m.getBoundingClientRect().top - m.previousSibling.getBoundingClientRect().bottom; }"
    button = page.locator("button.copymenu").nth(9)
    assert button.evaluate("e => e.getBoundingClientRect().top > innerHeight")
    button.focus()  # the page glides there
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=menuitem]:focus")
    page.wait_for_timeout(1000)
    assert page.evaluate(f"() => {below}") == pytest.approx(0, abs=1)
    page.mouse.wheel(0, 60)
    page.wait_for_timeout(300)
    assert page.evaluate(f"() => {below}") == pytest.approx(0, abs=1)
    page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    page.wait_for_function("!document.querySelector('[role=menu]:not([hidden])')")
    assert button.evaluate("e => e === document.activeElement")


def test_a_finger_sees_and_hits_the_buttons(open_page):
    """They are there without hovering, and large enough."""
    page = open_page(PAGES[1], 360, permissions=CLIPBOARD, has_touch=True, is_mobile=True)
    cell = page.locator("article div.cell").nth(1)
    boxes = []
    for kind in ("copybtn", "copymenu"):
        button = cell.locator(f"button.{kind}")
        assert button.evaluate("e => getComputedStyle(e).opacity") == "1"
        boxes.append(button.bounding_box())
        assert min(boxes[-1]["width"], boxes[-1]["height"]) >= 44
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"] + 0.5
    cell.locator("button.copymenu").tap()
    items = cell.locator("[role=menuitem]")
    items.nth(1).wait_for(state="visible")
    assert items.nth(1).bounding_box()["height"] >= 44
    items.nth(1).tap()
    page.wait_for_function("document.querySelector('.copied').textContent")
    assert "import torch" in page.evaluate("navigator.clipboard.readText()")


def test_an_open_menu_has_no_fault(open_page):
    """Axe finds nothing, and the menu lies on the page."""
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(PAGES[1], 360)
    cell = page.locator("article div.cell").nth(1)
    open_menu(page, cell)
    assert Axe().run(page, context=".copymenu-items").response["violations"] == []
    box = cell.locator("[role=menu]").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


def test_without_javascript_code_and_downloads_are_there(open_page):
    """As plain text and plain links; no button stands there that does nothing."""
    page = open_page(PAGES[1], java_script_enabled=False)
    assert page.locator("button.copymenu").count() == 0
    links = page.locator(".take-away a")
    assert [link.get_attribute("href") for link in links.all()][:2] == [
        "accumulation.ipynb",
        "accumulation.py",
    ]
    assert page.locator(".take-away pre").text_content().startswith("python -m pip install")


def test_the_home_page_offers_the_whole_book(open_page):
    """As notebooks; the links lead to files."""
    page = open_page("index.html")
    for name in ("gradbook-notebooks.zip", "index.ipynb", "index.py"):
        link = page.locator(f".take-away a[href='{name}']")
        assert page.request.get(link.evaluate("e => e.href")).ok
