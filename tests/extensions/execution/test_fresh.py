"""Programs that run in fresh processes, and the comparison with a page."""

import os
import signal
import time
from pathlib import Path

import pytest
from nbformat.v4 import new_output

from execution.fresh import FreshProcesses, difference


@pytest.fixture(scope="module")
def processes():
    """Processes that have numpy loaded, and whatever a session of IPython needs."""
    with FreshProcesses(["numpy", "no_such_module"], timeout=60) as processes:
        yield processes


def printed(text: str, name: str = "stdout"):
    """A piece of a stream, as in a notebook."""
    return new_output("stream", name=name, text=text)


def test_only_what_comes_from_the_asked_line_on_counts(processes):
    """What the lines before it print or show is noted, and left out."""
    answer = processes.run("print(1)\n\nx = 2\nprint(x)\nx + 1", first=4)
    assert answer.error is None
    assert answer.said_before
    assert [one.get("text") or one.data["text/plain"] for one in answer.outputs] == ["2\n", "3"]
    quiet = processes.run("x = 2\nprint(x)", first=2)
    assert not quiet.said_before


def test_each_program_begins_anew(processes):
    """Names, modules, the folder and changed settings of another one are not there."""
    first = "import sys, os\nsys.marked = 1\nprint(os.getpid(), os.getcwd(), os.listdir())"
    second = (
        "import sys, os\nprint(os.getpid(), os.getcwd(), hasattr(sys, 'marked'), 'os' in dir())"
    )
    one, other = (processes.run(text).outputs[0].text.split() for text in (first, second))
    assert one[2] == "[]"
    assert one[0] != other[0] != str(os.getpid())
    assert one[1] != other[1]
    assert other[2] == "False"
    assert not Path(one[1]).exists()


def test_a_program_that_fails_says_why(processes):
    """Also one that is not Python, or ends its process."""
    assert processes.run("1 / 0").error == "ZeroDivisionError: division by zero"
    assert "SyntaxError" in (processes.run("x = (").error or "")
    assert processes.run("import os; os._exit(0)").error == "its process died"
    assert processes.run("print(3)").error is None


def test_a_program_that_cannot_start_is_an_answer():
    """It is the fault of one cell; the build goes on."""
    with FreshProcesses([], timeout=20) as processes:
        processes._server.process.kill()
        processes._server.process.wait()
        assert "could not be reached" in (processes.run("print(1)").error or "")


def test_a_program_that_does_not_end_is_ended(tmp_path):
    """With all processes that it has started."""
    source = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '100'])\n"
        "open(PATH, 'w').write(str(child.pid))\n"
        "time.sleep(100)"
    )
    path = tmp_path / "child"
    with FreshProcesses([], timeout=20) as processes:
        answer = processes.run(source.replace("PATH", repr(str(path))))
    assert answer.error == "it runs for more than 20 seconds"
    child = int(path.read_text())
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_what_children_print_counts(processes):
    """As in a kernel, which watches the descriptors."""
    answer = processes.run("import subprocess\n_ = subprocess.run(['echo', 'child'])")
    assert answer.outputs[0].text == "child\n"


def test_figures_are_drawn_as_in_the_build(processes):
    """As SVG, at the end of a cell or when asked for."""
    answer = processes.run("import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])\nplt.show()")
    assert answer.error is None
    (shown,) = answer.outputs
    assert "image/svg+xml" in shown.data


def test_warnings_name_the_cell(processes):
    """By its number on the page."""
    answer = processes.run("import warnings\nwarnings.warn('so')", number=7)
    assert answer.outputs[0].text.startswith("<cell 7>:2: UserWarning: so")


BEFORE = signal.getsignal(signal.SIGINT)  # whoever starts the tests in the background ignores it


def test_signals_work_as_at_home(processes):
    """The process that forks ignores an interrupt; a program does not."""
    answer = processes.run("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint(1)")
    assert "KeyboardInterrupt" in (answer.error or "")
    assert signal.getsignal(signal.SIGINT) is BEFORE


def test_equal_outputs_have_no_difference():
    """How a stream was cut does not count, nor its place among what is shown."""
    shown = new_output("execute_result", data={"text/plain": "3"})
    again = new_output("display_data", data={"text/plain": "3"})
    assert difference([printed("a\nb\n"), shown], [again, printed("a\n"), printed("b\n")]) == ""


@pytest.mark.parametrize(
    "found",
    [
        [printed("1.5\n")],
        [printed("1\n"), printed("2\n")],
        [printed("1\n", name="stderr")],
        [printed("1\n"), new_output("display_data", data={"text/plain": "3"})],
        [],
    ],
)
def test_other_outputs_have_one(found):
    """A digit, a line, a stream, an object."""
    assert difference([printed("1\n")], found)


def test_what_is_shown_is_compared_in_every_form():
    """As text and as HTML."""
    one = new_output("display_data", data={"text/plain": "g", "text/html": "<b>g</b>"})
    other = new_output("display_data", data={"text/plain": "g", "text/html": "<b>h</b>"})
    assert "text/html differs" in difference([one], [other])


def test_lines_of_a_program_are_those_of_the_cell_further_down():
    """A traceback names them; in torch's own files they are the same."""
    expected = [printed("----> 2     w -= 1\n<cell 3>:7: UserWarning\nline 979 of torch\n")]
    found = [printed("----> 12     w -= 1\n<cell 3>:17: UserWarning\nline 979 of torch\n")]
    assert difference(expected, found, offset=10) == ""
    assert difference(expected, found, offset=9)
    assert difference(expected, found)
