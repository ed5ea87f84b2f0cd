"""A drawing by module in a real browser: boxes open and close, by mouse and by keyboard."""

import pytest
import torch
from axe_playwright_python.base import AXE_SCRIPT
from torch import nn

from gradbook import graph, record_modules, replay

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Modules</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<style>body{background:Canvas;color:CanvasText;font:16px/1.5 system-ui;
margin:0 auto;max-width:46rem;padding:1rem}</style>
<body><main><h1>Modules</h1>"""


def model():
    """Three layers of three modules each, in a model."""
    layers = [
        nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4), nn.LayerNorm(4), nn.ReLU())
        for _ in range(8)
    ]
    return nn.Sequential(*layers, nn.Linear(4, 1))


@pytest.fixture
def shown(browser, tmp_path):
    """Open a page with the drawing of a model, or with a pass through it."""
    contexts = []

    def opened(what=replay, width=1280, **options):
        net = model()
        with record_modules(net):
            loss = net(torch.ones(1, 4)).sum()
        html = what(loss, params=net)._repr_mimebundle_()["text/html"]
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(PAGE + html, encoding="utf-8")
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            assert page.errors == []
        context.close()


def titles(page):
    """What the boxes and frames in view are called."""
    names = page.locator(".gb-whole-view .gb-name").all()
    return [one.text_content() for one in names]


def trail(page):
    """Where the reader is."""
    return [one.text_content() for one in page.locator(".gb-trail button").all()]


@pytest.mark.parametrize("what", [graph, replay])
def test_a_click_opens_a_module_down_to_operations_and_the_trail_leads_back(shown, what):
    """From the whole to a layer, to a linear layer, to its weight."""
    page = shown(what)
    assert trail(page) == ["the whole"]
    page.locator('.gb-node[data-module="0"]').click()
    assert {".0", ".1", ".2", ".3", ".4"} < set(titles(page))
    page.locator('.gb-node[data-module="0.2"]').click()
    assert trail(page) == ["the whole", "0", "0.2"]
    assert {"0.2.weight", "0.2.bias", "AddmmBackward0"} < set(titles(page))
    page.get_by_role("button", name="the whole").click()
    assert trail(page) == ["the whole"]
    assert "Sequential" in titles(page)


def test_keys_open_and_close(shown):
    """Enter opens the box that has the focus; Escape closes it, and the focus is on it again."""
    page = shown()
    page.locator('.gb-node[data-module="7"]').focus()
    page.keyboard.press("Enter")
    assert trail(page) == ["the whole", "7"]
    page.keyboard.press("Escape")
    assert trail(page) == ["the whole"]
    assert page.evaluate("document.activeElement.dataset.module") == "7"


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_the_width_and_zooms(shown, width):
    """Nothing leaves the page; enlarged it scrolls in its own room."""
    page = shown(width=width)
    view = page.locator(".gb-whole-view")
    size = "e => [e.scrollWidth, e.clientWidth]"
    wide, room = view.evaluate(size)
    assert wide <= room
    for _ in range(5):
        page.get_by_role("button", name="Larger").click()
    wide, room = view.evaluate(size)
    assert wide > room
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for _ in range(7):
        page.get_by_role("button", name="Smaller").click()
    wide, room = view.evaluate(size)
    assert wide <= room


def test_without_a_script_the_insides_stand_in_a_list(shown):
    """Each opens as any list of details does."""
    page = shown(java_script_enabled=False)
    page.get_by_text("What is inside of 49 modules").click()
    page.locator('details[data-module="0.2"] summary').click()
    assert page.locator('details[data-module="0.2"] svg').is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(shown, scheme):
    """By the rules of axe, whole and opened."""
    page = shown(color_scheme=scheme)
    page.evaluate(AXE_SCRIPT)
    violations = "axe.run().then(r => r.violations.map(v => [v.id, ...v.nodes.map(n => n.html)]))"
    assert page.evaluate(violations) == []
    page.locator('.gb-node[data-module="0"]').click()
    assert page.evaluate(violations) == []


def test_on_paper_the_whole_drawing_stands(shown):
    """Without buttons, and without a room that scrolls."""
    page = shown()
    page.emulate_media(media="print")
    assert not page.locator(".gb-bar").is_visible()
    high, room = page.locator(".gb-whole-view").evaluate("e => [e.scrollHeight, e.clientHeight]")
    assert high <= room + 1
