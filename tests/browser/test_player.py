"""The player in a real browser: on pages of its own, and on those of the site.

The page's clock is driven by the test: no test waits for what passes by.
"""

import gzip
import re
import unicodedata

import pytest
import torch

from gradbook import record_lines, replay
from gradbook.see.display import assets

LIGHT = "--color-background-primary:#fff;--color-foreground-primary:#000"
DARK = "--color-background-primary:#131416;--color-foreground-primary:#cfd0d0"
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Players</title>
<meta name="viewport" content="width=device-width"><style>
body{{{LIGHT};font:16px/1.5 system-ui;margin:0 auto;max-width:46rem;padding:1rem}}
@media(prefers-color-scheme:dark){{body{{{DARK};background:#131416;color:#cfd0d0}}}}
</style><body><main><h1>Players</h1>"""


def square():
    """The seed program: two edges from y * y meet at y = x + 2."""
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with record_lines():
        y = x + 2
        out = (y * y * 2).mean()
    return replay(out, params={"x": x})


def twice():
    """Two paths meet at v, whose .grad holds 11 already."""
    v = torch.tensor(3.0, requires_grad=True)
    v.grad = torch.tensor(11.0)
    with record_lines():
        loss = v**2 + 5 * v
    return replay(loss, params={"v": v})


@pytest.fixture
def play(browser, tmp_path):
    """Open a page with the players of some passes; its clock stands still."""
    contexts = []

    def opened(*passes, width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(PAGE + "".join(one.to_html() for one in passes), encoding="utf-8")
        if options.get("java_script_enabled", True):
            page.clock.install(time=0)
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            page.clock.pause_at(1_000)
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            assert page.errors == []
        context.close()


@pytest.fixture
def player(play):
    """The player of the seed program."""
    return play(square()).locator("gradbook-player")


# A drawing has no innerText.
SEEN = """e => e instanceof HTMLElement ? e.innerText
  : (e.matches("text") ? [e] : [...e.querySelectorAll("text")])
    .filter(one => one.checkVisibility({visibilityProperty: true}))
    .map(one => one.textContent).join(" ")"""


def words(locator):
    """What is seen, on one line, with plain letters for those of mathematics."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", locator.evaluate(SEEN)))


def panel(player):
    """What the panel says."""
    return words(player.locator(".gb-panel"))


def count(player):
    """The line that counts the steps."""
    return player.locator(".gb-count").inner_text()


def press(player, name):
    """Press a button by its name."""
    player.get_by_role("button", name=name, exact=True).click()


def forward(player, steps=1):
    """Step forward, and let each step come to its end."""
    for _ in range(steps):
        press(player, "One step forward")
        player.page.clock.run_for(5_000)


def inked(text):
    """Where the letters of a text of the drawing begin and end, without their halo."""
    return text.evaluate(
        """e => {
          const {x, y, width} = e.getBBox(), to = e.getScreenCTM();
          return [x, x + width].map(one => new DOMPoint(one, y).matrixTransform(to).x);
        }"""
    )


def seen(player, selector):
    """The texts that are seen of those that match."""
    found = player.locator(selector).all()
    return [words(one) for one in found if one.is_visible()]


def node(player, number):
    """The box of a node."""
    return player.locator(f'.gb-stage [data-node="{number}"]')


# Steps ------------------------------------------------------------------------------------------


def test_it_starts_at_a_step_that_shows_something(player):
    """The first node has run: its rule with numbers, and what it sent."""
    assert count(player) == "step 1 of 5"
    assert "Step 1: out = (y * y * 2).mean() MeanBackward0 ()" in panel(player)
    assert "g n = 1 / 3 = [0.3333, 0.3333, 0.3333]" in panel(player)
    assert seen(player, ".gb-edge .gb-grad") == ["[0.3333, 0.3333, 0.3333]"]


def test_buttons_walk_through_the_pass(player):
    """One step on and back; the ends refuse to go further and keep the focus."""
    forward(player)
    assert count(player) == "step 2 of 5"
    press(player, "One step back")
    press(player, "One step back")
    assert count(player) == "step 0 of 5"
    assert "Forward is over" in panel(player)
    back = player.get_by_role("button", name="One step back")
    assert back.get_attribute("aria-disabled") == "true"
    back.click(force=True)  # else Playwright waits until it is enabled
    assert count(player) == "step 0 of 5"
    assert player.page.evaluate("document.activeElement.title") == "One step back"


def test_the_scrubber_goes_to_any_step(player):
    """By drag, by keys, and with words for who does not see it."""
    scrub = player.get_by_role("slider", name="Step")
    scrub.fill("4")
    assert count(player) == "step 4 of 5"
    assert scrub.get_attribute("aria-valuetext") == "step 4 of 5"
    scrub.press("ArrowLeft")
    assert count(player) == "step 3 of 5"
    scrub.press("End")
    assert count(player) == "step 5 of 5"


def test_a_step_shows_the_rule_with_its_numbers(player):
    """Y * y sends g times y along each of its two edges, which have names."""
    forward(player, 2)
    text = panel(player)
    assert "comes in: g = [0.6667, 0.6667, 0.6667], from y * y * 2" in text
    for place in ("left", "right"):
        assert f"to y ({place}): g · y = [0.6667, 0.6667, 0.6667] · [3, 4, 5] =" in text
    assert player.locator(".gb-panel math").count() == 2


# Direction and sum ------------------------------------------------------------------------------


def test_heads_are_at_the_receiver(player):
    """What passed has its head at the upper end, where the receiver is; before, values go down."""
    forward(player, 2)
    edges = player.locator(".gb-edge")
    for edge in edges.all():
        came = "gb-come" in edge.get_attribute("class")
        assert edge.locator(".gb-up").is_visible() == came
        assert edge.locator(".gb-down").is_visible() != came
        head, box = edge.locator(".gb-up"), node(player, edge.get_attribute("data-dst"))
        if came:
            top, bottom = head.bounding_box()["y"], box.bounding_box()
            assert abs(top - bottom["y"] - bottom["height"]) < 12
    assert len(seen(player, ".gb-edge.gb-come")) == 4


def test_a_dot_travels_from_the_sender_to_the_receiver_with_the_number(play):
    """It starts at the box that runs, goes up, and leaves the number on the edge."""
    page = play(twice())
    player = page.locator("gradbook-player")
    forward(player)  # 5 * v sends 5 to v
    press(player, "One step forward")  # v ** 2 sends 6
    heights = []
    for _ in range(8):
        page.clock.run_for(80)
        dot = player.locator(".gb-dot")
        if dot.count():
            assert words(dot) == "6"
            heights.append(dot.locator("circle").bounding_box()["y"])
    assert len(heights) > 5
    assert heights == sorted(heights, reverse=True)
    sender, receiver = node(player, 1).bounding_box(), node(player, 3).bounding_box()
    assert heights[0] > receiver["y"] + receiver["height"]
    assert heights[0] <= sender["y"] + 1
    page.clock.run_for(1_000)
    assert player.locator(".gb-dot").count() == 0
    assert sorted(seen(player, ".gb-edge .gb-grad")) == ["1", "1", "5", "6"]


def test_the_travelling_number_stays_in_the_drawing(play):
    """All the way, on edges beside which it has no room too: it is nowhere cut."""
    page = play(square(), twice())
    for player in page.locator("gradbook-player").all():
        drawing = player.locator(".gb-stage svg").bounding_box()
        player.get_by_role("slider").fill("0")
        flights = 0
        for _ in range(int(player.get_by_role("slider").get_attribute("max"))):
            press(player, "One step forward")
            for _ in range(30):
                page.clock.run_for(100)
                number = player.locator(".gb-dot text")
                if number.count():
                    flights += 1
                    left, right = inked(number)
                    assert drawing["x"] <= left < right <= drawing["x"] + drawing["width"]
        assert flights > 5


def test_no_line_is_seen_between_the_numbers_of_an_edge(play):
    """Beside a comma a piece of the line is read as a 1 or as a minus: "[1, 1]", "[2,-3]"."""
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    player = play(replay((x * 2).sum(), params={"x": x})).locator("gradbook-player")
    player.get_by_role("slider").fill("1")
    label = player.locator(".gb-edge .gb-grad").first
    assert label.text_content() == "[1, 1]"
    # The middle of the label is the space, and the line runs through it.
    shown = label.evaluate(
        """e => {
          const {x, y, width, height} = e.getBoundingClientRect();
          return {x: x + width / 2 - 2, y: y + height / 2 - 3, width: 4, height: 6};
        }"""
    )
    with_line = player.page.screenshot(clip=shown)
    player.locator(".gb-edge .gb-line").first.evaluate("e => e.style.visibility = 'hidden'")
    assert player.page.screenshot(clip=shown) == with_line


def test_parallel_edges_are_used_one_after_the_other(player):
    """The left gradient arrives, then the right one leaves."""
    forward(player)
    press(player, "One step forward")
    player.page.clock.run_for(300)
    assert player.locator(".gb-dot").count() == 1
    before = len(seen(player, ".gb-edge .gb-grad"))
    player.page.clock.run_for(600)
    assert player.locator(".gb-dot").count() == 1
    assert len(seen(player, ".gb-edge .gb-grad")) == before + 1


def test_addends_are_shown_one_by_one_and_then_their_sum(play):
    """At v the gradients of two paths meet: 5, then 6, then 11; and it is added to what was."""
    page = play(twice())
    player = page.locator("gradbook-player")
    forward(player, 2)
    press(player, "One step forward")
    terms = player.locator(".gb-panel .gb-in data")
    shown = []
    for _ in range(4):
        shown.append([one.text_content() for one in terms.all() if one.is_visible()])
        page.clock.run_for(520)
    assert shown[0] == ["5"]
    assert shown[1] == ["5", "6"]
    assert shown[3] == ["5", "6", "11"]
    page.clock.run_for(2_000)
    assert "comes in: g = 5 + 6 = 11, from two edges" in panel(player)
    assert "v.grad = 11 + 11 = 22" in panel(player)


def test_a_leaf_shows_its_grad_before_and_after(play):
    """What was there stays until the sum is known."""
    page = play(twice(), square())
    first, second = page.locator("gradbook-player").all()
    assert seen(first, ".gb-leaf .gb-was, .gb-leaf .gb-grad") == [".grad 11"]
    assert seen(second, ".gb-leaf .gb-was, .gb-leaf .gb-grad") == [".grad None"]
    for player in (first, second):
        player.get_by_role("slider").fill("5")
    assert seen(first, ".gb-leaf .gb-was, .gb-leaf .gb-grad") == [".grad 22"]
    assert seen(second, ".gb-leaf .gb-was, .gb-leaf .gb-grad") == [".grad [4, 5.333, 6.667]"]


def test_reduced_motion_shows_each_step_at_once(play):
    """No dot, no waiting."""
    page = play(twice(), reduced_motion="reduce")
    player = page.locator("gradbook-player")
    press(player, "One step forward")
    assert player.locator(".gb-dot").count() == 0
    press(player, "One step forward")
    press(player, "One step forward")
    assert "5 + 6 = 11, from two edges" in panel(player)
    assert player.locator(".gb-late").count() == 0


# Numbers on the graph ---------------------------------------------------------------------------


def test_boxes_say_source_value_gradient_and_name(player):
    """In this order; the gradient when it has come."""
    assert words(node(player, 3)).startswith("y = x + 2 [3, 4, 5]")
    assert words(node(player, 3).locator(".gb-small")) == "AddBackward0"
    assert not node(player, 3).locator(".gb-grad").is_visible()
    player.get_by_role("slider").fill("4")
    assert words(node(player, 3).locator(".gb-grad")) == "grad [4, 5.333, 6.667]"


def test_no_text_of_the_drawing_is_cut(player):
    """Every text lies within its box, every label within the drawing."""
    player.get_by_role("slider").fill("5")
    svg = player.locator(".gb-stage svg").bounding_box()
    for box in player.locator(".gb-node").all():
        outer = box.locator(".gb-box").bounding_box()
        for text in box.locator("text:not(.gb-badge text)").all():
            inner = text.bounding_box()
            if inner is not None and inner["width"]:
                assert inner["x"] >= outer["x"]
                assert inner["x"] + inner["width"] <= outer["x"] + outer["width"]
    for text in player.locator(".gb-edge text").all():
        left, right = inked(text)
        assert svg["x"] <= left < right <= svg["x"] + svg["width"]


# States, keys, roles ----------------------------------------------------------------------------


def test_states_differ_by_sign_and_colour(player):
    """Waiting has its number, now a filled one, done a tick; three colours."""
    forward(player)
    done, now, waiting = node(player, 0), node(player, 1), node(player, 2)
    assert done.locator(".gb-badge path").is_visible()
    assert not done.locator(".gb-badge text").is_visible()
    assert words(now.locator(".gb-badge")) == "2"
    assert words(waiting.locator(".gb-badge")) == "3"
    colour = "e => getComputedStyle(e).fill + getComputedStyle(e).stroke"
    found = {one.locator("circle").evaluate(colour) for one in (done, now, waiting)}
    assert len(found) == 3


def test_play_runs_to_the_end_and_stops(player):
    """One button plays and pauses; from the end it starts anew."""
    press(player, "Play")
    assert count(player) == "step 2 of 5"
    for _ in range(20):
        player.page.clock.run_for(1_000)
    assert count(player) == "step 5 of 5"
    press(player, "Play")
    assert count(player) == "step 1 of 5"
    press(player, "Pause")
    player.page.clock.run_for(20_000)
    assert count(player) == "step 1 of 5"


@pytest.mark.parametrize("place", [".gb-panel", ".gb-stage svg", '.gb-stage [data-node="4"]'])
def test_a_click_anywhere_gives_it_the_keys(player, place):
    """Arrows step, Space plays, Home and End jump."""
    player.locator(place).click(position={"x": 5, "y": 5})
    keyboard = player.page.keyboard
    keyboard.press("Home")
    for key, expected in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("End", 5)]:
        keyboard.press(key)
        assert count(player) == f"step {expected} of 5"


def test_space_plays_and_pauses(player):
    """The page does not scroll meanwhile."""
    player.locator(".gb-panel").click()
    player.page.keyboard.press(" ")
    assert player.get_by_role("button", name="Pause", exact=True).count() == 1
    player.page.keyboard.press(" ")
    assert player.get_by_role("button", name="Play", exact=True).count() == 1
    assert player.page.evaluate("scrollY") == 0


def test_a_click_on_a_node_goes_to_its_step(player):
    """Each box of the drawing is a way in."""
    node(player, 3).click()
    assert "Step 4: y = x + 2" in panel(player)


def test_nodes_are_buttons_for_the_keyboard_and_the_screen_reader(player):
    """One stop of Tab leads to the running one; arrows and Enter work there; states have words."""
    name = "y * y, MulBackward0 (3,), step 3, waiting"
    assert player.get_by_role("button", name=name, exact=True).count() == 1
    stops = [one.get_attribute("tabindex") for one in player.locator(".gb-node").all()]
    assert stops.count("0") == 1
    node(player, 0).focus()
    assert node(player, 0).get_attribute("aria-label").endswith("step 1, runs now")
    assert node(player, 0).get_attribute("aria-current") == "step"
    player.page.keyboard.press("ArrowRight")
    assert player.page.evaluate("document.activeElement.dataset.node") == "1"
    assert node(player, 0).get_attribute("aria-label").endswith("step 1, done")
    assert node(player, 4).get_attribute("aria-label").endswith("step 5, waiting")
    node(player, 4).focus()
    player.page.keyboard.press("Enter")
    assert count(player) == "step 5 of 5"


def test_a_screen_reader_hears_each_step(player):
    """The panel is a live region, and has all of a step at once, also while it moves."""
    assert player.locator(".gb-panel").get_attribute("aria-live") == "polite"
    press(player, "One step forward")
    assert "[0.6667" in player.locator(".gb-panel").text_content()


def test_the_panel_keeps_its_height(play):
    """Nothing below moves from step to step."""
    page = play(square(), width=360, height=740)
    player = page.locator("gradbook-player")
    below = player.locator(".gb-steps")
    places = set()
    for step in range(6):
        player.get_by_role("slider").fill(str(step))
        places.add(below.bounding_box()["y"] + page.evaluate("scrollY"))
    assert len(places) == 1


@pytest.mark.parametrize("make", [square, twice])
def test_on_a_phone_graph_and_panel_are_in_view_together(play, make):
    """At 360 x 740 with a bar of 56 px; the running node and what it sends to are in the graph."""
    page = play(make(), width=360, height=740 - 56)
    player = page.locator("gradbook-player")
    player.evaluate("e => scrollTo(0, e.getBoundingClientRect().top + scrollY)")
    assert player.locator(".gb-panel").bounding_box()["y"] >= 0
    bottom = player.locator(".gb-panel").bounding_box()
    assert bottom["y"] + bottom["height"] <= 684
    page.emulate_media(reduced_motion="reduce")
    for step in range(1, 5):
        player.get_by_role("slider").fill(str(step))
        view = player.locator(".gb-stage").bounding_box()
        box = player.locator(".gb-now").bounding_box()
        assert view["y"] - 1 <= box["y"]
        assert box["y"] + box["height"] <= view["y"] + view["height"] + 12
        assert view["y"] >= -1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_wide_drawing_and_the_panel_are_in_view_together(play):
    """Where there is no room side by side, the drawing leaves room below it."""
    x = torch.arange(1.0, 7).requires_grad_()
    with record_lines():
        out = sum((x[n] * x[n - 1]).tanh() * 0.123456 for n in range(6))
    page = play(replay(out), height=800)
    player = page.locator("gradbook-player")
    assert "gb-below" in player.get_attribute("class")
    stage, panel = (player.locator(one).bounding_box() for one in (".gb-stage", ".gb-panel"))
    assert panel["y"] + panel["height"] - stage["y"] <= 800


def test_the_count_of_steps_is_whole_where_room_is_scarce(play):
    """It takes a second line, and the bar stays as high as it is."""
    player = play(square()).locator("gradbook-player")
    bar, counted = player.locator(".gb-bar"), player.locator(".gb-count")
    high = bar.bounding_box()["height"]
    player.locator(".gb-side").evaluate("e => { e.style.flex = '0 0 288px' }")
    counted.evaluate("e => { e.textContent = '第 10 步, 共 12 步' }")
    assert bar.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert counted.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert bar.bounding_box()["height"] == high


def test_buttons_are_large_enough_for_a_finger(play):
    """At least 38 px each way."""
    player = play(square(), width=360, has_touch=True).locator("gradbook-player")
    for button in player.locator(".gb-bar button").all():
        size = button.bounding_box()
        assert min(size["width"], size["height"]) >= 38
    player.get_by_role("button", name="One step forward").tap()
    assert count(player) == "step 2 of 5"


# What if ----------------------------------------------------------------------------------------


def field(player, name):
    """The field of a number of a leaf."""
    return player.get_by_role("spinbutton", name=name, exact=True)


def after(player):
    """What .grad would be after the pass."""
    return [words(one) for one in player.locator(".gb-row output").all()]


def expected(x):
    """The gradient of the seed program, by torch, as the player writes it."""
    x = torch.tensor(x, requires_grad=True)
    ((x + 2) * (x + 2) * 2).mean().backward()
    return "[" + ", ".join(f"{one:.4g}" for one in x.grad.tolist()) + "]"


def test_typing_changes_everything_at_once(player):
    """Values, gradients on boxes and edges, the rule in numbers, .grad, the table."""
    player.get_by_role("slider").fill("5")
    field(player, "x[0]").fill("-2")
    player.page.clock.run_for(50)
    gradient = expected([-2.0, 2.0, 3.0])
    assert gradient == "[0, 5.333, 6.667]"
    assert after(player) == [gradient]
    assert words(node(player, 3)).startswith("y = x + 2 [0, 4, 5] grad [0, 5.333, 6.667]")
    assert words(node(player, 4)).startswith("x [-2, 2, 3] .grad [0, 5.333, 6.667]")
    assert "[0, 2.667, 3.333]" in seen(player, ".gb-edge .gb-grad")
    player.get_by_role("slider").fill("3")
    assert "g · y = [0.6667, 0.6667, 0.6667] · [0, 4, 5] = [0, 2.667, 3.333]" in panel(player)
    player.locator("summary").click()
    row = words(player.locator("tbody tr").nth(3))
    assert "[0, 2.667, 3.333] + [0, 2.667, 3.333] = [0, 5.333, 6.667]" in row


def test_fractions_are_numbers_and_words_are_not(player):
    """What cannot be read is marked, and changes nothing; it goes when the field is left."""
    field(player, "x[0]").fill("1/3")
    player.page.clock.run_for(50)
    assert after(player) == [expected([1 / 3, 2.0, 3.0])]
    field(player, "x[0]").fill("much")
    player.page.clock.run_for(50)
    assert field(player, "x[0]").get_attribute("aria-invalid") == "true"
    assert after(player) == [expected([1 / 3, 2.0, 3.0])]
    field(player, "x[1]").focus()
    assert field(player, "x[0]").input_value() == "0.3333"
    field(player, "x[0]").focus()
    assert field(player, "x[0]").input_value() == "0.333333333"


def test_what_is_typed_takes_the_place_of_the_number(player):
    """Reached by Tab, a rounded number is selected whole, as in any field."""
    field(player, "x[1]").fill("-16/3")
    field(player, "x[0]").focus()
    player.page.keyboard.press("Tab")
    player.page.keyboard.type("7")
    player.page.clock.run_for(50)
    assert field(player, "x[1]").input_value() == "7"
    assert after(player) == [expected([1.0, 7.0, 3.0])]


def test_no_number_is_cut_in_its_field(player):
    """A longer one widens the fields of its leaf."""
    field(player, "x[1]").fill("-5.3333e-7")
    field(player, "x[0]").focus()
    player.page.clock.run_for(50)
    for one in player.get_by_role("spinbutton").all():
        assert one.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert field(player, "x[1]").input_value() == "-5.333e-07"


@pytest.mark.parametrize("shape", [(9,), (2, 6)])
def test_many_numbers_stay_in_the_column_of_a_phone(play, shape):
    """A vector goes on in a second line; a matrix keeps its rows, and is scrolled."""
    x = torch.ones(shape, requires_grad=True)
    with record_lines():
        loss = (x * x).sum()
    page = play(replay(loss, params={"x": x}), width=360, height=740)
    fields = page.get_by_role("spinbutton").all()
    assert len(fields) == x.numel()
    for number in (0, 5):
        fields[number].fill("-5.333")
        page.clock.run_for(50)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert all(one.evaluate("e => e.scrollWidth <= e.clientWidth") for one in fields)
    if len(shape) == 2:
        tops = [one.bounding_box()["y"] for one in fields]
        assert len(set(tops[:6])) == len(set(tops[6:])) == 1


def test_arrow_keys_change_a_number(player):
    """By a step that fits its size; with Shift by ten."""
    field(player, "x[2]").focus()
    for key, value in [("ArrowUp", "3.1"), ("Shift+ArrowUp", "4.1"), ("ArrowDown", "4")]:
        player.page.keyboard.press(key)
        player.page.clock.run_for(50)
        assert field(player, "x[2]").input_value() == value
        assert field(player, "x[2]").get_attribute("aria-valuenow") == value
    assert after(player) == [expected([1.0, 2.0, 4.0])]
    assert count(player) == "step 1 of 5"


@pytest.mark.parametrize("place", ["field", "drawing"])
def test_a_number_is_dragged(player, place):
    """In its field and in the drawing: 4 px are a step; a click alone changes nothing."""
    spot = field(player, "x[0]")
    if place == "drawing":
        spot = node(player, 4).locator(".gb-knob").first
    box = spot.bounding_box()
    mouse = player.page.mouse
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    mouse.move(x, y)
    mouse.down()
    for moved in (10, 20, 40):
        mouse.move(x + moved, y)
        player.page.clock.run_for(20)
    assert after(player) == [expected([2.0, 2.0, 3.0])]
    mouse.move(x - 80, y)
    player.page.clock.run_for(20)
    assert after(player) == [expected([-1.0, 2.0, 3.0])]
    mouse.up()
    mouse.move(x + 40, y)
    player.page.clock.run_for(20)
    assert words(node(player, 4)).startswith("x [-1, 2, 3]")
    assert count(player) == "step 1 of 5"


def test_a_finger_drags_a_number(play):
    """Sideways; up and down it scrolls the page."""
    page = play(square(), width=360, height=740, has_touch=True)
    player = page.locator("gradbook-player")
    spot = field(player, "x[1]")
    spot.scroll_into_view_if_needed()
    assert spot.evaluate("e => getComputedStyle(e).touchAction") == "pan-y"
    box = spot.bounding_box()
    point = {"x": box["x"] + 20, "y": box["y"] + 10}
    session = page.context.new_cdp_session(page)

    def touch(kind, **moved):
        points = [] if kind == "touchEnd" else [{**point, **moved}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart")
    for moved in (8, 16, 24):
        touch("touchMove", x=point["x"] + moved)
    touch("touchEnd")
    page.clock.run_for(50)
    assert after(player) == [expected([1.0, 2.6, 3.0])]


def test_reset_brings_the_recorded_pass_back(player):
    """Every text is as it was, and the player says which of the two it shows."""
    before = player.locator(".gb-stage").text_content(), panel(player)
    assert words(player.locator(".gb-what p")).startswith("As torch ran it.")
    field(player, "x[0]").fill("7")
    player.page.clock.run_for(50)
    assert words(player.locator(".gb-what p")).startswith("Computed here")
    press(player, "Reset")
    assert (player.locator(".gb-stage").text_content(), panel(player)) == before
    assert words(player.locator(".gb-what p")).startswith("As torch ran it.")
    assert field(player, "x[0]").input_value() == "1"


def test_what_was_in_grad_is_added_to_the_new_gradient(play):
    """11 stays, whatever v is."""
    page = play(twice())
    player = page.locator("gradbook-player")
    player.get_by_role("slider").fill("4")
    field(player, "v").fill("1")
    page.clock.run_for(50)
    assert "5 + 2 = 7, from two edges" in panel(player)
    assert "v.grad = 11 + 7 = 18" in panel(player)


def test_a_kink_is_that_of_torch(play):
    """The gradient of relu at 0 is 0, just right of it 1."""
    x = torch.tensor([1.0, -1.0], requires_grad=True)
    with record_lines():
        out = torch.relu(x).sum()
    player = play(replay(out, params={"x": x})).locator("gradbook-player")
    found = []
    for value in ("0", "0.0001"):
        field(player, "x[0]").fill(value)
        player.page.clock.run_for(50)
        found += after(player)
    assert found == ["[0, 0]", "[1, 0]"]


def test_long_numbers_stay_in_their_boxes(player):
    """They are set closer."""
    player.get_by_role("slider").fill("5")
    for number in range(3):
        field(player, f"x[{number}]").fill("-1234.567e-9")
    player.page.clock.run_for(50)
    test_no_text_of_the_drawing_is_cut(player)


def test_a_pass_with_an_unknown_rule_stays_as_recorded_and_says_so(play):
    """There is nothing to drag."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    with record_lines():
        out = x.softmax(0).log().sum()
    player = play(replay(out, params={"x": x})).locator("gradbook-player")
    said = "The numbers stay as recorded: the player has no rule for SoftmaxBackward0."
    assert words(player.locator(".gb-why")) == said
    assert player.get_by_role("spinbutton").count() == 0
    assert player.locator(".gb-knob").count() == 0
    forward(player)
    assert count(player) == "step 2 of 4"


def test_numbers_that_differ_from_the_recorded_ones_are_not_played(play):
    """The script holds itself against torch before it offers anything."""
    result = square()
    result._program["nodes"][0]["constants"]["other"] = 2.5
    player = play(result).locator("gradbook-player")
    assert "here it computes other numbers than torch" in words(player.locator(".gb-why"))
    assert player.get_by_role("spinbutton").count() == 0
    assert words(node(player, 3)).startswith("y = x + 2 [3, 4, 5]")


def test_forty_nodes_follow_a_drag(play):
    """A change of a number takes a frame of 60 a second at a quarter of the speed.

    It is the processor time of the page that counts, which is the same on a busy machine.
    """
    x = torch.tensor([0.5, 0.25], requires_grad=True)
    with record_lines():
        y = x
        for _ in range(19):
            y = (y * x).tanh()
        out = y.sum()
    page = play(replay(out, params={"x": x}))
    player = page.locator("gradbook-player")
    assert player.locator(".gb-node").count() == 40
    player.get_by_role("slider").fill("40")
    page.clock.resume()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy():
        found = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in found if one["name"] == "TaskDuration")

    times = []
    for _ in range(5):
        start = busy()
        player.evaluate(
            """async e => {
              const [leaf] = Object.values(e.leaves);
              for (let at = 0; at < 40; at++) {
                leaf[0] = 0.5 + at / 100;
                e.put();
                e.offsetHeight;
              }
            }"""
        )
        times.append((busy() - start) / 40 * 1000)
    print(f"{min(times):.2f} ms a change, without painting")
    assert min(times) * 4 < 1000 / 60


# Predict, then play -----------------------------------------------------------------------------


def predict(player):
    """Switch it on."""
    player.get_by_role("checkbox", name="Predict, then play").check()


def answer(player, text):
    """Give an answer, and let the step come to its end."""
    player.locator(".gb-ask input").fill(text)
    press(player, "Check")
    player.page.clock.run_for(5_000)


def test_the_next_number_is_hidden_and_asked_for(player):
    """Neither the panel nor the drawing tells it; a right answer plays the step."""
    predict(player)
    forward(player)
    assert "What goes to y * y?" in panel(player)
    assert "0.6667" not in panel(player) + " ".join(seen(player, ".gb-stage text"))
    assert "comes in: g = [0.3333, 0.3333, 0.3333]" in panel(player)
    answer(player, "1, 1, 1")
    assert "No. Try again, or see it." in panel(player)
    answer(player, "2/3")
    assert "It has 3 numbers." in panel(player)
    answer(player, "[2/3, 0.667, 0.67]")
    assert "[0.6667, 0.6667, 0.6667]" in panel(player)
    assert "[0.6667, 0.6667, 0.6667]" in seen(player, ".gb-edge .gb-grad")
    assert player.locator(".gb-ask").count() == 0


def test_an_answer_can_be_shown(player):
    """And the keys go on from there."""
    predict(player)
    player.get_by_role("slider").fill("4")
    forward(player)
    assert "What is x.grad now?" in panel(player)
    assert "5.333" not in " ".join(seen(player, ".gb-leaf text"))
    press(player, "Show")
    player.page.clock.run_for(5_000)
    assert "is now [4, 5.333, 6.667]" in panel(player)
    player.page.keyboard.press("ArrowLeft")
    assert count(player) == "step 4 of 5"


def test_play_waits_for_the_answer(player):
    """It does not run past a question; the end of the pass is not told before."""
    predict(player)
    press(player, "Play")
    player.page.clock.run_for(60_000)
    assert count(player) == "step 2 of 5"
    assert not player.locator(".gb-row output").is_visible()
    player.get_by_role("checkbox", name="Predict, then play").uncheck()
    assert "0.6667" in panel(player)


# Beside others ----------------------------------------------------------------------------------


def test_two_players_do_not_disturb_each_other(play):
    """A second one on the page stays where it is."""
    page = play(square(), twice())
    first, second = page.locator("gradbook-player").all()
    forward(first, 2)
    second.get_by_role("slider").fill("4")
    assert count(first) == "step 3 of 5"
    assert count(second) == "step 4 of 4"
    assert first.locator(".gb-now").get_attribute("data-node") == "2"


def test_without_javascript_drawing_and_table_stand(play):
    """The drawing shows the finished pass; nothing is promised that does not work."""
    page = play(square(), java_script_enabled=False)
    player = page.locator("gradbook-player")
    assert words(node(player, 4)) == "x [1, 2, 3] .grad [4, 5.333, 6.667] AccumulateGrad 5"
    assert len(seen(player, ".gb-edge .gb-grad")) == 5
    assert player.locator("tbody tr").count() == 5
    assert player.get_by_role("button").count() == 0
    assert player.locator(".gb-side").bounding_box()["height"] < 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_theme(play, scheme):
    """Letters stand out from the page by 4.5 to 1, signs by 3 to 1."""
    page = play(twice(), color_scheme=scheme)
    player = page.locator("gradbook-player")
    player.get_by_role("slider").fill("3")
    paper = page.locator("body").evaluate("e => getComputedStyle(e).backgroundColor")
    paper = paper if scheme == "dark" else "rgb(255, 255, 255)"
    for selector, rule, least in [
        (".gb-panel", "color", 4.5),
        (".gb-panel data", "color", 4.5),
        (".gb-panel small", "color", 4.5),
        (".gb-now .gb-grad", "fill", 4.5),
        (".gb-done .gb-box", "stroke", 3),
        (".gb-now .gb-box", "stroke", 3),
        (".gb-badge circle", "stroke", 3),
    ]:
        found = player.locator(selector).first
        colour = found.evaluate("(e, rule) => getComputedStyle(e)[rule]", rule)
        assert contrast(colour, paper) >= least, (selector, colour)


def contrast(one, other):
    """As WCAG defines it; a colour may be written as rgb() or color(srgb)."""

    def light(colour):
        numbers = [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]
        scale = 1 if colour.startswith("color(") else 255
        linear = [
            part / 12.92 if (part := number / scale) <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for number in numbers
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_axe_finds_nothing(play):
    """At any step, light and dark, wide and narrow, with the table open."""
    from axe_playwright_python.base import AXE_SCRIPT

    for width, scheme in [(1280, "light"), (360, "dark")]:
        page = play(square(), twice(), width=width, color_scheme=scheme)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        page.locator("gradbook-player").first.get_by_role("slider").fill("3")
        page.clock.resume()  # axe waits for timers
        page.evaluate(AXE_SCRIPT)
        found = page.evaluate("axe.run().then(r => r.violations.map(v => v.id + v.nodes[0].html))")
        assert found == []


def test_on_paper_the_steps_are_printed(play):
    """The finished drawing and the table, with the numbers that were chosen; no buttons."""
    from playwright.sync_api import expect

    page = play(square())
    player = page.locator("gradbook-player")
    forward(player)
    field(player, "x[0]").fill("-2")
    page.clock.run_for(50)
    page.emulate_media(media="print")
    # Chromium tells the script of the change of medium with the frame that it draws next.
    expect(player.locator(".gb-count")).to_have_text("step 5 of 5")
    assert not player.locator(".gb-side").is_visible()
    assert len(seen(player, ".gb-edge .gb-grad")) == 5
    rows = [words(one) for one in player.locator("tbody tr").all() if one.is_visible()]
    assert len(rows) == 5
    assert "[0, 2.667, 3.333] + [0, 2.667, 3.333] = [0, 5.333, 6.667]" in rows[3]
    page.emulate_media(media="screen")
    expect(player.locator(".gb-count")).to_have_text("step 2 of 5")


def test_the_script_is_small():
    """Script and style are at most 16 kB compressed."""
    assert len(gzip.compress((assets.script() + assets.style()).encode())) <= 16_000


# On the site ------------------------------------------------------------------------------------


def test_on_the_site_pages_share_one_script(open_page):
    """The page of the seed program plays, on a phone in one view below the bar of the page."""
    page = open_page("learn/backward.html", width=360)
    player = page.locator("gradbook-player").first
    assert page.locator("gradbook-player script, gradbook-player style").count() == 0
    assert count(player) == "step 1 of 5"
    assert player.bounding_box()["width"] <= 360
