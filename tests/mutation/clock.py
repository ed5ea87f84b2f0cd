"""A plugin of pytest that writes down how long each test took, all its phases together."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

seconds: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the phases of a test."""
    seconds[report.nodeid] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the file, in the process that has heard of all tests."""
    if not hasattr(session.config, "workerinput"):
        Path(os.environ["CLOCK"]).write_text(json.dumps(seconds), encoding="utf-8")
