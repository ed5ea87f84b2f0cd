"""A process that has torch loaded, and runs each script in a process of its own, forked from it.

It reads lines from its input, each with the path of a script and of a folder to run it in, as JSON,
and answers each with the exit status and what the script printed.
"""

import contextlib
import json
import os
import runpy
import signal
import sys
import tempfile
import traceback

import matplotlib.pyplot  # noqa: F401 -- what most scripts import, and what takes long
import torch  # noqa: F401 -- as above

LONGEST = 300  # seconds for a script


def become(path, folder, printed):
    """Run a script as `python path` would, and end."""
    code = 1
    try:
        os.setsid()
        signal.alarm(LONGEST)
        os.chdir(folder)
        for stream in (1, 2):
            os.dup2(printed.fileno(), stream)
        sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
        sys.argv = [path]
        runpy.run_path(path, run_name="__main__")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def run(path, folder):
    """How a script ended, and the end of what it printed."""
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if child == 0:
            become(path, folder, printed)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # whatever it started
        printed.seek(0)
        return status, printed.read().decode("utf-8", "replace")[-2000:]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)
