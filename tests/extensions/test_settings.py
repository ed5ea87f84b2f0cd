"""Tests of docs/conf.py: a build that runs nothing does not wait for torch."""

import subprocess
import sys

from sites import DOCS


def test_the_settings_and_the_extensions_import_no_torch():
    """It takes as long as all the rest of a build that runs no page."""
    program = """
import importlib, runpy, sys
settings = runpy.run_path("conf.py")
for name in settings["extensions"]:
    importlib.import_module(name)
print(len(settings["extensions"]), "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=DOCS,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    count, found = done.stdout.split()
    assert int(count) > 10
    assert found == "False"


def test_the_settings_stay_short():
    """Whatever needs more than a setting is an extension with a test."""
    assert len((DOCS / "conf.py").read_text("utf-8").splitlines()) < 120
