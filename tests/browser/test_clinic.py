"""The message search of the Clinic, in a real browser."""

import pytest

from gradbook.understand.catalogue import load

ENTRIES = {entry.id: entry for entry in load().entries}
BLINK = 100  # milliseconds; the search takes a tenth of it
PAGE = "clinic/index.html"
TRACEBACK = """\
Traceback (most recent call last):
  File "train.py", line 12, in <module>
    loss.backward()
RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn
"""
MESSAGE = TRACEBACK.splitlines()[-1]
SEARCH = """text => {
  const search = new ClinicSearch(gradbookCatalogue), start = performance.now();
  const found = search.find(text).map(one => one.entry.id);
  return [found, performance.now() - start];
}"""
# As from a clipboard: the page may take the event, or leave it to the browser.
PASTE = """text => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  const event = new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true});
  document.activeElement.dispatchEvent(event);
}"""


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


def entry_of(link):
    """Id of the entry that a link leads to."""
    return link.get_attribute("href").rpartition("/")[2].removesuffix(".html")


@pytest.mark.parametrize("text", [TRACEBACK, TRACEBACK.splitlines()[-1], TRACEBACK * 500])
def test_a_pasted_message_finds_its_entry(clinic, text):
    """One line, a whole traceback, or a long log."""
    type_in(clinic, text)
    assert first(clinic).endswith("clinic/errors/no-graph.html")
    assert clinic.get_by_role("status").inner_text() == "One entry:"


def test_the_result_leads_to_the_entry(clinic):
    """The link opens the page at the entry's heading, by keyboard alone."""
    type_in(clinic, TRACEBACK)
    clinic.get_by_label("Paste a message").focus()
    clinic.keyboard.press("Tab")
    clinic.keyboard.press("Enter")
    clinic.wait_for_url("**/clinic/errors/no-graph.html")
    assert clinic.get_by_role("heading", level=1).inner_text().startswith("backward() on a loss")


def test_a_traceback_of_ten_thousand_lines_is_answered_at_once(clinic):
    """The search takes less than a blink of an eye, and pasting does not freeze the page."""
    frame = '  File "/lib/module.py", line {0}, in call_{0}\n    return self.layer_{0}(x)\n'
    text = "Traceback (most recent call last):\n"
    text += "".join(frame.format(n) for n in range(5000)) + MESSAGE
    for pasted in (text, f"{MESSAGE}\n{text.removesuffix(MESSAGE)}"):
        found, took = clinic.evaluate(SEARCH, pasted)
        assert found == ["no-graph"]
        assert took < BLINK
    clinic.get_by_label("Paste a message").focus()
    clinic.evaluate(PASTE, text)
    assert first(clinic).endswith("/no-graph.html")
    assert clinic.get_by_label("Paste a message").input_value() == text


def test_a_repeated_error_does_not_slow_the_search(clinic):
    """A log with ten thousand errors that nobody knows."""
    noise = "".join(f"step {n} RuntimeError: retry {n}\n" for n in range(10_000))
    found, took = clinic.evaluate(SEARCH, noise)
    assert found == []
    assert took < 3 * BLINK


def test_a_result_says_why_and_what_to_do(clinic):
    """With code as code; the cause that the message tells, where there are several."""
    type_in(clinic, MESSAGE)
    result = clinic.locator(".clinic-results > li").first
    assert result.locator("> a").inner_text() == "backward() on a loss that has no graph"
    assert result.locator("> a code").count() == 1
    assert "Cure: Set requires_grad where" in result.inner_text()
    clinic.get_by_label("Paste a message").fill(
        "TypeError: expected tuple, but hook returned 'int'"
    )
    clinic.wait_for_function("document.querySelector('.clinic-results a').href.includes('/hook-')")
    (told,) = [one for one in ENTRIES["hook-returned-wrong-type"].variants if one.source == "E84c"]
    assert f"{told.title}: " in result.inner_text().replace("`", "")


