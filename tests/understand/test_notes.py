"""Tests of `gradbook.understand.notes`: explanations of uncaught errors."""

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

import gradbook
from gradbook import install, uninstall
from gradbook.understand import notes
from gradbook.understand.notes import annotate

NON_SCALAR = "grad can be implicitly created only for scalar outputs"


@pytest.fixture(autouse=True)
def hooks_of_before():
    """Whatever a test sets, the hooks of the test run come back."""
    before = sys.excepthook, threading.excepthook
    yield
    uninstall()
    sys.excepthook, threading.excepthook = before


# ------------------------------------------------------------------------------ real programs

# One interpreter loads torch; each program runs in a fork of it, and ends it as it would end its
# own: what is uncaught goes up to the top.
DRIVER = """\
import json, os, sys, threading
import torch, gradbook

gradbook.explain("RuntimeError: the catalogue is read before the forks")
folder = sys.argv[1]
results = {}
for number, (name, before, program) in enumerate(json.load(sys.stdin)):
    for call in ("uninstall", "install"):
        output, errors = (f"{folder}/{number}-{call}-{kind}.txt" for kind in ("out", "err"))
        child = os.fork()
        if not child:
            for stream, path in ((1, output), (2, errors)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
            x = torch.ones(3, requires_grad=True)
            y = x * 2
            exec(before)
            getattr(gradbook, call)()
            exec(program)
            sys.exit()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        results.setdefault(name, []).append((status, open(output).read(), open(errors).read()))
print(json.dumps(results))
"""
IN_THREAD = "thread = threading.Thread(target=y.backward); thread.start(); thread.join()"
OWN_HOOK = """\
def own(kind, error, trace, default=sys.excepthook):
    print("this was set before", file=sys.stderr)
    default(kind, error, trace)
sys.excepthook = own"""
BAD_EXPLAIN = """\
def broken(*_):
    raise ValueError("explain is broken")
gradbook.understand.notes.explain = broken"""
CHAIN = "try:\n    y.backward()\nexcept RuntimeError as error:\n    raise KeyError(3) from error"
NO_NOTES = """\
class Closed(RuntimeError):
    def add_note(self, note):
        raise TypeError("no notes")
try:
    y.backward()
except RuntimeError as error:
    raise Closed(str(error)) from None"""
PROGRAMS = {
    # name: (before, program, exit status, whether there is a note)
    "a known error": ("", "y.backward()", 1, True),
    "a known error behind another": ("", CHAIN, 1, True),
    "an unknown error": ("", "{}['lost']", 1, False),
    "an exit status": ("", "sys.exit(3)", 3, False),
    "no error": ("", "y.sum().backward()", 0, False),
    "Ctrl-C": ("", "raise KeyboardInterrupt", -signal.SIGINT, False),
    "a thread": ("", IN_THREAD, 0, True),
    "a hook that was there": (OWN_HOOK, "y.backward()", 1, True),
    "an explain that fails": (BAD_EXPLAIN, "y.backward()", 1, False),
    "an error that takes no notes": ("", NO_NOTES, 1, False),
}


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    """Exit status, output and errors of every program, without us and with us.

    Every warning is an error in them.
    """
    folder = tmp_path_factory.mktemp("programs")
    driver = folder / "driver.py"
    driver.write_text(DRIVER, encoding="utf-8")
    programs = [(name, before, program) for name, (before, program, *_) in PROGRAMS.items()]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(driver), str(folder)],
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_what_it_printed_and_a_note_below(endings, name):
    """Exit status and text are those without us; the note comes at the end, if there is one."""
    (status, output, plain), (status_with_us, output_with_us, errors) = endings[name]
    _, _, expected, noted = PROGRAMS[name]
    assert status == status_with_us == expected
    assert output == output_with_us
    assert errors.startswith(plain)
    note = errors.removeprefix(plain)
    if noted:
        assert note.startswith("gradbook: non-scalar-backward: ")
        assert note.count("gradbook: ") == 1
        assert "\n  more: https://" in note
    else:
        assert note == ""
    assert bool(plain) == (name not in {"an exit status", "no error"})


# ---------------------------------------------------------------------------- install, uninstall


def test_installing_twice_is_installing_once():
    """And uninstalling brings back what was there."""
    before = sys.excepthook, threading.excepthook
    install()
    once = sys.excepthook, threading.excepthook
    assert once[0] is not before[0]
    assert once[1] is not before[1]
    install()
    assert (sys.excepthook, threading.excepthook) == once
    uninstall()
    assert (sys.excepthook, threading.excepthook) == before
    uninstall()
    assert (sys.excepthook, threading.excepthook) == before


