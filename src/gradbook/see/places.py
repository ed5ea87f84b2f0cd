"""The modules of a graph, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """What is told of a module.

    Attributes:
        name: its class, ``"Linear"``; empty if only names of parameters are known.
        shape: of what its last call returned (of the first tensor in it); None if unknown.
        parameters: how many numbers its parameters have, those of its submodules included.
    """

    name: str
    shape: tuple[int, ...] | None
    parameters: int


@dataclass(frozen=True, slots=True)
class Place:
    """A call of a module.

    Attributes:
        path: the qualified name, ``""`` for the whole model.
        call: which call it was, from 0.
        within: the call around it.
    """

    path: str
    call: int
    within: "Place | None" = None

    def call_of(self, path: str) -> int:
        """Which call of an outer module it is in."""
        place: Place | None = self
        while place is not None and place.path != path:
            place = place.within
        return 0 if place is None else place.call


@dataclass(frozen=True, slots=True)
class Modules:
    """The modules of a graph.

    Attributes:
        guessed: nobody noted which module made what: the parameters tell, as far as they can.
        facts: of each module, by its qualified name.
        places: the call that each node belongs to; a node that no module made has none.
    """

    guessed: bool
    facts: Mapping[str, ModuleFacts]
    places: Mapping[int, Place]