def test_several_messages_give_several_entries(clinic):
    """The last error first, warnings last."""
    text = f"{MESSAGE}\n{TRACEBACK}ValueError: optimizer got an empty parameter list\n"
    type_in(clinic, text)
    assert clinic.get_by_role("status").inner_text() == "2 entries:"
    assert [*map(entry_of, clinic.locator(".clinic-results > li > a").all())] == [
        "optimizer-empty",
        "no-graph",
    ]


def test_what_is_pasted_is_text(clinic):
    """Markup in a message is shown nowhere as markup, and asks for nothing."""
    type_in(clinic, 'RuntimeError: <img src="x" onerror="window.hit = 1"> gradient')
    assert clinic.locator(".clinic-results img").count() == 0
    assert clinic.evaluate("window.hit") is None


def test_typed_words_search_titles_and_causes(clinic):
    """A few words are enough."""
    type_in(clinic, "batch norm frozen")
    links = [a.get_attribute("href") for a in clinic.locator(".clinic-results > li > a").all()]
    assert any("frozen-batch-norm" in link for link in links[:2])


def test_an_unknown_message_is_said_to_be_unknown(clinic):
    """The nearest entries are offered, and not as an answer."""
    type_in(clinic, "RuntimeError: the gradient of my cat is not a tensor")
    assert "Not recognised" in clinic.get_by_role("status").inner_text()


def test_words_that_nobody_knows_lead_on(clinic):
    """To the entries most asked, and to the questions that find a cause without a message."""
    type_in(clinic, "zzzqqqxxx")
    assert clinic.get_by_role("status").inner_text().startswith("Nothing found")
    asked = [a.get_attribute("href") for a in clinic.locator(".clinic-results > li > a").all()]
    tops = {f"../{entry.path}" for entry in ENTRIES.values() if entry.top}
    assert len(asked) == 5
    assert set(asked) <= tops
    clinic.get_by_role("link", name="Gradient trouble: from").click()
    clinic.wait_for_url("**/clinic/gradient-trouble.html")


def test_a_message_that_is_known_needs_no_questions(clinic):
    """The way to them comes with words alone."""
    type_in(clinic, "memory grows")
    assert clinic.locator(".clinic-onwards a").count() == 1
    type_in(clinic, TRACEBACK)
    clinic.wait_for_function("!document.querySelector('.clinic-onwards a')")


def test_nothing_typed_shows_nothing(clinic):
    """Clearing the field clears the answer."""
    type_in(clinic, TRACEBACK)
    clinic.get_by_label("Paste a message").fill("")
    clinic.wait_for_function("!document.querySelector('.clinic-results li')")
    assert clinic.get_by_role("status").inner_text() == ""
    assert clinic.locator(".clinic-onwards").inner_text() == ""


def test_without_javascript_the_page_is_an_index(open_page):
    """Every entry has its link."""
    page = open_page(PAGE, java_script_enabled=False)
    assert page.get_by_label("Paste a message").count() == 0
    assert set(ENTRIES) <= {*map(entry_of, page.locator("article a").all())}


# ------------------------------------------------------------------------------------- bad input

GAN = """\
Traceback (most recent call last):
  File "/home/me/gan/trainer.py", line 131, in train
    g_loss.backward()
  File "/v/lib/python3.11/site-packages/torch/_tensor.py", line 630, in backward
    torch.autograd.backward(
RuntimeError: one of the variables needed for gradient computation has been modified by an \
inplace operation: [torch.FloatTensor [512, 128]], which is output 0 of AsStridedBackward0, is at \
version 2; expected version 1 instead. Hint: enable anomaly detection.
"""
# A browser that keeps nothing for a site throws at the name itself.
NO_STORAGE = """
for (const name of ["localStorage", "sessionStorage"]) {
  const get = () => { throw new DOMException("blocked", "SecurityError"); };
  Object.defineProperty(window, name, { get });
}
"""


def paste(page, text):
    """As from a clipboard, and wait for an answer."""
    field = page.get_by_label("Paste a message")
    field.fill("")
    field.focus()
    if len(text) >= 2000:
        page.evaluate(PASTE, text)
    else:
        field.fill(text)
    page.wait_for_function("document.querySelector('.clinic-status').textContent !== ''")
    return page.get_by_role("status").inner_text()


