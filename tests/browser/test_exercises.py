"""Exercises, answered in a browser; that it judges as Python does is tested without one."""

import pytest

PAGE = "learn/backward.html"
KEPT = "localStorage.getItem('gradbook-exercises')"


def answer(page, name, text):
    """Type an answer, press Enter, and read what comes back."""
    form = page.locator(f'form[data-name="{name}"]')
    form.locator("input").fill(text)
    form.locator("input").press("Enter")
    return form.locator("output").inner_text()


def test_an_answer_is_judged_where_it_is_typed(open_page):
    """No answer, a known mistake, another one, and the right one, which is counted."""
    page = open_page(PAGE)
    assert answer(page, "backward.by_hand", "?").startswith("Type numbers, such as")
    assert answer(page, "backward.by_hand", "28, 42").startswith("Not yet. The two are swapped")
    assert answer(page, "backward.by_hand", "1").startswith("Not yet. Your answer has 1 number")
    assert page.evaluate(KEPT) is None
    right = answer(page, "backward.by_hand", "[42, 28]")
    assert right.startswith("Right. 2 * (2 * 3 + 1) = 14")
    assert "(1 of " in right
    assert answer(page, "backward.works_twice", "ac").startswith("Right.")


def test_progress_is_kept_and_can_be_cleared(open_page):
    """On the map, by page and together."""
    page = open_page(PAGE)
    answer(page, "backward.by_hand", "42 28")
    page.reload()
    assert "answered" in page.locator('form[data-name="backward.by_hand"]').get_attribute("class")
    page.goto(page.url.replace("backward", "index"))
    assert "1 of 3" in page.locator('[data-page="learn/backward"]').inner_text()
    progress = page.locator(".exercise-progress")
    assert progress.inner_text().startswith("1 of ")
    progress.locator("button").click()
    assert progress.inner_text().startswith("0 of ")
    assert page.evaluate(KEPT) is None


@pytest.mark.parametrize("kept", ["5", "null", "{", '["no.such", 3]'])
def test_what_else_is_stored_does_no_harm(open_page, kept):
    """Nothing is answered, and the field works."""
    page = open_page(PAGE)
    page.evaluate("kept => localStorage.setItem('gradbook-exercises', kept)", kept)
    page.reload()
    assert page.locator("form.answered").count() == 0
    assert answer(page, "backward.by_hand", "42 28").startswith("Right.")


def test_storage_may_be_forbidden(open_page):
    """An answer is judged all the same."""
    page = open_page(PAGE)
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('blocked'); }})"
    )
    page.reload()
    assert answer(page, "backward.by_hand", "42 28").startswith("Right.")


def test_without_a_script_there_is_no_field(open_page):
    """The cell stands there as in the book."""
    page = open_page(PAGE, java_script_enabled=False)
    assert not page.locator("form.exercise-field").first.is_visible()
    assert page.get_by_text("No answer yet").first.is_visible()


def test_an_exercise_that_wants_a_function_is_taken_away(open_page):
    """As a program with a stub; the sentence under the button says that it was copied."""
    page = open_page("learn/accumulation.html", permissions=["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy to run").first
    button.click()
    page.wait_for_selector(".take-stub output:not(:empty)")
    program = page.evaluate("navigator.clipboard.readText()")
    assert "def collect(w, parts):" in program
    assert "check.accumulation.mean_from_parts(collect)" in program
    compile(program, "copied", "exec")
    plain = open_page("learn/accumulation.html", java_script_enabled=False)
    assert not plain.locator(".take-stub").first.is_visible()
