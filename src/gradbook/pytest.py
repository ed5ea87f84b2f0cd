"""A plugin for pytest: ``pytest -p gradbook.pytest`` explains the autograd errors of failing tests.

It is off unless it is asked for. The explanation stands below the error, as a note.
"""

from typing import Any

import pytest

from gradbook.understand.notes import annotate


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: "pytest.CallInfo[Any]") -> None:
    """Add the note before the error is written down."""
    if call.excinfo is not None:
        annotate(call.excinfo.value)
