"""Keep all cores busy in a parallel build.

Sphinx cuts the list of pages into a few long pieces. On two cores one process then had the last
fifteen pages to itself, and the other nothing to do for a fifth of the build. Here each process
gets few pages at a time to read, and the longest begin first. To write it gets neighbours, which
have much in common: the cells of a file, and the list of pages beside them.
"""

import functools
import math
from collections.abc import Callable, Sequence

import sphinx.builders
from sphinx.application import Sphinx

# Each batch costs a process, and its copy of what Sphinx knows, sent back: some hundredths of a
# second, as long as a page without cells takes.
_SIZE = 3
# What is written takes a tenth of a second.
_MOST_WRITTEN = 24


def make_batches(
    names: Sequence[str], processes: int, longest: Sequence[str] = ()
) -> list[list[str]]:
    """Partition `names`: each of the longest pages by itself, of the others a few together.

    Sphinx starts as many batches as it runs processes, and goes on with the last one: the result is
    in the order that makes the longest pages start first.
    """
    alone = [[name] for name in longest if name in names]
    others = [name for name in names if name not in longest]
    size = min(_SIZE, max(1, len(others) // processes))
    batches = [*alone, *(others[at : at + size] for at in range(0, len(others), size))]
    return batches[:processes] + batches[processes:][::-1]


def make_neighbours(
    names: Sequence[str], processes: int, home: Callable[[str], str]
) -> list[list[str]]:
    """Partition `names` so that pages with one home are together, but no batch has many.

    >>> make_neighbours(["a/x", "b/c", "a/y", "b/d"], 1, lambda name: name[0])
    [['a/x', 'a/y'], ['b/c', 'b/d']]
    """
    together: dict[str, list[str]] = {}
    for name in names:
        together.setdefault(home(name), []).append(name)
    most = min(_MOST_WRITTEN, max(1, len(names) // processes))
    batches = []
    for some in together.values():
        size = math.ceil(len(some) / math.ceil(len(some) / most))
        batches += [some[at : at + size] for at in range(0, len(some), size)]
    return batches


def _use(app: Sphinx) -> None:
    make = functools.partial(make_batches, longest=app.config.batches_longest)
    sphinx.builders.make_chunks = make  # Sphinx has no setting for it


def _write_with_all_cores(app: Sphinx, _: object) -> None:
    """Sphinx keeps a process for what precedes the writing; it is done with that long before."""
    metadata = app.env.metadata

    def home(name: str) -> str:
        """A file that has several pages is their home; other pages are at home in folders."""
        folder = name.rpartition("/")[0]
        return str(metadata[name].get("group", name if name in groups else folder))

    groups = {one["group"] for one in metadata.values() if "group" in one}
    sphinx.builders.make_chunks = functools.partial(make_neighbours, home=home)
    if app.parallel > 1:
        app.parallel += 1


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("batches_longest", [], "")
    app.connect("builder-inited", _use)
    app.connect("write-started", _write_with_all_cores)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
