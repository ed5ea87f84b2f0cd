"""Tests of ``python -m gradbook``."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from gradbook import __main__, explain
from gradbook.__main__ import main

MESSAGE = "RuntimeError: grad can be implicitly created only for scalar outputs\n"
TRACE = f"""\
Traceback (most recent call last):
  File "train.py", line 7, in <module>
    loss.backward()
{MESSAGE}"""
UNKNOWN = TRACE.replace("grad can be", "coffee can be").replace("scalar outputs", "later")
UNKNOWN = UNKNOWN.replace("implicitly created only", "had")


class Input(io.BytesIO):
    """Standard input that gives a little at a time, and can be interrupted."""

    terminal = False
    interrupted = 0

    def isatty(self):
        """As asked for."""
        return self.terminal

    def read1(self, size=-1):
        """A few bytes, or Ctrl-C."""
        if self.interrupted:
            self.interrupted -= 1
            raise KeyboardInterrupt
        return super().read1(min(size, 7))


@pytest.fixture
def given(monkeypatch, capfdbinary):
    """Run it with this input; the exit status, the output and the errors."""

    def run(raw, *arguments, terminal=False, interrupted=0):
        stream = Input(raw)
        stream.terminal, stream.interrupted = terminal, interrupted
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream, isatty=stream.isatty))
        status = main(list(arguments))
        sys.stdout.flush()
        captured = capfdbinary.readouterr()
        return status, captured.out, captured.err

    return run


def as_printed(raw):
    """The explanation as it is printed."""
    return f"{explain(raw)}\n".encode()


def test_what_is_piped_comes_through_and_is_explained(given):
    """Byte by byte as it was, then an empty line, then the explanation."""
    raw = b"epoch 1\r 10%\r100%\nno text: \xff\x00\n" + TRACE.encode()
    assert given(raw) == (0, raw + b"\n" + as_printed(raw), b"")


@pytest.mark.parametrize("raw", [b"", b"\n", b"epoch 1\nloss 0.3\n", b"\xff\xfe\x00", b"0 errors"])
def test_without_an_error_there_is_nothing_to_add(given, raw):
    """The output is the input, and all is well."""
    assert given(raw) == (0, raw, b"")
    assert given(raw, "-") == (0, raw, b"")
    assert given(raw, "--quiet") == (0, b"", b"")


def test_an_unknown_error(given):
    """It is said so, and the status tells."""
    status, output, _ = given(UNKNOWN.encode())
    assert status == 1
    assert output.startswith(UNKNOWN.encode() + b"\nnot-recognised: not recognised\n")
    assert given(b"step.LostException: gone")[0] == 1


def test_quiet_gives_the_explanation_alone(given):
    """Without the input, and without an empty line."""
    assert given(TRACE.encode(), "--quiet") == (0, as_printed(TRACE), b"")


def test_json_can_be_read_by_a_program(given):
    """One object, with the fields of the explanation."""
    status, output, _ = given(TRACE.encode(), "--json")
    answer = json.loads(output)
    assert status == 0
    assert answer["recognised"] is True
    assert answer["code"] == "non-scalar-backward"
    assert answer["url"] == explain(TRACE).url
    assert answer["because"] == list(explain(TRACE).because)
    assert answer["details"]["line"] == "train.py:7: loss.backward()"
    for raw, expected in ((UNKNOWN.encode(), 1), (b"", 0), (b"\xff\x00", 0)):
        status, output, _ = given(raw, "--json")
        assert status == expected
        assert json.loads(output)["recognised"] is False


def test_a_file_is_explained_and_not_repeated(given, tmp_path):
    """The standard input is not read."""
    file = tmp_path / "log.txt"
    file.write_text(TRACE, encoding="utf-8")
    assert given(b"", str(file)) == (0, as_printed(TRACE), b"")
    file.write_text(TRACE, encoding="utf-16")
    assert given(b"", str(file)) == (0, as_printed(TRACE), b"")


def test_a_file_without_an_error_gets_an_answer(given, tmp_path):
    """It was asked about, so there is one; the status says that there was no error."""
    file = tmp_path / "log.txt"
    file.write_bytes(b"")
    status, output, _ = given(b"", str(file))
    assert status == 0
    assert b"There is no text." in output
    file.write_text(UNKNOWN, encoding="utf-8")
    assert given(b"", str(file))[0] == 1


def test_a_file_that_cannot_be_read(given, tmp_path):
    """The message names it and the reason; the status is 2."""
    missing = tmp_path / "missing.txt"
    message = f"cannot read {missing}: No such file or directory\n".encode()
    assert given(b"", str(missing)) == (2, b"", message)
    assert given(b"", str(tmp_path))[0] == 2
    with pytest.raises(SystemExit) as ended:
        given(b"", "--loud")
    assert ended.value.code == 2


def test_the_end_of_an_endless_log_is_kept(given, monkeypatch):
    """All of it comes through; only the end is looked at."""
    monkeypatch.setattr(__main__, "_LONGEST", 300)
    raw = b"can't optimize a non-leaf Tensor\n" + b"step\n" * 300 + TRACE.encode()
    status, output, _ = given(raw)
    assert status == 0
    assert output.startswith(raw)
    assert b"non-scalar-backward" in output[len(raw) :]
    assert b"optimizer-non-leaf" not in output
    assert given(MESSAGE.encode() + b"step\n" * 300, "--quiet") == (0, b"", b"")


def test_a_terminal_does_not_need_its_own_text_again(given):
    """What was pasted stands there already; Ctrl-C ends it."""
    assert given(TRACE.encode(), terminal=True) == (0, as_printed(TRACE), b"")
    assert given(TRACE.encode(), terminal=True, interrupted=1) == (130, b"", b"")


def test_in_a_pipe_the_last_words_count_after_ctrl_c(given):
    """Ctrl-C reaches both programs; the one before ends with a traceback."""
    assert given(TRACE.encode(), "--quiet", interrupted=2) == (0, as_printed(TRACE), b"")


def test_letters_that_the_terminal_lacks(monkeypatch, tmp_path):
    """They are replaced; it does not end in an error about letters."""
    file = tmp_path / "log.txt"
    file.write_text(TRACE.replace("loss.back", "größe.back"), encoding="utf-8")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main([str(file)]) == 0
    assert b"gr??e.backward()" in raw.getvalue()


def test_an_output_of_another_kind(monkeypatch, tmp_path):
    """A notebook puts its own in place of standard output."""
    file = tmp_path / "log.txt"
    file.write_text(TRACE, encoding="utf-8")
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    assert main([str(file)]) == 0
    assert output.getvalue() == f"{explain(TRACE)}\n"


def test_an_output_that_nobody_reads(monkeypatch, tmp_path):
    """The status is 1, and closing the output afterwards is no error either."""
    file = tmp_path / "log.txt"
    file.write_text(TRACE, encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert main([str(file)]) == 1


# ------------------------------------------------------------------------------- real processes


def started(*arguments, **options):
    """``python -m gradbook`` in a process of its own; every warning is an error in it."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "gradbook", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_in_a_pipe_of_a_shell():
    """A real program before it, whose errors go the same way."""
    program = "import torch\nprint('hello', flush=True)\ntorch.ones(2).sum().backward()\n"
    with started() as process:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output, errors = process.communicate(done.stdout, timeout=240)
    assert (process.returncode, errors) == (0, b"")
    assert output.startswith(done.stdout + b"\nno-graph: ")
    assert output.startswith(b"hello")


