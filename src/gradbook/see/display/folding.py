"""What all outputs show of a graph: its nodes, or, if these are too many to read, folds of them."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, Protocol

from gradbook.see.places import Modules

LIMIT = 150  # nodes that a person still reads
_MOST = 60  # items that are left of a larger graph
_SHORTEST_RUN = 3  # two nodes say more than their fold
_LONGEST_PERIOD = 4
_NAMED_KINDS = 3
_SHARED = 3  # uses of a leaf
_SEPARATE = 3  # parallel edges that are shown one by one
_BIG = 1_000_000  # bytes of a saved tensor that are worth a word


class Drawn(Protocol):
    """What is read of a graph to show it, a column for each fact: `BackwardGraph` is one."""

    @property
    def roots(self) -> Sequence[int]:
        """The nodes of the outputs."""

    @property
    def released(self) -> bool:
        """Whether a backward pass has freed saved tensors."""

    @property
    def saved_nbytes(self) -> int:
        """Bytes held for backward."""

    @property
    def _names(self) -> Sequence[str]: ...
    @property
    def _shapes(self) -> Sequence[Sequence[int] | None]: ...
    @property
    def _edges(self) -> Sequence[tuple[int, int, int]]: ...
    @property
    def _saved(self) -> Mapping[int, Any]: ...
    @property
    def _constants(self) -> Mapping[int, int]: ...
    @property
    def _tensor_names(self) -> Mapping[int, str]: ...
    @property
    def _leaves(self) -> Collection[int]: ...
    @property
    def _lines(self) -> Mapping[int, object]: ...
    @property
    def _aliases(self) -> Mapping[int, Sequence[str]]: ...
    @property
    def _modules(self) -> Modules | None: ...
    @property
    def _other_dtypes(self) -> Mapping[int, str]: ...
    @property
    def _depth(self) -> int | str | None: ...
    @property
    def _memory(self) -> Mapping[int, Mapping[Any, int]]: ...
    def __len__(self) -> int: ...


Kind = Literal["leaf", "op", "run", "module", "part", "outer"]


@dataclass(frozen=True, slots=True)
class Item:
    """One box of a drawing, one line of a text. All strings are one line, without control codes.

    Attributes:
        label: the node's name, ``"MulBackward0"``; of a fold, what it holds.
        kind: ``"leaf"`` and ``"op"`` are single nodes; a ``"run"`` is a chain of nodes, a
            ``"module"`` what a module made, a ``"part"`` a slice of the graph, an ``"outer"``
            something beside the module that is shown.
        name: the tensor's name, or empty.
        shape: ``"(3,)"``, ``"(3,) to ()"`` of a fold, or empty.
        saved: what it keeps for backward, a text a tensor.
        released: names of the saved tensors that a backward pass freed.
        constants: how many inputs need no gradient.
        details: whatever else a fold has to say.
        line: the source line that made it, or empty.
        outputs: positions in `BackwardGraph.roots`, if it is an output.
        nodes: ids of the nodes it stands for.
        part: the expression that made it, as the program writes it, or empty.
        edited: of each saved tensor that was edited since: its position in `saved`, what it is, its
            version then, and its version now.
        module: the qualified name of the module, if it is one that can be opened.
        frame: position in `Sketch.frames` of the innermost one around it.
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
    part: str = ""
    edited: tuple[tuple[int, str, int, int], ...] = ()
    module: str | None = None
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """All edges from item `src` to its input `dst`.

    Attributes:
        src: position in `Sketch.items`.
        dst: position in `Sketch.items`, always behind `src`.
        edges: positions in `BackwardGraph.edges`.
        arrows: how many arrows show them: few edges between two nodes are shown one by one.
    """

    src: int
    dst: int
    edges: tuple[int, ...]
    arrows: int


@dataclass(frozen=True, slots=True)
class Frame:
    """A module that is shown opened: what is drawn around its parts.

    Attributes:
        label: as of `Item`.
        details: class, shape, parameters and saved bytes.
        module: its qualified name.
        frame: position in `Sketch.frames` of the one around it; or None.
        nodes: ids of all nodes inside.
    """

    label: str
    details: tuple[str, ...]
    module: str
    frame: int | None
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sketch:
    """A graph as it is shown.

    Attributes:
        frames: modules that are opened, an outer one before those inside of it.
        by_module: whether items and frames are modules.
        items: outputs first, each after all that point at it.
        links: in the order of their first item, and there in the order of its inputs.
        title: ``"5 nodes, 5 edges, 1 leaf, 20 bytes saved"``.
        note: how much is folded, or None.
    """

    items: tuple[Item, ...]
    links: tuple[Link, ...]
    title: str
    note: str | None
    frames: tuple[Frame, ...] = ()
    by_module: bool = False


