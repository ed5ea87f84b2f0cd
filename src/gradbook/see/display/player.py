"""The player: a backward pass as HTML that steps through it.

The table of all steps is the one place where a step is described. Without JavaScript it is what
the reader sees, below the drawing of the finished pass; with it, ``player.js`` shows one row at a
time beside the graph. A number that the script may change is a ``<data>`` whose value is its name:
those of `stage`, and ``r5``, the rule of edge 5 in numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol

from gradbook.see.display import assets, drawing, folding, modules, opening, rules, stage
from gradbook.see.display.stage import PlayedGraph, title_of
from gradbook.see.nodes import Node
from gradbook.see.steps import Step
from gradbook.see.values import Operand, Value, flattened, format_numbers, shape_text


class Played(Protocol):
    """What is read of a backward pass to play it: `Replay` is one."""

    @property
    def graph(self) -> PlayedGraph:
        """What was recorded."""

    @property
    def _order(self) -> Sequence[int]:
        """The nodes in the order in which the engine ran them."""

    @property
    def _inputs(self) -> Sequence[Sequence[tuple[int | None, int]]]:
        """For each input of each node: the node that made it, and which of its outputs."""

    def _step(self, index: int) -> Step:
        """What one node did."""

    @property
    def _seeds(self) -> Sequence[tuple[int, int, Value]]:
        """What the pass started with: nodes, which of their results, and its gradient."""

    @property
    def _program(self) -> Mapping[str, Any] | str:
        """What runs again with other numbers; or why that cannot be."""

    def _norm_into(self, nodes: Sequence[int]) -> float | None:
        """The norm of the gradient that came into some nodes from others; None if none came."""

    def __len__(self) -> int: ...


MOST_STEPS = 150
"""A pass with more steps is shown as a folded graph and its first and last steps."""
MOST_BY_STEP = 60
"""A pass with more steps is shown by module, if these are known."""
_ENDS = 20
_MOST_ADDENDS = 6  # that are written out
_CLOSE = 1e-3  # of a sum to its addends: those are rounded, too


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A gradient on its way into a node: its edge and who sent it, or None: the pass starts so."""

    edge: int | None
    sender: int | None
    value: Value


@dataclass(frozen=True)
class _Reading:
    """Some steps of a pass, with its edges numbered as in the graph."""

    replay: Played
    steps: Sequence[Step]
    order: Mapping[int, int]
    arrivals: Mapping[tuple[int, int], Sequence[_Arrival]]
    """What came into each result of a node, in the order of the engine."""
    edges: Mapping[tuple[int, int], int]
    """The edge at a position of a node's inputs."""
    values: Mapping[int, Value] = field(default_factory=dict)
    gradients: Mapping[int, Value] = field(default_factory=dict)
    passed: Mapping[int, Value] = field(default_factory=dict)
    grads: Mapping[int, tuple[Value | None, Value]] = field(default_factory=dict)

    @property
    def graph(self) -> PlayedGraph:
        """What was recorded."""
        return self.replay.graph

    def inputs_of(self, step: Step) -> Sequence[int | None]:
        """The node that each outgoing gradient of a step goes to."""
        return [child for child, _ in self.replay._inputs[step.node.id]]


def _read(replay: Played) -> _Reading:
    """The steps that are shown, and what came into their nodes from others."""
    shown = [index for index in _shown(replay) if index is not None]
    steps = [replay._step(index) for index in shown]
    order = {node: index + 1 for index, node in enumerate(replay._order)}
    ids = {step.node.id for step in steps}
    edges: dict[tuple[int, int], int] = {}
    entering: list[tuple[int, int, int]] = []  # step of the sender, position, edge
    first, last = 0, -1
    for edge, (src, dst, _) in enumerate(replay.graph._edges):
        if src != last:
            first, last = edge, src
        if src not in order or not (src in ids or dst in ids):
            continue
        places = [
            number for number, (child, _) in enumerate(replay._inputs[src]) if child is not None
        ]
        position = places[edge - first]
        edges[src, position] = edge
        if dst in ids:
            entering.append((order[src] - 1, position, edge))
    arrivals: dict[tuple[int, int], list[_Arrival]] = {}
    for root, output, seed in replay._seeds:
        arrivals.setdefault((root, output), []).append(_Arrival(None, None, seed))
    known = dict(zip(shown, steps, strict=True))
    passed: dict[int, Value] = {}
    for index, position, edge in sorted(entering):
        if index not in known:
            known[index] = replay._step(index)
        sender = known[index]
        value = sender.outgoing[position] if position < len(sender.outgoing) else None
        if value is None:
            continue
        passed[edge] = value
        _, dst, output = replay.graph._edges[edge]
        arrivals.setdefault((dst, output), []).append(_Arrival(edge, sender.node.id, value))
    return _Reading(
        replay,
        steps,
        order,
        arrivals,
        edges,
        {step.node.id: step.value for step in steps if step.value is not None},
        {
            step.node.id: step.incoming[0]
            for step in steps
            if step.incoming and step.incoming[0] is not None
        },
        passed,
        {
            step.node.id: (step.accumulated.before, step.accumulated.grad)
            for step in steps
            if step.accumulated is not None
        },
    )


