"""A graph as text: a tree for a terminal, Mermaid, and Graphviz's language."""

import re
from collections.abc import Iterator

from gradbook.see.display.folding import Drawn, Frame, Item, Sketch, plural

_MOST_OUTPUTS = 3
_MOST_SAVED = 3


def to_text(graph: Drawn, sketch: Sketch) -> str:
    """A tree, outputs first; see `BackwardGraph.to_text`.

    What a node was computed from stands below it. The longest line of inputs goes on without
    indentation, so that a chain stays a column; the other inputs branch off before.
    A node that is used in several places stands in full below one of them, with a mark such as
    ``*1``; at the others, ``→ *1`` refers to it. Modules that are opened are told before the tree;
    a line whose name does not tell its module says in which one it is.

    >>> import torch
    >>> from gradbook import graph
    >>> x, w = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    >>> y = torch.tanh(x * w)
    >>> print(graph(y + y.exp(), params={"x": x, "w": w}).to_text())
    6 nodes, 6 edges, 2 leaves, 48 bytes saved
    AddBackward0  (3,)
    ├─ → *1 TanhBackward0
    ExpBackward0  (3,)  saved: result (3,)
    *1 TanhBackward0  (3,)  saved: result (3,)
    MulBackward0  (3,)  saved: other (3,), self (3,)
    ├─ AccumulateGrad  x  (3,)
    └─ AccumulateGrad  w  (3,)
    """
    rows = list(_rows(sketch))
    marks: dict[int, int] = {}
    shared = {item for _, item, _, full in rows if not full}
    lines = [sketch.title] + ([sketch.note] if sketch.note else [])
    # The module that is looked into, if there is one, stands around all others.
    whole = int(sketch.by_module and not sketch.note)
    for number, frame in enumerate(sketch.frames):
        words = "inside of" if number < whole else "opened:"
        lines.append("  ".join((f"{words} {frame.label}", *frame.details)))
    for prefix, item, count, full in rows:
        if item < 0:
            lines.append("")
            continue
        mark = f"*{marks.setdefault(item, len(marks) + 1)} " if item in shared else ""
        one = sketch.items[item]
        text = (mark if full else f"→ {mark}") + described(one, len(graph.roots), full=full)
        if count > 1:
            text += f"  (reached by {count:,} edges)"
        if full and one.frame is not None and one.frame >= whole:
            around = sketch.frames[one.frame]
            if around.module and f"{around.module}." not in f"{one.label} {one.name}":
                text += f"  in {around.label}"
        if full and one.line:
            text += f"  # {one.line}"
        lines.append(prefix + text)
    return "\n".join(lines)


def _rows(sketch: Sketch) -> Iterator[tuple[str, int, int, bool]]:
    """Prefix, item, number of edges into it from above, and whether it stands here in full.

    An empty row, between the trees of two outputs, has item -1.
    """
    inputs: list[list[tuple[int, int]]] = [[] for _ in sketch.items]
    # Where an item stands in full: below the last that uses it.
    home = [-1] * len(sketch.items)
    for link in sketch.links:
        inputs[link.src].append((link.dst, len(link.edges)))
        home[link.dst] = max(home[link.dst], link.src)
    # With the larger part always as the trunk, n items lie at most log2(n) deep.
    size = [1] * len(sketch.items)
    for item in range(len(sketch.items) - 1, -1, -1):
        if home[item] >= 0:
            size[home[item]] += size[item]

    def weight(row: tuple[int, int, bool]) -> int:
        return size[row[0]] if row[2] else 0

    first = True
    for root in (item for item, above in enumerate(home) if above < 0):
        if not first:
            yield "", -1, 0, True
        first = False
        stack = [("", "", root, 0, True)]
        while stack:
            prefix, margin, item, count, full = stack.pop()
            yield prefix, item, count, full
            if not full:
                continue
            below = sorted(
                ((dst, number, home[dst] == item) for dst, number in inputs[item]), key=weight
            )
            rows = []
            if len(below) == 1 or (below and weight(below[-1]) > 1):
                rows.append((margin, margin, *below.pop()))
                ends = False
            else:
                ends = True
            for position, row in enumerate(reversed(below)):
                if ends and position == 0:
                    rows.append((margin + "└─ ", margin + "   ", *row))
                else:
                    rows.append((margin + "├─ ", margin + "│  ", *row))
            stack += rows


def described(item: Item, roots: int, *, full: bool = True) -> str:
    """An item in a line: all of it but the source line, or only what it is called."""
    parts = [item.label, item.name]
    if full:
        parts += [item.shape, *item.details]
        if item.saved:
            parts.append("saved: " + ", ".join(item.saved))
        if item.released:
            parts.append("released: " + ", ".join(item.released))
        if item.constants:
            parts.append(f"+ {plural(item.constants, 'constant')}")
        if roots > 1:
            parts.append(output_words(item, roots))
    return "  ".join(filter(None, parts))


