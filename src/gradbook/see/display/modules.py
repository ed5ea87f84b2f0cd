"""A graph as it is shown by module: a box for each, which opens down to single operations.

Modules hold each other, and the parts of each are a small graph of their own: submodules, and the
operations that the module's forward made itself. Parts that depend on each other in a circle, as a
cell and what runs between its calls, become one part, or the calls become parts.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradbook.see.display import folding
from gradbook.see.display.folding import (
    Drawn,
    Frame,
    Item,
    Link,
    Sketch,
    in_bytes,
    one_line,
    plural,
)
from gradbook.see.places import Modules

MOST = 30
"""Boxes that open by themselves."""
_FEW = 30  # nodes that need no folding by module
_SLICES = 20  # of a module with too many parts
_MOST_CALLS = 24  # that are shown apart
_SHORTEST_RUN = 3
_SHARED = 3  # uses of a leaf
_MOST_SHARED = 8
_FEW_BOXES = 8

Key = tuple[Any, ...]


def sketch_of(graph: Drawn, fold: bool | None = None, depth: int | str | None = None) -> Sketch:
    """What to show of `graph`: by module if these are known, else as `folding.sketch_of`.

    Args:
        graph: of any size.
        fold: None folds what is too much to read: 30 nodes by module, or 150 without.
        depth: how far modules are opened: 0 shows the whole model as one box, 1 its submodules; or
            the qualified name of a module, whose inside is shown. By default as far as leaves at
            most 30 boxes.

    Raises:
        TypeError: `fold` is none of True, False and None, or `depth` no number and no name.
        ValueError: `depth` is negative, names no module of the graph, or is given with
            ``fold=False``, or where no module is known.
    """
    if isinstance(depth, bool) or not isinstance(depth, (int, str, type(None))):
        raise TypeError(f"depth must be a number or the name of a module, got {depth!r}")
    if graph._modules is None or fold is False:
        if depth is not None:
            raise ValueError(
                "depth needs modules: give params=model, and run the model under record_modules"
                if fold is not False
                else "depth says how far modules are folded, and fold=False folds nothing"
            )
        return folding.sketch_of(graph, fold)
    if fold is None and depth is None and len(graph) <= _FEW:
        return folding.sketch_of(graph, fold)
    if fold not in (None, True):
        raise TypeError(f"fold must be True, False or None, got {fold!r}")
    return Tree(graph).sketch(depth)


@dataclass(eq=False, slots=True)
class _Part:
    """What becomes a box, or a frame with boxes inside.

    Attributes:
        kind: ``"module"``, ``"op"``, ``"run"``; ``"turns"`` for parts that depend on each other,
            ``"stack"`` for neighbours that are too many.
        nodes: ids, outputs first.
        path: of a module.
        level: how many modules are around it.
        call: which one, where calls are shown apart; else None.
        parts: of an opened one.
    """

    kind: str
    nodes: list[int]
    path: str = ""
    level: int = 0
    call: int | None = None
    label: str = ""
    parts: "list[_Part] | None" = None


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is joined to a module that is shown alone: what it is computed from, or used by."""

    name: str
    below: bool
    edges: list[int]


