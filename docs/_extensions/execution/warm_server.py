"""A process that has the slow imports behind it, and forks a notebook kernel for each request.

Run by `warm_kernels`; it needs fork, sessions and parent-death signals: Linux.
"""

import contextlib
import ctypes
import gc
import importlib.util
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
# What ipykernel itself imports before its first cell runs. Not the inline backend of matplotlib:
# it ties itself to the shell that is there when it is imported, and here is none.
_KERNEL = (
    "IPython.core.completer",
    "IPython.core.historyapp",
    "debugpy",
    "ipykernel.comm",
    "ipykernel.debugger",
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "ipykernel.parentpoller",
    "ipykernel.subshell_manager",
    "ipykernel.zmqshell",
    "jupyter_client.localinterfaces",
    "tornado.platform.asyncio",
)


def load(names: list[str]) -> None:
    """Import what pages will need; a module that is not there is left to the page."""
    # matplotlib looks at this once, when it is imported.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else each kernel's collector touches, and so copies, all of this


def serve(listener: socket.socket, become: Callable[..., None]) -> None:
    """Fork a process for each connection, until the build that started this one has ended.

    Args:
        listener: where requests come in.
        become: what the new process does: it gets the request, the connection, the listener.
    """
    parent = os.getppid()
    while os.getppid() == parent:
        if not select.select([listener], [], [], 0.5)[0]:
            continue
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError, ValueError):
            request = json.loads(_receive(connection))
            if os.fork() == 0:
                become(request, connection, listener)


def _receive(connection: socket.socket) -> bytes:
    size = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
    return connection.recv(size, socket.MSG_WAITALL)


def end_with_parent() -> None:
    """Have the system end this process when the one that forked it ends."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _become_kernel(
    request: dict[str, Any], connection: socket.socket, listener: socket.socket
) -> NoReturn:
    """Be, from here on, what ``python -m ipykernel_launcher`` would be."""
    try:
        listener.close()
        # Before the answer: who asked looks up the process group to send signals to.
        os.setsid()
        end_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        connection.sendall(os.getpid().to_bytes(8, "big"))
        connection.close()
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        launcher = importlib.util.find_spec("ipykernel_launcher")
        sys.argv = [str(launcher and launcher.origin), *request["arguments"]]
        if "numpy" in sys.modules:  # Python's generator seeds itself anew after a fork
            sys.modules["numpy"].random.seed()
        from ipykernel.kernelapp import IPKernelApp

        # A kernel without a parent tells the terminal how to end it; with 1, it looks after none.
        arguments = [*request["arguments"], "--IPKernelApp.parent_handle=1"]
        IPKernelApp.launch_instance(argv=arguments)
    finally:
        # Nothing of the server's own may run at the end of a kernel.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the build ends this process when it ends
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no kernel is waited for
    load([*_KERNEL, *sys.argv[2:]])
    serve(socket.socket(fileno=int(sys.argv[1])), _become_kernel)
