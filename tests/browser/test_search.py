"""The search of the site, in a real browser: what readers look for comes first."""

import tomllib
from pathlib import Path
from urllib.parse import quote_plus, unquote

import pytest
from conftest import DESK, PHONE, SITE

from gradbook.understand.catalogue import load
from publishing.search import typed

TESTS = Path(__file__).parents[1]


def pairs(name):
    """Queries and places, and of those the symptoms."""
    tables = tomllib.loads((TESTS / name).read_text("utf-8"))
    found = [(query, load()[entry].path) for query, entry in tables.pop("symptoms").items()]
    return [one for queries in tables.values() for one in queries.items()] + found, found


QUERIES, SYMPTOMS = pairs("search_queries.toml")
CHINESE, _ = pairs("search_queries_zh.toml")
TYPED = typed(TESTS.parent / "docs" / "locale", "zh_TW")
MESSAGE = "element 0 of tensors does not require grad and does not have a grad_fn"
PLACE = "clinic/errors/no-graph.html"


def results(page, count=2):
    """Addresses of the first results, once they are there."""
    page.wait_for_selector(".search-status:not(:empty)")
    links = page.locator("#search-results li > a").all()[:count]
    return [unquote(link.get_attribute("href")).removeprefix("./") for link in links]


def leads_to(address, place):
    """A page stands for all places on it."""
    return address == place or address.partition("#")[0] == place


def test_there_are_forty_queries():
    """Messages, names and concepts; a new page brings its own before it is written."""
    assert len(QUERIES) - len(SYMPTOMS) >= 40


def test_there_are_sixty_symptoms():
    """What people type who have no message."""
    assert len(SYMPTOMS) >= 60


def test_there_are_twenty_queries_in_chinese():
    """Most of them mixed with English names, as people really type."""
    assert len(CHINESE) >= 20


@pytest.mark.parametrize(("folder", "queries"), [("", QUERIES), ("zh-tw/", CHINESE)])
def test_every_query_finds_its_place(open_page, folder, queries):
    """First or second, in one visit to the page; each is typed in as a reader would."""
    page = open_page(f"{folder}search.html")
    field = page.locator("#search-field")
    missed = {}
    for query, place in queries:
        field.fill("")
        page.wait_for_selector(".search-status:empty", state="attached")
        field.fill(query)
        found = results(page)
        if not any(leads_to(address, place) for address in found):
            missed[query] = found
    assert missed == {}


def test_every_symptom_finds_its_entry_in_the_clinic(open_page):
    """First or second, typed into its field."""
    page = open_page("clinic/index.html")
    field = page.get_by_label("Paste a message")
    missed = {}
    for query, place in SYMPTOMS:
        field.fill("")
        page.wait_for_selector(".clinic-status:empty", state="attached")
        field.fill(query)
        page.wait_for_selector(".clinic-status:not(:empty)")
        links = page.locator(".clinic-results a").all()[:2]
        found = [link.get_attribute("href").removeprefix("../") for link in links]
        if place not in found:
            missed[query] = found
    assert missed == {}


@pytest.mark.parametrize("place", sorted({*TYPED, *(place for _, place in QUERIES + CHINESE)}))
def test_the_place_exists(place):
    """The page and the element on it are there; so are those that a language has words for."""
    name, _, anchor = place.partition("#")
    html = (SITE / name).read_text("utf-8")
    assert not anchor or f'id="{anchor}"' in html


def test_the_field_of_every_page_leads_to_the_results(open_page):
    """Type, press Enter: the search page answers; its first result leads to the place."""
    page = open_page("learn/detach.html")
    page.locator(".sidebar-search").fill(MESSAGE)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    assert results(page, 1) == [PLACE]
    page.locator("#search-results li > a").first.click()
    page.wait_for_url(f"**/{PLACE}")


def test_the_keyboard_goes_from_the_field_to_the_first_result(open_page):
    """Enter moves the focus to it, a second Enter opens it."""
    page = open_page("search.html")
    field = page.get_by_label("A message, a name, or a few words")
    field.fill(MESSAGE)
    results(page)
    field.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('href')").endswith(PLACE)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{PLACE}")


