"""What all outputs show of a graph: its nodes, or, if these are too many to read, folds of them."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gradbook.graph import BackwardGraph

LIMIT = 150  # nodes that a person still reads
_MOST = 60  # items that are left of a larger graph
_SHORTEST_RUN = 3  # two nodes say more than their fold
_LONGEST_PERIOD = 4
_NAMED_KINDS = 3
_BIG = 1_000_000  # bytes of a saved tensor that are worth a word

Kind = Literal["leaf", "op", "run", "module", "part"]


@dataclass(frozen=True, slots=True)
class Item:
    """One box of a drawing, one line of a text. All strings are one line, without control codes.

    Attributes:
        label: the node's name, ``"MulBackward0"``; of a fold, what it holds.
        kind: ``"leaf"`` and ``"op"`` are single nodes; a ``"run"`` is a chain of nodes, a
            ``"module"`` what belongs to a module's parameters, a ``"part"`` a slice of the graph.
        name: the tensor's name, or empty.
        shape: ``"(3,)"``, ``"(3,) to ()"`` of a fold, or empty.
        saved: what it keeps for backward, a text a tensor.
        released: names of the saved tensors that a backward pass freed.
        constants: how many inputs need no gradient.
        details: whatever else a fold has to say.
        line: the source line that made it, or empty.
        outputs: positions in `BackwardGraph.roots`, if it is an output.
        nodes: ids of the nodes it stands for.
    """

    label: str
    kind: Kind
    name: str
    shape: str
    saved: tuple[str, ...]
    released: tuple[str, ...]
    constants: int
    details: tuple[str, ...]
    line: str
    outputs: tuple[int, ...]
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """All edges from item `src` to its input `dst`.

    Attributes:
        src: position in `Sketch.items`.
        dst: position in `Sketch.items`, always behind `src`.
        edges: positions in `BackwardGraph.edges`.
    """

    src: int
    dst: int
    edges: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sketch:
    """A graph as it is shown.

    Attributes:
        items: outputs first, each after all that point at it.
        links: in the order of their first item, and there in the order of its inputs.
        title: ``"5 nodes, 5 edges, 1 leaf, 20 bytes saved"``.
        note: how much is folded, or None.
    """

    items: tuple[Item, ...]
    links: tuple[Link, ...]
    title: str
    note: str | None


def sketch_of(graph: "BackwardGraph", fold: bool | None = None, limit: int = LIMIT) -> Sketch:
    """What to show of `graph`.

    Folding replaces each run of nodes that lie in one line by an item. If more than `limit` items
    are left, the graph is cut across into at most 60: where the module of the parameters changes,
    or else into equal parts.

    Args:
        graph: of any size.
        fold: None folds if there are more than `limit` nodes.
        limit: the most items that are still shown.

    Raises:
        TypeError: `fold` is none of True, False and None.

    >>> import torch
    >>> from gradbook import graph
    >>> x = torch.ones(3, requires_grad=True)
    >>> y = x
    >>> for _ in range(1000):
    ...     y = y * 2
    >>> sketch = sketch_of(graph(y))
    >>> [item.label for item in sketch.items]
    ['MulBackward0', 'MulBackward0 × 999', 'AccumulateGrad']
    >>> sketch.note
    '1,001 nodes, shown folded into 3'
    """
    if fold not in (None, True, False):
        raise TypeError(f"fold must be True, False or None, got {fold!r}")
    count = len(graph)
    paths: list[str] = []
    if fold or (fold is None and count > limit):
        groups = _runs(graph)
        if len(groups) > limit:
            groups, paths = _cut(graph, groups, min(limit, _MOST))
    else:
        groups = [[node] for node in range(count)]

    outputs: dict[int, list[int]] = {}
    for position, root in enumerate(graph.roots):
        outputs.setdefault(root, []).append(position)
    items = tuple(
        _single(graph, nodes[0], outputs)
        if len(nodes) == 1
        else _folded(graph, nodes, outputs, paths[number] if paths else None)
        for number, nodes in enumerate(groups)
    )
    links = _links(graph, groups)
    note = None
    if len(items) < count:
        note = f"{count:,} nodes, shown folded into {len(items):,}"
    return Sketch(
        items,
        tuple(Link(src, dst, tuple(edges)) for (src, dst), edges in links.items()),
        _title(graph),
        note,
    )


def _title(graph: "BackwardGraph") -> str:
    leaves = sum(column[5] for column in graph._columns)
    return (
        f"{plural(len(graph), 'node')}, {plural(len(graph._edges), 'edge')}, "
        f"{plural(leaves, 'leaf', 'leaves')}, {in_bytes(graph.saved_nbytes)} saved"
        + (", released" if graph.released else "")
    )


def _links(
    graph: "BackwardGraph", groups: Sequence[Sequence[int]]
) -> dict[tuple[int, int], list[int]]:
    """The edges between different groups, by their two groups."""
    group_of = [0] * len(graph)
    for number, nodes in enumerate(groups):
        for node in nodes:
            group_of[node] = number
    links: dict[tuple[int, int], list[int]] = {}
    for edge, (src, dst, _) in enumerate(graph._edges):
        ends = group_of[src], group_of[dst]
        if ends[0] != ends[1]:
            links.setdefault(ends, []).append(edge)
    # Sorting is stable: the inputs of an item stay in their order.
    return dict(sorted(links.items(), key=lambda link: link[0][0]))


# Folding: runs ---------------------------------------------------------------------------------


def _runs(graph: "BackwardGraph") -> list[list[int]]:
    """All nodes in groups: a run is one group, any other node is alone.

    A node of a run has one parent, one child and no name. Groups are in the order of the graph.
    """
    none, several = -1, -2
    parent = [none] * len(graph)
    child = [none] * len(graph)
    for src, dst, _ in graph._edges:
        if child[src] != dst:
            child[src] = dst if child[src] == none else several
        if parent[dst] != src:
            parent[dst] = src if parent[dst] == none else several
    roots = set(graph.roots)
    groups: list[list[int]] = []
    run_of: dict[int, list[int]] = {}
    for node, (_, _, _, _, tensor_name, _, _) in enumerate(graph._columns):
        above = parent[node]
        if above < 0 or child[node] < 0 or tensor_name is not None or node in roots:
            groups.append([node])
            continue
        run = run_of.get(above)
        if run is None:
            groups.append(run := [])
        run.append(node)
        run_of[node] = run
    folded = []
    for nodes in groups:
        folded += [nodes] if len(nodes) >= _SHORTEST_RUN else [[node] for node in nodes]
    return folded


# Folding: cuts across the graph ----------------------------------------------------------------


def _cut(
    graph: "BackwardGraph", groups: list[list[int]], most: int
) -> tuple[list[list[int]], list[str]]:
    """At most `most` groups, and the module of each (none for equal parts).

    Any cut of an order in which inputs come behind what uses them leaves a graph without cycles.
    """
    order = _order(groups, _links(graph, groups))
    modules = _modules(graph, [groups[group] for group in order])
    paths: list[str] = []
    starts = [len(order) * part // most for part in range(most)]
    for depth in range(max(map(len, modules), default=0), 0, -1):
        changes = [
            position
            for position, module in enumerate(modules)
            if not position or module[:depth] != modules[position - 1][:depth]
        ]
        if len(changes) > 1:
            # Where even the outermost modules are too many, neighbours go together.
            together = -(-len(changes) // most)
            starts = changes[::together]
            lasts = [*changes[together - 1 :: together], changes[-1]]
            paths = [
                _between(modules[start][:depth], modules[last][:depth])
                for start, last in zip(starts, lasts, strict=False)
            ]
            if together == 1:
                break
    cut = [
        sorted(node for group in order[start:end] for node in groups[group])
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True)
    ]
    return cut, paths


def _between(first: tuple[str, ...], last: tuple[str, ...]) -> str:
    start, end = ".".join(first), ".".join(last)
    return start if start == end else f"{end} to {start}"


def _order(groups: Sequence[object], links: Iterable[tuple[int, int]]) -> list[int]:
    """The groups, inputs behind what uses them, and each branch in one piece.

    It is the reverse of the order in which a depth-first search leaves them. The search goes into
    the longest branch first, so that a short one, such as a weight, stands next to its use.
    """
    count = len(groups)
    children: list[list[int]] = [[] for _ in range(count)]
    used = [False] * count
    for src, dst in links:
        children[src].append(dst)
        used[dst] = True
    height = [0] * count
    for group in range(count - 1, -1, -1):
        below = children[group]
        if below:
            below.sort(key=height.__getitem__)
            height[group] = height[below[-1]] + 1
    left: list[int] = []
    seen = [False] * count
    for root in range(count - 1, -1, -1):
        stack = [] if used[root] else [root]
        while stack:
            group = stack[-1]
            seen[group] = True
            below = children[group]
            while below and seen[below[-1]]:
                below.pop()
            if below:
                stack.append(below.pop())
            else:
                left.append(stack.pop())
    return left[::-1]


def _modules(graph: "BackwardGraph", groups: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    """The module path of each group; of one without a parameter, that of its inputs."""
    found: list[tuple[str, ...]] = []
    paths: dict[int, tuple[str, ...]] = {}
    for node, (_, _, _, _, tensor_name, is_leaf, _) in enumerate(graph._columns):
        if is_leaf and tensor_name is not None and "." in (name := str(tensor_name)):
            paths[node] = tuple(one_line(name).split(".")[:-1])
    own: dict[int, tuple[str, ...]] = dict(paths)
    for src, dst, _ in graph._edges:
        if dst in paths:
            own.setdefault(src, paths[dst])
    last: tuple[str, ...] = ()
    for nodes in reversed(groups):
        last = own.get(nodes[0], last)
        found.append(last)
    found.reverse()
    # Behind the last parameter there are no inputs to ask: the nearest module before.
    for position in range(1, len(found)):
        found[position] = found[position] or found[position - 1]
    return found


# Words -----------------------------------------------------------------------------------------


def _single(graph: "BackwardGraph", node: int, outputs: dict[int, list[int]]) -> Item:
    name, shape, saved, constants, tensor_name, is_leaf, line = graph._columns[node]
    kept, released = [], []
    for field, (size, _, nbytes, version, edited, packed, freed) in saved:
        if freed:
            released.append(one_line(field))
            continue
        text = one_line(field) + (" packed by a hook" if packed else "")
        if size is not None:
            text += f" {_shape(size)}"
        if nbytes >= _BIG:
            text += f" {in_bytes(nbytes)}"
        if edited is not None:
            text += f" edited: version {version}, now {edited}"
        kept.append(text)
    return Item(
        label=one_line(name),
        kind="leaf" if is_leaf else "op",
        name="" if tensor_name is None else one_line(str(tensor_name)),
        shape=_shape(shape),
        saved=tuple(kept),
        released=tuple(released),
        constants=constants,
        details=(),
        line="" if line is None else one_line(str(line)),
        outputs=tuple(outputs.get(node, ())),
        nodes=(node,),
    )


def _folded(
    graph: "BackwardGraph", nodes: list[int], outputs: dict[int, list[int]], path: str | None
) -> Item:
    columns = [graph._columns[node] for node in nodes]
    names = [column[0] for column in columns if not column[5]]
    leaves = len(columns) - len(names)
    kinds = [one_line(name) for name, _ in Counter(names).most_common()]
    listed = ", ".join(kinds[:_NAMED_KINDS])
    if len(kinds) > _NAMED_KINDS:
        listed += f" and {plural(len(kinds) - _NAMED_KINDS, 'more kind')}"
    kind: Kind = "run"
    shape = ""
    details: list[str] = []
    label = _repeated(names) if path is None and not leaves else None
    if label is not None:
        shape = _shapes(columns[-1][1], columns[0][1])
    else:
        shape = _shape(columns[0][1])
        kind = "part" if path is None else "module"
        label = path or plural(len(nodes), "node")
        if names:
            details.append(f"{plural(len(names), 'operation')}: {listed}")
        if leaves:
            details.append(plural(leaves, *(("parameter",) if path else ("leaf", "leaves"))))
    values = [values for column in columns for _, values in column[2]]
    freed = sum(value[6] for value in values)
    kept = len(values) - freed
    return Item(
        label=label,
        kind=kind,
        name="",
        shape=shape,
        saved=(plural(kept, "tensor"),) if kept else (),
        released=(plural(freed, "tensor"),) if freed else (),
        constants=sum(column[3] for column in columns),
        details=tuple(details),
        line="",
        outputs=tuple(position for node in nodes for position in outputs.get(node, ())),
        nodes=tuple(nodes),
    )


def _repeated(names: list[str]) -> str | None:
    """``"AddBackward0, MulBackward0 × 500"``; None if it is no repetition."""
    for period in range(1, min(_LONGEST_PERIOD, len(names)) + 1):
        if names[period:] == names[:-period]:
            listed = ", ".join(map(one_line, names[:period]))
            times, rest = divmod(len(names), period)
            if rest:
                return f"{listed} in turn, {len(names):,} nodes"
            return f"{listed} × {times:,}" if times > 1 else listed
    return None


def _shape(shape: Iterable[object] | None) -> str:
    if shape is None:
        return ""
    sizes = [str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def _shapes(first: Iterable[object] | None, last: Iterable[object] | None) -> str:
    start, end = _shape(first), _shape(last)
    return f"{start} to {end}" if start and end and start != end else start or end


def plural(count: int, one: str, many: str | None = None) -> str:
    """``"1 node"``, ``"1,000 nodes"``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def in_bytes(count: int) -> str:
    """``"24 bytes"``, ``"1.2 MB"`` (a million bytes)."""
    if count < 10_000:
        return plural(count, "byte")
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} TB"


def one_line(text: str) -> str:
    r"""Show what would break a line, a document or the reading direction as an escape.

    >>> print(one_line("a\nb\x1b"))
    a\nb\x1b
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or unicodedata.category(letter) == "Zs" or letter in _JOINERS
        else repr(letter)[1:-1]
        for letter in text
    )


# Without these, some scripts and composed emoji fall apart.
_JOINERS = "\u200c\u200d"
