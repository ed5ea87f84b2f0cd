"""How long the cells of each page run, beside those of the page in the middle.

    python tests/bench/run_times.py [CACHE]

builds the whole book from nothing, or takes the runs in a CACHE of an earlier build, and writes a
file that the page docs/about/checking.md reads. Seconds differ by machine: what is kept is ratios.
"""

import argparse
import datetime
import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

from builds import ROOT, Workshop
from jupyter_cache import get_cache
from results import machine

RESULT = ROOT / "docs" / "_data" / "run_times.json"


def seconds_in(cache: Path) -> dict[str, float]:
    """Seconds that each page ran, as the cache of a build has them; of two runs, the last.

    Raises:
        ValueError: no page has run.
    """
    records = sorted(get_cache(cache).list_cache_records(), key=lambda one: one.created)
    found = {}
    for record in records:
        _, _, page = record.uri.rpartition("/docs/")
        found[page.removesuffix(".md")] = float(record.data["execution_seconds"])
    if not found:
        raise ValueError(f"{cache} has no runs: build the book first")
    return found


def ratios(seconds: Mapping[str, float]) -> dict[str, float]:
    """In terms of the page in the middle, the longest first.

    >>> ratios({"a": 1.0, "b": 8.0, "c": 2.0})
    {'b': 4.0, 'c': 1.0, 'a': 0.5}
    """
    middle = statistics.median(seconds.values())
    longest_first = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    return {page: round(taken / middle, 2) for page, taken in longest_first}


def main() -> None:
    """Measure, or read a cache, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", nargs="?", type=Path, help="folder of a build's runs")
    options = parser.parse_args()
    load = machine()["load"]
    if options.cache is not None:
        seconds = seconds_in(options.cache)
    else:
        with tempfile.TemporaryDirectory() as folder:
            book = Workshop(Path(folder)).book("book", part=False)
            book.cold()
            (cache,) = (book.source.parent / ".cache" / "notebooks").iterdir()
            seconds = seconds_in(cache)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    content = {"date": date, "load": load, "ratios": ratios(seconds)}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
