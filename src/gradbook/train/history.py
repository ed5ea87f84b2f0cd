"""What a training did: as data, as text, as a table in a notebook, and as curves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_SHOWN = 12


@dataclass(frozen=True)
class Epoch:
    """One row of a `History`.

    Attributes:
        epoch: its number, from 1.
        train_loss: mean over the samples, each taken when its batch was trained on.
        val_loss: mean over the samples of the validation loader after the epoch, if there is one.
        metrics: on the validation loader, by name.
        lr: learning rate of the first parameter group when the epoch began.
        grad_norm: mean over the epoch's steps of the total norm of the gradient before clipping.
        steps: how many times the optimizer stepped in the epoch.
    """

    epoch: int
    train_loss: float
    val_loss: float | None
    metrics: Mapping[str, float]
    lr: float
    grad_norm: float
    steps: int


@dataclass(frozen=True, repr=False)
class History:
    """What `fit` did, an `Epoch` a row. It prints, and shows in a notebook, as a table.

    Attributes:
        rows: the complete epochs.
        interrupted: Ctrl-C ended the training before the last epoch.

    >>> first, second = Epoch(1, 0.9, None, {}, 0.1, 2.0, 8), Epoch(2, 0.5, None, {}, 0.1, 1.5, 8)
    >>> history = History((first, second))
    >>> history
    epoch  train_loss   lr  grad_norm  steps
        1         0.9  0.1          2      8
        2         0.5  0.1        1.5      8
    best: epoch 2, train_loss 0.5
    >>> history.to_dict()["train_loss"]
    [0.9, 0.5]
    """

    rows: tuple[Epoch, ...] = field(default=())
    interrupted: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def best(self) -> Epoch | None:
        """The epoch with the lowest val_loss, or train_loss where no epoch has one; the first such.

        None if there is no epoch, or no such loss is a number.
        """
        name = self.judged_by
        judged = [(getattr(row, name), row) for row in self.rows if getattr(row, name) is not None]
        judged = [(loss, row) for loss, row in judged if not math.isnan(loss)]
        return min(judged, key=lambda pair: pair[0])[1] if judged else None

    @property
    def judged_by(self) -> str:
        """The name of the loss that `best` looks at."""
        return "val_loss" if any(row.val_loss is not None for row in self.rows) else "train_loss"

    def to_dict(self) -> dict[str, list[Any]]:
        """A list for each column, the metrics after the rest; ``pandas.DataFrame`` takes it."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.metrics))
        columns = {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}
        return columns | {name: [row.metrics.get(name) for row in self.rows] for name in names}

    @classmethod
    def from_dict(cls, columns: Mapping[str, list[Any]]) -> "History":
        """The opposite of `to_dict`.

        >>> history = History((Epoch(1, 0.9, 0.8, {"accuracy": 0.75}, 0.1, 2.0, 8),))
        >>> History.from_dict(history.to_dict()) == history
        True
        """
        rows = []
        for number in range(len(columns["epoch"])):
            row = {name: values[number] for name, values in columns.items()}
            known = {name: row.pop(name) for name in COLUMNS}
            rows.append(Epoch(metrics={k: v for k, v in row.items() if v is not None}, **known))
        return cls(tuple(rows))

    def plot(self) -> "tuple[Axes, ...]":
        """Draw the losses over the epochs, and below them the metrics, if there are any.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: there is no epoch to draw.
        """
        return _plot(self)

    def __repr__(self) -> str:
        return _to_text(self)

    def _repr_html_(self) -> str:
        return _to_html(self)


COLUMNS = ("epoch", "train_loss", "val_loss", "lr", "grad_norm", "steps")


def _to_text(history: "History") -> str:
    """A table for a terminal; the middle of a long one is left out."""
    names, rows = _cells(history)
    lines = [names, *rows]
    if len(rows) > _SHOWN:
        half = _SHOWN // 2
        lines = [names, *rows[:half], ["..."] * len(names), *rows[-half:]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    table = ["  ".join(map(str.rjust, line, widths)) for line in lines] if rows else []
    return "\n".join([*table, _summary(history)])


def _to_html(history: "History") -> str:
    """A table for a notebook, the best epoch in bold."""
    names, rows = _cells(history)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = []
    for row, cells in zip(history.rows, rows, strict=True):
        mark = "strong" if row == history.best else "span"
        first, *others = (f"<{mark}>{escape(cell)}</{mark}>" for cell in cells)
        inside = f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others)
        body.append(f"<tr>{inside}</tr>")
    return (
        f'<table class="gradbook-history"><caption>{escape(_summary(history))}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _plot(history: "History") -> "tuple[Axes, ...]":
    """Draw the losses, and below them the metrics, if there are any."""
    try:
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ImportError('plot() needs matplotlib: pip install "gradbook[plot]"') from error
    if not history.rows:
        raise ValueError("there is no complete epoch to draw")
    columns = history.to_dict()
    epochs = columns.pop("epoch")
    losses = {
        name: columns.pop(name)
        for name in ("train_loss", "val_loss")
        if any(value is not None for value in columns[name])
    }
    metrics = {name: columns[name] for row in history.rows for name in row.metrics}
    panels = [losses, metrics] if metrics else [losses]

    # One below the other: side by side, the text would be too small to read on a phone.
    figure, grid = plt.subplots(len(panels), 1, figsize=(6, 2.8 * len(panels)), squeeze=False)
    axes: tuple[Axes, ...] = tuple(grid[:, 0])
    for axis, panel in zip(axes, panels, strict=True):
        # Curves differ by more than their colour.
        for (name, values), style in zip(panel.items(), _styles(len(panel)), strict=True):
            drawn = [math.nan if value is None else value for value in values]
            axis.plot(epochs, drawn, style, label=name)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("loss")
    if history.best is not None:
        best = history.best
        axes[0].plot(
            best.epoch, getattr(best, history.judged_by), "k*", label=f"best: epoch {best.epoch}"
        )
    for axis in axes:
        axis.legend()
    figure.tight_layout()
    return axes


def _styles(count: int) -> list[str]:
    styles = ["o-", "s--", "^-.", "d:"]
    return [styles[number % len(styles)] for number in range(count)]


def _cells(history: "History") -> tuple[list[str], list[list[str]]]:
    """Column names and texts; a column without any value is left out."""
    columns = {
        name: values
        for name, values in history.to_dict().items()
        if any(value is not None for value in values)
    }
    return list(columns), [
        [_cell(column[number]) for column in columns.values()] for number in range(len(history))
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _summary(history: "History") -> str:
    best, parts = history.best, []
    if best is not None:
        loss = getattr(best, history.judged_by)
        parts.append(f"best: epoch {best.epoch}, {history.judged_by} {_cell(loss)}")
    if not history.rows:
        parts.append("no complete epoch")
    if history.interrupted:
        parts.append("interrupted")
    return "; ".join(parts) or "no loss is a number"