class Tree:
    """The modules of a graph, opened as far as is asked for."""

    def __init__(self, graph: Drawn) -> None:
        assert graph._modules is not None
        self._graph = graph
        self._modules: Modules = graph._modules
        self._below: list[list[int]] = [[] for _ in range(len(graph))]
        for src, dst, _ in graph._edges:
            self._below[src].append(dst)
        self._run_of = folding.runs(graph)
        self._chains: dict[str, tuple[str, ...]] = {}
        self._outputs = folding.outputs_of(graph)
        self._stacks: dict[str, list[_Part]] = {}
        self._uses = Counter(dst for _, dst, _ in graph._edges if dst in graph._leaves)

    @property
    def paths(self) -> list[str]:
        """The modules that hold a node, an outer one before those inside of it."""
        found: dict[str, None] = {}
        for number in range(len(self._graph) - 1, -1, -1):
            found.update(dict.fromkeys(self._chain(number)))
        return [*found]

    def _chain(self, number: int) -> tuple[str, ...]:
        """The modules around a node, from the outside in."""
        place = self._modules.places.get(number)
        if place is None:
            return ()
        path = place.path
        if path not in self._chains:
            parts = path.split(".") if path else []
            around = ["", *(".".join(parts[:end]) for end in range(1, len(parts) + 1))]
            self._chains[path] = tuple(one for one in around if one in self._modules.facts)
        return self._chains[path]

    # Parts -------------------------------------------------------------------------------------

    def _parts(self, nodes: Sequence[int], level: int) -> list[_Part]:
        """The parts of what is inside of `level` modules; each after all that point at it."""
        keys: dict[int, Key] = {}
        for number in nodes:
            chain = self._chain(number)
            keys[number] = ("module", chain[level], None) if len(chain) > level else (number,)
        self._fold_runs(keys)
        order = self._order(keys)
        circles = [circle for circle in order if len(circle) > 1]
        if circles and self._tell_calls_apart(keys, circles, level):
            order = self._order(keys)
        members: dict[Key, list[int]] = {}
        for number in nodes:
            members.setdefault(keys[number], []).append(number)
        parts = []
        for circle in order:
            if len(circle) > 1:
                parts.append(self._turns(circle, members, level))
                continue
            key = circle[0]
            inside = members[key]
            if key[0] == "module":
                parts.append(_Part("module", inside, key[1], level, key[2]))
            else:
                parts.append(_Part("op" if len(inside) == 1 else "run", inside, level=level))
        if len(parts) <= MOST:
            return parts
        return self._loop(parts, level) or self._sliced(parts)

    def _loop(self, parts: Sequence[_Part], level: int) -> list[_Part]:
        """Of operations that use the same leaves again and again: these, and the rest as one."""
        leaves = [part for part in parts if part.nodes[0] in self._graph._leaves]
        often = [part for part in leaves if self._uses[part.nodes[0]] >= _SHARED]
        if not often or any(part.kind == "module" for part in parts):
            return []
        alone = {id(part) for part in often}
        rest = sorted(n for part in parts if id(part) not in alone for n in part.nodes)
        return [_Part("part", rest, level=level), *often]

    def _sliced(self, parts: Sequence[_Part], most: int = _SLICES) -> list[_Part]:
        """Neighbours of an order in which inputs come last, put together: they form no circle."""
        # Leaves that many use depend on nothing, and stay alone at the end.
        often = [part for part in parts if self._uses[part.nodes[0]] >= _SHARED][:_MOST_SHARED]
        alone = {id(part) for part in often}
        rest = [part for part in parts if id(part) not in alone]
        size = -(-len(rest) // max(1, most - len(often)))
        found = []
        for start in range(0, len(rest), size):
            some = rest[start : start + size]
            if len(some) == 1:
                found.append(some[0])
                continue
            paths = [part.path for part in some if part.kind == "module"]
            last, first = (paths[0], paths[-1]) if paths else ("", "")
            label = one_line(f"{first} … {last}" if first != last else first)
            nodes = sorted(number for part in some for number in part.nodes)
            found.append(_Part("stack", nodes, level=some[0].level, label=label))
            if label:
                self._stacks[label] = some
        return found + often

    def _fold_runs(self, keys: dict[int, Key]) -> None:
        """Operations that follow each other in one line are one part."""
        sizes = Counter(self._run_of[number] for number, key in keys.items() if len(key) == 1)
        for number, key in keys.items():
            run = self._run_of[number]
            if len(key) == 1 and sizes[run] >= _SHORTEST_RUN:
                keys[number] = ("run", run)

    def _tell_calls_apart(
        self, keys: dict[int, Key], circles: Iterable[Sequence[Key]], level: int
    ) -> bool:
        """Take the calls of modules in circles for parts, where these are few."""
        paths = {key[1] for circle in circles for key in circle if key[0] == "module"}
        calls: dict[str, set[int]] = {path: set() for path in paths}
        inside = [number for number, key in keys.items() if key[0] == "module" and key[1] in paths]
        for number in inside:
            path = keys[number][1]
            calls[path].add(self._modules.places[number].call_of(path))
        several = {path for path, found in calls.items() if 1 < len(found) <= _MOST_CALLS}
        for number in inside:
            path = keys[number][1]
            if path in several:
                keys[number] = ("module", path, self._modules.places[number].call_of(path))
        return bool(several)

    def _turns(self, circle: Sequence[Key], members: Mapping[Key, list[int]], level: int) -> _Part:
        paths = [*dict.fromkeys(key[1] for key in circle if key[0] == "module")]
        nodes = sorted(number for key in circle for number in members[key])
        named = ", ".join(one_line(path) or self._class("") for path in paths[:3])
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        if len(paths) == 1:
            # What runs between its calls: the box opens as the module would, with that beside.
            return _Part("turns", nodes, paths[0], level, label=f"{named}, in a loop")
        return _Part("turns", nodes, "", level, label=f"{named}{more}, in turn")

    def _order(self, keys: Mapping[int, Key]) -> list[list[Key]]:
        """The parts, each after all that point at it; those in a circle together."""
        below: dict[Key, dict[Key, None]] = {key: {} for key in keys.values()}
        for number, key in keys.items():
            for child in self._below[number]:
                other = keys.get(child)
                if other is not None and other != key:
                    below[key][other] = None
        return _components(below)

    # Opening -----------------------------------------------------------------------------------

    def _class(self, path: str) -> str:
        return self._modules.facts[path].name

    def _can_open(self, part: _Part) -> bool:
        return part.kind == "module" and part.parts is None

    def _has_parts(self, part: _Part) -> bool:
        """Whether there is more to a module than its operations: modules, or a loop."""
        return any(
            len(self._chain(number)) > part.level + 1 or self._uses[number] >= _SHARED
            for number in part.nodes
        )

    def _open(self, part: _Part) -> None:
        part.parts = self._parts(part.nodes, part.level + 1)

    def _open_by_depth(self, parts: list[_Part], depth: int) -> None:
        for part in parts:
            level = part.level + (0 if "" in self._modules.facts else 1)
            if self._can_open(part) and level < depth:
                self._open(part)
                assert part.parts is not None
                self._open_by_depth(part.parts, depth)

    def _open_by_room(self, parts: list[_Part]) -> None:
        """Open modules of one class together, outer ones first, while the boxes are few."""
        closed, count = parts, len(parts)
        refused: set[tuple[int, str]] = set()
        while True:
            groups: dict[tuple[int, str], list[_Part]] = {}
            for part in closed:
                if self._can_open(part) and self._has_parts(part):
                    name = self._class(part.path) or part.path
                    groups.setdefault((part.level, name), []).append(part)
            chosen = [key for key in sorted(groups) if key not in refused]
            if not chosen:
                return
            group = groups[chosen[0]]
            made = [self._parts(part.nodes, part.level + 1) for part in group]
            more = sum(len(one) - 1 for one in made)
            if count + more > MOST and count > 1:
                if len(group) > 1 or count > _FEW_BOXES:
                    refused.add(chosen[0])
                    continue
                # Rather neighbours together than a whole model in one box.
                made = [self._sliced(made[0], MOST - count)]
                more = len(made[0]) - 1
            count += more
            for part, inside in zip(group, made, strict=True):
                part.parts = inside
            opened = {id(part) for part in group}
            closed = [part for part in closed if id(part) not in opened]
            closed += [part for inside in made for part in inside]

    # Sketches ----------------------------------------------------------------------------------

    def sketch(self, depth: int | str | None = None) -> Sketch:
        """The graph, or the inside of a module; see `sketch_of`."""
        if isinstance(depth, str):
            return self._inside(depth)
        if depth is not None and depth < 0:
            raise ValueError(f"depth must be at least 0, got {depth}")
        parts = self._parts(range(len(self._graph)), 0)
        if depth is None:
            self._open_by_room(parts)
        else:
            self._open_by_depth(parts, depth)
        return self._drawn(parts)

    def _inside(self, path: str) -> Sketch:
        paths = self.paths
        if path not in paths:
            known = ", ".join(one or "''" for one in paths[:6])
            raise ValueError(
                f"depth names no module of this graph: {path!r}. It has {known}"
                + (" and others" if len(paths) > 6 else "")
            )
        chain = self._chains_to(path)
        level = len(chain) - 1
        nodes = [
            number for number in range(len(self._graph)) if path in self._chain(number)[: level + 1]
        ]
        part = _Part("module", nodes, path, level)
        self._open(part)
        assert part.parts is not None
        if len(part.parts) > 1 or self._has_parts(part):
            self._open_by_room(part.parts)
        return self._drawn([part], self._around(nodes, level))

    def inside(self, path: str, nodes: Sequence[int]) -> Sketch:
        """The parts of a module one level deep, with what is beside it."""
        if path in self._stacks:
            members = self._stacks[path]
            level = members[0].level
            stack = _Part("stack", [*nodes], level=level, label=path, parts=members)
            return self._drawn([stack], self._around(nodes, level - 1))
        level = len(self._chains_to(path)) - 1
        part = _Part("module", [*nodes], path, level)
        self._open(part)
        return self._drawn([part], self._around(nodes, level))

    def _chains_to(self, path: str) -> tuple[str, ...]:
        for number in self._modules.places:
            chain = self._chain(number)
            if path in chain:
                return chain[: chain.index(path) + 1]
        return ()

    def _around(self, nodes: Collection[int], level: int) -> list[_Beside]:
        """What is joined to a module from outside, by module or operation.

        What both feeds a module and uses it, as in a loop, stands on both sides.
        """
        inside = set(nodes)
        own = self._chain(next(iter(nodes)))[: level + 1]
        found: dict[tuple[bool, str], list[int]] = {}
        for edge, (src, dst, _) in enumerate(self._graph._edges):
            if (src in inside) == (dst in inside):
                continue
            other = dst if src in inside else src
            chain = self._chain(other)
            common = 0
            while common < min(len(chain), len(own)) and chain[common] == own[common]:
                common += 1
            name = chain[common] if common < len(chain) else folding.named(self._graph, other)
            found.setdefault((other == dst, name), []).append(edge)
        return [_Beside(name, below, edges) for (below, name), edges in found.items()]

    def _drawn(self, parts: Sequence[_Part], around: Sequence[_Beside] = ()) -> Sketch:
        boxes: list[tuple[_Part, int | None]] = []
        frames: list[Frame] = []
        stack: list[tuple[_Part, int | None]] = [(part, None) for part in parts]
        while stack:
            part, frame = stack.pop()
            if part.parts is None:
                boxes.append((part, frame))
                continue
            inside = part.parts
            # A frame around nothing but another one says nothing.
            if len(inside) != 1 or inside[0].parts is None or inside[0].kind != "module":
                frames.append(self._frame(part, frame))
                frame = len(frames) - 1
            stack += [(one, frame) for one in inside]
        shown = {
            number: position for position, (part, _) in enumerate(boxes) for number in part.nodes
        }
        above = [one for one in around if not one.below]
        below = [one for one in around if one.below]
        order = self._sorted(shown, len(boxes))
        place = {position: len(above) + new for new, position in enumerate(order)}
        group_of = {number: place[position] for number, position in shown.items()}
        inner = [
            replace(self._item(boxes[position][0]), frame=boxes[position][1]) for position in order
        ]
        items = (*map(self._outer, above), *inner, *map(self._outer, below))
        within = [
            edge
            for edge, (src, dst, _) in enumerate(self._graph._edges)
            if src in group_of and dst in group_of
        ]
        links = [*folding.links_of(self._graph, [one.nodes for one in items], group_of, within)]
        for number, one in [*enumerate(above), *enumerate(below, len(above) + len(inner))]:
            joined: dict[int, list[int]] = {}
            for edge in one.edges:
                src, dst, _ = self._graph._edges[edge]
                joined.setdefault(group_of[src if one.below else dst], []).append(edge)
            for box, edges in joined.items():
                ends = (box, number) if one.below else (number, box)
                links.append(Link(*ends, tuple(edges), 1))
        whole = len(shown) == len(self._graph)
        count = len(inner)
        note = f"{plural(len(self._graph), 'node')}, shown by module in "
        note += plural(count, "box", "boxes")
        if self._modules.guessed:
            note += "; which module made what is guessed from the parameters"
        return Sketch(
            items,
            tuple(sorted(links, key=lambda link: link.src)),
            folding.title_of(self._graph),
            note if whole else None,
            tuple(frames),
            by_module=True,
        )

    def _sorted(self, shown: Mapping[int, int], count: int) -> list[int]:
        """The boxes, each after all that point at it."""
        below: dict[Key, dict[Key, None]] = {(box,): {} for box in range(count)}
        for number, box in shown.items():
            for child in self._below[number]:
                other = shown.get(child, box)
                if other != box:
                    below[(box,)][(other,)] = None
        return [key[0] for circle in _components(below) for key in circle]

    # Words -------------------------------------------------------------------------------------

    def _outer(self, one: _Beside) -> Item:
        nodes = tuple(dict.fromkeys(self._graph._edges[edge][one.below] for edge in one.edges))
        label = one_line(("from " if one.below else "to ") + one.name)
        return Item(label, "outer", "", "", (), (), 0, (), "", (), nodes)

    def _item(self, part: _Part) -> Item:
        nodes = tuple(part.nodes)
        if part.kind == "op":
            return folding.single(self._graph, nodes[0], self._outputs)
        if part.kind == "run":
            return folding.folded(self._graph, nodes, self._outputs, run=True)
        whole = folding.folded(self._graph, nodes, self._outputs, run=False)
        if part.kind in ("stack", "part") or (part.kind == "turns" and not part.path):
            label = part.label or whole.label
            return replace(
                whole,
                label=label,
                saved=self._held(nodes),
                constants=0,
                shape="",
                module=label if label in self._stacks else None,
            )
        label, *details = self._told(part)
        return replace(
            whole,
            label=label,
            kind="module",
            shape="",
            saved=self._held(nodes),
            constants=0,
            details=tuple(details),
            module=part.path,
        )

    def _frame(self, part: _Part, around: int | None) -> Frame:
        label, *details = self._told(part)
        held = self._held(part.nodes)
        return Frame(
            label,
            (*details, *(f"saved: {one}" for one in held)),
            part.path or part.label,
            around,
            tuple(part.nodes),
        )

    def _told(self, part: _Part) -> list[str]:
        """The name of a module, and what is known of it."""
        if part.kind == "stack":
            return [part.label]
        facts = self._modules.facts[part.path]
        label = part.label or one_line(part.path) or facts.name
        if self._modules.guessed and part.path:
            label = f"mostly {label}"
        if part.call is not None:
            label += f", call {part.call + 1}"
        kind = facts.name if part.path else "the model"
        shape = folding.shape_words(facts.shape)
        parameters = facts.parameters or self._sizes(part.nodes)
        calls = {
            self._modules.places[n].call_of(part.path)
            for n in part.nodes
            if n in self._modules.places
        }
        several = len(calls) if part.call is None else 1
        return [
            label,
            *filter(None, (" ".join(filter(None, (one_line(kind), shape))),)),
            *([plural(parameters, "parameter")] if parameters else []),
            *([f"{several:,} calls"] if several > 1 else []),
        ]

    def _sizes(self, nodes: Iterable[int]) -> int:
        total = 0
        for number in nodes:
            shape = self._graph._shapes[number] if number in self._graph._leaves else None
            if shape is not None:
                size = 1
                for one in shape:
                    size *= int(one)
                total += size
        return total

    def _held(self, nodes: Iterable[int]) -> tuple[str, ...]:
        held: dict[Any, int] = {}
        for number in nodes:
            held.update(self._graph._memory.get(number, {}))
        total = sum(held.values())
        return (in_bytes(total),) if total else ()


def _components(below: Mapping[Key, Iterable[Key]]) -> list[list[Key]]:
    """Strongly connected components (Tarjan 1972), each after all that point at it."""
    index: dict[Key, int] = {}
    low: dict[Key, int] = {}
    waiting: list[Key] = []
    held: set[Key] = set()
    found: list[list[Key]] = []
    for root in reversed([*below]):
        if root in index:
            continue
        stack = [(root, iter(below[root]))]
        index[root] = low[root] = len(index)
        waiting.append(root)
        held.add(root)
        while stack:
            key, rest = stack[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    waiting.append(other)
                    held.add(other)
                    stack.append((other, iter(below[other])))
                    break
                if other in held:
                    low[key] = min(low[key], index[other])
            else:
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[key])
                if low[key] == index[key]:
                    circle = []
                    while True:
                        one = waiting.pop()
                        held.discard(one)
                        circle.append(one)
                        if one == key:
                            break
                    found.append(circle)
    return found[::-1]
