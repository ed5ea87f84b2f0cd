"""Fork the kernels of a build from one process that has torch loaded.

An interpreter that starts and imports torch takes longer than most pages compute. The process
(`warm_server`) is started when enough pages have to run; each kernel is still a process of its own.
Where anything is not as it should be, a kernel starts in the ordinary way.
"""

import asyncio
import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from jupyter_cache import get_cache
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from myst_nb.core.read import create_nb_reader
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

_LOGGER = logging.getLogger(__name__)
_NAME = "gradbook-warm"
_ORDINARY = "local-provisioner"


@dataclass
class Server:
    """The running server and where it listens."""

    process: subprocess.Popen[bytes]
    address: Path

    @classmethod
    def start(cls, modules: list[str]) -> "Server":
        """Start it; it imports `modules` while the build goes on, and answers after that."""
        folder = Path(tempfile.mkdtemp(prefix="kernels-"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "socket"))
            listener.listen(64)
            process = subprocess.Popen(
                [
                    *(sys.executable, "-P", str(Path(__file__).with_name("warm_server.py"))),
                    *(str(listener.fileno()), *modules),
                ],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
            )
        return cls(process, folder / "socket")

    def fork(self, arguments: list[str], cwd: str, environment: dict[str, str]) -> "ForkedKernel":
        """Have it fork a kernel.

        Raises:
            OSError: there is no server, or it ended before it answered.
        """
        request = {"arguments": arguments, "cwd": cwd, "environment": environment}
        message = json.dumps(request).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.address))
            connection.sendall(len(message).to_bytes(8, "big") + message)
            answer = connection.recv(8, socket.MSG_WAITALL)
        if len(answer) < 8:
            raise ConnectionError("the process that forks kernels has ended")
        return ForkedKernel(int.from_bytes(answer, "big"))

    def stop(self) -> None:
        """End it and, with it, all its kernels."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.address.parent, ignore_errors=True)


class ForkedKernel:
    """What a provisioner needs of `subprocess.Popen`, for a process that is no child of ours."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        try:
            self._handle = os.pidfd_open(pid)
        except ProcessLookupError:
            self.returncode = -1

    def poll(self) -> int | None:
        """Return None while it runs; its own code is known to its parent alone."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it runs on after `timeout` seconds.
        """
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("kernel", timeout or 0)
        return code

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._handle], [], [], timeout)[0]:
            os.close(self._handle)
            self.returncode = -1
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


_server: Server | None = None


class WarmProvisioner(LocalProvisioner):
    """Starts kernels of this interpreter from the server, all others in the ordinary way."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel that `cmd` would start."""
        module = ["-m", "ipykernel_launcher"]
        if _server is None or cmd[1:3] != module:
            return await super().launch_kernel(cmd, **kwargs)
        environment = dict(kwargs.get("env") or os.environ)
        cwd = str(kwargs.get("cwd") or Path.cwd())
        try:
            # In a thread: the first kernel waits for the imports, and an interrupt must not.
            self.process = await asyncio.to_thread(_server.fork, cmd[3:], cwd, environment)
        except OSError as error:
            _LOGGER.info("a kernel starts in the ordinary way: %s", error)
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        self.cwd = cwd
        return self.connection_info


def pages_to_run(app: Sphinx, names: list[str]) -> list[str]:
    """Those of the pages `names` that have cells whose results are not in the cache."""
    settings = app.env.mystnb_config
    if settings.execution_mode != "cache":
        return names if settings.execution_mode in ("auto", "force") else []
    cache = get_cache(settings.execution_cache_path)
    found = []
    for name in names:
        path = app.env.doc2path(name)
        text = path.read_text(encoding="utf-8")
        reader = create_nb_reader(str(path), app.env.myst_config, settings, text)
        if reader is None:
            continue
        notebook = reader.read(text)
        if not any(cell.cell_type == "code" for cell in notebook.cells):
            continue
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            found.append(name)
    return found


def _start(app: Sphinx, env: BuildEnvironment, names: list[str]) -> None:
    """Start the server if it saves time, and have kernels come from it."""
    global _server  # noqa: PLW0603 -- jupyter_client makes the provisioners, and gives them nothing
    if not hasattr(os, "pidfd_open") or len(names) < app.config.warm_kernels_from:
        return
    if len(pages_to_run(app, names)) < app.config.warm_kernels_from:
        return
    _server = Server.start(app.config.warm_kernels_modules)
    atexit.register(_stop)  # an interrupted build does not say that it has finished
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[_NAME] = EntryPoint(
        _NAME, f"{__name__}:{WarmProvisioner.__name__}", factory.GROUP_NAME
    )
    factory.default_provisioner_name = _NAME


def _stop(*_: object) -> None:
    """End the server and all its kernels."""
    global _server  # noqa: PLW0603 -- as above
    if _server is not None:
        KernelProvisionerFactory.instance().default_provisioner_name = _ORDINARY
        _server.stop()
        _server = None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value("warm_kernels_modules", ["torch"], "")
    app.add_config_value("warm_kernels_from", 4, "")
    # Pages run side by side. With threads for all cores in each of them, they wait for each other:
    # on two busy cores the pages of the Learn path took more than four times the processor time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    app.connect("env-before-read-docs", _start)
    app.connect("build-finished", _stop)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
