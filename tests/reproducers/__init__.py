"""Short programs that raise the messages of the catalogue, and their cures.

A function is named after the `source` it reproduces: `e01b_forward_under_no_grad` raises (or
warns) E01b; `cure_e01b` is the same program, repaired, and asserts what it now does.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable

_NAME = re.compile(r"(cure_)?([ew]\d+[a-z]?)(?:_\w+)?")


def _load() -> tuple[dict[str, Callable[[], object]], dict[str, Callable[[], object]]]:
    raising: dict[str, Callable[[], object]] = {}
    cured: dict[str, Callable[[], object]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        for name, value in vars(importlib.import_module(f"{__name__}.{module}")).items():
            found = _NAME.fullmatch(name)
            if found is None or not callable(value):
                continue
            kept = cured if found[1] else raising
            source = found[2][0].upper() + found[2][1:]
            if source in kept:
                raise ValueError(f"{source} is reproduced twice")
            kept[source] = value
    return raising, cured


RAISING, CURED = _load()