def test_the_hooks_that_were_set_before_are_called():
    """With the same arguments, and what they return is returned."""
    calls = []
    sys.excepthook = lambda *arguments: calls.append(arguments) or "from before"
    threading.excepthook = calls.append
    install()
    error = RuntimeError(NON_SCALAR)
    assert sys.excepthook(RuntimeError, error, None) == "from before"
    assert calls == [(RuntimeError, error, None)]
    assert len(error.__notes__) == 1

    arguments = threading.ExceptHookArgs((RuntimeError, RuntimeError(NON_SCALAR), None, None))
    threading.excepthook(arguments)
    assert calls[1] is arguments
    assert len(arguments.exc_value.__notes__) == 1


def test_a_thread_that_ends_without_its_error():
    """Python calls the hook without a value when the program is about to end."""
    calls = []
    threading.excepthook = calls.append
    install()
    arguments = threading.ExceptHookArgs((SystemExit, None, None, None))
    threading.excepthook(arguments)
    assert calls == [arguments]


def test_a_hook_set_after_ours_stays():
    """Uninstalling leaves it in place; ours, which it calls, does nothing any more."""
    seen = []
    sys.excepthook = lambda *_: seen.append("before")
    threading.excepthook = lambda _: seen.append("before")
    install()
    ours, ours_in_threads = sys.excepthook, threading.excepthook

    def later(kind, error, trace):
        seen.append("later")
        ours(kind, error, trace)

    def later_in_threads(arguments):
        seen.append("later")
        ours_in_threads(arguments)

    sys.excepthook, threading.excepthook = later, later_in_threads
    uninstall()
    assert (sys.excepthook, threading.excepthook) == (later, later_in_threads)
    error = RuntimeError(NON_SCALAR)
    sys.excepthook(RuntimeError, error, None)
    threading.excepthook(threading.ExceptHookArgs((RuntimeError, error, None, None)))
    assert seen == ["later", "before", "later", "before"]
    assert not hasattr(error, "__notes__")


def test_installing_again_behind_another_hook_notes_once():
    """Our first hook is still behind it, but only the newest one works."""
    sys.excepthook = lambda *_: None
    install()
    ours = sys.excepthook
    sys.excepthook = functools.partial(ours)
    uninstall()
    install()
    error = RuntimeError(NON_SCALAR)
    sys.excepthook(RuntimeError, error, None)
    assert len(error.__notes__) == 1


# -------------------------------------------------------------------------------------- annotate


def test_a_note_is_added_once_and_beside_others():
    """The error stays what it is."""
    error = RuntimeError(NON_SCALAR)
    error.add_note("step 3")
    error.__notes__.append(7)  # nothing forbids it
    assert annotate(error)
    assert annotate(error)
    assert error.__notes__[:2] == ["step 3", 7]
    assert len(error.__notes__) == 3
    assert str(error) == NON_SCALAR


def test_an_unknown_error_gets_no_note():
    """There is nothing to say about it."""
    error = LookupError("lost")
    assert not annotate(error)
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize("trouble", ["add_note", "__notes__", "explain"])
def test_trouble_on_the_way_is_no_second_error(monkeypatch, trouble):
    """Whatever fails, the answer is that there is no note."""

    class OddError(RuntimeError):
        pass

    def fail(*_):
        raise ValueError(trouble)

    if trouble == "explain":
        monkeypatch.setattr(notes, "explain", fail)
    elif trouble == "add_note":
        OddError.add_note = fail
    else:
        OddError.__notes__ = property(fail)
    assert not annotate(OddError(NON_SCALAR))


# --------------------------------------------------------------------------------------- IPython


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A real shell, without history, cleaned up afterwards."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    before = sys.displayhook, sys.excepthook
    shell = InteractiveShell.instance(config=config)
    yield shell
    shell.restore_sys_module_state()
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)
    InteractiveShell.clear_instance()
    sys.displayhook, sys.excepthook = before


FAILING = "import torch\nx = torch.ones(3, requires_grad=True)\ny = x * 2\ny.backward()"


def shown(shell, cell):
    """What a cell prints, and what it displays."""
    with capture_output() as captured:
        shell.run_cell(cell)
    return captured.stdout, [output.data for output in captured.outputs]