def test_a_screen_reader_hears_how_many_there_are(open_page):
    """The count is a status; an unknown word is said to find nothing."""
    page = open_page("search.html?q=detach")
    results(page)
    status = page.get_by_role("status")
    assert status.inner_text().startswith("20 results")
    page.get_by_label("A message, a name, or a few words").fill("zzzqqqxxx")
    page.wait_for_function("document.querySelector('.search-status').textContent[0] === 'N'")
    assert status.inner_text().startswith("Nothing found.")
    assert page.locator("#search-results li").count() == 0


def test_a_search_without_results_leads_on(open_page):
    """To the questions of the Clinic, and to entries with words that are a little like these."""
    page = open_page("search.html?q=zzzqqqxxx")
    page.wait_for_selector(".search-lost a")
    page.get_by_role("link", name="Gradient trouble").click()
    page.wait_for_url("**/clinic/gradient-trouble.html")
    page = open_page("search.html?q=batchnrmlztn")
    page.wait_for_selector(".search-lost a")
    near = page.locator("#search-results li > a").all()
    assert 1 <= len(near) <= 3
    assert all("clinic/" in link.get_attribute("href") for link in near)
    page.get_by_label("A message, a name, or a few words").fill("detach")
    page.wait_for_selector(".search-lost", state="hidden")


def test_the_address_keeps_the_query(open_page):
    """So that results can be shared, and the way back works."""
    page = open_page("search.html")
    page.get_by_label("A message, a name, or a few words").fill("version counter")
    page.wait_for_function("location.search === '?q=version+counter'")
    page.reload()
    assert results(page, 1) == ["reference/glossary.html#term-version-counter"]


def test_it_works_from_a_disk(browser):
    """No server and no network: the address of a file."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(f"{(SITE / 'search.html').resolve().as_uri()}?q={quote_plus(MESSAGE)}")
    assert results(page, 1) == [PLACE]
    context.close()


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_results(open_page, width, scheme):
    """With results on the page, which an empty search page does not have."""
    from axe_playwright_python.sync_playwright import Axe

    page = open_page("search.html?q=detach+clone", width, color_scheme=scheme)
    results(page)
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    assert [one["id"] for one in found.response["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_other_pages_load_nothing_for_it(open_page):
    """The entries and the engine come with the search page alone."""
    page = open_page("learn/detach.html")
    loaded = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if "search" in name] == []


def test_without_javascript_the_page_says_what_to_do(open_page):
    """It leads to the lists of all there is, and to a page with all text."""
    page = open_page("search.html", java_script_enabled=False)
    assert not page.locator(".search-form").is_visible()
    article = page.locator("article")
    assert "needs JavaScript" in article.inner_text()
    links = [link.get_attribute("href") for link in article.locator("noscript a").all()]
    assert links == [
        *("clinic/index.html", "reference/glossary.html", "genindex.html", "llms-full.txt"),
    ]
    assert all((SITE / link).exists() for link in links)


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("learn/detachh.html", "learn/detach"),
        ("howto/old/freeze_layers/", "howto/freeze-layers"),
        ("clip-gradient", "howto/clip-gradients"),
    ],
)
def test_a_wrong_address_is_searched_for_its_words(open_page, served, address, meant):
    """At any depth; the first place that is found is the one that was meant."""
    page = open_page("404.html")
    assert page.locator(".lost a").count() == 0
    lost = (SITE / "404.html").read_text("utf-8")
    page.route(
        served + address,
        lambda route: route.fulfill(status=404, content_type="text/html", body=lost),
    )
    page.goto(served + address)
    page.wait_for_selector(".lost a")
    first = page.locator(".lost a").first
    assert meant in first.get_attribute("href")
    first.click()
    page.wait_for_load_state()
    assert page.locator("h1").inner_text() != "Page not found"


def test_the_search_box_opens_on_the_page_for_a_wrong_address(open_page, served):
    """Its scripts are found from any depth."""
    page = open_page("404.html")
    lost = (SITE / "404.html").read_text("utf-8")
    page.route(f"{served}a/b/c", lambda route: route.fulfill(content_type="text/html", body=lost))
    page.goto(f"{served}a/b/c")
    page.keyboard.press("/")
    page.locator(".palette-field").fill("detach")
    page.wait_for_selector(".palette-results a")