def test_the_likeliest_cause_of_a_whole_traceback_comes_first(clinic):
    """By the message and the reader's own line, which is quoted; it has its cure, and its link."""
    assert paste(clinic, GAN) == "One entry:"
    result = clinic.locator(".clinic-results > li").first
    causes = result.locator("ul > li")
    assert causes.first.inner_text().startswith("optimizer.step() between two backward passes")
    assert "Cure: " in causes.first.inner_text()
    place = clinic.locator(".clinic-place").inner_text()
    assert place == "In your program: line 131 of trainer.py: g_loss.backward()"
    causes.first.locator("a").click()
    clinic.wait_for_url("**/modified-in-place.html#optimizer-step-between-two-backward-passes")
    assert clinic.locator(":target").is_visible()


def test_a_long_log_is_answered_whatever_it_holds(clinic):
    """Two million letters, with a message in them or without one; nothing hangs."""
    line = "2026-11-27 10:00:00,123 INFO step {n} loss 0.{n} lr 1e-3 <batch of 32 images>\n"
    log = "".join(line.format(n=n) for n in range(28_000))
    assert len(log) > 2_000_000
    start = clinic.evaluate("performance.now()")
    assert paste(clinic, f"{log}{MESSAGE}\n") == "One entry:"
    assert first(clinic).endswith("/no-graph.html")
    assert "Error" not in paste(clinic, log)
    assert clinic.locator(".clinic-results a").count() > 0
    assert clinic.evaluate("performance.now()") - start < 100 * BLINK


@pytest.mark.parametrize(
    "text",
    [
        "".join(map(chr, range(1, 256))) * 20,
        "\x7fELF\x02\x01\x01" + "\x00" * 3000 + "\ufffd" * 3000,
        "\U0001d558\U0001d563 " * 1000,
        "((((((((((" * 1000,
        "a" * 100_000,
    ],
    ids=["bytes", "a program", "other letters", "brackets", "one word"],
)
def test_what_is_no_message_gets_a_plain_answer(clinic, text):
    """Nothing is found with it; what is asked most is offered, and no error comes."""
    errors = []
    clinic.on("pageerror", lambda error: errors.append(str(error)))
    assert paste(clinic, text).startswith(("Nothing found", "Not recognised", "Entries with"))
    assert clinic.locator(".clinic-results a").count() > 0
    assert errors == []


def test_the_source_of_a_page_is_read(clinic):
    """Marks and escaped letters do no harm, and nothing of them runs."""
    html = f"<pre>{TRACEBACK.replace('<', '&lt;')}</pre><img src=x onerror='window.hit = 1'>"
    assert paste(clinic, html) == "One entry:"
    assert first(clinic).endswith("/no-graph.html")
    assert paste(clinic, "ValueError: can&#39;t optimize a non-leaf Tensor") == "One entry:"
    assert clinic.evaluate("window.hit") is None


def test_a_message_that_was_read_from_a_picture_is_near(clinic):
    """It is not recognised, and its entry is offered first."""
    text = "RuntirneError: elernent 0 of tensors does not requlre grad and does not have a grad_fn"
    assert paste(clinic, text) == "Not recognised. The nearest entries:"
    assert first(clinic).endswith("/no-graph.html")


def test_white_space_is_nothing(clinic):
    """No answer, and none that waits."""
    clinic.get_by_label("Paste a message").fill(" \n\t\n ")
    clinic.wait_for_timeout(200)
    assert clinic.get_by_role("status").inner_text() == ""
    assert clinic.locator(".clinic-results li").count() == 0


def test_a_browser_that_keeps_nothing_answers_too(browser, served):
    """Where storage is blocked the field and the pages of entries work."""
    context = browser.new_context()
    context.add_init_script(NO_STORAGE)
    page = context.new_page()
    page.goto(served + PAGE)
    assert paste(page, TRACEBACK) == "One entry:"
    page.locator(".clinic-results a").first.click()
    page.wait_for_url("**/no-graph.html")
    assert page.locator(".entry-works").first.is_visible()
    context.close()