def test_a_failing_cell_is_explained_below(shell):
    """After its traceback, which stays as it was; after %unload_ext no more."""
    plain, nothing = shown(shell, FAILING)
    assert "RuntimeError: " + NON_SCALAR in plain
    assert nothing == []
    assert shown(shell, "%load_ext gradbook") == ("", [])

    printed, (data,) = shown(shell, FAILING)
    assert printed.splitlines()[-1] == plain.splitlines()[-1]
    assert data["text/plain"].startswith("non-scalar-backward: ")
    assert "  variable: y" in data["text/plain"]
    assert data["text/html"].startswith('<div class="gradbook-explain"')

    shell.run_line_magic("unload_ext", "gradbook")
    assert shown(shell, FAILING)[1] == []


def test_loading_twice_explains_once(shell):
    """`%reload_ext` too."""
    shown(shell, "%load_ext gradbook")
    gradbook.load_ipython_extension(shell)
    shown(shell, "%reload_ext gradbook")
    assert len(shown(shell, FAILING)[1]) == 1
    gradbook.unload_ipython_extension(shell)
    gradbook.unload_ipython_extension(shell)
    assert shown(shell, FAILING)[1] == []


def test_cells_without_a_known_error_show_nothing_more(shell, monkeypatch):
    """A good cell, another error, a syntax error; and an explain that fails."""
    gradbook.load_ipython_extension(shell)
    assert shown(shell, "print(1 + 1)") == ("2\n", [])
    assert shown(shell, "{}['lost']")[1] == []
    assert shown(shell, "1 +")[1] == []

    def fail(_):
        raise ValueError("broken")

    monkeypatch.setattr(notes, "explain", fail)
    printed, displayed = shown(shell, FAILING)
    assert NON_SCALAR in printed
    assert "broken" not in printed
    assert displayed == []


def test_the_variables_of_a_cell_are_found(shell):
    """The notebook's names, and the line in the cell."""
    gradbook.load_ipython_extension(shell)
    _, (data,) = shown(shell, "import torch\nw = torch.arange(3)\nw.requires_grad_()")
    assert data["text/plain"].startswith("integer-requires-grad: ")
    assert "  variable: w" in data["text/plain"]
    assert "  where: line 3: w.requires_grad_()" in data["text/plain"]
    assert torch.is_grad_enabled()


def test_each_process_of_several_names_itself_once(monkeypatch):
    """Torchrun tells a process its rank."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    error = RuntimeError("grad can be implicitly created only for scalar outputs")
    assert annotate(error)
    assert error.__notes__[0].startswith("gradbook: rank 1 of 4: non-scalar-backward")
    assert error.__notes__[0].count("rank 1") == 1
    monkeypatch.setenv("WORLD_SIZE", "1")
    alone = RuntimeError("grad can be implicitly created only for scalar outputs")
    assert annotate(alone)
    assert "rank" not in alone.__notes__[0].splitlines()[0]


UNDER_TORCHRUN = """
import signal
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
import gradbook

signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent when the other one has failed first
gradbook.install()
torch.manual_seed(0)
model = nn.Linear(3, 1)
if sys.argv[1] == "grouped":
    dist.init_process_group("gloo")
    model = DistributedDataParallel(model)
losses = model(torch.ones(2, 3))
losses.backward()
"""
ONE_OF_TWO = {
    # once there is a process group, torch itself writes the rank before each line
    "grouped": "[rank{}]: gradbook: ",
    "alone": "gradbook: rank {} of 2: ",
}


@pytest.mark.parametrize("kind", ONE_OF_TWO)
def test_each_rank_of_a_real_torchrun_names_itself_once(kind, tmp_path):
    """Two processes fail at the same line; each note says whose it is, and names the variable."""
    script, logs = tmp_path / "train.py", tmp_path / "logs"
    script.write_text(UNDER_TORCHRUN)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--redirects=3"]
    ran = subprocess.run(
        [*launcher, "--nproc-per-node=2", f"--log-dir={logs}", str(script), kind],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ran.returncode != 0
    title = "non-scalar-backward: `backward()` on more than one number"
    for rank in ("0", "1"):
        written = "".join(path.read_text() for path in logs.rglob(f"{rank}/stderr.log"))
        notes = [line for line in written.splitlines() if "gradbook: " in line]
        assert notes == [ONE_OF_TWO[kind].format(rank) + title], written
        assert "variable: losses" in written