def to_text(replay: Played) -> str:
    """One line a step: the node, what came in, what went out, what was added."""
    lines = []
    reading = _read(replay)
    steps = iter(reading.steps)
    for index in _shown(replay):
        if index is None:
            lines.append(f"... {len(replay) - 2 * _ENDS} steps ...")
            continue
        step = next(steps)
        lines.append(f"{step.index + 1:>3}  {'  '.join(_title(step.node))}")
        came = [_came(reading, step, number) for number in range(len(step.incoming))]
        lines.append(f"       in   {', '.join(one.text() for one in came)}")
        if step.accumulated is not None:
            done = step.accumulated
            if done.before is None:
                lines.append(f"       {done.leaf}.grad was None, is now {done.grad}")
            else:
                lines.append(
                    f"       {done.leaf}.grad = {done.before} + {done.added} = {done.grad}"
                )
        sent = _sent(reading, step)
        lines += [f"       to   {one.text()}" for one in sent]
    return "\n".join(lines)


def to_html(replay: Played) -> str:
    """A self-contained piece of HTML: style, drawing, table and script.

    Several of them on one page do not disturb each other.
    """
    by_module = replay.graph._depth is not None or (
        len(replay) > MOST_BY_STEP and modules.sketch_of(replay.graph).by_module
    )
    playable = len(replay) <= MOST_STEPS and not by_module
    reading = _read(replay)
    if by_module:
        return opening.to_html(replay.graph, replay._norm_into, _table(reading))
    side = '<div class="gb-side"></div>'  # filled by the script
    if playable:
        picture = stage.svg_of(reading)
    else:
        picture = drawing.svg_of(replay.graph, folding.sketch_of(replay.graph))
        side = ""
    tag = "gradbook-player" if playable else "div"
    program, why = "", ""
    if not playable:
        pass
    elif isinstance(replay._program, str):
        why = assets.stays(replay._program)
    else:
        program = json.dumps(replay._program, separators=(",", ":"))
        program = f" data-program='{escape(program, quote=False).replace(chr(39), '&#39;')}'"
    return (
        f'<{tag} class="gradbook-player"{program}>'
        f'<style data-gradbook="style">{assets.style()}</style>'
        f'<div class="gb-stage">{picture}</div>{side}{why}'
        + _table(reading, opened=not playable)
        + (f'<script data-gradbook="script">{assets.script()}</script>' if playable else "")
        + f"</{tag}>"
    )


