"""A sample of all faults, and what it says of them."""

import math
import random
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def draw(
    items: Sequence[Item], place: Callable[[Item], Hashable], count: int, seed: int
) -> list[Item]:
    """A sample in which each place has the same chance, and one of its items.

    Cosmic Ray can replace one `+` by eleven other operators. Were all of them drawn from, the
    places with many would decide the score.
    """
    chance = random.Random(seed)
    places: dict[Hashable, list[Item]] = {}
    for item in items:
        places.setdefault(place(item), []).append(item)
    drawn = chance.sample(list(places.values()), min(count, len(places)))
    return [chance.choice(of_one_place) for of_one_place in drawn]


def score(noticed: int, made: int) -> tuple[float, float, float]:
    """Share of a sample, and the interval in which that of all lies with 95 % confidence.

    The interval is that of Wilson (1927), which also holds for shares near 0 and 1.

    Raises:
        ValueError: nothing was made.
    """
    if made == 0:
        raise ValueError("no fault was made, so no share of them is known")
    share, z = noticed / made, 1.96
    middle = (share + z * z / (2 * made)) / (1 + z * z / made)
    half = z / (1 + z * z / made) * math.sqrt(share * (1 - share) / made + (z / (2 * made)) ** 2)
    return share, max(0.0, middle - half), min(1.0, middle + half)