def output_words(item: Item, roots: int) -> str:
    """``"output"``, or ``"output 1 of 2"``; empty if it is none."""
    if not item.outputs:
        return ""
    if roots == 1:
        return "output"
    if len(item.outputs) > _MOST_OUTPUTS:
        return plural(len(item.outputs), "output")
    return f"output {', '.join(str(position + 1) for position in item.outputs)} of {roots:,}"


def _box(item: Item, roots: int) -> list[str]:
    """The lines of an item in a box."""
    title = " ".join(filter(None, (item.name, item.shape)))
    saved = list(item.saved[:_MOST_SAVED])
    if len(item.saved) > _MOST_SAVED:
        saved.append(f"and {len(item.saved) - _MOST_SAVED} more")
    return [
        line
        for line in (
            item.label,
            title,
            *item.details,
            "saved: " + ", ".join(saved) if saved else "",
            "released: " + ", ".join(item.released) if item.released else "",
            f"+ {plural(item.constants, 'constant')}" if item.constants else "",
            output_words(item, roots),
        )
        if line
    ]


def to_mermaid(graph: Drawn, sketch: Sketch) -> str:
    """A Mermaid flowchart, inputs on top; see `BackwardGraph.to_mermaid`."""
    lines = ["---", f"title: {sketch.note}", "---"] if sketch.note else []
    lines.append("flowchart TD")
    for item, opened in _nested(sketch):
        if item is None:
            lines.append("    end" if opened is None else _subgraph(opened))
            continue
        label = "<br/>".join(map(_for_mermaid, _box(item, len(graph.roots))))
        start, end = {True: ("[[", "]]"), False: ("[", "]")}[bool(item.outputs)]
        if item.kind == "leaf":
            start, end = "([", "])"
        lines.append(f'    {_id(item)}{start}"{label}"{end}')
    for upper, lower, count in _arrows(sketch):
        text = f'|"{count:,} edges"|' if count > 1 else ""
        lines.append(f"    {upper} -->{text} {lower}")
    return "\n".join(lines)


def _nested(sketch: Sketch) -> Iterator[tuple[Item | None, Frame | None]]:
    """The items, inputs first; before those in a frame the frame, and after them nothing at all."""
    inside: dict[int | None, list[int]] = {}
    below: dict[int | None, list[int]] = {}
    for number in reversed(range(len(sketch.items))):
        inside.setdefault(sketch.items[number].frame, []).append(number)
    for number, frame in enumerate(sketch.frames):
        below.setdefault(frame.frame, []).append(number)
    closing = object()
    todo: list[object] = [None]
    while todo:
        one = todo.pop()
        if one is closing:
            yield None, None
            continue
        if isinstance(one, int):
            yield None, sketch.frames[one]
            todo.append(closing)
        key = one if isinstance(one, int) else None
        for number in inside.get(key, ()):
            yield sketch.items[number], None
        todo += below.get(key, ())


def _subgraph(frame: Frame) -> str:
    label = _for_mermaid(", ".join((frame.label, *frame.details)))
    return f'    subgraph f{frame.nodes[0]}_{frame.module.count(".")}["{label}"]'


def _id(item: Item) -> str:
    """A name of its own; what is beside a module may stand on both sides of it."""
    side = item.label.partition(" ")[0] if item.kind == "outer" else "n"
    return f"{side}{item.nodes[0]}"


def _arrows(sketch: Sketch) -> Iterator[tuple[str, str, int]]:
    """The name of the input, that of what uses it, and how many edges an arrow is."""
    for link in reversed(sketch.links):
        arrow = (
            _id(sketch.items[link.dst]),
            _id(sketch.items[link.src]),
            len(link.edges) // link.arrows,
        )
        yield from (arrow,) * link.arrows


def _for_mermaid(text: str) -> str:
    # Mermaid decodes #65; after it has read quotes, markup and Markdown.
    return re.sub(r"[^\w ,():×]", lambda found: f"#{ord(found[0])};", text)


def to_dot(graph: Drawn, sketch: Sketch) -> str:
    """The graph in Graphviz's language, inputs on top; see `BackwardGraph.to_dot`."""
    lines = ["digraph backward {", '    node [shape=box, fontname="monospace"];']
    if sketch.note:
        lines.append(f'    label="{_for_dot(sketch.note)}";')
    for count, (item, opened) in enumerate(_nested(sketch)):
        if item is None:
            label = "" if opened is None else _for_dot(", ".join((opened.label, *opened.details)))
            start = f'    subgraph cluster{count} {{ label="{label}";'
            lines.append("    }" if opened is None else start)
            continue
        label = r"\n".join(map(_for_dot, _box(item, len(graph.roots))))
        style = ", style=rounded" if item.kind == "leaf" else ""
        style += ", peripheries=2" if item.outputs else ""
        lines.append(f'    {_id(item)} [label="{label}"{style}];')
    for upper, lower, count in _arrows(sketch):
        text = f' [label="{count:,} edges"]' if count > 1 else ""
        lines.append(f"    {upper} -> {lower}{text};")
    return "\n".join([*lines, "}"])


def _for_dot(text: str) -> str:
    # Graphviz reads HTML's entities in every label.
    return text.replace("\\", r"\\").replace('"', r"\"").replace("&", "&amp;")
