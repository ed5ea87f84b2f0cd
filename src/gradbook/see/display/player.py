"""The player: a backward pass as HTML that steps through it.

The table of all steps is the one place where a step is described. Without JavaScript it is what
the reader sees; with it, ``player.js`` shows one row at a time beside the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import Protocol

from gradbook.see.display import drawing, rules
from gradbook.see.display.folding import Drawn
from gradbook.see.nodes import Node
from gradbook.see.steps import Step
from gradbook.see.values import Value, shape_text


class PlayedGraph(Drawn, Protocol):
    """A graph whose nodes are read one by one, too."""

    @property
    def nodes(self) -> Sequence[Node]:
        """Outputs first."""


class Played(Protocol):
    """What is read of a backward pass to play it: `Replay` is one."""

    @property
    def graph(self) -> PlayedGraph:
        """What was recorded."""

    @property
    def steps(self) -> Sequence[Step]:
        """In the order in which the engine ran them."""

    def inputs_of(self, step: Step) -> Sequence[int | None]:
        """The node that each outgoing gradient of a step goes to."""

    def __len__(self) -> int: ...


MOST_STEPS = 150
"""A pass with more steps is shown as a folded graph and its first and last steps."""
_ENDS = 20


def to_text(replay: Played) -> str:
    """One line a step: the node, what came in, what went out, what was added."""
    lines = []
    for step in _shown(replay):
        if step is None:
            lines.append(f"... {len(replay) - 2 * _ENDS} steps ...")
            continue
        title = _title(step)
        lines.append(f"{step.index + 1:>3}  {title}")
        if step.accumulated is not None:
            lines.append(f"       {_accumulated_text(step)}")
            continue
        lines.append(f"       in   {', '.join(_short(value) for value in step.incoming)}")
        for _, target, formula, numbers, result in _outgoing(replay, step):
            rule = f"{formula} = " if formula else ""
            rule += f"{numbers} = " if numbers else ""
            lines.append(f"       to   {target}: {rule}{result}")
    return "\n".join(lines)


def to_html(replay: Played) -> str:
    """A self-contained piece of HTML: style, drawing, table and script.

    Several of them on one page do not disturb each other.
    """
    playable = len(replay) <= MOST_STEPS
    rows = []
    for step in _shown(replay):
        if step is None:
            note = f"{len(replay) - 2 * _ENDS} steps are not shown"
            rows.append(f'<tr><td colspan="3">{note}</td></tr>')
        else:
            rows.append(_row(replay, step))
    side = '<div class="gb-side"></div>'  # filled by the script
    if not playable:
        side = f"<p>{len(replay):,} steps: too many to play. The first and the last ones:</p>"
    tag = "gradbook-player" if playable else "div"
    return (
        f'<{tag} class="gradbook-player">'
        f'<style data-gradbook="style">{drawing.STYLE}{_file("player.css")}</style>'
        f'<div class="gb-stage">{drawing.svg_of(replay.graph)}</div>{side}'
        '<details class="gb-steps"><summary>All steps as a table</summary>'
        '<div class="gb-scroll" tabindex="0" role="group" aria-label="steps, scrolls sideways">'
        '<table><thead><tr><th scope="col">step</th><th scope="col">node</th>'
        '<th scope="col">what it does with the gradient</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
        + (f'<script data-gradbook="script">{_file("player.js")}</script>' if playable else "")
        + f"</{tag}>"
    )


@cache
def _file(name: str) -> str:
    return resources.files("gradbook.see.display").joinpath(name).read_text(encoding="utf-8")


def _shown(replay: Played) -> list[Step | None]:
    """All steps, or the ends with None for the rest."""
    if len(replay) <= MOST_STEPS:
        return list(replay.steps)
    return [*replay.steps[:_ENDS], None, *replay.steps[-_ENDS:]]


def _row(replay: Played, step: Step) -> str:
    targets = " ".join(
        f"{position}:{target}"
        for position, target in enumerate(replay.inputs_of(step))
        if target is not None
    )
    data = f'data-node="{step.node.id}" data-to="{targets}"'
    line = f"<br><code>{escape(str(step.node.line))}</code>" if step.node.line else ""
    if step.accumulated is not None:
        done = step.accumulated
        data += (
            f' data-leaf="{escape(done.leaf)}" data-grad="{escape(str(done.grad))}"'
            f' data-before="{escape(_short(done.before))}"'
        )
        body = f"<p>{escape(_accumulated_text(step))}</p>"
    else:
        word = rules.WORDS.get(step.node.name)
        body = f"<p>comes in: <b>g</b> = {_incoming(step)}</p>"
        if word:
            body += f"<p>{escape(word)}</p>"
        items = [
            f"<li>to <b>{escape(target)}</b>: {_math(step, position)}"
            f"{escape(numbers)}{' = ' if numbers else ''}{escape(result)}</li>"
            for position, target, _, numbers, result in _outgoing(replay, step)
        ]
        body += f"<ul>{''.join(items)}</ul>" if items else ""
    return (
        f'<tr {data}><th scope="row">{step.index + 1}</th>'
        f"<td>{escape(_title(step))}{line}</td><td>{body}</td></tr>"
    )


def _math(step: Step, position: int) -> str:
    known = rules.symbols(step.node.name, step.incoming, step.saved)
    tree = rules.expression(step.node.name, position, known)
    if tree is None:
        return ""
    return f"<math>{rules.to_mathml(tree)}</math> = "


def _incoming(step: Step) -> str:
    if len(step.incoming) == 1:
        return escape(_short(step.incoming[0]))
    return escape(", ".join(f"({n}) {_short(value)}" for n, value in enumerate(step.incoming)))


def _outgoing(replay: Played, step: Step) -> list[tuple[int, str, str, str, str]]:
    """Position, name of the target, the rule, the rule in numbers, and the gradient sent."""
    known = rules.symbols(step.node.name, step.incoming, step.saved)
    found = []
    for position, target in enumerate(replay.inputs_of(step)):
        value = step.outgoing[position] if position < len(step.outgoing) else None
        if target is None or value is None:
            continue
        node = replay.graph.nodes[target]
        name = node.tensor_name or node.name
        rule = rules.RULES.get(step.node.name)
        if rule is not None and len(rule.inputs) > 1 and position < len(rule.inputs):
            name += f" (as {rule.inputs[position]})"
        tree = rules.expression(step.node.name, position, known)
        formula = numbers = ""
        if tree is not None:
            formula = rules.to_text(tree)
            # A rule with large tensors, or with nothing to compute, says nothing in numbers.
            whole = all(not isinstance(v, Value) or v.numbers is not None for v in known.values())
            if whole and formula != "g":
                numbers = rules.to_text(tree, known)
            if rules.is_summed(tree, step.incoming[0], value):
                name += f", summed to {shape_text(value.shape)}"
        found.append((position, name, formula, numbers, _short(value)))
    return found


def _title(step: Step) -> str:
    name = step.node.name
    if step.node.tensor_name:
        name += f"  {step.node.tensor_name}"
    if step.node.shape is not None:
        name += f"  {shape_text(step.node.shape)}"
    return name


def _accumulated_text(step: Step) -> str:
    done = step.accumulated
    assert done is not None
    if done.before is None:
        return f"{done.leaf}.grad was None, is now {done.grad}"
    return f"{done.leaf}.grad = {done.before} + {done.added} = {done.grad}"


def _short(value: Value | None) -> str:
    return "None" if value is None else str(value)
