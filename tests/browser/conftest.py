"""A browser, the built site on a loopback port, and one visit to each page.

These tests run in `nox -s browser` alone: it builds the site first and has the browser.
"""

import functools
import gzip
import http.server
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # other sessions have no playwright, and read this file all the same
    from playwright.sync_api import Browser, Page

# The session says where the site lies; without one there is nothing to test.
SITE = Path(os.environ.get("GRADBOOK_SITE", "absent"))
collect_ignore_glob = [] if SITE.is_dir() else ["test_*.py"]

PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if SITE.is_dir())
PHONE, DESK = 360, 1280
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    # A request to another host fails as it would without a network.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# Recorded before the page's own scripts run.
WATCH_SHIFTS = """
window.shift = 0;
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""
SETTLE = "document.fonts.ready.then(() => new Promise(r => setTimeout(r, 100)))"
UNNAMED = """() => [...document.querySelectorAll("article img, article svg, article canvas")]
  .filter(e => !e.parentElement.closest("svg, button, [aria-hidden=true]"))
  .filter(e => e.getAttribute("aria-hidden") !== "true")
  .filter(e => e.tagName === "IMG"
    ? !e.alt.trim() || e.alt.includes("_images/")
    : e.getAttribute("role") !== "img"
      || !(e.getAttribute("aria-label") || e.querySelector(":scope > title")?.textContent || "").trim())
  .map(e => e.outerHTML.slice(0, 200))"""


@dataclass
class Visit:
    """What one page showed at one width."""

    name: str
    width: int
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    shift: float = 0.0
    sideways: int = 0
    unnamed: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *arguments: object) -> None:
        """Drop the line."""


@pytest.fixture(scope="session")
def served() -> Iterator[str]:
    """Address of the site."""
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Chromium of the system, or the one that GRADBOOK_CHROMIUM names."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("GRADBOOK_CHROMIUM") or shutil.which("chromium")
    assert path, "install chromium, or name one in the environment variable GRADBOOK_CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "Browser", served: str) -> Iterator[Callable[..., "Page"]]:
    """Open a page of the site in a new context, whose options the test gives."""
    contexts = []

    def opened(name: str, width: int = DESK, **options: Any) -> "Page":
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.goto(served + name)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(
    scope="session",
    params=[(name, width) for name in PAGES for width in (PHONE, DESK)],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def visit(
    request: pytest.FixtureRequest, browser: "Browser", served: str, weights: dict[str, int]
) -> Iterator[Visit]:
    """One visit to each page at each width: loading it is what takes time, so it serves all."""
    name, width = request.param
    seen = Visit(name, width)
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="light", reduced_motion="reduce"
    )
    context.add_init_script(WATCH_SHIFTS)
    page = context.new_page()
    responses: list[str] = []
    page.on("request", lambda r: None if _own(r.url, served) else seen.outside.append(r.url))
    page.on("requestfinished", lambda r: responses.append(r.url))
    page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.goto(served + name, wait_until="load")
    page.evaluate(SETTLE)
    seen.shift = page.evaluate("window.shift")
    seen.sideways = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    # What is folded is read too.
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    seen.sideways = max(
        seen.sideways,
        page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        ),
    )
    seen.unnamed = page.evaluate(UNNAMED)
    seen.violations = _axe(page, "light")
    page.emulate_media(color_scheme="dark")
    # Of all rules only these two look at colours.
    seen.violations += _axe(page, "dark", only=("color-contrast", "link-in-text-block"))
    seen.weights = {url.removeprefix(served): _compressed(url, served) for url in responses}
    if width == DESK:
        weights[name] = sum(seen.weights.values())
    context.close()
    yield seen


def _own(url: str, served: str) -> bool:
    return url.startswith((served, "data:", "blob:"))


def _axe(page: "Page", theme: str, only: tuple[str, ...] = ()) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = {"type": "rule", "values": list(only)}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{theme}: {rule['id']} ({rule['help']}): {node['html'][:160]} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


@functools.cache
def _compressed(url: str, served: str) -> int:
    """Bytes over the wire: what a server sends that compresses text, as the usual ones do."""
    path = SITE / url.removeprefix(served).partition("?")[0].partition("#")[0]
    if not path.is_file():
        return 0
    content = path.read_bytes()
    return len(content) if path.suffix in {".woff2", ".png"} else len(gzip.compress(content))


_WEIGHTS = pytest.StashKey[dict[str, int]]()


@pytest.fixture(scope="session")
def weights(request: pytest.FixtureRequest) -> dict[str, int]:
    """Compressed bytes of each page with all that it loads; printed at the end."""
    return request.config.stash.setdefault(_WEIGHTS, {})


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table of page weights, heaviest first."""
    table = config.stash.get(_WEIGHTS, {})
    if table:
        terminalreporter.section("page weights: first visit, compressed")
        for name, weight in sorted(table.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{weight / 1000:8.1f} kB  {name}")
