"""Which backward passes ran before a line, and what became of the gradients that they filled."""

import ast
import re
from collections.abc import Sequence
from typing import NamedTuple

from gradbook.understand.culprit.case import quoted
from gradbook.understand.culprit.changes import may_have_run
from gradbook.understand.culprit.frames import Place
from gradbook.understand.culprit.source import calls, last_name
from gradbook.understand.culprit.views import bodies_below, called


class Fate(NamedTuple):
    """Why a leaf that requires grad holds no gradient, as far as the source tells.

    Attributes:
        kind: "none yet", "cleared", "left out", "perhaps left out", or "" if it does not tell.
        facts: the lines that show it.
    """

    kind: str
    facts: tuple[str, ...] = ()


def fate_of_gradients(places: Sequence[Place]) -> Fate:
    """What the source of running functions tells of a leaf without a gradient.

    Args:
        places: the lines in which the functions are, innermost first.
    """
    for place in places:
        for backward in ran_before(place, "backward")[:1]:
            return _since(place, backward)
    if places and all(_is_told(place) for place in places):
        return Fate("none yet", ("No `backward()` stands before this line.",))
    return Fate("")


def _since(place: Place, backward: ast.stmt) -> Fate:
    scope = place.scope
    cleared = [one for one in ran_before(place, "zero_grad") if one.lineno > backward.lineno]
    if cleared:
        return Fate("cleared", (f"It was set to None since, in {quoted(cleared[0])}.",))
    if scope is None or scope.perhaps(backward, scope.statement):
        return Fate("perhaps left out")
    return Fate("left out", (f"The backward pass in {quoted(backward)} left it out.",))


def zeroed_since(places: Sequence[Place]) -> list[str]:
    """The line that has filled gradients with zeros after the last backward pass, as a sentence."""
    for place in places:
        last = max((one.lineno for one in ran_before(place, "backward")), default=0)
        for method in ("zero_grad", "zero_"):
            for one in ran_before(place, method):
                text = ast.unparse(one).replace(" ", "")
                if one.lineno > last and ("set_to_none=False" in text or ".grad.zero_" in text):
                    return [f"It was filled with zeros in {quoted(one)}."]
    return []


def ran_before(place: Place, method: str) -> list[ast.stmt]:
    """The statements that may have run before the present line and call a method, last one first.

    Also inside the functions of the program that they call.
    """
    scope = place.scope
    if scope is None:
        return []

    def asks(statement: ast.stmt) -> bool:
        return any(last_name(call.func) == method for _, call in calls(statement))

    return [
        one
        for one in reversed(scope.statements)
        if may_have_run(scope, one)
        and (
            asks(one)
            or any(
                asks(inner)
                for body in bodies_below(place, calls(one))
                if body.scope is not None
                for inner in body.scope.statements
            )
        )
    ]


_TRAINS = re.compile(r"fit|train\w*|training_step|optimi[sz]e|run|update|learn|main")


def _is_told(place: Place) -> bool:
    """Whether the source shows every backward pass that may have run: no library may train."""
    scope = place.scope
    if scope is None:
        return False
    return not any(
        _TRAINS.fullmatch(last_name(call.func)) and not called(place, call)
        for one in scope.statements
        if may_have_run(scope, one)
        for _, call in calls(one)
    )
