"""A browser, the built site on a loopback port, and one visit to each page.

These tests run in `nox -s browser` alone: it builds the site first and has the browser.
"""

import functools
import gzip
import http.server
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gradbook.understand.catalogue import load

if TYPE_CHECKING:  # other sessions have no playwright, and read this file all the same
    from playwright.sync_api import Browser, BrowserContext, Page

# The session says where the site lies; without one there is nothing to test.
SITE = Path(os.environ.get("GRADBOOK_SITE", "absent"))
collect_ignore_glob = [] if SITE.is_dir() else ["test_*.py"]

ALL = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if SITE.is_dir())
PAGES = [name for name in ALL if not name.startswith("zh-tw/")]
# The pages in Chinese are those in English with other words: of them, one of each kind is visited.
CHINESE = [
    *("index.html", "search.html", "404.html", "learn/index.html", "learn/backward.html"),
    *("learn/digits.html", "clinic/index.html", "clinic/errors/backward.html"),
    "clinic/errors/no-graph.html",
    *("howto/clip-gradients.html", "deeper/build-your-own.html", "reference/api.html"),
    *("reference/cheat-sheet.html", "reference/glossary.html", "reference/versions.html"),
    "about/checking.html",
]
# So are the entries of the Clinic: of each group the longest stands for all, unless
# GRADBOOK_EVERY_PAGE is set; a visit to each takes a quarter of an hour.
ENTRIES = {one.path: (one.folder, one.group) for one in load().entries}


def _visited() -> list[str]:
    if os.environ.get("GRADBOOK_EVERY_PAGE"):
        return PAGES
    by_length = sorted(
        (page for page in PAGES if page in ENTRIES), key=lambda page: (SITE / page).stat().st_size
    )
    longest = {ENTRIES[page]: page for page in by_length}.values()
    return [page for page in PAGES if page not in ENTRIES or page in longest]


VISITED = [*_visited(), *(f"zh-tw/{name}" for name in CHINESE)] if ALL else []
PHONE, DESK = 360, 1280
# A page brings at most 100 kB at a first visit: 34 for looks and scripts, 19 for the letters of
# mathematics, the rest its own. These may bring more, for a reason.
HEAVY = {
    "search.html": (280, "the index of the whole site, which no other page loads"),
    "clinic/index.html": (125, "what it searches while one types: 55 kB of messages and traps"),
    "deeper/build-your-own.html": (110, "the engine stands whole, beside a player and its tests"),
    "deeper/complex.html": (110, "figures of arrows in the plane, 5 kB that judge answers"),
    "deeper/kinks-and-nans.html": (107, "figures of kinks and of samples, 5 kB that judge answers"),
    "howto/find-where-gradients-die.html": (108, "a model opened by module, with bars of norms"),
}
# Chinese takes up to three bytes a letter, and its words of scripts are a file of their own.
CHINESE_MORE = {"clinic/index.html": 70, "search.html": 60}


