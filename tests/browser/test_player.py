"""The player on a built page, in a real browser."""

import re

import pytest

PAGE = "learn/backward.html"


def panel(player):
    """What the panel says, on one line."""
    return re.sub(r"\s+", " ", player.locator(".gb-panel").inner_text())


def count(player):
    """The line that counts the steps."""
    return player.locator(".gb-bar span").inner_text()


@pytest.fixture
def player(open_page):
    """The player of the seed program."""
    return open_page(PAGE).locator("gradbook-player").first


def press(player, name):
    """Press a button by its name."""
    player.get_by_role("button", name=name).click()


def test_buttons_walk_through_the_pass(player):
    """Forward, back, end and start; the ends refuse to go further."""
    assert count(player) == "step 0 of 5"
    press(player, "One step forward")
    assert "Step 1: MeanBackward0" in panel(player)
    press(player, "To the end")
    assert count(player) == "step 5 of 5"
    forward = player.get_by_role("button", name="One step forward")
    assert forward.get_attribute("aria-disabled") == "true"
    forward.click(force=True)  # else Playwright waits until it is enabled
    assert count(player) == "step 5 of 5"
    press(player, "One step back")
    assert "Step 4: AddBackward0" in panel(player)
    press(player, "To the start")
    assert count(player) == "step 0 of 5"


def test_a_step_shows_the_rule_with_its_numbers(player):
    """Y * y sends g times y along each of its two edges."""
    for _ in range(3):
        press(player, "One step forward")
    text = panel(player)
    assert "comes in: g = [0.6667, 0.6667, 0.6667]" in text
    assert text.count("[0.6667, 0.6667, 0.6667] · [3, 4, 5] = [2, 2.667, 3.333]") == 2
    assert player.locator(".gb-panel math").count() == 2


def test_the_running_node_and_its_edges_are_marked(player):
    """One node is marked, and both edges along which it sends."""
    for _ in range(3):
        press(player, "One step forward")
    assert player.locator(".gb-now").count() == 1
    assert player.locator(".gb-now").get_attribute("data-node") == "2"
    assert player.locator(".gb-flow").count() == 2
    assert player.locator(".gb-done").count() == 2


def test_the_gradient_of_a_leaf_appears_when_its_step_runs(player):
    """Before the last step x.grad is None."""
    leaf = player.locator(".gb-leaves")
    press(player, "To the end")
    assert leaf.inner_text() == "x.grad = [4, 5.333, 6.667]"
    press(player, "One step back")
    assert leaf.inner_text() == "x.grad = None"


def test_arrow_keys_walk_too(player):
    """Right, left, end and home, while the focus is in the player."""
    player.get_by_role("button", name="One step forward").focus()
    keyboard = player.page.keyboard
    for key, expected in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 5)]:
        keyboard.press(key)
        assert count(player) == f"step {expected} of 5"
    keyboard.press("Home")
    assert count(player) == "step 0 of 5"


def test_arrow_keys_in_the_list_of_speeds_choose_a_speed(player):
    """They belong to the list there."""
    player.get_by_role("combobox", name="Speed").focus()
    player.page.keyboard.press("ArrowDown")
    assert count(player) == "step 0 of 5"


def test_play_runs_to_the_end_and_stops(player):
    """It can be paused, and starts anew from the end."""
    player.get_by_role("combobox", name="Speed").select_option("fast")
    press(player, "Play")
    player.get_by_role("button", name="Pause").wait_for()
    player.get_by_text("step 5 of 5").wait_for(timeout=10_000)
    assert player.get_by_role("button", name="Play").count() == 1
    press(player, "Play")
    player.get_by_text("step 1 of 5").wait_for(timeout=10_000)
    press(player, "Pause")
    stopped = count(player)
    player.page.wait_for_timeout(800)
    assert count(player) == stopped


def test_a_click_on_a_node_goes_to_its_step(player):
    """Each box of the drawing is a way in."""
    player.locator('.gb-stage [data-node="3"]').click()
    assert "Step 4: AddBackward0" in panel(player)


def test_a_screen_reader_hears_each_step(player):
    """The panel is a live region; buttons have names, and keep the focus at the ends."""
    assert player.locator(".gb-panel").get_attribute("aria-live") == "polite"
    press(player, "To the end")
    forward = player.get_by_role("button", name="One step forward")
    forward.focus()
    player.page.keyboard.press("Enter")
    assert forward.get_attribute("aria-disabled") == "true"
    assert player.page.evaluate("document.activeElement.title") == "One step forward"


def test_two_players_do_not_disturb_each_other(open_page):
    """A second one on the page stays where it is."""
    page = open_page(PAGE)
    page.evaluate(
        """() => {
          const other = document.querySelector('gradbook-player').cloneNode(true);
          other.querySelector('.gb-side').replaceChildren();
          document.querySelector('article').append(other);
        }"""
    )
    first, second = page.locator("gradbook-player").first, page.locator("gradbook-player").last
    press(first, "One step forward")
    press(first, "One step forward")
    press(second, "To the end")
    assert count(first) == "step 2 of 5"
    assert count(second) == "step 5 of 5"
    assert first.locator(".gb-now").get_attribute("data-node") == "1"


def test_without_javascript_drawing_and_table_stand(open_page):
    """The table has every step; nothing is promised that does not work."""
    page = open_page(PAGE, java_script_enabled=False)
    player = page.locator("gradbook-player").first
    assert player.locator("svg").is_visible()
    assert player.locator("tbody tr").count() == 5
    assert player.get_by_role("button").count() == 0
    assert player.locator(".gb-side").bounding_box()["height"] < 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_theme(open_page, scheme):
    """The text stands out from the page in both schemes, and after the theme switch."""
    page = open_page(PAGE, color_scheme=scheme)
    player = page.locator("gradbook-player").first
    colour = "e => getComputedStyle(e).color.match(/\\d+/g).slice(0, 3).map(Number)"

    def brightness():
        return sum(player.locator(".gb-panel").evaluate(colour)) / 3

    assert brightness() < 80 if scheme == "light" else brightness() > 170
    page.evaluate("document.body.dataset.theme = 'dark'")
    assert brightness() > 170


def test_it_fits_a_phone(open_page):
    """At 360 px nothing is cut and the buttons are large enough for a finger."""
    page = open_page(PAGE, width=360)
    player = page.locator("gradbook-player").first
    box = player.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    drawing = player.locator("svg").bounding_box()
    assert drawing["width"] <= 360
    for button in player.get_by_role("button").all():
        size = button.bounding_box()
        assert min(size["width"], size["height"]) >= 32


def test_the_script_is_small():
    """At most 20 kB compressed; it is about 2."""
    import gzip
    from importlib import resources

    package = resources.files("gradbook.see.display")
    files = [package.joinpath(name).read_bytes() for name in ("player.js", "player.css")]
    assert len(gzip.compress(b"".join(files))) < 20_000
