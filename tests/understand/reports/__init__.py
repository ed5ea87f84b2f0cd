"""Programs after public reports, with what is true of each of them.

Each is a function that fails, or that makes a tensor or a module whose gradient is silently wrong.
Its decorator says what the right answer is; a second function of the same name with `cured_`
before it is the program with the first cure of the answer applied, word for word, and runs.

A comment ``# guilty`` marks the line that has to be named where no variable is to blame.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Report:
    """A program and what is true of it.

    Attributes:
        program: raises the error, or returns what `explain` is asked about.
        code: the entry, or the situation.
        cause: `Variant.source` of the true cause; empty where the entry has one cause only.
        culprits: names of the guilty variable, any of which is right.
        false: pieces of sentences that would be false of this program.
        cure: a piece of the cure that comes first.
        cured: the program with this cure applied; None if it does not work.
    """

    program: Callable[[], Any]
    code: str
    cause: str = ""
    culprits: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    cure: str = ""
    cured: Callable[[], Any] | None = field(default=None, compare=False)


_reports: dict[str, Report] = {}


def report(
    code: str,
    cause: str = "",
    *,
    culprit: str | tuple[str, ...] = (),
    false: tuple[str, ...] = (),
    cure: str,
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a program; the arguments are those of `Report`."""

    def keep(program: Callable[[], Any]) -> Callable[[], Any]:
        names = (culprit,) if isinstance(culprit, str) else culprit
        _reports[program.__name__] = Report(program, code, cause, names, false, cure)
        return program

    return keep


def load() -> list[Report]:
    """All reports, each with its cured program."""
    found = []
    for name in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        for key, program in vars(module).items():
            one = _reports.get(key)
            if one is not None and one.program is program:
                cured = vars(module).get(f"cured_{key}")
                found.append(Report(*(getattr(one, f) for f in _FIELDS), cured))
    return found


_FIELDS = ("program", "code", "cause", "culprits", "false", "cure")
