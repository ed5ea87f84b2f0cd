"""The message search of the Clinic, in a real browser."""

import pytest

PAGE = "clinic/index.html"
TRACEBACK = """\
Traceback (most recent call last):
  File "train.py", line 12, in <module>
    loss.backward()
RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn
"""


@pytest.fixture
def clinic(open_page):
    """The front page of the Clinic."""
    return open_page(PAGE)


def type_in(page, text):
    """Fill the field and wait for an answer."""
    page.get_by_label("Paste a message").fill(text)
    page.wait_for_function("document.querySelector('.clinic-status').textContent !== ''")


def first(page):
    """Address of the first result."""
    return page.locator(".clinic-results a").first.get_attribute("href")


@pytest.mark.parametrize("text", [TRACEBACK, TRACEBACK.splitlines()[-1], TRACEBACK * 500])
def test_a_pasted_message_finds_its_entry(clinic, text):
    """One line, a whole traceback, or a long log."""
    type_in(clinic, text)
    assert first(clinic).endswith("clinic/errors/backward.html#no-graph")
    assert clinic.get_by_role("status").inner_text() == "One entry:"


def test_the_result_leads_to_the_entry(clinic):
    """The link opens the page at the entry's heading, by keyboard alone."""
    type_in(clinic, TRACEBACK)
    clinic.get_by_label("Paste a message").focus()
    clinic.keyboard.press("Tab")
    clinic.keyboard.press("Enter")
    clinic.wait_for_url("**/clinic/errors/backward.html#no-graph")
    assert clinic.locator("#no-graph").first.is_visible()


def test_typed_words_search_titles_and_causes(clinic):
    """A few words are enough."""
    type_in(clinic, "batch norm frozen")
    links = [a.get_attribute("href") for a in clinic.locator(".clinic-results a").all()]
    assert any("frozen-batch-norm" in link for link in links[:2])


def test_an_unknown_message_is_said_to_be_unknown(clinic):
    """The nearest entries are offered, and not as an answer."""
    type_in(clinic, "RuntimeError: the gradient of my cat is not a tensor")
    assert "Not recognised" in clinic.get_by_role("status").inner_text()


def test_nothing_typed_shows_nothing(clinic):
    """Clearing the field clears the answer."""
    type_in(clinic, TRACEBACK)
    clinic.get_by_label("Paste a message").fill("")
    clinic.wait_for_function("!document.querySelector('.clinic-results li')")
    assert clinic.get_by_role("status").inner_text() == ""


def test_without_javascript_the_page_is_an_index(open_page):
    """Every entry has its link."""
    page = open_page(PAGE, java_script_enabled=False)
    assert page.get_by_label("Paste a message").count() == 0
    from gradbook.catalogue import load

    links = {a.get_attribute("href").partition("#")[2] for a in page.locator("article a").all()}
    assert {entry.id for entry in load().entries} <= links
