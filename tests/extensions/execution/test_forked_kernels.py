"""Tests of execution/forked_kernels.py with kernels of the ordinary kind."""

import asyncio
from queue import Empty

import pytest
import zmq
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

from execution.forked_kernels import PromptClient


@pytest.fixture
def standard_waits(monkeypatch):
    """Notes whether a client waited in the way of jupyter_client."""
    noted = []
    wait = AsyncKernelClient.wait_for_ready

    async def noting(self, timeout=None):
        noted.append(timeout)
        await wait(self, timeout)

    monkeypatch.setattr(AsyncKernelClient, "wait_for_ready", noting)
    return noted


def first_words(client_class: type[AsyncKernelClient]) -> list[str]:
    """All that a new kernel prints in its first cell."""

    async def ask() -> list[str]:
        manager = AsyncKernelManager(client_factory=client_class)
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        heard = []
        try:
            await client.wait_for_ready(timeout=60)

            def hear(message):
                heard.append(message["content"].get("text", ""))

            reply = await client.execute_interactive(
                "print('first', flush=True); print('last')", timeout=60, output_hook=hear
            )
            assert reply["content"]["status"] == "ok"
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)
        return "".join(heard).split()

    return asyncio.run(ask())


def test_nothing_is_lost_when_nobody_waits(standard_waits):
    """The kernel's word of welcome says that its listener hears it from here on."""

    class Patient(PromptClient):
        """An ordinary kernel takes longer to start than a forked one."""

        async def get_iopub_msg(self, *args, timeout=None, **kwargs):
            return await super().get_iopub_msg(*args, timeout=60, **kwargs)

    assert first_words(Patient) == ["first", "last"]
    assert standard_waits == []


def test_a_client_soon_tries_again_to_reach_its_kernel():
    """The first time the kernel does not listen yet; a tenth of a second is half of its start."""
    client = PromptClient()
    context = client.context
    with context.socket(zmq.DEALER) as channel:
        assert channel.getsockopt(zmq.RECONNECT_IVL) == 10
    client.stop_channels()
    assert context.closed


def test_a_kernel_without_a_word_of_welcome_is_waited_for(standard_waits):
    """As jupyter_client waits for any kernel."""

    class Deaf(PromptClient):
        """Hears nothing at first."""

        async def get_iopub_msg(self, *args, timeout=None, **kwargs):
            raise Empty

    assert first_words(Deaf) == ["first", "last"]
    assert standard_waits == [60]
