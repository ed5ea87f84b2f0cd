"""Start and ask the process that forks others (`warm_server`), and watch what it forked."""

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
from pathlib import Path
from typing import Any


@dataclass
class Server:
    """The running server and where it listens."""

    process: subprocess.Popen[bytes]
    address: Path

    @classmethod
    def start(cls, arguments: list[str], program: str = "warm_server.py") -> "Server":
        """Start it; it imports modules while the build goes on, and answers after that.

        Args:
            arguments: of the program; `warm_server` takes the names of the modules.
            program: another one of this folder that serves in the same way.
        """
        folder = Path(tempfile.mkdtemp(prefix="kernels-"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "socket"))
            listener.listen(64)
            process = subprocess.Popen(
                [
                    *(sys.executable, "-P", str(Path(__file__).with_name(program))),
                    *(str(listener.fileno()), *arguments),
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
        with socket.socket(socket.AF_UNIX) as connection:
            return ForkedKernel(self.ask(connection, request))

    def ask(self, connection: socket.socket, request: dict[str, Any]) -> int:
        """Send a request over a new connection; the id of the process that was forked for it.

        Raises:
            OSError: there is no server, or it ended before it answered.
        """
        message = json.dumps(request).encode()
        connection.connect(str(self.address))
        connection.sendall(len(message).to_bytes(8, "big") + message)
        answer = connection.recv(8, socket.MSG_WAITALL)
        if len(answer) < 8:
            raise ConnectionError("the process that forks others has ended")
        return int.from_bytes(answer, "big")

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