def limit(name: str) -> tuple[int, str]:
    """How many kB a page may bring, and why it may bring more than others."""
    english = name.removeprefix("zh-tw/")
    most, reason = HEAVY.get(english, (100, ""))
    return most + (0 if english == name else CHINESE_MORE.get(english, 8)), reason


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
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Spans of one kind in code have the same colours: one of each is enough, and axe is slow on spans.
THIN_OUT = """() => {
  const seen = new Set();
  for (const span of document.querySelectorAll("article pre span")) {
    const box = span.closest("[class*=highlight-], .cell_output");
    const kind = `${box?.className} ${span.className}`;
    if (seen.has(kind) && !span.firstElementChild) span.replaceWith(...span.childNodes);
    seen.add(kind);
  }
}"""
# Axe is slowest where it compares letters with what lies behind them. Texts of one kind (in equal
# elements, with equal styles) are told apart by none of its rules about contrast: of each kind
# it is shown one that is in view. Of letters in drawings it never judges: they lie on shapes.
MARK_ONE_OF_EACH_KIND = """() => {
  const kinds = new Map(), shown = new Set();
  const kind = e => {
    if (!e) return "";
    if (!kinds.has(e)) {
      const s = getComputedStyle(e);
      kinds.set(e, [kind(e.parentElement), e.tagName, e.className, e.getAttribute("style"),
        s.color, s.backgroundColor, s.backgroundImage, s.opacity, s.textShadow, s.fontSize,
        s.fontWeight, s.display, s.visibility, s.position, (e.control ?? e).disabled,
        e.ariaDisabled].join(" "));
    }
    return kinds.get(e);
  };
  const inView = e => {
    let box = e.getBoundingClientRect();
    if (!box.width || !box.height) return false;
    while ((e = e.parentElement)) {
      const s = getComputedStyle(e), around = e.getBoundingClientRect();
      if (s.overflowX !== "visible" && (box.left >= around.right || box.right <= around.left)
        || s.overflowY !== "visible" && (box.top >= around.bottom || box.bottom <= around.top))
        return e === document.documentElement || e === document.body;
    }
    return true;
  };
  // A link in a sentence is another kind than one that stands alone.
  const inText = link => {
    for (let e = link.parentElement; e; e = e.parentElement) {
      const others = [...e.childNodes].filter(n => !n.contains(link)
        && !n.querySelector?.("a, button") && !n.matches?.("a, button, ul, ol, dl, div"));
      if (others.some(n => n.textContent.trim())) return true;
      if (getComputedStyle(e).display !== "inline") return false;
    }
  };
  const mark = (name, elements, kindOf) => {
    for (const e of document.querySelectorAll(`[${name}]`)) e.removeAttribute(name);
    const shown = new Set(), hidden = new Map();
    for (const e of elements) {
      const its = kindOf(e);
      if (shown.has(its)) continue;
      if (inView(e)) {
        shown.add(its);
        e.setAttribute(name, "");
      } else if (!hidden.has(its)) hidden.set(its, e);
    }
    for (const [its, e] of hidden) if (!shown.has(its)) e.setAttribute(name, "");
  };
  const all = [...document.body.querySelectorAll("*")].filter(e => !(e instanceof SVGElement));
  mark("data-text", all.filter(e => e.matches("input, select, textarea")
    || [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim())), kind);
  mark("data-link", all.filter(e => e.matches("a[href], [role=link]")), e => kind(e) + inText(e));
}"""
LOOK_AT_THESE = """axe.configure({rules: [
  {id: "color-contrast", selector: "[data-text]"},
  {id: "link-in-text-block", selector: "[data-link]"},
]})"""
COLOUR_RULES = ("color-contrast", "link-in-text-block")
# Figures, outputs and drawings without a text; what lies inside of a named one is its part.
UNNAMED = """() => [...document.querySelectorAll("article img, article svg, article canvas")]
  .filter(e => !e.parentElement.closest("svg, button, [aria-hidden=true]"))
  .filter(e => e.getAttribute("aria-hidden") !== "true")
  .filter(e => e.tagName === "IMG"
    ? !e.alt.trim() || e.alt.includes("_images/")
    : !["img", "group"].includes(e.getAttribute("role"))
      || !(e.getAttribute("aria-label") || e.querySelector(":scope > title")?.textContent)?.trim())
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
    weight: int = 0  # bytes over the wire


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files over one connection, and says nothing."""

    protocol_version = "HTTP/1.1"

    def translate_path(self, path: str) -> str:
        """Find the file: the site may lie below a folder of its host."""
        return super().translate_path(f"/{path.removeprefix(_folder())}")

    def log_message(self, *arguments: object) -> None:
        """Drop the line."""