def _table(reading: _Reading, *, opened: bool = False) -> str:
    """All steps, or the first and the last ones."""
    count = len(reading.replay)
    rows = []
    steps = iter(reading.steps)
    for index in _shown(reading.replay):
        if index is None:
            note = f"{count - 2 * _ENDS} steps are not shown"
            rows.append(f'<tr><td colspan="3">{note}</td></tr>')
        else:
            rows.append(_row(reading, next(steps)))
    summary = "All steps as a table"
    if count > MOST_STEPS:
        summary = f"The first and the last {_ENDS} of {count:,} steps"
    return (
        f'<details class="gb-steps"{" open" if opened else ""}><summary>{summary}</summary>'
        '<div class="gb-scroll" tabindex="0" role="group" aria-label="steps, scrolls sideways">'
        '<table><thead><tr><th scope="col">step</th><th scope="col">node</th>'
        '<th scope="col">what it does with the gradient</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _shown(replay: Played) -> list[int | None]:
    """The positions of all steps, or of those at the ends with None for the rest."""
    count = len(replay)
    if count <= MOST_STEPS:
        return [*range(count)]
    return [*range(_ENDS), None, *range(count - _ENDS, count)]


def _row(reading: _Reading, step: Step) -> str:
    node = step.node
    sent = _sent(reading, step)
    came = [_came(reading, step, number) for number in range(len(step.incoming))]
    data = (
        f'data-node="{node.id}" data-out="{" ".join(str(one.edge) for one in sent)}" '
        f'data-in="{" ".join(str(edge) for one in came for edge in one.edges)}"'
    )
    body = "".join(f'<p class="gb-in">{one.html()}</p>' for one in came)
    if step.accumulated is not None:
        done = step.accumulated
        name, grad = escape(done.leaf), _data(f"d{node.id}", done.grad)
        if done.before is None:
            body += f"<p><code>{name}.grad</code> was None, is now {grad}</p>"
        else:
            before = _data(f"b{node.id}", done.before)
            added = _data(f"g{node.id}", done.added)
            body += f"<p><code>{name}.grad</code> = {before} + {added} = {grad}</p>"
        data += f' data-leaf="{name}"'
    elif word := rules.WORDS.get(node.name):
        body += f"<p>{escape(word)}</p>"
    items = "".join(f"<li>{one.html()}</li>" for one in sent)
    body += f"<ul>{items}</ul>" if items else ""
    title, *rest = _title(node)
    name = f"<code>{escape(title)}</code>"
    small = f"<br><small>{escape('  '.join(rest))}</small>" if rest else ""
    return (
        f'<tr {data}><th scope="row">{step.index + 1}</th>'
        f"<td>{name}{small}</td><td>{body}</td></tr>"
    )


def _title(node: Node) -> list[str]:
    title = title_of(node)
    parts = [title] if title == node.name else [title, node.name]
    if node.shape is not None:
        parts.append(shape_text(node.shape))
    return parts


def _data(number: str, value: Value | None) -> str:
    return f'<data value="{number}">{_whole(_short(value))}</data>'


def _whole(numbers: str) -> str:
    """As HTML that is not broken within brackets."""
    return escape(numbers).replace(", ", ",&nbsp;").replace(",&nbsp;[", ", [")


def _short(value: Value | None) -> str:
    return "None" if value is None else str(value)


# What comes in ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Came:
    """The gradient of one result of a node, and what it was added up from."""

    name: str  # g, or g₁ where there are several results
    number: str
    value: Value | None
    arrivals: Sequence[_Arrival]
    sender: str
    hooked: str  # the sum of what was sent, if a hook changed it; or empty

    @property
    def edges(self) -> list[int]:
        """Those along which it came."""
        return [one.edge for one in self.arrivals if one.edge is not None]

    def text(self) -> str:
        """As a text."""
        terms = self._terms([str(one.value) for one in self.arrivals])
        if self.hooked:
            return f"{terms}{self.hooked}; a hook made it {_short(self.value)}"
        return f"{terms}{_short(self.value)}"

    def html(self) -> str:
        """As HTML, with a name for each number."""
        terms = [
            _data(f"s{self.number[1:]}" if one.edge is None else f"e{one.edge}", one.value)
            for one in self.arrivals
        ]
        came = f"<b>{self.name}</b> = "
        if self.hooked:
            sent = self._terms(terms) + escape(self.hooked) if len(terms) > 1 else terms[0]
            return f"comes in: {sent}; a hook made it {came}{_data(self.number, self.value)}"
        whole = f"comes in: {came}{self._terms(terms)}{_data(self.number, self.value)}"
        if self.value is None or not self.arrivals:
            return whole
        if len(self.arrivals) > 1:
            if len(self.edges) < len(self.arrivals):
                return f"{whole}, from the start and {_counted(len(self.edges))}"
            return f"{whole}, from {_counted(len(self.edges))}"
        if self.arrivals[0].edge is None:
            return f"{whole}, the start"
        return f"{whole}, from <code>{escape(self.sender)}</code>"

    def _terms(self, terms: list[str]) -> str:
        if len(terms) < 2:
            return ""
        if len(terms) > _MOST_ADDENDS:
            terms = [*terms[: _MOST_ADDENDS - 2], "…", terms[-1]]
        return " + ".join(terms) + " = "


def _counted(edges: int) -> str:
    return {1: "one edge", 2: "two edges", 3: "three edges"}.get(edges, f"{edges} edges")


def _came(reading: _Reading, step: Step, output: int) -> _Came:
    arrivals = reading.arrivals.get((step.node.id, output), [])
    value = step.incoming[output]
    several = len(step.incoming) > 1
    sender = ""
    if len(arrivals) == 1 and arrivals[0].sender is not None:
        sender = title_of(reading.graph.nodes[arrivals[0].sender])
    return _Came(
        f"g{output + 1}" if several else "g",
        f"g{step.node.id}" + (f".{output}" if output else ""),
        value,
        arrivals,
        sender,
        _sum_of(value, [one.value for one in arrivals]),
    )


def _sum_of(came: Value | None, sent: list[Value]) -> str:
    """The sum of what was sent to a node, if something else came; empty if not, or if unknown."""
    values = [came, *sent]
    if came is None or not sent or any(one is None or one.numbers is None for one in values):
        return ""
    columns = [[*flattened(one.numbers)] for one in values if one is not None]
    is_sum = all(
        not math.isfinite(abs(one))
        or abs(one - sum(parts)) <= _CLOSE * (abs(one) + max(map(abs, parts)))
        for one, *parts in zip(*columns, strict=False)
    )
    return "" if is_sum else format_numbers(_added([one.numbers for one in sent]))


def _added(numbers: Sequence[Any]) -> Any:
    """The sum of nested lists of one shape, element by element."""
    if isinstance(numbers[0], (list, tuple)):
        return [_added(parts) for parts in zip(*numbers, strict=True)]
    return sum(numbers)


# What goes out ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sent:
    """A gradient that a node sends: to whom, by which rule, and how much."""

    edge: int
    target: str
    place: str  # left or right, if the target stands there twice; or empty
    math: str
    formula: str
    numbers: str  # the rule with numbers, or empty
    summed: str  # the shape to which it was summed, or empty
    value: Value

    def text(self) -> str:
        """As a text."""
        place = f" ({self.place})" if self.place else ""
        whole = self._whole(self.formula, self.numbers, str(self.value))
        return f"{self.target}{place}: {whole}"

    def html(self) -> str:
        """As HTML, with a name for each number."""
        rule = f"<math>{self.math}</math>" if self.math else ""
        numbers = self.numbers
        if numbers:
            numbers = f'<data value="r{self.edge}">{_whole(numbers)}</data>'
        whole = self._whole(rule, numbers, _data(f"e{self.edge}", self.value))
        place = f" <i>({self.place})</i>" if self.place else ""
        return f"to <code>{escape(self.target)}</code>{place}: {whole}"

    def _whole(self, *parts: str) -> str:
        *rule, value = filter(None, parts)
        if self.summed and rule:
            rule[-1] += f", summed to {self.summed}"
        return " = ".join([*rule, value])


def _sent(reading: _Reading, step: Step) -> list[_Sent]:
    name = step.node.name
    inputs = reading.inputs_of(step)
    known = rules.symbols(name, step.incoming, step.saved, step.operands, step.value)
    operands = [
        Operand(_name_of(reading, step, number), one.value)
        for number, one in enumerate(step.operands)
    ]
    shown = rules.called(name, operands, inputs, _variable(step.node))
    found = []
    for position, target in enumerate(inputs):
        value = step.outgoing[position] if position < len(step.outgoing) else None
        if target is None or value is None:
            continue
        tree = rules.expression(name, position, known)
        formula = mathml = numbers = summed = ""
        if tree is not None:
            formula, mathml = rules.to_text(tree, names=shown), rules.to_mathml(tree, shown)
            needed = [known.get(one) for one in rules.names_in(tree)]
            # A rule with large tensors, or with nothing to compute, says nothing in numbers.
            whole = all(
                one is not None and (not isinstance(one, Value) or one.numbers is not None)
                for one in needed
            )
            if whole and formula != "g":
                numbers = rules.to_text(tree, known)
            if rules.is_summed(tree, step.incoming[0], value):
                summed = shape_text(value.shape)
        found.append(
            _Sent(
                reading.edges[step.node.id, position],
                _name_of(reading, step, position) or title_of(reading.graph.nodes[target]),
                _place_of(step, position, inputs),
                mathml,
                formula,
                numbers,
                summed,
                value,
            )
        )
    return found


def _place_of(step: Step, position: int, inputs: Sequence[int | None]) -> str:
    places = rules.places_of(step.node.name)
    twice = list(inputs).count(inputs[position]) > 1
    return places[position] if twice and position < len(places) else ""


def _name_of(reading: _Reading, step: Step, position: int) -> str | None:
    """How an operand is called: as the caller of `replay` says, or as the program writes it."""
    target = reading.inputs_of(step)[position]
    operand = step.operands[position].name if position < len(step.operands) else None
    if target is None:
        return operand
    node = reading.graph.nodes[target]
    return node.tensor_name or operand or _variable(node)


def _variable(node: Node) -> str | None:
    """The variable to which the result of a node was assigned, if that is known."""
    if node.tensor_name:
        return node.tensor_name
    name, equals, _ = (node.line.part if node.line is not None else "").partition(" = ")
    return name if equals and name.isidentifier() else None