def test_the_exit_status_of_the_process():
    """That of `main`."""
    with started("--quiet") as process:
        output, errors = process.communicate(UNKNOWN.encode(), timeout=240)
    assert (process.returncode, output, errors) == (1, as_printed(UNKNOWN), b"")


def test_progress_comes_through_before_its_line_ends():
    """A bar that is drawn over and over with carriage returns is seen while it grows."""
    with started() as process:
        process.stdin.write(b"10%\r20%")
        process.stdin.flush()
        assert process.stdout.read(7) == b"10%\r20%"
        output, errors = process.communicate(b"\rdone\n", timeout=240)
    assert (process.returncode, output, errors) == (0, b"\rdone\n", b"")


@pytest.mark.parametrize("arguments", [[], ["--quiet"]], ids=["input", "explanation"])
def test_whoever_read_the_output_has_left(arguments):
    """It ends with status 1, and without a complaint."""
    with started(*arguments) as process:
        process.stdout.close()
        try:
            process.stdin.write(MESSAGE.encode())
            process.stdin.close()
        except BrokenPipeError:  # it has ended already
            pass
        process.wait(timeout=240)
        assert (process.returncode, process.stderr.read()) == (1, b"")


@pytest.mark.skipif(os.name == "nt", reason="a pseudo-terminal is needed")
def test_ctrl_c_at_the_terminal_ends_it():
    """Without a traceback of ours."""
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"ready\n"
        for _ in range(60):  # on a busy machine it may not read yet, and an import swallows one
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=4)
                break
        _, errors = process.communicate(timeout=240)
    os.close(ours)
    os.close(its)
    assert (process.returncode, errors) == (130, b"")


WAITING = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a job in the background
import gradbook
print("ready", flush=True)
sys.argv = ["gradbook"]
runpy.run_module("gradbook", run_name="__main__")
"""
