"""Tests of execution/warm_kernels.py on tiny sites."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sites import mark

WARM = """
extensions = ["myst_nb", "execution.notebooks", "execution.warm_kernels"]
warm_kernels_modules = ["numpy", "no_such_module"]
"""
COLD = 'extensions = ["myst_nb", "execution.notebooks"]\n'
# A page's number stands for {n}; whatever a kernel could share with its neighbours is written down.
APART = """
# Page {n}

```{{code-cell}} python
import decimal, os, random, sys, tempfile, threading
import numpy as np

decimal.getcontext().prec = 3 + {n}
note = [
    os.getppid(), os.getpid(), os.getcwd(), random.random(), np.random.rand(),
    tempfile.mkstemp()[1], threading.active_count() > 0, decimal.getcontext().prec,
]
print(*note, sep="|", file=open(os.environ["MARKS"] + ".{n}", "w"))
```

```{{code-cell}} python
---
mystnb:
  image:
    alt: A line.
---
import matplotlib.pyplot as plt

print(sys.argv[0], __name__, __file__ if "__file__" in globals() else None, sys.path[0])
_ = plt.plot([0, {n}])
```
"""
# A page that notes the parent of its kernel; the number makes it a new one for the cache.
PARENT = """
# Page {0}

```{{code-cell}} python
import os

print(os.getppid(), file=open(os.environ["MARKS"], "a"))  # {0}
```
"""
# A page that notes the parent and the kernel, and then takes long.
SLOW = """
# Slow

```{code-cell} python
import os, time

print(os.getppid(), os.getpid(), file=open(os.environ["MARKS"], "a"))
time.sleep(100)
```
"""


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie, which nobody has waited for, does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(*pids: int) -> bool:
    """Whether all processes end within ten seconds."""
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


@pytest.fixture(scope="module")
def warm(make_site):
    """A site whose kernels were forked, and what each of its pages wrote down."""
    pages = {f"page{n}": APART.format(n=n) for n in range(4)}
    site = make_site(WARM, **pages)
    build = site.build("--jobs", "2")
    assert build.code == 0, build.log
    assert "Ctrl-C" not in build.log  # a kernel tells nobody how to end it
    notes = [Path(f"{site.marks}.{n}").read_text().strip().split("|") for n in range(4)]
    return site, list(zip(*notes, strict=True))


def test_kernels_come_from_one_process(warm):
    """All have the same parent, which ends with the build, and each is a process of its own."""
    _, (parents, pids, *_) = warm
    assert len(set(parents)) == 1
    assert len(set(pids)) == 4
    assert gone(int(parents[0]), *map(int, pids))


def test_kernels_share_nothing(warm):
    """Folders, random numbers, temporary files and settings are each kernel's own."""
    _, (_, _, folders, numbers, numpy_numbers, files, _, precisions) = warm
    for values in (folders, numbers, numpy_numbers, files):
        assert len(set(values)) == 4
    assert precisions == ("3", "4", "5", "6")


def test_pages_are_the_same_as_from_ordinary_kernels(warm, make_site):
    """Byte for byte, figures too."""
    site, _ = warm
    pages = {f"page{n}": APART.format(n=n) for n in range(4)}
    ordinary = make_site(COLD, **pages)
    build = ordinary.build("--jobs", "2")
    assert build.code == 0, build.log
    for name in pages:
        assert 'role="img"' in site.html(name)
        assert site.html(name) == ordinary.html(name)


def test_few_pages_start_no_server(make_site):
    """A page or two start faster in the ordinary way; those in the cache do not count."""
    site = make_site(WARM + "warm_kernels_from = 2\n", one=PARENT.format(1), two="# Two\n")

    def parents(*options: str) -> tuple[int, list[int]]:
        """Process of a new build, and the parents of the kernels that it started."""
        site.marks.unlink(missing_ok=True)
        with subprocess.Popen(
            site.command(*options), env=site.environment(), stdout=subprocess.DEVNULL
        ) as process:
            assert process.wait(60) == 0
        return process.pid, [int(pid) for pid in site.runs()]

    build, seen = parents()
    assert seen == [build], "one page runs"
    site.write("two", PARENT.format(2))
    build, seen = parents("--fresh-env")
    assert seen == [build], "two pages are read, and one runs"
    site.write("one", PARENT.format(3))
    site.write("two", PARENT.format(4))
    build, seen = parents()
    assert len(seen) == 2
    assert len({*seen, build}) == 2, "both come from another process"


def test_who_knows_that_pages_will_run_gets_a_head_start(make_site):
    """Then the server is there before Sphinx has looked at the pages, and serves a single one."""
    settings = WARM.replace('"myst_nb", "notebooks", "warm_kernels"', '"warm_kernels", "myst_nb"')
    site = make_site(settings + "warm_kernels_now = True\n", one=PARENT.format(1))
    with subprocess.Popen(
        site.command(), env=site.environment(), stdout=subprocess.DEVNULL
    ) as process:
        assert process.wait(60) == 0
    (parent,) = map(int, site.runs())
    assert parent != process.pid
    assert gone(parent)


THREADS = """
# Threads

```{code-cell} python
import os

print(os.environ["OMP_NUM_THREADS"], file=open(os.environ["MARKS"], "a"))
```
"""


def test_a_page_has_one_thread(make_site):
    """Pages run side by side; who sets another number gets it."""
    site = make_site(WARM, page=THREADS)
    environment = site.environment()
    del environment["OMP_NUM_THREADS"]
    subprocess.run(
        site.command(), env=environment, stdout=subprocess.DEVNULL, timeout=300, check=True
    )
    assert site.runs() == ["1"]
    build = site.build("--fresh-env", "--define", "nb_execution_mode=force", OMP_NUM_THREADS="2")
    assert build.code == 0, build.log
    assert site.runs() == ["1", "2"]


# It waits, or its answer could be on its way before it is killed with its parent.
KILL_SERVER = """\
import os, time
os.kill(os.getppid(), 9)
time.sleep(60)
"""


def test_a_kernel_that_crashes_names_its_page_alone(make_site):
    """So does one that ends the server; kernels after that start in the ordinary way."""
    site = make_site(
        WARM,
        a="# A\n\n```{code-cell} python\nimport os\nos.abort()\n```\n",
        b="# B\n\n```{code-cell} python\n" + KILL_SERVER + "```\n",
        c="# C\n\n" + mark("c"),
        d="# D\n\n" + mark("d"),
    )
    build = site.build()
    assert build.code == 1
    failed = re.findall(r"(\w)\.md: WARNING: Executing notebook failed: DeadKernelError", build.log)
    assert failed == ["a", "b"]
    assert "a kernel starts in the ordinary way" in build.log
    assert site.runs() == ["c", "d"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_process(make_site, number):
    """Neither Ctrl-C, which the whole group gets, nor the sudden end of the build."""
    site = make_site(WARM, a=SLOW, b=SLOW + "b", c=SLOW + "c", d=SLOW + "d")
    with subprocess.Popen(
        site.command("--jobs", "2"),
        env=site.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while len(site.runs()) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        seen = [int(pid) for pid in site.runs()]
        assert len(seen) >= 4, "two kernels run"
        assert all(alive(pid) for pid in seen)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        process.wait(30)
    assert gone(*seen)
    if number == signal.SIGKILL:  # Sphinx's own workers outlive it; they are not ours to end
        os.killpg(process.pid, signal.SIGKILL)
