"""What `explain` answers about an object: a situation, the facts that show it, and its cure."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from gradbook.understand import catalogue
from gradbook.understand.culprit import Place, calling_place
from gradbook.understand.explanation import Explanation


@dataclass
class Answer:
    """A situation and the facts that show it.

    Attributes:
        code: name of the situation.
        facts: sentences, those read off the object first.
        details: more, by name.
        cures: what to do here, before what the situation says in general.
        possible: causes that are left, likeliest first.
    """

    code: str
    facts: list[str]
    details: dict[str, str] = field(default_factory=dict)
    cures: list[str] = field(default_factory=list)
    possible: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Situation:
    """Title, cure, and the entry of the Clinic that says more; empty where all is well."""

    title: str
    cure: str
    entry: str


def explanation_of(
    answer: Answer,
    situations: Mapping[str, Situation],
    subject: str | None,
    kind: str,
    details: dict[str, str],
) -> Explanation:
    """The explanation of an answer."""
    situation = situations[answer.code]
    cures = [*answer.cures, *situation.cure.splitlines()]
    return Explanation(
        code=answer.code,
        title=situation.title,
        because=tuple(answer.facts),
        cure="\n".join(dict.fromkeys(cures)),
        url=catalogue.load()[situation.entry].url if situation.entry else _CLINIC,
        subject=subject,
        kind=kind,
        details=details,
        possible=tuple(answer.possible),
    )


_CLINIC = catalogue.BASE_URL + "clinic/index.html"


def unreadable(error: Exception, subject: str | None, kind: str) -> Explanation:
    """The graph cannot even be looked at; the catalogue may know why."""
    said = " ".join("".join(traceback.format_exception_only(error)).split())
    entry = catalogue.recognise(said)
    first = said.split(". ")[0][:_LONGEST_QUOTE]
    return Explanation(
        code="not-readable",
        title="its graph cannot be read",
        because=(f"Reading it raises {first}.", *(entry.because if entry else ())),
        cure="\n".join(entry.cures) if entry else "Look at what its class does with attributes.",
        url=entry.url if entry else _CLINIC,
        subject=subject,
        kind=kind,
    )


_LONGEST_QUOTE = 200


def place_of_caller() -> Place | None:
    """The line of the program that asked, if it can be read."""
    try:
        return calling_place()
    except Exception:  # frames can hold objects of any kind
        return None


def name_at(tensor: Tensor, place: Place | None) -> str | None:
    """What a tensor is called at a place."""
    if place is None:
        return None
    try:
        return next((name for name, one in place.tensors() if one is tensor), None)
    except Exception:  # as above: a proxy of something that is gone
        return None
