"""Fork the kernels of a build from one process that has torch loaded.

An interpreter that starts and imports torch takes longer than most pages compute. The process
(`warm_server`) is started when enough pages have to run; each kernel is still a process of its own.
Where anything is not as it should be, a kernel starts in the ordinary way.

Stands first in the list of extensions: where it is known from the start that all pages will run,
the process imports torch while Sphinx imports the other extensions.
"""

import atexit
import os
import sys

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from execution.kernel_server import Server

server: Server | None = None


def _start(app: Sphinx) -> None:
    global server  # noqa: PLW0603 -- jupyter_client makes the provisioners, and gives them nothing
    server = Server.start(app.config.warm_kernels_modules)
    atexit.register(_stop)  # an interrupted build does not say that it has finished


def _use(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Have kernels come from the server, if it saves time."""
    from execution import forked_kernels  # takes long, and the server should have started before

    forked_kernels.use_prompt_client()
    enough = app.config.warm_kernels_from
    if (
        server is None
        and hasattr(os, "pidfd_open")
        and len(names) >= enough
        and len(forked_kernels.pages_to_run(app, names)) >= enough
    ):
        _start(app)
    if server is not None:
        forked_kernels.use(server)


def _stop(*_: object) -> None:
    """End the server and all its kernels."""
    global server  # noqa: PLW0603 -- as above
    if server is not None:
        from execution import forked_kernels

        forked_kernels.use(None)
        server.stop()
        server = None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # Where it is installed, jsonschema imports it, and it makes grammars of addresses for a second;
    # no notebook that is validated has any.
    sys.modules.setdefault("rfc3987_syntax", None)
    app.setup_extension("execution.kept")
    app.add_config_value("warm_kernels_modules", ["torch"], "")
    app.add_config_value("warm_kernels_from", 4, "")
    # For who knows that all pages have to run, before it can be found out.
    app.add_config_value("warm_kernels_now", False, "")
    # Pages run side by side. With threads for all cores in each of them, they wait for each other:
    # on two busy cores the pages of the Learn path took more than four times the processor time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Sets of strings keep their order; a process cannot be told later.
    os.environ.setdefault("PYTHONHASHSEED", "0")
    # Each process that runs cells would warn that no debugger can stop in Python's own modules.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    if app.config.warm_kernels_now and hasattr(os, "pidfd_open"):
        _start(app)
    app.connect("env-before-read-docs", _use)
    app.connect("build-finished", _stop)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