@functools.cache
def _folder() -> str:
    """Path of the site on its host, as it says itself: the 404 page depends on it."""
    front = (SITE / "index.html").read_text("utf-8")
    found = re.search(r'rel="canonical" href="\w+://[^/]+(/[^"]*?)index\.html"', front)
    return found[1] if found else "/"


@pytest.fixture(scope="session")
def served() -> Iterator[str]:
    """Address of the site."""
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{_folder()}"
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


@pytest.fixture(scope="session")
def contexts(browser: "Browser") -> Iterator[dict[int, "BrowserContext"]]:
    """A context for each width; its pages share the cache, as those that a reader opens do."""
    made = {}
    for width in (PHONE, DESK):
        size = {"width": width, "height": 800}
        made[width] = browser.new_context(viewport=size, reduced_motion="reduce")
        made[width].add_init_script(WATCH_SHIFTS)
    yield made
    for context in made.values():
        context.close()


@pytest.fixture(
    scope="session",
    params=[(name, width) for name in VISITED for width in (PHONE, DESK)],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def visit(
    request: pytest.FixtureRequest,
    contexts: dict[int, "BrowserContext"],
    served: str,
    weights: dict[str, int],
) -> Visit:
    """One visit to each page at each width: loading it is what takes time, so it serves all."""
    name, width = request.param
    seen = Visit(name, width)
    loaded: set[str] = set()
    page = contexts[width].new_page()
    page.emulate_media(color_scheme="light")
    page.on("request", lambda r: None if _own(r.url, served) else seen.outside.append(r.url))
    page.on("requestfinished", lambda r: loaded.add(r.url))
    page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.goto(served + name, wait_until="load")
    page.evaluate(SETTLE)
    seen.shift = page.evaluate("window.shift")
    folded = page.evaluate(SIDEWAYS)
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    seen.sideways = max(folded, page.evaluate(SIDEWAYS))
    seen.unnamed = page.evaluate(UNNAMED)
    seen.violations = _axe(page)
    seen.weight = weights[name] = sum(_compressed(url, served) for url in loaded)
    page.close()
    return seen


def _own(url: str, served: str) -> bool:
    return url.startswith((served, "data:", "blob:"))


def _axe(page: "Page") -> list[str]:
    """What axe finds: by all of its rules in light, by those about colours in dark too."""
    from axe_playwright_python.base import AXE_SCRIPT

    page.evaluate(THIN_OUT)
    page.evaluate(AXE_SCRIPT)
    page.evaluate(LOOK_AT_THESE)
    found = []
    for theme, options in (("light", {}), ("dark", {"runOnly": [*COLOUR_RULES]})):
        page.emulate_media(color_scheme=theme)
        page.evaluate(MARK_ONE_OF_EACH_KIND)
        violations = page.evaluate(
            "options => axe.run(options).then(results => results.violations)",
            {"resultTypes": ["violations"], **options},
        )
        found += [(theme, rule) for rule in violations]
    return [
        f"{theme}: {rule['id']} ({rule['help']}): {node['html'][:160]} {node['failureSummary']}"
        for theme, rule in found
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


# With `pytest -n 2 --dist loadgroup` pages are shared out between processes, each with a browser.


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of a visit, and of a file without visits, run in one process."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        visited = callspec.params.get("visit") if callspec is not None else None
        item.add_marker(pytest.mark.xdist_group(visited[0] if visited else item.path.name))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the weights from a process to the one that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["weights"] = session.config.stash.get(_WEIGHTS, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Receive them."""
    weights = node.config.stash.setdefault(_WEIGHTS, {})
    weights.update(getattr(node, "workeroutput", {}).get("weights", {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table of page weights, heaviest first."""
    table = config.stash.get(_WEIGHTS, {})
    if table:
        terminalreporter.section("page weights: first visit, compressed")
        for name, weight in sorted(table.items(), key=lambda item: -item[1]):
            _, reason = limit(name)
            terminalreporter.write_line(f"{weight / 1000:8.1f} kB  {f'{name}  {reason}'.strip()}")
