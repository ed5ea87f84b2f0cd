"""The faults that can be made."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cosmic_ray.work_item import MutationSpec


@dataclass(frozen=True)
class Mutant:
    """A fault in one place of a module."""

    spec: "MutationSpec"

    @property
    def module(self) -> str:
        """The file, from the root of the repository."""
        return self.spec.module_path.as_posix()

    @property
    def line(self) -> int:
        """Counted from 1."""
        return self.spec.start_pos[0]

    @property
    def place(self) -> tuple[str, tuple[int, int]]:
        """Where it stands: the file, and line and column."""
        return self.module, self.spec.start_pos

    def __str__(self) -> str:
        """For a person."""
        return f"{self.module}:{self.line}, {self.spec.operator_name.removeprefix('core/')}"


def find(module: Path) -> list[Mutant]:
    """All faults that Cosmic Ray can make in a module, always in the same order."""
    from cosmic_ray.commands.init import init
    from cosmic_ray.work_db import WorkDB

    database = WorkDB(":memory:", WorkDB.Mode.create)
    init([module], database, {})
    mutants = [Mutant(item.mutations[0]) for item in database.work_items]
    database.close()
    return sorted(mutants, key=lambda one: (one.line, one.spec.operator_name, one.spec.occurrence))
