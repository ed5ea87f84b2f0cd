"""Tests of execution/batches.py."""

import re

from execution.batches import make_batches
from sites import Site


def flat(batches: list[list[str]]) -> list[str]:
    """All names, in order of the alphabet."""
    return sorted(name for batch in batches for name in batch)


def started(batches: list[list[str]], processes: int) -> list[list[str]]:
    """The batches in the order in which Sphinx 9.0 starts them."""
    return batches[:processes] + batches[processes:][::-1]


def test_every_page_is_in_one_batch():
    """Few pages or many, with more or fewer processes; pages that are not there do no harm."""
    for count in (0, 1, 2, 7, 50):
        for processes in (1, 2, 8):
            names = [f"{number:02}" for number in range(count)]
            batches = make_batches(names, processes, longest=["06", "99", "01"])
            assert flat(batches) == names
            assert all(batches), "no process starts for nothing"


def test_the_longest_pages_are_alone_and_start_first():
    """In the order that was asked for; the others follow as Sphinx lists them, three at a time."""
    names = list("abcdefghij")
    batches = started(make_batches(names, 2, longest=["h", "c", "a"]), 2)
    assert batches == [["h"], ["c"], ["a"], list("bde"), list("fgi"), ["j"]]


def test_few_pages_go_to_all_processes():
    """Three pages in one batch would keep one process busy of three."""
    assert len(make_batches(["a", "b", "c"], 3)) == 3


def make_plain_site(make_site, settings: str) -> Site:
    """Ten pages without cells, and the front page."""
    shared = 'extensions = ["execution.batches"]\nsource_suffix = {".md": "restructuredtext"}\n'
    site = make_site(shared + settings, **{f"p{number}": "" for number in range(10)})
    for page in (site.folder / "docs").glob("*.md"):
        page.write_text(f":orphan:\n\n{page.stem}\n=====\n", encoding="utf-8")
    return site


def test_sphinx_hands_pages_out_this_way(make_site):
    """Its own batches for two processes would be of five; and the longest is first."""
    site = make_plain_site(
        make_site,
        """
batches_longest = ["p7"]

def setup(app):
    app.connect("env-merge-info", lambda app, env, names, other: print("batch:", sorted(names)))
""",
    )
    build = site.build("--jobs", "2")
    assert build.code == 0, build.log
    batches = [re.findall(r"\w+", found) for found in re.findall(r"batch: \[(.*)\]", build.log)]
    assert sorted(map(len, batches)) == [1, 1, 3, 3, 3]
    assert ["p7"] in batches[:2]


def test_pages_are_written_by_as_many_processes_as_are_asked_for(make_site):
    """Sphinx would write with one less; it asks for none where there is one."""
    site = make_plain_site(
        make_site,
        """
def setup(app):
    app.connect("write-started", lambda app, _: print("parallel:", app.parallel), priority=900)
""",
    )
    for jobs, used in ("1", "1"), ("2", "3"):
        build = site.build("--jobs", jobs, "--fresh-env")
        assert build.code == 0, build.log
        assert f"parallel: {used}\n" in build.log
