"""What was measured, the bars that it is held against, and the file that the book's page reads."""

import datetime
import json
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = (
    *("gradbook", "torch", "numpy", "Sphinx", "myst-nb", "sphinx-gallery", "nbsphinx"),
    *("torchviz", "accelerate", "lightning-fabric"),
)


@dataclass(frozen=True)
class Spread:
    """Middle, smallest and largest of several values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of these values, at least one."""
        return cls(*(round(f(values), 4) for f in (statistics.median, min, max)))


@dataclass(frozen=True)
class Measurement:
    """Values of several things, each in terms of the reference of the same round.

    Attributes:
        what: what was done.
        reference: what counts as 1; or the unit, where the values are not ratios.
        rounds: how often everything was measured.
    """

    what: str
    reference: str
    rounds: int
    values: dict[str, Spread]


@dataclass(frozen=True)
class Bar:
    """A promise of the design, and what came out."""

    text: str
    value: float
    limit: float
    sense: str  # "at most" or "at least"

    @property
    def holds(self) -> bool:
        """Whether the promise is kept."""
        return self.value <= self.limit if self.sense == "at most" else self.value >= self.limit


def take_turns(
    actions: dict[str, Callable[[], float]], reference: str, rounds: int
) -> dict[str, Spread]:
    """Ratios to the reference, from rounds in which each action is timed once.

    Every other round goes in the opposite order, and a ratio compares times of one round: a machine
    that slows down slows all, and coming first is no advantage.
    """
    ratios: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds):
        order = list(actions)[:: -1 if number % 2 else 1]
        seconds = {name: actions[name]() for name in order}
        for name in actions:
            ratios[name].append(seconds[name] / seconds[reference])
    return {name: Spread.of(values) for name, values in ratios.items()}


def machine() -> dict[str, object]:
    """What it was measured on; `load` is how many processes wanted to run when it began."""
    found = Path("/proc/cpuinfo")
    lines = found.read_text("utf-8").splitlines() if found.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def write(
    path: Path,
    found: dict[str, object],
    pages: list[str],
    measurements: dict[str, Measurement],
    bars: list[Bar],
) -> None:
    """Write everything as JSON, with the date and the versions of what was measured."""
    content = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": found,
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "pages": pages,
        "measurements": {name: asdict(one) for name, one in measurements.items()},
        "bars": [{**asdict(bar), "holds": bar.holds} for bar in bars],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
