"""The search box of every page, and the field for a message on the front page."""

import pytest
from conftest import DESK, PHONE

PAGE = "learn/accumulation.html"
TRACEBACK = """\
Traceback (most recent call last):
  File "/home/me/trainer.py", line 131, in step
    g_loss.backward()
  File "/usr/lib/python3.11/site-packages/torch/_tensor.py", line 630, in backward
    torch.autograd.backward(
RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn"""
ENTRY = "clinic/errors/no-graph.html"


def ask(page, text):
    """Put a text into the box, and wait for what it finds."""
    page.locator(".palette-field").fill(text)
    page.wait_for_selector(".palette-results a")


@pytest.mark.parametrize("key", ["/", "Control+k"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_key_opens_the_box_on_any_page(open_page, key, width):
    """With the focus in its field; Escape closes it again."""
    page = open_page(PAGE, width, reduced_motion="reduce")
    page.keyboard.press(key)
    page.wait_for_selector("dialog.palette[open]")
    assert page.evaluate("document.activeElement.className") == "palette-field"
    assert page.locator(".palette-field").input_value() == ""
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.palette", state="hidden")


def test_a_slash_in_a_field_is_a_slash(open_page):
    """Nothing opens while somebody types."""
    page = open_page("clinic/index.html")
    page.get_by_label("Paste a message").focus()
    page.keyboard.type("a/b")
    assert page.get_by_label("Paste a message").input_value() == "a/b"
    assert page.locator("dialog.palette").count() == 0


def test_results_have_their_kind_and_can_be_filtered(open_page):
    """Words find pages of all kinds; a button shows one of them."""
    page = open_page(PAGE)
    page.keyboard.press("/")
    ask(page, "zero_grad")
    kinds = page.locator(".palette-kind").all_inner_texts()
    assert {"Learn", "Clinic"} <= set(kinds)
    page.get_by_role("button", name="Learn", exact=True).click()
    assert set(page.locator(".palette-kind").all_inner_texts()) == {"Learn"}


def test_a_traceback_is_answered_with_the_readers_own_line(open_page):
    """The entry comes first, with its cure; the frame is the last one outside of libraries."""
    page = open_page(PAGE)
    page.keyboard.press("Control+k")
    ask(page, TRACEBACK)
    first = page.locator(".palette-results li").first
    assert first.locator("> a").get_attribute("href").endswith(ENTRY)
    assert "Cure: " in first.inner_text()
    place = page.locator(".palette-status").inner_text()
    assert place.strip() == "In your program: line 131 of trainer.py: g_loss.backward()"


def test_the_arrow_keys_walk_through_the_results(open_page):
    """Down from the field, up to it again; Enter follows a link."""
    page = open_page(PAGE)
    page.keyboard.press("/")
    ask(page, "version counter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    links = page.locator(".palette-results a")
    assert page.evaluate("document.activeElement.href") == links.nth(1).evaluate("a => a.href")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.className") == "palette-field"
    address = links.first.evaluate("a => a.href")
    page.keyboard.press("Enter")
    page.wait_for_url(address)


def test_the_front_page_answers_a_message(open_page):
    """The catalogue is fetched when the field is used, not before."""
    page = open_page("index.html")
    assert page.evaluate("typeof gradbookCatalogue") == "undefined"
    page.get_by_label("Paste a message").fill(TRACEBACK)
    page.wait_for_selector(".clinic-results a")
    assert page.locator(".clinic-results a").first.get_attribute("href").endswith(ENTRY)
    assert "line 131 of trainer.py" in page.locator(".clinic-place").inner_text()


@pytest.mark.parametrize(("width", "screens"), [(PHONE, 2), (DESK, 1)])
def test_the_front_page_says_in_its_first_screens_what_to_do(open_page, width, screens):
    """The doors, the field, what there is, how to get it, and the player at a step."""
    page = open_page("index.html", width)
    page.wait_for_selector(".gb-live .gb-now")
    for part in (".start a", "#clinic-field", ".facts", ".take-away pre", ".gb-play"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] + box["height"] <= 800 * screens, part
        assert box["x"] + box["width"] <= width, part
    player = page.locator("gradbook-player").bounding_box()
    assert player["y"] + player["height"] <= 800 * screens


def test_an_answer_can_be_linked(open_page):
    """The address holds the question; the field shows it and has the focus."""
    page = open_page("clinic/index.html?q=RuntimeError:%20grad%20can%20be%20implicitly%20created")
    assert page.get_by_label("Paste a message").input_value().startswith("RuntimeError: grad can")
    page.wait_for_selector(".clinic-results a")
    assert page.evaluate("document.activeElement.id") == "clinic-field"


def test_the_box_never_answers_with_nothing(open_page):
    """Words that nobody knows: entries most asked, and the questions that find a cause."""
    page = open_page(PAGE)
    page.keyboard.press("/")
    ask(page, "zzzqqqxxx")
    assert page.locator(".palette-status").inner_text().startswith("Nothing found")
    links = page.locator(".palette-results a")
    assert links.count() == 5
    assert links.last.get_attribute("href").endswith("clinic/gradient-trouble.html")
