"""What jupyter_client needs to run kernels that the server forks, and does not wait in between."""

import asyncio
import contextlib
import functools
import os
from importlib.metadata import EntryPoint
from pathlib import Path
from queue import Empty
from typing import Any

import zmq
import zmq.asyncio
from jupyter_cache import get_cache
from jupyter_cache.cache.db import NbCacheRecord
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner
from myst_nb.core.read import create_nb_reader
from sphinx.application import Sphinx
from sphinx.util import logging
from traitlets import default

from execution.kept import file_for, kept
from execution.kernel_server import ForkedKernel, Server

_LOGGER = logging.getLogger(__name__)
_NAME = "gradbook-warm"
_ORDINARY = "local-provisioner"
# jupyter_client makes the provisioners, and gives them nothing.
_server: Server | None = None


def use(server: Server | None) -> None:
    """Have kernels come from `server`; with None, start them in the ordinary way."""
    global _server  # noqa: PLW0603 -- as above
    _server = server
    factory = KernelProvisionerFactory.instance()
    factory.provisioners[_NAME] = EntryPoint(
        _NAME, f"{__name__}:{WarmProvisioner.__name__}", factory.GROUP_NAME
    )
    factory.default_provisioner_name = _ORDINARY if server is None else _NAME


def use_prompt_client() -> None:
    """Have all kernels, forked or not, be asked by `PromptClient`."""
    AsyncKernelManager.client_factory.default_value = PromptClient


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
        key = kept(file_for(app, f"keys/{name}"), [text], functools.partial(_key, app, path, text))
        try:
            if key:
                NbCacheRecord.record_from_hashkey(key, cache.db)
        except KeyError:
            found.append(name)
    return found


def _key(app: Sphinx, path: Path, text: str) -> str:
    """By what the cache finds the results of a page; empty if it has no cells."""
    settings = app.env.mystnb_config
    reader = create_nb_reader(str(path), app.env.myst_config, settings, text)
    notebook = reader.read(text) if reader is not None else None
    if notebook is None or not any(cell.cell_type == "code" for cell in notebook.cells):
        return ""
    return str(get_cache(settings.execution_cache_path).create_hashed_notebook(notebook)[1])


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

    async def kill(self, restart: bool = False) -> None:
        """End it, and wait until it has: jupyter_client looks every tenth of a second."""
        await super().kill(restart)
        if isinstance(self.process, ForkedKernel):
            await asyncio.to_thread(self.process.wait, 5)


class PromptClient(AsyncKernelClient):
    """Hears that a kernel is ready, where jupyter_client waits for 0.2 s of silence."""

    @default("context")
    def _create_context(self) -> zmq.asyncio.Context:
        """Sockets that soon try again: the first time, the kernel is not there yet."""
        self._created_context = True  # so that it is closed
        context = zmq.asyncio.Context()
        context.setsockopt(zmq.RECONNECT_IVL, 10)  # milliseconds, in place of 100
        return context

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel has welcomed us, and is idle after it has answered."""
        with contextlib.suppress(Empty):
            await self.get_iopub_msg(timeout=1)  # from here on, everything it says is heard
            asked = self.kernel_info()
            self._handle_kernel_info_reply(await self.get_shell_msg(timeout=1))
            while True:
                said = await self.get_iopub_msg(timeout=1)
                state = said["content"].get("execution_state")
                if said["parent_header"].get("msg_id") == asked and state == "idle":
                    return
        # It needs longer, or has no word of welcome.
        await super().wait_for_ready(timeout)
