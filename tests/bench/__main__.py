"""Measure the book and the package beside their peers: `nox -s bench`.

Everything is a ratio of times that were taken in turns on one machine. The result is a file, which
the page docs/about/benchmarks.md reads. Run it while the machine does nothing else.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import accumulation
import convert
import graphs
from builds import PART, ROOT, Tool, Workshop, environment
from nbclient import NotebookClient
from results import Bar, Measurement, Spread, machine, take_turns, write
from weights import weigh

RESULT = ROOT / "docs" / "_data" / "benchmarks.json"
BOOK, OFF = "this book", "Sphinx without execution"
BARE = "that, without the book's extensions"
STOCK, GALLERY = "MyST-NB, one job", "sphinx-gallery, one process"
EDITED = f"{PART}/accumulation.md"


def told(name: str, action: Callable[[], float]) -> Callable[[], float]:
    """The action, telling how long it took: a run of minutes should show that it goes on."""

    def run() -> float:
        seconds = action()
        print(f"{seconds:8.1f} s  {name}", file=sys.stderr, flush=True)
        return seconds

    return run


def cold(tools: dict[str, Tool], what: str, rounds: int) -> Measurement:
    """Builds that find nothing of an earlier one."""
    actions = {name: told(f"{what}: {name}", tool.cold) for name, tool in tools.items()}
    return Measurement(what, BOOK, rounds, take_turns(actions, BOOK, rounds))


def again(book: Tool, off: Tool, bare: Tool, rounds: int) -> dict[str, Measurement]:
    """Builds of the whole book after a change of one page, or of none.

    The own run of the page, in the last one, is that of its cells in an ordinary kernel, from the
    start of the interpreter; a build that runs it cannot take less.
    """
    numbers = itertools.count()  # each edit is a new one

    def unchanged(page: Path) -> None:
        """Leave it."""

    def prose(page: Path) -> None:
        page.write_text(page.read_text("utf-8") + f"\nEdited {next(numbers)}.\n", encoding="utf-8")

    def code(page: Path) -> None:
        fence = "```{code-cell} python\n"
        before, _, after = page.read_text("utf-8").partition(fence + "import torch\n")
        assert after, f"{page} has no cell that begins with `import torch`"
        text = f"{before}{fence}import torch\n\nedited = {next(numbers)}\n{after}"
        page.write_text(text, encoding="utf-8")

    def after(change: Callable[[Path], None], tool: Tool, *, run: bool = False) -> float:
        page = tool.source / EDITED
        change(page)
        return tool.build() + (own_run(page, tool) if run else 0)

    found = {}
    for name, what, change in (
        ("unchanged", "build again, no change", unchanged),
        ("prose", "build again, a sentence of one page changed", prose),
        ("code", "build again, a cell of one page changed", code),
    ):
        runs = name == "code"
        reference = f"{OFF}, and the page's own run" if runs else OFF
        actions = {
            reference: told(f"{what}: {reference}", lambda c=change, r=runs: after(c, off, run=r)),
            BOOK: told(f"{what}: {BOOK}", lambda c=change: after(c, book)),
        }
        if name == "unchanged":
            actions[BARE] = told(f"{what}: {BARE}", lambda c=change: after(c, bare))
        found[name] = Measurement(what, reference, rounds, take_turns(actions, reference, rounds))
    return found


def own_run(page: Path, tool: Tool) -> float:
    """Seconds that the cells of a page take in an ordinary kernel, from its start to its end."""
    notebook = convert.read(page.read_text("utf-8"))
    client = NotebookClient(notebook, timeout=120, shutdown_kernel="immediate")
    start = time.perf_counter()
    client.execute(env=environment(tool.source.parent))
    return time.perf_counter() - start


def weight(tools: dict[str, tuple[Tool, str]]) -> tuple[Measurement, Measurement]:
    """Bytes of the pages that all tools built, and how many files they take from other hosts."""
    sizes, elsewhere = {}, {}
    for name, (tool, folder) in tools.items():
        built = sorted((tool.site / "html" / folder).glob("*.html"))
        pages = [page for page in built if page.stem not in ("index", "sg_execution_times")]
        found = [weigh(page) for page in pages]
        sizes[name] = Spread.of([size for size, _ in found])
        elsewhere[name] = Spread.of([count for _, count in found])
    return (
        Measurement("visit a page of the Learn path first", "bytes, compressed", 1, sizes),
        Measurement("visit a page of the Learn path first", "files of other hosts", 1, elsewhere),
    )


def graph_bars(found: dict[str, Measurement]) -> list[Bar]:
    """What was promised of graph() and replay()."""
    read, run = found["reading"].values, found["replay"].values
    same = "in the time of a plain walk that reads the same"
    # Not in the time of a bare walk: to look at what each node saved takes six times as long as
    # that, before anything is done with it.
    each = [
        Bar(f"{name} of 10,000 nodes: {same}", read[name].median, 1.2, "at most")
        for name in ("graph(), x * c", "graph(), sin(x)")
    ]
    return each + [
        Bar(f"{name}: in the time of backward()", run[name].median, limit, "at most")
        for name, limit in (
            ("replay(), an LSTM over 200 steps", 10),
            ("replay(), a small transformer", 8),
            ("replay(), a chain of 200,000 nodes", 10),
        )
    ]


def bars(found: dict[str, Measurement]) -> list[Bar]:
    """The promises of the design, each as the number that it is about."""

    def value(measurement: str, name: str) -> float:
        return found[measurement].values[name].median

    ours = value("accumulation", "GradientAccumulator")
    walk = value("walk", "graph(), x + 1")
    drawing = value("drawing", "torchviz, x + 1")
    least, most = "at least", "at most"
    again = "in the time of Sphinx without execution"
    return [
        Bar("Learn path from nothing: MyST-NB's time in ours", value("cold", STOCK), 4, least),
        Bar("whole book from nothing: MyST-NB's time in ours", value("whole", STOCK), 4, least),
        Bar("Learn path: sphinx-gallery's time in ours", value("cold", GALLERY), 1, least),
        Bar(f"no change: our time {again}", value("unchanged", BOOK), 1.5, most),
        Bar(f"a sentence changed: our time {again}", value("prose", BOOK), 1.5, most),
        Bar(f"a cell changed: our time {again}, plus its run", value("code", BOOK), 1.5, most),
        Bar("graph() on 10,000 nodes that save nothing: in the time of a bare walk", walk, 5, most),
        Bar("graph() on 200 nodes: torchviz's time in ours", drawing, 5, least),
        Bar("GradientAccumulator: in the time of a loop by hand", ours, 1.05, most),
        Bar(
            "GradientAccumulator: in the time of accelerate",
            round(ours / value("accumulation", "accelerate"), 4),
            *(1, most),
        ),
        Bar(
            "GradientAccumulator: in the time of Fabric",
            round(ours / value("accumulation", "Fabric"), 4),
            *(1, most),
        ),
        Bar("a page of the Learn path: kB, compressed", value("bytes", BOOK) / 1000, 100, most),
        *graph_bars(found),
    ]


def main() -> int:
    """Measure, write, and print the bars; 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--rounds", type=int, default=3, help="of builds (default: 3)")
    parser.add_argument("--pages", type=int, help="build only so many pages: a first look")
    parser.add_argument("--graphs", action="store_true", help="only graph() and replay(); no file")
    options = parser.parse_args()
    found_machine = machine()
    rounds = options.rounds
    measurements: dict[str, Measurement] = {
        "walk": graphs.walks(5 * rounds),
        "reading": graphs.readings(5 * rounds),
        "replay": graphs.passes(2 * rounds),
    }
    if options.graphs:
        return told_bars(graph_bars(measurements))
    measurements["drawing"] = graphs.drawings(15 * rounds)
    measurements["accumulation"] = accumulation.loops(15 * rounds)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        shop = Workshop(Path(folder), options.pages)
        tools = {
            BOOK: shop.book("part"),
            STOCK: shop.stock("part-stock", jobs="1"),
            "MyST-NB, all cores": shop.stock("part-stock-jobs", jobs="auto"),
            GALLERY: shop.gallery("gallery", parallel=False),
            "sphinx-gallery, all cores": shop.gallery("gallery-jobs", parallel=True),
            "nbsphinx, all cores": shop.nbsphinx("nbsphinx", jobs="auto"),
        }
        measurements["cold"] = cold(tools, "build the Learn path from nothing", rounds)
        built = {
            BOOK: (tools[BOOK], PART),
            "MyST-NB": (tools[STOCK], PART),
            "sphinx-gallery": (tools[GALLERY], "pages"),
            "nbsphinx": (tools["nbsphinx, all cores"], PART),
        }
        measurements["bytes"], measurements["hosts"] = weight(built)
        whole = {
            BOOK: shop.book("book", part=False),
            STOCK: shop.stock("book-stock", jobs="1", part=False),
        }
        measurements["whole"] = cold(whole, "build the whole book from nothing", 1)
        off = shop.stock("book-off", jobs="auto", mode="off", part=False)
        bare = shop.bare("book-bare")
        told(f"first build: {OFF}", off.cold)()
        told(f"first build: {BARE}", bare.cold)()
        measurements |= again(whole[BOOK], off, bare, rounds)
        pages = [f"{PART}/{page.stem}" for page in shop.pages]
    found = bars(measurements)
    write(options.out, found_machine, pages, measurements, found)
    return told_bars(found)


def told_bars(found: list[Bar]) -> int:
    """Print the bars; 1 if one is missed."""
    for bar in found:
        mark = "holds " if bar.holds else "MISSED"
        print(f"{mark}  {bar.text}: {bar.value:.2f} ({bar.sense} {bar.limit})")
    return 0 if all(bar.holds for bar in found) else 1


if __name__ == "__main__":
    sys.exit(main())