def sketch_of(graph: Drawn, fold: bool | None = None, limit: int = LIMIT) -> Sketch:
    """What to show of `graph`.

    Folding replaces each run of nodes that lie in one line by an item. If more than `limit` items
    are left, the graph is cut across into at most 60 equal parts.

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
    group_of: Sequence[int] = range(count)
    cut = False
    if fold or (fold is None and count > limit):
        group_of = runs(graph)
        cut = max(group_of) >= limit
        if cut:
            group_of = _cut(graph, group_of, min(limit, _MOST))
    groups: list[list[int]] = [[] for _ in range(max(group_of) + 1)]
    for node, group in enumerate(group_of):
        groups[group].append(node)

    outputs = outputs_of(graph)
    items = tuple(
        single(graph, nodes[0], outputs)
        if len(nodes) == 1
        else folded(graph, nodes, outputs, run=not cut)
        for nodes in groups
    )
    note = None
    if len(items) < count:
        note = f"{count:,} nodes, shown folded into {len(items):,}"
    return Sketch(items, links_of(graph, groups, group_of), title_of(graph), note)


def outputs_of(graph: Drawn) -> dict[int, list[int]]:
    """Which outputs a node is."""
    outputs: dict[int, list[int]] = {}
    for position, root in enumerate(graph.roots):
        outputs.setdefault(root, []).append(position)
    return outputs


def title_of(graph: Drawn) -> str:
    """How much there is."""
    return (
        f"{plural(len(graph), 'node')}, {plural(len(graph._edges), 'edge')}, "
        f"{plural(len(graph._leaves), 'leaf', 'leaves')}, {in_bytes(graph.saved_nbytes)} saved"
        + (", released" if graph.released else "")
    )


def links_of(
    graph: Drawn,
    groups: Sequence[Sequence[int]],
    group_of: Sequence[int] | Mapping[int, int],
    edges: Iterable[int] | None = None,
) -> tuple[Link, ...]:
    """The edges between different groups; of all edges, or of some."""
    links: dict[tuple[int, int], list[int]] = {}
    for edge in range(len(graph._edges)) if edges is None else edges:
        src, dst, _ = graph._edges[edge]
        ends = group_of[src], group_of[dst]
        if ends[0] != ends[1]:
            links.setdefault(ends, []).append(edge)
    return tuple(
        Link(
            src,
            dst,
            tuple(edges),
            len(edges)
            if len(edges) <= _SEPARATE and len(groups[src]) == len(groups[dst]) == 1
            else 1,
        )
        # Sorting is stable: the inputs of an item stay in their order.
        for (src, dst), edges in sorted(links.items(), key=lambda link: link[0][0])
    )


# Folding: runs ---------------------------------------------------------------------------------


def runs(graph: Drawn) -> list[int]:
    """The group of each node: a run is one group, any other node is alone.

    A node of a run has one parent, one child and no name. Groups are numbered in the order of the
    graph, so that none points at an earlier one.
    """
    none, several = -1, -2
    parent = [none] * len(graph)
    child = [none] * len(graph)
    for src, dst, _ in graph._edges:
        if child[src] != dst:
            child[src] = dst if child[src] == none else several
        if parent[dst] != src:
            parent[dst] = src if parent[dst] == none else several
    for root in graph.roots:
        parent[root] = several
    run_of = [none] * len(graph)
    sizes: list[int] = []
    for node, above in enumerate(parent):
        if above >= 0 and child[node] >= 0 and node not in graph._tensor_names:
            if run_of[above] == none:
                run_of[node] = len(sizes)
                sizes.append(1)
            else:
                run_of[node] = run_of[above]
                sizes[run_of[node]] += 1
    group_of = []
    number = [none] * len(sizes)
    count = 0
    for run in run_of:
        if run != none and sizes[run] >= _SHORTEST_RUN:
            if number[run] == none:
                number[run] = count
                count += 1
            group_of.append(number[run])
        else:
            group_of.append(count)
            count += 1
    return group_of


# Folding: cuts across the graph ----------------------------------------------------------------


def _cut(graph: Drawn, group_of: Sequence[int], most: int) -> list[int]:
    """The part of each node, of at most `most`.

    Any cut of an order in which inputs come behind what uses them leaves a graph without cycles.
    """
    inputs = _Inputs(graph, group_of)
    # Leaves that are used in many places stay alone, as the weights of a loop; they can be last.
    uses = Counter(dst for _, dst, _ in graph._edges if dst in graph._leaves)
    leaves = [leaf for leaf, number in uses.most_common(most // 4) if number >= _SHARED]
    shared = [group_of[leaf] for leaf in sorted(leaves)]
    most -= len(shared)

    order = [group for group in _by_level(inputs) if group not in shared]
    starts = [len(order) * part // most for part in range(most)]
    part_of = [0] * len(inputs)
    for part, (start, end) in enumerate(zip(starts, [*starts[1:], len(order)], strict=True)):
        for group in order[start:end]:
            part_of[group] = part
    for part, group in enumerate(shared, len(starts)):
        part_of[group] = part
    return [part_of[group] for group in group_of]


class _Inputs:
    """The inputs of each group, parallel edges included.

    They are slices of one list: a list for each group would keep the garbage collector busy.
    """

    def __init__(self, graph: Drawn, group_of: Sequence[int]) -> None:
        count = max(group_of) + 1
        numbers = [0] * count
        self.uses = [0] * count
        """How many edges lead to each group."""
        for src, dst, _ in graph._edges:
            if group_of[src] != group_of[dst]:
                numbers[group_of[src]] += 1
                self.uses[group_of[dst]] += 1
        self._ends = list(accumulate(numbers))
        self._starts = self._ends[:]
        self._all = [0] * self._ends[-1]
        for src, dst, _ in reversed(graph._edges):
            group = group_of[src]
            if group != group_of[dst]:
                self._starts[group] -= 1
                self._all[self._starts[group]] = group_of[dst]

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, group: int) -> list[int]:
        return self._all[self._starts[group] : self._ends[group]]


def _by_level(inputs: _Inputs) -> list[int]:
    """The groups, inputs behind what uses them, and what happens at about the same time together.

    The level is the longest way from an output. What computes on inputs that are needed elsewhere
    too moves up to these: the loss of each step of a loop stands by its step.
    """
    count = len(inputs)
    level = [0] * count
    for group in range(count):
        for below in inputs[group]:
            level[below] = max(level[below], level[group] + 1)
    for group in range(count - 1, -1, -1):
        found = inputs[group]
        more = len(found) - inputs.uses[group]
        if more > 0 or (more == 0 and found and all(inputs[below] for below in found)):
            level[group] = min(level[below] for below in found) - 1
    return sorted(range(count), key=level.__getitem__)


# Words -----------------------------------------------------------------------------------------


def single(graph: Drawn, node: int, outputs: dict[int, list[int]]) -> Item:
    """The item of one node."""
    tensor_name, line = graph._tensor_names.get(node), graph._lines.get(node)
    kept: list[str] = []
    released: list[str] = []
    changed: list[tuple[int, str, int, int]] = []
    for field, (size, _, nbytes, version, edited, packed, freed) in graph._saved.get(node, ()):
        if freed:
            released.append(one_line(field))
            continue
        text = one_line(field) + (" packed by a hook" if packed else "")
        if size is not None:
            text += f" {shape_words(size)}"
        if nbytes >= _BIG:
            text += f" {in_bytes(nbytes)}"
        if edited is not None:
            changed.append((len(kept), text, version, edited))
            text += f" edited (version {version}, now {edited})"
        kept.append(text)
    return Item(
        label=one_line(graph._names[node]),
        kind="leaf" if node in graph._leaves else "op",
        name="" if tensor_name is None else one_line(name_words(graph, node)),
        shape=" ".join(
            filter(None, (shape_words(graph._shapes[node]), graph._other_dtypes.get(node)))
        ),
        saved=tuple(kept),
        released=tuple(released),
        constants=graph._constants.get(node, 0),
        details=(),
        line="" if line is None else one_line(str(line)),
        outputs=tuple(outputs.get(node, ())),
        nodes=(node,),
        part=one_line(getattr(line, "part", "")),
        edited=tuple(changed),
    )


def named(graph: Drawn, node: int) -> str:
    """The name of a tensor, or that of the node."""
    return name_words(graph, node) if node in graph._tensor_names else graph._names[node]


def name_words(graph: Drawn, node: int) -> str:
    """The names of a tensor: a shared parameter has several."""
    return " = ".join(map(str, (graph._tensor_names[node], *graph._aliases.get(node, ()))))


def folded(graph: Drawn, nodes: Sequence[int], outputs: dict[int, list[int]], *, run: bool) -> Item:
    """The item of several nodes: of a run, or of a part of the graph."""
    names = [graph._names[node] for node in nodes if node not in graph._leaves]
    leaves = len(nodes) - len(names)
    kinds = [one_line(name) for name, _ in Counter(names).most_common()]
    listed = ", ".join(kinds[:_NAMED_KINDS])
    if len(kinds) > _NAMED_KINDS:
        listed += f" and {plural(len(kinds) - _NAMED_KINDS, 'more kind')}"
    details: list[str] = []
    label = _repeated(names) if not leaves else None
    if label is None:
        label = f"a run of {len(nodes):,} nodes" if run else plural(len(nodes), "node")
    if names and label != _repeated(names):
        details.append(f"{plural(len(names), 'operation')}: {listed}")
    if leaves:
        details.append(plural(leaves, "leaf", "leaves"))
    values = [values for node in nodes for _, values in graph._saved.get(node, ())]
    freed = sum(value[6] for value in values)
    kept = len(values) - freed
    shape = shape_words(graph._shapes[nodes[0]])
    first = shape_words(graph._shapes[nodes[-1]])
    return Item(
        label=label,
        kind="run" if run else "part",
        name="",
        shape=f"{first} to {shape}" if run and first and shape and first != shape else shape,
        saved=(plural(kept, "tensor"),) if kept else (),
        released=(plural(freed, "tensor"),) if freed else (),
        constants=sum(graph._constants.get(node, 0) for node in nodes),
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


def shape_words(shape: Iterable[object] | None) -> str:
    """``"(2, 3)"``; empty where there is none."""
    if shape is None:
        return ""
    sizes = [str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


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
