"""The downloads of the built site. They run in `nox -s pages` alone, which builds it first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# The session says where the site lies; without one there is nothing to test.
SITE = Path(os.environ.get("GRADBOOK_SITE", "absent"))
collect_ignore_glob = [] if SITE.is_dir() else ["test_*.py"]
# What most pages import; kernels are forked from a process that has it.
LOADED = ("torch", "torch._dynamo", "matplotlib.pyplot", "matplotlib.backends.backend_svg")


@pytest.fixture(scope="session")
def run_script():
    """Run a script in an interpreter that sees nothing but what is installed; code and output."""
    with subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("launcher.py"))],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def run(path, folder):
            print(json.dumps([str(path), str(folder)]), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield run
        process.stdin.close()


@pytest.fixture(scope="session")
def warm():
    """Kernels start as those of the build do: each is a process of its own."""
    from execution import forked_kernels
    from execution.kernel_server import Server

    server = Server.start([*LOADED])
    forked_kernels.use_prompt_client()
    forked_kernels.use(server)
    yield
    forked_kernels.use(None)
    server.stop()
