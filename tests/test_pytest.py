"""Tests of the plugin for pytest: a failing test is explained, if that is asked for."""

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
FAILING = """
import torch

def test_loss():
    weight = torch.ones(3)
    loss = (weight * 2).sum()
    loss.backward()

def test_other():
    assert 1 == 2
"""


def output_of(folder, *options):
    """What pytest prints about two failing tests."""
    (folder / "test_failing.py").write_text(FAILING, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        # Where CI is set, pytest repeats the whole note in its last lines.
        env={name: value for name, value in os.environ.items() if name != "CI"}
        | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "2 failed" in done.stdout
    return done.stdout


def test_the_plugin_explains_a_failing_test(tmp_path):
    """Below the error, with the variable; another failure is left alone."""
    text = output_of(tmp_path, "-p", "gradbook.pytest")
    assert text.count("gradbook: no-graph") == 1
    assert "variable: weight" in text
    assert "gradbook" not in output_of(tmp_path)
