"""The player outside of the site: in a page that nbconvert makes, and in JupyterLab."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import torch

from gradbook import record_lines, replay


def passes():
    """Two players: one with other numbers to choose, one with recorded ones."""
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with record_lines():
        y = x + 2
        out = (y * y * 2).mean()
    yield replay(out, params={"x": x})
    yield replay(x.softmax(0).log().sum(), params={"x": x})


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A notebook that has run: its cells display players."""
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "execution_count": number,
            "metadata": {},
            "source": "replay(out)",
            "outputs": [
                {
                    "output_type": "execute_result",
                    "execution_count": number,
                    "metadata": {},
                    "data": one._repr_mimebundle_(),
                }
            ],
        }
        for number, one in enumerate(passes(), 1)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path = tmp_path_factory.mktemp("notebooks") / "play.ipynb"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    """Runs a program of Jupyter with settings of its own."""
    home = tmp_path_factory.mktemp("jupyter")
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    environment = {**os.environ, **{name: str(home / name.lower()) for name in names}}
    environment["HOME"] = str(home)

    def start(*arguments, **options):
        command = [sys.executable, "-m", *arguments]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )

    return start


def use(page):
    """Step, play, change a number, step by keys; what is seen is right."""
    first, second = (page.locator("gradbook-player").nth(number) for number in range(2))
    for player in (first, second):  # JupyterLab shows a cell after the other
        player.locator(".gb-bar").wait_for()
    assert first.locator(".gb-count").inner_text() == "step 1 of 5"
    first.get_by_role("slider").fill("4")
    said = re.sub(r"\s+", " ", first.locator(".gb-panel").inner_text())
    assert "[2, 2.667, 3.333] + [2, 2.667, 3.333] = [4, 5.333, 6.667], from two edges" in said
    field = first.get_by_role("spinbutton", name="x[0]", exact=True)
    field.focus()
    page.keyboard.press("ArrowDown")
    first.get_by_text("[3.867, 5.333, 6.667]").first.wait_for()
    first.locator(".gb-panel").click()
    page.keyboard.press("ArrowLeft")
    assert first.locator(".gb-count").inner_text() == "step 3 of 5"
    assert second.locator(".gb-count").inner_text() == "step 1 of 4"
    assert "it did not run under record_lines()" in second.locator(".gb-why").inner_text()


def test_a_page_of_nbconvert_plays(browser, notebook, jupyter):
    """The page stands alone, in a folder."""
    done = jupyter("nbconvert", "--to", "html", str(notebook))
    output = done.communicate(timeout=120)[0]
    assert done.returncode == 0, output
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(notebook.with_suffix(".html").as_uri())
    use(page)
    assert errors == []
    page.close()


def test_a_trusted_notebook_plays_in_jupyterlab(browser, notebook, jupyter):
    """Its keys do not move the notebook's cells."""
    jupyter("nbformat.sign", str(notebook)).communicate(timeout=60)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = jupyter(
        *("jupyterlab", "--allow-root", "--no-browser", f"--port={port}"),
        *("--IdentityProvider.token=", f"--ServerApp.root_dir={notebook.parent}"),
    )
    try:
        address = f"http://127.0.0.1:{port}/lab/tree/{notebook.name}?reset"
        wait_for(f"http://127.0.0.1:{port}/api")
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.locator("gradbook-player .gb-bar").first.wait_for(timeout=90_000)
        use(page)
        page.close()
    finally:
        server.kill()  # it would wait for the kernel
        server.communicate(timeout=30)


def wait_for(address):
    """Until a server answers."""
    for _ in range(120):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(address)
