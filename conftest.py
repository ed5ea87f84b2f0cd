"""What is measured of the tests: their coverage, and not how long an example takes."""

import contextlib
from typing import Any

import pytest

with contextlib.suppress(ModuleNotFoundError):  # not every session has it
    from hypothesis import settings

    # Other programs take their time, too: no example fails for being slow.
    settings.register_profile("at any speed", settings.default, deadline=None)
    settings.load_profile("at any speed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure the coverage of what is tested by each run, not of what chance brings.

    Tests with random examples run the same lines hundreds of times, three times as slowly when they
    are measured; what they alone would cover, another run may not.
    """
    for item in items:
        tested: Any = getattr(item, "obj", None)
        if getattr(tested, "is_hypothesis_test", False):
            item.add_marker("no_cover")
