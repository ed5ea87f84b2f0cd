"""Put faults into the package, one at a time, and count those that a test notices.

`nox -s mutation` draws a sample of all faults that Cosmic Ray can make, the same one each time, and
runs for each fault tests that reach its line. The share that makes a test fail is the mutation
score; what survives is printed, to be read. The result is a file for the page
docs/about/benchmarks.md. Tests that were written for the survivors of a sample make its score too
high: then another seed is due.

Then numbers in the text of the pages are changed, each into another one, and those that no held
line notices are printed. `nox -s mutation -- --prose` does that alone, in a minute.
"""

import argparse
import datetime
import json
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import prose
from mutants import Mutant, find
from reach import MOST
from sampling import draw, score
from workshop import ROOT, Workshop

RESULT = ROOT / "docs" / "_data" / "mutation.json"
PACKAGE = Path("src", "gradbook")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="nox -s mutation --", description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as graph.py; all, if none is named")
    parser.add_argument("--sample", type=int, default=400, help="how many faults")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--prose", action="store_true", help="change numbers of the text alone")
    parser.add_argument("--numbers", type=int, help="how many of them; all, if not given")
    return parser.parse_args()


def main() -> None:
    """Measure, tell, and write the result if it is that of the whole package or the whole text."""
    options = parse()
    os.chdir(ROOT)
    result = json.loads(RESULT.read_text("utf-8"))
    if not options.prose:
        result |= of_package(options)
    if not options.modules:
        result["prose"] = of_prose(options)
    if not options.modules and options.numbers is None:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def of_prose(options: argparse.Namespace) -> dict[str, object]:
    """Change numbers in the text of the pages."""
    docs, chance = ROOT / "docs", random.Random(options.seed)
    numbers = prose.find(docs)
    drawn = numbers if options.numbers is None else chance.sample(numbers, options.numbers)
    changes = [prose.change(docs, page, number, chance) for page, number in drawn]
    reasoned = [one for one in changes if one.reason is not None]
    survivors = [one for one in changes if one.reason is None and not one.noticed]
    for one in reasoned:
        print(f"no run holds it ({one.reason}), {one}")
    for one in survivors:
        print(f"survived, {one}")
    noticed = len(changes) - len(reasoned) - len(survivors)
    print(
        f"{noticed} of {len(changes)} changed numbers of the text noticed; for {len(reasoned)} "
        "the page gives a reason why no run holds it"
    )
    return {
        "date": today(),
        "seed": options.seed,
        "changed": len(changes),
        "noticed": noticed,
        "reasons": len(reasoned),
    }


def today() -> str:
    """The date of a result."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def of_package(options: argparse.Namespace) -> dict[str, object]:
    """Put faults into the package."""
    wanted = [PACKAGE / name for name in options.modules]
    modules = wanted or sorted(path.relative_to(ROOT) for path in (ROOT / PACKAGE).rglob("*.py"))
    mutants = [mutant for module in modules for mutant in find(module)]
    sample = draw(mutants, lambda one: one.place, options.sample, options.seed)
    print(f"{len(mutants)} faults can be made; {len(sample)} are.", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(Path(folder))
        print("Which tests reach which lines?", flush=True)
        shop.trace()
        survivors: list[Mutant] = []
        for number, (mutant, killed, diff) in enumerate(shop.try_all(sample), start=1):
            if not killed:
                survivors.append(mutant)
                print(f"\n{number}: survived, {mutant}\n{diff}", flush=True)
            elif number % 20 == 0:
                print(f"{number} done", flush=True)

    made = Counter(mutant.module for mutant in sample)
    survived = Counter(mutant.module for mutant in survivors)
    for module, count in sorted(made.items()):
        print(f"{count - survived[module]:4} of {count:4} noticed  {module}")
    share, low, high = score(len(sample) - len(survivors), len(sample))
    print(f"mutation score {share:.1%}; with 95 % confidence between {low:.1%} and {high:.1%}")
    return {
        "date": today(),
        "seed": options.seed,
        "possible": len(mutants),
        "most": MOST,
        "made": len(sample),
        "noticed": len(sample) - len(survivors),
        "low": round(low, 4),
        "high": round(high, 4),
        "modules": {
            module.removeprefix(f"{PACKAGE.as_posix()}/"): [count - survived[module], count]
            for module, count in sorted(made.items())
        },
    }


if __name__ == "__main__":
    sys.exit(main())
