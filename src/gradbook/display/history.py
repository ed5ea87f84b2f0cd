"""Show a History as text, as a table in a notebook, and as curves."""

import math
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradbook.training import History

_SHOWN = 12


def to_text(history: "History") -> str:
    """A table for a terminal; the middle of a long one is left out."""
    names, rows = _cells(history)
    lines = [names, *rows]
    if len(rows) > _SHOWN:
        half = _SHOWN // 2
        lines = [names, *rows[:half], ["..."] * len(names), *rows[-half:]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    table = ["  ".join(map(str.rjust, line, widths)) for line in lines] if rows else []
    return "\n".join([*table, _summary(history)])


def to_html(history: "History") -> str:
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


def plot(history: "History") -> "tuple[Axes, ...]":
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
